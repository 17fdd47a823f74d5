"""The first run comes to the same end, whatever is killed or frozen during it."""

import os
import random
import uuid

import pytest

from ..stack.conftest import make_installation, template  # noqa: F401  fixtures
from ..stack.installation import Administrator
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
    installation = make_installation(template=template)
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
