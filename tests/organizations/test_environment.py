"""What everybody may know is said also while the database is away."""

import pytest
from django.db import OperationalError, connection

from organizations import status
from organizations.models import Licence

from .test_sync_licence import sync

ENV = "/org/api/env"


@pytest.fixture
def clock(monkeypatch):
    """A clock that stands still until somebody moves ``clock.now``."""

    def read():
        return read.now

    read.now = 1_000.0
    monkeypatch.setattr(status, "answers", status.Fresh(clock=read))
    return read


@pytest.fixture
def licensed(make_organization, clock):
    organization = make_organization()
    sync(organization)
    return organization


@pytest.fixture
def database():
    """A switch: while ``database.is_away`` every statement fails; they are counted."""

    def ask(execute, *arguments):
        ask.asked += 1
        if ask.during:
            ask.during()
        if ask.is_away:
            raise OperationalError("gone")
        return execute(*arguments)

    ask.is_away, ask.asked, ask.during = False, 0, None
    with connection.execute_wrapper(ask):
        yield ask


def test_the_last_ok_is_said_while_the_database_is_away(licensed, database, clock, api):
    assert api.get(ENV).json()["status"] == "OK"
    database.is_away, database.asked = True, 0
    for _ in range(20):
        clock.now += 1.1
        assert api.get(ENV).json()["status"] == "OK"
    assert database.asked <= 5  # each of them may have to wait for a timeout
    database.is_away = False
    clock.now += status.RETRY_INTERVAL
    Licence.objects.all().delete()
    assert api.get(ENV).json()["status"] == "MISSING_LICENCE"


def test_while_one_asks_the_others_are_told_the_last_ok(licensed, database, clock, api):
    """Fails when every thread waits for a database that says nothing."""
    assert api.get(ENV).json()["status"] == "OK"
    clock.now += status.FRESH
    others = []

    def ask_meanwhile():
        database.during = None
        others.append(status.environment()["status"])

    database.asked, database.during = 0, ask_meanwhile
    assert api.get(ENV).json()["status"] == "OK"
    assert others == ["OK"] and database.asked == 1


def test_an_ok_that_is_no_longer_true_is_not_said_again(licensed, database, clock, api):
    assert api.get(ENV).json()["status"] == "OK"
    Licence.objects.all().delete()
    clock.now += status.FRESH
    assert api.get(ENV).json()["status"] == "MISSING_LICENCE"
    database.is_away = True
    assert api.get(ENV).status_code == 503
