"""Workers and writers are killed; every committed event is published, in order."""

import os

import pytest

from . import fire
from .harness import FAULTS, Run, storm


def faults(verdict):
    return {name: verdict[name] for name in FAULTS if verdict[name]}


def test_no_event_is_lost_invented_or_out_of_order_under_kills(tmp_path):
    run = Run(tmp_path, seed=1)
    try:
        verdict = storm(run, events=1200, kills=8)
    finally:
        run.stop()
    print(verdict)  # noqa: T201  the figures belong into the test's report
    assert verdict["kills"] >= 5 and verdict["committed"] >= 1200
    assert not faults(verdict)


@pytest.mark.parametrize("mistake", ["last-id", "mark-first"])
def test_the_harness_notices_a_relay_that_loses_events(tmp_path, mistake):
    run = Run(
        tmp_path,
        seed=2,
        worker_command=["tests/kill/mutant_worker.py", mistake],
    )
    try:
        verdict = storm(run, events=600, kills=8, pace=1.5, patience=5)
    finally:
        run.stop()
    assert verdict["lost"] > 0


# --- On PostgreSQL and Kafka, which are killed as well --------------------------

ALL_FAULTS = ["worker"] * 12 + ["writer"] * 3 + ["freeze"] * 2 + ["broker", "database"]


@pytest.fixture
def make_run(tmp_path):
    if "TEST_KAFKA_BOOTSTRAP_SERVERS" not in os.environ:
        pytest.skip("TEST_KAFKA_BOOTSTRAP_SERVERS is not set; make test starts all.")
    runs = []

    def make(**options):
        runs.append(fire.ServicesRun(tmp_path, **options))
        return runs[-1]

    yield make
    for run in runs:
        run.stop()


@pytest.mark.services
def test_no_event_is_lost_on_the_real_services_under_fire(make_run):
    run = make_run(seed=3)
    disorder = list(ALL_FAULTS)
    run.chance.shuffle(disorder)
    verdict = fire.burn(run, events=2400, faults=disorder)
    print(verdict)  # noqa: T201  the figures belong into the test's report
    assert verdict["kills"] >= 14 and not faults(verdict)


@pytest.mark.services
@pytest.mark.parametrize(
    ("mistake", "fault"),
    [("last-id", "lost"), ("mark-first", "lost"), ("skip-locked", "out_of_order")],
)
def test_the_harness_notices_a_broken_relay_on_the_real_services(
    make_run, mistake, fault
):
    run = make_run(seed=4, worker_command=["tests/kill/mutant_worker.py", mistake])
    kills = [] if mistake == "skip-locked" else ["worker"] * 6
    verdict = fire.burn(run, events=1200, faults=kills, rhythm=4, patience=5)
    assert verdict[fault] > 0
