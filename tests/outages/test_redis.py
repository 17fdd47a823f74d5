"""Redis killed or frozen: nothing fails for it, and soon nothing waits for it."""

import re

import pytest
import requests

from orgmanager.redis_client import FAILURES, PAUSE

from .harness import (
    OPERATOR,
    OPERATOR_PASSWORD,
    TIMEOUT,
    percentile,
    report,
    wait_for,
)

pytestmark = pytest.mark.services

LIMIT = 0.15  # seconds: less than one call that waits for Redis
SHARE = 60  # bad tokens that one address may send in a minute
ADDRESSES = {"killed": "192.0.2.1", "frozen": "192.0.2.2"}


def sign_in(web):
    """Sign in to the console as a browser does; return the session."""
    session = requests.Session()
    page = session.get(f"{web.url}/admin/login/", timeout=TIMEOUT)
    token = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', page.text)[1]
    answer = session.post(
        f"{web.url}/admin/login/?next=/admin/",
        data={
            "username": OPERATOR,
            "password": OPERATOR_PASSWORD,
            "csrfmiddlewaretoken": token,
        },
        headers={"Referer": web.url},
        timeout=TIMEOUT,
    )
    assert answer.status_code == 200 and "/admin/login/" not in answer.url
    return session


def ask_everything(web, organization_path, token, when):
    """Ask what reads, counts and refuses; report and return the answers by name."""
    body = {"token": "x"}
    answers = {
        "read": web.calls(30, organization_path, token=token),
        "env": web.calls(30, "/org/api/env"),
        "registration": web.calls(20, "/org/api/org/single", method="POST", body=body),
        "bad token": web.calls(20, organization_path, token="a.b.c"),
        "sign-in page": web.calls(5, "/admin/login/"),
    }
    for name, found in answers.items():
        report(f"Redis {when}, {name}", found)
    return answers


@pytest.mark.parametrize("kind", ["frozen", "killed"])
def test_redis_away_fails_nothing_and_soon_costs_nothing(
    web, outages, organization_path, token, kind
):
    """Fails when each request waits for a cache that hangs."""
    before = ask_everything(web, organization_path, token, f"before, {kind}")
    session = sign_in(web)
    with getattr(outages, kind)("redis"):
        first = web.calls(FAILURES, organization_path, token="a.b.c")
        report(f"Redis {kind}, until it is left alone", first)
        during = ask_everything(web, organization_path, token, kind)
        for name, answers in during.items():
            assert {a.status for a in answers} == {a.status for a in before[name]}
            assert percentile(answers, 0.5) < LIMIT * 1000, name
        assert session.get(f"{web.url}/admin/", timeout=TIMEOUT).status_code == 200
        sign_in(web)
        status, reason = web.component("cache")
        assert status == "DOWN" and "Redis is left alone" in reason
        assert web.call("/actuator/health/readiness").body["status"] == "UP"
        # Twice as many, for a minute may end in between.
        flood = web.calls(
            2 * SHARE + 5, organization_path, token="a.b.c", address=ADDRESSES[kind]
        )
        assert {a.status for a in flood} == {401, 429}, "the limit is not kept"
    if kind == "frozen":  # the pause is long, and the same for both
        seconds = wait_for(lambda: web.component("cache")[0] == "UP", pause=0.2)
        answers = web.calls(20, organization_path, token="a.b.c")
        report(f"Redis after, {kind} ({seconds:.1f} s)", answers)
        assert seconds < PAUSE + 2
        assert "Redis answers again." in web.log.read_text()
