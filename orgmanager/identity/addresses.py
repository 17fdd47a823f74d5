"""
Where the tokens of a realm come from, by settings alone.

Nothing here reads a token, a discovery document or a ``Host`` header: those say
whatever their sender wants.
"""

import re

from django.conf import settings

from ..errors import Rejected

PLACEHOLDER = "{orgId}"
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_UUID_LENGTH = 36
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
_CONFIGURED_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,62}")


def is_canonical_uuid(text):
    """Say whether ``text`` is a UUID as it is written here: lower case, hyphens."""
    return _UUID.fullmatch(text) is not None


def checked_realm(name):
    """
    Return ``name`` if it can stand in a path as it is.

    Providers tell realms apart by case, and some libraries join ``../`` into a
    path, so nothing is normalized: a name is canonical or refused. Only a realm
    from settings may have upper-case letters.

    Raises: Rejected.
    """
    allowed = _CONFIGURED_NAME if name in _configured() else _NAME
    if not isinstance(name, str) or not allowed.fullmatch(name):
        raise Rejected(
            f"{name!r:.100} is no realm name: 1 to 63 of a-z 0-9 - _, starting "
            "with a letter or digit; an organization's realm is its id."
        )
    return name


def issuer(realm):
    """Return the ``iss`` of every token of ``realm``. Raises: Rejected."""
    return settings.ISSUER_PATTERN.replace(PLACEHOLDER, checked_realm(realm))


def token_endpoint(realm):
    """Return where ``realm`` hands out tokens. Raises: Rejected."""
    return f"{_protocol(realm)}/token"


def jwks_uri(realm):
    """Return where ``realm`` publishes its public keys. Raises: Rejected."""
    return f"{_protocol(realm)}/certs"


def authorization_endpoint(realm):
    """
    Return where browsers sign in to ``realm``.

    Below the issuer, which browsers can reach; the base address need not be one.

    Raises: Rejected.
    """
    return f"{_public(realm)}/auth"


def end_session_endpoint(realm):
    """Return where browsers sign out of ``realm``. Raises: Rejected."""
    return f"{_public(realm)}/logout"


def realm_of(issuer_claim):
    """
    Return the realm whose issuer is ``issuer_claim``, to the letter, or None.

    A configured realm may have any name; every other one is an organization's,
    and named by its canonical id.
    """
    for realm in _configured():
        if realm and issuer_claim == issuer(realm):
            return realm
    start = settings.ISSUER_PATTERN.find(PLACEHOLDER)
    candidate = issuer_claim[start : start + _UUID_LENGTH]
    if is_canonical_uuid(candidate) and issuer_claim == issuer(candidate):
        return candidate
    return None


def _configured():
    return (settings.SERVICE_ACCOUNT_REALM, settings.OPERATOR_REALM)


def _public(realm):
    return f"{issuer(realm).rstrip('/')}/protocol/openid-connect"


def _protocol(realm):
    base = settings.IDENTITY_BASE_URL.rstrip("/")
    return f"{base}/realms/{checked_realm(realm)}/protocol/openid-connect"
