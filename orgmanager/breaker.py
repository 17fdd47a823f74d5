"""When to leave a system alone that fails, and when to try it again."""

import logging
import threading
import time
from contextlib import contextmanager

logger = logging.getLogger(__name__)


class Breaker:
    """
    Counts failures in a row; after ``failures`` of them nobody asks for ``pause``.

    Then one caller tries, while the others go on without an answer: a success lets
    everybody in again, a failure starts the next pause.

    Units: seconds for all times; ``patience``: after which a try that nobody
    reported on counts as lost, ``pause`` where it is not given.
    """

    def __init__(self, name, *, failures, pause, patience=None, clock=time.monotonic):
        self._name = name
        self._limit = failures
        self._pause = pause
        self._patience = patience or pause
        self._clock = clock
        self._lock = threading.Lock()
        self._failures = 0
        self._next_try_at = 0
        self._reason = ""

    @contextmanager
    def asking(self, *, silence, answers=(), refusal):
        """
        Ask in this block, if anybody may, and report how it went.

        Shapes: ``silence``: exceptions that mean no answer came, ``answers`` those
        that are one; ``refusal``: what is raised, with a sentence, to who may not.
        """
        if not self.may_ask():
            raise refusal(self.refusal())
        try:
            yield
        except silence as error:
            self.fail(error)
            raise
        except answers:
            self.succeed()
            raise
        self.succeed()

    def may_ask(self):
        """Return whether to ask now; whoever is told yes reports how it went."""
        if self._failures < self._limit:
            return True
        with self._lock:
            now = self._clock()
            if self._failures < self._limit:
                return True
            if now < self._next_try_at:
                return False
            self._next_try_at = now + self._patience
            return True

    def succeed(self):
        """Report an answer, also one that refuses."""
        if not self._failures:
            return
        with self._lock:
            was_open, self._failures = self._failures >= self._limit, 0
        if was_open:
            logger.info("%s answers again.", self._name)

    def fail(self, error):
        """Report that there was no answer."""
        with self._lock:
            self._failures += 1
            self._reason = f"{type(error).__name__}: {error}".rstrip(".")
            if self._failures >= self._limit:
                self._next_try_at = self._clock() + self._pause
            opens = self._failures == self._limit
        if opens:
            logger.warning("%s", self.refusal())

    def refusal(self):
        """Return the sentence for those who may not ask."""
        return (
            f"{self._name} is left alone for {self._pause:g} s at a time, for it did "
            f"not answer: {self._reason}."
        )
