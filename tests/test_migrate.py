"""Migrations on PostgreSQL: as long as they need, and never in anybody's way."""

import os
import subprocess
import sys
import uuid
from pathlib import Path

import pytest

from tests.real_services import database_and_broker, postgresql

pytestmark = pytest.mark.services

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def database():
    """The name of an empty database."""
    if "TEST_POSTGRESQL_URL" not in os.environ:
        pytest.skip("TEST_POSTGRESQL_URL is not set; make test starts all five.")
    name = f"migrate-{uuid.uuid4().hex[:8]}"
    with postgresql() as connection:
        connection.execute(f'CREATE DATABASE "{name}"')
        yield name
        connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)')


def migrate(database, var, **changes):
    return subprocess.run(
        [sys.executable, "manage.py", "migrate", "--verbosity", "0"],
        cwd=ROOT,
        env=database_and_broker(database, var) | changes,
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_a_migration_may_take_longer_than_a_statement_of_a_request(database, tmp_path):
    done = migrate(database, tmp_path, DATABASE_STATEMENT_TIMEOUT="1ms")
    assert done.returncode == 0, done.stderr[-2000:]
    assert "Database migrations: Update has been successful" in done.stderr


def test_a_migration_waits_for_no_lock(database, tmp_path):
    assert migrate(database, tmp_path).returncode == 0
    with postgresql(database) as reader:
        reader.execute("BEGIN")
        reader.execute("LOCK TABLE django_migrations")
        done = migrate(database, tmp_path, DATABASE_LOCK_TIMEOUT="100ms")
    assert done.returncode != 0 and "lock timeout" in done.stderr
