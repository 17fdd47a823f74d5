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
from django.db import transaction  # noqa: E402
from django.db.models import Max  # noqa: E402

from orgmanager.broker import broker  # noqa: E402
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
        super().mark(deliveries)
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


class SkipLockedRelay(relay.Relay):
    """Shares the rows out by SKIP LOCKED, which tears streams apart."""

    def deliver(self):
        with transaction.atomic():
            owed = Delivery.objects.filter(shard=self.shard, stream__blocked_at=None)
            rows = owed.order_by("event_id").select_for_update(
                skip_locked=True, of=("self",)
            )
            deliveries = list(rows[:5])
            if deliveries:
                self.publish(deliveries)
                self.mark(deliveries)
        return len(deliveries)

    def hand_over(self, messages):
        if self._publisher is None:  # not one per shard: nobody is fenced
            self._publisher = broker.publisher(f"{self.shard}-{os.getpid()}")
        self._publisher.publish(messages)


class EverybodysLocks:
    """Gives every lock to everybody."""

    def try_acquire(self, name):
        return True

    def confirm(self):
        pass

    def count_members(self, name):
        return 1

    def release(self, name):
        pass

    def close(self):
        pass


MUTANTS = {
    "last-id": LastIdRelay,
    "mark-first": MarkFirstRelay,
    "skip-locked": SkipLockedRelay,
}


if __name__ == "__main__":
    worker.Relay = MUTANTS[sys.argv[1]]
    if sys.argv[1] == "skip-locked":
        worker.make_locks = EverybodysLocks
    call_command("run_worker")
