"""Thousands of requests that mean nothing, from a fixed seed: never a 5xx."""

import json
import random

import pytest

METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "TRACE", "BREW"]
PREFIXES = ["/org/api/", "/api/", "/actuator/", "/realms/", "/"]
PARTS = ["orders", "echo", "organizations", "schemas", "page", "", ".", "..", "%2e%2e"]
PARTS += ["%00", "%ff", "%E2%82%AC", "*", "'", "{}", "a" * 300, "%", "%25", "é", "\x7f"]
KINDS = [
    "application/json",
    "application/merge-patch+json",
    "text/plain",
    "",
    "a/b;c=d",
]
KINDS += [
    "multipart/form-data",
    "multipart/form-data; boundary=x",
    "application/json;;",
]
PIECES = [b"{", b"}", b"[", b"]", b'"', b":", b",", b"\\", b"\\u", b"d800", b"0000"]
PIECES += [b'"code"', b'"note"', b'"orderItems"', b'"unitPrice"', b"null", b"true"]
PIECES += [b"1", b"-", b"9" * 25, b"e999", b"NaN", b"\x00", b"\xff", b"\xc3\xa9", b" "]
LEAVES = [
    None,
    True,
    0,
    -1,
    2**63,
    10**30,
    1.5,
    1e308,
    "",
    "a",
    "\0",
    "\ud800",
    "a" * 99,
]
NAMES = ["code", "message", "orderItems", "unitPrice", "tagsByName", "note", "x", "\0"]


@pytest.fixture
def chance():
    return random.Random(20260301)


def make_value(chance, depth=0):
    """Return something JSON-like: sound in form, odd in all else."""
    kind = chance.random()
    if depth > 5 or kind < 0.5:
        return chance.choice(LEAVES)
    size = chance.randrange(4)
    if kind < 0.7:
        return [make_value(chance, depth + 1) for _ in range(size)]
    names = chance.choices(NAMES, k=size)
    return {name: make_value(chance, depth + 1) for name in names}


def make_body(chance):
    if chance.random() < 0.5:
        return json.dumps(make_value(chance)).encode()
    if chance.random() < 0.8:
        return b"".join(chance.choices(PIECES, k=chance.randrange(30)))
    return chance.randbytes(chance.randrange(200))


def make_header(chance):
    return chance.randbytes(chance.randrange(30)).decode("latin-1")


@pytest.mark.parametrize("path", ["/org/api/orders", "/org/api/echo"])
def test_random_bodies_are_never_a_5xx(routes, chance, path):
    seen = set()
    for _ in range(2000):
        body = make_body(chance)
        method = chance.choice(["POST", "PATCH"])
        kind = chance.choice(KINDS) if chance.random() < 0.2 else "application/json"
        response = routes.generic(
            method, path, body, content_type=kind, headers={"If-Match": "*"}
        )
        seen.add(response.status_code)
        assert response.status_code < 500, (method, kind, body)
        if response.status_code >= 400:
            assert response["Content-Type"] == "application/problem+json"
            json.loads(response.content)
    assert {200, 400, 415} <= seen


def test_random_requests_are_never_a_5xx(routes, chance):
    for _ in range(2000):
        path = chance.choice(PREFIXES) + "/".join(chance.choices(PARTS, k=2))
        if chance.random() < 0.5:
            path += "?" + "".join(chance.choices(["a=", "&", *PARTS], k=4))
        sent = {
            name: make_header(chance)
            for name in ("Accept", "If-Match", "X-Request-Id", "traceparent", "Origin")
            if chance.random() < 0.3
        }
        sent |= {"Host": make_header(chance)} if chance.random() < 0.1 else {}
        response = routes.generic(
            chance.choice(METHODS),
            path,
            make_body(chance),
            content_type=chance.choice(KINDS),
            headers=sent,
        )
        assert response.status_code < 500, (path, sent)
        assert "\n" not in response["X-Request-Id"]
