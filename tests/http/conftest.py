"""A client of the test routes; none of these tests needs a row."""

import pytest
from django.test import Client


@pytest.fixture
def routes(settings):
    """Serve tests/http/routes.py instead of the real addresses."""
    settings.ROOT_URLCONF = "tests.http.routes"
    return Client(raise_request_exception=False)
