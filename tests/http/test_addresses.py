"""Request ids, odd addresses, headers of every answer, and CORS."""

import uuid

import pytest

from orgmanager import context

PROBLEM = "application/problem+json"
TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


@pytest.mark.parametrize(
    "sent", ["", "a b", "x" * 65, "a\u00e9", "<script>", "a;b", "a\tb", '"a"']
)
def test_a_request_id_that_is_not_sane_is_replaced(routes, sent):
    response = routes.get("/org/api/x", headers={"X-Request-Id": sent})
    assert response["X-Request-Id"] != sent
    assert uuid.UUID(hex=response["X-Request-Id"])
    assert response.json()["requestId"] == response["X-Request-Id"]


@pytest.mark.parametrize("sent", ["a", "A-1_b.c", "x" * 64])
def test_a_sane_request_id_is_kept(routes, sent):
    response = routes.get("/org/api/x", headers={"X-Request-Id": sent})
    assert response["X-Request-Id"] == sent


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        (TRACE, TRACE),
        ("", ""),
        (TRACE.upper(), ""),
        ("00-" + "0" * 32 + "-00f067aa0ba902b7-01", ""),
        (TRACE.replace("00f067aa0ba902b7", "0" * 16), ""),
        (TRACE + "-x", ""),
    ],
)
def test_a_trace_is_taken_over_when_it_is_one(routes, sent, kept):
    routes.get("/org/api/x", headers={"traceparent": sent})
    assert context.trace_parent.get() == kept


def test_the_organization_of_the_path_is_known_to_logs_and_then_forgotten(routes):
    organization_id = uuid.uuid4()
    routes.get(f"/org/api/organizations/{organization_id}")
    assert context.organization_id.get() == str(organization_id)
    routes.get("/org/api/x")
    assert context.organization_id.get() == ""


@pytest.mark.parametrize("spelling", [str, lambda value: f" {value} ".upper()])
def test_a_header_that_names_the_same_organization_passes(routes, spelling):
    organization_id = uuid.uuid4()
    response = routes.get(
        f"/org/api/organizations/{organization_id}",
        headers={"Fx-Organization-Id": spelling(str(organization_id))},
    )
    assert response.status_code == 200


@pytest.mark.parametrize("said", [str(uuid.uuid4()), "x", "*", "' or 1=1"])
def test_a_header_that_names_another_organization_is_a_400(routes, said):
    response = routes.get(
        f"/org/api/organizations/{uuid.uuid4()}", headers={"Fx-Organization-Id": said}
    )
    assert response.status_code == 400
    assert response.json()["code"] == "organization_mismatch"


@pytest.mark.parametrize(
    "address",
    [
        "/org/api/%00",
        "/org/api/a%00b",
        "/org/api/%ff",
        "/org/api/%c3%28",
        "/org/api/%ed%a0%80",
        "/org/api/x?a=%00",
        "/org/api/x?%00=a",
        "/org/api/x?a=%ff",
        "/org/api/x?a=%ed%a0%80",
        "/org/api/x?a=\x00",
    ],
)
def test_an_address_that_is_no_text_is_a_400(routes, address):
    response = routes.get(address)
    assert response.status_code == 400 and response["Content-Type"] == PROBLEM
    assert response["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize(
    "address", ["/org/api/%E2%82%AC", "/org/api/x?a=%F0%9F%98%80", "/org/api/x?%zz=%"]
)
def test_an_address_that_is_text_is_looked_up(routes, address):
    assert routes.get(address).status_code == 404


@pytest.mark.parametrize("address", ["/org/api/" + "x" * 4000, "/api/x?" + "y" * 4000])
def test_an_address_that_is_too_long_is_a_414(routes, address):
    response = routes.get(address)
    assert response.status_code == 414
    assert response.json()["code"] == "address_too_long"
    assert len(response.content) < 1000


def test_an_odd_address_of_people_is_refused_as_text(routes):
    response = routes.get("/people/%00")
    assert response.status_code == 400
    assert response["Content-Type"] == "text/plain"


def test_answers_to_programs_are_neither_kept_nor_guessed_at(routes):
    for path in ("/org/api/x", "/org/api/orders", "/actuator/page"):
        response = routes.get(path)
        assert response["Cache-Control"] == "no-store"
        assert response["X-Content-Type-Options"] == "nosniff"
        assert "default-src 'none'" in response["Content-Security-Policy"]
    assert "Content-Security-Policy" not in routes.get("/people/x").headers


DESIGNER = "https://designer.example.com"


def ask(client, origin, path="/org/api/orders"):
    """Return the answer to a browser's preflight."""
    return client.options(
        path, headers={"Origin": origin, "Access-Control-Request-Method": "PATCH"}
    )


def test_a_preflight_allows_the_headers_of_the_api(routes, settings):
    settings.CORS_ALLOWED_ORIGINS = (DESIGNER,)
    response = ask(routes, DESIGNER)
    assert response.status_code == 204 and not response.content
    assert response["Access-Control-Allow-Origin"] == DESIGNER
    assert "PATCH" in response["Access-Control-Allow-Methods"]
    allowed = response["Access-Control-Allow-Headers"].split(", ")
    assert {"Authorization", "Content-Type", "Fx-Organization-Id"} <= set(allowed)
    assert {"Idempotency-Key", "If-Match", "X-Request-Id"} <= set(allowed)


def test_an_answer_exposes_the_headers_of_the_api_refusals_too(routes, settings):
    settings.CORS_ALLOWED_ORIGINS = (DESIGNER,)
    for path in ("/org/api/orders", "/org/api/x", "/org/api/refusals/bug"):
        response = routes.get(path, headers={"Origin": DESIGNER})
        assert response["Access-Control-Allow-Origin"] == DESIGNER
        exposed = set(response["Access-Control-Expose-Headers"].split(", "))
        assert {"ETag", "Location", "Retry-After", "RateLimit"} <= exposed
        assert "Origin" in response["Vary"]
        assert "Access-Control-Allow-Credentials" not in response.headers


@pytest.mark.parametrize(
    "origin", ["https://evil.example", "null", DESIGNER + ".evil.example", ""]
)
def test_pages_of_other_origins_are_told_nothing(routes, settings, origin):
    settings.CORS_ALLOWED_ORIGINS = (DESIGNER,)
    for response in (
        ask(routes, origin),
        routes.get("/org/api/orders", headers={"Origin": origin}),
    ):
        assert "Access-Control-Allow-Origin" not in response.headers
        assert "Origin" in response["Vary"]


def test_every_origin_where_that_is_wished(routes, settings):
    settings.CORS_ALLOWED_ORIGINS = ("*",)
    response = routes.get("/org/api/orders", headers={"Origin": "https://x.example"})
    assert response["Access-Control-Allow-Origin"] == "*"
    assert "Access-Control-Allow-Credentials" not in response.headers


def test_the_console_is_for_no_other_origin(routes, settings):
    settings.CORS_ALLOWED_ORIGINS = ("*",)
    response = routes.get("/people/x", headers={"Origin": "https://x.example"})
    assert "Access-Control-Allow-Origin" not in response.headers
