import uuid
from datetime import timedelta

import pytest
from django.urls import reverse
from django.utils import timezone

from organizations import operations
from organizations.models import Licence, Organization, Registration, User
from orgmanager.operators.models import Operator
from orgmanager.outbox.models import Delivery, Event, RejectedMessage, Stream, WorkOrder
from orgmanager.outbox.relay import block

MODELS = [
    Organization,
    User,
    Licence,
    Registration,
    Event,
    Stream,
    WorkOrder,
    Delivery,
    RejectedMessage,
    Operator,
]
READ_ONLY = [model for model in MODELS if model is not Operator]


def url_of(model, page, *args):
    return reverse(
        f"admin:{model._meta.app_label}_{model._meta.model_name}_{page}", args=args
    )


def make_message(*, offset=1, value=b"{}"):
    return RejectedMessage.objects.create(
        topic="licences",
        partition=0,
        offset=offset,
        key=b"acme",
        value=value,
        error="No.",
    )


@pytest.fixture
def fill(make_organization, make_user):
    """Return a function that makes ``count`` rows of everything, ``owner``'s or new."""

    def fill(count, owner=None):
        owner = owner or make_organization()
        first = Organization.objects.count()
        for number in range(first, first + count):
            user = make_user(owner)
            operations.disable_user(user.pk, actor="test", reason="because")
            WorkOrder.objects.enqueue(
                "relationships", uuid.uuid4(), organization_id=owner.pk
            )
            RejectedMessage.objects.create(
                topic="licences",
                partition=0,
                offset=number,
                key=b"",
                value=b"{}",
                error="No.",
            )
            organization = Organization.objects.create(
                code=f"org-{number}", name="Org", status="ACTIVE"
            )
            Stream.objects.advance(organization.pk, "events")
            Licence.objects.create(
                organization=organization,
                plan="basic",
                valid_from=timezone.now(),
                valid_to=timezone.now() + timedelta(days=10),
                source="test",
                issued_at=timezone.now(),
            )
            Operator.objects.create(username=f"olaf-{number}", is_staff=True)
        return owner

    return fill


@pytest.mark.parametrize("rows", [1, 30])
def test_lists_ask_no_more_often_the_longer_they_are(
    console, fill, rows, django_assert_max_num_queries
):
    fill(rows)
    for model in MODELS:
        with django_assert_max_num_queries(9, info=model.__name__):
            response = console.get(url_of(model, "changelist"))
        assert response.status_code == 200


@pytest.mark.parametrize("rows", [1, 30])
def test_details_ask_no_more_often_the_more_belongs_to_them(
    console, fill, rows, django_assert_max_num_queries
):
    owner = fill(rows)
    stream = Stream.objects.get(organization_id=owner.pk, topic__contains="organiz")
    block(stream.pk, "The broker refused it.")
    for model in MODELS:
        row = {Organization: owner, Stream: stream}.get(model) or model.objects.last()
        with django_assert_max_num_queries(14, info=model.__name__):
            response = console.get(url_of(model, "change", row.pk))
        assert response.status_code == 200


@pytest.mark.parametrize("rows", [1, 30])
def test_front_page_asks_no_more_often_the_more_there_is(
    console, fill, rows, django_assert_max_num_queries
):
    fill(rows)
    with django_assert_max_num_queries(16):
        assert console.get("/admin/").status_code == 200


def test_lists_without_rows_say_what_to_do(console):
    for model in READ_ONLY:
        response = console.get(url_of(model, "changelist"))
        headline, _ = response.context["cl"].model_admin.when_empty
        assert str(headline) in response.content.decode(), model


def test_no_page_adds_changes_or_deletes(console, fill):
    """Fails when an admin class forgets that only operations write."""
    fill(1)
    for model in READ_ONLY:
        pk = model.objects.last().pk
        assert console.get(url_of(model, "add")).status_code == 403, model
        change, delete = url_of(model, "change", pk), url_of(model, "delete", pk)
        assert console.post(change, {}).status_code == 403, model
        assert console.post(delete, {"post": "yes"}).status_code == 403, model
        assert model.objects.filter(pk=pk).exists()


@pytest.mark.parametrize(
    "query",
    ["q=x", "organization=x", "state=x", "type=x", "destination=x", "p=999", "o=9.9"],
)
def test_lists_with_nonsense_in_their_address_still_answer(console, fill, query):
    fill(1)
    for model in MODELS:
        url = f"{url_of(model, 'changelist')}?{query}"
        assert console.get(url, follow=True).status_code == 200, model


@pytest.mark.parametrize("pk", ["0", "nonsense", "9" * 40])
def test_detail_of_what_is_not_there_leads_to_the_front_page(console, pk):
    for model in MODELS:
        response = console.get(url_of(model, "change", pk), follow=True)
        assert response.status_code == 200, model
        assert "doesn’t exist" in response.content.decode()


def test_pages_are_for_operators_only(client, db):
    for model in MODELS:
        response = client.get(url_of(model, "changelist"))
        assert response.status_code == 302 and "/admin/login/" in response["Location"]


def test_organization_page_shows_all_that_belongs_to_it(console, register):
    organization = register().organization
    page = console.get(url_of(Organization, "change", organization.pk)).content.decode()
    for text in [
        f"/realms/{organization.pk}",
        "flowx-platform-authenticate",
        "ada@acme.example",
        "Organization administrator",
        "Realm for users",
        "organization.created",
        "service-account-realm",
        f"{url_of(Event, 'changelist')}?organization={organization.pk}",
    ]:
        assert text in page, text


def test_history_finds_events_by_exact_subject_and_by_any_id(
    console, make_organization, make_user
):
    organization = make_organization()
    user = make_user(organization)
    operations.disable_user(user.pk, actor="test", reason="because")
    event = Event.objects.get(type="user.disabled")
    for query in [
        f"q=user/{user.pk}",
        f"q={user.pk}",
        f"q={event.event_id}",
        "type=user.disabled",
        f"organization={organization.pk}&type=user.disabled",
    ]:
        page = console.get(f"{url_of(Event, 'changelist')}?{query}")
        assert list(page.context["cl"].result_list) == [event], query
    page = console.get(f"{url_of(Event, 'changelist')}?q=user/{str(user.pk)[:8]}")
    assert not page.context["cl"].result_list


def test_history_shows_no_more_of_an_event_than_its_page_needs(
    console, make_organization
):
    """Fails when a list loads the bytes of events, which may be megabytes each."""
    make_organization()
    page = console.get(url_of(Event, "changelist"))
    for event in page.context["cl"].result_list:
        assert {"value", "data", "headers"} <= event.get_deferred_fields()


def test_work_orders_show_what_waits_for_somebody_first(console, make_organization):
    organization = make_organization()
    orders = WorkOrder.objects.filter(organization_id=organization.pk)
    orders.filter(destination="relationships").update(
        state="parked", error="Realm taken."
    )
    orders.filter(destination="users-realm").update(state="due")
    page = console.get(url_of(WorkOrder, "changelist"))
    states = [order.state for order in page.context["cl"].result_list]
    assert states == ["parked", "due", "done", "done"]
    assert "Realm taken." in page.content.decode()
    parked = console.get(f"{url_of(WorkOrder, 'changelist')}?state=parked")
    assert [order.state for order in parked.context["cl"].result_list] == ["parked"]


def test_work_order_pages_name_the_organization(console, make_organization):
    make_organization(code="acme")
    page = console.get(url_of(WorkOrder, "changelist")).content.decode()
    assert ">acme</a>" in page


def test_rejected_message_shows_no_secret(console, db):
    message = make_message(value=b'{"plan": "gold", "apiKey": "s3cr3t-value"}')
    page = console.get(url_of(RejectedMessage, "change", message.pk)).content.decode()
    assert "gold" in page and "s3cr3t-value" not in page


def test_pages_escape_what_people_wrote(console, make_organization, make_user):
    """Fails when a name can carry a script into an operator's browser."""
    script = "<script>alert(1)</script>"
    organization = make_organization()
    Organization.objects.filter(pk=organization.pk).update(name=script)
    user = make_user(organization)
    User.objects.filter(pk=user.pk).update(first_name=script)
    operations.disable_user(user.pk, actor=script, reason=script)
    WorkOrder.objects.update(state="parked", error=script)
    message = make_message(value=script.encode())
    RejectedMessage.objects.update(error=script)
    block(Stream.objects.exclude(topic="").get().pk, script)
    for url in [
        "/admin/",
        *(url_of(model, "changelist") for model in MODELS),
        url_of(Organization, "change", organization.pk),
        url_of(User, "change", user.pk),
        url_of(User, "disable_user", user.pk),
        url_of(Event, "change", Event.objects.get(type="user.disabled").pk),
        url_of(WorkOrder, "change", WorkOrder.objects.first().pk),
        url_of(RejectedMessage, "change", message.pk),
        url_of(Stream, "change", Stream.objects.exclude(topic="").get().pk),
        url_of(Stream, "skip_event", Stream.objects.exclude(topic="").get().pk),
    ]:
        page = console.get(url)
        assert page.status_code == 200, url
        assert script not in page.content.decode(), url


def test_streams_can_be_narrowed_to_what_is_owed_or_blocked(console, fill):
    owner = fill(2)
    streams = Stream.objects.filter(organization_id=owner.pk).exclude(topic="")
    url = url_of(Stream, "changelist")
    assert console.get(f"{url}?state=owed").context["cl"].result_count == 1
    assert console.get(f"{url}?state=blocked").context["cl"].result_count == 0
    block(streams.get().pk, "The broker refused it.")
    found = console.get(f"{url}?state=blocked").context["cl"].result_list
    assert list(found) == [streams.get()]
