"""A token from the realms on this machine, by HTTP, as from Keycloak."""

import base64
import json
import logging
import uuid
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlencode

import jwt
import pytest
from django.test import Client

from orgmanager.identity import addresses, identity, template
from orgmanager.identity.backends import local
from orgmanager.identity.passwords import hash_password

PASSWORD = "Correct-Horse-7"
SECRET = "s3cret/with:signs"
SERVICE = "flowx-license-sa"
FORM = "application/x-www-form-urlencoded"


@pytest.fixture(autouse=True)
def only_local_realms(settings):
    settings.ROOT_URLCONF = "orgmanager.identity.urls"
    settings.DIRECT_ACCESS_GRANTS = True


@pytest.fixture(scope="module")
def credential():
    return hash_password(PASSWORD)


@pytest.fixture
def make_users_realm(credential):
    """Return a function that makes a realm with one user, Ada, and returns its name."""

    def make(**changes):
        realm = str(uuid.uuid4())
        admin = {
            "id": str(uuid.uuid4()),
            "email": "ada@acme.example",
            "first_name": "Ada",
            "last_name": "Acme",
            "credential": credential,
        }
        representation = template.users_realm(
            realm=realm, display_name="Acme", marker="m", admin=admin
        )
        representation["users"][0].update(changes)
        identity.ensure_realm(representation)
        return realm

    return make


@pytest.fixture
def users_realm(make_users_realm):
    return make_users_realm()


@pytest.fixture
def service_realm():
    realm = str(uuid.uuid4())
    identity.ensure_realm(
        template.service_account_realm(
            realm=realm, marker="m", secrets={SERVICE: SECRET}
        )
    )
    return realm


def path(realm, end="token"):
    return f"/realms/{realm}/protocol/openid-connect/{end}"


def post(realm, fields, **options):
    client = Client(raise_request_exception=True)
    return client.post(path(realm), urlencode(fields), content_type=FORM, **options)


def sign_in(realm, *, options=None, **changes):
    fields = {
        "grant_type": "password",
        "client_id": template.PLATFORM_CLIENT,
        "username": "ada@acme.example",
        "password": PASSWORD,
        **changes,
    }
    fields = {name: value for name, value in fields.items() if value is not None}
    return post(realm, fields, **(options or {}))


def service_sign_in(realm, *, client=SERVICE, secret=SECRET, **changes):
    fields = {
        "grant_type": "client_credentials",
        "client_id": client,
        "client_secret": secret,
        **changes,
    }
    return post(realm, fields)


def basic(user, password):
    pair = f"{user}:{password}".encode()
    return {"headers": {"Authorization": f"Basic {base64.b64encode(pair).decode()}"}}


def read(response):
    """Return the claims of the token, verified with the published key."""
    token = response.json()["access_token"]
    realm = jwt.decode(token, options={"verify_signature": False})["iss"][-36:]
    keys = Client().get(path(realm, "certs")).json()
    header = jwt.get_unverified_header(token)
    return jwt.decode(
        token,
        jwt.PyJWKSet.from_dict(keys)[header["kid"]],
        algorithms=["RS256"],
        audience="flowx-organization-manager",
        issuer=addresses.issuer(realm),
    )


def refusal(response):
    """Return (status, error code) of a refusal in OAuth's shape."""
    assert response["Content-Type"] == "application/json"
    assert response["Cache-Control"] == "no-store"
    assert "access_token" not in response.json()
    return response.status_code, response.json()["error"]


def test_password_grant_gives_the_claims_that_keycloak_gives(users_realm):
    response = sign_in(users_realm)
    assert response.status_code == 200
    assert response["Cache-Control"] == "no-store"
    answer = response.json()
    assert answer["token_type"] == "Bearer"
    assert answer["expires_in"] == 300
    assert answer["scope"] == "profile email"
    claims = read(response)
    user = identity.find_user(users_realm, "ada@acme.example")
    roles = sorted(
        ["org_admin", f"default-roles-{users_realm}", "offline_access"]
        + ["uma_authorization"]
    )
    assert claims["sub"] == user["id"]
    assert claims["aud"] == "flowx-organization-manager"
    assert claims["azp"] == template.PLATFORM_CLIENT
    assert claims["typ"] == "Bearer"
    assert claims["exp"] - claims["iat"] == 300
    assert claims["preferred_username"] == claims["email"] == "ada@acme.example"
    assert claims["email_verified"] is True
    assert claims["name"] == "Ada Acme"
    assert sorted(claims["roles"]) == sorted(claims["realm_access"]["roles"]) == roles
    assert uuid.UUID(claims["jti"])


def test_password_grant_knows_the_user_in_any_case(users_realm):
    assert sign_in(users_realm, username=" ADA@Acme.Example ").status_code == 200


def test_client_credentials_grant_in_body_and_in_header(service_realm):
    claims = read(service_sign_in(service_realm))
    assert "SA_FLOWX" in claims["roles"]
    assert claims["azp"] == SERVICE
    assert claims["preferred_username"] == f"service-account-{SERVICE}"
    assert uuid.UUID(claims["sub"])
    fields = {"grant_type": "client_credentials"}
    header = basic(SERVICE, "s3cret%2Fwith%3Asigns")  # RFC 6749 section 2.3.1
    assert read(post(service_realm, fields, **header))["sub"] == claims["sub"]


def test_scope_adds_what_is_optional_and_refuses_the_unknown(users_realm):
    response = sign_in(users_realm, scope="openid offline_access")
    assert response.json()["scope"] == "openid profile email offline_access"
    assert refusal(sign_in(users_realm, scope="nowhere")) == (400, "invalid_scope")


def test_token_without_mappers_lacks_what_they_make(users_realm):
    """As Keycloak: admin-cli has the built-in scopes only, so no audience."""
    token = sign_in(users_realm, client_id="admin-cli").json()["access_token"]
    claims = jwt.decode(token, options={"verify_signature": False})
    assert "aud" not in claims
    assert "roles" not in claims
    assert claims["sub"]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"password": "wrong"}, (400, "invalid_grant")),
        ({"password": ""}, (400, "invalid_grant")),
        ({"password": "x" * 10_000}, (400, "invalid_grant")),
        ({"password": "\x00\u20ac"}, (400, "invalid_grant")),
        ({"username": "bob@acme.example"}, (400, "invalid_grant")),
        ({"username": "' OR 1=1 --"}, (400, "invalid_grant")),
        ({"username": "a\x00b"}, (400, "invalid_grant")),
        ({"username": ""}, (400, "invalid_grant")),
        ({"username": None}, (400, "invalid_request")),
        ({"password": None}, (400, "invalid_request")),
        ({"client_id": None}, (401, "invalid_client")),
        ({"client_id": ""}, (401, "invalid_client")),
        ({"client_id": "nobody"}, (401, "invalid_client")),
        ({"client_id": "x\x00"}, (401, "invalid_client")),
        ({"client_secret": "x"}, (401, "invalid_client")),
        ({"client_id": "account"}, (400, "unauthorized_client")),
        ({"grant_type": None}, (400, "invalid_request")),
        ({"grant_type": ""}, (400, "invalid_request")),
        ({"grant_type": "\u00fcmlaut\n"}, (400, "unsupported_grant_type")),
        ({"grant_type": "refresh_token"}, (400, "unsupported_grant_type")),
        ({"grant_type": "authorization_code"}, (400, "unsupported_grant_type")),
        ({"grant_type": "client_credentials"}, (400, "unauthorized_client")),
    ],
)
def test_password_grant_refuses(users_realm, changes, expected):
    assert refusal(sign_in(users_realm, **changes)) == expected


def test_wrong_password_and_unknown_user_get_the_same_answer(users_realm):
    wrong = sign_in(users_realm, password="wrong")
    unknown = sign_in(users_realm, username="bob@acme.example")
    assert wrong.content == unknown.content


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"secret": "wrong"}, (401, "invalid_client")),
        ({"secret": ""}, (401, "invalid_client")),
        ({"secret": "\u00fc"}, (401, "invalid_client")),
        ({"client": "nobody"}, (401, "invalid_client")),
        ({"client": "realm-management"}, (401, "invalid_client")),
        ({"grant_type": "password", "username": "a"}, (400, "unauthorized_client")),
    ],
)
def test_client_credentials_grant_refuses(service_realm, changes, expected):
    assert refusal(service_sign_in(service_realm, **changes)) == expected


def test_confidential_client_without_its_secret_is_refused(service_realm):
    fields = {"grant_type": "client_credentials", "client_id": SERVICE}
    assert refusal(post(service_realm, fields)) == (401, "invalid_client")


@pytest.mark.parametrize(
    "header",
    ["Basic", "Basic !!!", "Basic \u00fc", "Basic /w==", "Basic eDp5=", "Bearer x"]
    + ["Basic eDp5", "Basic eA==", "basic OjE=", "", "Digest username=x"],
)
def test_malformed_client_header_is_refused(service_realm, header):
    options = {"HTTP_AUTHORIZATION": header}
    response = post(service_realm, {"grant_type": "client_credentials"}, **options)
    assert refusal(response) == (401, "invalid_client")


def test_client_secret_given_twice_is_refused(service_realm):
    fields = {"grant_type": "client_credentials", "client_secret": SECRET}
    response = post(service_realm, fields, **basic(SERVICE, SECRET))
    assert refusal(response) == (400, "invalid_request")


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b"grant_type=password&grant_type=password", FORM),
        (b"grant_type=%ff", FORM),
        (b"\xff\xfe", FORM),
        (b"&".join(b"a%d=1" % n for n in range(50)), FORM),
        (b"", FORM),
        (b"=&=", FORM),
        (b"{}", "application/json"),
        (b"grant_type=password", "text/plain"),
        (b"grant_type=password", ""),
        (b"--x\r\n", "multipart/form-data; boundary=x"),
    ],
)
def test_malformed_body_is_an_invalid_request(users_realm, body, content_type):
    response = Client().post(path(users_realm), body, content_type=content_type)
    assert refusal(response) == (400, "invalid_request")


def test_large_body_is_refused_unread(users_realm):
    response = sign_in(users_realm, password="x" * 20_000)
    assert refusal(response) == (413, "invalid_request")


def test_credentials_in_the_address_do_not_count(users_realm):
    fields = {
        "grant_type": "password",
        "client_id": template.PLATFORM_CLIENT,
        "username": "ada@acme.example",
        "password": PASSWORD,
    }
    response = Client().post(
        f"{path(users_realm)}?{urlencode(fields)}", "", content_type=FORM
    )
    assert refusal(response) == (400, "invalid_request")


def test_password_grant_that_the_realm_does_not_allow_is_refused(
    make_users_realm, settings
):
    settings.DIRECT_ACCESS_GRANTS = False
    realm = make_users_realm()
    assert refusal(sign_in(realm)) == (400, "unauthorized_client")


def test_disabled_user_gets_the_answer_of_a_wrong_password(make_users_realm):
    realm = make_users_realm(enabled=False)
    assert refusal(sign_in(realm)) == (400, "invalid_grant")
    assert sign_in(realm).content == sign_in(realm, password="wrong").content


def test_user_with_something_left_to_do_is_refused(make_users_realm):
    realm = make_users_realm(requiredActions=["UPDATE_PASSWORD"])
    assert refusal(sign_in(realm)) == (400, "invalid_grant")


def test_disabled_realm_refuses_and_enabled_again_issues(users_realm):
    identity.set_realm_enabled(users_realm, False)
    assert refusal(sign_in(users_realm)) == (403, "access_denied")
    assert Client().get(path(users_realm, "certs")).status_code == 200
    identity.set_realm_enabled(users_realm, True)
    assert sign_in(users_realm).status_code == 200


@pytest.mark.parametrize("realm", [str(uuid.uuid4()), "master", "A", "x%0a", "..", "é"])
def test_realm_that_is_not_there_is_a_404(realm):
    for response in (
        sign_in(realm),
        Client().get(path(realm, "certs")),
        Client().get(f"/realms/{realm}/.well-known/openid-configuration"),
    ):
        assert response.status_code == 404
    assert sign_in(realm).json() == {"error": "Realm does not exist"}


def test_sixth_failure_waits_even_with_the_right_password(users_realm):
    for _ in range(local.ATTEMPTS_PER_NAME):
        assert sign_in(users_realm, password="wrong").status_code == 400
    response = sign_in(users_realm)
    assert refusal(response) == (429, "temporarily_unavailable")
    assert 0 < int(response["Retry-After"]) <= 60
    assert sign_in(users_realm, username="bob@acme.example").status_code == 400


def test_failures_of_a_client_are_counted_however_it_spells_its_name(service_realm):
    for spelling in ("flowx-license-sa", "flowx%2dlicense-sa", "%66lowx-license-sa"):
        for _ in range(2):
            response = post(
                service_realm,
                {"grant_type": "client_credentials"},
                **basic(spelling, "wrong"),
            )
    assert response.status_code == 429


def test_many_guesses_at_once_are_not_all_the_first(users_realm):
    with ThreadPoolExecutor(8) as pool:
        answers = list(
            pool.map(lambda _: sign_in(users_realm, password="wrong"), range(12))
        )
    statuses = sorted(answer.status_code for answer in answers)
    assert statuses == [400] * local.ATTEMPTS_PER_NAME + [429] * 7


def test_success_and_malformed_requests_are_not_counted(users_realm):
    for _ in range(local.ATTEMPTS_PER_NAME + 1):
        assert sign_in(users_realm).status_code == 200
        assert sign_in(users_realm, scope="nowhere").status_code == 400


@pytest.mark.parametrize(
    "options",
    [
        {"REMOTE_ADDR": "192.0.2.7"},
        {"REMOTE_ADDR": "10.0.0.1"},
        {"REMOTE_ADDR": ""},
        {"REMOTE_ADDR": "::ffff:192.0.2.7"},
        {"HTTP_X_FORWARDED_FOR": "127.0.0.1"},
        {"HTTP_FORWARDED": "for=127.0.0.1"},
        {"HTTP_X_REAL_IP": "127.0.0.1"},
    ],
)
def test_other_machines_find_nothing(users_realm, options):
    assert sign_in(users_realm, options=options).status_code == 404
    assert Client().get(path(users_realm, "certs"), **options).status_code == 404


@pytest.mark.parametrize(
    "address", ["127.0.0.1", "127.8.9.1", "::1", "::ffff:127.0.0.1"]
)
def test_this_machine_is_served_under_each_of_its_addresses(users_realm, address):
    assert sign_in(users_realm, options={"REMOTE_ADDR": address}).status_code == 200


def test_production_rules_close_every_address(users_realm, settings):
    settings.PRODUCTION = True
    assert sign_in(users_realm).status_code == 404
    assert Client().get(path(users_realm, "certs")).status_code == 404


def test_discovery_is_made_of_settings_and_not_of_the_host_header(
    users_realm, settings
):
    settings.ALLOWED_HOSTS = ["*"]
    url = f"/realms/{users_realm}/.well-known/openid-configuration"
    document = Client().get(url, headers={"Host": "evil.example"}).json()
    assert document["issuer"] == addresses.issuer(users_realm)
    assert document["token_endpoint"] == addresses.token_endpoint(users_realm)
    assert document["jwks_uri"] == addresses.jwks_uri(users_realm)
    assert "evil" not in json.dumps(document)
    token = sign_in(users_realm, options={"headers": {"Host": "evil.example"}})
    assert read(token)["iss"] == addresses.issuer(users_realm)


def test_other_methods_are_refused(users_realm):
    assert Client().get(path(users_realm)).status_code == 405
    assert Client().post(path(users_realm, "certs")).status_code == 405


def test_broken_store_is_a_503_that_says_when_to_come_back(
    users_realm, settings, caplog
):
    settings.IDENTITY["path"].write_text("no database " * 500)
    for file in settings.IDENTITY["path"].parent.glob("*-wal"):
        file.unlink()
    response = sign_in(users_realm)
    assert refusal(response) == (503, "temporarily_unavailable")
    assert response["Retry-After"]
    assert "cannot be used" in caplog.text


def test_neither_password_nor_secret_nor_token_is_logged(
    users_realm, service_realm, caplog
):
    caplog.set_level(logging.DEBUG)
    answers = [sign_in(users_realm), service_sign_in(service_realm)]
    sign_in(users_realm, password="Wrong-Horse-8")
    service_sign_in(service_realm, secret="Wrong-Secret-9")
    assert "refused" in caplog.text
    secret = [a.json()["access_token"] for a in answers]
    secret += [PASSWORD, SECRET, "Wrong-Horse-8", "Wrong-Secret-9"]
    for value in secret:
        assert value not in caplog.text
