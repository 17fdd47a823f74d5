"""Workers on PostgreSQL share the shards out, and hear of what is committed."""

import os
import time

import pytest

from orgmanager.outbox.models import SHARDS
from orgmanager.outbox.wakeup import CHANNEL
from tests.kill.fire import ServicesRun

pytestmark = pytest.mark.services

HOLDERS = """
SELECT pid, count(*) FROM pg_locks
WHERE locktype = 'advisory' AND granted AND mode = 'ExclusiveLock'
AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
GROUP BY pid
"""


@pytest.fixture
def run(tmp_path):
    if "TEST_KAFKA_BOOTSTRAP_SERVERS" not in os.environ:
        pytest.skip("TEST_KAFKA_BOOTSTRAP_SERVERS is not set; make test starts all.")
    run = ServicesRun(tmp_path, seed=1)
    yield run
    run.stop()


def shares(run):
    """Return how many locks each worker has, the smallest first."""
    return sorted(count for _, count in run.query(HOLDERS))


def wait_for(shares_of, expected, patience=60):
    deadline = time.monotonic() + patience
    while (found := shares_of()) != expected and time.monotonic() < deadline:
        time.sleep(0.2)
    assert found == expected


def test_workers_share_the_shards_and_take_over_from_one_that_dies(run):
    run.start_worker()
    wait_for(lambda: shares(run), [SHARDS])
    run.start_worker()
    wait_for(lambda: shares(run), [SHARDS // 2, SHARDS // 2])
    run.start_worker()
    wait_for(lambda: shares(run), [2, 3, 3])
    run.workers[0].kill()
    wait_for(lambda: shares(run), [SHARDS // 2, SHARDS // 2])
    run.workers[1].terminate()
    wait_for(lambda: shares(run), [SHARDS])


def test_a_commit_announces_the_shard_that_owes(run):
    run.make_organizations(3)
    with run.connect() as listener:
        listener.execute(f"LISTEN {CHANNEL}")
        run.start_writer(40)
        run.writers[0].wait()
        heard = {int(note.payload) for note in listener.notifies(timeout=1)}
    shards = run.query("SELECT DISTINCT shard FROM outbox_delivery")
    assert heard == {shard for (shard,) in shards}
