import json
import uuid

import pytest
from django.db import OperationalError
from django.test import Client

from organizations import status
from orgmanager import problems
from orgmanager.rate_limits import client_address


@pytest.fixture
def client():
    return Client(raise_request_exception=False)


def test_an_unknown_address_is_a_problem_for_programs_and_a_page_for_people(db, client):
    assert client.get("/org/api/x")["Content-Type"] == "application/problem+json"
    assert client.get("/api/x").json()["code"] == "not_found"
    assert client.get("/somewhere")["Content-Type"].startswith("text/html")


def test_the_request_id_is_taken_over_or_made(db, client):
    sent = client.get("/org/api/x", headers={"X-Request-Id": "abc-1"})
    assert sent["X-Request-Id"] == "abc-1" and sent.json()["requestId"] == "abc-1"
    made = client.get("/org/api/x", headers={"X-Request-Id": "no spaces please"})
    assert made["X-Request-Id"] != "no spaces please" and made["X-Request-Id"]


def test_a_bug_is_a_500_without_a_word_of_it(db, client, monkeypatch):
    def broken():
        raise ValueError("canary-secret")

    monkeypatch.setattr(status, "environment", broken)
    response = client.get("/org/api/env")
    assert response.status_code == 500 and b"canary" not in response.content
    assert response.json()["requestId"] == response["X-Request-Id"]


def test_a_database_that_is_down_is_a_503_with_retry_after():
    found = problems.describe(OperationalError("connection refused, password=x"))
    status_code, code, detail, _, headers = found
    assert (status_code, code) == (503, "unavailable") and headers["Retry-After"]
    assert "password" not in detail


def test_a_header_that_contradicts_the_path_is_refused(db, client):
    path = f"/org/api/organizations/{uuid.uuid4()}"
    other = {"Fx-Organization-Id": str(uuid.uuid4())}
    response = client.get(path, headers=other)
    assert response.status_code == 400
    assert response.json()["code"] == "organization_mismatch"


def test_pages_of_configured_origins_may_call(db, client, settings):
    settings.CORS_ALLOWED_ORIGINS = ("https://designer.example.com",)
    origin = {"Origin": "https://designer.example.com"}
    response = client.get("/org/api/env", headers=origin)
    assert response["Access-Control-Allow-Origin"] == origin["Origin"]
    assert "ETag" in response["Access-Control-Expose-Headers"]
    ask = origin | {"Access-Control-Request-Method": "PATCH"}
    preflight = client.options("/org/api/env", headers=ask)
    assert preflight.status_code == 204
    assert "If-Match" in preflight["Access-Control-Allow-Headers"]
    assert "Access-Control-Allow-Credentials" not in preflight
    other = client.get("/org/api/env", headers={"Origin": "https://evil.example"})
    assert "Access-Control-Allow-Origin" not in other


def test_five_bad_tokens_in_a_minute_are_enough(db, client):
    def post(**extra):
        return client.post(
            "/org/api/org/single",
            {
                "token": "rubbish",
                "admin": {
                    "email": "ada@acme.example",
                    "firstName": "Ada",
                    "lastName": "Acme",
                    "password": "Correct-Horse-7",
                },
            },
            content_type="application/json",
            **extra,
        )

    assert [post().status_code for _ in range(5)] == [400] * 5
    refused = post()
    assert refused.status_code == 429 and int(refused["Retry-After"]) > 0
    assert "r=0" in refused["RateLimit"]
    assert post(REMOTE_ADDR="10.9.9.9").status_code == 400


def test_the_address_behind_proxies_is_the_one_that_ours_wrote(db, rf, settings):
    request = rf.get("/", headers={"X-Forwarded-For": "6.6.6.6, 1.2.3.4, 10.0.0.1"})
    assert client_address(request) == "127.0.0.1"
    settings.TRUSTED_PROXY_COUNT = 2
    assert client_address(request) == "1.2.3.4"


def test_the_document_describes_each_route_once(db, client):
    document = json.loads(client.get("/org/api/schema").content)
    assert document["openapi"].startswith("3.1")
    assert "/org/api/organizations/{organizationId}" in document["paths"] or (
        "/org/api/organizations/{organization_id}" in document["paths"]
    )
    assert not [path for path in document["paths"] if path.startswith("/api/")]
    register = document["paths"]["/org/api/org/single"]["post"]
    assert {"201", "202", "400", "503"} <= set(register["responses"])


def test_the_page_of_the_document_loads_nothing_from_elsewhere(db, client):
    page = client.get("/org/api/docs").content.decode()
    assert "swagger" in page and "cdn" not in page and "https://" not in page
