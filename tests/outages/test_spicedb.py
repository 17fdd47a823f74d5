"""SpiceDB killed, frozen or with another key: no yes that it did not give."""

import pytest

from .harness import refused_well, report, wait_for

pytestmark = pytest.mark.services

LIMIT = 1.0  # seconds, on a machine that others use too; 0.3 on one of its own
RECOVERY = 2.0  # seconds
FLOOD = 50  # requests, several times the threads


@pytest.fixture
def forget(installation):
    """Return a function after which every permission has to be asked for again."""

    def raise_generation():
        with installation.connect() as connection:
            connection.execute(
                "UPDATE organizations_organization "
                "SET authorization_generation = authorization_generation + 1"
            )

    return raise_generation


@pytest.mark.parametrize("kind", ["killed", "frozen"])
def test_spicedb_away_refuses_what_it_had_to_be_asked_and_nothing_else(
    web, outages, organization_path, token, forget, kind
):
    """Fails when an engine that is down lets people in, or holds them up."""
    events = f"{organization_path}/events"
    forget()
    granted = web.calls(50, organization_path, token=token)
    report(f"SpiceDB before, {kind}", granted)
    assert {answer.status for answer in granted} == {200}
    with getattr(outages, kind)("spicedb"):
        known = web.calls(50, organization_path, token=token)
        unknown = web.calls(10, events, token=token)
        report(f"SpiceDB {kind}, granted before", known)
        report(f"SpiceDB {kind}, to be asked", unknown)
        assert {answer.status for answer in known} == {200}
        assert all(map(refused_well, unknown)), unknown[0]
        flood = web.flood(FLOOD, events, [token] * FLOOD)
        report(f"SpiceDB {kind}, to be asked at the same moment", flood)
        assert all(map(refused_well, flood))
        assert max(answer.seconds for answer in known + unknown + flood) < LIMIT
        forget()
        assert refused_well(web.call(organization_path, token=token))
        assert web.call("/org/api/env").body["status"] == "OK"
        assert web.call("/actuator/health/readiness").body["status"] == "UP"
        assert web.call("/actuator/health").status == 200
        status, reason = web.component("authorization")
        assert status == "DOWN" and reason
    seconds = wait_for(lambda: web.call(events, token=token).status == 200)
    report(
        f"SpiceDB after, {kind} ({seconds:.2f} s)", web.calls(50, events, token=token)
    )
    assert seconds < RECOVERY


def test_wrong_key_for_spicedb_refuses_everybody_and_names_the_variable(
    installation, organization_path, token
):
    web = installation.start_web(FLOWX_LIB_CASCLIENT_SPICEDB_TOKEN="wrong")
    answers = web.calls(20, organization_path, token=token)
    report("SpiceDB with a wrong key", answers)
    assert all(map(refused_well, answers)), answers[0]
    assert max(answer.seconds for answer in answers) < LIMIT
    assert web.call("/org/api/env").body["status"] == "OK"
    assert web.call("/actuator/health/readiness").body["status"] == "UP"
    status, reason = web.component("authorization")
    assert status == "DOWN" and "FLOWX_LIB_CASCLIENT_SPICEDB_TOKEN" in reason
    web.stop()
