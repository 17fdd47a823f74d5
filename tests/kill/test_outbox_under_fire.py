"""Workers and writers are killed; every committed event is published, in order."""

import pytest

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
    assert verdict["kills"] == 8 and verdict["committed"] >= 1200
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
