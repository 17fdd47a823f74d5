"""The first run comes to the same end, whatever is killed or frozen during it."""

import os
import random
import threading
import time
import uuid

import pytest

from orgmanager.outbox import work

from ..real_services import Administrator
from ..stack.conftest import make_installation, template  # noqa: F401  fixtures
from ..stack.installation import EMAIL
from . import first_run
from .first_run import FirstRun, plan, verdict

pytestmark = pytest.mark.services

SEED = int(os.environ.get("FIRE_SEED", 21))
LONG = int(os.environ.get("FIRE", 0))  # rounds, each with as long a fault as may be
SHORT = len(first_run.FAULTS)


def rounds():
    """Return the strikes of every round, the same for the same seed."""
    chance = random.Random(SEED)
    faults = [first_run.FAULTS[n % SHORT] for n in range(LONG or SHORT)]
    return [plan(chance, each, longest_freeze=20 if LONG else 4) for each in faults]


@pytest.mark.parametrize(
    "strikes", rounds(), ids=lambda each: f"seed {SEED}, {', '.join(map(str, each))}"
)
def test_the_first_run_ends_well_under_fire(
    make_installation,  # noqa: F811
    template,  # noqa: F811
    strikes,
):
    """FIRE=30 in the environment is thirty rounds, which wait for every lease."""
    installation = make_installation(template=template, web_processes=2 if LONG else 1)
    before = Administrator().names()
    installation.start("web", "worker")
    installation.wait_until_serving()
    password = f"Canary-{uuid.uuid4().hex}-7"
    run = FirstRun(installation)
    try:
        times = run.run(strikes, password=password, is_patient=bool(LONG))
    finally:
        print(f"seed {SEED}", *strikes, run.tally(), sep=", ")  # noqa: T201  for the report
    print(times)  # noqa: T201
    assert not run.complaints()
    assert not verdict(installation, password, before)


def test_a_database_that_is_back_soon_costs_seconds_and_no_lease(
    make_installation,  # noqa: F811
    template,  # noqa: F811
):
    """Fails when an order whose end could not be written waits for its lease to end."""
    installation = make_installation(template=template, web_processes=1)
    installation.start("web", "worker")
    installation.wait_until_serving()
    run = FirstRun(installation)
    cutting = threading.Thread(target=first_run.cut_connections, args=[installation])
    cutting.start()
    password, began = "Correct-Horse-7", time.monotonic()
    answer = run.post_until_accepted(installation.registration_body(password))
    cutting.join()
    assert answer.status in (201, 202)
    installation.wait_for_state("DONE", timeout=60)
    assert time.monotonic() - began < work.LEASE.seconds * 0.8
    installation.sign_in(EMAIL, password)
