"""The relay: what is owed to the broker goes there, in order, until it is there."""

import json
import logging

from django.db import connection
from django.db.models import Min
from django.db.models.expressions import RawSQL
from django.utils import timezone

from ..broker import broker
from ..broker.backends.base import Message
from ..errors import Rejected, Unavailable
from .counters import count_deliveries
from .models import Delivery, Event, Stream

logger = logging.getLogger(__name__)

TOMBSTONE = "event.skipped"
BATCH_SIZE = 4000  # events
BATCH_BYTES = 32 * 1024 * 1024  # at least one event is taken, whatever its size


class Relay:
    """
    Delivers one shard. Whoever runs it must hold the shard's lock.

    What is owed is a row, looked up afresh each time, and a row goes only once
    the broker has the event: killed anywhere, the next relay repeats at worst.
    """

    def __init__(self, shard):
        self.shard = shard
        self._publisher = None

    def deliver(self):
        """
        Deliver one batch; return how many events went.

        Raises: Unavailable; everything in doubt stays owed.
        """
        deliveries = self.pending()
        if not deliveries:
            return 0
        try:
            self.publish(deliveries)
        except Rejected:
            return self._deliver_by_stream(deliveries)
        self.mark(deliveries)
        return len(deliveries)

    def pending(self):
        """Return the oldest owed deliveries of streams that are not blocked."""
        # In the order of ids: within a stream that is the order of sequence
        # numbers, for an id is taken under the stream's lock.
        rows = (
            Delivery.objects.filter(shard=self.shard, stream__blocked_at=None)
            .order_by("shard", "event_id")
            .values_list("event_id", "stream_id", "size", named=True)[:BATCH_SIZE]
        )
        taken, total = [], 0
        for row in rows:
            total += row.size
            if taken and total > BATCH_BYTES:
                break
            taken.append(row)
        return taken

    def publish(self, deliveries):
        """Hand the events of ``deliveries`` to the broker and wait for it."""
        self.hand_over(messages_of(deliveries))

    def hand_over(self, messages):
        """Publish ``messages`` and wait until the broker has them."""
        try:
            if self._publisher is None:
                self._publisher = broker.publisher(self.shard)
            self._publisher.publish(messages)
        except Unavailable:
            count_deliveries(messages, "unavailable")
            # What became of the batch is unknown, and a publisher in that state
            # could still write after its successor: never use it again.
            self.close()
            raise
        count_deliveries(messages, "delivered")

    def mark(self, deliveries):
        """Forget deliveries that the broker has."""
        Delivery.objects.filter(pk__in=_ids(deliveries)).delete()

    def close(self):
        """Let go of the publisher; the next batch makes a new one."""
        if self._publisher is not None:
            self._publisher.close()
            self._publisher = None

    def _deliver_by_stream(self, deliveries):
        """Deliver one event at a time; a refused one blocks its own stream only."""
        delivered, blocked = 0, set()
        for row in deliveries:
            if row.stream_id in blocked:
                continue
            messages = messages_of([row])
            try:
                self.hand_over(messages)
            except Rejected as error:
                count_deliveries(messages, "refused")
                blocked.add(row.stream_id)
                block(row.stream_id, str(error))
                continue
            self.mark([row])
            delivered += 1
        return delivered


def messages_of(deliveries):
    """Return the messages that ``deliveries`` stand for, in their order."""
    owed = Delivery.objects.filter(pk__in=_ids(deliveries))
    # Not as model instances: those cost more than everything else together here.
    rows = owed.order_by("event_id").values_list(
        "stream__topic",
        "event__value",
        "event__headers",
        "skip_reason",
    )
    return [_message(*row) for row in rows]


def _ids(deliveries):
    ids = [row.event_id for row in deliveries]
    if connection.vendor != "postgresql":
        return ids
    # One array instead of thousands of parameters, whose text each has to be made.
    return RawSQL("SELECT unnest(%s::bigint[])", [ids])


def _message(topic, value, headers, skip_reason):
    key, value = headers["Fx-Organization-Id"].encode(), bytes(value)
    if skip_reason:
        value, headers = _tombstone(value, headers, skip_reason)
    return Message(topic, key, value, headers)


def _tombstone(value, headers, reason):
    """Return what stands in the log, under the same number, for a skipped event."""
    event = json.loads(value)
    event |= {
        "type": TOMBSTONE,
        "data": {"skipped": event["type"], "reason": reason},
    }
    body = json.dumps(event, ensure_ascii=False, separators=(",", ":")).encode()
    return body, headers | {"event-type": TOMBSTONE}


def block(stream_id, error):
    """Stop a stream whose next event the broker refuses, until somebody looks."""
    logger.error("Stream %s is blocked: %s", stream_id, error)
    Stream.objects.filter(pk=stream_id).update(
        blocked_at=timezone.now(), blocked_error=error
    )


def lag():
    """
    Return how much is owed and since when.

    Shapes: {"pending": int, "oldest_at": datetime | None, "blocked": int}.
    """
    owed = Delivery.objects.aggregate(oldest=Min("event_id"))
    oldest = Event.objects.filter(pk=owed["oldest"]).values_list("recorded_at")
    return {
        "pending": Delivery.objects.count(),
        "oldest_at": oldest[0][0] if owed["oldest"] else None,
        "blocked": Stream.objects.exclude(blocked_at=None).count(),
    }
