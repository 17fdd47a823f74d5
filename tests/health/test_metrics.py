"""What Prometheus is told, by one process and by several."""

import os
import subprocess
import sys
import urllib.request

import pytest
from django.conf import settings as project
from django.db import OperationalError, transaction
from prometheus_client import REGISTRY
from prometheus_client.parser import text_string_to_metric_families

from organizations import access
from orgmanager import metrics
from orgmanager.authentication import Principal
from orgmanager.outbox import work
from orgmanager.outbox.models import Stream, WorkOrder
from orgmanager.outbox.relay import Relay

from ..outbox.test_deliver import TOPIC, organization_in
from ..outbox.test_record import record_one

pytestmark = pytest.mark.django_db(transaction=True)

# A process that counts, as a web process or a worker does.
COUNTING = """
import django
django.setup()
from orgmanager.broker.backends.base import Message
from orgmanager.outbox.counters import count_deliveries
count_deliveries([Message("topic", b"", b"", {})] * 3, "delivered")
"""


@pytest.fixture
def scrape(client):
    """Return a function that scrapes: {(name, label values): value}."""

    def scrape(path="/actuator/metrics"):
        response = client.get(path)
        assert response.status_code == 200
        assert response["Content-Type"].startswith("text/plain; version=0.0.4")
        return parse(response.content)

    return scrape


def parse(content):
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(content.decode())
        for sample in family.samples
    }


def record_events(count):
    with transaction.atomic():
        for _ in range(count):
            record_one(organization_in(0))


def counted(name, **labels):
    return REGISTRY.get_sample_value(name, labels) or 0


@pytest.mark.parametrize("path", ["/actuator/metrics", "/actuator/prometheus"])
def test_scrape_has_requests_events_work_and_components(scrape, schema, path):
    found = scrape(path)
    names = {name for name, *_ in found}
    assert "django_http_requests_before_middlewares_total" in names
    assert found["orgmanager_outbox_pending_events",] == 0
    assert found["orgmanager_outbox_lag_seconds",] == 0
    assert found["orgmanager_work_orders", "users-realm", "parked"] == 0
    assert found["orgmanager_component_status", "broker", "UP"] == 1
    assert found["orgmanager_component_status", "broker", "DOWN"] == 0


def test_scrape_counts_events_that_are_owed_until_they_are_delivered(scrape):
    delivered = ("orgmanager_outbox_deliveries_total",)
    before = counted(*delivered, destination=TOPIC, result="delivered")
    record_events(3)
    assert scrape()["orgmanager_outbox_pending_events",] == 3
    assert scrape()["orgmanager_outbox_lag_seconds",] > 0
    Stream.objects.update(blocked_at="2030-01-01T00:00:00Z")
    assert scrape()["orgmanager_outbox_blocked_streams",] == 1
    Stream.objects.update(blocked_at=None)
    assert Relay(0).deliver() == 3
    assert scrape()["orgmanager_outbox_pending_events",] == 0
    after = counted(*delivered, destination=TOPIC, result="delivered")
    assert after - before == 3


def test_scrape_counts_events_that_the_broker_does_not_take(settings, break_backend):
    name = "orgmanager_outbox_deliveries_total"
    refused = {"destination": TOPIC, "result": "refused"}
    unavailable = {"destination": TOPIC, "result": "unavailable"}
    before = counted(name, **refused), counted(name, **unavailable)
    record_events(2)
    settings.BROKER = settings.BROKER | {"max_bytes": 1}
    Relay(0).deliver()
    assert counted(name, **refused) - before[0] == 1  # the other waits behind it
    Stream.objects.update(blocked_at=None)
    settings.BROKER = settings.BROKER | {"max_bytes": 10_000}
    break_backend("BROKER")
    with pytest.raises(Exception, match="cannot be used"):
        Relay(0).deliver()
    assert counted(name, **unavailable) - before[1] == 2


def test_scrape_counts_work_orders_by_what_became_of_them(scrape, make_organization):
    make_organization(status="PENDING")
    orders = WorkOrder.objects.all()
    orders.filter(destination="relationships").update(attempts=2)
    orders.filter(destination="users-realm").update(state="parked")
    found = scrape()
    assert found["orgmanager_work_orders", "service-account-realm", "due"] == 1
    assert found["orgmanager_work_orders", "relationships", "retrying"] == 1
    assert found["orgmanager_work_orders", "users-realm", "parked"] == 1
    overdue = "orgmanager_work_order_overdue_seconds"
    assert found[overdue, "service-account-realm"] > 0
    assert found[overdue, "users-realm"] == 0


def test_scrape_times_provisioning_and_permission_checks(register):
    work_seconds = "orgmanager_work_order_seconds_count"
    checks = "orgmanager_permission_check_seconds_count"
    realm = {"destination": "users-realm"}
    before = counted(work_seconds, **realm), counted(checks)
    organization = register().organization
    assert counted(work_seconds, **realm) - before[0] == 1
    admin = str(organization.users.get().pk)
    realm = str(organization.pk)
    principal = Principal("user", admin, realm, realm, "client", frozenset(), "x")
    access.load(principal, organization.pk, "org_read")
    assert counted(checks) - before[1] == 1


def test_work_that_fails_is_not_timed(break_backend, make_organization):
    name = "orgmanager_work_order_seconds_count"
    realm = {"destination": "service-account-realm"}
    before = counted(name, **realm)
    make_organization(status="PENDING")
    break_backend("IDENTITY")
    while work.run_one():
        pass
    assert counted(name, **realm) == before


def test_scrape_names_no_organization(client, register):
    organization = register().organization
    text = client.get("/actuator/metrics").content.decode()
    assert str(organization.pk) not in text and organization.code not in text


def test_scrape_leaves_out_what_cannot_be_read(scrape, monkeypatch):
    """Fails when a database that is down takes all other numbers with it."""

    def unreadable():
        raise OperationalError("the database is gone")

    readers = [each for each in metrics.READERS if "outbox" not in each.__module__]
    monkeypatch.setattr(metrics, "READERS", [unreadable, *readers])
    names = {name for name, *_ in scrape()}
    assert "orgmanager_component_status" in names
    assert "orgmanager_outbox_lag_seconds" not in names


def test_scrape_adds_up_what_several_processes_counted(scrape, monkeypatch, tmp_path):
    counts = tmp_path / "counts"
    counts.mkdir()
    environment = os.environ | {
        "PROMETHEUS_MULTIPROC_DIR": str(counts),
        "DJANGO_SETTINGS_MODULE": "orgmanager.settings",
        "ORGMANAGER_VAR_DIR": str(tmp_path / "var"),
    }
    for _ in range(2):
        subprocess.run(
            [sys.executable, "-c", COUNTING],
            env=environment,
            cwd=project.BASE_DIR,
            check=True,
        )
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(counts))
    record_events(1)
    found = scrape()
    assert found["orgmanager_outbox_deliveries_total", "topic", "delivered"] == 6
    assert found["orgmanager_outbox_pending_events",] == 1


def test_serve_answers_scrapes_of_a_process_without_a_web_server():
    server = metrics.serve(0, address="127.0.0.1")
    try:
        record_events(1)
        url = f"http://127.0.0.1:{server.server_port}/metrics"
        with urllib.request.urlopen(url, timeout=10) as answer:
            found = parse(answer.read())
        assert found["orgmanager_outbox_pending_events",] == 1
    finally:
        server.shutdown()
        server.server_close()
