"""A small OpenID provider on a real socket, which says whatever a test wants."""

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa

KEYS = {
    name: rsa.generate_private_key(public_exponent=65537, key_size=2048)
    for name in ("its own", "another")
}
CONSOLE_CLIENT = "flowx-organization-manager-console"


class OpenIDProvider:
    """
    Signs in ``person``, with a code that its browser never had to show a form for.

    ``id_changes`` and ``access_changes`` replace claims, or with ... leave them out;
    ``key`` signs and ``listed`` is what the realm publishes. ``answer`` is (status,
    body) instead of tokens. ``forms`` is what the token endpoint was sent.
    """

    def __init__(self):
        self.person = {"sub": "0" * 36}
        self.roles = []
        self.client = CONSOLE_CLIENT
        self.nonce = None
        self.id_changes, self.access_changes, self.header = {}, {}, {}
        self.key = self.listed = "its own"
        self.algorithm = "RS256"
        self.answer = None
        self.forms, self.tokens = [], []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                self.reply(200, {"keys": [outer.jwk()]})

            def do_POST(self):
                length = int(self.headers["Content-Length"])
                form = parse_qs(self.rfile.read(length).decode())
                outer.forms.append({name: value for name, (value,) in form.items()})
                realm = self.path.split("/")[2]
                self.reply(*(outer.answer or (200, outer.issue(realm))))

            def reply(self, status, body):
                data = body if isinstance(body, bytes) else json.dumps(body).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *args):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        self.public_url = self.url
        threading.Thread(
            target=self.server.serve_forever, args=[0.02], daemon=True
        ).start()

    def stop(self):
        self.server.shutdown()
        self.server.server_close()

    def jwk(self):
        public = KEYS[self.listed].public_key()
        jwk = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(public))
        return jwk | {"kid": "k", "alg": "RS256", "use": "sig"}

    def issue(self, realm):
        now = int(time.time())
        common = {
            "iss": f"{self.public_url}/realms/{realm}",
            "iat": now,
            "exp": now + 60,
            "azp": self.client,
            "sub": self.person["sub"],
        }
        id_claims = common | self.person
        id_claims |= {"aud": self.client, "nonce": self.nonce, "typ": "ID"}
        access_claims = common | {
            "typ": "Bearer",
            "realm_access": {"roles": self.roles},
        }
        self.tokens = [
            self.sign(id_claims | self.id_changes),
            self.sign(access_claims | self.access_changes),
        ]
        return {"id_token": self.tokens[0], "access_token": self.tokens[1]}

    def sign(self, claims):
        claims = {name: value for name, value in claims.items() if value is not ...}
        keys = {"RS256": KEYS[self.key], "HS256": "x" * 64, "none": None}
        header = {"kid": "k", **self.header}
        return jwt.encode(
            claims, keys[self.algorithm], algorithm=self.algorithm, headers=header
        )

    def begin(self, client, path="/oidc/authenticate/"):
        """Send ``client`` to the provider; return what it was asked with."""
        location = urlsplit(client.get(path)["Location"])
        asked = {name: value for name, (value,) in parse_qs(location.query).items()}
        self.nonce = asked["nonce"]
        return asked | {"address": f"{location.scheme}://{location.netloc}"}

    def sign_in(self, client, *, code="a-code", **changes):
        """Lead ``client`` there and back; return the answer to its coming back."""
        answer = {"state": self.begin(client)["state"], "code": code, **changes}
        return client.get("/oidc/callback/", answer)
