"""The relay, and what an operator does with a stream that is blocked."""

import json
import uuid

import pytest
from django.core.management import CommandError, call_command
from django.db import transaction

from orgmanager.errors import Unavailable
from orgmanager.outbox import operations
from orgmanager.outbox.exceptions import EventNotFound, NotBlocked
from orgmanager.outbox.models import SHARDS, Delivery, Event, Stream
from orgmanager.outbox.relay import Relay, lag

from .test_record import record_one

TOPIC = "ai.flowx.organization.events.v1"


def organization_in(shard):
    return uuid.UUID(int=shard + SHARDS * 1000)


def deliver_all(shard=0):
    relay, total = Relay(shard), 0
    while count := relay.deliver():
        total += count
    return total


def log(settings):
    path = settings.BROKER["path"] / f"{TOPIC}.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()]


def small_limit(settings, size):
    settings.BROKER = settings.BROKER | {"max_bytes": size}


def test_deliver_publishes_in_order_and_forgets_what_was_owed(db, settings):
    organization = organization_in(0)
    for number in range(5):
        record_one(organization, text=str(number))
    assert deliver_all() == 5
    assert not Delivery.objects.exists()
    assert [line["value"]["data"]["text"] for line in log(settings)] == list("01234")
    assert {line["key"] for line in log(settings)} == {str(organization)}


def test_deliver_leaves_other_shards_alone(db):
    record_one(organization_in(1))
    assert deliver_all(shard=0) == 0
    assert deliver_all(shard=1) == 1


def test_deliver_twice_after_a_crash_sends_the_same_bytes(db, settings):
    record_one(organization_in(0))
    relay = Relay(0)
    relay.publish(relay.pending())  # and killed before it could mark
    assert deliver_all() == 1
    first, second = log(settings)
    assert first["value"] == second["value"] and first["headers"] == second["headers"]


def test_deliver_while_the_broker_is_down_keeps_everything_owed(db, settings, tmp_path):
    record_one(organization_in(0))
    (tmp_path / "file").write_text("")
    settings.BROKER = settings.BROKER | {"path": tmp_path / "file"}
    with pytest.raises(Unavailable):
        deliver_all()
    assert Delivery.objects.count() == 1


def test_a_refused_event_blocks_its_own_stream_only(db, settings):
    small_limit(settings, 2000)
    poisoned, healthy = organization_in(0), organization_in(SHARDS)
    bad = record_one(poisoned, text="x" * 3000)
    record_one(poisoned)
    record_one(healthy)
    assert deliver_all() == 1
    assert [line["key"] for line in log(settings)] == [str(healthy)]
    stream = Stream.objects.get(pk=bad.stream_id)
    assert stream.blocked_at and "2000" in stream.blocked_error
    assert lag()["blocked"] == 1 and lag()["pending"] == 2


def test_retry_delivery_sets_the_stream_going_from_the_refused_event(db, settings):
    small_limit(settings, 2000)
    bad = record_one(organization_in(0), text="x" * 3000)
    record_one(organization_in(0))
    deliver_all()
    small_limit(settings, 9000)
    call_command("retry_delivery", str(bad.event_id))
    assert deliver_all() == 2
    assert [line["headers"]["sequence"] for line in log(settings)] == ["1", "2"]
    assert Event.objects.filter(type="outbox.delivery_retried").count() == 1


def test_skip_event_publishes_a_tombstone_with_the_same_number(db, settings):
    small_limit(settings, 2000)
    bad = record_one(organization_in(0), text="x" * 3000)
    record_one(organization_in(0))
    deliver_all()
    call_command("skip_event", str(bad.event_id), reason="too long for us")
    assert deliver_all() == 2
    tombstone, after = log(settings)
    assert tombstone["value"]["type"] == "event.skipped"
    assert tombstone["headers"]["event-type"] == "event.skipped"
    assert tombstone["value"]["sequence"] == "1" and after["value"]["sequence"] == "2"
    assert tombstone["value"]["id"] == str(bad.event_id)
    assert tombstone["value"]["data"]["reason"] == "too long for us"


def test_skip_event_that_only_waits_is_refused(db, settings):
    small_limit(settings, 2000)
    record_one(organization_in(0), text="x" * 3000)
    waiting = record_one(organization_in(0))
    deliver_all()
    with pytest.raises(NotBlocked, match="waits behind"):
        operations.skip_event(waiting.event_id, actor="olga", reason="no")


def test_retry_delivery_of_a_stream_that_is_fine_is_refused(db):
    event = record_one(organization_in(0))
    with pytest.raises(NotBlocked, match="not blocked"):
        operations.retry_delivery(event.event_id, actor="olga")


def test_retry_delivery_of_an_unknown_event_says_where_to_look(db):
    with pytest.raises(EventNotFound, match="history"):
        operations.retry_delivery(uuid.uuid4(), actor="olga")
    with pytest.raises(CommandError):
        call_command("retry_delivery", "no-uuid")


def test_verify_events_finds_a_gap(db, capsys):
    organization = organization_in(0)
    for _ in range(3):
        record_one(organization)
    call_command("verify_events")
    Delivery.objects.all().delete()
    Event.objects.filter(sequence=2).delete()
    with pytest.raises(CommandError):
        call_command("verify_events", "--json")
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["faults"]


def test_verify_events_finds_a_missing_last_event(db):
    with transaction.atomic():
        record_one(organization_in(0))
        event = record_one(organization_in(0))
    Delivery.objects.all().delete()
    event.delete()
    with pytest.raises(CommandError):
        call_command("verify_events")
