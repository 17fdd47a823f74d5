"""A licence server over HTTP, or only its public key for a site without network."""

import logging

import jwt
import requests
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from django.views.decorators.debug import sensitive_variables

from ...errors import Invalid, Unavailable
from ...http_calls import new_session, send, why
from ...realm_keys import RealmKeys, UnknownKey
from .base import (
    LONGEST_TOKEN,
    BaseLicenceServer,
    InvalidLicence,
    invalid_registration_token,
    read_licence,
    read_registration,
)

logger = logging.getLogger(__name__)

KEYS_PATH = "/.well-known/jwks.json"
VALIDATE_PATH = "/api/registrations/validate"


class LicenceServer(BaseLicenceServer):
    """
    Reads tokens with the server's keys and has it confirm each registration.

    With a pinned public key no call is ever made.
    """

    def __init__(self, *, url="", public_key="", issuer, timeout=5):
        """``public_key``: PEM; ``timeout``: seconds per call, connect and read each."""
        self.issuer = issuer
        self._url = url.rstrip("/")
        self._timeout = timeout
        self._session = new_session()
        self._pinned = load_pem_public_key(public_key.encode()) if public_key else None
        self._keys = RealmKeys(lambda _: self._call("GET", KEYS_PATH))

    @sensitive_variables("token")
    def validate_registration(self, token):
        key = self._key(token, invalid_registration_token())
        claims = read_registration(token, key=key, issuer=self.issuer)
        if self._pinned is None:
            self._confirm(token, claims)
        return claims

    @sensitive_variables("token")
    def read_licence(self, token):
        refusal = InvalidLicence(
            "The licence is not valid. Fetch it again from the licence server; the "
            "reason is in the service's log."
        )
        key = self._key(token, refusal)
        return read_licence(token, key=key, issuer=self.issuer)

    def ping(self):
        if self._pinned is None:
            self._call("GET", KEYS_PATH)

    @sensitive_variables("token")
    def _confirm(self, token, claims):
        answer = self._call("POST", VALIDATE_PATH, {"token": token})
        if answer.get("valid") is not True:
            reason = str(answer.get("reason"))[:200]
            logger.warning("The licence server refused a registration: %s", reason)
            raise invalid_registration_token()
        if (answer.get("orgId"), answer.get("orgCode")) != (
            claims.org_id,
            claims.org_code,
        ):
            logger.error("The licence server confirmed another organization.")
            raise invalid_registration_token()

    def _key(self, token, refusal):
        if self._pinned is not None:
            return self._pinned
        try:
            if not isinstance(token, str) or len(token) > LONGEST_TOKEN:
                raise Invalid("the token is no text, or too long")
            key_id = jwt.get_unverified_header(token).get("kid")
            return self._keys.find("licence-server", key_id).key
        except (jwt.PyJWTError, UnknownKey, Invalid) as error:
            logger.warning("A token of the licence server was refused: %s", error)
            raise refusal from error

    @sensitive_variables("body")
    def _call(self, method, path, body=None):
        """Return the JSON object that the server answers. Raises: Unavailable."""
        url = self._url + path
        try:
            answer = send(self._session, method, url, timeout=self._timeout, json=body)
        except requests.RequestException as error:
            raise self._unavailable(why(error)) from error
        if answer.status_code != 200:
            raise self._unavailable(f"it answered {answer.status_code} at {path}")
        try:
            found = answer.json()
        except ValueError:
            found = None
        if not isinstance(found, dict):
            raise self._unavailable(f"its answer at {path} makes no sense")
        return found

    def _unavailable(self, reason):
        return Unavailable(
            f"The licence server at {self._url} cannot be used: {reason}. Nothing was "
            "changed. Check LICENSE_SERVER_URL and the network policy."
        )
