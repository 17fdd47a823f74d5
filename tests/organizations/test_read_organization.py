"""Who reads an organization, at what cost, and how fast a revocation holds."""

import uuid
from urllib.parse import urlencode

import pytest
from django.test import Client

from organizations import operations
from organizations.models import Organization, User
from orgmanager.authorization import authorization
from orgmanager.authorization.decisions import decisions
from orgmanager.identity import identity
from orgmanager.identity.addresses import token_endpoint
from orgmanager.outbox import work

from ..conftest import ADMIN, PASSWORD

FORM = "application/x-www-form-urlencoded"


def sign_in(organization_id, email=ADMIN["email"], password=PASSWORD):
    """Return the headers of somebody who has signed in as people do."""
    path = "/" + token_endpoint(str(organization_id)).split("/", 3)[3]
    form = {
        "grant_type": "password",
        "client_id": "flowx-platform-authenticate",
        "username": email,
        "password": password,
    }
    answer = Client().post(path, urlencode(form), content_type=FORM)
    assert answer.status_code == 200, answer.content
    return {"Authorization": f"Bearer {answer.json()['access_token']}"}


@pytest.fixture
def acme(register):
    """A registered organization, with the headers of its administrator."""
    organization = register().organization
    return organization, sign_in(organization.pk)


def read(organization, headers, suffix=""):
    path = f"/org/api/organizations/{organization.pk}{suffix}"
    return Client().get(path, headers=headers)


def test_the_administrator_reads_their_organization(acme):
    organization, headers = acme
    response = read(organization, headers)
    assert response.status_code == 200 and response.json()["code"] == "acme"
    assert response["ETag"] == '"2"'
    assert response["Cache-Control"] == "no-store"


def test_the_same_at_the_prefix_of_an_ingress_that_strips(acme):
    organization, headers = acme
    path = f"/api/organizations/{organization.pk}"
    assert Client().get(path, headers=headers).status_code == 200


def test_without_a_token_it_is_a_401_that_says_how(acme):
    organization, _ = acme
    response = read(organization, {})
    assert response.status_code == 401 and "Bearer" in response["WWW-Authenticate"]


def test_a_hot_read_costs_one_statement(acme, django_assert_num_queries):
    organization, headers = acme
    read(organization, headers)
    with django_assert_num_queries(1):
        assert read(organization, headers).status_code == 200


def test_another_organization_looks_as_if_it_did_not_exist(acme, db):
    _, headers = acme
    other = Organization.objects.create(code="other", name="Other", status="ACTIVE")
    for organization in (other, Organization(pk=uuid.uuid4())):
        response = read(organization, headers)
        assert response.status_code == 404
        assert response.json()["code"] == "organization_not_found"


def make_second_admin(organization, make_user):
    """Add an administrator; the worker tells the authorization service."""
    user = make_user(organization, role="org_admin")
    operations.disable_user(user.pk, actor="test", reason="to be enabled")
    operations.enable_user(user.pk, actor="test", reason="starts work")
    while work.run_one():
        pass
    return user


def test_a_revoked_admin_is_refused_on_the_next_request(acme, make_user):
    """Fails when a decision outlives the generation it was taken in."""
    organization, headers = acme
    make_second_admin(organization, make_user)
    admin = User.objects.get(email=ADMIN["email"])
    refused = 0
    for _ in range(100):
        assert read(organization, headers).status_code == 200
        operations.disable_user(admin.pk, actor="test", reason="leaves")
        refused += read(organization, headers).status_code == 404
        operations.enable_user(admin.pk, actor="test", reason="is back")
        decisions.clear()
    assert refused == 100


def test_a_revoked_admin_is_refused_while_spicedb_still_grants_it(acme, make_user):
    organization, headers = acme
    make_second_admin(organization, make_user)
    admin = User.objects.get(email=ADMIN["email"])
    operations.disable_user(admin.pk, actor="test", reason="leaves")
    assert authorization.check(  # no worker has run yet
        "orgmanager/organization", str(organization.pk), "org_read", str(admin.pk)
    )
    assert read(organization, headers).status_code == 404


def test_a_suspended_organization_says_so(acme):
    organization, headers = acme
    Organization.objects.filter(pk=organization.pk).update(status="SUSPENDED")
    response = read(organization, headers)
    assert response.status_code == 403
    assert response.json()["code"] == "organization_suspended"


def test_while_authorization_is_down_only_fresh_answers_are_reused(acme, settings):
    organization, headers = acme
    assert read(organization, headers).status_code == 200
    engine = settings.AUTHORIZATION
    granted = dict(decisions._granted)
    settings.AUTHORIZATION = engine | {"path": settings.VAR_DIR / "no" / "file"}
    decisions._granted.update(granted)  # changing the setting has cleared them
    assert read(organization, headers).status_code == 200
    decisions.clear()
    response = read(organization, headers)
    assert response.status_code == 503 and response["Retry-After"]
    assert Client().get("/org/api/env").status_code == 200


def test_the_history_is_paged_newest_first(acme):
    organization, headers = acme
    first = read(organization, headers, "/events?limit=1").json()
    assert [event["type"] for event in first["items"]] == ["organization.created"]
    rest = read(organization, headers, f"/events?cursor={first['nextCursor']}").json()
    assert [event["type"] for event in rest["items"]] == ["registration.started"]
    assert rest["nextCursor"] is None


@pytest.mark.parametrize(
    "query", ["limit=0", "limit=201", "limit=x", "cursor=!!", "cursor=eA"]
)
def test_a_page_that_cannot_be_is_a_400(acme, query):
    organization, headers = acme
    response = read(organization, headers, f"/events?{query}")
    assert response.status_code == 400 and response.json()["code"] == "bad_page"


def service(client_id):
    realm = "00000002-0002-4002-8002-000000000002"
    path = "/" + token_endpoint(realm).split("/", 3)[3]
    form = {
        "grant_type": "client_credentials",
        "client_id": client_id,
        "client_secret": identity.client_secret(realm, client_id),
    }
    answer = Client().post(path, urlencode(form), content_type=FORM)
    token = answer.json()["access_token"]
    return {"Authorization": f"Bearer {token}"}


def internal(organization, suffix):
    return f"/org/api/internal/organizations/{organization.pk}/{suffix}"


def test_services_ask_where_tokens_come_from(acme):
    organization, person = acme
    path = internal(organization, "realm")
    answer = Client().get(path, headers=service("flowx-process-engine-sa"))
    assert answer.status_code == 200 and answer.json()["status"] == "ACTIVE"
    assert answer.json()["issuer"].endswith(str(organization.pk))
    assert Client().get(path, headers=person).status_code == 403
    assert Client().get(path).status_code == 401


def test_only_the_licence_service_puts_a_licence(acme):
    organization, _ = acme
    path = internal(organization, "licence")
    body = {
        "plan": "Gold",
        "validFrom": "2026-01-01T00:00:00Z",
        "validTo": "2030-01-01T00:00:00Z",
    }

    def put(headers):
        return Client().put(
            path, body, content_type="application/json", headers=headers
        )

    assert put(service("flowx-process-engine-sa")).status_code == 403
    assert put({}).status_code == 401
    accepted = put(service("flowx-license-sa"))
    assert accepted.status_code == 200 and accepted.json()["plan"] == "Gold"
    assert Client().get("/org/api/env").json()["status"] == "OK"
    body["validTo"] = "2025-01-01T00:00:00Z"
    refused = put(service("flowx-license-sa"))
    assert refused.json()["errors"][0]["pointer"] == "/validTo"
