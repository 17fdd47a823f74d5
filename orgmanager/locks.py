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
from .postgresql.connection import Connection

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

    def confirm(self):
        """Do nothing: only the end of the process takes these locks away."""

    def count_members(self, name):
        """Return 1: on this database one worker takes all of the work."""
        return 1

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
    does not keep its locks: call ``confirm`` at least every 10 s.
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
        if name not in self._held:
            if not self._ask("SELECT pg_try_advisory_lock(%s::int, %s::int)", name):
                return False
            self._held.add(name)
        else:
            self.confirm()
        return True

    def confirm(self):
        """Prove that the locks are still held. Raises: Unavailable if not."""
        self._ask("SELECT 1")

    def count_members(self, name):
        """
        Join those who share the work ``name`` and return how many they are.

        Raises: Unavailable when the connection is gone, and with it every lock.
        """
        if name not in self._held:
            self._ask("SELECT pg_advisory_lock_shared(%s::int, %s::int)", name)
            self._held.add(name)
        return self._ask(
            "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND granted"
            " AND mode = 'ShareLock' AND classid::bigint = %s"
            " AND objid::bigint = %s & 4294967295 AND database ="
            " (SELECT oid FROM pg_database WHERE datname = current_database())",
            name,
        )

    def release(self, name):
        """Give the lock ``name`` back. Raises: Unavailable as try_acquire()."""
        if name in self._held:
            self._held.discard(name)
            self._ask("SELECT pg_advisory_unlock(%s::int, %s::int)", name)

    def close(self):
        """Give every lock back."""
        self._held.clear()
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _ask(self, statement, name=None):
        """Return the one value that ``statement`` about the lock ``name`` gives."""
        key = [_CLASS_ID, zlib.crc32(name.encode()) - 2**31] if name else None
        try:
            if self._connection is None:
                self._connection = self._connect()
            return self._connection.execute(statement, key).fetchone()[0]
        except psycopg.Error as error:
            self.close()
            raise Unavailable("The connection that holds the locks is gone.") from error

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
    return Connection.connect(**parameters, autocommit=True)
