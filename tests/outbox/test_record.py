import json
import uuid

import jsonschema
import pytest
from django.db import transaction

from orgmanager.outbox.event_types import EventType, data_schema
from orgmanager.outbox.models import Delivery, Event, Stream
from orgmanager.outbox.record import EventTooLarge, record
from orgmanager.outbox.signals import event_recorded

HAPPENED = EventType(
    "test.happened",
    topic="organization_events",
    summary="Made up.",
    schema=data_schema(text={"type": "string"}),
)
REMEMBERED = EventType(
    "test.remembered", topic=None, summary="Made up.", schema=data_schema()
)


def record_one(organization_id=None, text="x", **changes):
    given = {
        "organization_id": organization_id or uuid.uuid4(),
        "subject": "thing/1",
        "actor": "olga",
        "data": {"text": text},
    }
    return record(HAPPENED, **(given | changes))


@pytest.mark.django_db(transaction=True)
def test_record_outside_a_transaction_is_a_programming_error():
    with pytest.raises(RuntimeError, match="transaction"):
        record_one()
    assert not Event.objects.exists()


def test_record_gives_each_organization_numbers_without_gaps(db):
    one, other = uuid.uuid4(), uuid.uuid4()
    numbers = [record_one(each).sequence for each in (one, other, one, one, other)]
    assert numbers == [1, 1, 2, 3, 2]


def test_record_that_is_rolled_back_gives_its_number_back(db):
    organization = uuid.uuid4()
    record_one(organization)
    with pytest.raises(ZeroDivisionError), transaction.atomic():
        record_one(organization)
        raise ZeroDivisionError
    assert record_one(organization).sequence == 2


def test_record_stores_a_cloud_event_as_it_will_be_sent(db, settings):
    event = record_one(text="grüße")
    value = json.loads(bytes(event.value))
    assert value["specversion"] == "1.0" and value["type"] == "test.happened"
    assert value["id"] == str(event.event_id)
    assert value["organizationid"] == str(event.organization_id)
    assert value["sequence"] == "1" and value["data"] == {"text": "grüße"}
    assert event.headers["Fx-Organization-Id"] == str(event.organization_id)
    assert event.headers["content-type"] == "application/cloudevents+json"
    assert event.stream.topic == settings.TOPICS["organization_events"]


def test_record_owes_the_event_to_the_broker(db):
    event = record_one()
    delivery = Delivery.objects.get()
    assert delivery.event == event and delivery.size == len(bytes(event.value))


def test_record_of_a_type_without_topic_is_history_only(db):
    record(
        REMEMBERED, organization_id=uuid.uuid4(), subject="x/1", actor="olga", data={}
    )
    assert Event.objects.count() == 1 and not Delivery.objects.exists()


def test_record_with_data_of_another_shape_is_refused(db):
    with pytest.raises(jsonschema.ValidationError), transaction.atomic():
        record_one(data={"text": "x", "email": "ada@acme.example"})
    assert not Stream.objects.exists()


def test_record_of_more_than_the_broker_takes_is_refused(db, settings):
    settings.KAFKA_MESSAGE_MAX_BYTES = 6000
    refused = pytest.raises(EventTooLarge, match="KAFKA_MESSAGE_MAX_BYTES")
    with refused, transaction.atomic():
        record_one(text="x" * 5000)
    assert not Event.objects.exists()


def test_a_receiver_that_fails_aborts_the_change(db):
    def fail(**kwargs):
        raise ZeroDivisionError

    event_recorded.connect(fail)
    try:
        with pytest.raises(ZeroDivisionError), transaction.atomic():
            record_one()
    finally:
        event_recorded.disconnect(fail)
    assert not Event.objects.exists() and not Delivery.objects.exists()
