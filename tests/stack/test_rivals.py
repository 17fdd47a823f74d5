"""Whoever else is there: other clients, other transactions, other people's realms."""

import re
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests

from .installation import EMAIL, Administrator, postgresql

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


@pytest.mark.parametrize("whose", ["organization_id", "service_accounts"])
def test_a_foreign_realm_stops_the_first_run_untouched_until_it_goes(
    make_installation, template, whose
):
    """All the ways on: send it again, cancel it, or remove the realm and retry."""
    installation = make_installation(template=template)
    administrator, name = Administrator(), getattr(installation, whose)
    administrator.call("POST", "/realms", {"realm": name, "enabled": True})
    theirs = administrator.export(name)
    step = {
        "organization_id": "users-realm",
        "service_accounts": "service-account-realm",
    }[whose]
    installation.start("web", "worker")
    installation.wait_until_serving()
    first = installation.registration_body(PASSWORD)

    # Refused, and once more when the same is sent again; everybody can see why.
    for _ in range(2):
        answer = installation.post(first)
        assert (answer.status_code, answer.json()["code"]) == (409, "realm_conflict")
    shown = installation.get("org/single").json()
    assert shown["state"] == "RUNNING"
    states = {
        each["step"]: (each["state"], each["errorCode"]) for each in shown["steps"]
    }
    assert states[step] == ("PARKED", "realm_conflict")
    assert [state for state, _ in states.values()].count("PARKED") == 1
    console = sign_in_to_console(installation)
    page = console.get(
        f"{installation.url}/admin/organizations/organization/"
        f"{installation.organization_id}/change/",
        timeout=30,
    ).text
    assert "stopped" in page and "it was not touched" in page.replace("\n", " ")

    # Cancelled: what was ours is gone, what is theirs is not, and nothing is owed.
    out = installation.manage("cancel_registration", "--confirm", "acme")
    assert "nothing is left of it" in out
    owed = "SELECT destination FROM outbox_workorder WHERE state <> 'done'"
    assert installation.query(owed) == []
    assert Administrator().export(name) == theirs
    assert installation.post(first).json()["code"] == "token_used"

    # A new token runs into the same realm; once that is gone, the worker goes on.
    second = installation.registration_body(PASSWORD)
    assert installation.post(second).json()["code"] == "realm_conflict"
    assert Administrator().export(name) == theirs
    Administrator().call("DELETE", f"/realms/{name}")
    assert step in installation.manage("retry_work")
    installation.wait_for_state("DONE", timeout=30)
    installation.sign_in(EMAIL, PASSWORD)
    answer = installation.post(second)
    assert (answer.status_code, answer.json()["code"]) == (409, "already_registered")
    marker = installation.marker()
    for realm in (installation.organization_id, installation.service_accounts):
        assert Administrator().marker(realm) == marker
    assert len({each.headers["event-id"] for each in installation.created()}) == 1
