"""
Ask how a component is, and never wait for longer than that may take.

A question runs in a thread of its own, at most one per component: what hangs
holds up its thread, and neither the answer nor the questions to the others.
"""

import logging
import threading
import time
from typing import NamedTuple

from django.db import Error, connections
from django.utils import timezone

from orgmanager.errors import DomainError, Unavailable

logger = logging.getLogger(__name__)

FRESH = 1.0  # seconds that an answer is reused

UP = "UP"
DEGRADED = "DEGRADED"  # works, and somebody should look
AFFECTED = "AFFECTED"  # what it needs is down; no alarm of its own
UNKNOWN = "UNKNOWN"  # not set up, so there is nothing to ask
DOWN = "DOWN"


class Finding(NamedTuple):
    """How a component is, why, and what to do about it."""

    status: str
    reason: str
    next_step: str = ""
    affected_by: str = ""
    checked_at: object = None  # an aware datetime


def one_line(error):
    """Return the text of ``error`` without the line breaks that drivers add."""
    return " ".join(str(error).split())


class TimedOut(Unavailable):
    code = "timed_out"


class Call:
    """
    One call of a function, in a thread that is given up on when it takes too long.

    A daemon thread: one that hangs for good must not hold up the end of the process.
    """

    def __init__(self, function):
        self.called_at = timezone.now()
        self.started_at = time.monotonic()
        self.ended_at = None
        self._is_over = threading.Event()
        self._value = self._error = None
        thread = threading.Thread(target=self._run, args=[function], daemon=True)
        thread.start()

    def result(self, *, timeout):
        """
        Return what the function returned, or raise what it raised.

        Units: ``timeout`` in seconds, from the start of the call and not from now.
        Raises: TimedOut.
        """
        left = self.started_at + timeout - time.monotonic()
        if not self._is_over.wait(max(0, left)):
            raise TimedOut(f"There is no answer after {timeout:g} s.")
        if self._error is not None:
            raise self._error
        return self._value

    def _run(self, function):
        try:
            self._value = function()
        except Exception as error:
            self._error = error
        finally:
            connections.close_all()  # this thread's own
            self.ended_at = time.monotonic()
            self._is_over.set()


class Watch:
    """The latest question to one component, shared by all who ask meanwhile."""

    def __init__(self, name, component):
        self.name = name
        self._component = component
        self._call = None
        self._status = UP
        self._lock = threading.Lock()

    def begin(self):
        """Ask, unless an answer is under way, or so new that it does."""
        with self._lock:
            call = self._call
            if call is None or (
                call.ended_at is not None and time.monotonic() - call.ended_at >= FRESH
            ):
                call = self._call = Call(self._component.probe)
            return call

    def finding(self, call):
        """Return the answer to ``call``, or that there is none in time."""
        try:
            found = call.result(timeout=self._component.timeout)
        except DomainError as error:
            found = Finding(DOWN, str(error))
        except Error as error:
            found = Finding(DOWN, f"The database says: {one_line(error)}")
        except Exception as error:
            # Its text could hold anything, so it goes to the log alone.
            logger.error("The probe of %s failed.", self.name, exc_info=error)
            found = Finding(DOWN, f"Unexpected {type(error).__name__}; see the log.")
        if found.status != UP and not found.next_step:
            found = found._replace(next_step=self._component.next_step())
        self._log_change(found)
        return found._replace(checked_at=call.called_at)

    def _log_change(self, found):
        with self._lock:
            before, self._status = self._status, found.status
        if before != found.status:
            level = logging.INFO if found.status in (UP, UNKNOWN) else logging.WARNING
            message = "%s is %s, it was %s: %s"
            logger.log(level, message, self.name, found.status, before, found.reason)
