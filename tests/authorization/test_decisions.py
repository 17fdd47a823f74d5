import threading

import pytest

from orgmanager.authorization.backends import local
from orgmanager.authorization.backends.base import Relationship
from orgmanager.authorization.decisions import LIFETIME, Decisions, decisions
from orgmanager.authorization.schema import ORGANIZATION, USER
from orgmanager.errors import Rejected, Unavailable

GIVEN = Relationship(ORGANIZATION, "o", "member", USER, "u")
QUESTION = {
    "subject": "u",
    "permission": "org_read",
    "resource_type": ORGANIZATION,
    "resource_id": "o",
}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "authorization.sqlite3"


@pytest.fixture
def engine(path):
    engine = local.Authorization(path=path)
    engine.ensure_schema()
    return engine


@pytest.fixture
def clock():
    """A clock that a test moves: call it for the time, add to ``[0]``."""
    now = [1_000.0]
    return now, lambda: now[0]


@pytest.fixture
def make_decisions(engine, clock):
    return lambda **options: Decisions(engine, clock=clock[1], **options)


def take_away(path):
    """Put the engine out of reach until the directory is removed again."""
    path.rename(path.with_suffix(".aside"))
    path.mkdir()


def bring_back(path):
    path.rmdir()
    path.with_suffix(".aside").rename(path)


def test_yes_is_reused_while_the_engine_is_down(make_decisions, engine, path):
    decisions = make_decisions()
    engine.write(touch=[GIVEN])
    assert decisions.is_allowed(**QUESTION, generation=1)
    take_away(path)
    assert decisions.is_allowed(**QUESTION, generation=1)


def test_yes_is_not_reused_under_another_generation(make_decisions, engine):
    """Fails when a revocation does not hold on the very next request."""
    decisions = make_decisions()
    engine.write(touch=[GIVEN])
    assert decisions.is_allowed(**QUESTION, generation=1)
    engine.write(delete=[GIVEN])
    assert not decisions.is_allowed(**QUESTION, generation=2)
    assert not decisions.is_allowed(**QUESTION, generation=1)


def test_yes_is_reused_until_its_lifetime_ends(make_decisions, engine, clock):
    decisions = make_decisions()
    now, _ = clock
    engine.write(touch=[GIVEN])
    assert decisions.is_allowed(**QUESTION, generation=1)
    engine.write(delete=[GIVEN])
    now[0] += LIFETIME - 0.001
    assert decisions.is_allowed(**QUESTION, generation=1)
    now[0] += 0.001
    assert not decisions.is_allowed(**QUESTION, generation=1)


def test_reuse_does_not_lengthen_a_lifetime(make_decisions, engine, clock):
    decisions = make_decisions()
    now, _ = clock
    engine.write(touch=[GIVEN])
    assert decisions.is_allowed(**QUESTION, generation=1)
    engine.write(delete=[GIVEN])
    for _ in range(3):
        now[0] += LIFETIME / 3 - 0.1
        assert decisions.is_allowed(**QUESTION, generation=1)
    now[0] += 1
    assert not decisions.is_allowed(**QUESTION, generation=1)


def test_no_is_asked_again(make_decisions, engine):
    """Fails when somebody who was just invited stays out for a minute."""
    decisions = make_decisions()
    assert not decisions.is_allowed(**QUESTION, generation=1)
    engine.write(touch=[GIVEN])
    assert decisions.is_allowed(**QUESTION, generation=1)


@pytest.mark.parametrize(
    "other",
    [
        {"subject": "another"},
        {"permission": "org_edit"},
        {"resource_id": "another"},
        {"resource_type": "orgmanager/platform", "permission": "platform_health_read"},
    ],
)
def test_yes_is_of_no_use_to_another_question(make_decisions, engine, other):
    decisions = make_decisions()
    engine.write(touch=[GIVEN])
    assert decisions.is_allowed(**QUESTION, generation=1)
    assert not decisions.is_allowed(**QUESTION | other, generation=1)


def test_unavailable_is_raised_and_not_remembered(make_decisions, engine, path):
    decisions = make_decisions()
    engine.write(touch=[GIVEN])
    take_away(path)
    for _ in range(2):
        with pytest.raises(Unavailable):
            decisions.is_allowed(**QUESTION, generation=1)
    bring_back(path)
    assert decisions.is_allowed(**QUESTION, generation=1)


def test_expired_yes_is_not_reused_while_the_engine_is_down(
    make_decisions, engine, clock, path
):
    """Fails when an outage makes a yes that the engine did not give."""
    decisions = make_decisions()
    engine.write(touch=[GIVEN])
    assert decisions.is_allowed(**QUESTION, generation=1)
    take_away(path)
    clock[0][0] += LIFETIME
    with pytest.raises(Unavailable):
        decisions.is_allowed(**QUESTION, generation=1)


def test_malformed_question_is_rejected(make_decisions):
    with pytest.raises(Rejected):
        make_decisions().is_allowed(**QUESTION | {"permission": "x"}, generation=1)


def test_full_cache_forgets_what_was_used_longest_ago(make_decisions, engine, path):
    decisions = make_decisions(capacity=2)
    users = ["a", "b", "c"]
    engine.write(touch=[GIVEN._replace(subject_id=user) for user in users])
    for user in ("a", "b", "a", "c"):
        assert decisions.is_allowed(**QUESTION | {"subject": user}, generation=1)
    take_away(path)
    for user in ("a", "c"):
        assert decisions.is_allowed(**QUESTION | {"subject": user}, generation=1)
    with pytest.raises(Unavailable):
        decisions.is_allowed(**QUESTION | {"subject": "b"}, generation=1)


def test_many_threads_share_the_cache_without_a_wrong_answer(make_decisions, engine):
    decisions = make_decisions(capacity=3)
    members, strangers = [f"m{n}" for n in range(5)], [f"s{n}" for n in range(5)]
    engine.write(touch=[GIVEN._replace(subject_id=user) for user in members])
    wrong = []

    def ask(user):
        for generation in range(20):
            answer = decisions.is_allowed(
                **QUESTION | {"subject": user}, generation=generation // 10
            )
            if answer != (user in members):
                wrong.append(user)

    threads = [threading.Thread(target=ask, args=[u]) for u in members + strangers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_clear_forgets_every_answer(make_decisions, engine):
    decisions = make_decisions()
    engine.write(touch=[GIVEN])
    assert decisions.is_allowed(**QUESTION, generation=1)
    engine.write(delete=[GIVEN])
    decisions.clear()
    assert not decisions.is_allowed(**QUESTION, generation=1)


def test_another_engine_in_the_settings_starts_without_answers(
    settings, engine, path, tmp_path
):
    engine.write(touch=[GIVEN])
    backend = "orgmanager.authorization.backends.local.Authorization"
    settings.AUTHORIZATION = {"BACKEND": backend, "path": path}
    assert decisions.is_allowed(**QUESTION, generation=1)
    other = tmp_path / "other.sqlite3"
    local.Authorization(path=other).ensure_schema()
    settings.AUTHORIZATION = {"BACKEND": backend, "path": other}
    assert not decisions.is_allowed(**QUESTION, generation=1)
