"""
The realms as they are made: Keycloak realm representations, version by version.

A representation is complete, so that one call creates a realm with everything in
it, or nothing. The same one goes to every identity provider.
"""

import re

from django.conf import settings

from ..errors import Rejected
from .builtin_clients import (
    SCOPES,
    account_roles,
    account_scope_mappings,
    builtin_clients,
    default_role,
    default_roles,
)
from .client_scopes import (
    default_client_scopes,
    optional_client_scopes,
    user_mappers,
)
from .passwords import MAX_LENGTH, MIN_LENGTH, PASSWORD_PATTERN

TEMPLATE_VERSION = 1

# Attributes of a realm. A realm without the marker is not ours, and not touched.
MARKER = "orgmanager.marker"
VERSION = "orgmanager.template"

PLATFORM_CLIENT = "flowx-platform-authenticate"
CONSOLE_CLIENT = "flowx-organization-manager-console"
CONSOLE_CALLBACK = "/oidc/callback/"  # below PUBLIC_BASE_URL, as is the next
CONSOLE_SIGN_IN = "/admin/login/"
SERVICE_ROLE = "SA_FLOWX"
ADMIN_ROLE = "org_admin"

# Never a role named "admin": libraries read rights into that word.
ROLES = {
    "org_owner": "Owns the organization: sees everything, changes its settings.",
    ADMIN_ROLE: "Administers the organization, its users, tenants and providers.",
    "member": "Belongs to the organization.",
}

_CLIENT = re.compile(r"flowx-[a-z0-9-]{1,200}-sa")

# The platform's services, each with an account flowx-<service>-sa.
SERVICES = (
    "admin",
    "advancing-controller",
    "application-manager",
    "audit-core",
    "authorization-system",
    "cms-core",
    "data-search",
    "data-sync",
    "document-plugin",
    "email-gateway",
    "events-gateway",
    "integration-designer",
    "license",
    "nosql-db-runner",
    "notification-plugin",
    "organization-manager",
    "process-engine",
    "runtime-manager",
    "scheduler-core",
    "task-management-plugin",
    "webhook-gateway",
)

ACCESS_TOKEN_LIFESPAN = 300  # seconds
SESSION_IDLE_TIMEOUT = 1800  # seconds


def users_realm(*, realm, display_name, marker, admin):
    """
    Return the realm of an organization's people, with its first administrator.

    Shapes: ``admin`` {"id": str, "email": str, "first_name": str,
    "last_name": str, "credential": as hash_password() returns it}.
    Source: setup guide, on-premises initialization.
    """
    return {
        **_realm(realm, display_name, marker, ROLES),
        "registrationEmailAsUsername": True,
        "loginWithEmailAllowed": True,
        "duplicateEmailsAllowed": False,
        "editUsernameAllowed": False,
        "resetPasswordAllowed": bool(settings.REALM_SMTP),
        "passwordPolicy": password_policy(),
        "smtpServer": _smtp_server(),
        "clients": [
            *builtin_clients(realm),
            _platform_client(),
            # Where many organizations share a platform, none of them runs it.
            *([_console_client()] if settings.INSTALLATION_TYPE == "ONPREM" else []),
        ],
        "users": [_first_admin(realm, admin)],
    }


def service_account_realm(*, realm, marker, secrets):
    """
    Return the realm of the platform's services.

    A client that ``secrets`` does not name gets one from the identity provider; one
    that only ``secrets`` names is a service that this template does not know yet.

    Shapes: ``secrets`` {client id: secret}.
    Raises: Rejected when ``secrets`` names what is no service account.
    """
    for name in sorted(secrets):
        if name != settings.SERVICE_ACCOUNT_CLIENT_ID and not _CLIENT.fullmatch(name):
            raise Rejected(
                f"{name!r:.100} is no service account: they are named "
                "flowx-<service>-sa. Rename or remove its secret."
            )
    clients = sorted({*service_account_clients(), *secrets})
    description = "The account of a service of the platform."
    return {
        **_realm(realm, "Service accounts", marker, {SERVICE_ROLE: description}),
        "clients": [
            *builtin_clients(realm),
            *(_service_client(name, secrets.get(name)) for name in clients),
        ],
        "users": [_service_account(realm, name) for name in clients],
    }


def service_account_clients():
    """Return the client ids of the service-account realm, sorted."""
    names = {f"flowx-{service}-sa" for service in SERVICES}
    return sorted(names | {settings.SERVICE_ACCOUNT_CLIENT_ID})


def password_policy():
    """Return the password policy of a realm; check_password() is the same rule."""
    return " and ".join(
        [
            f"length({MIN_LENGTH})",
            f"maxLength({MAX_LENGTH})",
            f"regexPattern({PASSWORD_PATTERN})",
            "notEmail(undefined)",
            "notUsername(undefined)",
        ]
    )


def _realm(realm, display_name, marker, roles):
    """Return what both realms have in common. Shapes: ``roles`` {name: description}."""
    default, optional = default_client_scopes(), optional_client_scopes()
    return {
        "realm": realm,
        "displayName": display_name,
        "enabled": True,
        "attributes": {MARKER: marker, VERSION: str(TEMPLATE_VERSION)},
        "sslRequired": "external",
        "accessTokenLifespan": ACCESS_TOKEN_LIFESPAN,
        "ssoSessionIdleTimeout": SESSION_IDLE_TIMEOUT,
        "defaultSignatureAlgorithm": "RS256",
        "registrationAllowed": False,
        "bruteForceProtected": True,
        "permanentLockout": False,  # or anybody could lock anybody out for good
        "failureFactor": 5,  # failures before a user waits
        "waitIncrementSeconds": 60,
        "maxFailureWaitSeconds": 900,
        "minimumQuickLoginWaitSeconds": 60,
        "quickLoginCheckMilliSeconds": 1000,
        "maxDeltaTimeSeconds": 43_200,
        "clientScopes": [*default, *optional],
        "defaultDefaultClientScopes": [scope["name"] for scope in default],
        "defaultOptionalClientScopes": [scope["name"] for scope in optional],
        "clientScopeMappings": account_scope_mappings(),
        "defaultRole": {"name": default_role(realm)},
        "roles": {
            "realm": [
                *default_roles(realm),
                *({"name": n, "description": text} for n, text in roles.items()),
            ],
            "client": {"account": account_roles()},
        },
    }


def _platform_client():
    return {
        "clientId": PLATFORM_CLIENT,
        "name": "FlowX platform",
        "protocol": "openid-connect",
        "enabled": True,
        "publicClient": True,
        "standardFlowEnabled": True,
        "implicitFlowEnabled": False,
        "directAccessGrantsEnabled": settings.DIRECT_ACCESS_GRANTS,
        "serviceAccountsEnabled": False,
        "frontchannelLogout": False,
        "fullScopeAllowed": True,
        "baseUrl": settings.DESIGNER_HOME_URI,
        "redirectUris": list(settings.ALLOWED_REDIRECT_URIS),
        "webOrigins": ["+"],  # the origins of the redirect URIs
        "attributes": {
            "pkce.code.challenge.method": "S256",
            "post.logout.redirect.uris": "+",
            "backchannel.logout.session.required": "false",
        },
        "protocolMappers": user_mappers(),
    }


def _console_client():
    """
    Return the client that administrators sign in to our console with.

    Not the platform's: what is issued for Designer must not open the console. It has
    the built-in scopes only, so its access tokens open nothing of ours.
    """
    return {
        "clientId": CONSOLE_CLIENT,
        "name": "Organization Manager console",
        "protocol": "openid-connect",
        "enabled": True,
        "publicClient": True,  # PKCE binds the code; there is no secret to keep
        "standardFlowEnabled": True,
        "implicitFlowEnabled": False,
        "directAccessGrantsEnabled": False,
        "serviceAccountsEnabled": False,
        "frontchannelLogout": False,
        "fullScopeAllowed": False,
        "baseUrl": f"{settings.PUBLIC_BASE_URL}{CONSOLE_SIGN_IN}",
        "redirectUris": [f"{settings.PUBLIC_BASE_URL}{CONSOLE_CALLBACK}"],
        "webOrigins": [],
        "attributes": {
            "pkce.code.challenge.method": "S256",
            "post.logout.redirect.uris": f"{settings.PUBLIC_BASE_URL}{CONSOLE_SIGN_IN}",
            "backchannel.logout.session.required": "false",
        },
        "defaultClientScopes": list(SCOPES),
        "optionalClientScopes": [],
    }


def _service_client(client_id, secret):
    client = {
        "clientId": client_id,
        "protocol": "openid-connect",
        "enabled": True,
        "publicClient": False,
        "clientAuthenticatorType": "client-secret",
        "standardFlowEnabled": False,
        "implicitFlowEnabled": False,
        "directAccessGrantsEnabled": False,
        "serviceAccountsEnabled": True,
        "fullScopeAllowed": True,
        "redirectUris": [],
        "webOrigins": [],
    }
    return client | ({"secret": secret} if secret else {})


def _service_account(realm, client_id):
    return {
        "username": f"service-account-{client_id}".lower(),
        "enabled": True,
        "serviceAccountClientId": client_id,
        "realmRoles": [default_role(realm), SERVICE_ROLE],
    }


def _first_admin(realm, admin):
    return {
        "id": admin["id"],
        "username": admin["email"].lower(),
        "email": admin["email"].lower(),
        "firstName": admin["first_name"],
        "lastName": admin["last_name"],
        "enabled": True,
        "emailVerified": True,
        "credentials": [{"type": "password", **admin["credential"]}],
        "realmRoles": [default_role(realm), ADMIN_ROLE],
    }


def _smtp_server():
    """Return settings.REALM_SMTP as Keycloak wants it, every value a string."""
    smtp = settings.REALM_SMTP
    if not smtp:
        return {}
    server = {
        "host": smtp["host"],
        "port": str(smtp["port"]),
        "from": smtp["from"],
        "starttls": "true" if smtp.get("starttls") else "false",
        "ssl": "false",
        "auth": "false",
    }
    if smtp.get("user"):
        server |= {"auth": "true", "user": smtp["user"], "password": smtp["password"]}
    return server
