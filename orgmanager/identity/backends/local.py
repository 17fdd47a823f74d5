"""Realms on this machine, in one SQLite file: an identity provider to start with."""

import base64
import fcntl
import hashlib
import json
import math
import os
import secrets
import sqlite3
import time
import uuid
from contextlib import closing, contextmanager
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from django.views.decorators.debug import sensitive_variables

from ...errors import Rejected, Unavailable
from ..addresses import checked_realm
from ..representation import check_representation
from ..template import MARKER
from .base import BaseIdentity, identify, refuse_foreign

KEY_SIZE = 2048  # bits

# Guessing passwords: so many failures of one name from one address, and so many
# from one address whatever the names, within the window.
ATTEMPT_WINDOW = 60  # seconds
ATTEMPTS_PER_NAME = 5
ATTEMPTS_PER_ADDRESS = 50

_SCHEMA = """
CREATE TABLE realm (
    name TEXT PRIMARY KEY,
    enabled INTEGER NOT NULL,
    marker TEXT NOT NULL,
    settings TEXT NOT NULL,
    private_key TEXT NOT NULL,
    key_id TEXT NOT NULL
) STRICT;
CREATE TABLE client (
    realm TEXT NOT NULL REFERENCES realm ON DELETE CASCADE,
    client_id TEXT NOT NULL,
    secret TEXT,
    settings TEXT NOT NULL,
    PRIMARY KEY (realm, client_id)
) STRICT;
CREATE TABLE user (
    id TEXT PRIMARY KEY,
    realm TEXT NOT NULL REFERENCES realm ON DELETE CASCADE,
    username TEXT NOT NULL,
    email TEXT,
    client_id TEXT,
    settings TEXT NOT NULL,
    UNIQUE (realm, username),
    UNIQUE (realm, email),
    FOREIGN KEY (realm, client_id) REFERENCES client ON DELETE CASCADE
) STRICT;
CREATE TABLE attempt (
    id INTEGER PRIMARY KEY,
    realm TEXT NOT NULL,
    name TEXT NOT NULL,
    address TEXT NOT NULL,
    made_at REAL NOT NULL
) STRICT;
CREATE INDEX attempt_address ON attempt (address, made_at);
"""


class Identity(BaseIdentity):
    """
    Realms, clients and users in ``path``, which only its owner may read.

    A connection lives for one call: nothing is shared between threads, and
    nothing is inherited over a fork.
    """

    def __init__(self, *, path, timeout=5):
        """``timeout``: seconds to wait for another process to finish writing."""
        self._path = Path(path)
        self._timeout = timeout

    def ensure_realm(self, representation):
        name, marker = identify(representation)
        if not self._is_there(name, marker):
            check_representation(representation)
            key = rsa.generate_private_key(public_exponent=65537, key_size=KEY_SIZE)
            try:
                with self._writing() as database:
                    _insert_realm(database, representation, key)
            except sqlite3.IntegrityError as error:
                # Another process was faster, or something in it exists elsewhere.
                if not self._is_there(name, marker):
                    raise Rejected(f"Realm refused: {error}.") from error

    def set_realm_enabled(self, name, enabled):
        with self._writing() as database:
            changed = database.execute(
                "UPDATE realm SET enabled = ? WHERE name = ?",
                [int(enabled), checked_realm(name)],
            )
            if not changed.rowcount:
                raise _no_realm(name)

    def delete_realm(self, name, marker):
        with self._writing() as database:
            row = _find(database, "realm", name=checked_realm(name))
            if row is not None:
                refuse_foreign(name, row["marker"], marker)
                database.execute("DELETE FROM realm WHERE name = ?", [name])

    def find_realm(self, name):
        with self._reading() as database:
            row = _find(database, "realm", name=checked_realm(name))
        return row and {"enabled": bool(row["enabled"]), "marker": row["marker"]}

    def client_secret(self, realm, client_id):
        client = self.find_client(checked_realm(realm), client_id)
        if client is None or not client["secret"]:
            raise Rejected(
                f"Realm {realm} has no client {client_id!r:.100} with a secret."
            )
        return client["secret"]

    def jwks(self, realm):
        row = self.signing_realm(realm)
        if row is None:
            raise _no_realm(realm)
        key = serialization.load_pem_private_key(row["private_key"].encode(), None)
        numbers = key.public_key().public_numbers()
        public = {
            "kid": row["key_id"],
            "kty": "RSA",
            "alg": "RS256",
            "use": "sig",
            "n": _base64url(numbers.n),
            "e": _base64url(numbers.e),
        }
        return {"keys": [public]}

    def ping(self):
        with self._reading() as database:
            database.execute("SELECT 1 FROM realm LIMIT 1")

    # What only the token issuer asks for; another provider issues its own.

    def signing_realm(self, name):
        """
        Return what tokens of realm ``name`` are made of, or None.

        Shapes: {"name": str, "enabled": bool, "settings": the representation
        without clients and users, "private_key": PEM str, "key_id": str}.
        """
        with self._reading() as database:
            row = _find(database, "realm", name=checked_realm(name))
        return row and {
            "name": row["name"],
            "enabled": bool(row["enabled"]),
            "settings": json.loads(row["settings"]),
            "private_key": row["private_key"],
            "key_id": row["key_id"],
        }

    def find_client(self, realm, client_id):
        """Return a client as its representation says, with ``secret``, or None."""
        with self._reading() as database:
            row = _find(database, "client", realm=realm, client_id=client_id)
        return row and json.loads(row["settings"]) | {"secret": row["secret"]}

    def find_user(self, realm, name):
        """Return the user with username or e-mail ``name``, in any case, or None."""
        name = name.strip().lower()
        with self._reading() as database:
            row = _find(database, "user", realm=realm, username=name)
            row = row or _find(database, "user", realm=realm, email=name)
        return row and json.loads(row["settings"])

    def find_service_account(self, realm, client_id):
        """Return the user that stands for the client ``client_id``, or None."""
        with self._reading() as database:
            row = _find(database, "user", realm=realm, client_id=client_id)
        return row and json.loads(row["settings"])

    def begin_attempt(self, realm, name, address):
        """
        Count an attempt to sign in, before it is known how it ends.

        Counted afterwards, a hundred guesses at once would all be the first.

        Shapes: (attempt, wait): ``attempt`` for forget_attempt(), None when refused.
        Units: ``wait`` is seconds until the next attempt, 0 when this one may go on.
        """
        with self._writing() as database:
            now = time.time()  # in here, or it would be before what others just wrote
            database.execute(
                "DELETE FROM attempt WHERE abs(made_at - ?) >= ?", [now, ATTEMPT_WINDOW]
            )
            made = database.execute(
                "SELECT * FROM attempt WHERE address = ? ORDER BY id",
                [address],
            ).fetchall()
            same = [a for a in made if (a["realm"], a["name"]) == (realm, name)]
            for attempts, limit in (
                (same, ATTEMPTS_PER_NAME),
                (made, ATTEMPTS_PER_ADDRESS),
            ):
                if len(attempts) >= limit:
                    oldest = attempts[-limit]["made_at"]  # that still counts
                    return None, math.ceil(oldest + ATTEMPT_WINDOW - now)
            attempt = database.execute(
                "INSERT INTO attempt VALUES (NULL, ?, ?, ?, ?)",
                [realm, name, address, now],
            )
        return attempt.lastrowid, 0

    def forget_attempt(self, attempt):
        """Take ``attempt`` back: it was no failure."""
        with self._writing() as database:
            database.execute("DELETE FROM attempt WHERE id = ?", [attempt])

    def _is_there(self, name, marker):
        """Say whether realm ``name`` is there and ours. Raises: RealmConflict."""
        realm = self.find_realm(name)
        if realm is not None:
            refuse_foreign(name, realm["marker"], marker)
        return realm is not None

    @contextmanager
    def _reading(self):
        try:
            if not self._path.exists():
                self._create()
            with closing(_connect(self._path, self._timeout)) as database:
                yield database
        except sqlite3.IntegrityError:
            raise
        except (OSError, sqlite3.DatabaseError) as error:
            raise Unavailable(
                f"The local realms in {self._path} cannot be used: {error}. "
                "Check the disk, and whose the file is."
            ) from error

    @contextmanager
    def _writing(self):
        with self._reading() as database:
            database.execute("BEGIN IMMEDIATE")
            try:
                yield database
                database.execute("COMMIT")
            finally:
                if database.in_transaction:
                    database.execute("ROLLBACK")

    def _create(self):
        """Make the file with its tables; other processes see all of it or none."""
        directory = self._path.parent
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        with _locked(self._path.with_name(f"{self._path.name}.lock")):
            if self._path.exists():
                return
            draft = self._path.with_name(f"{self._path.name}.draft")
            draft.unlink(missing_ok=True)
            os.close(os.open(draft, os.O_RDWR | os.O_CREAT | os.O_EXCL, mode=0o600))
            with closing(_connect(draft, self._timeout)) as database:
                database.execute("PRAGMA journal_mode = WAL")
                database.executescript(_SCHEMA)
            draft.replace(self._path)
            _sync_directory(directory)


def _connect(path, timeout):
    # mode=rw: a file that vanished is not made again with everybody's rights.
    database = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode=rw",
        uri=True,
        timeout=timeout,
        isolation_level=None,
    )
    database.row_factory = sqlite3.Row
    database.execute("PRAGMA foreign_keys = ON")
    database.execute("PRAGMA synchronous = FULL")
    return database


@sensitive_variables()
def _insert_realm(database, representation, key):
    name = representation["realm"]
    apart = ("clients", "users")
    pem = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    database.execute(
        "INSERT INTO realm VALUES (?, ?, ?, ?, ?, ?)",
        [
            name,
            int(representation.get("enabled", False)),
            representation["attributes"][MARKER],
            json.dumps({k: v for k, v in representation.items() if k not in apart}),
            pem.decode(),
            _key_id(key),
        ],
    )
    for client in representation.get("clients", []):
        _insert_client(database, name, client)
    for user in representation.get("users", []):
        _insert_user(database, name, user)


def _insert_client(database, realm, client):
    secret = None
    if not client.get("publicClient"):
        secret = client.get("secret") or secrets.token_urlsafe(32)
    kept = {field: value for field, value in client.items() if field != "secret"}
    database.execute(
        "INSERT INTO client VALUES (?, ?, ?, ?)",
        [realm, client["clientId"], secret, json.dumps(kept)],
    )


def _insert_user(database, realm, user):
    user = {"id": str(uuid.uuid4()), **user}
    email = user.get("email")
    database.execute(
        "INSERT INTO user VALUES (?, ?, ?, ?, ?, ?)",
        [
            user["id"],
            realm,
            user["username"].lower(),
            email and email.lower(),
            user.get("serviceAccountClientId"),
            json.dumps(user),
        ],
    )


def _find(database, table, **columns):
    condition = " AND ".join(f"{column} = ?" for column in columns)
    statement = f"SELECT * FROM {table} WHERE {condition}"  # noqa: S608 - our names
    return database.execute(statement, list(columns.values())).fetchone()


def _no_realm(name):
    return Rejected(f"There is no realm {name}.")


def _key_id(key):
    public = key.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return (
        base64.urlsafe_b64encode(hashlib.sha256(public).digest()).rstrip(b"=").decode()
    )


def _base64url(number):
    raw = number.to_bytes((number.bit_length() + 7) // 8, "big")
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _sync_directory(path):
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _locked(path):
    with os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, mode=0o600), "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
