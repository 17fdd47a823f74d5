"""
The claims of an access token, made by the mappers of the client's scopes.

As in Keycloak, a claim is there because a mapper put it there: a realm without the
audience mapper, or without the one for ``sub``, issues tokens that lack them.
"""

DEFAULT, OPTIONAL = "defaultClientScopes", "optionalClientScopes"


def granted_scopes(realm, client, requested):
    """
    Return the client scopes that apply, or None when one is not to be had.

    Shapes: ``realm``, ``client``: representations. ``requested``: set of names.
    """
    scopes = {scope["name"]: scope for scope in realm.get("clientScopes", [])}
    default = client.get(DEFAULT, realm.get("defaultDefaultClientScopes", []))
    optional = client.get(OPTIONAL, realm.get("defaultOptionalClientScopes", []))
    if not requested - {"openid"} <= {*default, *optional}:
        return None
    names = [*default, *(n for n in optional if n in requested and n not in default)]
    return [scopes[name] for name in names]


def scope_text(scopes, requested):
    """Return the ``scope`` of a token: the names of ``scopes`` that are to be seen."""
    names = ["openid"] if "openid" in requested else []
    for scope in scopes:
        if scope.get("attributes", {}).get("include.in.token.scope") != "false":
            names.append(scope["name"])
    return " ".join(names)


def map_claims(realm, client, scopes, user):
    """
    Return what the mappers say about ``user``; the times and issuer are not theirs.

    Shapes: representations; the result is {claim: value}.
    """
    claims = {}
    mappers = list(client.get("protocolMappers", []))
    for scope in scopes:
        mappers += scope.get("protocolMappers", [])
    for mapper in mappers:
        config = mapper.get("config", {})
        write = _MAPPERS.get(mapper["protocolMapper"])
        if write and config.get("access.token.claim") == "true":
            write(claims, config, realm, user)
    if len(claims.get("aud", [])) == 1:
        claims["aud"] = claims["aud"][0]
    return claims


def realm_roles(realm, user):
    """Return the roles of ``user`` with everything that they include, sorted."""
    listed = {role["name"]: role for role in realm.get("roles", {}).get("realm", [])}
    found, open_ones = set(), list(user.get("realmRoles", []))
    while open_ones:
        name = open_ones.pop()
        if name not in found:
            found.add(name)
            open_ones += listed[name].get("composites", {}).get("realm", [])
    return sorted(found)


def _write_subject(claims, config, realm, user):
    claims["sub"] = user["id"]


def _write_audience(claims, config, realm, user):
    audience = claims.setdefault("aud", [])
    if (name := config.get("included.custom.audience")) and name not in audience:
        audience.append(name)


def _write_roles(claims, config, realm, user):
    _write(claims, config["claim.name"], realm_roles(realm, user))


def _write_attribute(claims, config, realm, user):
    value = user.get(config["user.attribute"])
    if value is not None:
        _write(claims, config["claim.name"], value)


def _write_full_name(claims, config, realm, user):
    names = [user[field] for field in ("firstName", "lastName") if user.get(field)]
    if names:
        claims["name"] = " ".join(names)


def _write_acr(claims, config, realm, user):
    claims["acr"] = "1"


def _write(claims, path, value):
    *outer, name = path.split(".")
    for part in outer:
        claims = claims.setdefault(part, {})
    claims[name] = value


_MAPPERS = {  # the others say nothing about users that live here
    "oidc-sub-mapper": _write_subject,
    "oidc-audience-mapper": _write_audience,
    "oidc-usermodel-realm-role-mapper": _write_roles,
    "oidc-usermodel-attribute-mapper": _write_attribute,
    "oidc-usermodel-property-mapper": _write_attribute,
    "oidc-full-name-mapper": _write_full_name,
    "oidc-acr-mapper": _write_acr,
}
