"""
Waking the worker when something was committed, where the database can.

Only a hint: what is to be done is found by looking, and a worker that hears
nothing looks all the same, a little later.
"""

import time

import psycopg
from django.db import connection

from ..locks import own_connection

CHANNEL = "orgmanager_outbox"
HEARING_PAUSE = 0.5  # seconds between two looks of a worker that is woken
DEAF_PAUSE = 0.1  # seconds between two looks of one that is not


def announce():
    """
    Wake the workers when the open transaction commits; several times is once.

    Without payload: nothing may be known from a hint that could get lost.
    """
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute(f"NOTIFY {CHANNEL}")


class Ear:
    """Waits for announce(), on a connection of its own."""

    def __init__(self):
        self._connection = None

    def wait(self):
        """Return when something was announced, or after a pause."""
        if connection.vendor != "postgresql":
            time.sleep(DEAF_PAUSE)
            return
        try:
            if self._connection is None:
                self._connection = own_connection()
                self._connection.execute(f"LISTEN {CHANNEL}")
                return  # what was announced before is found by looking once more
            for _ in self._connection.notifies(timeout=HEARING_PAUSE, stop_after=1):
                pass
        except psycopg.Error:
            self.close()
            time.sleep(DEAF_PAUSE)

    def close(self):
        """Let go of the connection; the next wait() makes a new one."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None
