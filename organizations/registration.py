"""
The first run, from token to organization: what both doors of it call.

It is more than an operation because it talks to the licence server before the
claim, and waits for its own work orders after it. Killed anywhere, the worker
goes on from the row.
"""

import logging
import time
from typing import NamedTuple

from django.conf import settings
from django.db import OperationalError
from django.views.decorators.debug import sensitive_variables
from psycopg.errors import LockNotAvailable

from orgmanager.authorization import authorization
from orgmanager.broker import broker
from orgmanager.errors import DomainError
from orgmanager.identity import identity
from orgmanager.identity.passwords import check_password
from orgmanager.licence_server import licence_server
from orgmanager.licence_server.backends.base import InvalidRegistrationToken
from orgmanager.outbox import work
from orgmanager.outbox.models import WorkOrder

from . import operations
from .events import ACTIVATION, RELATIONSHIPS, SERVICE_ACCOUNT_REALM, USERS_REALM
from .exceptions import RegistrationFailed, RegistrationInProgress
from .models import Organization, Registration

logger = logging.getLogger(__name__)

PATIENCE = 20  # seconds that a door waits before it says "still running"

STEPS = {
    SERVICE_ACCOUNT_REALM: "Realm for service accounts",
    USERS_REALM: "Realm for users, with the administrator",
    RELATIONSHIPS: "Permissions of the administrator",
    ACTIVATION: "Organization active and announced",
}


class Outcome(NamedTuple):
    """How far a registration came. ``is_done`` is False while it runs on."""

    registration: Registration
    organization: Organization
    is_done: bool


@sensitive_variables("password", "token", "given")
def register(*, token, admin, password, name="", actor, patience=PATIENCE):
    """
    Register this installation, and wait up to ``patience`` seconds for the end.

    The same token while its registration runs gives an Outcome that is not
    done, and starts nothing; steps that were refused for good are tried again.

    Shapes: ``admin`` is {"email", "first_name", "last_name"}.
    Raises: Invalid for a weak password or a bad token; AlreadyRegistered;
    RegistrationInProgress; RemovalInProgress; TokenUsed; RegistrationFailed, for
    example when a realm of that name is not ours; Unavailable when the licence
    server is down.
    """
    deadline = time.monotonic() + patience
    refuse_if_registered()
    check_password(password, admin["email"], pointer="/admin/password")
    registration = _running_with(token)
    if registration is None:
        claims = check_token(token)
        name = name or claims.org_name or settings.DEFAULT_ORGANIZATION_NAME
        given = {"token": token, "admin": admin, "password": password, "actor": actor}
        try:
            registration = _claim(claims, deadline=deadline, name=name, **given)
        except RegistrationInProgress:
            # Perhaps lost against the same token, sent a moment earlier.
            registration = _running_with(token)
            if registration is None:
                raise
            return outcome(registration)
    elif _parked(registration) is not None:
        operations.resume_registration(registration)
    else:
        return outcome(registration)
    work.run_for(registration.organization_id, deadline=deadline)
    registration.refresh_from_db()
    result = outcome(registration)
    if not result.is_done:
        _raise_if_parked(registration)
    return result


@sensitive_variables("claims", "given")
def _claim(claims, *, deadline, **given):
    """
    Return the registration that operations.start_registration() starts.

    Whoever claims holds a lock meanwhile, which others wait for. One that dies or
    is frozen holds it for seconds; what comes of that claim is then worth waiting
    for. Raises: as start_registration().
    """
    while True:
        try:
            return operations.start_registration(claims, **given)
        except OperationalError as error:
            if not isinstance(error.__cause__, LockNotAvailable):
                raise
            if time.monotonic() > deadline:
                raise operations.refusal_of_second_registration() from error


def refuse_if_registered():
    """Raise AlreadyRegistered if there is nothing left to register."""
    if Registration.objects.filter(state=Registration.State.DONE).exists():
        raise operations.refusal_of_second_registration()


@sensitive_variables("token")
def check_token(token):
    """
    Return the claims of a token that the licence server stands by.

    Raises: InvalidRegistrationToken, also for an organization that this
    installation was not set up for; Unavailable.
    """
    claims = licence_server.validate_registration(token)
    expected = settings.ORGANIZATION_ID
    if expected and claims.org_id != str(expected):
        logger.warning(
            "A registration token is for organization %s, and ORGANIZATION_ID is %s.",
            claims.org_id,
            expected,
        )
        raise InvalidRegistrationToken(
            "The registration token is not valid. Copy it whole, or ask for a new "
            "one where you got this one; the reason is in the service's log."
        )
    return claims


@sensitive_variables("password", "token")
def rehearse(*, token, admin, password):
    """
    Try everything that a registration needs, and change nothing.

    Shapes: [{"check": str, "ok": bool, "detail": str}], all checks, in order.
    """
    checks = [
        ("not registered yet", refuse_if_registered),
        (
            "password",
            lambda: check_password(password, admin["email"], pointer="/admin/password"),
        ),
        ("registration token", lambda: check_token(token)),
        ("identity provider", identity.ping),
        ("authorization service", authorization.ping),
        ("broker", broker.ping),
    ]
    report = []
    for name, check in checks:
        try:
            check()
            report.append({"check": name, "ok": True, "detail": ""})
        except DomainError as error:
            report.append({"check": name, "ok": False, "detail": str(error)})
    return report


def outcome(registration):
    """Return the Outcome as it stands now."""
    organization = Organization.objects.get(pk=registration.organization_id)
    is_done = registration.state == Registration.State.DONE
    return Outcome(registration, organization, is_done)


def steps(registration):
    """
    Return how far each step is; one that was done once stays done.

    Shapes: [{"step", "title", "state": "DUE"|"DONE"|"PARKED", "attempts": int,
    "error": str, "error_code": str}]. ``error`` names internal addresses: it is
    for operators, not for everybody.
    """
    orders = {
        order.destination: order
        for order in WorkOrder.objects.filter(
            organization_id=registration.organization_id, destination__in=STEPS
        )
    }
    report = []
    for destination, title in STEPS.items():
        order = orders.get(destination)
        done = registration.state == Registration.State.DONE
        state = "DONE" if done else (order.state.upper() if order else "DUE")
        report.append(
            {
                "step": destination,
                "title": title,
                "state": state,
                "attempts": order.attempts if order else 0,
                "error": order.error if order and not done else "",
                "error_code": order.error_code if order and not done else "",
            }
        )
    return report


def _running_with(token):
    return Registration.objects.filter(
        state=Registration.State.RUNNING, token_digest=operations.digest(token)
    ).first()


def _parked(registration):
    return WorkOrder.objects.filter(
        organization_id=registration.organization_id, state=WorkOrder.State.PARKED
    ).first()


def _raise_if_parked(registration):
    parked = _parked(registration)
    if parked is not None:
        raise RegistrationFailed(
            f"The registration stopped: {parked.error} Mend that, then send the same "
            "again, or retry the step in the console or by manage.py retry_work. Or "
            "give up: manage.py cancel_registration --confirm CODE",
            code=parked.error_code,
        )
