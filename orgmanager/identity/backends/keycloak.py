"""Keycloak, driven so that a half-made or a foreign realm is never taken for ours."""

import copy
import hashlib
import hmac
import time
from contextlib import contextmanager

import requests
from django.views.decorators.debug import sensitive_variables
from keycloak import KeycloakAdmin, KeycloakOpenIDConnection
from keycloak.exceptions import (
    KeycloakAuthenticationError,
    KeycloakConnectionError,
    KeycloakError,
)

from ...errors import Rejected, Unavailable
from ...locks import make_locks
from ..addresses import checked_realm
from ..representation import check_representation
from ..template import MARKER
from .base import BaseIdentity, identify, refuse_foreign

MANAGEMENT_CLIENT = "flowx-organization-manager-realm"
LOCK_PATIENCE = 10  # seconds; creating one realm takes about half a second
LOCK_PAUSE = 0.05  # seconds
LARGEST_KEY_SET = 65_536  # bytes
LONGEST_DETAIL = 300  # characters of a refusal that are shown

_NOT_FOUND, _FORBIDDEN, _CONFLICT, _TOO_MANY = 404, 403, 409, 429


class Identity(BaseIdentity):
    """
    Creates realms with an account that may do just that, one atomic call each.

    Keycloak makes the creator the administrator of the new realm, and of no other:
    what that account cannot see is foreign. Inside each realm stands a client of
    ours for the daily work, whose secret follows from the service account's.
    """

    def __init__(
        self,
        *,
        server_url,
        provisioning_realm,
        provisioning_client_id,
        provisioning_client_secret,
        service_account_secret,
        timeout=10,
    ):
        """``timeout``: seconds per HTTP call, connect and read each."""
        # The library joins addresses as a browser would: without the last slash
        # it drops "/auth" from "https://keycloak.example.com/auth".
        self._server_url = server_url.rstrip("/") + "/"
        self._provisioning_realm = provisioning_realm
        self._provisioning_client_id = provisioning_client_id
        self._provisioning_client_secret = provisioning_client_secret
        self._service_account_secret = service_account_secret
        self._timeout = timeout

    def ensure_realm(self, representation):
        name, marker = identify(representation)
        check_representation(representation)
        with _only_one_at_a_time():
            found = self.find_realm(name)
            if found is None:
                self._create(self._with_management(representation), marker)
                return
        refuse_foreign(name, found["marker"], marker)

    def set_realm_enabled(self, name, enabled):
        checked_realm(name)
        admin = self._provisioning_admin()
        with self._translated(f"{'enable' if enabled else 'disable'} realm {name}"):
            admin.update_realm(name, {"enabled": enabled})
        if not enabled:
            with self._translated(f"end the sessions of realm {name}"):
                path = f"admin/realms/{name}/logout-all"
                answer = admin.connection.raw_post(path, data=None)
                _raise_for_status(answer)

    def delete_realm(self, name, marker):
        found = self.find_realm(name)
        if found is None:
            return
        refuse_foreign(name, found["marker"], marker)
        with _only_one_at_a_time(), self._translated(f"delete realm {name}"):
            try:
                self._provisioning_admin().delete_realm(name)
            except KeycloakError as error:
                if error.response_code != _NOT_FOUND:
                    raise

    def find_realm(self, name):
        checked_realm(name)
        admin = self._provisioning_admin()
        with self._translated(f"read realm {name}"):
            try:
                realm = admin.get_realm(name)
            except KeycloakError as error:
                if error.response_code == _NOT_FOUND:
                    return None
                if error.response_code == _FORBIDDEN:
                    return {"enabled": True, "marker": None}  # made by somebody else
                raise
        marker = (realm.get("attributes") or {}).get(MARKER)
        return {"enabled": bool(realm.get("enabled")), "marker": marker}

    @sensitive_variables()
    def client_secret(self, realm, client_id):
        checked_realm(realm)
        admin = self._realm_admin(realm)
        with self._translated(f"read client {client_id!r} of realm {realm}"):
            # The library's own look-up reads every client of the realm.
            path = f"admin/realms/{realm}/clients"
            answer = admin.connection.raw_get(path, clientId=str(client_id))
            _raise_for_status(answer)
            found = [each for each in answer.json() if each["clientId"] == client_id]
        secret = found[0].get("secret") if found else None
        if not secret or found[0].get("publicClient"):
            raise Rejected(
                f"Realm {realm} has no client {client_id!r} with a secret. See which "
                "there are in Keycloak's console."
            )
        return secret

    def jwks(self, realm):
        path = f"realms/{checked_realm(realm)}/protocol/openid-connect/certs"
        with self._translated(f"read the keys of realm {realm}"):
            answer = requests.get(
                self._server_url + path,
                timeout=self._timeout,
                allow_redirects=False,
                stream=True,
            )
            with answer:
                _raise_for_status(answer)
                body = answer.raw.read(LARGEST_KEY_SET + 1, decode_content=True)
        if len(body) > LARGEST_KEY_SET:
            raise Unavailable(f"The keys of realm {realm} are too long to be real.")
        try:
            return requests.models.complexjson.loads(body)
        except ValueError as error:
            raise Unavailable(f"The keys of realm {realm} are not JSON.") from error

    def ping(self):
        with self._translated("answer"):
            url = f"{self._server_url}realms/{self._provisioning_realm}"
            answer = requests.get(url, timeout=self._timeout, allow_redirects=False)
            _raise_for_status(answer)

    def _create(self, representation, marker):
        """Create the realm; whatever the answer is, look what came of it."""
        name = representation["realm"]
        admin = self._provisioning_admin()
        refusal = None
        try:
            with self._translated(f"create realm {name}"):
                # Not skip_exists=True: the library then takes a malformed
                # representation for an existing realm.
                admin.import_realm(representation)
        except (Unavailable, Rejected) as error:
            # A timeout leaves open whether it was created, and a conflict can
            # lie inside the representation: only a look tells.
            refusal = error
        found = self.find_realm(name)
        if found is not None:
            refuse_foreign(name, found["marker"], marker)
        elif refusal is not None:
            raise refusal

    def _with_management(self, representation):
        """Return ``representation`` and the client that manages its realm for us."""
        representation = copy.deepcopy(representation)
        representation.setdefault("clients", []).append(
            {
                "clientId": MANAGEMENT_CLIENT,
                "name": "Organization Manager, for this realm",
                "protocol": "openid-connect",
                "enabled": True,
                "publicClient": False,
                "clientAuthenticatorType": "client-secret",
                "secret": self._management_secret(representation["realm"]),
                "standardFlowEnabled": False,
                "directAccessGrantsEnabled": False,
                "serviceAccountsEnabled": True,
                "fullScopeAllowed": True,
                # The token stays small, however many roles there are.
                "attributes": {"client.use.lightweight.access.token.enabled": "true"},
            }
        )
        representation.setdefault("users", []).append(
            {
                "username": f"service-account-{MANAGEMENT_CLIENT}",
                "enabled": True,
                "serviceAccountClientId": MANAGEMENT_CLIENT,
                "clientRoles": {"realm-management": ["realm-admin"]},
            }
        )
        return representation

    @sensitive_variables()
    def _management_secret(self, realm):
        key = self._service_account_secret.encode()
        return hmac.new(key, realm.encode(), hashlib.sha256).hexdigest()

    def _provisioning_admin(self):
        return self._admin(
            self._provisioning_realm,
            self._provisioning_client_id,
            self._provisioning_client_secret,
            "SECURITY_OAUTH2_PROVISIONING_CLIENT_SECRET",
        )

    def _realm_admin(self, realm):
        return self._admin(
            realm,
            MANAGEMENT_CLIENT,
            self._management_secret(realm),
            "SECURITY_OAUTH2_SERVICE_ACCOUNT_ADMIN_CLIENT_SECRET",
        )

    @sensitive_variables("client_secret")
    def _admin(self, realm, client_id, client_secret, variable):
        """Return an administration client that has signed in as ``client_id``."""
        connection = KeycloakOpenIDConnection(
            server_url=self._server_url,
            realm_name=realm,
            client_id=client_id,
            client_secret_key=client_secret,
            timeout=self._timeout,
            max_retries=0,  # the library repeats a POST, which then conflicts
        )
        try:
            with self._translated(f"sign in as {client_id}"):
                connection.get_token()
        except _SignInRefused as error:
            raise _sign_in_refusal(realm, client_id, variable, error) from error
        return KeycloakAdmin(connection=connection)

    @contextmanager
    def _translated(self, doing):
        """Turn the library's exceptions into Unavailable or Rejected."""
        try:
            yield
        except (KeycloakConnectionError, requests.RequestException) as error:
            raise Unavailable(
                f"Keycloak at {self._server_url} did not answer while it was to "
                f"{doing}: {type(error).__name__}. Check "
                "SECURITY_OAUTH2_BASE_SERVER_URL and the network policy."
            ) from error
        except KeycloakAuthenticationError as error:
            raise _SignInRefused(_said(error)) from error
        except KeycloakError as error:
            code = error.response_code
            is_passing = code is None or code >= 500 or code == _TOO_MANY
            kind = Unavailable if is_passing else Rejected
            raise kind(f"Keycloak refused to {doing}: {code} {_said(error)}") from error


class _SignInRefused(Rejected):
    """An account of ours was not let in."""


def _sign_in_refusal(realm, client_id, variable, error):
    return Unavailable(
        f"Keycloak does not let {client_id} in at realm {realm}: {error}. Check that "
        f"the client exists there and that {variable} is its secret."
    )


def _raise_for_status(answer):
    if not 200 <= answer.status_code < 300:
        raise KeycloakError(
            error_message=answer.reason or "",
            response_code=answer.status_code,
        )


def _said(error):
    text = error.error_message
    text = text.decode("utf-8", "replace") if isinstance(text, bytes) else str(text)
    return text[:LONGEST_DETAIL]


@contextmanager
def _only_one_at_a_time():
    """
    Hold the lock of all realm changes: in parallel they break Keycloak's own roles.

    Source: keycloak/keycloak issue 8772.
    """
    locks = make_locks()
    deadline = time.monotonic() + LOCK_PATIENCE
    try:
        while not locks.try_acquire("realms"):
            if time.monotonic() >= deadline:
                raise Unavailable("Other realms are being changed; try again.")
            time.sleep(LOCK_PAUSE)
        yield
    finally:
        locks.close()
