"""
Measure what the service promises, each figure beside its anchor in the same run.

Needs the variables of the five services; `make bench` sets them. The result goes
to bench/results.json, with the machine and the versions it was measured on.
"""

import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

import requests
from confluent_kafka import Consumer, Producer
from confluent_kafka.admin import AdminClient, NewTopic

from deploy.services import pins
from tests import real_services
from tests.kill.fire import ServicesRun
from tests.real_services import Administrator

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "bench" / "results.json"
KEYCLOAK = os.environ["TEST_KEYCLOAK_URL"]
PORT = 18480
LOAD = ["wrk", "-t1", "-c16", "-d10s", "--latency"]


class BenchRun(ServicesRun):
    """A database, topics and realms of its own, on all five services."""

    service_accounts = str(uuid.uuid4())

    def environment(self):
        return {
            **super().environment(),
            **real_services.environment(
                self.name, self.var, service_accounts=self.service_accounts
            ),
            "PORT": str(PORT),
            "DATABASE_STATEMENT_TIMEOUT": "300s",  # two make the whole backlog
        }

    def owes(self):
        return self.query("SELECT EXISTS (SELECT 1 FROM outbox_delivery)")[0][0]

    def python(self, code):
        """Run ``code`` in the project; return the JSON that it prints last."""
        out = subprocess.run(
            [sys.executable, "-c", SETUP + code],
            cwd=ROOT,
            env=self.environment(),
            capture_output=True,
            text=True,
        )
        if out.returncode:
            raise SystemExit(out.stderr)
        return json.loads(out.stdout.splitlines()[-1])


SETUP = """
import os, json, time, uuid
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "orgmanager.settings")
import django
django.setup()
from django.db import transaction, connection
from organizations.models import *
from orgmanager.outbox.record import record
from tests.kill.writer import HAPPENED
def one(organization, size=300):
    with transaction.atomic():
        return record(HAPPENED, organization_id=organization, subject="x",
                      actor="bench", data={"text": "x" * size})
"""


def drain(run, *, events=200_000):
    """Return how fast one worker drains a backlog, in events per second."""
    run.python(f"""
from bench.backlog import multiply
ids = list(Organization.objects.values_list("pk", flat=True))
multiply([one(each) for each in ids], {events} // len(ids))
print("1")
""")
    run.start_worker()
    while (left := run.owed()) == events:
        time.sleep(0.05)
    started = time.monotonic()
    while run.owes():
        time.sleep(0.02)
    ours = left / (time.monotonic() - started)
    bare = _bare_producer(run.bootstrap, f"{run.name}-anchor")
    started = time.monotonic()
    for _ in range(events // 4000):
        bare(4000)
    return {
        "events": events,
        "per_second": round(ours),
        "target": 25_000,
        "bare_producer_per_second": round(events / (time.monotonic() - started)),
    }


def _bare_producer(bootstrap, topic):
    """Return a function that sends so many messages in one transaction."""
    producer = Producer(
        {
            "bootstrap.servers": bootstrap,
            "transactional.id": topic,
            "compression.type": "zstd",
            "allow.auto.create.topics": False,
        }
    )
    admin = AdminClient({"bootstrap.servers": bootstrap})
    for created in admin.create_topics([NewTopic(topic, num_partitions=6)]).values():
        created.result(30)
    producer.init_transactions(30)

    def send(count, value=b"x" * 700, headers=()):
        producer.begin_transaction()
        for n in range(count):
            producer.produce(topic, value, key=str(n % 40), headers=list(headers))
        producer.commit_transaction(30)

    return send


def latency(run, *, events=500, warm_up=40):
    """Return how long from the commit to an independent consumer, worker warm."""
    with _arrivals(run.bootstrap, run.topic) as arrived:
        sent = run.python(f"""
ids = list(Organization.objects.values_list("pk", flat=True))
times = {{}}
for n in range({warm_up + events}):
    event = one(ids[n % len(ids)])
    times[str(event.event_id)] = time.time()
    time.sleep(0.05)
print(json.dumps(times))
""")
    # The first of each shard makes its publisher.
    ours = [arrived[each] - sent[each] for each in list(sent)[warm_up:]]
    topic, sent = f"{run.name}-anchor-2", {}
    bare = _bare_producer(run.bootstrap, topic)
    with _arrivals(run.bootstrap, topic) as arrived:
        for n in range(warm_up + events):
            sent[str(n)] = time.time()
            bare(1, headers=[("event-id", str(n).encode())])
            time.sleep(0.05)
    alone = [arrived[each] - sent[each] for each in list(sent)[warm_up:]]
    return {
        "events": events,
        "p50_ms": _percentile(ours, 50),
        "p99_ms": _percentile(ours, 99),
        "target_p50_ms": 10,
        "target_p99_ms": 25,
        "bare_producer_p50_ms": _percentile(alone, 50),
        "bare_producer_p99_ms": _percentile(alone, 99),
    }


@contextmanager
def _arrivals(bootstrap, topic):
    """Yield a dict of {event id: when an independent consumer had it}."""
    arrived, done = {}, threading.Event()

    def consume():
        consumer = Consumer(
            {
                "bootstrap.servers": bootstrap,
                "group.id": uuid.uuid4().hex,
                "isolation.level": "read_committed",
                "auto.offset.reset": "latest",
                "fetch.wait.max.ms": 10,
            }
        )
        consumer.subscribe([topic])
        while not done.is_set():
            message = consumer.poll(0.2)
            if message is not None and not message.error():
                headers = dict(message.headers())
                arrived[headers["event-id"].decode()] = time.time()
        consumer.close()

    reader = threading.Thread(target=consume)
    reader.start()
    time.sleep(5)  # until it has its partitions
    yield arrived
    time.sleep(2)
    done.set()
    reader.join()


def _percentile(seconds, share):
    ordered = sorted(seconds)
    return round(1000 * ordered[int(len(ordered) * share / 100) - 1], 1)


def memory(run, *, events=12, megabytes=49.9):
    """Return the worker's memory, idle and at its peak over the largest events."""
    idle = run.start_worker()
    time.sleep(10)
    before = _megabytes(idle, "VmHWM")
    idle.terminate()
    idle.wait()
    run.python(f"""
ids = list(Organization.objects.values_list("pk", flat=True))
for n in range({events}):
    one(ids[n % len(ids)], size=int({megabytes} * 2**20))
print("1")
""")
    worker = run.start_worker()
    started = time.monotonic()
    while run.owes():
        time.sleep(0.2)
    took = time.monotonic() - started
    peak = _megabytes(worker, "VmHWM")
    return {
        "events": events,
        "size_mb": megabytes,
        "idle_mb": before,
        "peak_mb": peak,
        "seconds": round(took, 1),
    }


def _megabytes(process, name):
    status = Path(f"/proc/{process.pid}/status").read_text()
    return int(re.search(rf"{name}:\s+(\d+) kB", status)[1]) // 1024


def registration(run, *, times=5):
    """Return a registration beside two bare POSTs of the same representations."""
    return run.python(f"""
import statistics
from organizations import registration, operations
from orgmanager.identity import identity, template
from orgmanager.identity.client_secrets import given_secrets
from orgmanager.identity.passwords import hash_password
from orgmanager.licence_server import licence_server
from orgmanager.outbox.models import WorkOrder
from django.conf import settings
admin = {{"email": "ada@acme.example", "first_name": "Ada", "last_name": "Acme"}}
Organization.objects.all().delete()
ours, bare = [], []
for n in range({times}):
    token = licence_server.issue_registration_token(
        org_id=uuid.uuid4(), org_code=f"acme{{n}}")
    settings.SERVICE_ACCOUNT_REALM = str(uuid.uuid4())
    start = time.monotonic()
    done = registration.register(token=token, admin=admin,
                                 password="Correct-Horse-7", actor="bench")
    ours.append(time.monotonic() - start)
    assert done.is_done
    Registration.objects.update(state="CANCELLED")
    Organization.objects.all().delete()
    users = template.users_realm(
        realm=str(uuid.uuid4()), display_name="Acme", marker="m",
        admin=admin | {{"id": str(uuid.uuid4()),
                       "credential": hash_password("Correct-Horse-7")}})
    services = template.service_account_realm(
        realm=str(uuid.uuid4()), marker="m", secrets=given_secrets())
    identity.ping()
    backend = identity._backend
    services, users = map(backend._with_realm_client, (services, users))
    start = time.monotonic()
    backend._create(services["realm"], services)
    backend._create(users["realm"], users)
    bare.append(time.monotonic() - start)
ours, bare = statistics.median(ours), statistics.median(bare)
print(json.dumps({{"registration_s": round(ours, 2), "two_posts_s": round(bare, 2),
                  "ratio": round(ours / bare, 2), "target": 1.3}}))
""")


def read_one(run):
    """Return reads of one organization beside Keycloak's own, same load, one run."""
    found = run.python("""
from organizations import registration
from orgmanager.identity import identity, addresses
from orgmanager.licence_server import licence_server
from django.conf import settings
import requests
Registration.objects.update(state="CANCELLED")
Organization.objects.all().delete()
token = licence_server.issue_registration_token(org_id=uuid.uuid4(), org_code="bench")
done = registration.register(
    token=token, password="Correct-Horse-7", actor="bench",
    admin={"email": "ada@acme.example", "first_name": "A", "last_name": "A"})
realm = str(done.organization.pk)
answer = requests.post(addresses.token_endpoint(realm), timeout=10, data={
    "grant_type": "password", "client_id": "flowx-platform-authenticate",
    "username": "ada@acme.example", "password": "Correct-Horse-7"})
print(json.dumps({"id": realm, "token": answer.json()["access_token"]}))
""")
    server = subprocess.Popen(
        [
            str(Path(sys.executable).parent / "gunicorn"),
            "--config=deploy/gunicorn.conf.py",
            "orgmanager.wsgi",
        ],
        cwd=ROOT,
        env=run.environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        url = f"http://127.0.0.1:{PORT}/org/api/organizations/{found['id']}"
        _wait_for(url.rsplit("/", 2)[0] + "/env")
        _load(url, found["token"], warm=True)
        ours = _load(url, found["token"])
    finally:
        server.terminate()
        server.wait()
    address, token = _keycloak_organization()
    _load(address, token, warm=True)
    theirs = _load(address, token)
    ratio = round(ours["per_second"] / theirs["per_second"], 2)
    return {"ours": ours, "keycloak": theirs, "ratio": ratio, "target": 1}


def _keycloak_organization():
    """Make an organization in Keycloak; return its address and a local token."""
    realm, secret = f"bench-{uuid.uuid4().hex[:8]}", uuid.uuid4().hex
    representation = {
        "realm": realm,
        "enabled": True,
        "organizationsEnabled": True,
        "accessTokenLifespan": 600,
        "clients": [
            {
                "clientId": "bench",
                "secret": secret,
                "serviceAccountsEnabled": True,
                "standardFlowEnabled": False,
            }
        ],
        "users": [
            {
                "username": "service-account-bench",
                "enabled": True,
                "serviceAccountClientId": "bench",
                "clientRoles": {"realm-management": ["realm-admin"]},
            }
        ],
    }
    Administrator().call("POST", "/realms", representation)
    local = requests.post(
        f"{KEYCLOAK}/realms/{realm}/protocol/openid-connect/token",
        data={
            "grant_type": "client_credentials",
            "client_id": "bench",
            "client_secret": secret,
        },
        timeout=10,
    ).json()["access_token"]
    headers = {"Authorization": f"Bearer {local}"}
    base = f"{KEYCLOAK}/admin/realms/{realm}/organizations"
    body = {"name": "acme", "alias": "acme", "domains": [{"name": "acme.example"}]}
    requests.post(base, json=body, headers=headers, timeout=10).raise_for_status()
    found = requests.get(base, headers=headers, timeout=10).json()
    return f"{base}/{found[0]['id']}", local


def _load(url, token, *, warm=False):
    command = [each if not warm else each.replace("-d10s", "-d4s") for each in LOAD]
    out = subprocess.run(
        [*command, "-H", f"Authorization: Bearer {token}", url],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    failed = re.search(r"Non-2xx or 3xx responses: (\d+)", out)
    if failed:
        raise SystemExit(f"{url} refused under load: {out}")
    return {
        "per_second": round(float(re.search(r"Requests/sec:\s+([\d.]+)", out)[1])),
        "p50": re.search(r"50%\s+(\S+)", out)[1],
        "p99": re.search(r"99%\s+(\S+)", out)[1],
    }


def _wait_for(url, seconds=30):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            if requests.get(url, timeout=1).ok:
                return
        except requests.RequestException:
            time.sleep(0.2)
    raise SystemExit(f"{url} does not answer.")


def main():
    if shutil.which("wrk") is None:
        raise SystemExit("wrk is missing; on Debian: apt-get install wrk")
    results = {
        "measured_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "machine": f"{os.cpu_count()} cores, {platform.platform()}",
        "versions": {
            name: version(name)
            for name in ("Django", "psycopg", "confluent-kafka", "gunicorn")
        }
        | {"Kafka": pins.KAFKA, "Keycloak": pins.KEYCLOAK, "SpiceDB": pins.SPICEDB},
    }
    realms = Administrator().names()
    with tempfile.TemporaryDirectory() as var:
        run = BenchRun(var, seed=1)
        try:
            run.make_organizations(40)
            for measure in (drain, latency):
                results[measure.__name__] = measure(run)
                say(f"{measure.__name__}: {results[measure.__name__]}")
            for worker in run.workers:
                worker.terminate()
                worker.wait()
            for measure in (memory, registration, read_one):
                results[measure.__name__] = measure(run)
                say(f"{measure.__name__}: {results[measure.__name__]}")
        finally:
            run.stop()
            keycloak = Administrator()  # whose first token may have expired
            for realm in keycloak.names() - realms:
                keycloak.call("DELETE", f"/realms/{realm}")
    RESULTS.write_text(json.dumps(results, indent=2) + "\n")


def say(line):
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
