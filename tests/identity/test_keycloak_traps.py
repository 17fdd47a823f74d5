"""How calls to Keycloak are made: to whom, how often, how long, and with what."""

import gzip
import hmac
import json
import socket
import threading
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

import pytest

from orgmanager.errors import DomainError, Rejected, Unavailable
from orgmanager.identity import template
from orgmanager.identity.backends import keycloak
from orgmanager.identity.backends.keycloak_connection import (
    EXPIRY_MARGIN,
    Account,
    AccountRefused,
    Server,
)
from orgmanager.identity.exceptions import RealmConflict
from orgmanager.locks import make_locks

REALM = "5f0c1f3e-2f4b-4c0e-9f62-0d6a7f0c3b11"
MARKER = "installation-1"
SECRETS = ("secret-of-provisioning", "secret-of-the-service-account")
FOUND = {"realm": REALM, "enabled": True, "attributes": {template.MARKER: MARKER}}
NO_REALM = (404, {"error": "Realm not found."})

METHODS = {
    "ensure_realm": lambda identity: identity.ensure_realm(make_realm()),
    "find_realm": lambda identity: identity.find_realm(REALM),
    "set_realm_enabled": lambda identity: identity.set_realm_enabled(REALM, False),
    "delete_realm": lambda identity: identity.delete_realm(REALM, MARKER),
    "client_secret": lambda identity: identity.client_secret(REALM, "flowx-admin-sa"),
    "jwks": lambda identity: identity.jwks(REALM),
    "ping": lambda identity: identity.ping(),
    "check_provisioning": lambda identity: identity.check_provisioning(),
}
SIGNED_IN = [name for name in METHODS if name not in ("jwks", "ping")]
IN_THE_REALM = [name for name in SIGNED_IN if name != "check_provisioning"]


def make_realm(realm=REALM):
    return template.service_account_realm(realm=realm, marker=MARKER, secrets={})


@pytest.fixture
def make_identity(settings):
    """Return a function that makes a backend for the Keycloak at an address."""

    def make(url, **options):
        settings.IDENTITY_BASE_URL = url.rstrip("/")
        given = {
            "server_url": url,
            "provisioning_realm": "master",
            "provisioning_client_id": "provisioning",
            "provisioning_client_secret": SECRETS[0],
            "service_account_secret": SECRETS[1],
            "timeout": 5,
        }
        return keycloak.Identity(**given | options)

    return make


@pytest.fixture
def make_server():
    """
    Return a function that serves, in Keycloak's place, what ``answer`` says.

    ``answer(call)`` gets method, path, headers, body of each call and returns
    (status, body), (status, body, headers) or "nothing", for hanging up; without it
    all is as if realm REALM were there and ours. The calls are in ``calls``, the
    address is ``url``.
    """
    started = []

    def make(answer=lambda call: None):
        calls = []

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                length = int(self.headers.get("Content-Length") or 0)
                body = self.rfile.read(length).decode()
                call = SimpleNamespace(
                    method=self.command,
                    path=self.path,
                    headers=self.headers,
                    body=body,
                    socket=self.connection,
                )
                calls.append(call)
                answered = answer(call) or as_keycloak(call)
                if answered == "nothing":
                    with suppress(OSError):
                        self.connection.shutdown(socket.SHUT_RDWR)
                    return
                status, content, headers = (*answered, {})[:3]
                if not isinstance(content, bytes):
                    content = json.dumps(content).encode()
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                with suppress(ConnectionError):  # too long for the caller
                    self.wfile.write(content)

            do_POST = do_PUT = do_DELETE = do_GET

            def log_message(self, *args):
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        started.append(server)
        threading.Thread(target=server.serve_forever, args=[0.01], daemon=True).start()
        return SimpleNamespace(
            url=f"http://127.0.0.1:{server.server_port}", calls=calls
        )

    yield make
    for server in started:
        server.shutdown()
        server.server_close()


def as_keycloak(call):
    """Answer as Keycloak does where realm REALM is ours."""
    if is_token(call):
        return 200, {"access_token": f"t{uuid.uuid4().hex}", "expires_in": 300}
    if call.path.endswith("/certs"):
        return 200, {"keys": [{"kid": "a", "use": "sig"}]}
    if "/clients?" in call.path:
        return 200, [{"id": "c", "clientId": "flowx-admin-sa"}]
    if call.path.endswith("/client-secret"):
        return 200, {"value": "given"}
    if call.method == "POST" and call.path.endswith("/admin/realms"):
        return 409, {"errorMessage": "Realm already exists"}
    return (200, FOUND) if call.method == "GET" else (204, b"")


def is_token(call):
    return call.path.endswith("/token")


def is_creation(call):
    return call.method == "POST" and call.path.endswith("/admin/realms")


def created(server):
    return [call for call in server.calls if is_creation(call)]


def tokens(server):
    return [call for call in server.calls if is_token(call)]


# --- Where calls go ----------------------------------------------------------


@pytest.mark.parametrize("base", ["", "/", "/auth", "/auth/", "/a/b"])
@pytest.mark.parametrize("method", METHODS)
def test_path_of_the_base_address_is_kept(make_identity, make_server, base, method):
    """Fails when addresses are joined as links are: /auth would be lost."""
    server = make_server()
    METHODS[method](make_identity(server.url + base))
    kept = base.rstrip("/")
    assert server.calls
    for call in server.calls:
        assert call.path.startswith((f"{kept}/realms/", f"{kept}/admin/realms"))


@pytest.mark.parametrize(
    "path",
    ["admin/realms/x/../master", "admin/realms/..", "../x", "/admin", "admin//realms"]
    + ["admin/realms/a%2fb", "admin/realms/a?b", "admin/realms/a#b", "admin/\n", ""]
    + ["admin/realms/é", "admin/realms/a b", "admin/realms/a\\b", "@evil.example/"],
)
def test_path_that_leads_elsewhere_is_not_called(make_server, path):
    server = make_server()
    account = Account(
        Server(server.url, timeout=5), realm="r", client_id="c", secret="s", advice=""
    )
    with pytest.raises(Rejected):
        account.send("GET", path)
    assert server.calls == []


@pytest.mark.parametrize("method", METHODS)
def test_redirect_is_not_followed(make_identity, make_server, method):
    elsewhere = make_server()
    headers = {"Location": f"{elsewhere.url}/"}
    server = make_server(lambda call: (302, b"", headers))
    with pytest.raises(Unavailable, match="SECURITY_OAUTH2_BASE_SERVER_URL"):
        METHODS[method](make_identity(server.url))
    assert elsewhere.calls == []


def test_credentials_of_netrc_are_not_sent(
    make_identity, make_server, monkeypatch, tmp_path
):
    file = tmp_path / "netrc"
    file.write_text("machine 127.0.0.1 login somebody password else\n")
    file.chmod(0o600)
    monkeypatch.setenv("NETRC", str(file))
    server = make_server()
    identity = make_identity(server.url)
    identity.find_realm(REALM)
    identity.ping()
    sent = [call.headers["Authorization"] or "" for call in server.calls]
    assert any(header.startswith("Bearer t") for header in sent)
    assert not any(header.startswith("Basic") for header in sent)


# --- How often ---------------------------------------------------------------


def test_creation_without_an_answer_is_sent_once(make_identity, make_server):
    """Fails when the library's retries are on: the second POST would conflict."""

    def answer(call):
        if is_creation(call):
            return "nothing"
        return None if is_token(call) else NO_REALM

    server = make_server(answer)
    with pytest.raises(Unavailable, match="create realm"):
        make_identity(server.url).ensure_realm(make_realm())
    assert len(created(server)) == 1


@pytest.mark.parametrize(
    "answered", ["nothing", (409, {}), (500, {}), (504, b"<html>")]
)
def test_creation_that_fails_and_left_our_realm_is_done(
    make_identity, make_server, answered
):
    was_created = threading.Event()

    def answer(call):
        if is_creation(call):
            was_created.set()
            return answered
        return None if is_token(call) or was_created.is_set() else NO_REALM

    server = make_server(answer)
    make_identity(server.url).ensure_realm(make_realm())
    assert len(created(server)) == 1


@pytest.mark.parametrize(
    ("answered", "kind", "said"),
    [
        ((409, {"errorMessage": "Duplicate resource"}), Rejected, "Duplicate resource"),
        ((400, {"errorMessage": "No such policy."}), Rejected, "No such policy"),
        ((500, {"error": "unknown_error"}), Unavailable, "HTTP 500, unknown_error"),
        ((429, b""), Unavailable, "HTTP 429"),
        ((403, {"error": "HTTP 403 Forbidden"}), AccountRefused, "role create-realm"),
    ],
)
def test_creation_that_fails_and_left_nothing_says_why(
    make_identity, make_server, answered, kind, said
):
    """409 does not mean that the realm exists, and 400 never that it does."""

    def answer(call):
        if is_creation(call):
            return answered
        return None if is_token(call) else NO_REALM

    with pytest.raises(kind, match=said) as caught:
        make_identity(make_server(answer).url).ensure_realm(make_realm())
    assert type(caught.value) is kind


@pytest.mark.parametrize(
    "shown",
    [
        (200, {"realm": REALM}),
        (200, {"realm": REALM, "attributes": {}}),
        (200, {"realm": REALM, "attributes": {template.MARKER: "installation-2"}}),
        (403, {"error": "HTTP 403 Forbidden"}),
    ],
)
def test_realm_that_does_not_show_our_marker_is_foreign(
    make_identity, make_server, shown
):
    server = make_server(lambda call: None if is_token(call) else shown)
    identity = make_identity(server.url)
    with pytest.raises(RealmConflict, match="not touched"):
        identity.ensure_realm(make_realm())
    with pytest.raises(RealmConflict, match="not touched"):
        identity.delete_realm(REALM, MARKER)
    assert {call.method for call in server.calls if not is_token(call)} == {"GET"}


def test_token_is_fetched_once_and_reused(make_identity, make_server):
    server = make_server()
    identity = make_identity(server.url)
    for _ in range(3):
        identity.find_realm(REALM)
    assert len(tokens(server)) == 1


def test_token_that_ends_soon_is_not_reused(make_identity, make_server):
    body = {"access_token": "t", "expires_in": EXPIRY_MARGIN}
    server = make_server(lambda call: (200, body) if is_token(call) else None)
    identity = make_identity(server.url)
    for _ in range(3):
        identity.find_realm(REALM)
    assert len(tokens(server)) == 3


def test_token_that_is_refused_is_fetched_once_more(make_identity, make_server):
    refused = set()

    def answer(call):
        header = call.headers["Authorization"]
        if header and not refused:
            refused.add(header)
        return (401, {"error": "HTTP 401"}) if header in refused else None

    server = make_server(answer)
    assert make_identity(server.url).find_realm(REALM)["enabled"]
    assert len(tokens(server)) == 2


def test_tokens_that_are_all_refused_are_not_fetched_forever(
    make_identity, make_server
):
    server = make_server(lambda call: None if is_token(call) else (401, {}))
    with pytest.raises(AccountRefused):
        make_identity(server.url).find_realm(REALM)
    assert len(tokens(server)) == 2 * len(("the realm's client", "provisioning"))


def test_creation_waits_for_the_lock_and_then_gives_up(make_identity, make_server):
    server = make_server(lambda call: None if is_token(call) else NO_REALM)
    locks = make_locks()
    assert locks.try_acquire(keycloak.LOCK)
    try:
        with pytest.raises(Unavailable, match="Another process"):
            make_identity(server.url, timeout=0.2).ensure_realm(make_realm())
    finally:
        locks.close()
    assert created(server) == []


# --- How long ----------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
def test_frozen_keycloak_is_unavailable_after_the_timeout(make_identity, method):
    """Fails when a call has no timeout, or the library tries it again."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        identity = make_identity(url, timeout=0.4)
        began = time.monotonic()
        with pytest.raises(Unavailable, match="no answer in time"):
            METHODS[method](identity)
        assert 0.35 < time.monotonic() - began < 0.75


def test_frozen_keycloak_does_not_queue_its_callers(make_identity):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        identity = make_identity(url, timeout=0.3)

        def find(_):
            with pytest.raises(Unavailable):
                identity.find_realm(REALM)

        began = time.monotonic()
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(find, range(8)))
        assert time.monotonic() - began < 1


@pytest.mark.parametrize("method", ["find_realm", "jwks", "ping"])
def test_answer_that_trickles_is_unavailable(make_identity, make_server, method):
    def trickle(call):
        start = b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n"
        with suppress(OSError):  # the caller has gone, as it should
            for byte in [start, *[b" "] * 100]:
                call.socket.sendall(byte)
                time.sleep(0.03)
        return "nothing"

    server = make_server(trickle)
    began = time.monotonic()
    with pytest.raises(Unavailable):
        METHODS[method](make_identity(server.url, timeout=0.3))
    assert time.monotonic() - began < 1


@pytest.mark.parametrize("method", METHODS)
def test_nobody_listening_is_unavailable(make_identity, method):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))  # taken, and refusing connections
        identity = make_identity(f"http://127.0.0.1:{unused.getsockname()[1]}")
        with pytest.raises(Unavailable, match="Connection refused.*network policy"):
            METHODS[method](identity)


# --- What is said ------------------------------------------------------------

NOT_KEYCLOAK = {
    "a page": (200, b"<html>Sign in</html>"),
    "a text": (200, b'"fine"'),
    "a list": (200, b"[]"),
    "a list of texts": (200, b'["x"]'),
    "null": (200, b"null"),
    "depths": (200, b"[" * 30_000),
    "too much": (200, b" " * (2 * 1024 * 1024)),
    "something compressed": (
        200,
        gzip.compress(json.dumps(FOUND).encode()),
        {"Content-Encoding": "gzip"},
    ),
    "an error page": (502, b"<html>Bad gateway</html>"),
    "an error that is a list": (502, b'["x"]'),
    "a refusal that is a text": (500, b'"x"'),
}


@pytest.mark.parametrize(
    ("method", "answered"),
    [
        (method, answered)
        for method in ("find_realm", "client_secret", "jwks")
        for answered in NOT_KEYCLOAK
        # What Keycloak itself says where there is no such client.
        if (method, answered) != ("client_secret", "a list")
    ],
)
def test_what_is_not_keycloak_is_unavailable(
    make_identity, make_server, method, answered
):
    answered = NOT_KEYCLOAK[answered]
    server = make_server(lambda call: None if is_token(call) else answered)
    with pytest.raises(Unavailable):
        METHODS[method](make_identity(server.url))


@pytest.mark.parametrize("answered", NOT_KEYCLOAK)
def test_token_that_is_none_is_unavailable(make_identity, make_server, answered):
    server = make_server(lambda call: NOT_KEYCLOAK[answered])
    with pytest.raises(Unavailable):
        make_identity(server.url).check_provisioning()


@pytest.mark.parametrize("method", SIGNED_IN)
@pytest.mark.parametrize(
    "nothing",
    [b"", b"<html>", {"error": "Unable to find matching target resource method"}],
)
def test_admin_api_that_is_not_there_is_unavailable(
    make_identity, make_server, method, nothing
):
    """Fails when any 404 means that there is no realm: it would pass for deleted."""
    server = make_server(lambda call: None if is_token(call) else (404, nothing))
    with pytest.raises(Unavailable, match="SECURITY_OAUTH2_BASE_SERVER_URL"):
        METHODS[method](make_identity(server.url))


@pytest.mark.parametrize("method", SIGNED_IN)
@pytest.mark.parametrize(
    "refusal",
    [
        (401, {"error": "invalid_client", "error_description": "Invalid client"}),
        (400, {"error": "unauthorized_client"}),
        (404, {"error": "Realm does not exist"}),
    ],
    ids=str,
)
def test_refused_account_names_the_variables(
    make_identity, make_server, method, refusal
):
    server = make_server(lambda call: refusal if is_token(call) else None)
    with pytest.raises(AccountRefused) as caught:
        METHODS[method](make_identity(server.url))
    said = str(caught.value)
    assert "SECURITY_OAUTH2_PROVISIONING_CLIENT_SECRET" in said
    assert "SECURITY_OAUTH2_PROVISIONING_REALM" in said
    assert "create-realm" in said
    assert not any(secret in said for secret in SECRETS)


def test_refused_client_of_a_foreign_realm_names_its_variable(
    make_identity, make_server
):
    def answer(call):
        if is_token(call) and REALM in call.path:
            return 401, {"error": "invalid_client"}
        return None if is_token(call) else (200, {"realm": REALM})

    identity = make_identity(make_server(answer).url)
    for method in ("set_realm_enabled", "client_secret"):
        with pytest.raises(
            AccountRefused, match="Set SECURITY_OAUTH2_SERVICE_ACCOUNT_ADMIN_CLIENT_SEC"
        ):
            METHODS[method](identity)


@pytest.mark.parametrize("method", SIGNED_IN)
@pytest.mark.parametrize("is_signed_in", [True, False])
def test_secrets_are_in_no_error_and_no_log(
    make_identity, make_server, caplog, method, is_signed_in
):
    caplog.set_level("DEBUG")

    def answer(call):
        return None if is_signed_in and is_token(call) else (400, {"error": "no"})

    server = make_server(answer)
    with pytest.raises(DomainError) as caught:
        METHODS[method](make_identity(server.url))
    said = f"{caught.value} {caught.value.__cause__!r} {caplog.text}"
    sent = "".join(call.body for call in server.calls if is_token(call))
    inner = hmac.new(SECRETS[1].encode(), REALM.encode(), "sha256").hexdigest()
    assert any(secret in sent for secret in (*SECRETS, inner))
    assert not any(secret in said for secret in (*SECRETS, inner))


def test_long_refusal_is_cut_to_one_line(make_identity, make_server):
    refusal = 400, {"errorMessage": "many\nwords " * 1_000}

    def answer(call):
        if is_creation(call):
            return refusal
        return None if is_token(call) else NO_REALM

    with pytest.raises(Rejected) as caught:
        make_identity(make_server(answer).url).ensure_realm(make_realm())
    assert len(str(caught.value)) < 350
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("method", IN_THE_REALM)
def test_missing_secret_makes_no_call(make_identity, make_server, method):
    """An empty secret would let everybody work out those of the realms."""
    server = make_server()
    identity = make_identity(server.url, service_account_secret="")
    with pytest.raises(Unavailable, match="Set SECURITY_OAUTH2_SERVICE_ACCOUNT_ADMIN"):
        METHODS[method](identity)
    assert server.calls == []


@pytest.mark.parametrize(
    "client", [keycloak.REALM_CLIENT, "", "../x", "a b", "x\x00", "é", "x" * 300]
)
def test_secret_of_our_own_client_or_of_none_is_not_asked_for(
    make_identity, make_server, client
):
    server = make_server()
    with pytest.raises(Rejected, match="no client"):
        make_identity(server.url).client_secret(REALM, client)
    assert server.calls == []


def test_ping_of_a_wrong_path_names_the_variable(make_identity, make_server):
    server = make_server(lambda call: (404, {"error": "no such path"}))
    with pytest.raises(Unavailable, match="SECURITY_OAUTH2_BASE_SERVER_URL"):
        make_identity(server.url).ping()


@pytest.mark.parametrize(
    ("answered", "kind"),
    [
        (NO_REALM, Rejected),
        ((404, b"<html>"), Unavailable),
        ((500, b""), Unavailable),
        ((200, {"keys": {}}), Unavailable),
        ((200, {}), Unavailable),
        ((200, {"keys": [], "rest": "x" * 70_000}), Unavailable),
    ],
    ids=["absent", "elsewhere", "failing", "no list", "no keys", "longer than 64 KiB"],
)
def test_jwks_that_is_none_is_refused(make_identity, make_server, answered, kind):
    server = make_server(lambda call: answered)
    with pytest.raises(kind):
        make_identity(server.url).jwks(REALM)
    assert server.calls[0].headers["Authorization"] is None
