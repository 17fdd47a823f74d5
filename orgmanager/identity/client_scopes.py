"""
The client scopes of every realm: Keycloak's own, and the platform's.

A realm representation that names any client scope gets no built-in one, not even
the one that puts ``sub`` into tokens. So those that matter are repeated here, as
Keycloak 26 makes them.
"""

from django.conf import settings

PLATFORM = "flowx-organization-manager"

_PROFILE = (  # mapper, claim, user attribute, type
    ("username", "preferred_username", "username", "String"),
    ("given name", "given_name", "firstName", "String"),
    ("family name", "family_name", "lastName", "String"),
    ("middle name", "middle_name", "middleName", "String"),
    ("nickname", "nickname", "nickname", "String"),
    ("profile", "profile", "profile", "String"),
    ("picture", "picture", "picture", "String"),
    ("website", "website", "website", "String"),
    ("gender", "gender", "gender", "String"),
    ("birthdate", "birthdate", "birthdate", "String"),
    ("zoneinfo", "zoneinfo", "zoneinfo", "String"),
    ("locale", "locale", "locale", "String"),
    ("updated at", "updated_at", "updatedAt", "long"),
)
_PHONE = (
    ("phone number", "phone_number", "phoneNumber", "String"),
    ("number verified", "phone_number_verified", "phoneNumberVerified", "boolean"),
)
_ADDRESS = {
    f"user.attribute.{field}": field
    for field in ("formatted", "street", "locality", "region", "country")
} | {"user.attribute.postal_code": "postal_code"}

_ACCESS = {"access.token.claim": "true", "introspection.token.claim": "true"}
_EVERYWHERE = {**_ACCESS, "id.token.claim": "true", "userinfo.token.claim": "true"}


def default_client_scopes():
    """
    Return the scopes that every client of a realm has.

    Shapes: [{"name": str, "protocol": str, "protocolMappers": [...], ...}], as
    ``clientScopes`` of a realm representation.
    """
    return [
        _scope("basic", "sub and auth_time", _basic_mappers()),
        _scope("profile", "Built-in scope: profile", _profile_mappers(), consent=True),
        _scope("email", "Built-in scope: email", _email_mappers(), consent=True),
        _scope("roles", "The roles of a user", _role_mappers()),
        _scope("web-origins", "Allowed web origins", [_web_origins_mapper()]),
        _scope("acr", "Authentication context class", [_acr_mapper()]),
        _scope(PLATFORM, "What the platform's services check", platform_mappers()),
    ]


def optional_client_scopes():
    """Return the scopes that a client gets when it asks for them."""
    address = _mapper("address", "oidc-address-mapper", {**_EVERYWHERE, **_ADDRESS})
    phone = [_attribute(*line) for line in _PHONE]
    return [
        _scope("offline_access", "Tokens that outlive the session", [], consent=True),
        _scope("address", "Built-in scope: address", [address], consent=True),
        _scope("phone", "Built-in scope: phone", phone, consent=True),
    ]


def platform_mappers():
    """
    Return the mappers that our services rely on: audience, and claim ``roles``.

    An access token of a public client has no audience of its own accord.
    """
    audience = {**_ACCESS, "included.custom.audience": settings.JWT_AUDIENCE}
    roles = {
        **_ACCESS,
        "claim.name": "roles",
        "jsonType.label": "String",
        "multivalued": "true",
    }
    return [
        _mapper("organization-manager audience", "oidc-audience-mapper", audience),
        _mapper("realm-roles", "oidc-usermodel-realm-role-mapper", roles),
    ]


def user_mappers():
    """Return the mappers of the client that people sign in with."""
    groups = {**_ACCESS, "claim.name": "groups", "full.path": "false"}
    filters = {
        **_ACCESS,
        "claim.name": "attributes.businessFilters",
        "user.attribute": "businessFilters",
        "jsonType.label": "String",
        "multivalued": "true",
    }
    return [
        _mapper("realm-groups", "oidc-group-membership-mapper", groups),
        _mapper("businessFilters", "oidc-usermodel-attribute-mapper", filters),
    ]


def _basic_mappers():
    auth_time = {
        **_ACCESS,
        "id.token.claim": "true",
        "claim.name": "auth_time",
        "user.session.note": "AUTH_TIME",
        "jsonType.label": "long",
    }
    return [
        _mapper("sub", "oidc-sub-mapper", _ACCESS),
        _mapper("auth_time", "oidc-usersessionmodel-note-mapper", auth_time),
    ]


def _profile_mappers():
    full_name = _mapper("full name", "oidc-full-name-mapper", _EVERYWHERE)
    return [full_name, *(_attribute(*line) for line in _PROFILE)]


def _email_mappers():
    email = _attribute("email", "email", "email", "String")
    verified = _attribute("verified", "email_verified", "emailVerified", "boolean")
    return [email, {**verified, "protocolMapper": "oidc-usermodel-property-mapper"}]


def _role_mappers():
    listed = {**_ACCESS, "jsonType.label": "String", "multivalued": "true"}
    realm = {**listed, "claim.name": "realm_access.roles"}
    client = {**listed, "claim.name": "resource_access.${client_id}.roles"}
    return [
        _mapper("realm roles", "oidc-usermodel-realm-role-mapper", realm),
        _mapper("client roles", "oidc-usermodel-client-role-mapper", client),
        _mapper("audience resolve", "oidc-audience-resolve-mapper", _ACCESS),
    ]


def _web_origins_mapper():
    return _mapper("allowed web origins", "oidc-allowed-origins-mapper", _ACCESS)


def _acr_mapper():
    config = {**_ACCESS, "id.token.claim": "true"}
    return _mapper("acr loa level", "oidc-acr-mapper", config)


def _attribute(name, claim, attribute, json_type):
    config = {
        **_EVERYWHERE,
        "claim.name": claim,
        "user.attribute": attribute,
        "jsonType.label": json_type,
    }
    return _mapper(name, "oidc-usermodel-attribute-mapper", config)


def _mapper(name, kind, config):
    return {
        "name": name,
        "protocol": "openid-connect",
        "protocolMapper": kind,
        "consentRequired": False,
        "config": dict(config),
    }


def _scope(name, description, mappers, *, consent=False):
    attributes = {
        "include.in.token.scope": "true" if consent else "false",
        "display.on.consent.screen": "true" if consent else "false",
    }
    if consent:
        key = "".join(part.title() for part in name.split("_"))
        key = key[0].lower() + key[1:]
        attributes["consent.screen.text"] = f"${{{key}ScopeConsentText}}"
    return {
        "name": name,
        "description": description,
        "protocol": "openid-connect",
        "attributes": attributes,
        "protocolMappers": mappers,
    }
