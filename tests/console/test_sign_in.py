"""Signing in to the console with an identity provider, and what ends it."""

import logging
import time
import uuid
from datetime import timedelta
from urllib.parse import parse_qs, urlsplit

import jwt
import pytest
from django.contrib.sessions.models import Session
from django.core.cache import cache
from django.core.management import call_command
from django.test import Client
from django.utils import timezone

from organizations import operations as organizations
from organizations.models import Membership, Organization
from orgmanager.identity import addresses
from orgmanager.operators import operations
from orgmanager.operators.models import Operator
from orgmanager.outbox import worker
from orgmanager.rate_limits import LIMITS

from .conftest import said
from .openid import CONSOLE_CLIENT, OpenIDProvider

CALLBACK = "/oidc/callback/"
SECRET = "the-secret-of-the-console-client"


@pytest.fixture
def provider(settings):
    """An identity provider of the test's own, that the service is set up with."""
    provider = OpenIDProvider()
    point_at(provider.url, settings)
    yield provider
    provider.stop()


def point_at(url, settings):
    settings.IDENTITY_BASE_URL = url
    settings.ISSUER_PATTERN = f"{url}/realms/{addresses.PLACEHOLDER}"
    settings.PUBLIC_BASE_URL = "http://testserver"
    settings.IDENTITY = {
        "BACKEND": "orgmanager.identity.backends.keycloak.Identity",
        "server_url": url,
        "provisioning_realm": "master",
        "provisioning_client_id": "none",
        "provisioning_client_secret": "none",
        "service_account_secret": "none",
        "timeout": 5,
    }


@pytest.fixture
def admin(provider, make_organization, make_user):
    """An administrator of the organization, whom the provider signs in."""
    admin = make_user(make_organization(), role="org_admin", email="bea@acme.example")
    provider.person = person(admin)
    return admin


def person(user, **changes):
    return {
        "sub": str(user.pk),
        "email": user.email,
        "given_name": user.first_name,
        "family_name": user.last_name,
    } | changes


@pytest.fixture
def operator_realm(provider, settings):
    """A realm of operators, and somebody in it who has the role."""
    settings.OPERATOR_REALM = "Operators"
    settings.OPERATOR_CLIENT_SECRET = SECRET
    provider.person = {"sub": str(uuid.uuid4()), "given_name": "Otto"}
    provider.roles = ["FLOWX_OPERATOR"]
    return "Operators"


def is_signed_in(client):
    return client.get("/admin/").status_code == 200


def refusal(response, client):
    """Return the sentence that the sign-in page shows because of ``response``."""
    assert response.status_code == 302, response.content
    assert response["Location"].startswith("/admin/login/"), response["Location"]
    assert not is_signed_in(client)
    level, text = said(response)[-1]
    assert level == "error"
    return text


def button(client, query=""):
    """Return the address behind the sign-in page's button, or ""."""
    return client.get(f"/admin/login/{query}").context["provider_url"]


# --- The sign-in page ---------------------------------------------------------


def test_sign_in_page_has_a_button_once_there_is_an_organization(
    client, provider, make_organization
):
    assert button(client) == ""
    make_organization()
    assert button(client) == "http://testserver/oidc/authenticate/"
    page = client.get("/admin/login/").content.decode()
    assert "Sign in with your account" in page and "(org_admin)" in page


def test_sign_in_page_has_no_button_with_local_realms(client, make_organization):
    make_organization()
    assert button(client) == ""
    assert "Sign in with" not in client.get("/admin/login/").content.decode()


def test_sign_in_page_has_no_button_while_the_organization_is_suspended(
    client, provider, make_organization
):
    make_organization()
    Organization.objects.update(status="SUSPENDED")
    assert button(client) == ""


def test_sign_in_page_has_no_button_where_realms_are_made_by_hand(
    client, provider, make_organization, settings
):
    make_organization()
    settings.IDENTITY_PROVISIONING = "none"
    assert button(client) == ""
    settings.OPERATOR_REALM = "operators"
    assert button(client)


def test_sign_in_page_has_no_button_where_many_organizations_have_no_operators(
    client, provider, make_organization, settings
):
    make_organization()
    settings.INSTALLATION_TYPE = "SAAS"
    assert button(client) == ""


def test_button_leads_to_the_public_host_and_back_to_the_page(client, admin):
    """Fails when the address is made from the Host header."""
    page = client.get("/admin/login/?next=/admin/health/", HTTP_HOST="evil.example")
    url = page.context["provider_url"]
    assert url == "http://testserver/oidc/authenticate/?next=%2Fadmin%2Fhealth%2F"


# --- Going there --------------------------------------------------------------


def test_begin_asks_with_state_nonce_and_pkce_and_comes_back_to_the_public_host(
    client, admin, provider
):
    client.defaults["HTTP_HOST"] = "evil.example"
    asked = provider.begin(client)
    assert asked["address"] == provider.url
    assert asked["redirect_uri"] == "http://testserver/oidc/callback/"
    assert asked["client_id"] == CONSOLE_CLIENT
    assert asked["code_challenge_method"] == "S256"
    assert len(asked["code_challenge"]) == 43
    assert asked["response_type"] == "code" and "prompt" not in asked
    assert len(asked["state"]) == 32 and len(asked["nonce"]) == 32


def test_begin_sends_the_verifier_and_redirect_address_with_the_code(
    client, admin, provider
):
    asked = provider.begin(client)
    client.defaults["HTTP_HOST"] = "evil.example"
    client.get(CALLBACK, {"state": asked["state"], "code": "a-code"})
    [form] = provider.forms
    assert form["code"] == "a-code" and form["client_id"] == CONSOLE_CLIENT
    assert form["redirect_uri"] == "http://testserver/oidc/callback/"
    assert 43 <= len(form["code_verifier"]) <= 128 and "client_secret" not in form


def test_browsers_are_sent_to_the_public_address_and_calls_to_the_internal_one(
    client, admin, provider, settings
):
    provider.public_url = "https://login.example.com"
    settings.ISSUER_PATTERN = "https://login.example.com/realms/{orgId}"
    asked = provider.begin(client)
    assert asked["address"] == "https://login.example.com"
    client.get(CALLBACK, {"state": asked["state"], "code": "a-code"})
    assert is_signed_in(client) and len(provider.forms) == 1
    assert client.post("/admin/logout/")["Location"].startswith(provider.public_url)


def test_begin_while_the_provider_is_down_says_so(client, admin, provider):
    provider.stop()
    text = refusal(client.get("/oidc/authenticate/"), client)
    assert "does not answer" in text and "local operator" in text


def test_begin_while_nothing_is_registered_says_so(client, db, provider):
    assert "yet" in refusal(client.get("/oidc/authenticate/"), client)


@pytest.mark.parametrize(
    "path",
    [
        "//evil.example/",
        "https://evil.example/",
        "/\\evil.example",
        "javascript:x",
        "///evil.example",
        "admin",
        "/%0d%0aX: y" + "y" * 1000,
        "http:///evil.example",
    ],
    ids=lambda path: path[:24],
)
def test_next_is_a_page_of_ours_or_ignored(client, admin, provider, path):
    asked = provider.begin(client, f"/oidc/authenticate/?next={path}")
    response = client.get(CALLBACK, {"state": asked["state"], "code": "c"})
    assert (response.status_code, response["Location"]) == (302, "/admin/")


def test_next_leads_back_to_the_page_that_was_asked_for(client, admin, provider):
    asked = provider.begin(client, "/oidc/authenticate/?next=/admin/health/")
    response = client.get(CALLBACK, {"state": asked["state"], "code": "c"})
    assert response["Location"] == "/admin/health/"


# --- Coming back --------------------------------------------------------------


def test_sign_in_of_an_administrator_opens_the_console(client, admin, provider):
    response = provider.sign_in(client)
    assert (response.status_code, response["Location"]) == (302, "/admin/")
    assert is_signed_in(client)
    operator = Operator.objects.get()
    assert operator.issuer == addresses.issuer(str(admin.organization_id))
    assert operator.subject == str(admin.pk)
    assert str(operator) == "Bea Bee" and operator.email == "bea@acme.example"
    assert operator.actor == f"operator:{admin.pk}"
    assert not operator.has_usable_password()


def test_sign_in_again_is_the_same_operator_with_what_is_said_now(
    client, admin, provider
):
    provider.sign_in(client)
    provider.person |= {"email": "new@acme.example", "family_name": "Boo\x00"}
    provider.sign_in(Client())
    operator = Operator.objects.get()
    assert (operator.email, operator.last_name) == ("new@acme.example", "Boo")


def test_same_e_mail_address_under_another_subject_is_another_operator(
    client, admin, provider, make_user
):
    provider.sign_in(client)
    other = make_user(admin.organization, role="org_admin")
    provider.person = person(other, email=admin.email)
    provider.sign_in(Client())
    assert Operator.objects.filter(email=admin.email).count() == 2


def test_sign_in_never_takes_over_a_local_operator(client, admin, provider, operator):
    """Fails when operators are matched by name or e-mail address."""
    Operator.objects.filter(pk=operator.pk).update(email=admin.email)
    provider.person |= {"preferred_username": operator.username}
    provider.sign_in(client)
    assert Operator.objects.count() == 2
    assert client.get("/admin/").wsgi_request.user.pk != operator.pk


@pytest.mark.parametrize(
    "odd",
    [
        {"email": ["a"], "given_name": {"a": 1}, "family_name": None},
        {"email": "no address", "given_name": "x" * 5000},
        {"email": f"{'x' * 60}@{'y' * 300}.example", "given_name": "\ud800"},
    ],
)
def test_sign_in_with_odd_names_is_no_error(client, admin, provider, odd):
    provider.person |= odd
    provider.sign_in(client)
    assert is_signed_in(client) and Operator.objects.get().email == ""


FORGERIES = {  # what is said instead, and what the log says of it
    "another nonce": ({"nonce": "n" * 32}, "another sign-in (nonce)"),
    "no nonce": ({"nonce": ...}, "missing_claim"),
    "a nonce of another type": ({"nonce": ["x"]}, "another sign-in (nonce)"),
    "another audience": ({"aud": "flowx-platform-authenticate"}, "for another client"),
    "no audience": ({"aud": ...}, "missing_claim"),
    "an odd audience": ({"aud": {"a": CONSOLE_CLIENT}}, "for another client"),
    "an audience that begins alike": (
        {"aud": f"{CONSOLE_CLIENT}-2"},
        "for another client",
    ),
    "several audiences and no azp": (
        {"aud": [CONSOLE_CLIENT, "other"], "azp": ...},
        "issued to another client",
    ),
    "another azp": ({"azp": "other"}, "issued to another client"),
    "another issuer": ({"iss": "https://evil.example/realms/x"}, "Issuer"),
    "an issuer that begins alike": ({"iss": "http://127.0.0.1"}, "Issuer"),
    "expired": ({"exp": int(time.time()) - 120}, "expired"),
    "no expiry": ({"exp": ...}, "missing_claim"),
    "issued in the future": ({"iat": int(time.time()) + 7200}, "not_yet_valid"),
    "no subject": ({"sub": ...}, "missing_claim"),
    "a subject that no column takes": ({"sub": "a\x00b"}, "subject"),
    "an access token": ({"typ": "Bearer"}, "the ID token is none"),
}
SIGNATURES = {
    "another key": ({"key": "another"}, "bad_signature"),
    "a key that everybody has": ({"algorithm": "HS256"}, "wrong_algorithm"),
    "no key": ({"algorithm": "none"}, "malformed"),
    "a key it names itself": (
        {"header": {"jku": "https://evil.example"}},
        "refused_header",
    ),
    "a key that is not known": ({"header": {"kid": "other"}}, "unknown_key"),
}


@pytest.mark.parametrize("forgery", FORGERIES)
def test_sign_in_with_a_token_that_says_something_else_is_refused(
    client, admin, provider, forgery, caplog
):
    provider.id_changes, reason = FORGERIES[forgery]
    assert "does not fit this sign-in" in refusal(provider.sign_in(client), client)
    assert reason in caplog.text and not Operator.objects.exists()


@pytest.mark.parametrize("signature", SIGNATURES)
def test_sign_in_with_a_token_signed_with_something_else_is_refused(
    client, admin, provider, signature, caplog
):
    changes, reason = SIGNATURES[signature]
    for name, value in changes.items():
        setattr(provider, name, value)
    assert "does not fit this sign-in" in refusal(provider.sign_in(client), client)
    assert reason in caplog.text and not Operator.objects.exists()


def test_sign_in_with_the_token_of_another_realm_is_refused(client, admin, provider):
    """Signed by the same key even, but by the realm of other people."""
    elsewhere = f"{provider.url}/realms/{uuid.uuid4()}"
    provider.id_changes = {"iss": elsewhere}
    assert "does not fit" in refusal(provider.sign_in(client), client)


def test_sign_in_with_our_client_among_several_audiences_is_fine(
    client, admin, provider
):
    provider.id_changes = {"aud": ["account", CONSOLE_CLIENT]}
    provider.sign_in(client)
    assert is_signed_in(client)


def test_state_is_good_for_one_sign_in(client, admin, provider):
    state = provider.begin(client)["state"]
    answer = {"state": state, "code": "a-code"}
    client.get(CALLBACK, answer)
    client.post("/admin/logout/")
    assert "Begin again" in refusal(client.get(CALLBACK, answer), client)
    assert len(provider.forms) == 1


def test_state_of_another_browser_is_refused(client, admin, provider):
    """Fails when somebody can be signed in as somebody else without asking for it."""
    state = provider.begin(Client())["state"]
    response = client.get(CALLBACK, {"state": state, "code": "a-code"})
    assert "not begun in this browser" in refusal(response, client)
    assert provider.forms == []


def test_state_that_is_ten_minutes_old_is_refused(client, admin, provider):
    state = provider.begin(client)["state"]
    session = client.session
    session["oidc_states"][state]["added_on"] -= 601
    session.save()
    response = client.get(CALLBACK, {"state": state, "code": "a-code"})
    assert "10 minutes" in refusal(response, client)
    assert state not in client.session["oidc_states"] and provider.forms == []


@pytest.mark.parametrize("name", ["code", "state", "iss"])
def test_answer_that_says_something_twice_is_refused(client, admin, provider, name):
    state = provider.begin(client)["state"]
    issuer = addresses.issuer(str(admin.organization_id))
    answer = {"state": [state], "code": ["a-code"], "iss": [issuer]}
    answer[name] *= 2
    assert "Begin again" in refusal(client.get(CALLBACK, answer), client)
    assert provider.forms == []


def test_answer_of_another_issuer_is_refused(client, admin, provider):
    """Fails when one provider's code can be brought to another (RFC 9207)."""
    response = provider.sign_in(client, iss="https://evil.example")
    assert "another identity provider" in refusal(response, client)
    assert provider.forms == []


def test_error_of_the_provider_is_shown_if_it_is_a_known_kind_of_word(
    client, admin, provider
):
    response = provider.sign_in(client, error="access_denied")
    assert "(access_denied)" in refusal(response, client)
    response = provider.sign_in(client, error="<script>alert(1)</script>")
    assert "script" not in refusal(response, client)


@pytest.mark.parametrize("query", ["error=x", "error=x&state=y", "code=a&state=b"])
def test_callback_that_nobody_asked_for_signs_nobody_out(console, admin, query):
    console.get(f"{CALLBACK}?{query}")
    assert is_signed_in(console)


VALUES = [
    "",
    "x",
    "x" * 3000,
    "x" * 9000,
    "%00",
    "%F0%9F%92%A9",
    "%ff",
    "%0d%0aX:%20y",
    "../../",
    "a&code=b",
    "a&state=b",
    "%27%22%3C",
    "[]",
    "null",
]


@pytest.mark.parametrize("code", VALUES, ids=lambda code: code[:12])
def test_callback_with_garbage_is_never_our_fault(client, admin, provider, code):
    cache.clear()  # of the limits
    provider.answer = 400, {"error": "invalid_grant"}
    codes = set()
    for state in [*VALUES, None]:
        state = provider.begin(client)["state"] if state is None else state
        for query in (
            f"code={code}&state={state}",
            f"error={code}&state={state}",
            f"code={code}&state={state}&iss={code}",
        ):
            codes.add(client.get(f"{CALLBACK}?{query}").status_code)
    assert codes <= {302, 400, 414} and not is_signed_in(client)


@pytest.mark.parametrize("path", [CALLBACK, "/oidc/authenticate/"])
@pytest.mark.parametrize(
    "method", ["post", "put", "patch", "delete", "head", "options", "trace"]
)
def test_other_methods_are_refused(client, admin, provider, method, path):
    state = provider.begin(client)["state"]
    response = getattr(client, method)(f"{path}?code=a-code&state={state}")
    assert response.status_code == 405 or method == "options"
    assert provider.forms == [] and not is_signed_in(client)


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        ((400, {"error": "invalid_grant"}), "took too long, or was used"),
        ((401, {"error": "invalid_client"}), "SECURITY_OAUTH2_OPERATOR_CLIENT_ID"),
        ((500, b"boom"), "does not answer"),
        ((503, {"error": "x"}), "does not answer"),
        ((302, b""), "Begin again"),
        ((200, b"not json"), "gave no answer"),
        ((200, b"[]"), "gave no answer"),
        ((200, {"id_token": "x"}), "gave no answer"),
        ((200, {"id_token": "x", "access_token": "y"}), "does not fit"),
        ((200, {"id_token": ["x"], "access_token": {}}), "gave no answer"),
        ((200, b"[" * 60_000), "gave no answer"),
        ((200, b"x" * 100_000), "does not answer"),
    ],
)
def test_answer_of_the_token_endpoint_never_breaks_the_page(
    client, admin, provider, answer, sentence
):
    provider.answer = answer
    assert sentence in refusal(provider.sign_in(client), client)


def test_callback_while_the_provider_is_down_says_so(client, admin, provider):
    state = provider.begin(client)["state"]
    provider.stop()
    response = client.get(CALLBACK, {"state": state, "code": "a-code"})
    assert "does not answer" in refusal(response, client)


def test_password_works_while_the_provider_is_down(client, admin, provider, operator):
    provider.stop()
    login(client, operator.username)
    assert is_signed_in(client)


def login(client, username, query="", password="Correct-Horse-7-Battery"):
    form = {"username": username, "password": password}
    return client.post(f"/admin/login/{query}", form)


def test_wrong_password_is_not_tried_with_a_code_in_the_address(
    client, admin, provider, operator
):
    """Fails when a code signs somebody in without state and nonce."""
    provider.id_changes = {"nonce": ...}
    login(client, operator.username, "?code=a&state=b", "wrong")
    assert provider.forms == [] and not is_signed_in(client)


def test_a_browser_can_have_several_sign_ins_under_way(client, admin, provider):
    first = provider.begin(client)
    nonce = provider.nonce
    provider.begin(client)
    provider.nonce = nonce
    client.get(CALLBACK, {"state": first["state"], "code": "a-code"})
    assert is_signed_in(client)


def test_sessions_id_changes_with_the_sign_in(client, admin, provider):
    provider.begin(client)
    before = client.session.session_key
    provider.sign_in(client)
    assert client.session.session_key != before


def test_sessions_of_who_never_came_back_are_deleted(client, admin, provider):
    """By the worker; anybody can begin a sign-in, and each is a row."""
    provider.begin(client)
    Session.objects.update(expire_date=timezone.now() - timedelta(seconds=1))
    for schedule in worker.SCHEDULES:
        schedule()
    assert not Session.objects.exists()


# --- Who may ------------------------------------------------------------------


@pytest.mark.parametrize("role", ["member", "org_owner"])
def test_sign_in_of_who_is_no_administrator_is_refused(
    client, admin, provider, make_user, role
):
    provider.person = person(make_user(admin.organization, role=role))
    text = refusal(provider.sign_in(client), client)
    assert "org_admin" in text and "somebody else" in text
    assert not Operator.objects.exists()


def test_sign_in_of_an_administrator_of_nothing_here_is_refused(
    client, admin, provider
):
    for subject in (str(uuid.uuid4()), "not-a-uuid", str(admin.pk).upper()):
        provider.person = {"sub": subject}
        assert "org_admin" in refusal(provider.sign_in(client), client)


def test_sign_in_as_administrator_of_another_organization_is_refused(
    client, admin, provider, make_user
):
    """Fails when a realm can vouch for people who are not its own."""
    other = Organization.objects.create(code="other", name="Other", status="ACTIVE")
    provider.person = person(make_user(other, role="org_admin"))
    assert "org_admin" in refusal(provider.sign_in(client), client)


def test_sign_in_after_a_refusal_asks_who_it_is(client, admin, provider, make_user):
    """Or the provider would send the same person back, over and over."""
    provider.person = person(make_user(admin.organization))
    provider.sign_in(client)
    assert provider.begin(client)["prompt"] == "login"
    assert "prompt" not in provider.begin(client)


def disable(admin, provider, settings):
    organizations.disable_user(admin.pk, actor="test", reason="left")


def demote(admin, provider, settings):
    Membership.objects.filter(user=admin).update(role="member")


def suspend(admin, provider, settings):
    Organization.objects.update(status="SUSPENDED")


def deactivate(admin, provider, settings):
    operator = Operator.objects.filter(subject=str(admin.pk)).first()
    if operator is None:
        issuer = addresses.issuer(str(admin.organization_id))
        names = {"email": "", "first_name": "", "last_name": ""}
        operator = operations.admit(issuer=issuer, subject=str(admin.pk), **names)
    operations.deactivate(operator.pk, actor="test")


def hand_over_to_an_operator_realm(admin, provider, settings):
    settings.OPERATOR_REALM = "operators"


def move_to_another_provider(admin, provider, settings):
    settings.ISSUER_PATTERN = "https://new.example/realms/{orgId}"


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (disable, "no active administrator"),
        (demote, "no active administrator"),
        (suspend, "Nobody can sign in"),
        (deactivate, "was deactivated in this console"),
    ],
)
def test_sign_in_of_who_may_no_more_is_refused(
    client, admin, provider, settings, change, sentence, make_user
):
    make_user(admin.organization, role="org_admin")  # not the last one
    change(admin, provider, settings)
    response = client.get("/oidc/authenticate/")
    if response["Location"].startswith(provider.url):
        response = provider.sign_in(client)
    assert sentence in refusal(response, client)


def test_page_of_an_operator_says_whether_they_may_still_sign_in(
    console, admin, provider, make_user
):
    make_user(admin.organization, role="org_admin")
    provider.sign_in(Client())
    url = (
        f"/admin/operators/operator/{Operator.objects.get(subject=admin.pk).pk}/change/"
    )
    assert "as long as the identity provider" in console.get(url).content.decode()
    disable(admin, provider, None)
    assert "no operator any more" in console.get(url).content.decode()
    deactivate(admin, provider, None)
    assert "No, the account is deactivated" in console.get(url).content.decode()


@pytest.mark.parametrize(
    "change",
    [
        disable,
        demote,
        suspend,
        deactivate,
        hand_over_to_an_operator_realm,
        move_to_another_provider,
    ],
)
def test_session_of_who_may_no_more_ends_with_the_next_request(
    client, admin, provider, settings, change, make_user
):
    make_user(admin.organization, role="org_admin")  # not the last one
    provider.sign_in(client)
    assert is_signed_in(client)
    change(admin, provider, settings)
    response = client.get("/admin/")
    assert response["Location"].startswith("/admin/login/")
    assert response.wsgi_request.user.is_anonymous


def test_session_is_asked_about_in_three_queries(
    client, admin, provider, django_assert_num_queries
):
    """The session, the operator, and whether they are an administrator still."""
    provider.sign_in(client)
    with django_assert_num_queries(3):
        assert client.get("/admin/jsi18n/").status_code == 200


def test_session_ends_half_an_hour_after_the_sign_in_however_busy(
    client, admin, provider
):
    provider.sign_in(client)
    session = client.session
    session["touched"] = True
    session.save()
    [row] = Session.objects.filter(pk=session.session_key)
    left = row.expire_date - timezone.now()
    assert timedelta(minutes=29) < left <= timedelta(minutes=30)


def test_session_of_a_local_operator_is_not_shortened_by_a_refused_sign_in(
    client, admin, provider, operator, make_user
):
    provider.person = person(make_user(admin.organization))
    provider.sign_in(client)
    login(client, operator.username)
    assert client.session.get_expiry_age() > 7 * 3600


# --- The realm of operators ---------------------------------------------------


def test_operator_with_the_role_signs_in_with_nothing_registered(
    client, db, provider, operator_realm, settings
):
    provider.client = settings.OPERATOR_CLIENT_ID = "console-of-ours"
    asked = provider.begin(client)
    client.get(CALLBACK, {"state": asked["state"], "code": "a-code"})
    assert is_signed_in(client) and asked["client_id"] == "console-of-ours"
    page = Client().get("/admin/login/").content.decode()
    assert "the role FLOWX_OPERATOR" in page
    assert provider.forms[0]["client_secret"] == SECRET
    operator = Operator.objects.get()
    assert operator.issuer == f"{provider.url}/realms/Operators"
    assert operator.actor == f"operator:{provider.person['sub']}"


def test_operator_without_the_role_is_refused(client, db, provider, operator_realm):
    provider.roles = ["flowx_operator", "org_admin"]
    text = refusal(provider.sign_in(client), client)
    assert "no role FLOWX_OPERATOR in realm Operators" in text


@pytest.mark.parametrize(
    "changes",
    [
        {"sub": str(uuid.uuid4())},
        {"azp": "another-client"},
        {"iss": "https://evil.example"},
        {"exp": int(time.time()) - 120},
        {"azp": ...},
    ],
)
def test_role_counts_only_in_an_access_token_of_this_sign_in(
    client, db, provider, operator_realm, changes
):
    provider.access_changes = changes
    assert "does not fit" in refusal(provider.sign_in(client), client)


def test_role_in_the_organizations_realm_does_not_count(
    client, admin, provider, make_user
):
    provider.person = person(make_user(admin.organization))
    provider.roles = ["FLOWX_OPERATOR", "org_admin"]
    assert "org_admin" in refusal(provider.sign_in(client), client)


def test_administrator_is_no_operator_where_there_is_a_realm_of_operators(
    client, admin, provider, operator_realm
):
    provider.person, provider.roles = person(admin), ["org_admin"]
    assert "FLOWX_OPERATOR" in refusal(provider.sign_in(client), client)


# --- Passwords, traces, signing out -------------------------------------------


def test_password_of_who_signs_in_with_a_provider_opens_nothing(
    client, admin, provider, operator
):
    """Fails when manage.py changepassword makes a way around the provider."""
    provider.sign_in(client)
    person = Operator.objects.exclude(issuer="").get()
    person.set_password("Correct-Horse-7-Battery")
    person.save()
    browser = Client()
    login(browser, person.username)
    assert not is_signed_in(browser)


def test_secrets_codes_and_tokens_are_in_no_log_and_no_session(
    client, db, provider, operator_realm, caplog
):
    caplog.set_level(logging.DEBUG)
    code = "a-code-that-nobody-shall-read"
    provider.sign_in(client, code=code)
    canaries = [code, SECRET, provider.forms[0]["code_verifier"], *provider.tokens]
    kept = str(dict(client.session.items()))
    for breakage in ("id_changes", "access_changes"):
        setattr(provider, breakage, {"exp": 1})
        browser = Client()
        provider.sign_in(browser, code=code)
        canaries += [provider.forms[-1]["code_verifier"], *provider.tokens]
        kept += str(dict(browser.session.items()))
    for answer in (
        (400, {"error": code}),
        (500, code.encode()),
        (200, SECRET.encode()),
    ):
        provider.answer = answer
        provider.sign_in(Client(), code=code)
    provider.stop()
    for canary in canaries:
        assert canary not in caplog.text and canary not in kept
        assert canary.split(".")[-1] not in caplog.text
    assert "refused" in caplog.text


def test_sign_out_ends_the_session_here_and_at_the_provider(client, admin, provider):
    provider.sign_in(client)
    response = client.post("/admin/logout/")
    location = urlsplit(response["Location"])
    realm = admin.organization_id
    assert location.path == f"/realms/{realm}/protocol/openid-connect/logout"
    assert parse_qs(location.query) == {
        "client_id": [CONSOLE_CLIENT],
        "post_logout_redirect_uri": ["http://testserver/admin/login/"],
    }
    assert not is_signed_in(client)


def test_sign_out_while_the_provider_is_down_ends_the_session_here(
    client, admin, provider
):
    provider.sign_in(client)
    provider.stop()
    assert client.post("/admin/logout/").status_code == 200
    assert not is_signed_in(client)


def test_sign_out_of_a_local_operator_asks_no_provider(console, admin, provider):
    provider.stop()
    assert console.post("/admin/logout/").status_code == 200
    assert not is_signed_in(console)


def test_sign_out_is_no_link(client, admin, provider):
    provider.sign_in(client)
    assert client.get("/admin/logout/").status_code == 405
    assert is_signed_in(client)


def test_sign_in_pages_are_limited(client, admin, provider):
    [limit] = [limit for limit in LIMITS if limit.name == "sign-in"]
    for _ in range(limit.count):
        client.get(CALLBACK)
    assert client.get("/oidc/authenticate/").status_code == 429


def test_list_operators_says_who_signs_in_how(
    client, admin, provider, operator, capsys
):
    provider.sign_in(client)
    call_command("list_operators")
    local, theirs = sorted(capsys.readouterr().out.splitlines(), key=len)
    assert local.split()[:4] == ["olga", "-", "password", "active"]
    assert "Bea Bee" in theirs and str(admin.organization_id) in theirs


def test_tokens_of_the_console_client_open_no_api(client, admin, provider, api):
    provider.sign_in(client)
    for token in provider.tokens:
        assert jwt.decode(token, options={"verify_signature": False})["sub"]
        url = f"/org/api/organizations/{admin.organization_id}"
        answer = api.get(url, HTTP_AUTHORIZATION=f"Bearer {token}")
        assert answer.status_code == 401
