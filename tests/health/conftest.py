"""Things to break, and a look at what is then said."""

import pytest

from orgmanager.authorization import authorization


@pytest.fixture
def break_backend(settings, tmp_path):
    """Return a function that lets a local backend have a path it cannot use."""
    (tmp_path / "file").write_text("")

    def break_backend(setting):
        unusable = {"path": tmp_path / "file" / "no"}
        setattr(settings, setting, getattr(settings, setting) | unusable)

    return break_backend


@pytest.fixture
def schema():
    """Apply the authorization schema, as a worker does when it starts."""
    authorization.ensure_schema()


@pytest.fixture
def look(client, settings):
    """Return a function that reads health with details: (HTTP status, body)."""

    settings.HEALTH_SHOW_DETAILS = "always"

    def look(path=""):
        response = client.get(f"/actuator/health{path}")
        return response.status_code, response.json()

    return look
