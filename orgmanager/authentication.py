"""Who is calling: bearer tokens of known realms, verified without asking anybody."""

import base64
import hashlib
import json
import logging
import re
import threading
import time
from collections import OrderedDict
from dataclasses import dataclass

import jwt
from django.conf import settings
from django.utils.module_loading import import_string
from django.views.decorators.debug import sensitive_variables
from prometheus_client import Counter
from rest_framework.authentication import BaseAuthentication
from rest_framework.exceptions import AuthenticationFailed

from .errors import Forbidden, Unavailable
from .identity.addresses import is_canonical_uuid, issuer, realm_of
from .realm_keys import ALGORITHMS, UnknownKey, realm_keys

logger = logging.getLogger(__name__)

MAX_TOKEN_LENGTH = 16_384  # characters
MAX_LIFETIME = 86_400  # seconds between iat and exp
LEEWAY = 30  # seconds that clocks may differ
LOOKUP_TTL = {True: 30, False: 1}  # seconds an answer about an organization is kept
MAX_LOOKUPS = 10_000
MAX_SEEN = 2_000  # tokens that need not be verified again

SERVICE_ROLE = "SA_FLOWX"
OPERATOR_ROLE = "FLOWX_OPERATOR"

# Ways to say "verify me with this key instead". None is ever followed.
REFUSED_HEADERS = frozenset({"jku", "x5u", "jwk", "x5c", "crit", "b64"})
REQUIRED_CLAIMS = ["exp", "iat", "iss", "sub", "azp"]

OUTCOMES = Counter(
    "orgmanager_jwt_outcomes",
    "Bearer tokens by what became of them.",
    ["outcome"],
)

_TOKEN = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")
_PARTY = re.compile(r"[\x21-\x7e]{1,255}")  # an OAuth client id, in logs as it is

_REFUSAL_OUTCOMES = (  # first match wins: some are kinds of others
    (jwt.ExpiredSignatureError, "expired"),
    (jwt.ImmatureSignatureError, "not_yet_valid"),
    (jwt.InvalidAudienceError, "wrong_audience"),
    (jwt.MissingRequiredClaimError, "missing_claim"),
    (jwt.InvalidAlgorithmError, "wrong_algorithm"),
    (jwt.InvalidSignatureError, "bad_signature"),
    (jwt.InvalidKeyError, "weak_key"),
)


@dataclass(frozen=True)
class Principal:
    """
    Whoever a token speaks for.

    Shapes: ``kind`` "user", "service_account" or "operator"; the last two only with
    the role that makes them so. ``organization_id``: a user's, else None.
    ``actor``: as events name it, "user:<id>", "service:<client>", "operator:<id>".
    """

    kind: str
    subject: str
    realm: str
    organization_id: str | None
    client_id: str
    roles: frozenset
    actor: str

    is_authenticated = True

    @property
    def pk(self):
        """Return what tells callers apart, for rate limits."""
        return self.actor


class BearerAuthentication(BaseAuthentication):
    """
    Authenticate by a JWT of an organization's, the services' or the operators' realm.

    Whatever is wrong with a token, the answer is the same; the reason is in the log,
    the token never.

    Raises: AuthenticationFailed; Unavailable when the realm's keys cannot be had;
    Forbidden for a valid token of the services' or operators' realm whose owner
    lacks the role that counts there.
    Source: RFC 6750; RFC 8725.
    """

    scheme = "Bearer"

    @sensitive_variables()
    def authenticate(self, request):
        scheme, _, token = request.META.get("HTTP_AUTHORIZATION", "").partition(" ")
        if scheme.lower() != self.scheme.lower():
            return None
        try:
            principal = read_principal(token)
        except Refused as refusal:
            OUTCOMES.labels(refusal.outcome).inc()
            logger.info("Token refused (%s): %s", refusal.outcome, refusal)
            raise AuthenticationFailed(
                "The bearer token is not valid here. Sign in again and send a new one.",
                code="invalid_token",
            ) from None
        except Unavailable:
            OUTCOMES.labels("keys_unavailable").inc()
            raise
        except Forbidden:
            OUTCOMES.labels("role_missing").inc()
            raise
        return principal, None

    def authenticate_header(self, request):
        challenge = f'{self.scheme} realm="organization-manager"'
        # RFC 6750 section 3.1: no error code for a caller who sent no token.
        if request.META.get("HTTP_AUTHORIZATION", "").lower().startswith("bearer"):
            challenge += ', error="invalid_token"'
        return challenge


@sensitive_variables()
def read_principal(token):
    """Return whom ``token`` speaks for. Raises: as BearerAuthentication, privately."""
    header, unverified = _parse(token)
    realm = _trusted_realm(unverified)
    key = _key_for(realm, header)
    claims = _seen.find(token, key)
    if claims is None:
        claims = _verify(token, key, realm)
        _check_shape(header, claims)
        _seen.add(token, key, claims)
    outcome = _check_audience(claims)
    principal = _principal(realm, claims)
    OUTCOMES.labels(outcome).inc()
    return principal


@sensitive_variables()
def read_claims(token, realm, *, required):
    """
    Return what ``realm`` says in ``token``: signed by it, issued by it, and of now.

    For whom the token is, and of what kind, is left to the caller.

    Shapes: ``required``: names of claims.
    Raises: Refused; Unavailable when the realm's keys cannot be had.
    """
    header, _ = _parse(token)
    return _verify(token, _key_for(realm, header), realm, required)


class Refused(Exception):
    """Why a token is refused, for the log and the metric alone."""

    def __init__(self, outcome, reason):
        super().__init__(reason)
        self.outcome = outcome


@sensitive_variables()
def _parse(token):
    """Return (header, claims), neither of which proves anything yet."""
    if len(token) > MAX_TOKEN_LENGTH:
        raise Refused("oversized", f"{len(token)} characters")
    if not _TOKEN.fullmatch(token):
        raise Refused("malformed", "not three parts of base64url")
    header, claims, _ = token.split(".")
    header, claims = _read_part(header), _read_part(claims)
    if refused := sorted(REFUSED_HEADERS & header.keys()):
        raise Refused("refused_header", f"header {', '.join(refused)}")
    kind = header.get("typ")
    if not isinstance(kind, str) or kind.lower() not in {"jwt", "at+jwt"}:
        raise Refused("wrong_type", f"header typ {_shown(kind)}")
    return header, claims


@sensitive_variables()
def _read_part(part):
    """Return one part as it reads. PyJWT does it again, strictly, and slowly."""
    try:
        value = json.loads(base64.urlsafe_b64decode(f"{part}=="))
    except (ValueError, RecursionError) as error:
        raise Refused("malformed", f"{type(error).__name__} in a part") from None
    if not isinstance(value, dict):
        raise Refused("malformed", "a part is no object")
    return value


def _shown(value):
    """Return ``value`` for the log: short, on one line, and without its depths."""
    scalar = value is None or isinstance(value, str | int | float)
    return f"{value!r:.200}" if scalar else f"of type {type(value).__name__}"


def _trusted_realm(claims):
    """Return the realm that issued the token, if it is one that may."""
    claimed = claims.get("iss")
    realm = realm_of(claimed) if isinstance(claimed, str) else None
    if realm is None:
        raise Refused("unknown_issuer", f"iss {_shown(claimed)}")
    configured = realm in (settings.SERVICE_ACCOUNT_REALM, settings.OPERATOR_REALM)
    if not configured and not known_organizations.has(realm):
        raise Refused("unknown_issuer", f"no usable organization {realm}")
    return realm


def _key_for(realm, header):
    key_id = header.get("kid")
    try:
        if not isinstance(key_id, str):
            raise UnknownKey
        return realm_keys.find(realm, key_id)
    except UnknownKey as error:
        reason = f"realm {realm} has no key {_shown(key_id)}"
        raise Refused("unknown_key", reason) from error


@sensitive_variables()
def _verify(token, key, realm, required=REQUIRED_CLAIMS):
    """Return the claims, proven to be the realm's and of now."""
    try:
        return jwt.decode(
            token,
            key,
            # Of the key, never of the token's own saying.
            algorithms=list(ALGORITHMS & {key.algorithm_name}),
            issuer=issuer(realm),
            leeway=LEEWAY,
            options={
                "require": required,
                "enforce_minimum_key_length": True,
                "verify_aud": False,  # see _check_audience()
            },
        )
    except jwt.PyJWTError as error:
        outcome = next(
            (name for kind, name in _REFUSAL_OUTCOMES if isinstance(error, kind)),
            "malformed",
        )
        raise Refused(outcome, f"realm {realm}: {error!r:.200}") from error


def _check_shape(header, claims):
    """Refuse what is signed by the realm and still no access token for us."""
    is_access_token = claims.get("typ") == "Bearer" or (
        # RFC 9068: providers other than Keycloak say it in the header.
        "typ" not in claims and header["typ"].lower() == "at+jwt"
    )
    if not is_access_token:
        raise Refused("wrong_type", f"claim typ {_shown(claims.get('typ'))}")
    times = claims["exp"], claims["iat"]
    if not all(type(time) is int for time in times):
        raise Refused("malformed", "exp or iat is no whole number")
    if not 0 < times[0] - times[1] <= MAX_LIFETIME:
        raise Refused("too_long_lived", f"at most {MAX_LIFETIME} s from iat to exp")
    if not is_canonical_uuid(claims["sub"]):
        raise Refused("wrong_subject", f"sub {_shown(claims['sub'])} is no UUID")
    if not isinstance(claims["azp"], str) or not _PARTY.fullmatch(claims["azp"]):
        raise Refused("wrong_party", f"azp {_shown(claims['azp'])}")


def _check_audience(claims):
    """
    Refuse a token that was made for others; return the outcome to count.

    Realms that were there before us may lack the audience: in mode ``azp`` the
    client that a token was issued to stands in for it, if it is listed.
    """
    audience = claims.get("aud")
    audience = [audience] if isinstance(audience, str) else audience
    if isinstance(audience, list) and settings.JWT_AUDIENCE in audience:
        return "accepted"
    if settings.JWT_AUDIENCE_MODE == "azp":
        if claims["azp"] in settings.JWT_ALLOWED_PARTIES:
            return "accepted_by_party"
        raise Refused("wrong_party", f"azp {claims['azp']} is not listed")
    raise Refused("wrong_audience", f"aud {_shown(claims.get('aud'))}")


def _principal(realm, claims):
    roles, subject, party = realm_roles(claims), claims["sub"], claims["azp"]
    special = [
        (settings.SERVICE_ACCOUNT_REALM, SERVICE_ROLE, "service_account"),
        (settings.OPERATOR_REALM, OPERATOR_ROLE, "operator"),
    ]
    for its_realm, role, kind in special:
        if realm == its_realm and role in roles:
            actor = f"operator:{subject}" if kind == "operator" else f"service:{party}"
            return Principal(kind, subject, realm, None, party, roles, actor)
    if realm in (settings.SERVICE_ACCOUNT_REALM, settings.OPERATOR_REALM):
        wanted = (
            SERVICE_ROLE if realm == settings.SERVICE_ACCOUNT_REALM else OPERATOR_ROLE
        )
        raise Forbidden(
            f"The account of client {party} in realm {realm} has no role {wanted}. "
            "Give it that role in the identity provider."
        )
    # An organization names its roles as it likes; these two it cannot give.
    roles -= {SERVICE_ROLE, OPERATOR_ROLE}
    return Principal("user", subject, realm, realm, party, roles, f"user:{subject}")


def realm_roles(claims):
    """
    Return the realm roles that an access token names.

    In claim ``roles``, or where Keycloak puts them if that lacks.
    """
    roles = claims.get("roles")
    if roles is None and isinstance(claims.get("realm_access"), dict):
        roles = claims["realm_access"].get("roles")
    if not isinstance(roles, list):
        return frozenset()
    return frozenset(role for role in roles if isinstance(role, str))


class SeenTokens:
    """
    Remember what tokens said that were verified, so that each is verified once.

    Good until the token ends, and only with the very key that verified it: a realm's
    keys are new objects whenever they are fetched. Tokens are kept as digests.

    Units: ``clock`` is time.time, which tokens are dated in.
    """

    def __init__(self, clock=time.time):
        self._clock = clock
        self._found = OrderedDict()  # digest: (key, claims)
        self._lock = threading.Lock()

    @sensitive_variables()
    def find(self, token, key):
        """Return the claims of ``token`` if ``key`` verified it; None if not."""
        digest = hashlib.sha256(token.encode()).digest()
        with self._lock:
            known, claims = self._found.get(digest, (None, None))
        if known is not key or self._clock() >= claims["exp"] + LEEWAY:
            return None
        return claims

    @sensitive_variables()
    def add(self, token, key, claims):
        """Remember that ``key`` verified ``token``, and what it says."""
        digest = hashlib.sha256(token.encode()).digest()
        with self._lock:
            self._found[digest] = key, claims
            self._found.move_to_end(digest)
            while len(self._found) > MAX_SEEN:
                self._found.popitem(last=False)


_seen = SeenTokens()


class KnownOrganizations:
    """
    Remember for a moment which organizations exist, so that tokens cost no query.

    ``settings.REALM_LOOKUP`` names the function that knows. Bounded: a flood of
    invented ids pushes out old answers and nothing else.

    Units: ``clock`` counts seconds.
    """

    def __init__(self, clock=time.monotonic):
        self._clock = clock
        self._answers = OrderedDict()  # (lookup, id): (answer, valid until)
        self._lock = threading.Lock()

    def has(self, organization_id):
        """Say whether tokens of this organization's realm are looked at."""
        entry = settings.REALM_LOOKUP, organization_id
        now = self._clock()
        with self._lock:
            answer, valid_until = self._answers.get(entry, (None, now))
        if now < valid_until:
            return answer
        answer = bool(import_string(settings.REALM_LOOKUP)(organization_id))
        with self._lock:
            self._answers.pop(entry, None)
            self._answers[entry] = answer, now + LOOKUP_TTL[answer]
            if len(self._answers) > MAX_LOOKUPS:
                self._answers.popitem(last=False)
        return answer


known_organizations = KnownOrganizations()
