"""PostgreSQL, in a cluster of its own."""

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path

from . import programs
from .refusal import Refusal
from .service import Service

ACCOUNT = "postgres"  # it comes with Debian's package; PostgreSQL refuses root
# Root's data, where that account can reach it: var/ is closed to others, and so
# may the whole checkout be.
OUTSIDE = Path("/var/lib/orgmanager")

SETTINGS = """\
listen_addresses = '127.0.0.1'
port = {port}
unix_socket_directories = ''
max_connections = 200
track_commit_timestamp = on
"""


class PostgreSQL(Service):
    """A server with one role per database, each the owner of what it is named for."""

    databases = ()

    def install(self):
        programs.require("initdb")

    def prepare(self):
        data = self._data()
        if data is None:
            data = self._make_data()
        settings = SETTINGS.format(port=self.state.port(self.name))
        (data / "orgmanager.conf").write_text(settings)
        # What a killed server leaves; its process is known to be gone.
        (data / "postmaster.pid").unlink(missing_ok=True)

    def command(self):
        return [_program("postgres"), "-D", self._data().resolve()]

    def user(self):
        return ACCOUNT if os.geteuid() == 0 else None

    def is_ready(self):
        try:
            return self._query("SELECT 1") == "1"
        except Refusal:
            return False

    def complete(self):
        for name in self.databases:
            secret = self.state.secret(name)
            self._query(
                f"""DO $$ BEGIN
                  IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = '{name}') THEN
                    CREATE ROLE {name} LOGIN CREATEDB PASSWORD '{secret}';
                  END IF;
                END $$"""
            )
            query = f"SELECT count(*) FROM pg_database WHERE datname = '{name}'"  # noqa: S608  names are constants here
            if self._query(query) == "0":
                self._query(f"CREATE DATABASE {name} OWNER {name}")

    def stop(self):
        # "Fast": sessions are ended, and the data is left in order.
        self.process.stop(with_signal=signal.SIGINT)

    def wipe(self):
        if data := self._data():
            shutil.rmtree(data.resolve())

    def url(self, database, scheme="postgresql"):
        """Return the address of ``database``, without a password."""
        return f"{scheme}://{self.address()}/{database}"

    def _query(self, sql):
        command = [_program("psql"), "--no-psqlrc", "-XqAt", "-v", "ON_ERROR_STOP=1"]
        command += ["-h", "127.0.0.1", "-p", str(self.state.port(self.name))]
        command += ["-U", ACCOUNT, "-d", ACCOUNT]
        secret = {"PGPASSWORD": self.state.secret(self.name), "PGCONNECT_TIMEOUT": "3"}
        try:
            result = subprocess.run(
                command,
                input=sql,  # on the command others could read passwords in it
                env=os.environ | secret,
                capture_output=True,
                text=True,
                timeout=10,
            )
        except subprocess.TimeoutExpired as error:
            raise Refusal(f"{self.name} did not answer within 10 s.") from error
        if result.returncode:
            raise Refusal(f"{self.name}: {result.stderr.strip()}")
        return result.stdout.strip()

    def _link(self):
        return self.folder / "data"

    def _data(self):
        """Return the data folder, or None while there is no complete one."""
        link = self._link()
        return link if (link / "PG_VERSION").exists() else None

    def _make_data(self):
        """Make the cluster beside its place, then put it there in one step."""
        if self.user() is None:
            base, owner = self.folder, None
        else:
            base, owner = OUTSIDE, pwd.getpwnam(ACCOUNT)
            base.mkdir(mode=0o755, parents=True, exist_ok=True)
        data = Path(tempfile.mkdtemp(prefix=f"{self.name}-", dir=base))
        if owner:
            os.chown(data, owner.pw_uid, owner.pw_gid)
        command = [_program("initdb"), "-D", data, "-U", ACCOUNT, "--no-instructions"]
        command += ["--encoding=UTF8", "--locale=C.UTF-8", "--auth=scram-sha-256"]
        with tempfile.NamedTemporaryFile("w", dir=base) as secret:
            secret.write(self.state.secret(self.name))
            secret.flush()
            if owner:
                os.chown(secret.name, owner.pw_uid, owner.pw_gid)
                demotion = {"user": ACCOUNT, "group": ACCOUNT, "extra_groups": []}
            result = subprocess.run(
                [*command, f"--pwfile={secret.name}"],
                cwd="/",
                capture_output=True,
                text=True,
                **(demotion if owner else {}),
            )
        if result.returncode:
            raise Refusal(f"initdb failed: {result.stderr.strip()}")
        with (data / "postgresql.conf").open("a") as settings:
            settings.write("include = 'orgmanager.conf'\n")
        link = self._link()
        link.unlink(missing_ok=True)
        link.symlink_to(data)
        return link


class ProjectPostgreSQL(PostgreSQL):
    """The project's own database: what a test kills when it kills the database."""

    name = "postgresql"
    ports = ("postgresql",)
    databases = ("organization_manager",)


class PeersPostgreSQL(PostgreSQL):
    """The database of Keycloak and SpiceDB, so that they outlive the project's."""

    name = "peers-postgresql"
    ports = ("peers-postgresql",)
    databases = ("keycloak", "spicedb")


def _program(name):
    (initdb,) = programs.require("initdb")
    return initdb.with_name(name)
