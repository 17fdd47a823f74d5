"""Installations on the five real services; without those, nothing here runs."""

import os

import pytest

from tests.real_services import postgresql

from .installation import Installation


def skip_without_services():
    if "TEST_KEYCLOAK_URL" not in os.environ:
        pytest.skip("TEST_KEYCLOAK_URL is not set; make test starts all five.")


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    """The name of a migrated database, to be copied."""
    skip_without_services()
    migrated = Installation(tmp_path_factory.mktemp("template"))
    migrated.manage("migrate", "--verbosity", "0")
    yield migrated.name
    with postgresql() as connection:
        connection.execute(f'DROP DATABASE "{migrated.name}" WITH (FORCE)')


@pytest.fixture
def make_installation(tmp_path):
    """Return a function that makes an installation; all are removed again."""
    skip_without_services()
    made = []

    def make(**options):
        made.append(Installation(tmp_path, **options))
        return made[-1]

    yield make
    for installation in made:
        installation.stop()
