"""PostgreSQL killed or frozen: a refusal in time, and what needs none goes on."""

import time
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest

from orgmanager.postgresql.connection import CHECK_TIMEOUT, Connection

from .harness import THREADS, refused_well, report, wait_for

pytestmark = pytest.mark.services

LIMIT = 4.0  # seconds: the pool's timeout, with a check of a connection on each side
RECOVERY = 6.0  # seconds


@pytest.mark.parametrize("kind", ["killed", "frozen"])
def test_postgresql_away_is_503_in_time_and_the_rest_goes_on(
    web, outages, organization_path, token, kind
):
    """Fails when a database that says nothing keeps every thread for itself."""
    report(f"PostgreSQL before, {kind}", web.calls(50, organization_path, token=token))
    assert web.call("/org/api/env").body["status"] == "OK"
    with getattr(outages, kind)("postgresql"):
        with ThreadPoolExecutor(2 * THREADS) as pool:
            tokens = [token] * 2 * THREADS
            reads = pool.submit(web.flood, len(tokens), organization_path, tokens)
            time.sleep(0.2)
            others = [
                pool.submit(web.call, path)
                for path in ("/org/api/env", "/actuator/health/liveness")
            ]
            first = reads.result()
            others = [each.result() for each in others]
        report(f"PostgreSQL {kind}, reads at the same moment", first)
        report(f"PostgreSQL {kind}, /env and liveness behind them", others)
        assert all(map(refused_well, first)), first[0]
        assert [answer.status for answer in others] == [200, 200]
        reads = web.calls(20, organization_path, token=token, pause=0.05)
        env = web.calls(20, "/org/api/env", pause=0.05)
        report(f"PostgreSQL {kind}, reads", reads)
        report(f"PostgreSQL {kind}, /env", env)
        assert all(map(refused_well, reads))
        assert {answer.body["status"] for answer in env} == {"OK"}
        assert max(answer.seconds for answer in first + others + reads + env) < LIMIT
        assert web.call("/actuator/health/liveness").status == 200
        readiness = web.call("/actuator/health/readiness")
        assert readiness.status == 503 and readiness.body["status"] == "DOWN"
        assert web.component("database")[0] == "DOWN"
    seconds = wait_for(
        lambda: web.call(organization_path, token=token).status == 200, pause=0.1
    )
    after = web.calls(50, organization_path, token=token)
    report(f"PostgreSQL after, {kind} ({seconds:.1f} s)", after)
    assert {answer.status for answer in after} == {200}
    assert seconds < RECOVERY
    wait_for(lambda: web.call("/actuator/health/readiness").status == 200)


@pytest.mark.parametrize("query, limit", [("SELECT 1", 0.5), ("", CHECK_TIMEOUT)])
def test_connection_that_is_frozen_gives_up_and_closes(
    installation, outages, settings, query, limit
):
    """Fails when a statement that was sent before the freeze is waited for in vain."""
    settings.DATABASE_ANSWER_TIMEOUT = 0.5
    database = installation.database
    with Connection.connect(
        host=database.hostname,
        port=database.port,
        user=database.username,
        password=database.password,
        dbname=installation.name,
        autocommit=True,
    ) as connection:
        with outages.frozen("postgresql"):
            started = time.monotonic()
            with pytest.raises(psycopg.OperationalError, match="did not answer within"):
                connection.execute(query)
            assert limit <= time.monotonic() - started < limit + 1
        assert connection.closed
