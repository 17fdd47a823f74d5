"""Signing in to the console with a real Keycloak, through its own login form."""

import os
import uuid
from html.parser import HTMLParser
from types import SimpleNamespace
from urllib.parse import urljoin

import pytest
import requests
from django.test import Client

from organizations import operations as organizations
from organizations.models import Membership, Organization, User
from orgmanager.operators.models import Operator

from ..conftest import ADMIN, PASSWORD
from ..real_services import Administrator
from .test_sign_in import is_signed_in, point_at, refusal

pytestmark = pytest.mark.services

TIMEOUT = 30  # seconds; a busy machine is no reason to fail
OTHER_PASSWORD = "Other-Horse-8"


@pytest.fixture
def keycloak(settings):
    """The real one; ``call`` is its admin API, and new realms are deleted again."""
    if not (url := os.environ.get("TEST_KEYCLOAK_URL")):
        pytest.skip("TEST_KEYCLOAK_URL is not set; make test starts a Keycloak.")
    point_at(url, settings)
    settings.IDENTITY = settings.IDENTITY | {
        "provisioning_client_id": os.environ["TEST_KEYCLOAK_CLIENT_ID"],
        "provisioning_client_secret": os.environ["TEST_KEYCLOAK_CLIENT_SECRET"],
        "timeout": TIMEOUT,
    }
    settings.SERVICE_ACCOUNT_REALM = str(uuid.uuid4())

    def call(*request, **options):
        return Administrator().request(*request, **options)

    realms = [settings.SERVICE_ACCOUNT_REALM]
    yield SimpleNamespace(url=url, call=call, realms=realms)
    for realm in realms:
        call("DELETE", f"/realms/{realm}", accept=(204, 404))  # perhaps never made


@pytest.fixture
def realm(keycloak, register):
    """The realm of an organization that has just registered, as its name."""
    outcome = register(patience=TIMEOUT)
    assert outcome.is_done
    name = str(Organization.objects.get().pk)
    keycloak.realms.append(name)
    return name


@pytest.fixture
def operator_realm(keycloak, settings):
    """A realm of operators, made by hand as the setup guide says."""
    settings.OPERATOR_REALM = f"operators-{uuid.uuid4()}"
    settings.OPERATOR_CLIENT_SECRET = "the-secret-of-the-console"
    client = {
        "clientId": settings.OPERATOR_CLIENT_ID,
        "secret": settings.OPERATOR_CLIENT_SECRET,
        "redirectUris": ["http://testserver/oidc/callback/"],
        "attributes": {"pkce.code.challenge.method": "S256"},
    }
    keycloak.realms.append(settings.OPERATOR_REALM)
    keycloak.call(
        "POST",
        "/realms",
        {
            "realm": settings.OPERATOR_REALM,
            "enabled": True,
            "roles": {"realm": [{"name": "FLOWX_OPERATOR"}]},
            "clients": [client],
        },
    )
    return settings.OPERATOR_REALM


def add_person(keycloak, realm, email, *, role=None):
    """Make somebody in ``realm`` of Keycloak and return their subject."""
    path = f"/realms/{realm}/users"
    password = {"type": "password", "value": OTHER_PASSWORD, "temporary": False}
    person = {
        "username": email,
        "email": email,
        "firstName": "Otto",
        "lastName": "Op",
        "enabled": True,
        "emailVerified": True,
        "credentials": [password],
    }
    subject = keycloak.call("POST", path, person).headers["Location"].split("/")[-1]
    if role:
        roles = [keycloak.call("GET", f"/realms/{realm}/roles/{role}").json()]
        keycloak.call("POST", f"{path}/{subject}/role-mappings/realm", roles)
    return subject


def add_user(keycloak, realm, email, role):
    """Make a user of the organization, there and here."""
    subject = add_person(keycloak, realm, email, role=role)
    user = User.objects.create(
        id=subject,
        organization_id=realm,
        email=email,
        first_name="Otto",
        last_name="Op",
        status=User.Status.ACTIVE,
    )
    Membership.objects.create(user=user, role=role)
    return user


class Forms(HTMLParser):
    """The addresses of the forms on a page, and their hidden fields."""

    def __init__(self, page):
        super().__init__()
        self.actions, self.fields = [], {}
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        if tag == "form":
            self.actions.append(given["action"])
        if tag == "input" and given.get("type") == "hidden":
            self.fields[given["name"]] = given.get("value", "")


class Browser(requests.Session):
    """One that sends secure cookies to this machine by http, as browsers do."""

    def request(self, method, url, **options):
        for cookie in self.cookies:
            cookie.secure = False
        return super().request(method, url, timeout=TIMEOUT, **options)


def visit(client, browser, username, password, path="/oidc/authenticate/"):
    """Begin in the console, fill in Keycloak's form; return where that leads."""
    page = browser.get(client.get(path)["Location"])
    assert page.status_code == 200, page.text
    form = {"username": username, "password": password}
    [action] = Forms(page.text).actions
    return browser.post(action, data=form, allow_redirects=False)


def sign_in(client, username, password=PASSWORD, *, browser=None):
    """Sign in at Keycloak and come back; return the console's answer."""
    browser = browser or Browser()
    answer = visit(client, browser, username, password)
    return client.get(answer.headers["Location"].removeprefix("http://testserver"))


def test_administrator_signs_in_after_the_registration(client, realm, keycloak):
    response = sign_in(client, ADMIN["email"])
    assert (response.status_code, response["Location"]) == (302, "/admin/")
    assert is_signed_in(client)
    operator = Operator.objects.get()
    assert operator.issuer == f"{keycloak.url}/realms/{realm}"
    assert operator.subject == str(User.objects.get().pk)
    assert str(operator) == "Ada Acme" and operator.email == ADMIN["email"]


def test_wrong_password_comes_not_back(client, realm):
    answer = visit(client, Browser(), ADMIN["email"], "Wrong-Horse-7")
    assert answer.status_code == 200 and "Invalid username or password" in answer.text


def test_member_is_refused_and_may_be_somebody_else_next(client, realm, keycloak):
    add_user(keycloak, realm, "mo@acme.example", "member")
    browser = Browser()
    response = sign_in(client, "mo@acme.example", OTHER_PASSWORD, browser=browser)
    assert "org_admin" in refusal(response, client)
    # Keycloak knows the browser, and asks nevertheless.
    page = browser.get(client.get("/oidc/authenticate/")["Location"])
    assert Forms(page.text).actions and not page.history


def test_administrator_who_is_disabled_is_signed_out_and_refused(
    client, realm, keycloak
):
    second = add_user(keycloak, realm, "sam@acme.example", "org_admin")
    sign_in(client, second.email, OTHER_PASSWORD)
    assert is_signed_in(client)
    organizations.disable_user(second.pk, actor="test", reason="left")
    assert not is_signed_in(client)
    response = sign_in(Client(), second.email, OTHER_PASSWORD)
    assert "org_admin" in refusal(response, client)


def test_administrator_of_keycloaks_saying_alone_is_refused(client, realm, keycloak):
    add_person(keycloak, realm, "eve@acme.example", role="org_admin")
    response = sign_in(client, "eve@acme.example", OTHER_PASSWORD)
    assert "org_admin" in refusal(response, client)


def test_code_of_another_browser_is_refused(client, realm):
    answer = visit(Client(), Browser(), ADMIN["email"], PASSWORD)
    path = answer.headers["Location"].removeprefix("http://testserver")
    assert "not begun in this browser" in refusal(client.get(path), client)


def test_code_is_worth_nothing_without_the_verifier(client, realm, keycloak):
    """PKCE is demanded by the realm, not only used by the console."""
    location = client.get("/oidc/authenticate/")["Location"]
    bare = "&".join(
        part for part in location.split("&") if not part.startswith("code_challenge")
    )
    answer = requests.get(bare, allow_redirects=False, timeout=TIMEOUT)
    assert "Missing+parameter%3A+code_challenge_method" in answer.headers["Location"]


def test_no_other_address_of_ours_can_be_come_back_to(client, realm):
    location = client.get("/oidc/authenticate/")["Location"]
    for path in ("%2Foidc%2F", "%2Foidc%2Fcallback%2Fx", "%2F"):
        answer = requests.get(
            location.replace("%2Foidc%2Fcallback%2F", path),
            allow_redirects=False,
            timeout=TIMEOUT,
        )
        assert answer.status_code == 400 and "redirect_uri" in answer.text


def test_sign_out_ends_the_session_at_keycloak_too(client, realm):
    browser = Browser()
    sign_in(client, ADMIN["email"], browser=browser)
    location = client.post("/admin/logout/")["Location"]
    page = browser.get(location)
    found = Forms(page.text)
    answer = browser.post(
        urljoin(page.url, found.actions[0]),
        data=found.fields | {"confirmLogout": "Logout"},
        allow_redirects=False,
    )
    assert answer.headers["Location"] == "http://testserver/admin/login/"
    again = browser.get(client.get("/oidc/authenticate/")["Location"])
    assert Forms(again.text).actions  # it asks for the password again


def test_suspended_organization_signs_nobody_in(client, realm):
    Organization.objects.update(status="SUSPENDED")
    assert "Nobody can sign in" in refusal(client.get("/oidc/authenticate/"), client)


def test_operator_with_the_role_signs_in_before_anything_is_registered(
    client, db, keycloak, operator_realm
):
    subject = add_person(
        keycloak, operator_realm, "otto@ops.example", role="FLOWX_OPERATOR"
    )
    sign_in(client, "otto@ops.example", OTHER_PASSWORD)
    assert is_signed_in(client)
    assert Operator.objects.get().subject == subject


def test_operator_without_the_role_is_refused(client, db, keycloak, operator_realm):
    add_person(keycloak, operator_realm, "ida@ops.example")
    response = sign_in(client, "ida@ops.example", OTHER_PASSWORD)
    assert "no role FLOWX_OPERATOR" in refusal(response, client)


def test_wrong_secret_of_the_console_is_named(
    client, db, keycloak, operator_realm, settings
):
    add_person(keycloak, operator_realm, "otto@ops.example", role="FLOWX_OPERATOR")
    settings.OPERATOR_CLIENT_SECRET = "another-secret"
    response = sign_in(client, "otto@ops.example", OTHER_PASSWORD)
    assert "SECURITY_OAUTH2_OPERATOR_CLIENT_ID" in refusal(response, client)
