"""What the actuator says when all is well, and when something is not."""

import json
import threading
from datetime import timedelta

import pytest
from django.db import connection, transaction
from django.db.migrations.recorder import MigrationRecorder
from django.utils import timezone

from health import probes
from organizations.models import Membership
from orgmanager.authorization.backends.local import Authorization
from orgmanager.outbox.models import Event, Stream

from ..conftest import ADMIN, PASSWORD
from ..outbox.test_deliver import organization_in
from ..outbox.test_record import record_one

# Probes have threads and connections of their own, which see committed rows only.
pytestmark = pytest.mark.django_db(transaction=True)

SWITCHES = {
    "BROKER": "broker",
    "IDENTITY": "identity",
    "AUTHORIZATION": "authorization",
    "LICENCE_SERVER": "licenceServer",
}


class HangingAuthorization(Authorization):
    """Answers nothing until it is let go."""

    let_go = threading.Event()
    asked = 0

    def ping(self):
        type(self).asked += 1
        self.let_go.wait(30)


@pytest.fixture
def hanging(settings):
    HangingAuthorization.asked = 0
    HangingAuthorization.let_go.clear()
    backend = f"{__name__}.HangingAuthorization"
    settings.AUTHORIZATION = settings.AUTHORIZATION | {"BACKEND": backend}
    yield HangingAuthorization
    HangingAuthorization.let_go.set()


@pytest.fixture
def lost_database(monkeypatch):
    """Every new connection finds no database; those of the tests stay open."""
    monkeypatch.setitem(connection.settings_dict, "NAME", "/dev/null/no.sqlite3")


@pytest.fixture
def pending_migration():
    recorder = MigrationRecorder(connection)
    recorder.record_unapplied("organizations", "0001_initial")
    yield "organizations.0001_initial"
    recorder.record_applied("organizations", "0001_initial")


def owe_event(age):
    with transaction.atomic():
        record_one(organization_in(0))
    Event.objects.update(recorded_at=timezone.now() - timedelta(seconds=age))


def test_health_with_all_components_up_is_up(client, schema):
    response = client.get("/actuator/health")
    assert response.status_code == 200
    assert response["Content-Type"] == "application/json"
    assert "no-store" in response["Cache-Control"]
    body = response.json()
    assert body["status"] == "UP" and body["groups"] == ["liveness", "readiness"]
    assert body["components"] == {name: {"status": "UP"} for name in probes.COMPONENTS}


@pytest.mark.parametrize("path", ["", "/liveness", "/readiness", "/database"])
def test_health_answers_head_and_refuses_post(client, path):
    head = client.head(f"/actuator/health{path}")
    assert head.status_code == 200 and head.content == b""
    assert client.post(f"/actuator/health{path}").status_code == 405


@pytest.mark.parametrize("setting", SWITCHES)
def test_health_with_another_system_down_is_degraded_but_serves(
    look, schema, break_backend, setting
):
    """Fails when an outage of one system takes the pods out of service."""
    name = SWITCHES[setting]
    break_backend(setting)
    status, body = look()
    assert (status, body["status"]) == (200, "DEGRADED")
    states = {name: each["status"] for name, each in body["components"].items()}
    assert states.pop(name) == "DOWN" and set(states.values()) == {"UP"}
    details = body["components"][name]["details"]
    assert "cannot be used" in details["reason"] and details["nextStep"]
    assert look("/readiness")[0] == 200
    assert look(f"/{name}")[0] == 503


def test_health_with_a_cache_that_keeps_nothing_is_degraded(look, schema, settings):
    dummy = "django.core.cache.backends.dummy.DummyCache"
    settings.CACHES = {"default": {"BACKEND": dummy}}
    status, body = look()
    assert (status, body["status"]) == (200, "DEGRADED")
    assert "does not keep" in body["components"]["cache"]["details"]["reason"]


def test_health_without_a_schema_names_the_worker(look):
    status, body = look("/authorization")
    assert (status, body["status"]) == (503, "DOWN")
    assert "no schema" in body["details"]["reason"]


def test_health_without_a_licence_server_is_up(look, schema, settings):
    settings.LICENCE_SERVER = {
        "BACKEND": "orgmanager.licence_server.backends.unset.LicenceServer"
    }
    status, body = look()
    assert (status, body["status"]) == (200, "UP")
    assert body["components"]["licenceServer"]["status"] == "UNKNOWN"
    details = body["components"]["licenceServer"]["details"]
    assert "LICENSE_SERVER_URL" in details["nextStep"]


def test_health_with_the_database_down_names_it_as_the_root(look, lost_database):
    status, body = look()
    assert (status, body["status"]) == (503, "DOWN")
    components = body["components"]
    assert list(components)[0] == "database"
    assert components["database"]["status"] == "DOWN"
    for name in ("migrations", "outbox"):
        details = components[name]["details"]
        assert components[name]["status"] == "AFFECTED"
        assert details["affectedBy"] == "database"
        assert details["nextStep"] == "Look at database first."
    assert look("/readiness")[0] == 503


def test_liveness_with_the_database_down_is_up(client, lost_database):
    response = client.get("/actuator/health/liveness")
    assert response.status_code == 200 and response.json() == {"status": "UP"}


def test_readiness_looks_at_nothing_but_what_it_takes_to_serve(look, hanging):
    status, body = look("/readiness")
    assert (status, body["status"]) == (200, "UP")
    assert set(body["components"]) == {"database", "migrations", "keyring"}
    assert hanging.asked == 0


def test_readiness_with_a_pending_migration_is_down(look, pending_migration):
    status, body = look("/readiness")
    assert (status, body["status"]) == (503, "DOWN")
    details = body["components"]["migrations"]["details"]
    assert pending_migration in details["reason"]
    assert details["nextStep"] == "Run manage.py migrate."


def test_readiness_with_an_unusable_master_key_is_down(look, settings):
    settings.MASTER_KEY = "base64:c2hvcnQ="
    status, body = look("/readiness")
    assert (status, body["status"]) == (503, "DOWN")
    assert "32 bytes" in body["components"]["keyring"]["details"]["reason"]
    assert "c2hvcnQ=" not in json.dumps(body)


def test_health_with_a_component_that_hangs_answers_about_the_others(
    look, schema, hanging
):
    status, body = look()
    assert (status, body["status"]) == (200, "DEGRADED")
    states = {name: each["status"] for name, each in body["components"].items()}
    assert states.pop("authorization") == "DOWN" and set(states.values()) == {"UP"}
    details = body["components"]["authorization"]["details"]
    assert details["reason"] == "There is no answer after 1 s."
    assert not hanging.let_go.is_set()


def test_health_with_a_component_that_hangs_asks_it_once(look, hanging):
    """Fails when every question leaves another thread behind."""
    for _ in range(20):
        look("/authorization")
    assert hanging.asked == 1


def test_health_asked_again_at_once_reuses_the_answer(look, schema, break_backend):
    first = look("/broker")
    assert first == look("/broker")
    break_backend("BROKER")  # another setting is another system
    assert look("/broker")[0] == 503


def test_outbox_with_an_event_that_waits_too_long_is_degraded(look, schema):
    owe_event(age=30)
    assert look("/outbox")[1]["status"] == "UP"
    Event.objects.update(recorded_at=timezone.now() - timedelta(seconds=90))
    probes.forget()
    status, body = look("/outbox")
    assert (status, body["status"]) == (200, "DEGRADED")
    assert "1 events are owed" in body["details"]["reason"]
    assert "run_worker" in body["details"]["nextStep"]


def test_outbox_with_a_blocked_stream_is_degraded(look):
    owe_event(age=1)
    Stream.objects.update(blocked_at=timezone.now())
    _, body = look("/outbox")
    assert body["status"] == "DEGRADED"
    assert "retry_delivery" in body["details"]["nextStep"]


def test_outbox_that_waits_for_a_broker_that_is_down_is_affected(look, break_backend):
    owe_event(age=90)
    break_backend("BROKER")
    outbox = look()[1]["components"]["outbox"]
    assert outbox["status"] == "AFFECTED"
    assert outbox["details"]["affectedBy"] == "broker"


def test_component_that_nobody_knows_is_a_problem(client):
    response = client.get("/actuator/health/nonsense")
    assert response.status_code == 404
    assert response["Content-Type"] == "application/problem+json"
    assert "There are: database, migrations" in response.json()["detail"]


def test_component_that_is_switched_off_is_not_there(look, settings):
    settings.HEALTH_ENABLED = settings.HEALTH_ENABLED | {"kafka": False}
    assert "broker" not in look()[1]["components"]
    assert look("/broker")[0] == 404


@pytest.mark.parametrize(
    ("shown", "is_shown"),
    [("always", True), ("when-authorized", False), ("never", False)],
)
def test_details_for_anybody_are_shown_as_configured(client, settings, shown, is_shown):
    settings.HEALTH_SHOW_DETAILS = shown
    body = client.get("/actuator/health/database").json()
    assert ("details" in body) == is_shown


def test_details_are_shown_to_an_administrator_and_to_no_member(client, register):
    organization = register().organization
    path = f"/realms/{organization.pk}/protocol/openid-connect/token"
    form = {
        "grant_type": "password",
        "client_id": "flowx-platform-authenticate",
        "username": ADMIN["email"],
        "password": PASSWORD,
    }
    body = "&".join(f"{name}={value}" for name, value in form.items())
    answer = client.post(path, body, "application/x-www-form-urlencoded").json()
    bearer = {"HTTP_AUTHORIZATION": f"Bearer {answer['access_token']}"}
    assert "details" in client.get("/actuator/health/database", **bearer).json()
    Membership.objects.update(role="member")
    assert "details" not in client.get("/actuator/health/database", **bearer).json()


def test_details_for_a_bad_token_are_not_shown_and_health_is(client):
    response = client.get(
        "/actuator/health/database", HTTP_AUTHORIZATION="Bearer x.y.z"
    )
    assert response.status_code == 200 and response.json() == {"status": "UP"}


def test_info_says_what_is_running(client, settings):
    settings.BUILD_COMMIT = "0123abc"
    body = client.get("/actuator/info").json()
    assert body["build"]["name"] == "organization-manager" and body["build"]["version"]
    assert body["git"]["commit"]["id"] == "0123abc"
    assert set(body) == {"app", "build", "git", "runtime"}


def test_health_log_has_one_line_per_change(look, break_backend, caplog):
    break_backend("BROKER")
    for _ in range(3):
        look("/broker")
    lines = [r.getMessage() for r in caplog.records if r.name == "health.monitor"]
    assert len(lines) == 1 and lines[0].startswith("broker is DOWN, it was UP: ")
