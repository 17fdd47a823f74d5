"""Keycloak frozen: known keys go on, and unknown ones hold up nobody."""

import base64
import json
import time
import uuid
from concurrent.futures import ThreadPoolExecutor

import pytest

from orgmanager.realm_keys import RETRY_INTERVAL

from .harness import THREADS, percentile, report, wait_for

pytestmark = pytest.mark.services

FLOOD = 50  # requests at the same moment, several times the threads
LIMIT = 1.5  # seconds for one that comes in the middle of the flood
FETCH_LIMIT = 4.0  # seconds after which a fetch has failed


def with_unknown_key(token):
    """Return ``token`` as if signed by a key that its realm never had."""
    _, claims, signature = token.split(".")
    header = {"alg": "RS256", "typ": "JWT", "kid": str(uuid.uuid4())}
    encoded = base64.urlsafe_b64encode(json.dumps(header).encode()).decode()
    return ".".join([encoded.rstrip("="), claims, signature])


def key_id(token):
    header = token.split(".")[0]
    return json.loads(base64.urlsafe_b64decode(header + "=="))["kid"]


@pytest.fixture
def rotate(installation):
    """Return a function that gives the realm a new key, which signs from then on."""

    def add_key():
        realm = installation.administer(
            "GET", f"/realms/{installation.organization_id}"
        )
        installation.administer(
            "POST",
            f"/realms/{installation.organization_id}/components",
            {
                "name": "newer",
                "providerId": "rsa-generated",
                "providerType": "org.keycloak.keys.KeyProvider",
                "parentId": realm["id"],
                "config": {"priority": ["1000"], "algorithm": ["RS256"]},
            },
        )

    return add_key


def test_keycloak_frozen_known_keys_go_on_and_unknown_ones_hold_up_nobody(
    installation, web, outages, organization_path, token, rotate
):
    """Fails when each token with an unknown key takes a thread for a second."""
    before = web.calls(50, organization_path, token=token)
    report("Keycloak before", before)
    forged = [with_unknown_key(token) for _ in range(FLOOD)]
    with outages.frozen("keycloak"):
        time.sleep(RETRY_INTERVAL)  # or it is too soon for a fetch, and all is easy
        with ThreadPoolExecutor(2) as pool:
            flood = pool.submit(web.flood, FLOOD, organization_path, forged)
            started = time.monotonic()
            known = []
            while not flood.done() or time.monotonic() - started < FETCH_LIMIT:
                known.append(web.call(organization_path, token=token))
            flood = flood.result()
        report("Keycloak frozen, known key during the flood", known)
        report("Keycloak frozen, unknown keys at once", flood)
        assert {answer.status for answer in known} == {200}
        assert {answer.status for answer in flood} <= {401, 503}
        assert max(answer.seconds for answer in known) < LIMIT
        again = web.flood(FLOOD, organization_path, forged)
        report("Keycloak frozen, unknown keys once more", again)
        assert {answer.status for answer in again} == {401}
        assert percentile(again, 0.5) < LIMIT * 1000
        report("Keycloak frozen", web.calls(50, organization_path, token=token))
        assert web.call("/org/api/env").body["status"] == "OK"
        assert web.call("/actuator/health/readiness").body["status"] == "UP"
        assert web.component("identity")[0] == "DOWN"
    rotate()
    newer = installation.fetch_token()
    assert key_id(newer) != key_id(token)
    seconds = wait_for(lambda: web.call(organization_path, token=newer).status == 200)
    after = web.calls(50, organization_path, token=newer)
    report(f"Keycloak after, new key known in {seconds:.1f} s", after)
    assert seconds < RETRY_INTERVAL + 2
    assert web.call(organization_path, token=token).status == 200  # until it expires


def test_keycloak_frozen_from_the_start_is_503_and_leaves_threads_free(
    installation, outages, organization_path, token
):
    """Fails when a process that knows no key yet is taken by those who have one."""
    with outages.frozen("keycloak"):
        web = installation.start_web()
        with ThreadPoolExecutor(1) as pool:
            flood = pool.submit(
                web.flood, 3 * THREADS, organization_path, [token] * 3 * THREADS
            )
            time.sleep(0.3)
            env = web.calls(10, "/org/api/env")
            flood = flood.result()
        report("Keycloak frozen from the start, reads", flood)
        report("Keycloak frozen from the start, /env", env)
        assert {answer.status for answer in flood} == {503}
        assert {answer.body["status"] for answer in env} == {"OK"}
        assert max(answer.seconds for answer in env) < LIMIT
    seconds = wait_for(lambda: web.call(organization_path, token=token).status == 200)
    answers = web.calls(9, organization_path, token=token)
    report(f"Keycloak back after {seconds:.1f} s", answers)
    assert seconds < RETRY_INTERVAL + 2
    web.stop()
