"""TLS to PostgreSQL, Redis and SpiceDB: checked, and never quietly done without."""

import json
import os
import subprocess
import sys
from urllib.parse import urlsplit

import psycopg
import pytest

from deploy.services.state import State
from orgmanager.authorization.backends.spicedb import Authorization
from orgmanager.errors import Unavailable

from .harness import ROOT, Web, free_port, wait_for
from .tls import Authority, TlsPostgreSQL, TlsRedis, TlsSpiceDB

pytestmark = pytest.mark.services

DATABASE = "organization_manager"

# What our side says of a certificate that it does not know, and of a server without.
REFUSALS = {
    "database": ("certificate verify failed", "server does not support SSL"),
    "cache": ("CERTIFICATE_VERIFY_FAILED", "rediss://127.0.0.1:"),
    "authorization": ("CERTIFICATE_VERIFY_FAILED", "WRONG_VERSION_NUMBER"),
}


class Place:
    """The three services, and how the project is told to find them."""

    def __init__(self, folder):
        self.folder = folder
        self.authority = Authority(folder, "authority")
        self.stranger = Authority(folder, "stranger")
        self.state = State(folder / "var", environment={})
        self.state.choose_ports(["postgresql", "redis", "spicedb"])
        certificate, key = self.authority.issue()
        for kind in (TlsPostgreSQL, TlsRedis, TlsSpiceDB):
            kind.certificate, kind.key = certificate, key
            kind.authority = self.authority.file
        self.services = [
            kind(self.state) for kind in (TlsPostgreSQL, TlsRedis, TlsSpiceDB)
        ]

    def start(self):
        for service in self.services:
            service.install()
            service.start()

    def stop(self):
        for service in self.services:
            service.stop()
            service.wipe()

    def environment(self, ca_file, **changes):
        port, secret = self.state.port, self.state.secret
        database = f"127.0.0.1:{port('postgresql')}/{DATABASE}"
        return {
            **{name: os.environ[name] for name in ("PATH", "HOME")},
            "ORGMANAGER_VAR_DIR": str(self.folder / "project"),
            "SPRING_PROFILES_ACTIVE": "development",
            "SPRING_DATASOURCE_URL": with_tls(database, ca_file),
            "SPRING_DATASOURCE_USERNAME": DATABASE,
            "SPRING_DATASOURCE_PASSWORD": secret(DATABASE),
            "SPRING_DATA_REDIS_HOST": "127.0.0.1",
            "SPRING_DATA_REDIS_PORT": str(port("redis")),
            "SPRING_DATA_REDIS_PASSWORD": secret("redis"),
            "SPRING_DATA_REDIS_SSL_ENABLED": "true",
            "REDIS_CA_FILE": str(ca_file),
            "FLOWX_LIB_CASCLIENT_SPICEDB_HOST": "127.0.0.1",
            "FLOWX_LIB_CASCLIENT_SPICEDB_PORT": str(port("spicedb")),
            "FLOWX_LIB_CASCLIENT_SPICEDB_TOKEN": secret("spicedb-token"),
            "FLOWX_LIB_CASCLIENT_SPICEDB_TLS_ENABLED": "true",
            "SPICEDB_CA_FILE": str(ca_file),
            "MANAGEMENT_ENDPOINT_HEALTH_SHOWDETAILS": "always",
            "DATABASE_POOL_TIMEOUT": "1s",
            **changes,
        }

    def without_tls(self):
        """Return the environment with the addresses of services that have none."""
        redis = urlsplit(os.environ["TEST_REDIS_URL"])
        database = urlsplit(os.environ["TEST_POSTGRESQL_URL"])
        spicedb = os.environ["TEST_SPICEDB_ADDRESS"].split(":")
        address = f"{database.hostname}:{database.port}{database.path}"
        return self.environment(
            self.authority.file,
            SPRING_DATASOURCE_URL=with_tls(address, self.authority.file),
            SPRING_DATASOURCE_PASSWORD=database.password,
            SPRING_DATA_REDIS_PORT=str(redis.port),
            FLOWX_LIB_CASCLIENT_SPICEDB_PORT=spicedb[1],
        )


def with_tls(address, ca_file):
    return f"jdbc:postgresql://{address}?sslmode=verify-full&sslrootcert={ca_file}"


def run(*arguments, environment):
    command = [sys.executable, "manage.py", *arguments]
    return subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60
    )


def verify(environment):
    """Return {check: (status, reason)} of verify_setup."""
    done = run("verify_setup", "--json", "--url", "", environment=environment)
    checks = json.loads(done.stdout)["checks"]
    return {each["name"]: (each["status"], each["reason"]) for each in checks}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    if not os.environ.get("TEST_POSTGRESQL_URL"):
        pytest.skip("The TEST_ variables of the five services are not set.")
    place = Place(tmp_path_factory.mktemp("tls"))
    try:
        place.start()
        yield place
    finally:
        place.stop()


def test_known_authority_encrypts_every_connection_there_is(place):
    """The server takes no other, so the pool, the locks and LISTEN all have it."""
    environment = place.environment(place.authority.file)
    run("migrate", "--verbosity", "0", environment=environment).check_returncode()
    log = place.folder / "worker.log"
    with log.open("w") as output:
        worker = subprocess.Popen(
            [sys.executable, "manage.py", "run_worker"],
            cwd=ROOT,
            env=environment,
            stdout=output,
            stderr=output,
        )
    try:
        wait_for(lambda: "CAS client initialized" in log.read_text())
        with psycopg.connect(
            host="127.0.0.1",
            port=place.state.port("postgresql"),
            user=DATABASE,
            dbname=DATABASE,
            password=place.state.secret(DATABASE),
            sslmode="verify-full",
            sslrootcert=str(place.authority.file),
            autocommit=True,
        ) as connection:

            def sessions():
                return connection.execute(
                    "SELECT ssl, query ILIKE 'LISTEN%', EXISTS (SELECT FROM pg_locks "
                    "WHERE pg_locks.pid = activity.pid AND locktype = 'advisory') "
                    "FROM pg_stat_activity AS activity JOIN pg_stat_ssl USING (pid) "
                    "WHERE application_name = 'organization-manager'"
                ).fetchall()

            def is_complete():
                found = sessions()
                return any(s[1] for s in found) and any(s[2] for s in found)

            wait_for(is_complete)
            assert {encrypted for encrypted, _, _ in sessions()} == {True}
            assert len(sessions()) > 2  # the pool's own
        checks = verify(environment)
    finally:
        worker.terminate()
        worker.wait(30)
    for name in ("database", "cache", "authorization"):
        found = {check: each for check, each in checks.items() if name in check}
        assert {status for status, _ in found.values()} == {"ok"}, found


def test_unknown_authority_is_refused_and_health_says_so(place):
    environment = place.environment(place.stranger.file, WEB_CONCURRENCY="1")
    port = free_port()
    log = place.folder / "web.log"
    command = [sys.executable, "-m", "gunicorn"]
    command += ["--config", "deploy/gunicorn.conf.py", "orgmanager.wsgi"]
    with log.open("w") as output:
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=environment | {"PORT": str(port)},
            stdout=output,
            stderr=output,
        )
    web = Web(port, process, log)
    try:
        wait_for(web.is_serving)
        for name, (sentence, _) in REFUSALS.items():
            wait_for(lambda: sentence in web.component(name)[1], timeout=5)  # noqa: B023
            assert web.component(name)[0] == "DOWN"
        assert web.call("/actuator/health/readiness").status == 503
        answer = web.call("/org/api/env")
        assert answer.status == 503 and answer.seconds < 5
    finally:
        web.stop()


def test_server_without_tls_is_refused_and_verify_setup_says_so(place):
    """Fails when a connection falls back to plain text."""
    checks = verify(place.without_tls())
    for name, (_, sentence) in REFUSALS.items():
        check = {"authorization": "token"}.get(name, "connection")
        status, reason = checks[f"{name}.{check}"]
        assert status == "failed"
        assert sentence in reason, reason


def test_plain_text_to_a_spicedb_with_tls_names_the_switch(place):
    engine = Authorization(
        host="127.0.0.1", port=place.state.port("spicedb"), token="x", timeout=5
    )
    with pytest.raises(Unavailable, match="CASCLIENT_SPICEDB_TLS_ENABLED"):
        engine.ping()
