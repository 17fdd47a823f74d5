"""
The whole service on the five real ones, with a database, topics and realms of its own.

What came of it is asked of the systems themselves, by their own clients: our code
could agree with itself and be wrong.
"""

import base64
import json
import os
import re
import signal
import subprocess
import sys
import time
import uuid
from collections import namedtuple
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

import grpc
import redis
import requests
from authzed.api.v1 import (
    CheckPermissionRequest,
    CheckPermissionResponse,
    Consistency,
    InsecureClient,
    ObjectReference,
    ReadRelationshipsRequest,
    ReadSchemaRequest,
    RelationshipFilter,
    SubjectReference,
    WriteSchemaRequest,
)
from confluent_kafka.admin import AdminClient

from deploy.services import programs
from orgmanager.licence_server.backends.local import LicenceServer
from tests import real_services
from tests.real_services import Administrator, free_port, postgresql, read_topic

ROOT = Path(__file__).resolve().parents[2]
REDIS_NUMBER = 5  # of the database that no other test uses
START_TIMEOUT = 90  # seconds; the machine may be busy
EMAIL = "ada@acme.example"
CALL_TIMEOUT = 30  # seconds of a call of ours to another system

Message = namedtuple("Message", "key value headers")


class Installation:
    """
    One installation, registered by nobody yet.

    ``template``: a migrated database to copy; without one it migrates by itself.
    ``web_processes``: how many answer, of which each takes seconds to start.
    """

    def __init__(self, var, *, template=None, web_processes=2):
        self.name = f"first-run-{uuid.uuid4().hex[:8]}"
        self.var = Path(var) / self.name
        self.var.mkdir()
        self.organization_id = str(uuid.uuid4())
        self.service_accounts = str(uuid.uuid4())
        self.topic = f"ai.flowx.{self.name}.organization.events.v1"
        self.web_processes = web_processes
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.processes = {}
        copy = f' TEMPLATE "{template}"' if template else ""
        with postgresql() as connection:
            connection.execute(f'CREATE DATABASE "{self.name}"{copy}')
        self.redis = redis.Redis.from_url(os.environ["TEST_REDIS_URL"], db=REDIS_NUMBER)
        self.redis.flushdb()

    def environment(self):
        return {
            **real_services.environment(
                self.name,
                self.var,
                service_accounts=self.service_accounts,
                redis_number=REDIS_NUMBER,
            ),
            "PYTHONPATH": str(ROOT),
            "PORT": str(self.port),
            "WEB_CONCURRENCY": str(self.web_processes),
            "KAFKA_TOPIC_PARTITIONS": "2",
        }

    # --- Its processes -----------------------------------------------------------

    def manage(self, *arguments):
        """Run a command to its end; return what it printed."""
        done = subprocess.run(
            [sys.executable, "manage.py", *arguments],
            cwd=ROOT,
            env=self.environment(),
            capture_output=True,
            text=True,
            timeout=START_TIMEOUT,
        )
        assert done.returncode == 0, done.stderr[-2000:]
        return done.stdout.strip()

    def issue_token(self, organization_id=None):
        """Return a new token, of the licence issuer that the installation trusts."""
        return LicenceServer(
            path=self.var / "licence-server.pem"
        ).issue_registration_token(
            org_id=organization_id or self.organization_id,
            org_code="acme",
            org_name="Acme Ltd",
        )

    def registration_body(self, password, token=None):
        admin = {"email": EMAIL, "firstName": "Ada", "lastName": "Acme"}
        return {
            "token": token or self.issue_token(),
            "admin": {**admin, "password": password},
        }

    def start(self, *names):
        """Start ``names`` out of "all", "web" and "worker"; web is then to answer."""
        commands = {
            "all": ["manage.py", "run_all"],
            "web": ["-m", "gunicorn", "--config", "deploy/gunicorn.conf.py"]
            + ["orgmanager.wsgi"],
            "worker": ["manage.py", "run_worker"],
        }
        for name in names:
            with (self.var / f"{name}.log").open("a") as log:
                self.processes[name] = subprocess.Popen(
                    [sys.executable, *commands[name]],
                    cwd=ROOT,
                    env=self.environment(),
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )

    def wait_until_serving(self):
        deadline = time.monotonic() + START_TIMEOUT
        while time.monotonic() < deadline:
            with suppress(requests.RequestException):
                requests.get(f"{self.url}/actuator/health/liveness", timeout=3)
                return
            time.sleep(0.1)
        raise AssertionError(f"no answer: {self.logs()[-2000:]}")

    def kill(self, name):
        """Kill process ``name`` and its children at once."""
        process = self.processes.pop(name)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    def stop(self):
        """End all, and remove what it made in the services."""
        if "all" in self.processes:  # its children are in sessions of their own
            self.processes["all"].terminate()
            self.processes["all"].wait(30)
        for name in list(self.processes):
            self.kill(name)
        with postgresql() as connection:
            connection.execute(f'DROP DATABASE IF EXISTS "{self.name}" WITH (FORCE)')
        administrator = Administrator()
        for realm in (self.organization_id, self.service_accounts):
            administrator.call("DELETE", f"/realms/{realm}", accept=(204, 404))
        admin = AdminClient(
            {"bootstrap.servers": os.environ["TEST_KAFKA_BOOTSTRAP_SERVERS"]}
        )
        topics = [t for t in admin.list_topics(timeout=20).topics if self.name in t]
        for future in admin.delete_topics(topics).values() if topics else ():
            future.result()

    def logs(self):
        return "".join(file.read_text() for file in sorted(self.var.glob("*.log")))

    # --- Its door ----------------------------------------------------------------

    def post(self, body, *, timeout=CALL_TIMEOUT, **headers):
        return requests.post(
            f"{self.url}/org/api/org/single",
            json=body,
            headers=headers,
            timeout=timeout,
        )

    def get(self, path, *, timeout=CALL_TIMEOUT, **headers):
        return requests.get(
            f"{self.url}/org/api/{path}", headers=headers, timeout=timeout
        )

    def wait_for_state(self, state, *, timeout):
        """Wait until GET /org/single says ``state``; return how long that took."""
        started, said = time.monotonic(), None
        while time.monotonic() - started < timeout:
            with suppress(requests.RequestException):
                said = self.get("org/single", timeout=10).json()
                if said.get("state") == state:
                    return time.monotonic() - started
            time.sleep(0.1)
        raise AssertionError(f"not {state} after {timeout} s but {said}")

    # --- What the other systems say ----------------------------------------------

    def query(self, statement):
        with postgresql(self.name) as connection:
            return connection.execute(statement).fetchall()

    def marker(self):
        return str(self.query("SELECT marker FROM organizations_installation")[0][0])

    def sign_in(self, email, password):
        """Return the access token of the password grant, as Keycloak answers it."""
        answer = requests.post(
            f"{os.environ['TEST_KEYCLOAK_URL']}/realms/{self.organization_id}"
            "/protocol/openid-connect/token",
            data={
                "grant_type": "password",
                "client_id": "flowx-platform-authenticate",
                "username": email,
                "password": password,
            },
            timeout=CALL_TIMEOUT,
        )
        assert answer.status_code == 200, answer.text
        return answer.json()["access_token"]

    def messages(self, topic=None):
        """Read the topic from its beginning to its end, as any consumer would."""
        return [
            Message(
                message.key().decode(),
                message.value(),
                {name: text.decode() for name, text in message.headers()},
            )
            for message in read_topic(topic or self.topic)
        ]

    def created(self):
        """Return the organization.created messages, once there is one."""
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            found = [
                message
                for message in self.messages()
                if message.headers["event-type"] == "organization.created"
            ]
            if found:
                return found
            time.sleep(0.2)
        raise AssertionError("no organization.created on the topic")

    def dump(self):
        """Return every row of every table, as pg_dump writes them."""
        url = urlsplit(os.environ["TEST_POSTGRESQL_URL"])
        (initdb,) = programs.require("initdb")
        done = subprocess.run(
            [
                initdb.with_name("pg_dump"),
                *("-h", url.hostname, "-p", str(url.port), "-U", url.username),
                *("--data-only", self.name),
            ],
            env=os.environ | {"PGPASSWORD": url.password},
            capture_output=True,
            check=True,
        )
        return done.stdout


class SpiceDB:
    """SpiceDB by its own client."""

    def __init__(self):
        self.client = InsecureClient(
            os.environ["TEST_SPICEDB_ADDRESS"], os.environ["TEST_SPICEDB_TOKEN"]
        )

    def schema(self):
        try:
            return self.client.ReadSchema(ReadSchemaRequest()).schema_text
        except grpc.RpcError as error:
            if error.code() == grpc.StatusCode.NOT_FOUND:  # nobody has written one
                return ""
            raise

    def write_schema(self, text):
        self.client.WriteSchema(WriteSchemaRequest(schema=text))

    def may(self, subject, permission, organization_id):
        answer = self.client.CheckPermission(
            CheckPermissionRequest(
                consistency=Consistency(fully_consistent=True),
                resource=ObjectReference(
                    object_type="orgmanager/organization", object_id=organization_id
                ),
                permission=permission,
                subject=SubjectReference(
                    object=ObjectReference(
                        object_type="orgmanager/user", object_id=subject
                    )
                ),
            )
        )
        granted = CheckPermissionResponse.PERMISSIONSHIP_HAS_PERMISSION
        return answer.permissionship == granted

    def relationships(self, resource_type):
        answers = self.client.ReadRelationships(
            ReadRelationshipsRequest(
                consistency=Consistency(fully_consistent=True),
                relationship_filter=RelationshipFilter(resource_type=resource_type),
            )
        )
        found = [each.relationship.SerializeToString() for each in answers]
        return sorted(found)


def subject_of(token):
    """Return whom an access token speaks for."""
    part = token.split(".")[1]
    return json.loads(base64.urlsafe_b64decode(f"{part}=="))["sub"]


def traces(secret):
    """Return the forms in which ``secret`` could stand somewhere, as one pattern."""
    plain = secret.encode()
    forms = {plain, plain.hex().encode(), plain[::-1]}
    for offset in range(3):  # base64 looks otherwise at each of three offsets
        encoded = base64.b64encode(b"x" * offset + plain)
        forms.add(encoded[4 : len(encoded) - 4])
    return re.compile(b"|".join(re.escape(form) for form in forms), re.IGNORECASE)
