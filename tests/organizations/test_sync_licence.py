import json
from datetime import UTC, datetime, timedelta

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from organizations import operations, status
from organizations.exceptions import LicenceMismatch, TransitionNotAllowed
from organizations.models import Licence
from orgmanager.broker import broker
from orgmanager.broker.backends.base import Message
from orgmanager.licence_server import licence_server
from orgmanager.licence_server.backends.base import LicenceClaims
from orgmanager.outbox.inbox import Inbox
from orgmanager.outbox.models import Event, RejectedMessage

TOPIC = "ai.flowx.license.events.v1"


def licence_for(organization, *, plan="Gold", issued_at=None, days=365):
    start = datetime(2026, 1, 1, tzinfo=UTC)
    return LicenceClaims(
        organization_id=str(organization.pk),
        plan=plan,
        valid_from=start,
        valid_to=start + timedelta(days=days),
        limits={"users": 50},
        features=["ai"],
        issued_at=issued_at or start,
    )


def sync(organization, **changes):
    licence = licence_for(organization, **changes)
    return operations.sync_licence(
        organization.pk, licence, source="test", actor="test"
    )


def synced_events():
    return Event.objects.filter(type="licence.synced")


def test_sync_licence_makes_the_status_ok(make_organization):
    organization = make_organization()
    assert status.environment()["status"] == "MISSING_LICENCE"
    sync(organization)
    answer = status.environment()
    assert answer["status"] == "OK" and answer["organization"]["code"] == "acme"
    assert synced_events().get().data["limits"] == {"users": 50}


def test_sync_licence_again_records_nothing(make_organization):
    organization = make_organization()
    sync(organization)
    _, changed = sync(organization, issued_at=timezone.now())
    assert not changed and synced_events().count() == 1


def test_sync_licence_that_is_older_never_overwrites_newer(make_organization):
    organization = make_organization()
    sync(organization, plan="New", issued_at=datetime(2026, 2, 1, tzinfo=UTC))
    _, changed = sync(organization, plan="Old")
    assert not changed and Licence.objects.get().plan == "New"


def test_sync_licence_of_somebody_else_is_refused(make_organization):
    organization = make_organization()
    licence = licence_for(organization)._replace(
        organization_id="00000000-0000-4000-8000-000000000001"
    )
    with pytest.raises(LicenceMismatch):
        operations.sync_licence(organization.pk, licence, source="x", actor="x")


def test_sync_licence_before_the_organization_is_active_is_refused(make_organization):
    with pytest.raises(TransitionNotAllowed, match="takes no licence"):
        sync(make_organization(status="PENDING"))


def test_an_expired_licence_is_announced_once_and_stops_nothing(make_organization):
    organization = make_organization()
    sync(organization, days=1)
    operations.expire_licences()
    operations.expire_licences()
    assert Event.objects.filter(type="licence.expired").count() == 1
    assert status.environment()["status"] == "OK"
    sync(organization, days=365, issued_at=timezone.now())
    operations.expire_licences(now=datetime(2028, 1, 1, tzinfo=UTC))
    assert Event.objects.filter(type="licence.expired").count() == 2


def test_sync_licence_by_message(make_organization):
    organization = make_organization()
    token = licence_server.issue_licence(licence_for(organization)).encode()
    publish(token)
    publish(b"rubbish")
    publish(token)
    inbox = Inbox(TOPIC)
    assert [inbox.receive(0.1) for _ in range(4)] == [True, True, True, False]
    assert Licence.objects.get().source == "inbox"
    assert synced_events().count() == 1
    rejected = RejectedMessage.objects.get()
    assert bytes(rejected.value) == b"rubbish" and "not valid" in rejected.error
    inbox.close()
    assert Inbox(TOPIC).receive(0.1) is False  # all of it was committed


def test_a_message_is_not_committed_while_the_licence_server_is_down(
    make_organization, settings
):
    organization = make_organization()
    token = licence_server.issue_licence(licence_for(organization)).encode()
    publish(token)
    local = settings.LICENCE_SERVER
    settings.LICENCE_SERVER = {
        "BACKEND": "orgmanager.licence_server.backends.unset.LicenceServer"
    }
    inbox = Inbox(TOPIC)
    with pytest.raises(Exception, match="No licence server"):
        inbox.receive(0.1)
    settings.LICENCE_SERVER = local
    assert inbox.receive(0.1) is True
    assert Licence.objects.exists() and not RejectedMessage.objects.exists()


def publish(value):
    broker.publisher(0).publish([Message(TOPIC, b"", value, {})])


def test_sync_licence_by_command_with_a_plan(make_organization, capsys):
    make_organization()
    call_command(
        "sync_licence", organization="acme", plan="Gold", valid_to="2030-12-31"
    )
    assert "Gold, valid to 2030-12-31" in capsys.readouterr().out
    assert synced_events().count() == 1


def test_sync_licence_by_command_with_a_file(make_organization, tmp_path):
    organization = make_organization()
    file = tmp_path / "licence"
    file.write_text(licence_server.issue_licence(licence_for(organization)))
    call_command("sync_licence", organization="acme", licence_file=str(file))
    assert Licence.objects.get().plan == "Gold"


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"organization": "nobody", "plan": "x", "valid_to": "2030-01-01"}, "acme"),
        ({"organization": "acme"}, "Give --licence-file"),
        ({"organization": "acme", "plan": "x", "valid_to": "soon"}, "2027-12-31"),
        ({"organization": "acme", "licence_file": "/nowhere"}, "cannot be read"),
    ],
)
def test_sync_licence_by_command_says_what_to_do(make_organization, options, sentence):
    make_organization()
    with pytest.raises(CommandError, match=sentence):
        call_command("sync_licence", **options)


def test_sync_licence_unsigned_is_for_the_local_issuer_only(
    make_organization, settings
):
    make_organization()
    settings.LICENCE_SERVER = {
        "BACKEND": "orgmanager.licence_server.backends.unset.LicenceServer"
    }
    with pytest.raises(CommandError, match="only a licence that it signed"):
        call_command("sync_licence", organization="acme", plan="x", valid_to="2030-1-1")


def test_the_event_holds_no_more_than_its_schema_says(make_organization):
    sync(make_organization())
    value = json.loads(bytes(synced_events().get().value))
    assert set(value["data"]) == {
        "plan",
        "validFrom",
        "validTo",
        "limits",
        "features",
        "source",
    }
