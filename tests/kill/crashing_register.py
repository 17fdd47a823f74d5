"""Register, and die at a named point, as a power cut would have it."""

import os
import sys

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "orgmanager.settings")
django.setup()

from organizations import events, operations, registration  # noqa: E402
from orgmanager.identity import identity  # noqa: E402
from orgmanager.licence_server import licence_server  # noqa: E402
from orgmanager.outbox import work  # noqa: E402

ADMIN = {"email": "ada@acme.example", "first_name": "Ada", "last_name": "Acme"}
PASSWORD = "Correct-Horse-7"
DEAD = 70  # exit code of a crash that was asked for


def crash(*args, **kwargs):
    os._exit(DEAD)


def crash_before(function):
    return crash


def crash_after(function):
    def wrapped(*args, **kwargs):
        function(*args, **kwargs)
        os._exit(DEAD)

    return wrapped


def crash_after_nth(function, n):
    """Die after the ``n``-th call: orders are closed one by one."""
    calls = []

    def wrapped(*args, **kwargs):
        result = function(*args, **kwargs)
        calls.append(1)
        if len(calls) == n:
            os._exit(DEAD)
        return result

    return wrapped


DESTINATIONS = (
    events.SERVICE_ACCOUNT_REALM,
    events.USERS_REALM,
    events.RELATIONSHIPS,
    events.ACTIVATION,
)


def plant(point):
    """Put a crash at ``point``."""
    if point == "before-claim":
        operations.start_registration = crash
    elif point == "after-claim":
        operations.start_registration = crash_after(operations.start_registration)
    elif point == "before-answer":
        registration.outcome = crash
    elif point.startswith("after-close-"):
        work._close = crash_after_nth(work._close, int(point[-1]))
    elif point == "between-realm-and-forgetting":
        identity.ping()  # builds the backend
        backend = identity._backend
        backend.ensure_realm = crash_after_nth(backend.ensure_realm, 2)
    else:
        when, destination = point.split("-", 1)
        wrap = {"before": crash_before, "after": crash_after}[when]
        work.HANDLERS[destination] = wrap(work.HANDLERS[destination])


POINTS = [
    "before-claim",
    "after-claim",
    *[f"{when}-{each}" for each in DESTINATIONS for when in ("before", "after")],
    "between-realm-and-forgetting",
    *[f"after-close-{n}" for n in range(1, 5)],
    "before-answer",
]


if __name__ == "__main__":
    token_file, point = sys.argv[1:3]
    with open(token_file) as file:
        token = file.read().strip()
    licence_server.validate_registration(token)
    plant(point)
    registration.register(token=token, admin=ADMIN, password=PASSWORD, actor="test")
