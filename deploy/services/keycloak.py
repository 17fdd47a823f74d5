"""Keycloak, built for PostgreSQL once and then started as in production."""

import json
import urllib.error
import urllib.parse
import urllib.request

from . import pins, programs
from .refusal import Refusal
from .service import Service, plain_environment

ADMINISTRATOR = "admin"
PROVISIONING_CLIENT = "organization-manager-provisioning"
PROVISIONING_ROLE = "create-realm"
# Without it the account's token grows with each realm that the account created.
LIGHTWEIGHT = "client.use.lightweight.access.token.enabled"


class Keycloak(Service):
    """A server whose master realm has the account that creates our realms."""

    name = "keycloak"
    needs = ("peers-postgresql",)
    ports = ("keycloak",)
    patience = 240  # the first start makes some hundred tables

    def install(self):
        programs.java()
        name = f"keycloak-{pins.KEYCLOAK}"
        with programs.fetched_once(name) as (folder, is_there):
            self._script = folder / name / "bin/kc.sh"
            if is_there:
                return
            programs.maven(
                "org.apache.maven.plugins:maven-dependency-plugin:"
                f"{pins.MAVEN_DEPENDENCY_PLUGIN}:unpack",
                f"-Dartifact=org.keycloak:keycloak-quarkus-dist:{pins.KEYCLOAK}:zip",
                f"-DoutputDirectory={folder}",
                folder=folder,
                log=programs.cache() / "keycloak-download.log",
            )
            programs.run(
                ["bash", self._script, "build", "--db=postgres"],
                log=programs.cache() / "keycloak-build.log",
                environment=plain_environment() | self._java(),
            )

    def command(self):
        return [
            "bash",  # what Maven unpacks has no execute bits
            self._script,
            "start",
            "--optimized",
            "--cache=local",  # else it looks for other nodes, on every interface
            "--http-enabled=true",
            "--http-host=127.0.0.1",
            f"--http-port={self.state.port('keycloak')}",
            f"--hostname={self.url()}",
        ]

    def environment(self):
        port = self.state.port("peers-postgresql")
        return self._java() | {
            "KC_DB_URL": f"jdbc:postgresql://127.0.0.1:{port}/keycloak",
            "KC_DB_USERNAME": "keycloak",
            "KC_DB_PASSWORD": self.state.secret("keycloak"),
            "KC_BOOTSTRAP_ADMIN_USERNAME": ADMINISTRATOR,
            "KC_BOOTSTRAP_ADMIN_PASSWORD": self.state.secret("keycloak-admin"),
        }

    def is_ready(self):
        try:
            return self._call("GET", "/realms/master")["realm"] == "master"
        except (OSError, ValueError, KeyError):
            return False

    def complete(self):
        """Make the account of ``SECURITY_OAUTH2_PROVISIONING_CLIENT_ID``."""
        if self._provisioning_works():
            return
        token = self._token(
            grant_type="password",
            client_id="admin-cli",
            username=ADMINISTRATOR,
            password=self.state.secret("keycloak-admin"),
        )
        self._ensure_provisioning(token)
        if not self._provisioning_works():
            raise Refusal(
                f"keycloak: the account {PROVISIONING_CLIENT} in its master realm "
                "gets no token. Remove that client there, or wipe the services."
            )

    def url(self):
        return f"http://{self.address()}"

    def _provisioning_works(self):
        try:
            self._token(
                grant_type="client_credentials",
                client_id=PROVISIONING_CLIENT,
                client_secret=self.state.secret("keycloak-provisioning"),
            )
        except urllib.error.HTTPError:
            return False
        return True

    def _ensure_provisioning(self, token):
        clients = "/admin/realms/master/clients"
        query = urllib.parse.urlencode({"clientId": PROVISIONING_CLIENT})
        wanted = {
            "clientId": PROVISIONING_CLIENT,
            "secret": self.state.secret("keycloak-provisioning"),
            "serviceAccountsEnabled": True,
            "standardFlowEnabled": False,
            "directAccessGrantsEnabled": False,
            "publicClient": False,
            "attributes": {LIGHTWEIGHT: "true"},
        }
        if not self._call("GET", f"{clients}?{query}", token=token):
            self._call("POST", clients, wanted | {"enabled": False}, token=token)
        (client,) = self._call("GET", f"{clients}?{query}", token=token)
        account = self._call(
            "GET", f"{clients}/{client['id']}/service-account-user", token=token
        )
        roles = f"/admin/realms/master/users/{account['id']}/role-mappings/realm"
        role = self._call(
            "GET", f"/admin/realms/master/roles/{PROVISIONING_ROLE}", token=token
        )
        others = self._call("GET", roles, token=token)
        self._call("DELETE", roles, others, token=token)
        self._call("POST", roles, [role], token=token)
        # Enabled last: an account that gets a token is then known to be complete.
        enabled = wanted | {"enabled": True}
        self._call("PUT", f"{clients}/{client['id']}", enabled, token=token)

    def _token(self, **form):
        path = "/realms/master/protocol/openid-connect/token"
        return self._call("POST", path, form=form)["access_token"]

    def _call(self, method, path, body=None, *, form=None, token=None):
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        data = urllib.parse.urlencode(form).encode() if form else None
        if body is not None:
            headers["Content-Type"] = "application/json"
            data = json.dumps(body).encode()
        request = urllib.request.Request(
            self.url() + path, data=data, headers=headers, method=method
        )
        with urllib.request.urlopen(request, timeout=30) as response:
            content = response.read()
        return json.loads(content) if content else None

    def _java(self):
        # Three folders up from bin/java: kc.sh wants the home.
        home = programs.java().resolve().parent.parent
        return {
            "JAVA_HOME": str(home),
            "JAVA_OPTS_APPEND": f"-Djava.io.tmpdir={self.folder}",
        }
