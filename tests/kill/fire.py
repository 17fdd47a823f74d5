"""The harness on PostgreSQL and Kafka, which are killed and frozen as well."""

import json
import os
import time
import uuid

import psycopg

from deploy.services.control import Control
from tests import real_services
from tests.real_services import postgresql, read_topic

from .harness import Run

# Faults by what they hit; each is undone again before the next one comes.
PAUSE = 8  # seconds that a frozen worker sleeps


class ServicesRun(Run):
    """A run with a database and topics of its own on the shared services."""

    def __init__(self, var, *, seed, worker_command=None):
        self.name = f"fire-{uuid.uuid4().hex[:8]}"
        self.bootstrap = os.environ["TEST_KAFKA_BOOTSTRAP_SERVERS"]
        self.topic = f"ai.flowx.{self.name}.organization.events.v1"
        with postgresql() as connection:
            connection.execute(f'CREATE DATABASE "{self.name}"')
        super().__init__(var, seed=seed, worker_command=worker_command)

    def environment(self):
        own = real_services.database_and_broker(self.name, self.var)
        return super().environment() | own

    def committed(self):
        rows = self.query(
            "SELECT event_id, organization_id, epoch, sequence FROM outbox_event"
        )
        return {
            str(event_id): (str(organization), epoch, sequence)
            for event_id, organization, epoch, sequence in rows
        }

    def count_committed(self):
        return self.query("SELECT count(*) FROM outbox_event")[0][0]

    def owed(self):
        return self.query("SELECT count(*) FROM outbox_delivery")[0][0]

    def published(self):
        """Read the topic from its beginning to its end, as any consumer would."""
        events = [json.loads(each.value()) for each in read_topic(self.topic)]
        return [
            (e["id"], e["organizationid"], int(e["epoch"]), int(e["sequence"]))
            for e in events
        ]

    def stop(self):
        super().stop()
        with postgresql() as connection:
            connection.execute(f'DROP DATABASE IF EXISTS "{self.name}" WITH (FORCE)')

    def connect(self):
        """Return a connection to the run's database."""
        return postgresql(self.name)

    def query(self, statement):
        """Return the rows of ``statement``, however often the database dies."""
        deadline = time.monotonic() + 60
        while True:
            try:
                with self.connect() as connection:
                    return connection.execute(statement).fetchall()
            except psycopg.OperationalError:  # it is being killed: that is the test
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.3)


def burn(
    run,
    *,
    events,
    faults,
    rhythm=1.0,
    writers=4,
    workers=3,
    organizations=40,
    patience=60,
):
    """
    Let writers record ``events`` while ``faults`` happen one after another.

    Shapes: ``faults``: names out of "worker", "writer", "broker", "database",
    "freeze"; the result is run.verdict() with what happened.
    Units: ``rhythm``: seconds between two faults, which the writers fill.
    """
    control = Control()
    run.make_organizations(organizations)
    for _ in range(workers):
        run.start_worker()
    pause = len(faults) * rhythm * writers / events  # the faults have time to hurt
    for _ in range(writers):
        run.start_writer(events // writers, pause=pause)
    delivered = 0
    for fault in faults:
        # Not while all are still starting: then a fault has nothing to hit.
        delivered = _await_deliveries(run, delivered, pause)
        _strike(run, control, fault, events // writers, pause)
        time.sleep(rhythm * 0.6)
    while (missing := events - run.count_committed()) > 0:
        if not any(process.poll() is None for process in run.writers):
            run.start_writer(missing + missing // 10 + 5)
        time.sleep(0.2)
    for writer in run.writers:
        writer.wait()
    drained = run.wait_until_drained(patience)
    time.sleep(1)
    return {**run.verdict(), "drained_seconds": round(drained, 1)}


def _await_deliveries(run, before, pause, patience=20):
    """Return how many were delivered, once it is more than ``before``."""
    deadline = time.monotonic() + patience
    while (now := run.count_committed() - run.owed()) <= before:
        if time.monotonic() > deadline:
            break
        if not any(process.poll() is None for process in run.writers):
            run.start_writer(50, pause=pause)
        time.sleep(0.1)
    return now


def _strike(run, control, fault, share, pause):
    if fault == "worker" and run.kill_one(run.workers):
        run.start_worker()
    elif fault == "writer" and run.kill_one(run.writers):
        run.start_writer(share // 4, pause=pause)
    elif fault == "freeze":
        run.freeze_one(run.workers, PAUSE)
    elif fault in {"broker", "database"}:
        name = {"broker": "kafka", "database": "postgresql"}[fault]
        control.kill(name)
        control.start(name)
        run.kills += 1
