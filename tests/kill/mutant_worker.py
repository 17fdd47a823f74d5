"""
A worker whose relay is broken on purpose: the harness must notice.

The relays here are the two classic mistakes; the delay makes the moment in
which a kill hurts long enough to be hit.
"""

import os
import sys
import time

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "orgmanager.settings")
django.setup()

from django.core.management import call_command  # noqa: E402  after setup()
from django.db.models import Max  # noqa: E402

from orgmanager.outbox import relay, worker  # noqa: E402
from orgmanager.outbox.models import Delivery, Event  # noqa: E402

DELAY = 0.4  # seconds


class LastIdRelay(relay.Relay):
    """Remembers the greatest id that it has seen, and looks only above it."""

    def __init__(self, shard):
        super().__init__(shard)
        self.last_id = Event.objects.aggregate(last=Max("id"))["last"] or 0

    def pending(self):
        rows = Delivery.objects.filter(shard=self.shard, event_id__gt=self.last_id)
        return list(rows.order_by("event_id")[: relay.BATCH_SIZE])

    def mark(self, deliveries):
        time.sleep(DELAY)
        self.last_id = deliveries[-1].event_id


class MarkFirstRelay(relay.Relay):
    """Marks what it is about to publish."""

    def publish(self, deliveries):
        messages = relay.messages_of(deliveries)
        relay.Relay.mark(self, deliveries)
        time.sleep(DELAY)
        self.hand_over(messages)

    def mark(self, deliveries):
        pass


if __name__ == "__main__":
    worker.Relay = {"last-id": LastIdRelay, "mark-first": MarkFirstRelay}[sys.argv[1]]
    call_command("run_worker")
