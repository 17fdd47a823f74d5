"""Kafka away: every change is taken all the same, and told later, in order."""

import json
import os
import time

import pytest
import requests

from tests.real_services import read_topic

from .harness import TIMEOUT, report, wait_for

pytestmark = pytest.mark.services

OUTAGE = int(os.environ.get("OUTAGE", "15"))  # seconds
WRITES = OUTAGE * 20 // 3


@pytest.fixture
def licence_token(installation):
    """An access token of the licence service, from Keycloak."""
    file = installation.var / "licence-secret"
    client = "flowx-license-sa"
    installation.manage(
        "show_service_account_secret", client, "--output-file", str(file)
    )
    realm = installation.service_realm
    installation.administer(
        "PUT", f"/realms/{realm}", {"accessTokenLifespan": OUTAGE + 600}
    )
    answer = requests.post(
        f"{installation.keycloak}/realms/{realm}/protocol/openid-connect/token",
        data={
            "grant_type": "client_credentials",
            "client_id": client,
            "client_secret": file.read_text().strip(),
        },
        timeout=TIMEOUT,
    )
    file.unlink()
    return answer.json()["access_token"]


@pytest.mark.parametrize("kind", ["frozen", "killed"])
def test_writes_are_taken_while_kafka_is_away_and_delivered_in_order(
    installation, web, licence_token, outages, kind
):
    def write(users):
        body = {
            "plan": kind,
            "validFrom": "2026-01-01T00:00:00Z",
            "validTo": "2036-01-01T00:00:00Z",
            "limits": {"users": users},
        }
        path = f"/org/api/internal/organizations/{installation.organization_id}/licence"
        answer = web.call(path, method="PUT", token=licence_token, body=body)
        time.sleep(max(0, OUTAGE / WRITES - answer.seconds))
        return answer

    topic = f"ai.flowx.{installation.name}.organization.events.v1"
    with installation.worker():
        write(0)
        wait_for(lambda: is_all_delivered(installation))
        with getattr(outages, kind)("kafka"):
            answers = [write(n) for n in range(1, WRITES + 1)]
            assert not is_all_delivered(installation)
        report(f"Kafka {kind} for {OUTAGE} s, writes", answers)
        assert {answer.status for answer in answers} == {200}
        took = wait_for(lambda: is_all_delivered(installation), timeout=90)
    print(f"\nall delivered {took:.1f} s after Kafka was back")  # noqa: T201
    events = [json.loads(message.value()) for message in read_topic(topic)]
    numbers = [int(event["sequence"]) for event in events]
    assert sorted(set(numbers)) == list(range(1, max(numbers) + 1))
    assert first_seen(numbers) == sorted(set(numbers))
    told = [e["data"]["limits"]["users"] for e in events if of_plan(e, kind)]
    assert first_seen(told) == list(range(WRITES + 1))


def of_plan(event, plan):
    return event["type"] == "licence.synced" and event["data"]["plan"] == plan


def first_seen(numbers):
    return list(dict.fromkeys(numbers))


def is_all_delivered(installation):
    with installation.connect() as connection:
        owed = "SELECT EXISTS (SELECT 1 FROM outbox_delivery)"
        return not connection.execute(owed).fetchone()[0]
