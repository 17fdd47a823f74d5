"""
One installation on the real services: its own database, realms and topics.

The web server is a gunicorn process as in production, spoken to over HTTP. One
process with its threads, so that what it remembers is the same for every request.
"""

import json
import os
import secrets
import subprocess
import sys
import threading
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

import requests

from tests import real_services
from tests.real_services import Administrator, free_port, postgresql

ROOT = Path(__file__).resolve().parents[2]
PASSWORD = "Correct-Horse-7"
ADMIN = {"email": "ada@acme.example", "firstName": "Ada", "lastName": "Acme"}
OPERATOR = "olga"  # has a local account for the console
OPERATOR_PASSWORD = "correct horse battery"
TOKEN_LIFETIME = 3_600  # seconds; no outage here may outlive the token
PATIENCE = 30  # seconds for what has to come in the end
TIMEOUT = 15  # seconds of one request; more than any may take
THREADS = 8


class Answer(NamedTuple):
    """What a request got, and after how many ``seconds``."""

    status: int
    headers: dict
    body: object
    seconds: float


class Web:
    """A running gunicorn."""

    def __init__(self, port, process, log):
        self.url = f"http://127.0.0.1:{port}"
        self.process = process
        self.log = log

    def call(self, path, *, method="GET", token=None, body=None, address=None):
        """Make one request; ``address``: whom it comes from, else somebody new."""
        headers = {"X-Forwarded-For": address or f"2001:db8:{secrets.token_hex(2)}::1"}
        if token:
            headers["Authorization"] = f"Bearer {token}"
        started = time.monotonic()
        answer = requests.request(
            method, self.url + path, headers=headers, json=body, timeout=TIMEOUT
        )
        seconds = time.monotonic() - started
        is_json = "json" in answer.headers.get("Content-Type", "")
        content = answer.json() if is_json else answer.text
        return Answer(answer.status_code, answer.headers, content, seconds)

    def calls(self, count, path, *, pause=0, **options):
        """Make ``count`` requests one after another."""
        answers = []
        for _ in range(count):
            answers.append(self.call(path, **options))
            time.sleep(pause)
        return answers

    def flood(self, count, path, tokens):
        """Make ``count`` requests at the same moment, one token each."""
        start = threading.Barrier(count)

        def call(token):
            start.wait(TIMEOUT)
            return self.call(path, token=token)

        with ThreadPoolExecutor(count) as pool:
            return list(pool.map(call, tokens))

    def component(self, name):
        """Return (status, reason) of one component of the health answer."""
        body = self.call(f"/actuator/health/{name}").body
        return body["status"], body["details"]["reason"]

    def is_serving(self):
        assert self.process.poll() is None, self.log.read_text()[-2000:]
        try:
            return self.call("/actuator/health/liveness").status == 200
        except requests.ConnectionError:
            return False

    def stop(self):
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


class Installation:
    """A registered and licensed organization; web servers are started on demand."""

    def __init__(self, var):
        self.var = Path(var)
        self.name = f"outages-{uuid.uuid4().hex[:8]}"
        self.service_realm = str(uuid.uuid4())
        self.database = urlsplit(os.environ["TEST_POSTGRESQL_URL"])
        self.keycloak = os.environ["TEST_KEYCLOAK_URL"]
        self.organization_id = None
        self._webs = []
        with postgresql() as connection:
            connection.execute(f'CREATE DATABASE "{self.name}"')
        self.manage("migrate", "--verbosity", "0")

    def environment(self, **changes):
        return {
            **real_services.environment(
                self.name, self.var, service_accounts=self.service_realm
            ),
            "MANAGEMENT_ENDPOINT_HEALTH_SHOWDETAILS": "always",
            "DATABASE_POOL_TIMEOUT": "1s",  # three by default: a test waits for it
            "WEB_CONCURRENCY": "1",
            "WEB_THREADS": str(THREADS),
            "TRUSTED_PROXY_COUNT": "1",
            **changes,
        }

    def manage(self, *arguments, input=None, is_checked=True, **changes):
        """Run a command of manage.py; return what it printed."""
        done = subprocess.run(
            [sys.executable, "manage.py", *arguments],
            cwd=ROOT,
            env=self.environment(**changes),
            input=input,
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0 or not is_checked, done.stderr[-2000:]
        return done.stdout

    def start_web(self, **changes):
        """Start a web server with ``changes`` to the environment, and return it."""
        port = free_port()
        log = self.var / f"web-{port}.log"
        command = [sys.executable, "-m", "gunicorn"]
        command += ["--config", "deploy/gunicorn.conf.py", "orgmanager.wsgi"]
        with log.open("w") as output:
            process = subprocess.Popen(
                command,
                cwd=ROOT,
                env=self.environment(PORT=str(port), **changes),
                stdout=output,
                stderr=output,
            )
        web = Web(port, process, log)
        self._webs.append(web)
        wait_for(web.is_serving)
        return web

    @contextmanager
    def worker(self, **changes):
        """Run a worker, and end it; yields the file of its log."""
        log = self.var / f"worker-{uuid.uuid4().hex[:8]}.log"
        with log.open("w") as output:
            process = subprocess.Popen(
                [sys.executable, "manage.py", "run_worker"],
                cwd=ROOT,
                env=self.environment(**changes),
                stdout=output,
                stderr=output,
            )
        try:
            yield log
        finally:
            process.terminate()
            process.wait(30)

    def register(self, web):
        """Register the organization over HTTP, with a token of the local issuer."""
        token = self.manage("issue_registration_token", "--org-code", "acme").strip()
        body = {"token": token, "admin": {**ADMIN, "password": PASSWORD}}
        answer = web.call("/org/api/org/single", method="POST", body=body)
        assert answer.status == 201, answer.body
        self.organization_id = answer.body["organization"]["id"]
        code = (
            "from django.core.management import call_command\n"
            "call_command('sync_licence', organization='acme', plan='Gold', "
            "valid_to='2030-12-31')\n"
            f"call_command('create_operator', {OPERATOR!r}, password_file='-')"
        )
        self.manage("shell", "-c", code, input=OPERATOR_PASSWORD)
        self.administer(
            "PUT",
            f"/realms/{self.organization_id}",
            {"accessTokenLifespan": TOKEN_LIFETIME},
        )

    def fetch_token(self):
        """Return a new access token of the administrator, from Keycloak."""
        answer = requests.post(
            f"{self.keycloak}/realms/{self.organization_id}"
            "/protocol/openid-connect/token",
            data={
                "grant_type": "password",
                "client_id": "flowx-platform-authenticate",
                "username": ADMIN["email"],
                "password": PASSWORD,
            },
            timeout=TIMEOUT,
        )
        return answer.json()["access_token"]

    def administer(self, method, path, body=None):
        """Call Keycloak's admin API; a token for it lasts a minute."""
        return Administrator().call(method, path, body)

    def connect(self):
        """Return a connection of the test's own to its database."""
        return postgresql(self.name)

    def stop(self):
        for web in self._webs:
            web.stop()
        for realm in filter(None, (self.organization_id, self.service_realm)):
            self.administer("DELETE", f"/realms/{realm}")
        with postgresql() as connection:
            connection.execute(f'DROP DATABASE "{self.name}" WITH (FORCE)')


def wait_for(happened, *, timeout=PATIENCE, pause=0.05):
    """Wait until ``happened`` says so; return after how many seconds it did."""
    started = time.monotonic()
    while not happened():
        assert time.monotonic() - started < timeout, "it did not happen in time"
        time.sleep(pause)
    return time.monotonic() - started


def percentile(answers, share):
    """Return the latency that ``share`` of the answers stay below, in milliseconds."""
    ordered = sorted(answer.seconds for answer in answers)
    return round(ordered[min(int(len(ordered) * share), len(ordered) - 1)] * 1000, 1)


def report(when, answers):
    """Print the latency of ``answers``, for whoever runs pytest with -s."""
    statuses = sorted({answer.status for answer in answers})
    figures = {"n": len(answers), "statuses": statuses}
    figures |= {f"p{share}": percentile(answers, share / 100) for share in (50, 99)}
    sys.stdout.write(f"\n{when}: {json.dumps(figures)} ms")


def refused_well(answer):
    """Say whether ``answer`` is a 503 that programs and people understand."""
    return (
        answer.status == 503
        and answer.headers["Content-Type"] == "application/problem+json"
        and int(answer.headers["Retry-After"]) > 0
        and answer.body["detail"].endswith(".")
    )
