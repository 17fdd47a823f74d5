"""
Waking the worker when something was committed, where the database can.

Only a hint: what is to be done is found by looking, and a worker that hears
nothing looks all the same, a little later.
"""

import time

import psycopg
from django.db import connection

from ..locks import own_connection
from .models import SHARDS

CHANNEL = "orgmanager_outbox"
EVERYWHERE = frozenset(range(SHARDS))
HEARING_PAUSE = 0.5  # seconds between two looks everywhere by one who is told
DEAF_PAUSE = 0.1  # seconds between two looks by one who is not


def announce(shard):
    """
    Tell the workers, when the open transaction commits, that ``shard`` owes.

    The database sends what a transaction announces twice only once.
    """
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute(f"NOTIFY {CHANNEL}, '{shard:d}'")


class Ear:
    """Hears announce(), on a connection of its own."""

    def __init__(self):
        self._connection = None
        self._looked_at = -HEARING_PAUSE

    def listen(self, *, wait):
        """
        Return the shards to look at: those announced, and all after a pause.

        Without ``wait`` what was announced already, at once.
        """
        if connection.vendor != "postgresql":
            time.sleep(DEAF_PAUSE if wait else 0)
            return EVERYWHERE
        left = self._looked_at + HEARING_PAUSE - time.monotonic()
        heard = self._hear(max(left, 0) if wait else 0)
        if heard is None or self._looked_at + HEARING_PAUSE <= time.monotonic():
            self._looked_at = time.monotonic()
            return EVERYWHERE
        return heard

    def close(self):
        """Let go of the connection; the next listen() makes a new one."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _hear(self, timeout):
        """Return the shards announced; None if some may have been missed."""
        try:
            if self._connection is None:
                self._connection = own_connection()
                self._connection.execute(f"LISTEN {CHANNEL}")
                return None
            notes = self._connection.notifies(timeout=timeout, stop_after=1)
            return {int(note.payload) for note in notes}
        except psycopg.Error:
            self.close()
            time.sleep(DEAF_PAUSE)
            return None
