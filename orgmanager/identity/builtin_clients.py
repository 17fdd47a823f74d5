"""
Keycloak's own clients of a realm, as Keycloak 26 makes them.

Made by itself, they would exist before the realm's client scopes do and so get
none: the account page would fail for want of ``sub`` and roles. They are given the
built-in scopes only, so that their tokens never carry our audience.
"""

from django.conf import settings

SCOPES = ("basic", "profile", "email", "roles", "web-origins", "acr")
_LIGHTWEIGHT = {"client.use.lightweight.access.token.enabled": "true"}
_BROWSER = {"pkce.code.challenge.method": "S256", "post.logout.redirect.uris": "+"}

_ACCOUNT_ROLES = {  # role: what it includes
    "delete-account": (),
    "manage-account": ("manage-account-links",),
    "manage-account-links": (),
    "manage-consent": ("view-consent",),
    "view-applications": (),
    "view-consent": (),
    "view-groups": (),
    "view-profile": (),
}


def builtin_clients(realm):
    """Return the clients, to be listed before our own."""
    account, console = f"/realms/{realm}/account/", f"/admin/{realm}/console/"
    return [
        _client("account", baseUrl=account, redirectUris=[f"{account}*"]),
        _client(
            "account-console",
            baseUrl=account,
            redirectUris=[f"{account}*"],
            attributes=_BROWSER,
            protocolMappers=[_audience_resolve_mapper()],
        ),
        _client(
            "security-admin-console",
            rootUrl="${authAdminUrl}",
            baseUrl=console,
            redirectUris=[f"{console}*"],
            webOrigins=["+"],
            fullScopeAllowed=True,
            attributes={**_BROWSER, **_LIGHTWEIGHT},
        ),
        # As made by Keycloak it hands out tokens for passwords in every realm.
        _client(
            "admin-cli",
            rootUrl="",
            standardFlowEnabled=False,
            directAccessGrantsEnabled=settings.DIRECT_ACCESS_GRANTS,
            fullScopeAllowed=True,
            attributes=_LIGHTWEIGHT,
        ),
    ]


def account_roles():
    """Return the roles of client ``account``, as ``roles.client.account``."""
    return [_account_role(*line) for line in _ACCOUNT_ROLES.items()]


def account_scope_mappings():
    """Return what the account page may do, as ``clientScopeMappings``."""
    return {
        "account": [
            {"client": "account-console", "roles": ["manage-account", "view-groups"]}
        ]
    }


def default_roles(realm):
    """Return the realm roles that every user has, with the role that bundles them."""
    included = {
        "realm": ["offline_access", "uma_authorization"],
        "client": {"account": ["manage-account", "view-profile"]},
    }
    return [
        {
            "name": default_role(realm),
            "description": "${role_default-roles}",
            "composite": True,
            "composites": included,
        },
        {"name": "offline_access", "description": "${role_offline-access}"},
        {"name": "uma_authorization", "description": "${role_uma_authorization}"},
    ]


def default_role(realm):
    """
    Return the name of the role that every user of ``realm`` has.

    A user whose roles are listed has it only when it is in the list.
    """
    return f"default-roles-{realm.lower()}"


def _account_role(name, included):
    role = {"name": name, "description": f"${{role_{name}}}"}
    if included:
        role |= {
            "composite": True,
            "composites": {"client": {"account": list(included)}},
        }
    return role


def _client(client_id, **fields):
    client = {
        "clientId": client_id,
        "name": f"${{client_{client_id}}}",
        "rootUrl": "${authBaseUrl}",
        "protocol": "openid-connect",
        "enabled": True,
        "publicClient": True,
        "standardFlowEnabled": True,
        "implicitFlowEnabled": False,
        "directAccessGrantsEnabled": False,
        "serviceAccountsEnabled": False,
        "fullScopeAllowed": False,
        "redirectUris": [],
        "webOrigins": [],
        "attributes": {"post.logout.redirect.uris": "+"},
        "defaultClientScopes": list(SCOPES),
        "optionalClientScopes": ["offline_access"],
    }
    return {**client, **fields}


def _audience_resolve_mapper():
    return {
        "name": "audience resolve",
        "protocol": "openid-connect",
        "protocolMapper": "oidc-audience-resolve-mapper",
        "consentRequired": False,
        "config": {},
    }
