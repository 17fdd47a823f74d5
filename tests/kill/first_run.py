"""A first run while Keycloak, PostgreSQL or a process of ours is killed or frozen."""

import json
import threading
import time
import uuid
from contextlib import suppress
from typing import NamedTuple

import requests

from deploy.services.control import Control

from ..stack.installation import (
    EMAIL,
    Administrator,
    SpiceDB,
    postgresql,
    subject_of,
)

HANG = 30  # seconds that no answer may take
CLIENTS = 4
PAUSE = 0.4  # seconds between two posts of a client

# Killing Keycloak comes last: it is slow for a while after its start.
FAULTS = (
    "freeze postgresql",
    "freeze keycloak",
    "kill postgresql",
    "freeze keycloak",
    "kill postgresql",
    "kill keycloak",
)


class Strike(NamedTuple):
    """One fault. Units: seconds after the first post, and until it is undone."""

    fault: str
    at: float
    lasts: float

    def __str__(self):
        return f"{self.fault} at {self.at:.2f} s for {self.lasts:.1f} s"


class Said(NamedTuple):
    """One answer, or why there was none. Units: ``at``, ``took``: seconds."""

    status: int | str
    code: str
    headers: dict
    at: float
    took: float


class FirstRun:
    """Clients that register one installation, whatever happens to it meanwhile."""

    def __init__(self, installation, control=None):
        self.installation = installation
        self.control = control or Control()
        self.answers = []
        self.away = []  # [(what, from, to)] on the clock of time.monotonic()
        self._is_over = threading.Event()
        self._lock = threading.Lock()

    def run(self, strikes, *, password, clients=CLIENTS, is_patient=True):
        """
        Post from ``clients`` at once while ``strikes`` happen; wait for the end.

        Unless ``is_patient``, leases of the dead and pauses between two tries end
        with the last strike.
        """
        body = self.installation.registration_body(password)
        threads = [
            threading.Thread(
                target=self._insist,
                # Every third gives up soon: its connection ends in the middle.
                args=[body, n % 3 == 2],
            )
            for n in range(clients)
        ]
        started = time.monotonic()
        for thread in threads:
            thread.start()
        undoing = []
        for strike in sorted(strikes, key=lambda strike: strike.at):
            time.sleep(max(0, started + strike.at - time.monotonic()))
            thread = threading.Thread(target=self._strike, args=[strike])
            thread.start()
            undoing.append(thread)
        for thread in undoing:
            thread.join()
        struck = time.monotonic() - started
        if not is_patient:
            let_time_pass(self.installation)
        try:
            settled = self.installation.wait_for_state("DONE", timeout=90)
        finally:
            self._is_over.set()
            for thread in threads:
                thread.join()
        return {
            "struck": round(struck, 1),
            "settled": round(settled, 1),
            "slowest": round(max(said.took for said in self.answers), 1),
        }

    def _insist(self, body, gives_up):
        timeout = 1.5 if gives_up else HANG + 15
        while not self._is_over.is_set():
            said = self._post(body, timeout)
            with self._lock:
                self.answers.append(said)
            if gives_up and len(self.answers) > 3 or said.code == "already_registered":
                return
            if said.status == 201:
                return
            self._is_over.wait(PAUSE)

    def post_until_accepted(self, body):
        """Post until the answer is 201 or 202, a few times at most; return it."""
        for _ in range(20):
            said = self._post(body, HANG)
            if said.status in (201, 202):
                break
            time.sleep(PAUSE)
        return said

    def _post(self, body, timeout):
        at = time.monotonic()
        try:
            answer = self.installation.post(body, timeout=timeout)
        except requests.RequestException as error:
            kind = "gave up" if timeout < HANG else type(error).__name__
            return Said(kind, "", {}, at, time.monotonic() - at)
        code = ""
        if answer.status_code >= 400:
            with suppress(ValueError):
                code = answer.json().get("code", "")
        took = time.monotonic() - at
        return Said(answer.status_code, code, dict(answer.headers), at, took)

    def _strike(self, strike):
        what, name = strike.fault.split()
        began, installation = time.monotonic(), self.installation
        if name in ("web", "worker"):
            installation.kill(name)
            time.sleep(strike.lasts)
            installation.start(name)
            if name == "web":
                installation.wait_until_serving()
        elif what == "kill":
            self.control.kill(name)
            self.control.start(name)
        else:
            self.control.pause(name)
            time.sleep(strike.lasts)
            self.control.resume(name)
        with self._lock:
            self.away.append((name, began, time.monotonic()))

    def complaints(self):
        """Return every answer that nobody should have been given."""
        return [text for said in self.answers if (text := self._complaint(said))]

    def _complaint(self, said):
        if said.took > HANG:
            return f"{said.status} took {said.took:.1f} s"
        if said.status == 503:
            if said.headers.get("Retry-After") is None:
                return "503 without Retry-After"
            if not self._was_away("postgresql", said):
                return f"503 {said.code} while the database was there"
        elif isinstance(said.status, int):
            if said.status not in (201, 202, 409):
                return f"{said.status} {said.code}"
            if said.status == 202 and "Location" not in said.headers:
                return "202 without Location"
            if said.status == 409 and said.code not in (
                "already_registered",
                "registration_in_progress",
            ):
                return f"409 {said.code}"
        elif said.status != "gave up" and not self._was_away("web", said):
            return f"{said.status} while web was there"
        return ""

    def _was_away(self, name, said):
        grace = 5  # seconds until connections are made anew
        return any(
            what == name and said.at <= end + grace and said.at + said.took >= begin
            for what, begin, end in self.away
        )

    def tally(self):
        """Return how often what was answered."""
        counts = {}
        for said in self.answers:
            name = f"{said.status} {said.code}".strip()
            counts[name] = counts.get(name, 0) + 1
        return dict(sorted(counts.items()))


def verdict(installation, password, realms_before):
    """Return what is wrong with what came of a first run, asked of the systems."""
    faults, pk = [], installation.organization_id

    def expect(name, found, wanted):
        if found != wanted:
            faults.append(f"{name}: {found!r}, not {wanted!r}")

    expect(
        "organizations",
        installation.query("SELECT id::text, status FROM organizations_organization"),
        [(pk, "ACTIVE")],
    )
    expect(
        "registrations",
        installation.query("SELECT state, credential FROM organizations_registration"),
        [("DONE", None)],
    )
    expect(
        "users",
        installation.query(
            "SELECT email, status, role FROM organizations_user u "
            "JOIN organizations_membership m ON m.user_id = u.id"
        ),
        [(EMAIL, "ACTIVE", "org_admin")],
    )
    expect(
        "work left",
        installation.query(
            "SELECT destination, error FROM outbox_workorder WHERE state <> 'done'"
        ),
        [],
    )
    administrator, marker = Administrator(), installation.marker()
    new = administrator.names() - realms_before
    expect("realms", new, {pk, installation.service_accounts})
    expect("markers", {administrator.marker(name) for name in new}, {marker})
    created = installation.created()
    expect("event ids", len({each.headers["event-id"] for each in created}), 1)
    (kept,) = installation.query(
        "SELECT event_id::text FROM outbox_event WHERE type = 'organization.created'"
    )
    expect("event id", json.loads(created[0].value)["id"], kept[0])
    token = installation.sign_in(EMAIL, password)
    bearer = {"Authorization": f"Bearer {token}"}
    expect("read", installation.get(f"organizations/{pk}", **bearer).status_code, 200)
    spicedb, subject = SpiceDB(), subject_of(token)
    expect("the administrator", spicedb.may(subject, "org_edit", pk), True)
    expect("a stranger", spicedb.may(str(uuid.uuid4()), "org_read", pk), False)
    return faults


def cut_connections(installation, *, seconds=2):
    """Cut every connection to the database for a while, from the claim on."""
    claimed = "SELECT 1 FROM organizations_registration"
    give_up = time.monotonic() + HANG
    while not installation.query(claimed) and time.monotonic() < give_up:
        time.sleep(0.02)
    with postgresql() as connection:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = %s",
                [installation.name],
            )
            time.sleep(0.1)


def let_time_pass(installation):
    """End all leases and pauses: a minute later, they would have ended anyway."""
    installation.query(
        "UPDATE outbox_workorder SET leased_until = NULL, due_at = now() "
        "WHERE state = 'due' RETURNING id"
    )


def plan(chance, fault, *, longest_freeze):
    """Return the strikes of one round: ``fault``, and often one of our processes."""
    strikes = [Strike(fault, chance.uniform(0, 2.5), chance.uniform(2, longest_freeze))]
    if chance.random() < 0.35:
        strikes.append(Strike("kill web", chance.uniform(0.1, 3), 0))
    if chance.random() < 0.35:
        strikes.append(Strike("kill worker", chance.uniform(0.1, 3), 0))
    return strikes
