"""Every licence server keeps the same promises; the one over HTTP a few more."""

import json
import threading
import time
import uuid
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from orgmanager.errors import Unavailable
from orgmanager.licence_server.backends import http, local
from orgmanager.licence_server.backends.base import (
    AUDIENCE,
    InvalidLicence,
    InvalidRegistrationToken,
    LicenceClaims,
)

ORG_ID = "5f0c1f3e-2f4b-4c0e-9f62-0d6a7f0c3b11"


class Server:
    """A licence server on a real socket, whose answers a test can spoil."""

    def __init__(self):
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.calls, self.valid = [], {"valid": True, "orgId": ORG_ID, "orgCode": "acme"}
        self.delay, self.status, self.raw, self.location = 0, 200, None, None
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.url = f"http://127.0.0.1:{self._http.server_port}"
        threading.Thread(
            target=self._http.serve_forever, args=[0.01], daemon=True
        ).start()

    def close(self):
        self._http.shutdown()
        self._http.server_close()

    def public_pem(self):
        return (
            self.key.public_key()
            .public_bytes(
                serialization.Encoding.PEM,
                serialization.PublicFormat.SubjectPublicKeyInfo,
            )
            .decode()
        )

    def answer(self, path):
        if path == http.KEYS_PATH:
            public = jwt.algorithms.ECAlgorithm.to_jwk(
                self.key.public_key(), as_dict=True
            )
            return {"keys": [public | {"kid": "1", "use": "sig", "alg": "ES256"}]}
        return self.valid

    def _handler(self):
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                self.do_POST()

            def do_POST(self):
                length = int(self.headers.get("Content-Length") or 0)
                server.calls.append((self.path, self.rfile.read(length)))
                is_spoilt = self.path == http.VALIDATE_PATH
                if is_spoilt:
                    time.sleep(server.delay)
                body = json.dumps(server.answer(self.path)).encode()
                if is_spoilt and server.raw is not None:
                    body = server.raw
                self.send_response(server.status if is_spoilt else 200)
                if is_spoilt and server.location:
                    self.send_header("Location", server.location)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *args):
                pass

        return Handler


@pytest.fixture
def server():
    server = Server()
    yield server
    server.close()


@pytest.fixture(params=["local", "http", "pinned"])
def backend(request, server, tmp_path):
    """A backend, and how its server signs."""
    if request.param == "local":
        made = local.LicenceServer(path=tmp_path / "licence-server.pem")
        return made, lambda claims: jwt.encode(claims, made._key(), algorithm="ES256")
    pinned = {"public_key": server.public_pem()} if request.param == "pinned" else {}
    url = "" if pinned else server.url
    made = http.LicenceServer(url=url, issuer=server.url, timeout=0.5, **pinned)
    return made, lambda claims: sign(server, claims)


@pytest.fixture
def over_http(server):
    return http.LicenceServer(url=server.url, issuer=server.url, timeout=0.5)


def sign(server, claims, key=None, kid="1"):
    return jwt.encode(
        claims, key or server.key, algorithm="ES256", headers={"kid": kid}
    )


def registration(issuer, **changes):
    now = int(time.time())
    claims = {
        "iss": issuer,
        "aud": AUDIENCE,
        "iat": now,
        "exp": now + 600,
        "jti": str(uuid.uuid4()),
        "orgId": ORG_ID,
        "orgCode": "acme",
        "orgName": "Acme",
    } | changes
    return {name: value for name, value in claims.items() if value is not None}


def licence(issuer, **changes):
    now = int(time.time())
    return {
        "iss": issuer,
        "aud": AUDIENCE,
        "iat": now,
        "orgId": ORG_ID,
        "plan": "Gold",
        "validFrom": now,
        "validTo": now + 86_400,
        "limits": {"users": 5},
        "features": ["ai"],
    } | changes


def test_a_registration_token_says_who_registers(backend):
    made, sign_claims = backend
    claims = made.validate_registration(sign_claims(registration(made.issuer)))
    assert claims.org_id == ORG_ID
    assert (claims.org_code, claims.org_name) == ("acme", "Acme")


FLAWS = {
    "expired": {"exp": 1},
    "no end": {"exp": None},
    "no id": {"jti": None},
    "id that is no text": {"jti": 5},
    "other issuer": {"iss": "https://evil.example"},
    "other audience": {"aud": "somebody"},
    "upper-case organization id": {"orgId": ORG_ID.upper()},
    "organization id that is none": {"orgId": "acme"},
    "no organization id": {"orgId": None},
    "code with a slash": {"orgCode": "a/b"},
    "code with capitals": {"orgCode": "Acme"},
    "no code": {"orgCode": None},
    "endless name": {"orgName": "x" * 201},
    "name that is no text": {"orgName": {}},
}


@pytest.mark.parametrize("flaw", FLAWS)
def test_a_flawed_registration_token_is_refused_in_one_sentence(backend, flaw):
    made, sign_claims = backend
    token = sign_claims(registration(made.issuer, **FLAWS[flaw]))
    with pytest.raises(InvalidRegistrationToken) as refusal:
        made.validate_registration(token)
    assert str(refusal.value).startswith("The registration token is not valid.")


@pytest.mark.parametrize("token", ["", "x", "a.b.c", "x" * 20_000, "é.é.é", "..", None])
def test_what_is_no_token_is_refused(backend, token):
    made, _ = backend
    with pytest.raises(InvalidRegistrationToken):
        made.validate_registration(token)
    with pytest.raises(InvalidLicence):
        made.read_licence(token)


def test_a_token_of_another_key_is_refused(backend, server):
    made, _ = backend
    stranger = ec.generate_private_key(ec.SECP256R1())
    with pytest.raises(InvalidRegistrationToken):
        made.validate_registration(sign(server, registration(made.issuer), stranger))


def test_a_licence_is_read_with_its_times(backend):
    made, sign_claims = backend
    found = made.read_licence(sign_claims(licence(made.issuer)))
    assert isinstance(found, LicenceClaims) and found.limits == {"users": 5}
    assert found.valid_to > found.valid_from >= datetime(2026, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    "changes",
    [
        {"validTo": 0},
        {"validTo": "soon"},
        {"validTo": 10**20},
        {"plan": ""},
        {"plan": 7},
        {"limits": []},
        {"features": [1]},
        {"features": "ai"},
        {"orgId": "x"},
        {"aud": "somebody"},
    ],
)
def test_a_flawed_licence_is_refused(backend, changes):
    made, sign_claims = backend
    with pytest.raises(InvalidLicence):
        made.read_licence(sign_claims(licence(made.issuer, **changes)))


def test_ping_answers(backend):
    assert backend[0].ping() is None


def test_a_pinned_key_makes_no_call(server):
    made = http.LicenceServer(issuer=server.url, public_key=server.public_pem())
    made.validate_registration(sign(server, registration(server.url)))
    made.ping()
    assert server.calls == []


def test_the_server_confirms_each_registration(over_http, server):
    token = sign(server, registration(server.url))
    over_http.validate_registration(token)
    path, body = server.calls[-1]
    assert path == "/api/registrations/validate" and json.loads(body) == {
        "token": token
    }


@pytest.mark.parametrize(
    "answer",
    [
        {"valid": False, "reason": "revoked"},
        {"valid": "true", "orgId": ORG_ID, "orgCode": "acme"},
        {"valid": True, "orgId": str(uuid.uuid4()), "orgCode": "acme"},
        {"valid": True, "orgId": ORG_ID, "orgCode": "other"},
        {},
    ],
)
def test_what_the_server_does_not_confirm_is_refused(over_http, server, answer):
    server.valid = answer
    with pytest.raises(InvalidRegistrationToken):
        over_http.validate_registration(sign(server, registration(server.url)))


@pytest.mark.parametrize(
    "spoil",
    [
        {"status": 500},
        {"status": 404},
        {"status": 302, "location": "http://127.0.0.1:9/"},
        {"raw": b"<html>"},
        {"raw": b"[]"},
        {"raw": b"{" + b" " * 70_000 + b"}"},
        {"delay": 2},
    ],
    ids=str,
)
def test_a_server_that_makes_no_sense_is_unavailable(over_http, server, spoil):
    for name, value in spoil.items():
        setattr(server, name, value)
    with pytest.raises(Unavailable, match="LICENSE_SERVER_URL"):
        over_http.validate_registration(sign(server, registration(server.url)))


def test_a_server_that_is_gone_is_unavailable_and_not_an_invalid_token(server):
    made = http.LicenceServer(url="http://127.0.0.1:9", issuer=server.url, timeout=0.5)
    with pytest.raises(Unavailable):
        made.validate_registration(sign(server, registration(server.url)))
    with pytest.raises(Unavailable):
        made.ping()


def test_an_unknown_key_id_is_refused(over_http, server):
    token = sign(server, registration(server.url), kid="2")
    with pytest.raises(InvalidRegistrationToken):
        over_http.validate_registration(token)


def test_the_token_is_in_no_log(over_http, server, caplog):
    caplog.set_level("DEBUG")
    server.valid = {"valid": False, "reason": "revoked"}
    token = sign(server, registration(server.url))
    with pytest.raises(InvalidRegistrationToken):
        over_http.validate_registration(token)
    assert token.split(".")[2] not in caplog.text and "revoked" in caplog.text
