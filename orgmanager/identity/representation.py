"""
What a realm representation must look like to be taken.

At least as strict as Keycloak: everything it refuses is refused, and so is what it
takes and then ignores (a role or a scope that is not there) or would regret (a
malformed redirect URI, a credential that nothing can check).
"""

import re
from urllib.parse import urlsplit

from ..errors import Rejected
from .addresses import checked_realm, is_canonical_uuid
from .passwords import read_credential

MAX_TEXT = 255  # characters; the width of a provider's columns

_CLIENT_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,254}")
_EMAIL = re.compile(r"[^@\s]{1,64}@[^@\s]{1,190}")
_MAPPER_KIND = re.compile(r"oidc-[a-z-]{1,60}")
_UNSTORABLE = re.compile(r"[\x00\ud800-\udfff]")
_SCRIPT_SCHEMES = frozenset({"javascript", "data", "vbscript", "file"})
_BUILTIN_URL_START = "/"  # relative to the provider, as its own clients have it

_REALM = {
    "realm": str,
    "displayName": str,
    "enabled": bool,
    "attributes": dict,
    "sslRequired": str,
    "accessTokenLifespan": int,
    "ssoSessionIdleTimeout": int,
    "defaultSignatureAlgorithm": str,
    "bruteForceProtected": bool,
    "permanentLockout": bool,
    "failureFactor": int,
    "waitIncrementSeconds": int,
    "maxFailureWaitSeconds": int,
    "minimumQuickLoginWaitSeconds": int,
    "quickLoginCheckMilliSeconds": int,
    "maxDeltaTimeSeconds": int,
    "registrationAllowed": bool,
    "registrationEmailAsUsername": bool,
    "loginWithEmailAllowed": bool,
    "duplicateEmailsAllowed": bool,
    "editUsernameAllowed": bool,
    "resetPasswordAllowed": bool,
    "passwordPolicy": str,
    "smtpServer": dict,
    "clientScopes": list,
    "defaultDefaultClientScopes": list,
    "defaultOptionalClientScopes": list,
    "clientScopeMappings": dict,
    "defaultRole": dict,
    "roles": dict,
    "clients": list,
    "users": list,
}
_CLIENT = {
    "clientId": str,
    "name": str,
    "rootUrl": str,
    "baseUrl": str,
    "protocol": str,
    "enabled": bool,
    "publicClient": bool,
    "clientAuthenticatorType": str,
    "secret": str,
    "standardFlowEnabled": bool,
    "implicitFlowEnabled": bool,
    "directAccessGrantsEnabled": bool,
    "serviceAccountsEnabled": bool,
    "frontchannelLogout": bool,
    "fullScopeAllowed": bool,
    "redirectUris": list,
    "webOrigins": list,
    "attributes": dict,
    "defaultClientScopes": list,
    "optionalClientScopes": list,
    "protocolMappers": list,
}
_SCOPE = {
    "name": str,
    "description": str,
    "protocol": str,
    "attributes": dict,
    "protocolMappers": list,
}
_MAPPER = {
    "name": str,
    "protocol": str,
    "protocolMapper": str,
    "consentRequired": bool,
    "config": dict,
}
_ROLE = {"name": str, "description": str, "composite": bool, "composites": dict}
_USER = {
    "id": str,
    "username": str,
    "email": str,
    "firstName": str,
    "lastName": str,
    "enabled": bool,
    "emailVerified": bool,
    "serviceAccountClientId": str,
    "credentials": list,
    "realmRoles": list,
    "requiredActions": list,
}
_CREDENTIAL = {"type": str, "credentialData": str, "secretData": str}


def check_representation(representation):
    """
    Refuse a representation that is not complete and consistent in itself.

    Raises: Rejected, naming the field.
    """
    _check_fields(representation, _REALM, ("realm",), "realm")
    checked_realm(representation["realm"])
    scopes = _check_scopes(representation)
    roles = _check_roles(representation)
    accounts = _check_clients(representation.get("clients", []), scopes)
    _check_users(representation, roles, accounts)


def _check_scopes(representation):
    scopes = representation.get("clientScopes", [])
    for scope in scopes:
        where = f"client scope {_label(scope, 'name')}"
        _check_fields(scope, _SCOPE, ("name", "protocol"), where)
        _check_mappers(scope, where)
    names = _unique([scope["name"] for scope in scopes], "client scope")
    for field in ("defaultDefaultClientScopes", "defaultOptionalClientScopes"):
        _check_known(representation.get(field, []), names, f"realm.{field}")
    return names


def _check_mappers(owner, where):
    mappers = owner.get("protocolMappers", [])
    for mapper in mappers:
        place = f"{where}, mapper {_label(mapper, 'name')}"
        _check_fields(mapper, _MAPPER, ("name", "protocol", "protocolMapper"), place)
        _refuse_unless(_MAPPER_KIND.fullmatch(mapper["protocolMapper"]), place)
        values = mapper.get("config", {}).values()
        _refuse_unless(all(isinstance(value, str) for value in values), place)
    _unique([mapper["name"] for mapper in mappers], f"{where}: mapper")


def _check_roles(representation):
    roles = representation.get("roles", {})
    _check_fields(roles, {"realm": list, "client": dict}, (), "roles")
    listed = roles.get("realm", [])
    for role in listed:
        _check_fields(role, _ROLE, ("name",), f"role {_label(role, 'name')}")
    names = _unique([role["name"] for role in listed], "role")
    for role in listed:
        included = role.get("composites", {}).get("realm", [])
        _check_known(included, names, f"role {role['name']}")
    if default := representation.get("defaultRole"):
        _check_known([default.get("name")], names, "realm.defaultRole")
    return names


def _check_clients(clients, scopes):
    """Return the ids of the clients that have a service account."""
    for client in clients:
        where = f"client {_label(client, 'clientId')}"
        _check_fields(client, _CLIENT, ("clientId",), where)
        _refuse_unless(_CLIENT_ID.fullmatch(client["clientId"]), where)
        _refuse_unless(client.get("secret", "x"), f"{where}: empty secret")
        for uri in client.get("redirectUris", []):
            _refuse_unless(_is_redirect_uri(uri), f"{where}, redirect URI {uri!r:.100}")
        for field in ("defaultClientScopes", "optionalClientScopes"):
            _check_known(client.get(field, []), scopes, f"{where}.{field}")
        _check_mappers(client, where)
        public, account = (
            client.get(field, False)
            for field in ("publicClient", "serviceAccountsEnabled")
        )
        _refuse_unless(not (public and account), f"{where}: public service account")
    _unique([client["clientId"] for client in clients], "client")
    return {c["clientId"] for c in clients if c.get("serviceAccountsEnabled")}


def _check_users(representation, roles, accounts):
    users = representation.get("users", [])
    for user in users:
        where = f"user {_label(user, 'username')}"
        _check_fields(user, _USER, ("username",), where)
        _check_known(user.get("realmRoles", []), roles, f"{where}.realmRoles")
        if "id" in user:
            _refuse_unless(is_canonical_uuid(user["id"]), f"{where}: id")
        if "email" in user:
            _refuse_unless(_EMAIL.fullmatch(user["email"]), f"{where}: email")
        if client := user.get("serviceAccountClientId"):
            _check_known([client], accounts, f"{where}.serviceAccountClientId")
        elif representation.get("registrationEmailAsUsername"):
            same = user.get("email", "").lower() == user["username"].lower()
            _refuse_unless(same, f"{where}: e-mail is not the username")
        for credential in user.get("credentials", []):
            _check_credential(credential, where)
    served = {user.get("serviceAccountClientId") for user in users}
    for client in accounts:
        _refuse_unless(client in served, f"client {client}: no service account")
    _unique([user["username"].lower() for user in users], "user")
    _unique([user["id"] for user in users if "id" in user], "user id")
    _unique([user["email"].lower() for user in users if "email" in user], "e-mail")


def _check_credential(credential, where):
    _check_fields(credential, _CREDENTIAL, tuple(_CREDENTIAL), f"{where}: credential")
    _refuse_unless(credential["type"] == "password", f"{where}: credential type")
    try:
        read_credential(credential)
    except ValueError as error:
        raise Rejected(f"Realm refused: {where}: {error}.") from error


def _is_redirect_uri(uri):
    if not isinstance(uri, str) or re.search(r"[\s\x00-\x1f#\\]", uri):
        return False
    if uri.startswith(_BUILTIN_URL_START):
        return not uri.startswith("//")
    try:
        parts = urlsplit(uri.removesuffix("*"))
        parts.port  # noqa: B018 - raises when it is no port
    except ValueError:
        return False
    if "*" in uri[:-1] or parts.scheme in _SCRIPT_SCHEMES:
        return False
    return bool(parts.scheme) and bool(parts.hostname or parts.path.strip("/"))


def _check_fields(value, fields, required, where):
    _refuse_unless(isinstance(value, dict), f"{where}: not an object")
    for name, content in value.items():
        if name not in fields:
            raise Rejected(f"Realm refused: {where}: unrecognized field {name!r:.60}.")
        _check_type(content, fields[name], f"{where}.{name}")
    for name in required:
        _refuse_unless(value.get(name), f"{where}.{name}: missing")
    for name in ("name", "username", "firstName", "lastName", "displayName"):
        _refuse_unless(
            len(value.get(name, "")) <= MAX_TEXT, f"{where}.{name}: too long"
        )


def _check_type(content, kind, where):
    # A bool is an int to Python, and not to anybody else.
    is_kind = isinstance(content, kind) and not (
        kind is int and isinstance(content, bool)
    )
    _refuse_unless(is_kind, f"{where}: not {kind.__name__}")
    if kind is int:
        _refuse_unless(0 <= content < 2**31, f"{where}: out of range")
    if kind is str:
        _refuse_unless(not _UNSTORABLE.search(content), f"{where}: not storable text")


def _check_known(names, known, where):
    _refuse_unless(isinstance(names, list), f"{where}: not a list")
    for name in names:
        _refuse_unless(
            isinstance(name, str) and name in known, f"{where}: no {name!r:.60} here"
        )


def _unique(names, kind):
    seen = set()
    for name in names:
        _refuse_unless(name not in seen, f"{kind} {name!r:.60}: listed twice")
        seen.add(name)
    return seen


def _label(value, field):
    return f"{value.get(field)!r:.60}" if isinstance(value, dict) else "of no shape"


def _refuse_unless(condition, what):
    if not condition:
        raise Rejected(f"Realm refused: {what}.")
