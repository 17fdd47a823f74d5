"""What anyone may know: is the installation set up, and where does one sign in?"""

import threading
import time

from django.conf import settings
from django.db import DatabaseError

from orgmanager.identity import addresses
from orgmanager.identity.template import PLATFORM_CLIENT

from .access import USABLE
from .exceptions import OrganizationNotFound
from .models import Organization

FRESH = 1.0  # seconds that an answer is reused
RETRY_INTERVAL = 5.0  # seconds that an old one is, when no new one could be had

MISSING_ORGANIZATION = "MISSING_ORGANIZATION"
MISSING_LICENCE = "MISSING_LICENCE"
OK = "OK"


class Fresh:
    """Answers that are reused for FRESH seconds, and kept for when all is down."""

    def __init__(self, clock=time.monotonic):
        self._clock = clock
        self._answers = {}  # key: (answer, fresh until)
        self._lock = threading.Lock()

    def get(self, key):
        """Return the answer under ``key`` if it is still fresh, else None."""
        answer, until = self._answers.get(key, (None, 0))
        return answer if answer is not None and self._clock() < until else None

    def get_stale(self, key):
        """Return the answer under ``key``, however old, or None."""
        return self._answers.get(key, (None, 0))[0]

    def put(self, key, answer, *, seconds=FRESH):
        with self._lock:
            if len(self._answers) >= 10_000:
                self._answers.clear()
            self._answers[key] = answer, self._clock() + seconds

    def forget(self, key):
        self._answers.pop(key, None)

    def clear(self):
        self._answers.clear()


answers = Fresh()


def environment():
    """
    Return the installation's type and status; with OK, where to sign in.

    Only OK is reused, so a set-up screen sees each step at once; the last OK is
    also what is said while the database is down, or somebody else is asking it.

    Shapes: {"installationType", "status", "organization"?: {"id", "code", "name",
    "issuer", "tokenEndpoint", "clientId", "redirectUri"}}.
    """
    answer = answers.get("environment")
    if answer is not None:
        return answer
    stale = answers.get_stale("environment")
    if stale is not None:  # one asks, and waits if need be; nobody else does
        answers.put("environment", stale, seconds=RETRY_INTERVAL)
    try:
        answer = _environment()
    except DatabaseError:
        if stale is None:
            raise
        return stale
    if answer["status"] == OK:
        answers.put("environment", answer)
    else:
        answers.forget("environment")
    return answer


def _environment():
    answer = {"installationType": settings.INSTALLATION_TYPE}
    if settings.INSTALLATION_TYPE == "SAAS":
        return answer | {"status": OK}
    organization = (
        Organization.objects.filter(status__in=USABLE)
        .select_related("licence")
        .order_by("created_at")
        .first()
    )
    if organization is None:
        return answer | {"status": MISSING_ORGANIZATION}
    if not hasattr(organization, "licence"):
        return answer | {"status": MISSING_LICENCE}
    return answer | {"status": OK, "organization": sign_in_details(organization)}


def sign_in_details(organization):
    """Return where and as which client people of ``organization`` sign in."""
    realm = str(organization.pk)
    return {
        "id": realm,
        "code": organization.code,
        "name": organization.name,
        "issuer": addresses.issuer(realm),
        "tokenEndpoint": addresses.token_endpoint(realm),
        "clientId": PLATFORM_CLIENT,
        "redirectUri": settings.DESIGNER_HOME_URI,
    }


def realm(organization_id):
    """
    Return where tokens of an organization come from, and whether it is usable.

    Other services ask this often, so an answer is reused for a second.

    Shapes: {"organizationId", "status", "issuer", "jwksUri", "tokenEndpoint"}.
    Raises: OrganizationNotFound.
    """
    key = ("realm", str(organization_id))
    answer = answers.get(key)
    if answer is not None:
        return answer
    organization = Organization.objects.visible().filter(pk=organization_id).first()
    if organization is None:
        raise OrganizationNotFound(f"There is no organization {organization_id}.")
    name = str(organization.pk)
    answer = {
        "organizationId": name,
        "status": organization.status,
        "issuer": addresses.issuer(name),
        "jwksUri": addresses.jwks_uri(name),
        "tokenEndpoint": addresses.token_endpoint(name),
    }
    answers.put(key, answer)
    return answer
