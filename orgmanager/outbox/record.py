"""record(): the only way an event is born."""

import json
import uuid

from django.conf import settings
from django.db import connection
from django.utils import timezone

from ..context import trace_parent
from ..errors import TooLarge
from .models import Event, Stream
from .signals import event_recorded

SOURCE = "/organization-manager"
HISTORY_ONLY = ""  # the topic of streams that no broker gets

# Left free below the broker's limit for key, headers and record framing.
SIZE_MARGIN = 4096  # bytes


class EventTooLarge(TooLarge):
    code = "event_too_large"


def record(event_type, *, organization_id, subject, actor, data, reason=""):
    """
    Record that ``event_type`` happened to ``subject``, in the change's transaction.

    Call only from an operation, under its lock: the event and the change commit
    together or not at all. The bytes stored here are the bytes that are sent,
    at the first try and at every other.

    Shapes: ``data`` is JSON-able and fits ``event_type.schema``.
    Raises: RuntimeError outside a transaction; jsonschema.ValidationError for
    data of the wrong shape; EventTooLarge, in bytes.
    Source: CloudEvents 1.0, JSON format, structured mode.
    """
    if not connection.in_atomic_block:
        raise RuntimeError(f"record({event_type}) needs the transaction of its change.")
    event_type.validator.validate(data)
    topic = settings.TOPICS[event_type.topic] if event_type.topic else HISTORY_ONLY
    stream = Stream.objects.advance(organization_id, topic)
    event_id = uuid.uuid4()
    now = timezone.now()
    trace = trace_parent.get()
    value = {
        "specversion": "1.0",
        "id": str(event_id),
        "source": SOURCE,
        "type": event_type.name,
        "subject": subject,
        "time": now.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "datacontenttype": "application/json",
        "organizationid": str(organization_id),
        "epoch": str(stream.epoch),
        "sequence": str(stream.last_sequence),
        **({"traceparent": trace} if trace else {}),
        "data": data,
    }
    body = json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
    limit = settings.KAFKA_MESSAGE_MAX_BYTES - SIZE_MARGIN
    if len(body) > limit:
        raise EventTooLarge(
            f"The event {event_type} would have {len(body)} bytes and {limit} fit. "
            "Send less, or raise KAFKA_MESSAGE_MAX_BYTES here and on the broker."
        )
    event = Event.objects.create(
        event_id=event_id,
        stream=stream,
        epoch=stream.epoch,
        sequence=stream.last_sequence,
        organization_id=organization_id,
        type=event_type.name,
        subject=subject,
        actor=actor,
        reason=reason,
        data=data,
        value=body,
        headers=_headers(event_type, organization_id, event_id, stream, trace),
        recorded_at=now,
    )
    event_recorded.send(sender=event_type, event=event)
    return event


def _headers(event_type, organization_id, event_id, stream, trace):
    headers = {
        "content-type": "application/cloudevents+json",
        "Fx-Organization-Id": str(organization_id),
        "event-id": str(event_id),
        "event-type": event_type.name,
        "sequence": str(stream.last_sequence),
        "epoch": str(stream.epoch),
    }
    return {**headers, "traceparent": trace} if trace else headers
