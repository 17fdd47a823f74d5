"""Answers of the engine, reused for a short while."""

import threading
import time
from collections import OrderedDict

from django.core.signals import setting_changed

from . import authorization
from .counters import CHECK_SECONDS

LIFETIME = 60  # seconds
CAPACITY = 10_000  # answers


class Decisions:
    """
    Asks the engine, and says yes again without asking for up to LIFETIME.

    Only while ``generation`` is the same: whoever changes a membership raises
    it, so the next question goes to the engine. A no is asked again every time:
    the engine hears of a new membership after the commit, and a no from that
    moment must not outlive it. No failure is remembered either.
    """

    def __init__(self, engine, *, clock=time.monotonic, capacity=CAPACITY):
        self._engine = engine
        self._clock = clock
        self._capacity = capacity
        self._granted = OrderedDict()  # question -> (generation, good until)
        self._lock = threading.Lock()

    def is_allowed(
        self, *, subject, permission, resource_type, resource_id, generation
    ):
        """
        Say whether ``subject`` has ``permission`` on the object.

        Shapes: ``subject``, ``resource_id``: UUIDs as strings.
        Raises: Unavailable when the engine is needed and does not answer;
        Rejected for a question that makes no sense.
        """
        question = (subject, permission, resource_type, resource_id)
        now = self._clock()  # before the engine looks, not after
        if self._is_granted(question, generation, now):
            return True
        with CHECK_SECONDS.time():
            granted = self._engine.check(
                resource_type, resource_id, permission, subject
            )
        if not granted:
            self._forget(question)
            return False
        self._remember(question, generation, now)
        return True

    def clear(self):
        """Forget every answer."""
        with self._lock:
            self._granted.clear()

    def _is_granted(self, question, generation, now):
        with self._lock:
            known_generation, good_until = self._granted.get(question, (None, now))
            if known_generation != generation or now >= good_until:
                return False
            self._granted.move_to_end(question)
            return True

    def _remember(self, question, generation, now):
        with self._lock:
            self._granted[question] = (generation, now + LIFETIME)
            self._granted.move_to_end(question)
            while len(self._granted) > self._capacity:
                self._granted.popitem(last=False)

    def _forget(self, question):
        with self._lock:
            self._granted.pop(question, None)


decisions = Decisions(authorization)


def _clear(*, setting, **kwargs):
    if setting == "AUTHORIZATION":
        decisions.clear()


setting_changed.connect(_clear)
