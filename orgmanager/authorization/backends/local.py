"""An engine on this machine: relationships in SQLite, decided by the table."""

import fcntl
import os
import sqlite3
from contextlib import closing, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from ...errors import Unavailable
from ..schema import INHERITED, PERMISSIONS, RELATIONS, USER, render
from .base import (
    BaseAuthorization,
    Relationship,
    SchemaMissing,
    check_object,
    check_question,
    check_relationship,
    check_updates,
)

_TABLES = """
    CREATE TABLE schema (
        only INTEGER PRIMARY KEY CHECK (only = 1), text TEXT NOT NULL
    ) STRICT;
    CREATE TABLE relationship (
        resource_type TEXT NOT NULL,
        resource_id TEXT NOT NULL,
        relation TEXT NOT NULL,
        subject_type TEXT NOT NULL,
        subject_id TEXT NOT NULL,
        subject_relation TEXT NOT NULL,
        PRIMARY KEY (
            resource_type, resource_id, relation,
            subject_type, subject_id, subject_relation
        )
    ) STRICT, WITHOUT ROWID;
"""
_ONE_OF_EACH_KIND = """
    SELECT * FROM relationship
    GROUP BY resource_type, relation, subject_type, subject_relation
"""
_ON_OBJECT = "SELECT * FROM relationship WHERE resource_type = ? AND resource_id = ?"
_OF_RELATION = f"{_ON_OBJECT} AND relation = ?"
_TOUCH = "INSERT OR IGNORE INTO relationship VALUES (?, ?, ?, ?, ?, ?)"
_DELETE = """
    DELETE FROM relationship
    WHERE resource_type = ? AND resource_id = ? AND relation = ?
    AND subject_type = ? AND subject_id = ? AND subject_relation = ?
"""


class Authorization(BaseAuthorization):
    """
    Relationships as SpiceDB keeps them, one row each, for any number of processes.

    A connection lives for one call: nothing is shared between threads, and
    nothing is carried over a fork.
    """

    def __init__(self, *, path, timeout=5):
        """``timeout``: seconds to wait for another process's write."""
        self._path = Path(path)
        self._timeout = timeout

    def ensure_schema(self):
        with self._transaction("IMMEDIATE") as rows:
            if _stored_schema(rows) == render():
                return
            for row in rows.execute(_ONE_OF_EACH_KIND):
                check_relationship(row)
            rows.execute("INSERT OR REPLACE INTO schema VALUES (1, ?)", [render()])

    def check(self, resource_type, resource_id, permission, subject_id):
        check_question(resource_type, resource_id, permission, subject_id)
        with self._transaction() as rows:
            _check_schema(rows)
            return _has(rows, resource_type, resource_id, permission, subject_id)

    def write(self, *, touch=(), delete=()):
        touch, delete = list(touch), list(delete)
        check_updates(touch, delete)
        with self._transaction("IMMEDIATE") as rows:
            _check_schema(rows)
            rows.executemany(_DELETE, delete)
            rows.executemany(_TOUCH, touch)

    def read(self, resource_type, resource_id):
        check_object(resource_type, resource_id)
        with self._transaction() as rows:
            _check_schema(rows)
            found = rows.execute(_ON_OBJECT, [resource_type, resource_id])
            return {Relationship(*row) for row in found}

    def ping(self):
        with self._transaction("IMMEDIATE"):
            pass

    @contextmanager
    def _transaction(self, kind="DEFERRED"):
        """Yield a connection inside one transaction, so that its reads agree."""
        try:
            if not self._path.exists():
                self._create()
            with closing(self._connect(self._path)) as connection:
                connection.execute("PRAGMA synchronous = FULL")
                connection.execute(f"BEGIN {kind}")
                with connection:
                    yield connection
        except (OSError, sqlite3.Error) as error:
            raise Unavailable(
                f"The local relationships in {self._path} cannot be used: {error}."
            ) from error

    def _create(self):
        """Make the file under another name, so that nobody sees it half made."""
        directory = self._path.parent
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = os.open(directory, os.O_RDONLY)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if self._path.exists():
                return
            with TemporaryDirectory(dir=directory) as workshop:
                draft = Path(workshop) / "draft"
                os.close(os.open(draft, os.O_WRONLY | os.O_CREAT, mode=0o600))
                with closing(self._connect(draft)) as connection:
                    connection.execute("PRAGMA journal_mode = WAL")
                    connection.executescript(_TABLES)
                draft.rename(self._path)
            os.fsync(lock)
        finally:
            os.close(lock)

    def _connect(self, path):
        return sqlite3.connect(path, timeout=self._timeout, isolation_level=None)


def _stored_schema(rows):
    row = rows.execute("SELECT text FROM schema").fetchone()
    return row and row[0]


def _check_schema(rows):
    if _stored_schema(rows) != render():
        raise SchemaMissing(
            "The local relationships have no schema, or that of another version. "
            "The worker applies it when it starts."
        )


def _has(rows, resource_type, resource_id, name, user):
    """Say whether ``user`` has ``name``: a relation, inherited role or permission."""
    if name in PERMISSIONS[resource_type]:
        roles = PERMISSIONS[resource_type][name]
        return any(_has(rows, resource_type, resource_id, role, user) for role in roles)
    if name in INHERITED[resource_type]:
        above = INHERITED[resource_type][name]
        found = rows.execute(_OF_RELATION, [resource_type, resource_id, above])
        return any(
            _has(rows, each.subject_type, each.subject_id, name, user)
            for each in [Relationship(*row) for row in found]
        )
    if name not in RELATIONS[resource_type]:
        return False
    found = rows.execute(_OF_RELATION, [resource_type, resource_id, name])
    return any(_is(rows, Relationship(*row), user) for row in found.fetchall())


def _is(rows, relationship, user):
    """Say whether ``user`` is the subject, or one of the userset it stands for."""
    *_, subject_type, subject_id, relation = relationship
    if relation:
        return _has(rows, subject_type, subject_id, relation, user)
    return (subject_type, subject_id) == (USER, user)
