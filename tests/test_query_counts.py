"""
What each address costs the database, pinned in query_counts.json.

A count that goes up by accident is an N+1 or a lost cache; one that is meant to
change is changed in that file, in the same commit.
"""

import json
from pathlib import Path
from urllib.parse import urlencode

import pytest
from django.conf import settings as project
from django.core.cache import cache
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import get_resolver

from organizations import status
from orgmanager.identity import identity
from orgmanager.identity.addresses import token_endpoint
from orgmanager.licence_server import licence_server

from .conftest import ADMIN, PASSWORD
from .console.conftest import console, operator  # noqa: F401  fixtures
from .console.test_pages import MODELS, fill, url_of  # noqa: F401  a fixture too
from .organizations.test_read_organization import sign_in

PINNED = json.loads(Path(__file__).with_name("query_counts.json").read_text())
STATEMENTS = ("SELECT", "INSERT", "UPDATE", "DELETE")
PREFIX = "org/api/"
FEW, MANY = 3, 60

LICENCE = {
    "plan": "Gold",
    "validFrom": "2026-01-01T00:00:00Z",
    "validTo": "2030-01-01T00:00:00Z",
    "issuedAt": "2026-01-01T00:00:00Z",
}


def routes():
    """Return "METHOD /address" for every address of the API, as it is declared."""
    (api,) = [r for r in get_resolver().url_patterns if str(r.pattern) == PREFIX]
    return sorted(
        f"{method} /{PREFIX}{route}"
        for route, view in _leaves(api, "")
        for method in _methods(view)
    )


def _leaves(resolver, prefix):
    for each in resolver.url_patterns:
        route = prefix + str(each.pattern)
        if hasattr(each, "url_patterns"):
            yield from _leaves(each, route)
        else:
            yield route, each.callback


def _methods(view):
    names = getattr(view, "cls", None)
    offered = ("get", "post", "put", "patch", "delete")
    if names is None:  # a plain view of Django's, which all take GET alone here
        return ["GET"]
    return [name.upper() for name in offered if hasattr(names, name)]


def count(call, *, warm=True):
    """Return how many statements ``call`` costs, once what may be known is known."""
    if warm:
        call()
    cache.clear()
    status.answers.clear()
    with CaptureQueriesContext(connection) as captured:
        response = call()
    assert response.status_code < 500 and response.status_code != 404, response
    kept = [q["sql"] for q in captured if q["sql"].lstrip().startswith(STATEMENTS)]
    return len(kept)


def service_account(client_id):
    """Return the headers of a service of the platform."""
    realm = project.SERVICE_ACCOUNT_REALM
    form = {
        "grant_type": "client_credentials",
        "client_id": client_id,
        "client_secret": identity.client_secret(realm, client_id),
    }
    path = "/" + token_endpoint(realm).split("/", 3)[3]
    answer = Client().post(
        path, urlencode(form), content_type="application/x-www-form-urlencoded"
    )
    return {"Authorization": f"Bearer {answer.json()['access_token']}"}


@pytest.fixture
def calls(console, register, make_token):  # noqa: F811
    """A registered organization, and a call for every route and page there is."""
    token = make_token()
    admin = {"email": ADMIN["email"], "firstName": "Ada", "lastName": "Acme"}
    form = {"token": token, "admin": {**admin, "password": PASSWORD}}
    organization = register(token=token).organization
    headers, client = sign_in(organization.pk), Client()
    licences = service_account("flowx-license-sa")
    at = f"/org/api/organizations/{organization.pk}"
    inside = f"/org/api/internal/organizations/{organization.pk}"
    organizations = "/org/api/organizations/<uuid:organization_id>"
    internal = "/org/api/internal/organizations/<uuid:organization_id>"
    found = {
        "GET /org/api/env": lambda: client.get("/org/api/env"),
        "GET /org/api/org/single": lambda: client.get("/org/api/org/single"),
        "POST /org/api/org/single": lambda: client.post(
            "/org/api/org/single", form, content_type="application/json"
        ),
        f"GET {organizations}": lambda: client.get(at, headers=headers),
        f"GET {organizations}/events": lambda: client.get(
            f"{at}/events", headers=headers
        ),
        f"GET {internal}/realm": lambda: client.get(
            f"{inside}/realm", headers=licences
        ),
        f"PUT {internal}/licence": lambda: client.put(
            f"{inside}/licence",
            LICENCE,
            content_type="application/json",
            headers=licences,
        ),
        "GET /org/api/schema": lambda: client.get("/org/api/schema"),
        "GET /org/api/docs": lambda: client.get("/org/api/docs"),
        "GET /org/api/docs/assets/<str:name>": lambda: client.get(
            "/org/api/docs/assets/docs.css"
        ),
        "GET /": lambda: client.get("/"),
        "GET /admin/": lambda: console.get("/admin/"),
    }
    for model in MODELS:
        url = url_of(model, "changelist")
        found[f"GET {url}"] = lambda url=url: console.get(url)
    return organization, found


def test_every_route_costs_what_is_pinned_however_many_rows_there_are(
    calls,
    fill,  # noqa: F811
):
    """Fails when a list asks once per row, or a read needs more than one statement."""
    organization, calls = calls
    assert not set(routes()) - calls.keys(), "a route has no call here"
    fill(FEW, organization)
    few = {name: count(call) for name, call in calls.items()}
    assert few == {name: PINNED.get(name) for name in few}
    assert PINNED.keys() == few.keys() | {"POST /org/api/org/single, the first time"}
    fill(MANY, organization)
    many = {name: count(call) for name, call in calls.items()}
    assert many == few


def test_the_read_of_one_organization_is_one_statement():
    assert PINNED["GET /org/api/organizations/<uuid:organization_id>"] == 1


def test_the_registration_itself_costs_what_is_pinned(db, make_token):
    admin = {"email": ADMIN["email"], "firstName": "Ada", "lastName": "Acme"}
    form = {"token": make_token(), "admin": {**admin, "password": PASSWORD}}
    licence_server.ping()

    def post():
        return Client().post(
            "/org/api/org/single", form, content_type="application/json"
        )

    assert count(post, warm=False) == PINNED["POST /org/api/org/single, the first time"]
