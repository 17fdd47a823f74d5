"""Factories and doors that all tests share; every test has a var folder of its own."""

import uuid

import pytest
from django.core.cache import cache
from rest_framework.test import APIClient

from organizations import operations, registration, status
from organizations.models import Membership, Organization, User
from orgmanager import context
from orgmanager.licence_server import licence_server
from orgmanager.outbox.models import WorkOrder

PASSWORD = "Correct-Horse-7"
ADMIN = {"email": "ada@acme.example", "first_name": "Ada", "last_name": "Acme"}


@pytest.fixture(autouse=True)
def local_backends(settings, tmp_path):
    """Point every local backend at the test's own folder, and forget all caches."""
    for name in ("IDENTITY", "AUTHORIZATION", "BROKER", "LICENCE_SERVER"):
        options = getattr(settings, name)
        file = tmp_path / options["path"].name
        setattr(settings, name, options | {"path": file})
    settings.VAR_DIR = tmp_path
    for variable in (context.request_id, context.trace_parent, context.organization_id):
        variable.set("")
    cache.clear()
    status.answers.clear()


@pytest.fixture
def make_token():
    """Return a function that issues registration tokens."""

    def make(*, org_id=None, code="acme", name="Acme Ltd"):
        return licence_server.issue_registration_token(
            org_id=org_id or uuid.uuid4(), org_code=code, org_name=name
        )

    return make


@pytest.fixture
def register(db, make_token):
    """Return a function that registers for real, realms and all."""

    def register(*, token=None, **changes):
        given = {"admin": ADMIN, "password": PASSWORD, "actor": "test"} | changes
        return registration.register(
            **given, token=make_token() if token is None else token
        )

    return register


@pytest.fixture
def make_organization(db, make_token):
    """
    Return a function that makes an organization without asking other systems.

    Its work orders are marked as done, as if those systems had answered.
    """

    def make(*, code="acme", status="ACTIVE"):
        token = make_token(code=code)
        started = operations.start_registration(
            licence_server.validate_registration(token),
            token=token,
            name="",
            admin=ADMIN,
            password=PASSWORD,
            actor="test",
        )
        pk = started.organization_id
        if status != "PENDING":
            WorkOrder.objects.filter(organization_id=pk).update(state="done")
            operations.activate(pk, actor="test")
        return Organization.objects.get(pk=pk)

    return make


@pytest.fixture
def make_user(db):
    """Return a function that adds an active user to an organization."""

    def make(organization, *, role="member", email=None):
        user = User.objects.create(
            organization=organization,
            email=email or f"{uuid.uuid4().hex[:8]}@acme.example",
            first_name="Bea",
            last_name="Bee",
            status=User.Status.ACTIVE,
        )
        Membership.objects.create(user=user, role=role)
        return user

    return make


@pytest.fixture
def api():
    """A client of the REST API that nobody has signed in."""
    return APIClient()


@pytest.fixture
def clock():
    """A clock that stands still until somebody moves ``clock.now``."""

    def read():
        return read.now

    read.now = 1_000.0
    return read
