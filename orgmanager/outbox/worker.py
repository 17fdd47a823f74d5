"""The worker process: relay, work orders, inbox and schedules, a thread each."""

import logging
import math
import threading
from datetime import timedelta

from django.conf import settings
from django.db import DatabaseError, close_old_connections, connection
from django.utils import timezone

from ..broker import broker
from ..errors import DomainError, Rejected, Unavailable
from ..locks import make_locks
from . import inbox, operations, work
from .models import SHARDS
from .relay import Relay
from .wakeup import EVERYWHERE, Ear

logger = logging.getLogger(__name__)

IDLE_PAUSE = 0.1  # seconds between two looks when there was nothing to do
TROUBLE_PAUSE = 1.0  # seconds after a failure
SCHEDULE_PAUSE = 60.0  # seconds

# Functions that the apps want called once in every worker, until each succeeds.
AT_START = []

# Functions that the apps want called about once a minute, by one worker at a time.
SCHEDULES = []


class Worker:
    """
    Runs until ``stop()``: every loop survives every failure of its work.

    Any number of workers may run; locks and leases share the work out.
    """

    def __init__(self):
        self._stopping = threading.Event()
        self._threads = []

    def start(self):
        """Start the threads and return."""
        loops = [
            ("relay", _RelayLoop()),
            ("work", _WorkLoop()),
            ("work-2", _WorkLoop()),
            ("start", _StartLoop()),
            ("schedule", _ScheduleLoop()),
            *[(f"inbox-{topic}", _InboxLoop(topic)) for topic in inbox.HANDLERS],
        ]
        for name, loop in loops:
            thread = threading.Thread(target=self._run, args=[loop], name=name)
            thread.start()
            self._threads.append(thread)

    def stop(self):
        """Ask every thread to finish what it has in hand."""
        self._stopping.set()

    def join(self):
        """Wait until every thread has ended."""
        for thread in self._threads:
            thread.join()

    def _run(self, loop):
        while not self._stopping.is_set():
            try:
                pause = loop.turn()
            except (Unavailable, DatabaseError) as error:
                logger.warning("%s: %s", type(loop).__name__, error)
                pause = TROUBLE_PAUSE
            except Exception:
                logger.exception("%s failed and goes on.", type(loop).__name__)
                pause = TROUBLE_PAUSE
            close_old_connections()
            if pause:
                self._stopping.wait(pause)
        loop.close()
        connection.close()


class _RelayLoop:
    """Delivers the shards whose locks this process has: its share of them all."""

    def __init__(self):
        self._locks = None
        self._relays = {}
        self._ear = Ear()
        self._due = EVERYWHERE

    def turn(self):
        try:
            if self._locks is None:
                self._locks = make_locks()
            if self._due == EVERYWHERE:
                self._take_share()
            self._locks.confirm()
            due = [self._relays[shard] for shard in self._due if shard in self._relays]
            busy = {relay.shard for relay in due if relay.deliver()}
            self._due = busy | self._ear.listen(wait=not busy)
        except Exception:
            # Publishers go first: without the lock none may write any more.
            self.close()
            raise
        return 0

    def close(self):
        self._due = EVERYWHERE
        self._ear.close()
        for relay in self._relays.values():
            relay.close()
        self._relays.clear()
        if self._locks is not None:
            self._locks.close()
            self._locks = None

    def _take_share(self):
        share = math.ceil(SHARDS / self._locks.count_members("relay"))
        for shard in list(self._relays)[share:]:
            self._relays.pop(shard).close()
            self._locks.release(f"relay-{shard}")
        for shard in EVERYWHERE - self._relays.keys():
            if len(self._relays) == share:
                return
            if self._locks.try_acquire(f"relay-{shard}"):
                self._relays[shard] = Relay(shard)


class _WorkLoop:
    def turn(self):
        return 0 if work.run_one() else IDLE_PAUSE

    def close(self):
        pass


class _InboxLoop:
    def __init__(self, topic):
        self._inbox = inbox.Inbox(topic)

    def turn(self):
        self._inbox.receive(timeout=0.5)
        return 0

    def close(self):
        self._inbox.close()


class _StartLoop:
    """What every worker does once, however long its system is down."""

    def __init__(self):
        self._left = [ensure_topics, *AT_START]

    def turn(self):
        for task in list(self._left):
            try:
                task()
            except Rejected as error:  # asking again will not change that
                logger.error("At the start: %s", error)
            self._left.remove(task)
        return SCHEDULE_PAUSE

    def close(self):
        pass


class _ScheduleLoop:
    """What is due by the clock, run by whoever has the lock."""

    def __init__(self):
        self._locks = None

    def turn(self):
        if self._locks is None:
            self._locks = make_locks()
        if self._locks.try_acquire("schedule"):
            try:
                for schedule in SCHEDULES:
                    schedule()
                _prune()
            except DomainError:
                logger.exception("A schedule was refused.")
            finally:
                self._locks.release("schedule")
                self._locks.close()
        return SCHEDULE_PAUSE

    def close(self):
        if self._locks is not None:
            self._locks.close()


def ensure_topics():
    """Create the topics that are missing. Raises: Unavailable; Rejected."""
    for topic in settings.TOPICS.values():
        broker.ensure_topic(topic)


def _prune():
    now = timezone.now()
    operations.prune(
        work_before=now - timedelta(days=7),
        events_before=now - settings.AUDIT_RETENTION,
    )
