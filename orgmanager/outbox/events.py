"""What the outbox itself keeps in the history."""

from .event_types import EventType, data_schema

TEXT = {"type": "string"}

EVENT_SKIPPED = EventType(
    "outbox.event_skipped",
    topic=None,
    summary="A refused event was given up; a tombstone took its number.",
    schema=data_schema(eventId=TEXT, type=TEXT),
)
DELIVERY_RETRIED = EventType(
    "outbox.delivery_retried",
    topic=None,
    summary="A blocked stream was set going again.",
    schema=data_schema(topic=TEXT),
)
WORK_RETRIED = EventType(
    "outbox.work_retried",
    topic=None,
    summary="A work order was set going again by hand.",
    schema=data_schema(destination=TEXT, object=TEXT),
)
