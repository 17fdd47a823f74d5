"""The realms as they are made: complete, and with nothing open that should be shut."""

import re

import pytest

from orgmanager.errors import Invalid, Rejected
from orgmanager.identity import template
from orgmanager.identity.client_scopes import PLATFORM
from orgmanager.identity.passwords import (
    PASSWORD_PATTERN,
    check_password,
    hash_password,
    is_password,
)
from orgmanager.identity.representation import check_representation

REALM = "7d1f6f1e-62a0-4d0c-9c6c-0c5f9a2d7b11"
ADMIN_ID = "0b9a4f0e-0d53-4a57-8c8c-7a2d2a1e9c55"
PASSWORD = "Correct-Horse-7"
BUILT_IN = ["basic", "profile", "email", "roles", "web-origins", "acr"]


@pytest.fixture(scope="module")
def credential():
    return hash_password(PASSWORD)


@pytest.fixture
def users_realm(credential):
    return make_users_realm(credential)


def make_users_realm(credential):
    return template.users_realm(
        realm=REALM,
        display_name="Acme Ltd",
        marker="m",
        admin={
            "id": ADMIN_ID,
            "email": "Ada@Acme.example",
            "first_name": "Ada",
            "last_name": "Acme",
            "credential": credential,
        },
    )


def make_service_realm(**secrets):
    return template.service_account_realm(realm=REALM, marker="m", secrets=secrets)


def clients(realm):
    return {client["clientId"]: client for client in realm["clients"]}


def platform_client(realm):
    return clients(realm)[template.PLATFORM_CLIENT]


def test_both_realms_are_what_a_provider_takes(users_realm):
    check_representation(users_realm)
    check_representation(make_service_realm())


def test_users_realm_signs_in_with_e_mail_and_resists_guessing(users_realm):
    assert users_realm["registrationEmailAsUsername"] is True
    assert users_realm["loginWithEmailAllowed"] is True
    assert users_realm["duplicateEmailsAllowed"] is False
    assert users_realm["registrationAllowed"] is False
    assert users_realm["bruteForceProtected"] is True
    assert users_realm["permanentLockout"] is False


def test_both_realms_keep_tokens_short_and_carry_marker_and_version(users_realm):
    for realm in (users_realm, make_service_realm()):
        assert realm["accessTokenLifespan"] == 300
        assert realm["ssoSessionIdleTimeout"] == 1800
        assert realm["attributes"] == {
            "orgmanager.marker": "m",
            "orgmanager.template": str(template.TEMPLATE_VERSION),
        }


def test_password_policy_is_the_rule_of_check_password(users_realm):
    assert users_realm["passwordPolicy"] == (
        f"length(8) and maxLength(64) and regexPattern({PASSWORD_PATTERN})"
        " and notEmail(undefined) and notUsername(undefined)"
    )
    # The provider splits the policy there.
    assert " and " not in PASSWORD_PATTERN


def test_platform_client_is_public_with_pkce_and_without_implicit_flow(
    users_realm, settings
):
    client = platform_client(users_realm)
    assert client["publicClient"] is True
    assert client["standardFlowEnabled"] is True
    assert client["implicitFlowEnabled"] is False
    assert client["attributes"]["pkce.code.challenge.method"] == "S256"
    assert client["redirectUris"] == settings.ALLOWED_REDIRECT_URIS


def test_console_client_is_public_with_pkce_and_one_way_back(credential, settings):
    settings.PUBLIC_BASE_URL = "https://orgs.example.com"
    client = clients(make_users_realm(credential))[template.CONSOLE_CLIENT]
    assert client["publicClient"] is True and "secret" not in client
    assert client["attributes"]["pkce.code.challenge.method"] == "S256"
    assert client["redirectUris"] == ["https://orgs.example.com/oidc/callback/"]
    assert client["webOrigins"] == [] and client["fullScopeAllowed"] is False


def test_console_client_is_for_one_organization_alone(credential, settings):
    settings.INSTALLATION_TYPE = "SAAS"
    assert template.CONSOLE_CLIENT not in clients(make_users_realm(credential))


@pytest.mark.parametrize("allowed", [True, False])
def test_password_grant_follows_the_setting_for_every_client(
    credential, settings, allowed
):
    settings.DIRECT_ACCESS_GRANTS = allowed
    realm = make_users_realm(credential)
    granting = {n for n, c in clients(realm).items() if c["directAccessGrantsEnabled"]}
    assert granting == ({"admin-cli", template.PLATFORM_CLIENT} if allowed else set())


def test_audience_is_in_a_default_scope_next_to_the_built_in_ones(
    users_realm, settings
):
    for realm in (users_realm, make_service_realm()):
        assert realm["defaultDefaultClientScopes"] == [
            *BUILT_IN,
            PLATFORM,
        ]
        scopes = {scope["name"]: scope for scope in realm["clientScopes"]}
        mappers = {
            mapper["protocolMapper"]: mapper["config"]
            for mapper in scopes[PLATFORM]["protocolMappers"]
        }
        audience = mappers["oidc-audience-mapper"]
        assert audience["included.custom.audience"] == settings.JWT_AUDIENCE
        assert audience["access.token.claim"] == "true"
        assert mappers["oidc-usermodel-realm-role-mapper"]["claim.name"] == "roles"
        basic = [mapper["name"] for mapper in scopes["basic"]["protocolMappers"]]
        assert "sub" in basic


def test_clients_of_the_provider_do_not_get_our_audience(users_realm):
    ours = {template.PLATFORM_CLIENT}
    for name, client in clients(users_realm).items():
        if name not in ours:
            assert client["defaultClientScopes"] == BUILT_IN, name


def test_first_admin_has_the_id_role_and_hash_that_were_given(users_realm, credential):
    [admin] = users_realm["users"]
    assert admin["id"] == ADMIN_ID
    assert admin["username"] == admin["email"] == "ada@acme.example"
    assert admin["emailVerified"] is True
    assert admin["realmRoles"] == [f"default-roles-{REALM}", "org_admin"]
    assert admin["credentials"] == [{"type": "password", **credential}]


def test_service_realm_has_a_confidential_client_and_role_per_service():
    realm = make_service_realm(**{"flowx-license-sa": "given"})
    accounts = {user["serviceAccountClientId"]: user for user in realm["users"]}
    assert len(accounts) == len(template.SERVICES)
    for service in ("admin", "process-engine", "license", "organization-manager"):
        client = clients(realm)[f"flowx-{service}-sa"]
        assert client["publicClient"] is False
        assert client["serviceAccountsEnabled"] is True
        assert client["standardFlowEnabled"] is False
        assert client["directAccessGrantsEnabled"] is False
        roles = accounts[f"flowx-{service}-sa"]["realmRoles"]
        assert roles == [f"default-roles-{REALM}", "SA_FLOWX"]
    assert clients(realm)["flowx-license-sa"]["secret"] == "given"
    assert "secret" not in clients(realm)["flowx-admin-sa"]


def test_service_realm_takes_a_service_of_tomorrow_and_our_own_name(settings):
    settings.SERVICE_ACCOUNT_CLIENT_ID = "our-own-name"
    realm = make_service_realm(**{"flowx-new-sa": "a", "our-own-name": "b"})
    assert clients(realm)["flowx-new-sa"]["secret"] == "a"
    assert clients(realm)["our-own-name"]["secret"] == "b"
    check_representation(realm)


def test_service_realm_refuses_a_secret_for_something_else():
    with pytest.raises(Rejected, match=r"'\.\.data' is no service account"):
        make_service_realm(**{"..data": "x"})


def test_mail_server_is_left_out_without_one(users_realm):
    assert users_realm["smtpServer"] == {}
    assert users_realm["resetPasswordAllowed"] is False


def test_mail_server_is_text_throughout(credential, settings):
    settings.REALM_SMTP = {
        "host": "mail.example",
        "port": 587,
        "from": "no-reply@example",
        "user": "mailer",
        "password": "p",
        "starttls": True,
    }
    realm = make_users_realm(credential)
    assert realm["smtpServer"] == {
        "host": "mail.example",
        "port": "587",
        "from": "no-reply@example",
        "starttls": "true",
        "ssl": "false",
        "auth": "true",
        "user": "mailer",
        "password": "p",
    }
    assert realm["resetPasswordAllowed"] is True
    check_representation(realm)


@pytest.mark.parametrize(
    "password",
    ["Abcdef1!", "A1!" + "a" * 61, "Aa1 ) and ( é_", "Aa1!" + "\U0001f600" * 2],
)
def test_good_password_passes(password):
    check_password(password, "ada@acme.example")


@pytest.mark.parametrize(
    "password",
    [
        "",
        "Abcde1!",
        "A1!" + "a" * 62,
        "Aa1!" + "\U0001f600" * 31,  # 66 as the provider counts
        "abcdefg1!",
        "ABCDEFG1!",
        "Abcdefgh!",
        "Abcdefg12",
        "Abcdefg1\u00a7",  # a sign, but none of the list
        "Abcdefg1!\n",
        "Abcdefg1!\u2028x",
        "Abcdefg1!\ud800",
        "\u00e4BCDEFG1!",  # a small letter, but none of a-z
    ],
)
def test_weak_password_is_refused_with_the_rule(password):
    with pytest.raises(Invalid, match="8 to 64 characters") as refusal:
        check_password(password, "ada@acme.example", pointer="/admin/password")
    [error] = refusal.value.errors
    assert error["pointer"] == "/admin/password"
    assert error["code"] == "password_policy"
    assert not password or password not in str(refusal.value)


def test_e_mail_as_password_is_refused_in_any_case():
    with pytest.raises(Invalid, match="e-mail"):
        check_password("Ada-7+x@Acme.example", " ada-7+X@acme.EXAMPLE")


def test_password_pattern_means_the_same_in_java():
    """Only what both languages know: no \\Z, no named groups, no possessive words."""
    assert not re.search(r"\\[AZzdswDSWbB]|\(\?P|\(\?[a-z]", PASSWORD_PATTERN)


def test_hash_is_salted_and_proves_only_its_own_password(credential):
    again = hash_password(PASSWORD)
    assert again["secretData"] != credential["secretData"]
    assert is_password(PASSWORD, again) and is_password(PASSWORD, credential)
    assert not is_password(PASSWORD + " ", credential)
    assert not is_password("", credential)
    assert not is_password("\ud800", credential)
    assert PASSWORD not in str(credential)


@pytest.mark.parametrize(
    "credential",
    [
        {},
        {"credentialData": "{", "secretData": "{}"},
        {"credentialData": "[]", "secretData": "[]"},
        {"credentialData": "{}", "secretData": "{}"},
    ],
)
def test_credential_that_cannot_be_checked_is_a_value_error(credential):
    with pytest.raises(ValueError):
        is_password(PASSWORD, credential)
