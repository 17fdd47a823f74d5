"""One shape for every refusal, wherever it is raised."""

import logging

import pytest

PROBLEM = "application/problem+json"

EXPECTED = {
    "invalid": (400, "invalid"),
    "unauthenticated": (401, "not_authenticated"),
    "forbidden": (403, "permission_denied"),
    "missing": (404, "not_found"),
    "conflict": (409, "conflict"),
    "too-large": (413, "too_large"),
    "rejected": (502, "rejected"),
    "unavailable": (503, "unavailable"),
    "operational-error": (503, "unavailable"),
    "interface-error": (503, "unavailable"),
    "pool-timeout": (503, "unavailable"),
    "frozen-transaction": (503, "unavailable"),
    "failed-transaction": (500, "internal_error"),
    "integrity-error": (500, "internal_error"),
    "bug": (500, "internal_error"),
    "http404": (404, "not_found"),
    "permission-denied": (403, "permission_denied"),
    "suspicious": (400, "bad_request"),
    "bad-request": (400, "bad_request"),
    "too-big": (413, "body_too_large"),
    "throttled": (429, "throttled"),
    "model-validation": (400, "invalid"),
}


@pytest.mark.parametrize("prefix", ["/org/api", "/api", "/actuator"])
@pytest.mark.parametrize("name", EXPECTED)
def test_each_kind_of_refusal_has_its_status_and_code(routes, prefix, name):
    address = f"{prefix}/refusals/{name}"
    response = routes.get(address, headers={"X-Request-Id": "r-1"})
    assert response["Content-Type"] == PROBLEM
    body = response.json()
    assert (response.status_code, body["code"]) == EXPECTED[name]
    assert body["status"] == response.status_code
    assert body["type"] == f"urn:orgmanager:problem:{body['code']}"
    assert body["instance"] == address and body["requestId"] == "r-1"
    assert body["title"] and body["detail"]
    assert b"canary" not in response.content


@pytest.mark.parametrize("name", ["unavailable", "operational-error", "throttled"])
def test_who_may_try_again_is_told_when(routes, name):
    response = routes.get(f"/org/api/refusals/{name}")
    assert int(response["Retry-After"]) > 0


def test_who_is_not_known_is_told_how_to_be(routes):
    assert routes.get("/org/api/refusals/unauthenticated")["WWW-Authenticate"]


def test_a_models_refusal_names_the_field_as_the_wire_does(routes):
    response = routes.get("/org/api/refusals/model-validation")
    (error,) = response.json()["errors"]
    assert error["pointer"] == "/firstName" and error["detail"] == "Too short."


def test_a_database_failure_is_logged_with_its_cause(routes, caplog):
    with caplog.at_level(logging.ERROR, "orgmanager.problems"):
        routes.get("/org/api/refusals/operational-error")
    assert "OperationalError" in caplog.text


def test_pages_for_people_keep_djangos_errors(routes):
    assert routes.get("/people/refusals/http404")["Content-Type"] != PROBLEM
    response = routes.get("/people/refusals/bug")
    assert response.status_code == 500 and b"canary" not in response.content
    assert response["Content-Type"].startswith("text/html")


@pytest.mark.parametrize(
    "path", ["/org/api", "/api", "/realms", "/actuator", "/api/x/"]
)
def test_an_unknown_address_of_programs_is_a_problem(routes, path):
    response = routes.get(path)
    assert response.status_code == 404 and response["Content-Type"] == PROBLEM


@pytest.mark.parametrize("path", ["/apiary", "/organizations/api/x", "/", "/org"])
def test_an_address_that_only_looks_like_the_api_is_a_page(routes, path):
    assert routes.get(path)["Content-Type"].startswith("text/html")


@pytest.mark.parametrize("path", ["/org/api/orders", "/actuator/page"])
def test_an_unknown_method_is_a_405_with_allow(routes, path):
    response = routes.delete(path)
    assert response.status_code == 405 and response["Allow"]
    assert response["Content-Type"] == PROBLEM
    assert response.json()["code"] == "method_not_allowed"
    assert "Allow" in response.json()["detail"]


def test_an_accept_without_json_is_a_406_that_says_so(routes):
    response = routes.post(
        "/org/api/echo", b"1", content_type="application/json", HTTP_ACCEPT="text/csv"
    )
    assert response.status_code == 406 and response["Content-Type"] == PROBLEM
    assert "application/json" in response.json()["detail"]


def test_a_bad_host_is_a_problem_not_a_page(routes):
    response = routes.get("/org/api/orders", headers={"Host": "a b"})
    assert response.status_code == 400 and response["Content-Type"] == PROBLEM


def test_too_many_parameters_are_a_400(routes):
    response = routes.get("/org/api/docs?" + "a&" * 1500)
    assert response.status_code in {200, 400}
    response = routes.get("/org/api/schema?" + "a&" * 1500)
    assert response.status_code == 400 and response["Content-Type"] == PROBLEM
