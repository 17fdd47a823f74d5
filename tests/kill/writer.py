"""A process that records events, rolls some back, and notes what it knows."""

import os
import random
import sys
import time

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "orgmanager.settings")
django.setup()

from django.db import DatabaseError, connection, transaction  # noqa: E402

from organizations.models import Organization  # noqa: E402
from orgmanager.outbox.event_types import EventType, data_schema  # noqa: E402
from orgmanager.outbox.record import record  # noqa: E402

ROLLBACKS = 0.05

HAPPENED = EventType(
    "harness.happened",
    topic="organization_events",
    summary="Something that the kill tests made up.",
    schema=data_schema(text={"type": "string"}),
)


class RolledBack(Exception):
    pass


def write(organization_id, chance):
    """Change one organization and record it; return the event id and its fate."""
    event = None
    try:
        with transaction.atomic():
            organization = Organization.objects.locked(organization_id)
            organization.version += 1
            organization.save(update_fields=["version"])
            event = record(
                HAPPENED,
                organization_id=organization.pk,
                subject=f"organization/{organization.pk}",
                actor="harness",
                data={"text": "x" * 300},
            )
            if chance.random() < ROLLBACKS:
                raise RolledBack
    except RolledBack:
        return event.event_id, "rolled-back"
    except DatabaseError:  # killed under us: whether it was committed, it knows
        connection.close()
        time.sleep(0.3)
        return event.event_id if event else None, "unknown"
    return event.event_id, "committed"


def main(notes, count, seed, pause):
    chance = random.Random(seed)
    organizations = list(Organization.objects.values_list("pk", flat=True))
    connection.close()
    with open(notes, "a", buffering=1) as file:
        for _ in range(count):
            event_id, fate = write(chance.choice(organizations), chance)
            file.write(f"{fate} {event_id}\n")
            time.sleep(pause)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4]))
