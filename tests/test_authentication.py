"""
Forged tokens, and what genuine ones are good for.

Every forgery gets the same 401, and none makes this process call anywhere.
"""

import base64
import hashlib
import hmac
import json
import logging
import socket
import sqlite3
import time
import uuid
from types import SimpleNamespace

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from prometheus_client import REGISTRY
from rest_framework.permissions import IsAuthenticated
from rest_framework.response import Response
from rest_framework.test import APIRequestFactory
from rest_framework.views import APIView

from orgmanager import authentication
from orgmanager.authentication import (
    BearerAuthentication,
    KnownOrganizations,
    SeenTokens,
)
from orgmanager.identity import addresses, template
from orgmanager.identity.backends import local
from orgmanager.realm_keys import realm_keys

BASE = "https://identity.example/auth"
SUBJECT = "5b0d7a3c-8f11-4f0c-9d0e-3c1f5a7e2b64"
KNOWN = set()
lookups = []
REFUSAL = "The bearer token is not valid here. Sign in again and send a new one."


def is_known(organization_id):
    lookups.append(organization_id)
    return organization_id in KNOWN


view = type(
    "View",
    (APIView,),
    {
        "authentication_classes": [BearerAuthentication],
        "permission_classes": [IsAuthenticated],
        "get": lambda self, request: Response(vars(request.user)),
    },
).as_view()


def new_key(size=2048):
    return rsa.generate_private_key(public_exponent=65537, key_size=size)


def load(pem):
    return serialization.load_pem_private_key(pem.encode(), None)


def public_pem(key):
    return key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )


@pytest.fixture(scope="module")
def realms(tmp_path_factory):
    """Four realms of a real provider, with the private keys it keeps for itself."""
    path = tmp_path_factory.mktemp("identity") / "realms.sqlite3"
    identity = local.Identity(path=path)
    found = SimpleNamespace(path=path, attacker=new_key(), elliptic=ec_key(), keys={})
    for name in ("acme", "other", "service", "operator", "unknown"):
        realm = str(uuid.uuid4())
        setattr(found, name, realm)
        identity.ensure_realm(
            template.service_account_realm(realm=realm, marker="m", secrets={})
        )
        signing = identity.signing_realm(realm)
        found.keys[realm] = load(signing["private_key"]), signing["key_id"]
    return found


def ec_key():
    return ec.generate_private_key(ec.SECP256R1())


@pytest.fixture(autouse=True)
def world(settings, realms):
    """Point this process at those realms; only two organizations are known."""
    settings.IDENTITY = {
        "BACKEND": "orgmanager.identity.backends.local.Identity",
        "path": realms.path,
    }
    settings.IDENTITY_BASE_URL = BASE
    settings.ISSUER_PATTERN = f"{BASE}/realms/{{orgId}}"
    settings.SERVICE_ACCOUNT_REALM = realms.service
    settings.OPERATOR_REALM = realms.operator
    settings.JWT_AUDIENCE = "flowx-organization-manager"
    settings.JWT_AUDIENCE_MODE = "required"
    settings.JWT_ALLOWED_PARTIES = []
    settings.REALM_LOOKUP = f"{__name__}.is_known"
    KNOWN.clear()
    KNOWN.update({realms.acme, realms.other})
    return realms


@pytest.fixture(autouse=True)
def connections(monkeypatch):
    """Record, and refuse, every attempt to connect to anywhere."""
    attempted = []

    def refuse(self, address):
        attempted.append(address)
        raise OSError(f"no connection to {address} from here")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket.socket, "connect_ex", refuse)
    return attempted


@pytest.fixture
def canary():
    """Listen where a gullible verifier would fetch a key."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        yield f"http://127.0.0.1:{server.getsockname()[1]}/keys"
        with pytest.raises(BlockingIOError):
            server.accept()


def encode(part):
    raw = part if isinstance(part, bytes) else json.dumps(part).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=")


def sign(header, claims, key):
    """Return a token; ``key`` signs RS256, or is a function of the signing input."""
    signing_input = encode(header) + b"." + encode(claims)
    if callable(key):
        signature = key(signing_input)
    else:
        signature = key.sign(signing_input, padding.PKCS1v15(), hashes.SHA256())
    return (signing_input + b"." + encode(signature)).decode()


def make_claims(realm, **changes):
    now = int(time.time())
    claims = {
        "iss": f"{BASE}/realms/{realm}",
        "sub": SUBJECT,
        "aud": ["flowx-organization-manager", "account"],
        "azp": "flowx-platform-authenticate",
        "typ": "Bearer",
        "iat": now,
        "exp": now + 300,
        "jti": str(uuid.uuid4()),
        "roles": ["member"],
        **changes,
    }
    return {name: value for name, value in claims.items() if value is not ...}


def make_token(realms, realm=None, *, header=None, key=None, **changes):
    """Return a token that is genuine but for what is given; ``...`` leaves out."""
    realm = realm or realms.acme
    own_key, key_id = realms.keys[realm]
    header = {"alg": "RS256", "typ": "JWT", "kid": key_id, **(header or {})}
    header = {name: value for name, value in header.items() if value is not ...}
    return sign(header, make_claims(realm, **changes), key or own_key)


def call(token=None, *, header=None):
    headers = {}
    if token is not None:
        headers["HTTP_AUTHORIZATION"] = f"Bearer {token}"
    if header is not None:
        headers["HTTP_AUTHORIZATION"] = header
    response = view(APIRequestFactory().get("/", **headers))
    response.render()
    return response


def outcome(name):
    value = REGISTRY.get_sample_value(
        "orgmanager_jwt_outcomes_total", {"outcome": name}
    )
    return value or 0


def iss(realms, text):
    return make_token(realms, iss=text.format(base=BASE, realm=realms.acme))


def hmac_with_public_key(realms):
    secret = public_pem(realms.keys[realms.acme][0])
    header = {"alg": "HS256"}
    return make_token(
        realms,
        header=header,
        key=lambda data: hmac.new(secret, data, hashlib.sha256).digest(),
    )


def jwk_of(key):
    numbers = key.public_key().public_numbers()
    return {
        "kty": "RSA",
        "n": encode(numbers.n.to_bytes(256, "big")).decode(),
        "e": "AQAB",
    }


def tampered(realms):
    head, claims, signature = make_token(realms).split(".")
    changed = json.loads(base64.urlsafe_b64decode(claims + "=="))
    changed["sub"] = str(uuid.uuid4())
    return f"{head}.{encode(changed).decode()}.{signature}"


def raw_claims(realms, raw):
    """Return a token whose claims are ``raw`` bytes, signed by the realm itself."""
    key, key_id = realms.keys[realms.acme]
    return sign({"alg": "RS256", "typ": "JWT", "kid": key_id}, raw, key)


def deep(realms):
    start = f'{{"iss":"{BASE}/realms/{realms.acme}","x":'.encode()
    return raw_claims(realms, start + b"[" * 8_000 + b"]" * 3_000 + b"}")


def now():
    return int(time.time())


# name: (outcome in the metric, how to forge it)
FORGERIES = {
    "alg none": (
        "malformed",
        lambda r: make_token(r, header={"alg": "none"}, key=lambda data: b""),
    ),
    "alg none with a signature": (
        "wrong_algorithm",
        lambda r: make_token(r, header={"alg": "none"}),
    ),
    "alg None in other case": (
        "wrong_algorithm",
        lambda r: make_token(r, header={"alg": "nOnE"}, key=lambda data: b"x"),
    ),
    "no alg": ("wrong_algorithm", lambda r: make_token(r, header={"alg": ...})),
    "alg that is a list": (
        "wrong_algorithm",
        lambda r: make_token(r, header={"alg": ["RS256"]}),
    ),
    "hmac with the public key": ("wrong_algorithm", hmac_with_public_key),
    "RS512 where the key says RS256": (
        "wrong_algorithm",
        lambda r: make_token(r, header={"alg": "RS512"}),
    ),
    "PS256 where the key says RS256": (
        "wrong_algorithm",
        lambda r: make_token(r, header={"alg": "PS256"}),
    ),
    "other key type": (
        "wrong_algorithm",
        lambda r: make_token(
            r,
            header={"alg": "ES256"},
            key=lambda data: r.elliptic.sign(data, ec.ECDSA(hashes.SHA256())),
        ),
    ),
    "key of an attacker": ("bad_signature", lambda r: make_token(r, key=r.attacker)),
    "key of another realm": (
        "bad_signature",
        lambda r: make_token(r, key=r.keys[r.other][0]),
    ),
    "key and key id of another realm": (
        "unknown_key",
        lambda r: make_token(
            r, key=r.keys[r.other][0], header={"kid": r.keys[r.other][1]}
        ),
    ),
    "issuer of another realm": (
        "unknown_key",
        lambda r: make_token(r, iss=f"{BASE}/realms/{r.other}"),
    ),
    "tampered claims": ("bad_signature", tampered),
    "empty signature": (
        "malformed",
        lambda r: make_token(r).rpartition(".")[0] + ".",
    ),
    "short signature": ("bad_signature", lambda r: make_token(r)[:-42]),
    "issuer with slash": (
        "unknown_issuer",
        lambda r: iss(r, "{base}/realms/{realm}/"),
    ),
    "issuer with prefix": (
        "unknown_issuer",
        lambda r: iss(r, "https://evil.example/?{base}/realms/{realm}"),
    ),
    "issuer with suffix": (
        "unknown_issuer",
        lambda r: iss(r, "{base}/realms/{realm}.evil.example"),
    ),
    "issuer with line end": (
        "unknown_issuer",
        lambda r: iss(r, "{base}/realms/{realm}\n"),
    ),
    "issuer of another host": (
        "unknown_issuer",
        lambda r: iss(r, "https://evil.example/auth/realms/{realm}"),
    ),
    "issuer without TLS": (
        "unknown_issuer",
        lambda r: iss(r, "http://identity.example/auth/realms/{realm}"),
    ),
    "issuer with port": (
        "unknown_issuer",
        lambda r: iss(r, "https://identity.example:443/auth/realms/{realm}"),
    ),
    "issuer with upper-case host": (
        "unknown_issuer",
        lambda r: iss(r, "https://IDENTITY.example/auth/realms/{realm}"),
    ),
    "issuer with upper-case realm": (
        "unknown_issuer",
        lambda r: make_token(r, iss=f"{BASE}/realms/{r.acme.upper()}"),
    ),
    "issuer with escaped realm": (
        "unknown_issuer",
        lambda r: make_token(r, iss=f"{BASE}/realms/{r.acme.replace('-', '%2D')}"),
    ),
    "issuer with path in the realm": (
        "unknown_issuer",
        lambda r: iss(r, "{base}/realms/x/../{realm}"),
    ),
    "issuer master": ("unknown_issuer", lambda r: iss(r, "{base}/realms/master")),
    "issuer is the pattern": (
        "unknown_issuer",
        lambda r: make_token(r, iss=f"{BASE}/realms/{{orgId}}"),
    ),
    "issuer that is a list": (
        "unknown_issuer",
        lambda r: make_token(r, iss=[f"{BASE}/realms/{r.acme}"]),
    ),
    "organization that is not known": (
        "unknown_issuer",
        lambda r: make_token(r, r.unknown),
    ),
    "no issuer": ("unknown_issuer", lambda r: make_token(r, iss=...)),
    "no exp": ("missing_claim", lambda r: make_token(r, exp=...)),
    "null exp": ("missing_claim", lambda r: make_token(r, exp=None)),
    "no iat": ("missing_claim", lambda r: make_token(r, iat=...)),
    "no sub": ("missing_claim", lambda r: make_token(r, sub=...)),
    "no azp": ("missing_claim", lambda r: make_token(r, azp=...)),
    "no aud": ("wrong_audience", lambda r: make_token(r, aud=...)),
    "other audience": ("wrong_audience", lambda r: make_token(r, aud="account")),
    "audience as part of a word": (
        "wrong_audience",
        lambda r: make_token(r, aud="flowx-organization-manager.evil"),
    ),
    "audience that is an object": (
        "wrong_audience",
        lambda r: make_token(r, aud={"flowx-organization-manager": 1}),
    ),
    "audience in other case": (
        "wrong_audience",
        lambda r: make_token(r, aud=["FLOWX-organization-manager"]),
    ),
    "expired": (
        "expired",
        lambda r: make_token(r, exp=now() - 3_600, iat=now() - 3_900),
    ),
    "exp in a thousand years": (
        "too_long_lived",
        lambda r: make_token(r, exp=now() + 31_557_600_000),
    ),
    "exp beyond any calendar": ("too_long_lived", lambda r: make_token(r, exp=10**30)),
    "exp of infinity": (
        "malformed",
        lambda r: make_token(r, exp=float("inf")),
    ),
    "exp that is not a number": (
        "malformed",
        lambda r: make_token(r, exp=float("nan")),
    ),
    "exp as text": ("malformed", lambda r: make_token(r, exp=str(now() + 300))),
    "exp that is a flag": ("expired", lambda r: make_token(r, exp=True)),
    "exp that is an object": ("malformed", lambda r: make_token(r, exp={})),
    "exp before iat": (
        "too_long_lived",
        lambda r: make_token(r, exp=now() - 10, iat=now() - 5),
    ),
    "iat in the future": (
        "not_yet_valid",
        lambda r: make_token(r, iat=now() + 3_600, exp=now() + 3_900),
    ),
    "iat of the epoch": ("too_long_lived", lambda r: make_token(r, iat=0)),
    "nbf in the future": (
        "not_yet_valid",
        lambda r: make_token(r, nbf=now() + 3_600),
    ),
    "nbf that is text": ("malformed", lambda r: make_token(r, nbf="soon")),
    "ID token": ("wrong_type", lambda r: make_token(r, typ="ID")),
    "refresh token": ("wrong_type", lambda r: make_token(r, typ="Refresh")),
    "offline token": ("wrong_type", lambda r: make_token(r, typ="Offline")),
    "no type": ("wrong_type", lambda r: make_token(r, typ=...)),
    "ID token with the header of an access token": (
        "wrong_type",
        lambda r: make_token(r, typ="ID", header={"typ": "at+jwt"}),
    ),
    "logout token": (
        "wrong_type",
        lambda r: make_token(r, header={"typ": "logout+jwt"}),
    ),
    "no header type": ("wrong_type", lambda r: make_token(r, header={"typ": ...})),
    "sub that is no id": ("wrong_subject", lambda r: make_token(r, sub="admin")),
    "sub in upper case": (
        "wrong_subject",
        lambda r: make_token(r, sub=SUBJECT.upper()),
    ),
    "sub that is a number": ("malformed", lambda r: make_token(r, sub=7)),
    "empty sub": ("wrong_subject", lambda r: make_token(r, sub="")),
    "azp that is a list": ("wrong_party", lambda r: make_token(r, azp=["x"])),
    "azp with a line end": ("wrong_party", lambda r: make_token(r, azp="x\ny")),
    "empty azp": ("wrong_party", lambda r: make_token(r, azp="")),
    "crit header": (
        "refused_header",
        lambda r: make_token(r, header={"crit": ["exp"], "exp": 1}),
    ),
    "crit header of a known extension": (
        "refused_header",
        lambda r: make_token(r, header={"crit": ["b64"], "b64": True}),
    ),
    "unencoded payload": (
        "refused_header",
        lambda r: make_token(r, header={"b64": False, "crit": ["b64"]}),
    ),
    "no key id": ("unknown_key", lambda r: make_token(r, header={"kid": ...})),
    "unknown key id": ("unknown_key", lambda r: make_token(r, header={"kid": "x"})),
    "key id that is a path": (
        "unknown_key",
        lambda r: make_token(r, header={"kid": "../../../../dev/null"}),
    ),
    "key id that is SQL": (
        "unknown_key",
        lambda r: make_token(r, header={"kid": "x' UNION SELECT 'a"}),
    ),
    "key id that is an address": (
        "unknown_key",
        lambda r: make_token(r, header={"kid": "http://127.0.0.1:9/key"}),
    ),
    "key id that is a number": (
        "unknown_key",
        lambda r: make_token(r, header={"kid": 1}),
    ),
    "key id that is an object": (
        "unknown_key",
        lambda r: make_token(r, header={"kid": {"a": 1}}),
    ),
    "oversized": ("oversized", lambda r: make_token(r, padding="x" * 16_384)),
    "oversized garbage": ("oversized", lambda r: "." * 2_000_000),
    "empty": ("malformed", lambda r: ""),
    "space": ("malformed", lambda r: " "),
    "garbage": ("malformed", lambda r: "garbage"),
    "three dots": ("malformed", lambda r: make_token(r) + ".x"),
    "only dots": ("malformed", lambda r: ".."),
    "encrypted": ("malformed", lambda r: "a.b.c.d.e"),
    "not base64": ("malformed", lambda r: "!!!.???.***"),
    "standard base64": ("malformed", lambda r: "a+/b.a+/b.a+/b"),
    "padding": ("malformed", lambda r: make_token(r) + "=="),
    "header that is no JSON": ("malformed", lambda r: "eHh4.eHh4.eHh4"),
    "claims that are a list": ("malformed", lambda r: raw_claims(r, b"[]")),
    "claims that are no UTF-8": ("malformed", lambda r: raw_claims(r, b"\xff\xfe")),
    "claims nested too deep": ("malformed", deep),
    "NUL": ("malformed", lambda r: make_token(r) + "\x00"),
    "line end": ("malformed", lambda r: make_token(r) + "\n"),
    "space inside": ("malformed", lambda r: make_token(r).replace(".", ". ")),
    "letters of other scripts": ("malformed", lambda r: "\u0430.\u0431.\u0432"),
    "full-width dots": ("malformed", lambda r: make_token(r).replace(".", "\uff0e")),
    "half a surrogate pair": ("malformed", lambda r: "\ud800.\ud800.\ud800"),
    "two tokens": ("malformed", lambda r: f"{make_token(r)}, Bearer {make_token(r)}"),
}


@pytest.mark.parametrize("name", FORGERIES)
def test_forged_token_is_one_401_and_nobody_is_called(realms, connections, name):
    kind, forge = FORGERIES[name]
    before, accepted = outcome(kind), outcome("accepted")
    response = call(forge(realms))
    assert response.status_code == 401
    assert response.data["code"] == "invalid_token"
    assert response.data["detail"] == REFUSAL
    assert response["WWW-Authenticate"] == (
        'Bearer realm="organization-manager", error="invalid_token"'
    )
    assert connections == []
    assert (outcome(kind), outcome("accepted")) == (before + 1, accepted)


@pytest.mark.parametrize(
    ("part", "name"),
    [("header", name) for name in ("alg", "typ", "kid")]
    + [("claims", name) for name in ("iss", "aud", "sub", "azp", "typ", "exp")],
)
def test_nesting_as_deep_as_can_just_be_read_is_a_401(realms, part, name):
    """Fails when a value is written out somewhere with less room than it was read."""
    key, key_id = realms.keys[realms.acme]
    for depth in range(800, 1_000, 7):
        parts = {
            "header": {"alg": "RS256", "typ": "JWT", "kid": key_id},
            "claims": make_claims(realms.acme),
        }
        parts[part][name] = "DEEP"
        raw = json.dumps(parts[part])
        parts[part] = raw.replace('"DEEP"', "[" * depth + "]" * depth).encode()
        token = sign(parts["header"], parts["claims"], key)
        assert call(token).status_code == 401


@pytest.mark.parametrize("header", ["jku", "x5u", "jwk", "x5c"])
def test_key_offered_by_the_token_is_refused_and_not_fetched(
    realms, connections, canary, header
):
    offered = {
        "jku": canary,
        "x5u": canary,
        "jwk": jwk_of(realms.attacker),
        "x5c": ["MIIB"],
    }
    before = outcome("refused_header")
    for key in (realms.attacker, None):
        token = make_token(realms, header={header: offered[header]}, key=key)
        assert call(token).status_code == 401
    assert connections == []
    assert outcome("refused_header") == before + 2


@pytest.mark.parametrize(
    "header",
    ["Basic YWRhOmFkYQ==", "Digest x", "Token x", "bearer", "Bearer", "Bearer ", ""]
    + ["BearerX x", "=", ", Bearer x", "\u00fc"],
)
def test_header_without_a_bearer_token_is_a_401_with_a_challenge(connections, header):
    response = call(header=header)
    assert response.status_code == 401
    assert response["WWW-Authenticate"].startswith(
        'Bearer realm="organization-manager"'
    )
    assert connections == []


def test_no_header_is_challenged_without_an_error():
    response = call()
    assert response.status_code == 401
    assert response["WWW-Authenticate"] == 'Bearer realm="organization-manager"'


def test_genuine_token_is_its_owner(realms, connections):
    before = outcome("accepted")
    response = call(make_token(realms, roles=["member", "org_admin", 7]))
    assert response.status_code == 200
    assert response.data == {
        "kind": "user",
        "subject": SUBJECT,
        "realm": realms.acme,
        "organization_id": realms.acme,
        "client_id": "flowx-platform-authenticate",
        "roles": frozenset({"member", "org_admin"}),
        "actor": f"user:{SUBJECT}",
    }
    assert outcome("accepted") == before + 1
    assert connections == []


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
def test_scheme_is_read_in_any_case(realms, scheme):
    """RFC 9110 section 11.1."""
    assert call(header=f"{scheme} {make_token(realms)}").status_code == 200


def test_audience_may_be_one_word(realms):
    token = make_token(realms, aud="flowx-organization-manager")
    assert call(token).status_code == 200


def test_access_token_of_rfc_9068_needs_no_type_claim(realms):
    token = make_token(realms, typ=..., header={"typ": "at+jwt"})
    assert call(token).status_code == 200


def test_clocks_may_differ_by_half_a_minute(realms):
    late, early = int(time.time()) - 20, int(time.time()) + 20
    assert call(make_token(realms, iat=late - 300, exp=late)).status_code == 200
    assert call(make_token(realms, iat=early, nbf=early)).status_code == 200


def test_keycloaks_own_role_claim_counts_where_ours_is_missing(realms):
    token = make_token(realms, roles=..., realm_access={"roles": ["org_owner"]})
    assert call(token).data["roles"] == {"org_owner"}
    token = make_token(realms, roles=["member"], realm_access={"roles": ["org_owner"]})
    assert call(token).data["roles"] == {"member"}


@pytest.mark.parametrize(
    "roles", [None, "SA_FLOWX", 7, {"SA_FLOWX": 1}, [["SA_FLOWX"]]]
)
def test_roles_of_another_shape_are_no_roles(realms, roles):
    assert call(make_token(realms, roles=roles)).data["roles"] == frozenset()


def test_service_account_is_named_by_its_client(realms):
    token = make_token(
        realms, realms.service, roles=["SA_FLOWX"], azp="flowx-license-sa"
    )
    caller = call(token).data
    assert caller["kind"] == "service_account"
    assert caller["actor"] == "service:flowx-license-sa"
    assert caller["organization_id"] is None
    assert "SA_FLOWX" in caller["roles"]


def test_operator_is_named_by_id(realms):
    caller = call(make_token(realms, realms.operator, roles=["FLOWX_OPERATOR"])).data
    assert caller["kind"] == "operator"
    assert caller["actor"] == f"operator:{SUBJECT}"
    assert caller["organization_id"] is None


def test_roles_of_other_realms_do_not_count_in_an_organization(realms):
    """Whoever administers an organization's realm can make roles of any name."""
    roles = ["SA_FLOWX", "FLOWX_OPERATOR", "member"]
    caller = call(make_token(realms, roles=roles)).data
    assert caller["kind"] == "user"
    assert caller["roles"] == {"member"}


@pytest.mark.parametrize(
    ("realm", "roles"),
    [
        ("service", []),
        ("service", ["FLOWX_OPERATOR"]),
        ("service", ["sa_flowx"]),
        ("operator", []),
        ("operator", ["SA_FLOWX"]),
        ("operator", ["org_admin"]),
    ],
)
def test_account_of_a_special_realm_without_its_role_is_forbidden(realms, realm, roles):
    realm = getattr(realms, realm)
    before = outcome("role_missing")
    response = call(make_token(realms, realm, roles=roles))
    assert response.status_code == 403
    assert "has no role" in response.data["detail"]
    assert outcome("role_missing") == before + 1


def test_operator_realm_that_is_not_set_is_none(realms, settings):
    settings.OPERATOR_REALM = ""
    token = make_token(realms, realms.operator, roles=["FLOWX_OPERATOR"])
    assert call(token).status_code == 401
    assert call(make_token(realms, iss=f"{BASE}/realms/")).status_code == 401


def test_operator_realm_may_have_a_name(realms, settings):
    settings.OPERATOR_REALM = "Platform-Operators"
    issuer = addresses.issuer("Platform-Operators")
    assert addresses.realm_of(issuer) == "Platform-Operators"
    assert addresses.realm_of(issuer.lower()) is None


def test_party_stands_in_for_the_audience_where_that_is_set(realms, settings):
    settings.JWT_AUDIENCE_MODE = "azp"
    settings.JWT_ALLOWED_PARTIES = ["legacy-app"]
    before = outcome("accepted_by_party")
    assert call(make_token(realms, aud=..., azp="legacy-app")).status_code == 200
    assert outcome("accepted_by_party") == before + 1
    assert call(make_token(realms, aud=..., azp="other-app")).status_code == 401
    assert call(make_token(realms, azp="other-app")).status_code == 200
    settings.JWT_AUDIENCE_MODE = "required"
    assert call(make_token(realms, aud=..., azp="legacy-app")).status_code == 401


def test_weak_key_of_a_known_realm_is_refused(realms, tmp_path, settings):
    """As RFC 8725 section 3.5, whoever published the key."""
    realm, weak = str(uuid.uuid4()), new_key(1024)
    settings.IDENTITY = {**settings.IDENTITY, "path": tmp_path / "weak.sqlite3"}
    local.Identity(path=tmp_path / "weak.sqlite3").ensure_realm(
        template.service_account_realm(realm=realm, marker="m", secrets={})
    )
    pem = weak.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    with sqlite3.connect(tmp_path / "weak.sqlite3") as database:
        database.execute("UPDATE realm SET private_key = ?", [pem.decode()])
        [(key_id,)] = database.execute("SELECT key_id FROM realm")
    KNOWN.add(realm)
    header = {"alg": "RS256", "typ": "JWT", "kid": key_id}
    before = outcome("weak_key")
    assert call(sign(header, make_claims(realm), weak)).status_code == 401
    assert outcome("weak_key") == before + 1


def test_keys_that_cannot_be_had_are_not_the_callers_fault(realms, tmp_path, settings):
    realm = str(uuid.uuid4())
    (tmp_path / "broken.sqlite3").write_text("no database " * 500)
    settings.IDENTITY = {**settings.IDENTITY, "path": tmp_path / "broken.sqlite3"}
    KNOWN.add(realm)
    token = sign(
        {"alg": "RS256", "typ": "JWT", "kid": "x"}, make_claims(realm), new_key()
    )
    before = outcome("keys_unavailable")
    response = call(token)
    assert response.status_code == 503
    assert response["Retry-After"]
    assert "could not be had" in response.data["detail"]
    assert outcome("keys_unavailable") == before + 1


def test_realm_that_the_provider_does_not_have_is_a_401(realms):
    realm = str(uuid.uuid4())
    KNOWN.add(realm)
    token = sign(
        {"alg": "RS256", "typ": "JWT", "kid": "x"}, make_claims(realm), new_key()
    )
    assert call(token).status_code == 401


def test_reason_is_logged_and_the_token_is_not(realms, caplog):
    caplog.set_level(logging.DEBUG)
    tokens = [
        make_token(realms, aud="x"),
        make_token(realms),
        make_token(realms, iss=1),
    ]
    for token in tokens:
        call(token)
    assert "Token refused (wrong_audience): aud 'x'" in caplog.text
    for token in tokens:
        assert all(part not in caplog.text for part in token.split(".")[1:])


def test_log_takes_a_line_per_refusal_whatever_the_token_says(realms, caplog):
    caplog.set_level(logging.INFO)
    call(make_token(realms, iss="x\nroot: all is well\x1b[0m" + "y" * 5_000))
    [record] = caplog.records
    assert "\n" not in record.getMessage() and "\x1b" not in record.getMessage()
    assert len(record.getMessage()) < 400


def test_flood_of_unknown_realms_asks_the_provider_nothing(realms, connections):
    for _ in range(200):
        realm = str(uuid.uuid4())
        token = make_token(realms, iss=f"{BASE}/realms/{realm}")
        assert call(token).status_code == 401
    assert connections == []


def test_known_organizations_are_asked_about_once_in_a_while(realms):
    now = [100.0]
    known = KnownOrganizations(clock=lambda: now[0])
    lookups.clear()
    assert known.has(realms.acme) and known.has(realms.acme)
    assert len(lookups) == 1
    now[0] += 29.9
    assert known.has(realms.acme) and len(lookups) == 1
    KNOWN.discard(realms.acme)
    now[0] += 0.2
    assert not known.has(realms.acme) and len(lookups) == 2
    KNOWN.add(realms.acme)
    now[0] += 1.1
    assert known.has(realms.acme) and len(lookups) == 3


def test_known_organizations_are_bounded(monkeypatch):
    monkeypatch.setattr(authentication, "MAX_LOOKUPS", 10)
    known = KnownOrganizations()
    for _ in range(50):
        assert not known.has(str(uuid.uuid4()))
    assert len(known._answers) == 10


def test_a_token_is_verified_again_when_its_realm_has_another_key(realms):
    token = make_token(realms)
    assert [call(token).status_code for _ in range(2)] == [200, 200]
    own, other = realms.keys[realms.acme][0], realms.keys[realms.other][0]
    replace_key(realms, other)  # as when somebody takes a stolen key away
    assert call(token).status_code == 401
    replace_key(realms, own)
    assert call(token).status_code == 200


def replace_key(realms, key):
    with sqlite3.connect(realms.path) as database:
        update = "UPDATE realm SET private_key = ? WHERE name = ?"
        database.execute(update, [private_pem(key), realms.acme])
    realm_keys.clear()  # as they are fetched anew every few minutes


def private_pem(key):
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    ).decode()


def test_what_a_token_said_is_remembered_until_it_ends_and_for_its_key_alone():
    now = [1_000.0]
    seen = SeenTokens(clock=lambda: now[0])
    key, claims = object(), {"exp": 1_300}
    seen.add("token", key, claims)
    assert seen.find("token", key) is claims
    assert seen.find("token", object()) is None
    assert seen.find("token2", key) is None
    now[0] = 1_300 + authentication.LEEWAY - 0.1
    assert seen.find("token", key) is claims
    now[0] += 0.1
    assert seen.find("token", key) is None


def test_remembered_tokens_take_bounded_memory_and_stand_nowhere_in_it(monkeypatch):
    monkeypatch.setattr(authentication, "MAX_SEEN", 3)
    seen = SeenTokens(clock=lambda: 0)
    key = object()
    for n in range(5):
        seen.add(f"canary-{n}", key, {"exp": 1})
    found = [seen.find(f"canary-{n}", key) is not None for n in range(5)]
    assert found == [False, False, True, True, True]
    assert "canary" not in repr(vars(seen))
