"""What a licence server can do, and how its tokens are read."""

import logging
import re
from datetime import UTC, datetime
from typing import NamedTuple
from uuid import UUID

import jwt

from ...errors import Invalid

logger = logging.getLogger(__name__)

AUDIENCE = "flowx-organization-manager"
ALGORITHMS = ["RS256", "PS256", "ES256", "EdDSA"]
LONGEST_TOKEN = 16384  # characters
LEEWAY = 30  # seconds
_CODE = re.compile(r"[a-z0-9][a-z0-9-]{1,62}")


class RegistrationClaims(NamedTuple):
    """What a registration token says."""

    token_id: str
    org_id: str
    org_code: str
    org_name: str


class LicenceClaims(NamedTuple):
    """What a licence says. Shapes: times are aware datetimes."""

    organization_id: str
    plan: str
    valid_from: datetime
    valid_to: datetime
    limits: dict
    features: list
    issued_at: datetime


class InvalidRegistrationToken(Invalid):
    code = "invalid_registration_token"


class InvalidLicence(Invalid):
    code = "invalid_licence"


class BaseLicenceServer:
    """
    Interface of a licence server.

    Raises: Unavailable when it does not answer; InvalidRegistrationToken and
    InvalidLicence with one sentence for everybody: the exact reason goes to the
    log, for a caller who guesses should learn nothing from it.
    """

    issuer = ""

    def validate_registration(self, token):
        """Return the RegistrationClaims of a token that may be used."""
        raise NotImplementedError

    def read_licence(self, token):
        """Return the LicenceClaims of a licence that the server signed."""
        raise NotImplementedError

    def ping(self):
        """Return None if the server answers; raise Unavailable otherwise."""
        raise NotImplementedError


def read_registration(token, *, key, issuer):
    """
    Return the RegistrationClaims of ``token``, signed with ``key``.

    Raises: InvalidRegistrationToken.
    """
    try:
        claims = _decode(token, key, issuer, ["exp", "iat", "iss", "aud", "jti"])
        org_id, org_code = claims.get("orgId"), claims.get("orgCode")
        if not _is_canonical_uuid(org_id):
            raise ValueError("orgId is not a lower-case UUID")
        if not isinstance(org_code, str) or not _CODE.fullmatch(org_code):
            raise ValueError("orgCode is malformed")
        token_id, name = claims["jti"], claims.get("orgName", "")
        if not isinstance(token_id, str) or not 1 <= len(token_id) <= 255:
            raise ValueError("jti is not a text of 1 to 255 characters")
        if not isinstance(name, str) or len(name) > 200:
            raise ValueError("orgName is not a text of at most 200 characters")
    except (jwt.PyJWTError, ValueError, TypeError) as error:
        logger.warning("A registration token was refused: %s", error)
        raise invalid_registration_token() from error
    return RegistrationClaims(token_id, org_id, org_code, name)


def invalid_registration_token():
    """Return the one refusal of every bad registration token."""
    return InvalidRegistrationToken(
        "The registration token is not valid. Copy it whole, or ask for a new one "
        "where you got this one; the reason is in the service's log.",
    )


def read_licence(token, *, key, issuer):
    """
    Return the LicenceClaims of ``token``, signed with ``key``.

    Raises: InvalidLicence.
    """
    try:
        claims = _decode(token, key, issuer, ["iat", "iss", "aud"])
        if not _is_canonical_uuid(claims.get("orgId")):
            raise ValueError("orgId is not a lower-case UUID")
        plan = claims.get("plan")
        if not isinstance(plan, str) or not 1 <= len(plan) <= 100:
            raise ValueError("plan is not a text of 1 to 100 characters")
        limits, features = claims.get("limits", {}), claims.get("features", [])
        if not isinstance(limits, dict):
            raise ValueError("limits is not an object")
        if not isinstance(features, list) or any(
            not isinstance(feature, str) for feature in features
        ):
            raise ValueError("features is not a list of texts")
        valid_from, valid_to, issued_at = (
            datetime.fromtimestamp(claims[name], UTC)
            for name in ("validFrom", "validTo", "iat")
        )
        if valid_to <= valid_from:
            raise ValueError("validTo is not after validFrom")
    except (
        jwt.PyJWTError,
        ValueError,
        TypeError,
        KeyError,
        OverflowError,
        OSError,
    ) as error:
        logger.warning("A licence was refused: %s", error)
        raise InvalidLicence(
            "The licence is not valid. Fetch it again from the licence server; the "
            "reason is in the service's log."
        ) from error
    return LicenceClaims(
        claims["orgId"], plan, valid_from, valid_to, limits, features, issued_at
    )


def _decode(token, key, issuer, required):
    if not isinstance(token, str) or len(token) > LONGEST_TOKEN:
        raise ValueError("the token is no text, or too long")
    if token.count(".") != 2:
        raise ValueError("the token has not three parts")
    return jwt.decode(
        token,
        key,
        algorithms=ALGORITHMS,
        issuer=issuer,
        audience=AUDIENCE,
        leeway=LEEWAY,
        options={"require": required, "enforce_minimum_key_length": True},
    )


def _is_canonical_uuid(text):
    try:
        return isinstance(text, str) and str(UUID(text)) == text
    except ValueError:
        return False
