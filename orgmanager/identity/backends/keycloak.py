"""Realms in Keycloak, by its admin API."""

import hashlib
import hmac
import logging
import re
import time
from contextlib import contextmanager
from functools import lru_cache

import requests
from django.views.decorators.debug import sensitive_variables
from keycloak import KeycloakAdmin
from keycloak.exceptions import KeycloakError

from ...deadlines import seconds_left
from ...errors import DomainError, Rejected, Unavailable
from ...http_calls import LARGEST_ANSWER, why
from ...locks import make_locks
from ..addresses import checked_realm, jwks_uri
from ..exceptions import RealmConflict
from ..representation import check_representation
from ..template import MARKER
from .base import BaseIdentity, identify, refuse_foreign
from .keycloak_connection import (
    Account,
    AccountRefused,
    Connection,
    Server,
    is_no_realm,
    is_no_such_path,
    reason,
)

logger = logging.getLogger(__name__)

# Our client inside each realm, and the least that it needs there.
REALM_CLIENT = "organization-manager"
REALM_CLIENT_ROLES = ("manage-realm", "manage-users", "view-clients")
LIGHTWEIGHT = "client.use.lightweight.access.token.enabled"  # no roles in the token

LOCK = "realms"
LOCK_POLL_INTERVAL = 0.05  # seconds
QUICK = 3  # seconds: for questions that Keycloak answers at once or not at all
MAX_ACCOUNTS = 1_000  # of realms, each with its token

_CLIENT_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,254}")

_SECRET = "SECURITY_OAUTH2_SERVICE_ACCOUNT_ADMIN_CLIENT_SECRET"  # noqa: S105  a name
_PROVISIONING_ADVICE = (
    "Check SECURITY_OAUTH2_PROVISIONING_REALM, SECURITY_OAUTH2_PROVISIONING_CLIENT_ID "
    f"and SECURITY_OAUTH2_PROVISIONING_CLIENT_SECRET (where it is unset: {_SECRET}), "
    "and that this client has a service account with the role create-realm."
)
_REALM_ADVICE = (
    f"Set {_SECRET} to the secret that the realm was made with. A disabled realm can "
    "only be changed by the client that made it, which is looked for in "
    "SECURITY_OAUTH2_PROVISIONING_CLIENT_ID, or by hand."
)


class Identity(BaseIdentity):
    """
    Realms that one call each creates whole, and that we look after from inside.

    The provisioning account may create realms and, as whoever created it, change
    one. Everything after the creation is done by a client in the realm itself, with
    a secret that follows from ours and the realm's name and is stored nowhere: its
    tokens stay small, and other realms are none of its business. A disabled realm
    signs nobody in, this client neither, so there the creator steps in.

    Raises: also Unavailable where Keycloak refuses an account of ours: it is our
    mistake, and trying again helps once somebody has mended it.
    """

    def __init__(
        self,
        *,
        server_url,
        provisioning_realm,
        provisioning_client_id,
        provisioning_client_secret,
        service_account_secret,
        timeout=15,
    ):
        """``timeout``: seconds per call, and to wait for others to finish theirs."""
        self._server = Server(server_url, timeout=timeout)
        self._secret = service_account_secret
        self._provisioning_realm = provisioning_realm
        self._provisioning = Account(
            self._server,
            realm=provisioning_realm,
            client_id=provisioning_client_id,
            secret=provisioning_client_secret,
            advice=_PROVISIONING_ADVICE,
        )
        self._account_in = lru_cache(MAX_ACCOUNTS)(self._make_account_in)

    @sensitive_variables()
    def ensure_realm(self, representation):
        name, marker = identify(representation)
        if self._is_there(name, marker):
            return
        check_representation(representation)
        complete = self._with_realm_client(representation)
        with self._one_at_a_time():
            if self._is_there(name, marker):
                return
            try:
                self._create(name, complete)
            except DomainError:
                # 409 is also said of a user that exists elsewhere, and a call that
                # timed out may have done its work: what is there counts.
                if not self._is_there(name, marker):
                    raise

    def set_realm_enabled(self, name, enabled):
        checked_realm(name)
        self._change(
            name,
            f"{'enable' if enabled else 'disable'} realm {name}",
            lambda admin: admin.update_realm(name, {"enabled": bool(enabled)}),
        )
        if not enabled:
            # Afterwards, or somebody signs in between the two. It also ends what
            # was signed in before for the day when the realm is enabled again.
            self._change(name, f"end the sessions of realm {name}", _end_sessions)

    def delete_realm(self, name, marker):
        with self._one_at_a_time():
            if not self._is_there(checked_realm(name), marker):
                return
            try:
                self._change(
                    name,
                    f"delete realm {name}",
                    lambda admin: admin.delete_realm(name),
                )
            except DomainError:
                if self._is_there(name, marker):
                    raise

    def find_realm(self, name):
        found = self._find(checked_realm(name))
        if found is None:
            return None
        # Of a foreign realm that is not shown; most are enabled.
        return {"enabled": found.get("enabled", True), "marker": _marker(found)}

    def client_secret(self, realm, client_id):
        checked_realm(realm)
        secret = None
        # Never our own: whoever has it can do everything in the realm.
        if _CLIENT_ID.fullmatch(client_id) and client_id != REALM_CLIENT:
            secret = self._change(
                realm,
                f"read the secret of client {client_id} in realm {realm}",
                lambda admin: _read_secret(admin, client_id),
            )
        if not secret:
            raise Rejected(
                f"Realm {realm} has no client {client_id!r:.100} with a secret."
            )
        return secret

    def jwks(self, realm):
        with self._translated(f"read the keys of realm {realm}"):
            answer = self._server.call(
                "GET", jwks_uri(realm), timeout=self._quick(), limit=LARGEST_ANSWER
            )
        if is_no_realm(answer.status_code, answer.content):
            raise _no_realm(realm)
        self._refuse_unless_ok(answer, f"read the keys of realm {realm}")
        try:
            key_set = answer.json()
        except ValueError:
            key_set = None
        if not isinstance(key_set, dict) or not isinstance(key_set.get("keys"), list):
            raise Unavailable(f"The keys of realm {realm} are no key set (RFC 7517).")
        return key_set

    def ping(self):
        path = f"realms/{self._provisioning_realm}"
        with self._translated("read that realm"):
            answer = self._server.call(
                "GET", self._server.address(path), timeout=self._quick()
            )
        if answer.status_code == 404:
            raise Unavailable(
                f"There is no realm {self._provisioning_realm} at {self._server.url}. "
                "Set SECURITY_OAUTH2_BASE_SERVER_URL to Keycloak's address, with its "
                "path, and SECURITY_OAUTH2_PROVISIONING_REALM to a realm of it."
            )
        self._refuse_unless_ok(answer, f"read realm {self._provisioning_realm}")

    def check_provisioning(self):
        """
        Return None if the provisioning account may create realms. Changes nothing.

        It asks for the one realm that is there for sure: who may not create realms
        is told so, and who may that it exists.
        """
        name = self._provisioning_realm
        with self._translated("create realms", self._provisioning):
            try:
                _admin(self._provisioning, name).import_realm({"realm": name})
            except KeycloakError as error:
                if error.response_code != 409:
                    raise

    # What is there, and whose it is.

    def _is_there(self, name, marker):
        """Say whether realm ``name`` is there and ours. Raises: RealmConflict."""
        found = self._find(name)
        if found is None:
            return False
        if _marker(found) is None:
            raise RealmConflict(
                f"Realm {name} exists and shows us no marker of ours; it was not "
                "touched. Remove it by hand if nothing needs it, or adopt it. If it "
                f"is ours, set {_SECRET} to the secret that it was made with."
            )
        refuse_foreign(name, _marker(found), marker)
        return True

    def _find(self, name):
        """
        Return realm ``name`` as far as it is shown to us, or None if there is none.

        Of a foreign realm nothing but the name is shown, or not even that.
        """
        try:
            found = self._show(self._account_in(name), name)
            if found is None or _marker(found):
                return found
        except AccountRefused:
            pass  # there is no such realm, or it is disabled, or not ours
        return self._show(self._provisioning, name)

    def _show(self, account, name):
        with self._translated(f"read realm {name}", account):
            try:
                return _admin(account, name).get_realm(name)
            except KeycloakError as error:
                if is_no_realm(error.response_code, error.response_body):
                    return None
                if error.response_code == 403:
                    return {}
                raise

    # Changes.

    def _create(self, name, representation):
        with self._translated(f"create realm {name}", self._provisioning):
            _admin(self._provisioning, name).import_realm(representation)

    def _change(self, name, doing, change):
        """
        Return change(KeycloakAdmin), done from inside realm ``name`` if possible.

        Raises: Rejected when there is no such realm; AccountRefused.
        """
        account = self._account_in(name)
        try:
            with self._translated(doing, account):
                return change(_admin(account, name))
        except AccountRefused as error:
            found = self._show(self._provisioning, name)
            if found is None:
                raise _no_realm(name) from error
            if _marker(found) is None:
                raise
            expected = found.get("enabled") is False
            logger.log(
                logging.INFO if expected else logging.WARNING,
                "Its creator has to %s: %s",
                doing,
                error,
            )
        with self._translated(doing, self._provisioning):
            return change(_admin(self._provisioning, name))

    def _with_realm_client(self, representation):
        """Return ``representation`` with the client that we look after it with."""
        name = representation["realm"]
        client = {
            "clientId": REALM_CLIENT,
            "name": "Organization Manager",
            "description": "Looks after this realm. Its secret is not stored.",
            "protocol": "openid-connect",
            "enabled": True,
            "publicClient": False,
            "clientAuthenticatorType": "client-secret",
            "secret": self._secret_in(name),
            "standardFlowEnabled": False,
            "implicitFlowEnabled": False,
            "directAccessGrantsEnabled": False,
            "serviceAccountsEnabled": True,
            "fullScopeAllowed": True,  # or its roles would not count
            "redirectUris": [],
            "webOrigins": [],
            # No scopes, so no audience: its tokens are good for Keycloak alone.
            "defaultClientScopes": [],
            "optionalClientScopes": [],
            "attributes": {LIGHTWEIGHT: "true"},
        }
        user = {
            "username": f"service-account-{REALM_CLIENT}",
            "enabled": True,
            "serviceAccountClientId": REALM_CLIENT,
            "clientRoles": {"realm-management": list(REALM_CLIENT_ROLES)},
        }
        return representation | {
            "clients": [*representation.get("clients", []), client],
            "users": [*representation.get("users", []), user],
        }

    def _make_account_in(self, realm):
        return Account(
            self._server,
            realm=realm,
            client_id=REALM_CLIENT,
            secret=self._secret_in(realm),
            advice=_REALM_ADVICE,
        )

    def _secret_in(self, realm):
        if not self._secret:
            # Of an empty one everybody could work out what follows.
            raise Unavailable(f"Set {_SECRET}: our account in each realm needs it.")
        digest = hmac.new(self._secret.encode(), realm.encode(), hashlib.sha256)
        return digest.hexdigest()

    @contextmanager
    def _one_at_a_time(self):
        """
        Keep others of this installation from creating and deleting realms.

        Source: keycloak/keycloak#8772: side by side they corrupt the role that
        bundles the rights over all realms.
        """
        locks = make_locks()
        try:
            deadline = time.monotonic() + seconds_left(self._server.timeout)
            while not locks.try_acquire(LOCK):
                if time.monotonic() > deadline:
                    raise Unavailable(
                        "Another process is creating or deleting realms. Try again in "
                        "a moment."
                    )
                time.sleep(LOCK_POLL_INTERVAL)
            yield
        finally:
            locks.close()

    def _quick(self):
        return min(QUICK, self._server.timeout)

    def _refuse_unless_ok(self, answer, doing):
        if answer.status_code != 200:
            said = reason(answer.status_code, answer.content)
            raise Unavailable(
                f"Keycloak at {self._server.url} refused to {doing}: {said}."
            )

    @contextmanager
    def _translated(self, doing, account=None):
        """Turn errors of requests and python-keycloak into Unavailable or Rejected."""
        url = self._server.url
        try:
            yield
        except requests.RequestException as error:
            raise Unavailable(
                f"Keycloak at {url} did not answer while trying to {doing}: "
                f"{why(error)}. Check SECURITY_OAUTH2_BASE_SERVER_URL and the network "
                "policy."
            ) from error
        except KeycloakError as error:
            code, content = error.response_code, error.response_body
            said = f"{doing}: {reason(code, content)}."
            if is_no_such_path(code, content):
                raise Unavailable(
                    f"The admin API of Keycloak is not at {url}, so we could not "
                    f"{doing}. Set SECURITY_OAUTH2_BASE_SERVER_URL to Keycloak's "
                    "address, with its path, where /admin/realms can be reached."
                ) from error
            if code == 403:
                raise AccountRefused(
                    f"Keycloak at {url} does not let us {said} {account.advice}"
                ) from error
            if code in {408, 429} or code >= 500:
                raise Unavailable(f"Keycloak at {url} failed to {said}") from error
            raise Rejected(f"Keycloak refused to {said}") from error
        except TypeError as error:
            # What python-keycloak raises for an answer of another shape. Its text
            # quotes the answer, so it goes nowhere.
            raise Unavailable(
                f"What answers at {url} when asked to {doing} is not Keycloak, or not "
                "one that is known here."
            ) from error


def _no_realm(name):
    return Rejected(f"There is no realm {name}.")


def _admin(account, realm):
    return KeycloakAdmin(connection=Connection(account, realm))


def _marker(found):
    return (found.get("attributes") or {}).get(MARKER)


def _end_sessions(admin):
    """End every session: the one thing of these that python-keycloak lacks."""
    path = f"admin/realms/{admin.get_current_realm()}/logout-all"
    answer = admin.connection.raw_post(path, data="")
    if answer.status_code >= 300:
        raise KeycloakError(
            response_code=answer.status_code, response_body=answer.content
        )


def _read_secret(admin, client_id):
    client = admin.get_client_id(client_id)
    return client and admin.get_client_secrets(client).get("value")
