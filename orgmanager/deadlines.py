"""Until when somebody waits, for the calls that are made meanwhile."""

import time
from contextlib import contextmanager
from contextvars import ContextVar

from .errors import Unavailable

_deadline = ContextVar("deadline", default=None)


@contextmanager
def until(deadline):
    """
    Let no call to another system last beyond ``deadline`` (time.monotonic()).

    Each call has a limit of its own, and work may need several: their sum is
    more than anybody waits for at a door.
    """
    token = _deadline.set(deadline)
    try:
        yield
    finally:
        _deadline.reset(token)


def seconds_left(limit):
    """
    Return how long a call may last that is given ``limit`` seconds.

    Raises: Unavailable when whoever waits has waited long enough.
    """
    deadline = _deadline.get()
    if deadline is None:
        return limit
    left = deadline - time.monotonic()
    if left <= 0:
        raise Unavailable(
            "The time of whoever waits is over; the worker goes on from here."
        )
    return min(limit, left)
