"""The installation all outages happen to; every service runs again after each."""

import os
from contextlib import contextmanager

import pytest

from deploy.services.control import Control

from .harness import Installation, wait_for


@pytest.fixture(scope="package")
def installation(tmp_path_factory):
    """An organization registered on the real services."""
    if not os.environ.get("TEST_KEYCLOAK_URL"):
        pytest.skip("The TEST_ variables of the five services are not set.")
    installation = Installation(tmp_path_factory.mktemp("outages"))
    try:
        installation.web = installation.start_web()
        with installation.worker() as log:
            installation.register(installation.web)
            wait_for(lambda: "CAS client initialized" in log.read_text())
        installation.token = installation.fetch_token()
        yield installation
    finally:
        installation.stop()


@pytest.fixture
def web(installation):
    return installation.web


@pytest.fixture
def token(installation):
    return installation.token


@pytest.fixture
def organization_path(installation):
    """What a member may read: its answer takes database and SpiceDB."""
    return f"/org/api/organizations/{installation.organization_id}"


class Outages:
    """What can happen to a service, by its name; it is over when the block ends."""

    def __init__(self):
        self._control = Control()

    @contextmanager
    def frozen(self, name):
        self._control.pause(name)
        try:
            yield
        finally:
            self._control.resume(name)

    @contextmanager
    def killed(self, name):
        self._control.kill(name)
        try:
            yield
        finally:
            self._control.start(name)


@pytest.fixture(scope="package")
def outages():
    return Outages()
