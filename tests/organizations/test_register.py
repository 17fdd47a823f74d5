"""Registration at every door: what it makes, what it refuses, what is left of it."""

import json
import socket
import time
import uuid
from io import StringIO

import pytest
from django.core.management import CommandError, call_command

from organizations import operations, registration
from organizations.exceptions import (
    AlreadyRegistered,
    RegistrationFailed,
    RegistrationInProgress,
    RemovalInProgress,
    TokenUsed,
)
from organizations.models import Installation, Organization, Registration, User
from orgmanager import context
from orgmanager.authorization import authorization
from orgmanager.errors import Invalid, Unavailable
from orgmanager.identity import identity
from orgmanager.licence_server import licence_server
from orgmanager.licence_server.backends.base import InvalidRegistrationToken
from orgmanager.outbox import work
from orgmanager.outbox.models import Event, WorkOrder

from ..conftest import ADMIN, PASSWORD

SERVICE_ACCOUNTS = "00000002-0002-4002-8002-000000000002"


def created_events():
    return Event.objects.filter(type="organization.created")


def test_register_makes_the_organization_its_realms_and_its_admin(register):
    result = register()
    organization = result.organization
    assert result.is_done and organization.status == "ACTIVE"
    assert (organization.code, organization.name) == ("acme", "Acme Ltd")
    marker = Installation.objects.marker()
    for realm in (str(organization.pk), SERVICE_ACCOUNTS):
        assert identity.find_realm(realm) == {"enabled": True, "marker": marker}
    admin = User.objects.get()
    assert admin.email == ADMIN["email"] and admin.status == "ACTIVE"
    assert authorization.check(
        "orgmanager/organization", str(organization.pk), "org_edit", str(admin.pk)
    )


def test_register_records_organization_created_once(register):
    result = register()
    event = created_events().get()
    assert event.organization_id == result.organization.pk and event.sequence == 1
    assert event.data["code"] == "acme"
    operations.activate(result.organization.pk, actor="again")
    assert created_events().count() == 1


def test_register_leaves_no_password_and_no_hash_behind(register, tmp_path):
    register()
    assert Registration.objects.get().credential is None
    for file in tmp_path.rglob("*"):
        if file.is_file():
            assert PASSWORD.encode() not in file.read_bytes(), file


def test_register_keeps_the_hash_encrypted_until_the_realm_stands(
    make_organization, settings, tmp_path
):
    make_organization(status="PENDING")
    row = Registration.objects.get()
    assert b"secretData" not in bytes(row.credential)
    assert "secretData" in row.read_credential()


def test_register_name_comes_from_body_then_token_then_setting_then_code(
    db, settings, make_token, register
):
    claims = licence_server.validate_registration(make_token(name=""))
    assert claims.org_name == ""
    settings.DEFAULT_ORGANIZATION_NAME = "From the setting"
    result = register(token=make_token(name=""))
    assert result.organization.name == "From the setting"


def test_register_twice_is_refused_without_asking_anybody(
    register, make_token, settings
):
    register()
    settings.LICENCE_SERVER = {
        "BACKEND": "orgmanager.licence_server.backends.unset.LicenceServer"
    }
    with pytest.raises(AlreadyRegistered, match="acme"):
        register(token="whatever")


def test_register_while_another_token_runs_is_refused(make_organization, register):
    make_organization(status="PENDING")
    with pytest.raises(RegistrationInProgress, match="cancel_registration"):
        register()
    assert Organization.objects.count() == 1 and User.objects.count() == 1


def test_register_with_the_same_token_while_it_runs_starts_nothing(
    register, make_token, settings, tmp_path
):
    token = make_token()
    identity_backend = settings.IDENTITY
    (tmp_path / "file").write_text("")
    settings.IDENTITY = identity_backend | {"path": tmp_path / "file" / "no"}
    assert not register(token=token, patience=0.1).is_done
    orders = WorkOrder.objects.count()
    assert not register(token=token, patience=0.1).is_done
    assert WorkOrder.objects.count() == orders and Organization.objects.count() == 1
    assert Organization.objects.get().status == "PENDING"


def test_register_refuses_a_weak_password_before_it_looks_at_the_token(register):
    with pytest.raises(Invalid) as refusal:
        register(password="short", token="rubbish")
    assert refusal.value.errors[0]["pointer"] == "/admin/password"
    assert "short" not in str(refusal.value)
    assert not Registration.objects.exists()


@pytest.mark.parametrize("token", ["", "rubbish", "a.b.c", "x" * 20000])
def test_register_with_no_real_token_is_refused(register, token):
    with pytest.raises(InvalidRegistrationToken, match="not valid"):
        register(token=token)
    assert not Registration.objects.exists()


def test_register_for_another_organization_than_configured_is_refused(
    register, settings, make_token
):
    settings.ORGANIZATION_ID = str(uuid.uuid4())
    with pytest.raises(InvalidRegistrationToken):
        register()
    assert register(token=make_token(org_id=settings.ORGANIZATION_ID)).is_done


def test_register_without_a_licence_server_creates_nothing(
    register, make_token, settings
):
    token = make_token()
    settings.LICENCE_SERVER = {
        "BACKEND": "orgmanager.licence_server.backends.unset.LicenceServer"
    }
    with pytest.raises(Unavailable, match="LICENSE_SERVER_URL"):
        register(token=token)
    assert not Organization.objects.exists()


def test_register_over_a_foreign_realm_is_refused_and_leaves_it(register, make_token):
    org_id = str(uuid.uuid4())
    foreign = {"realm": org_id, "enabled": True, "attributes": {}}
    identity.ensure_realm(foreign | {"attributes": {"orgmanager.marker": "theirs"}})
    with pytest.raises(RegistrationFailed, match="retry the step") as refusal:
        register(token=make_token(org_id=org_id))
    assert refusal.value.code == "realm_conflict"
    assert identity.find_realm(org_id)["marker"] == "theirs"
    assert not created_events().exists()


def test_register_goes_on_where_a_crash_left_it(make_token, db):
    token = make_token()
    started = operations.start_registration(
        licence_server.validate_registration(token),
        token=token,
        name="",
        admin=ADMIN,
        password=PASSWORD,
        actor="test",
    )
    # The process is gone; a worker finds the orders.
    while work.run_one():
        pass
    started.refresh_from_db()
    assert started.state == "DONE" and created_events().count() == 1


def test_cancel_registration_removes_what_it_made_and_reopens(
    make_token, register, db, settings
):
    token = make_token()
    org_id = licence_server.validate_registration(token).org_id
    operations.start_registration(
        licence_server.validate_registration(token),
        token=token,
        name="",
        admin=ADMIN,
        password=PASSWORD,
        actor="test",
    )
    WorkOrder.objects.filter(destination="activation").delete()  # never gets that far
    while work.run_one():
        pass
    assert identity.find_realm(org_id)
    call_command("cancel_registration", confirm="acme")
    assert identity.find_realm(org_id) is None
    assert identity.find_realm(SERVICE_ACCOUNTS) is None
    assert not created_events().exists() and not User.objects.exists()
    with pytest.raises(TokenUsed):
        register(token=token)
    assert register(token=make_token(org_id=org_id)).is_done


def test_cancel_registration_with_another_code_changes_nothing(make_organization):
    make_organization(status="PENDING")
    with pytest.raises(CommandError, match="Nothing was changed"):
        call_command("cancel_registration", confirm="other")
    assert Registration.objects.get().state == "RUNNING"


def test_cancel_registration_that_is_done_is_refused(register):
    register()
    with pytest.raises(CommandError, match="No registration is running"):
        call_command("cancel_registration", confirm="acme")


@pytest.fixture
def files(tmp_path, make_token):
    """The files that the command reads its secrets from."""
    token, password = tmp_path / "token", tmp_path / "password"
    token.write_text(make_token() + "\n")
    password.write_text(PASSWORD + "\n")
    return {
        "token_file": str(token),
        "password_file": str(password),
        "email": ADMIN["email"],
        "first_name": "Ada",
        "last_name": "Acme",
    }


def test_register_by_command_says_what_it_made(db, files):
    out = StringIO()
    call_command("register", **files, json=True, stdout=out)
    report = json.loads(out.getvalue())
    assert report["status"] == "ACTIVE"
    assert {step["state"] for step in report["steps"]} == {"DONE"}


def test_register_dry_run_proves_all_and_changes_nothing(db, files):
    out = StringIO()
    call_command("register", **files, dry_run=True, json=True, stdout=out)
    assert all(check["ok"] for check in json.loads(out.getvalue()))
    assert not Registration.objects.exists() and not WorkOrder.objects.exists()


def test_register_dry_run_says_what_is_missing(db, files, tmp_path):
    (tmp_path / "token").write_text("rubbish")
    out = StringIO()
    with pytest.raises(CommandError, match="Nothing was changed"):
        call_command("register", **files, dry_run=True, stdout=out)
    assert "FAILED  registration token" in out.getvalue()


def test_steps_show_what_went_wrong(register, settings, tmp_path):
    (tmp_path / "file").write_text("")
    settings.IDENTITY = settings.IDENTITY | {"path": tmp_path / "file" / "no"}
    result = register(patience=1)
    report = {step["step"]: step for step in registration.steps(result.registration)}
    assert report["users-realm"]["state"] == "DUE"
    assert report["users-realm"]["error"] and report["users-realm"]["attempts"] >= 1
    assert report["relationships"]["state"] == "DONE"


# --- What is parked, cancelled, or raced for -------------------------------------


@pytest.fixture
def conflict(make_token):
    """A token whose organization's realm is somebody else's already."""
    org_id = str(uuid.uuid4())
    foreign = {"realm": org_id, "enabled": True}
    identity.ensure_realm(foreign | {"attributes": {"orgmanager.marker": "theirs"}})
    return org_id, make_token(org_id=org_id)


def test_register_again_while_parked_says_the_same_and_tries_again(register, conflict):
    org_id, token = conflict
    for _ in range(2):
        with pytest.raises(RegistrationFailed, match="manage.py retry_work") as refusal:
            register(token=token)
        assert refusal.value.code == "realm_conflict"
    identity.delete_realm(org_id, "theirs")
    assert register(token=token).is_done
    assert created_events().count() == 1


def test_retry_work_by_command_sets_a_parked_registration_going(
    register, conflict, make_token
):
    org_id, token = conflict
    with pytest.raises(RegistrationFailed):
        register(token=token)
    identity.delete_realm(org_id, "theirs")
    out = StringIO()
    call_command("retry_work", organization=uuid.uuid4(), stdout=out)
    assert "No work order has stopped" in out.getvalue()
    call_command("retry_work", stdout=out)
    assert "users-realm" in out.getvalue() and "not touched" in out.getvalue()
    while work.run_one():
        pass
    assert Registration.objects.get().state == "DONE"


def test_cancel_registration_over_a_foreign_realm_leaves_nothing_to_do(
    register, conflict, make_token
):
    """Fails when the order that removes our realm waits for theirs to go."""
    org_id, token = conflict
    with pytest.raises(RegistrationFailed):
        register(token=token)
    call_command("cancel_registration", confirm="acme")
    assert not WorkOrder.objects.unfinished().exists()
    assert identity.find_realm(org_id)["marker"] == "theirs"
    assert register(token=make_token()).is_done


def test_register_while_a_cancelled_one_is_being_removed_is_refused(
    register, make_token, make_organization
):
    """Fails when a realm with the earlier administrator passes for the new one."""
    earlier = make_organization(status="PENDING")
    operations.cancel_registration(confirm="acme", actor="test")
    with pytest.raises(RemovalInProgress, match="still being removed"):
        register(token=make_token(org_id=earlier.pk))
    assert not Registration.objects.filter(state="RUNNING").exists()
    while work.run_one():
        pass
    assert register(token=make_token(org_id=earlier.pk)).is_done


def test_register_is_answered_in_time_by_a_provider_that_never_answers(
    register, settings
):
    """Fails when each of several calls may take its whole timeout."""
    settings.IDENTITY = {
        "BACKEND": "orgmanager.identity.backends.keycloak.Identity",
        "provisioning_realm": "master",
        "provisioning_client_id": "us",
        "provisioning_client_secret": "secret",
        "service_account_secret": "secret",
        "timeout": 5,
    }
    with socket.create_server(("127.0.0.1", 0), backlog=50) as mute:
        settings.IDENTITY["server_url"] = f"http://127.0.0.1:{mute.getsockname()[1]}"
        started = time.monotonic()
        result = register(patience=1)
        assert not result.is_done and time.monotonic() - started < 3


def test_events_carry_the_trace_of_the_request_whose_work_they_end(
    make_token, make_organization
):
    trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    context.trace_parent.set(trace)
    make_organization(status="PENDING")
    context.trace_parent.set("")
    while work.run_one():
        pass
    assert created_events().get().headers["traceparent"] == trace
    assert context.trace_parent.get() == ""
