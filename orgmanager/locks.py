"""
Locks between processes, let go when their holder dies.

PostgreSQL: session advisory locks on a connection of their own, never one from
a pool, where the lock would stay behind. SQLite: ``flock`` on files.
"""

import fcntl
import os
import zlib

import psycopg
from django.conf import settings
from django.db import connection

from .errors import Unavailable

_CLASS_ID = zlib.crc32(b"orgmanager") & 0x7FFFFFFF  # apart from other users' locks


def make_locks():
    """Return the locks that fit the database."""
    return AdvisoryLocks() if connection.vendor == "postgresql" else FileLocks()


class FileLocks:
    """Locks of this machine, under ``var/locks``."""

    def __init__(self):
        self._directory = settings.VAR_DIR / "locks"
        self._files = {}

    def try_acquire(self, name):
        """Take the lock ``name`` unless somebody else has it; say whether we do."""
        if name in self._files:
            return True
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        file = (self._directory / f"{name}.lock").open("w")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
            return False
        file.write(f"{os.getpid()}\n")
        file.flush()
        self._files[name] = file
        return True

    def release(self, name):
        """Give the lock ``name`` back."""
        if file := self._files.pop(name, None):
            file.close()

    def close(self):
        """Give every lock back."""
        for name in list(self._files):
            self.release(name)


class AdvisoryLocks:
    """
    Locks of the database.

    The server drops a connection that stays silent, so that a frozen holder
    does not keep its locks: call ``try_acquire`` again at least every 10 s.
    """

    IDLE_TIMEOUT = 15_000  # milliseconds

    def __init__(self):
        self._connection = None
        self._held = set()

    def try_acquire(self, name):
        """
        Take the lock ``name`` unless somebody else has it; say whether we do.

        Raises: Unavailable when the connection is gone, and with it every lock.
        """
        try:
            if self._connection is None:
                self._connection = self._connect()
            if name in self._held:
                self._connection.execute("SELECT 1")
                return True
            key = zlib.crc32(name.encode()) - 2**31
            row = self._connection.execute(
                "SELECT pg_try_advisory_lock(%s::int, %s::int)", [_CLASS_ID, key]
            ).fetchone()
        except psycopg.Error as error:
            self.close()
            raise Unavailable("The connection that holds the locks is gone.") from error
        if row[0]:
            self._held.add(name)
        return row[0]

    def release(self, name):
        """Give the lock ``name`` back."""
        if name in self._held:
            self._held.discard(name)
            key = zlib.crc32(name.encode()) - 2**31
            try:
                self._connection.execute(
                    "SELECT pg_advisory_unlock(%s::int, %s::int)", [_CLASS_ID, key]
                )
            except psycopg.Error:
                self.close()

    def close(self):
        """Give every lock back."""
        self._held.clear()
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _connect(self):
        own = own_connection()
        own.execute(f"SET idle_session_timeout = {self.IDLE_TIMEOUT:d}")
        own.execute("SET statement_timeout = '10s'")
        return own


def own_connection():
    """
    Return a connection to the database outside Django's pool, in autocommit.

    Raises: psycopg.Error.
    """
    parameters = connection.get_connection_params()
    for name in ("pool", "cursor_factory", "context", "prepare_threshold"):
        parameters.pop(name, None)
    parameters |= {"keepalives": 1, "keepalives_idle": 5, "connect_timeout": 3}
    return psycopg.connect(**parameters, autocommit=True)
