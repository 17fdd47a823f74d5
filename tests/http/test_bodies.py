"""Bodies and addresses that somebody sends by mistake or to break things: no 5xx."""

import random

import pytest
from django.test import Client

SINGLE = "/org/api/org/single"

MALFORMED = {
    "nothing": b"",
    "half an object": b'{"token": "x"',
    "no JSON": b"token=x",
    "a lone word": b"token",
    "NUL in a text": b'{"token": "a\\u0000b"}',
    "NUL in a name": b'{"to\\u0000ken": "x"}',
    "a raw NUL": b'{"token": "\x00"}',
    "half a surrogate pair": b'{"token": "\\ud800"}',
    "a surrogate in a name": b'{"\\udfff": "x"}',
    "20,000 lists deep": b"[" * 20_000,
    "20,000 objects deep": b'{"a":' * 20_000,
    "65 deep and closed": b"[" * 65 + b"]" * 65,
    "a name twice": b'{"token": "a", "token": "b"}',
    "NaN": b'{"token": NaN}',
    "Infinity": b'{"token": -Infinity}',
    "1e999": b'{"token": 1e999}',
    "an integer beyond 64 bits": b'{"token": 9223372036854775808}',
    "an integer of 5,000 digits": b'{"token": ' + b"9" * 5000 + b"}",
    "UTF-16": '{"token": "x"}'.encode("utf-16"),
    "broken UTF-8": b'{"token": "\xff\xfe"}',
    "a byte order mark": b'\xef\xbb\xbf{"token": "x"}',
    "two values": b"{} {}",
    "a list": b"[]",
    "a number": b"1",
    "null": b"null",
    "a text": b'"x"',
    "wrong types": b'{"token": {}, "admin": [], "organizationName": 1}',
    "an unknown field": b'{"token": "x", "admin": {}, "role": "operator"}',
    "a control character": b'{"token": "\x01"}',
}


@pytest.fixture
def client():
    return Client(raise_request_exception=False)


@pytest.mark.parametrize("body", MALFORMED.values(), ids=MALFORMED)
def test_a_malformed_body_is_a_400_that_says_where(db, client, body):
    response = client.post(SINGLE, body, content_type="application/json")
    assert response.status_code == 400, response.content
    assert response["Content-Type"] == "application/problem+json"
    problem = response.json()
    assert problem["code"] in {"malformed_body", "invalid"} and problem["detail"]
    assert problem["instance"] == SINGLE and problem["requestId"]


def test_a_body_past_the_limit_is_a_413(db, client):
    body = b'{"token": "' + b"x" * 1024 * 1024 + b'"}'
    response = client.post(SINGLE, body, content_type="application/json")
    assert response.status_code == 413 and response.json()["code"] == "body_too_large"


@pytest.mark.parametrize(
    "content_type",
    ["text/plain", "application/xml", "multipart/form-data", "x/y;;=", ""],
)
def test_a_body_that_is_not_json_is_a_415(db, client, content_type):
    response = client.post(SINGLE, b"{}", content_type=content_type)
    assert response.status_code == 415, response.content
    assert "application/json" in response.json()["detail"]


def test_a_refused_field_is_named_by_its_pointer(db, client):
    body = {"token": "x", "admin": {"email": "nobody", "firstName": "A", "x/y": 1}}
    response = client.post(SINGLE, body, content_type="application/json")
    pointers = {error["pointer"] for error in response.json()["errors"]}
    assert pointers == {"/admin/x~1y"}
    del body["admin"]["x/y"]
    response = client.post(SINGLE, body, content_type="application/json")
    pointers = {error["pointer"] for error in response.json()["errors"]}
    assert pointers == {"/admin/email", "/admin/lastName", "/admin/password"}


PATHS = [
    "/org/api/organizations/not-a-uuid",
    "/org/api/organizations/../env",
    "/org/api/organizations/%00",
    "/org/api/organizations/%ff%fe",
    "/org/api/organizations/%2e%2e%2fenv",
    "/org/api/" + "a" * 3000,
    "/org/api//env",
    "/org/api/env/",
    "/org/api/env?x=%00",
    "/org/api/env?%ff",
    "/realms/../../etc/passwd/protocol/openid-connect/token",
    "/realms/%00/protocol/openid-connect/certs",
    "/realms/x%2f..%2fmaster/protocol/openid-connect/certs",
    "/api/nothing",
    "/nothing",
]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("method", ["get", "post", "put", "delete", "patch", "options"])
def test_an_odd_address_is_never_a_5xx(db, client, path, method):
    response = getattr(client, method)(path)
    assert response.status_code < 500, response.content


def test_an_unknown_method_is_a_405_that_says_which_are_known(db, client):
    response = client.delete("/org/api/env")
    assert response.status_code == 405 and "GET" in response["Allow"]
    assert response["Content-Type"] == "application/problem+json"


def test_random_bytes_are_never_a_5xx(db, client):
    chance = random.Random(7)
    pieces = [b"{", b"}", b"[", b"]", b'"', b":", b",", b"\\u", b"\\", b"e9", b"\x00"]
    pieces += [b'"token"', b'"admin"', b"null", b"1", b"-", b"\xff", b"\xc3", b"\xa9"]
    for _ in range(1500):
        body = b"".join(chance.choices(pieces, k=chance.randrange(1, 25)))
        response = client.post(
            SINGLE,
            body,
            content_type="application/json",
            REMOTE_ADDR=f"10.0.{chance.randrange(250)}.{chance.randrange(250)}",
        )
        assert response.status_code in {400, 429}, body
