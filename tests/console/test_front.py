from datetime import timedelta

import pytest
from django.utils import timezone

from organizations import operations, status
from organizations.models import Licence
from orgmanager.licence_server.backends.base import LicenceClaims
from orgmanager.outbox.models import Delivery, Event, RejectedMessage, Stream, WorkOrder
from orgmanager.outbox.relay import block


@pytest.fixture
def license_organization(make_organization):
    """Return a function that makes an organization with a licence."""

    def license_organization(*, days=365):
        organization, now = make_organization(), timezone.now()
        claims = LicenceClaims(
            str(organization.pk), "gold", now, now + timedelta(days=days), {}, [], now
        )
        operations.sync_licence(organization.pk, claims, source="test", actor="test")
        Delivery.objects.all().delete()
        status.answers.clear()
        return organization

    return license_organization


def troubles(page):
    return [str(trouble["text"]) for trouble in page.context["troubles"]]


def test_front_page_of_a_new_installation_gives_the_next_command(console):
    page = console.get("/admin/")
    assert page.context["installation"]["label"] == "MISSING_ORGANIZATION"
    assert "manage.py issue_registration_token" in page.content.decode()
    assert "Nothing waits for you" not in page.content.decode()


def test_front_page_while_registering_shows_the_steps(console, make_organization):
    make_organization(status="PENDING")
    WorkOrder.objects.filter(destination="users-realm").update(
        state="parked", error="Realm taken."
    )
    page = console.get("/admin/").content.decode()
    assert "The registration stopped at a step" in page and "Realm taken." in page
    assert "cancel_registration" in page


def test_front_page_without_licence_gives_the_command_for_this_organization(
    console, make_organization
):
    make_organization(code="globex")
    page = console.get("/admin/")
    assert page.context["installation"]["label"] == "MISSING_LICENCE"
    assert "manage.py sync_licence --organization globex" in page.content.decode()


def test_front_page_of_a_working_installation_has_nothing_to_say(
    console, license_organization
):
    organization = license_organization()
    page = console.get("/admin/")
    assert page.context["installation"]["label"] == "OK"
    assert troubles(page) == []
    assert "Nothing waits for you." in page.content.decode()
    assert f"/realms/{organization.pk}" in page.content.decode()


@pytest.mark.parametrize(
    ("days", "expected"), [(31, []), (29, ["runs out on"]), (0, ["ran out on"])]
)
def test_front_page_warns_of_a_licence_that_ends(
    console, license_organization, days, expected
):
    license_organization()
    Licence.objects.update(valid_to=timezone.now() + timedelta(days=days))
    found = troubles(console.get("/admin/"))
    assert len(found) == len(expected)
    assert all(part in text for part, text in zip(expected, found, strict=True))


def test_front_page_names_what_stopped(console, license_organization):
    license_organization()
    WorkOrder.objects.filter(destination="relationships").update(state="parked")
    stream = Stream.objects.exclude(topic="").first()
    block(stream.pk, "No.")
    RejectedMessage.objects.create(
        topic="t", partition=0, offset=1, key=b"", value=b"", error="No."
    )
    found = troubles(console.get("/admin/"))
    assert [text.split(":")[-1] for text in found] == [" 1.", " 1.", " 1."]


def test_front_page_asks_for_the_worker_when_nothing_is_done(
    console, license_organization
):
    license_organization()
    then = timezone.now() - timedelta(minutes=5)
    WorkOrder.objects.filter(destination="relationships").update(
        state="due", due_at=then
    )
    assert "Is a worker running?" in troubles(console.get("/admin/"))[0]


def test_front_page_asks_for_the_worker_when_events_stay(console, license_organization):
    organization = license_organization()
    operations.sync_licence(
        organization.pk,
        LicenceClaims(
            str(organization.pk),
            "silver",
            timezone.now(),
            timezone.now() + timedelta(days=300),
            {},
            [],
            timezone.now() + timedelta(seconds=1),
        ),
        source="test",
        actor="test",
    )
    assert troubles(console.get("/admin/")) == []
    Event.objects.update(recorded_at=timezone.now() - timedelta(minutes=5))
    assert "Is a worker running?" in troubles(console.get("/admin/"))[0]


def test_front_page_of_many_organizations_counts_them(
    console, license_organization, settings
):
    license_organization()
    settings.INSTALLATION_TYPE = "SAAS"
    status.answers.clear()
    page = console.get("/admin/")
    assert page.context["installation"]["label"] == "OK"
    assert "there are 1" in page.content.decode()


def test_menu_counts_what_waits_for_somebody(console, license_organization):
    license_organization()
    WorkOrder.objects.filter(destination="relationships").update(state="parked")
    groups = console.get("/admin/").context["sidebar_navigation"]
    badges = {str(i["title"]): i["badge"] for group in groups for i in group["items"]}
    assert badges["Work orders"] == 1 and badges["Streams"] == 0


@pytest.mark.django_db(transaction=True)
def test_health_card_says_how_every_system_is(console):
    page = console.get("/admin/health/")
    rows = {row["title"]: row for row in page.context["rows"]}
    assert {"database", "broker", "identity", "licence server"} <= rows.keys()
    assert rows["identity"]["status"] == "UP"


def test_health_card_is_for_operators_only(client, db):
    assert client.get("/admin/health/").status_code == 302
