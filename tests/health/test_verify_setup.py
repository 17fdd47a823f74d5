"""The setup guide's checks, each tried against something real."""

import json
from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.db.migrations.recorder import MigrationRecorder

from health import verification
from orgmanager.identity import identity
from orgmanager.keyring import DEFAULT_MASTER_KEY

pytestmark = pytest.mark.django_db(transaction=True)

CLIENT_SECRET = "correct-secret-of-the-service-account"


@pytest.fixture
def verify():
    """Return a function that runs the command: ({name: check}, whether it failed)."""

    def verify(url=""):
        output, is_failed = StringIO(), False
        try:
            call_command("verify_setup", url=url, as_json=True, stdout=output)
        except CommandError as error:
            assert error.returncode == 1
            is_failed = True
        body = json.loads(output.getvalue())
        assert (body["status"] == "failed") == is_failed
        return {check["name"]: check for check in body["checks"]}, is_failed

    return verify


@pytest.fixture
def registered(settings, register):
    settings.SERVICE_ACCOUNT_CLIENT_SECRET = CLIENT_SECRET
    return register().organization


def statuses(checks):
    return {name: check["status"] for name, check in checks.items()}


def test_verify_setup_of_a_running_service_is_ok(verify, registered, live_server):
    checks, is_failed = verify(live_server.url)
    assert not is_failed and set(statuses(checks).values()) == {"ok"}, checks
    assert "returns 200, UP" in checks["service.health"]["reason"]


def test_verify_setup_before_registration_skips_the_service_account(verify, schema):
    checks, is_failed = verify()
    assert not is_failed
    skipped = {name for name, status in statuses(checks).items() if status == "skipped"}
    service = {"service.running", "service.health"}
    assert skipped == service | {"identity.realm", "identity.secret", "identity.roles"}
    assert "when the organization registers" in checks["identity.realm"]["reason"]


def test_verify_setup_prints_reason_and_next_step_for_people(break_backend, schema):
    break_backend("BROKER")
    output = StringIO()
    with pytest.raises(CommandError, match=r"1 of \d+ checks failed"):
        call_command("verify_setup", url="", stdout=output, no_color=True)
    lines = output.getvalue().splitlines()
    at = lines.index("failed   The Kafka bootstrap servers are reachable")
    assert "cannot be used" in lines[at + 1]
    assert lines[at + 2].startswith("         Next: Check")


def test_verify_setup_where_nobody_answers_says_how_to_start(verify, schema):
    checks, is_failed = verify("http://127.0.0.1:9")  # the port of "discard"
    assert is_failed
    assert checks["service.running"]["status"] == "failed"
    assert "make run" in checks["service.running"]["nextStep"]
    assert checks["service.health"]["status"] == "skipped"


def test_verify_setup_with_a_broken_broker_tries_nothing_that_needs_it(
    verify, schema, break_backend
):
    break_backend("BROKER")
    checks, is_failed = verify()
    assert is_failed and checks["broker.connection"]["status"] == "failed"
    for name in ("broker.topics", "broker.publish", "broker.size", "outbox.lag"):
        assert "broker.connection failed" in checks[name]["reason"]


def test_verify_setup_without_the_right_to_write_a_topic_fails(
    verify, schema, settings
):
    topic = settings.TOPICS["organization_events"]
    (settings.BROKER["path"] / f"{topic}.jsonl").mkdir(parents=True)
    checks, is_failed = verify()
    assert is_failed and checks["broker.topics"]["status"] == "failed"


def test_verify_setup_leaves_topics_and_no_message(verify, settings):
    verify()
    files = sorted(settings.BROKER["path"].glob("*.jsonl"))
    assert {file.stem for file in files} == set(settings.TOPICS.values())
    assert all(file.read_bytes() == b"" for file in files)


def test_verify_setup_with_a_broker_that_takes_less_fails(verify, settings):
    settings.BROKER = settings.BROKER | {"max_bytes": 1000}
    checks, is_failed = verify()
    assert is_failed and "up to 1000 bytes" in checks["broker.size"]["reason"]


def test_verify_setup_with_a_pending_migration_fails(verify, schema):
    recorder = MigrationRecorder(connection)
    recorder.record_unapplied("outbox", "0001_initial")
    try:
        checks, is_failed = verify()
    finally:
        recorder.record_applied("outbox", "0001_initial")
    assert (
        is_failed and "outbox.0001_initial" in (checks["database.migrations"]["reason"])
    )


def test_verify_setup_without_a_database_tries_nothing_that_needs_it(
    verify, schema, monkeypatch
):
    monkeypatch.setitem(connection.settings_dict, "NAME", "/dev/null/no.sqlite3")
    checks, is_failed = verify()
    assert is_failed
    found = statuses(checks)
    assert found["database.connection"] == "failed"
    assert found["database.permissions"] == found["database.migrations"] == "skipped"


def test_verify_setup_with_another_secret_than_the_provider_fails(
    verify, registered, settings
):
    settings.SERVICE_ACCOUNT_CLIENT_SECRET = "another-secret-than-that-one"
    checks, is_failed = verify()
    assert is_failed and checks["identity.secret"]["status"] == "failed"
    assert "_CLIENT_SECRET" in checks["identity.secret"]["nextStep"]
    assert checks["identity.roles"]["status"] == "skipped"


def test_verify_setup_with_a_disabled_realm_fails(verify, registered, settings):
    identity.set_realm_enabled(settings.SERVICE_ACCOUNT_REALM, False)
    checks, is_failed = verify()
    assert is_failed and "is disabled" in checks["identity.realm"]["reason"]


def test_verify_setup_with_another_issuer_than_the_provider_fails(
    verify, registered, settings
):
    """Fails when a token is looked at without the checks that callers pass."""
    settings.JWT_AUDIENCE = "somebody-else"
    checks, is_failed = verify()
    assert is_failed and checks["identity.roles"]["status"] == "failed"


def test_verify_setup_with_the_default_key_fails_in_production_only(
    verify, schema, settings
):
    settings.MASTER_KEY = DEFAULT_MASTER_KEY
    assert verify()[0]["keys.master-key"]["status"] == "ok"
    settings.PRODUCTION = True
    assert verify()[0]["keys.master-key"]["status"] == "failed"


def test_verify_setup_shows_no_secret(registered, settings):
    output = StringIO()
    for secret in (CLIENT_SECRET, "another-secret-than-that-one"):
        settings.SERVICE_ACCOUNT_CLIENT_SECRET = secret
        for outcome in verification.verify(""):
            output.write(str(outcome))
    for secret in (CLIENT_SECRET, "another-secret", settings.MASTER_KEY, "eyJ"):
        assert secret not in output.getvalue()
