"""
How calls reach Keycloak: where it is, our accounts there, and python-keycloak's door.

KeycloakAdmin knows the admin API; what it would send its calls with is replaced.
python-keycloak's own connection loses the path of a base address without a slash at
its end, lets ``..`` out of its place in a path, sends a POST twice, and follows a
redirect with the token.
"""

import json
import re
import time

from django.views.decorators.debug import sensitive_variables

from ...errors import Rejected, Unavailable
from ...http_calls import new_session, send

LARGEST_ANSWER = 1024 * 1024  # bytes; a realm with many settings is long
EXPIRY_MARGIN = 10  # seconds before its end from which on a token is not used

_PATH = re.compile(r"\w[\w.-]*(/\w[\w.-]*)*", re.ASCII)


class AccountRefused(Unavailable):
    """Keycloak gives an account of ours no token; trying helps once that is mended."""


class Server:
    """One Keycloak, at ``url`` with or without a path, for example ``/auth``."""

    def __init__(self, url, *, timeout):
        """``timeout``: seconds per call."""
        self.url = url.rstrip("/")
        self.timeout = timeout
        self._session = new_session()

    def address(self, path):
        """
        Return the address of ``path`` below this server.

        Raises: Rejected for a path that would lead elsewhere, or say something else
        once it is quoted.
        """
        if not _PATH.fullmatch(path):
            raise Rejected(f"{path!r:.200} is no path of Keycloak's.")
        return f"{self.url}/{path}"

    def call(self, method, address, *, timeout=None, limit=LARGEST_ANSWER, **options):
        """
        Make one call; its Answer may be an error of any kind.

        Raises: requests.RequestException; Unavailable when it is not Keycloak who
        answers.
        """
        answer = send(
            self._session,
            method,
            address,
            timeout=timeout or self.timeout,
            limit=limit,
            **options,
        )
        if 300 <= answer.status_code < 400:
            target = answer.headers.get("Location", "")
            raise Unavailable(
                f"Keycloak at {self.url} answers from elsewhere, {target!r:.200}, and "
                "that is not followed. Set SECURITY_OAUTH2_BASE_SERVER_URL to the "
                "address that answers itself."
            )
        if answer.status_code < 300 and answer.content and not _is_json(answer):
            raise Unavailable(
                f"What answers at {self.url} is not Keycloak. Set "
                "SECURITY_OAUTH2_BASE_SERVER_URL to Keycloak's address, with its path."
            )
        return answer


class Account:
    """
    One confidential client of a realm, signed in with its secret.

    Its token is kept until shortly before it expires. Threads share it without a
    lock: two that find none fetch two, and nobody waits for another's call.
    """

    def __init__(self, server, *, realm, client_id, secret, advice):
        """``advice``: the sentence that says what to mend when it is refused."""
        self._server = server
        self._realm = realm
        self._client_id = client_id
        self._secret = secret
        self.advice = advice
        self._token_and_end = None, 0

    def send(self, method, path, **options):
        """
        Call ``path`` with a token, once more with a new one if that was refused.

        Raises: AccountRefused; as Server.call() does.
        """
        address = self._server.address(path)
        answer = self._send(method, address, self._token() or self._fetch(), options)
        if answer.status_code == 401:
            answer = self._send(method, address, self._fetch(), options)
        if answer.status_code == 401:
            raise self._refusal(answer)
        return answer

    @sensitive_variables()
    def _send(self, method, address, token, options):
        headers = {
            "Authorization": f"Bearer {token}",
            "Content-Type": "application/json",
        }
        return self._server.call(method, address, headers=headers, **options)

    def _token(self):
        token, end = self._token_and_end
        return token if time.monotonic() < end else None

    @sensitive_variables()
    def _fetch(self):
        path = f"realms/{self._realm}/protocol/openid-connect/token"
        form = {
            "grant_type": "client_credentials",
            "client_id": self._client_id,
            "client_secret": self._secret,
        }
        asked_at = time.monotonic()
        answer = self._server.call("POST", self._server.address(path), data=form)
        if answer.status_code >= 500 or answer.status_code == 429:
            raise Unavailable(
                f"Keycloak at {self._server.url} could not sign us in: "
                f"{reason(answer.status_code, answer.content)}."
            )
        try:
            body = answer.json()
            token, end = body["access_token"], asked_at + body["expires_in"]
        except (ValueError, TypeError, KeyError):
            raise self._refusal(answer) from None
        self._token_and_end = token, end - EXPIRY_MARGIN
        return token

    def _refusal(self, answer):
        return AccountRefused(
            f"Keycloak at {self._server.url} refuses the client {self._client_id} of "
            f"realm {self._realm}: {reason(answer.status_code, answer.content)}. "
            f"{self.advice}"
        )


class Connection:
    """What KeycloakAdmin asks of a connection: an account, and a realm to work on."""

    def __init__(self, account, realm_name):
        self._account = account
        self.realm_name = realm_name

    def raw_get(self, path, **query):
        return self._account.send("GET", path, params=query)

    def raw_post(self, path, data, **query):
        return self._account.send("POST", path, data=data, params=query)

    def raw_put(self, path, data, **query):
        return self._account.send("PUT", path, data=data, params=query)

    def raw_delete(self, path, data=None, **query):
        return self._account.send("DELETE", path, data=data, params=query)


def is_no_realm(status_code, content):
    """
    Say whether Keycloak says that there is no such realm.

    404 alone does not: a wrong base address gives it too, and so does a proxy that
    lets nobody in to the admin API.
    """
    return status_code == 404 and "realm" in _said(content).lower()


def is_no_such_path(status_code, content):
    """Say whether there is nothing at an address, not even Keycloak's refusal."""
    said = _said(content)
    return status_code == 404 and (not said or said.startswith("Unable to find match"))


def reason(status_code, content):
    """Return what Keycloak says of a refusal: short, on one line, for people."""
    text = _said(content)
    if not text or text.startswith("HTTP "):  # Keycloak's own "HTTP 403 Forbidden"
        return text or f"HTTP {status_code}"
    return f"HTTP {status_code}, {text}"


def _said(content):
    try:
        body = json.loads(content)
    except (ValueError, TypeError, RecursionError):
        body = None
    body = body if isinstance(body, dict) else {}
    texts = [body.get(n) for n in ("errorMessage", "error_description", "error")]
    text = next((text for text in texts if text and isinstance(text, str)), "")
    return " ".join(text.split())[:200].rstrip(".")


def _is_json(answer):
    """Say whether the body is an object, or a list of objects: all that is asked."""
    try:
        body = answer.json()
    except ValueError:
        return False
    objects = body if isinstance(body, list) else [body]
    return all(isinstance(each, dict) for each in objects)
