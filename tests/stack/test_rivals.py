"""Whoever else is there: other clients, other transactions, other people's realms."""

import re
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests

from tests.real_services import Administrator, postgresql

from .installation import EMAIL

pytestmark = pytest.mark.services

PASSWORD = "Correct-Horse-7"
OPERATOR = "olga", "Correct-Horse-7-Battery"


def test_fifty_registrations_at_once_make_one_organization(make_installation, template):
    installation = make_installation(template=template)
    before = Administrator().names()
    installation.start("web", "worker")
    installation.wait_until_serving()
    bodies = [installation.registration_body(PASSWORD) for _ in range(5)] * 10
    together = threading.Barrier(len(bodies))

    def post(body):
        together.wait()
        began = time.monotonic()
        answer = installation.post(body)
        return answer, body["token"], time.monotonic() - began

    with ThreadPoolExecutor(len(bodies)) as pool:
        said = list(pool.map(post, bodies))
    split = Counter(
        (answer.status_code, answer.json()["code"] if answer.status_code > 400 else "")
        for answer, _, _ in said
    )
    times = sorted(took for _, _, took in said)
    print(dict(split), f"p50 {times[24]:.2f} s, slowest {times[-1]:.2f} s")  # noqa: T201
    assert {answer.status_code for answer, _, _ in said} <= {201, 202, 409}
    # Of the token that won nobody is refused but who came when all was done.
    (winner,) = {token for answer, token, _ in said if answer.status_code != 409}
    refusals = {
        answer.json()["code"]
        for answer, token, _ in said
        if token == winner and answer.status_code == 409
    }
    assert refusals <= {"already_registered"}
    installation.wait_for_state("DONE", timeout=60)
    new = Administrator().names() - before
    assert new == {installation.organization_id, installation.service_accounts}
    organizations = "SELECT count(*) FROM organizations_organization"
    assert installation.query(organizations) == [(1,)]
    assert len({each.headers["event-id"] for each in installation.created()}) == 1
    installation.sign_in(EMAIL, PASSWORD)


def test_a_claim_that_is_never_committed_is_waited_for_and_then_taken(
    make_installation, template
):
    """Fails when a lock that somebody dead holds passes for a database that is away."""
    installation = make_installation(template=template)
    installation.start("web", "worker")
    installation.wait_until_serving()
    with postgresql(installation.name) as rival:
        rival.autocommit = False
        rival.execute(
            "INSERT INTO organizations_registration (token_id, token_digest, "
            "organization_id, admin_id, state, slot, started_at) VALUES "
            "('rival', 'rival', gen_random_uuid(), gen_random_uuid(), 'RUNNING', 1, "
            "now())"
        )
        undo = threading.Timer(4, rival.rollback)  # longer than DATABASE_LOCK_TIMEOUT
        undo.start()
        answer = installation.post(installation.registration_body(PASSWORD))
        undo.join()
    assert answer.status_code == 201, answer.text


def sign_in_to_console(installation):
    """Return a session of an operator who has signed in."""
    name, password = OPERATOR
    file = installation.var / "operator"
    file.write_text(password)
    installation.manage("create_operator", name, "--password-file", str(file))
    session = requests.Session()
    url = f"{installation.url}/admin/login/?next=/admin/"
    page = session.get(url, timeout=30)
    token = re.search('name="csrfmiddlewaretoken" value="([^"]+)"', page.text)[1]
    form = {"username": name, "password": password, "csrfmiddlewaretoken": token}
    answer = session.post(url, form, headers={"Referer": url}, timeout=30)
    assert answer.status_code == 200
    return session


def test_a_foreign_realm_stops_the_first_run_untouched_until_somebody_decides(
    make_installation, template
):
    """Cancelled, it owes nothing; with the realm removed, the worker goes on."""
    installation = make_installation(template=template)
    name = installation.organization_id
    theirs = make_foreign_realm(name)
    installation.start("web", "worker")
    installation.wait_until_serving()
    first = installation.registration_body(PASSWORD)
    refuse(installation, first, step="users-realm")
    page = sign_in_to_console(installation).get(
        f"{installation.url}/admin/organizations/organization/{name}/change/",
        timeout=30,
    )
    assert "stopped" in page.text and "it was not touched" in page.text

    # Cancelled: what was ours is gone, what is theirs is not, and nothing is owed.
    out = installation.manage("cancel_registration", "--confirm", "acme")
    assert "nothing is left of it" in out
    owed = "SELECT destination FROM outbox_workorder WHERE state <> 'done'"
    assert installation.query(owed) == []
    assert Administrator().export(name) == theirs
    assert installation.post(first).json()["code"] == "token_used"

    # A new token runs into the same realm; once that is gone, it can go on.
    second = installation.registration_body(PASSWORD)
    refuse(installation, second, step="users-realm")
    assert Administrator().export(name) == theirs
    Administrator().call("DELETE", f"/realms/{name}")
    assert "users-realm" in installation.manage("retry_work")
    installation.wait_for_state("DONE", timeout=30)
    answer = installation.post(second)
    assert (answer.status_code, answer.json()["code"]) == (409, "already_registered")
    check_end(installation)


def test_a_foreign_realm_that_is_removed_lets_the_same_request_through(
    make_installation, template
):
    installation = make_installation(template=template)
    name = installation.service_accounts
    theirs = make_foreign_realm(name)
    installation.start("web", "worker")
    installation.wait_until_serving()
    body = installation.registration_body(PASSWORD)
    for _ in range(2):
        refuse(installation, body, step="service-account-realm")
    assert Administrator().export(name) == theirs
    Administrator().call("DELETE", f"/realms/{name}")
    assert installation.post(body).status_code == 201
    check_end(installation)


def make_foreign_realm(name):
    """Make a realm that somebody else might have; return all that is in it."""
    administrator = Administrator()
    administrator.call("POST", "/realms", {"realm": name, "enabled": True})
    return administrator.export(name)


def refuse(installation, body, *, step):
    """Post ``body`` and see it refused, with ``step`` alone parked for all to see."""
    answer = installation.post(body)
    assert (answer.status_code, answer.json()["code"]) == (409, "realm_conflict")
    shown = installation.get("org/single").json()
    assert shown["state"] == "RUNNING"
    parked = {
        each["step"]: each["errorCode"]
        for each in shown["steps"]
        if each["state"] == "PARKED"
    }
    assert parked == {step: "realm_conflict"}


def check_end(installation):
    """See that the first run ended as every other one does."""
    installation.sign_in(EMAIL, PASSWORD)
    realms = (installation.organization_id, installation.service_accounts)
    markers = {Administrator().marker(realm) for realm in realms}
    assert markers == {installation.marker()}
    assert len({each.headers["event-id"] for each in installation.created()}) == 1
