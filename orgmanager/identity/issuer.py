"""
The token endpoint of a local realm, on Authlib.

Two grants, as Keycloak has them: a password through the public client, where direct
access grants are on, and the credentials of a confidential client.
"""

import functools
import logging
import secrets
import time
import uuid

import jwt
from authlib.oauth2.rfc6749 import (
    AuthorizationServer,
    ClientCredentialsGrant,
    ClientMixin,
    InvalidClientError,
    InvalidGrantError,
    InvalidScopeError,
    OAuth2Request,
    ResourceOwnerPasswordCredentialsGrant,
)
from authlib.oauth2.rfc6749.requests import BasicOAuth2Payload
from authlib.oauth2.rfc6750 import BearerTokenGenerator
from django.views.decorators.debug import sensitive_variables

from . import addresses
from .claims import granted_scopes, map_claims, scope_text
from .passwords import hash_password, is_password
from .template import ACCESS_TOKEN_LIFESPAN

# Its debug lines hold whole tokens and e-mail addresses.
logging.getLogger("authlib").setLevel(logging.INFO)

_CLIENT_METHODS = ["none", "client_secret_basic", "client_secret_post"]


class TokenRequest(OAuth2Request):
    """A request as it was read by the view; Authlib reads nothing by itself."""

    def __init__(self, form, headers):
        # Authlib wants to see a secure address. The view lets loopback in only,
        # and the address that the caller wrote into ``Host`` proves nothing.
        super().__init__("POST", "https://localhost/", headers=headers)
        self.payload = BasicOAuth2Payload(form)

    @property
    def form(self):
        return self.payload.data


class Client(ClientMixin):
    """A client of the realm, as Authlib asks about it."""

    def __init__(self, realm, settings, secret):
        self._realm = realm
        self._secret = secret
        self.settings = settings
        self.client_id = settings["clientId"]

    def __repr__(self):
        return f"<Client {self.client_id}>"

    def get_client_id(self):
        return self.client_id

    def check_endpoint_auth_method(self, method, endpoint):
        return (method == "none") == self.settings.get("publicClient", False)

    @sensitive_variables()
    def check_client_secret(self, client_secret):
        return self._secret is not None and secrets.compare_digest(
            self._secret.encode(), client_secret.encode()
        )

    def check_grant_type(self, grant_type):
        field = {
            "password": "directAccessGrantsEnabled",
            "client_credentials": "serviceAccountsEnabled",
        }[grant_type]
        return self.settings.get(field, False)

    def get_allowed_scope(self, scope):
        requested = set((scope or "").split())
        granted = granted_scopes(self._realm, self.settings, requested)
        if granted is None:
            raise InvalidScopeError("The client has no such scope.")
        return scope_text(granted, requested)


class PasswordGrant(ResourceOwnerPasswordCredentialsGrant):
    TOKEN_ENDPOINT_AUTH_METHODS = _CLIENT_METHODS

    @sensitive_variables()
    def authenticate_user(self, username, password):
        user = self.server.find_user(username)
        known = user or {}
        credential = next(iter(known.get("credentials", [])), None)
        fits = is_password(password, credential or _nobody())
        # One answer for all, or it would tell who exists and who is disabled.
        if not fits or not known.get("enabled"):
            raise InvalidGrantError("Invalid user credentials")
        if known.get("requiredActions"):
            raise InvalidGrantError("Account is not fully set up")
        return user


class ServiceAccountGrant(ClientCredentialsGrant):
    TOKEN_ENDPOINT_AUTH_METHODS = _CLIENT_METHODS


class TokenIssuer(AuthorizationServer):
    """
    Answers token requests for one realm.

    Shapes: ``identity`` is the local backend; ``realm`` as its signing_realm()
    returns it.
    """

    def __init__(self, identity, realm):
        super().__init__()
        self._identity = identity
        self._realm = realm
        self._lifespan = realm["settings"].get(
            "accessTokenLifespan", ACCESS_TOKEN_LIFESPAN
        )
        self.register_grant(PasswordGrant)
        self.register_grant(ServiceAccountGrant)
        self.register_token_generator(
            "default",
            BearerTokenGenerator(self._sign, expires_generator=self._lifespan),
        )

    def find_user(self, name):
        """Return the user that ``name`` signs in as; never a service account."""
        user = self._identity.find_user(self._realm["name"], name)
        return None if user and user.get("serviceAccountClientId") else user

    def query_client(self, client_id):
        found = self._identity.find_client(self._realm["name"], client_id)
        if found is None or not found.get("enabled"):
            return None
        return Client(self._realm["settings"], found, found.pop("secret"))

    def authenticate_client(self, request, methods, endpoint="token"):
        try:
            return super().authenticate_client(request, methods, endpoint)
        except InvalidClientError as error:
            # One answer for all, or it would tell which clients exist.
            raise InvalidClientError(
                "Invalid client or Invalid client credentials", status_code=401
            ) from error

    def save_token(self, token, request):
        """Keep nothing: a token proves itself."""

    def send_signal(self, name, *args, **kwargs):
        """Tell nobody."""

    def create_oauth2_request(self, request):
        return request

    def handle_response(self, status, body, headers):
        return status, body, headers

    @sensitive_variables()
    def _sign(self, *, client, grant_type, user, scope):
        realm = self._realm["settings"]
        scopes = granted_scopes(realm, client.settings, set(scope.split()))
        if user is None:
            user = self._identity.find_service_account(
                self._realm["name"], client.client_id
            )
        now = int(time.time())
        claims = {
            **map_claims(realm, client.settings, scopes, user),
            "exp": now + self._lifespan,
            "iat": now,
            "jti": str(uuid.uuid4()),
            "iss": addresses.issuer(self._realm["name"]),
            "typ": "Bearer",
            "azp": client.client_id,
            "scope": scope,
        }
        headers = {"kid": self._realm["key_id"]}
        return jwt.encode(claims, self._realm["private_key"], "RS256", headers=headers)


@functools.cache
def _nobody():
    """Return what to compare with when there is no such user, to take as long."""
    return hash_password(secrets.token_urlsafe())
