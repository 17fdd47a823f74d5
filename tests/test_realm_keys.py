"""Keys are at hand when they should be, and gone when they should be gone."""

import json
import threading
from concurrent.futures import ThreadPoolExecutor, wait

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from orgmanager import realm_keys as module
from orgmanager.errors import Rejected, Unavailable
from orgmanager.realm_keys import RealmKeys, UnknownKey

KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)


def make_jwk(key_id, **changes):
    jwk = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(KEY.public_key()))
    jwk.pop("key_ops", None)
    jwk |= {"kid": key_id, "alg": "RS256", "use": "sig", **changes}
    return {name: value for name, value in jwk.items() if value is not ...}


@pytest.fixture
def provider():
    """Answer for every realm with ``answer``, and remember who was asked about."""
    return make_provider()


def make_provider():
    asked = []

    def fetch(realm):
        asked.append(realm)
        if (hold := fetch.hold) is not None:
            hold.wait(10)
        if isinstance(fetch.answer, Exception):
            raise fetch.answer
        return fetch.answer

    fetch.asked, fetch.hold = asked, None
    fetch.answer = {"keys": [make_jwk("a")]}
    return fetch


@pytest.fixture
def keys(provider, clock):
    return RealmKeys(provider, clock=clock)


def settle(keys, realm="r"):
    """Wait for the fetch that is under way behind the callers' backs."""
    keys._known(realm).fetching.result(10)


def is_known(keys, key_id, realm="r"):
    try:
        return keys.find(realm, key_id).key_id == key_id
    except UnknownKey:
        return False


def test_find_fetches_once_and_keeps_realms_apart(keys, provider):
    assert keys.find("r", "a").algorithm_name == "RS256"
    assert is_known(keys, "a") and is_known(keys, "a")
    assert provider.asked == ["r"]
    assert is_known(keys, "a", realm="s")
    assert provider.asked == ["r", "s"]


def test_find_unknown_key_asks_again_at_most_every_five_seconds(keys, provider, clock):
    assert is_known(keys, "a")
    for _ in range(100):
        assert not is_known(keys, "x")
        assert not is_known(keys, "../../x")
    assert len(provider.asked) == 1
    for count in range(2, 5):
        clock.now += module.RETRY_INTERVAL
        for _ in range(100):
            assert not is_known(keys, "x")
        assert len(provider.asked) == count


def test_find_new_key_is_found_at_once_after_a_quiet_moment(keys, provider, clock):
    assert is_known(keys, "a")
    provider.answer = {"keys": [make_jwk("a"), make_jwk("b")]}
    clock.now += module.RETRY_INTERVAL
    assert is_known(keys, "b") and is_known(keys, "a")
    assert len(provider.asked) == 2


def test_find_removed_key_is_gone_after_its_lifespan(keys, provider, clock):
    assert is_known(keys, "a")
    provider.answer = {"keys": [make_jwk("b")]}
    clock.now += module.MAX_AGE
    assert not is_known(keys, "a")
    assert is_known(keys, "b")


def test_find_known_key_is_renewed_without_waiting(keys, provider, clock):
    assert is_known(keys, "a")
    provider.hold = threading.Event()
    clock.now += module.REFRESH_AGE
    assert is_known(keys, "a")
    assert not keys._known("r").fetching.done()
    provider.hold.set()
    settle(keys)
    assert len(provider.asked) == 2
    clock.now += module.REFRESH_AGE - 1
    assert is_known(keys, "a")
    assert len(provider.asked) == 2


def test_find_known_key_goes_on_while_the_provider_is_down(keys, provider, clock):
    assert is_known(keys, "a")
    provider.answer = Unavailable("down")
    for _ in range(11):
        clock.now += module.MAX_AGE
        assert is_known(keys, "a")
        settle(keys)
    assert len(provider.asked) == 12
    clock.now += module.MAX_AGE
    with pytest.raises(Unavailable, match="could not be had"):
        keys.find("r", "a")
    provider.answer = {"keys": [make_jwk("a")]}
    clock.now += module.RETRY_INTERVAL
    assert is_known(keys, "a")


def test_find_unknown_key_while_the_provider_is_down_is_unknown(keys, provider, clock):
    """Not Unavailable: the realm's keys are known, and a flood must cost nothing."""
    assert is_known(keys, "a")
    provider.answer = Unavailable("down")
    for _ in range(3):
        clock.now += module.RETRY_INTERVAL
        assert not is_known(keys, "x")
        settle(keys)


def test_find_without_any_key_is_unavailable_each_time(keys, provider, clock):
    provider.answer = Unavailable("down")
    for _ in range(3):
        with pytest.raises(Unavailable) as refusal:
            keys.find("r", "a")
        assert refusal.value.__cause__ is None
    assert len(provider.asked) == 1


def test_find_in_a_realm_that_the_provider_refuses_is_unknown(keys, provider):
    provider.answer = Rejected("no such realm")
    assert not is_known(keys, "a")


def test_find_waits_for_a_silent_provider_only_so_long(keys, provider, monkeypatch):
    monkeypatch.setattr(module, "PATIENCE", 0.05)
    provider.hold = threading.Event()
    with pytest.raises(Unavailable):
        keys.find("r", "a")
    assert len(provider.asked) == 1
    provider.hold.set()
    settle(keys)
    assert is_known(keys, "a")


def test_find_by_many_threads_fetches_once(keys, provider):
    provider.hold = threading.Event()
    with ThreadPoolExecutor(8) as pool:
        found = [pool.submit(is_known, keys, "a") for _ in range(8)]
        provider.hold.set()
        assert all(future.result() for future in found)
    assert len(provider.asked) == 1


def test_find_known_key_does_not_wait_for_somebody_elses_fetch(
    keys, provider, clock, monkeypatch
):
    """Fails when a lock is held during the fetch: is_known() would never return."""
    monkeypatch.setattr(module, "PATIENCE", 10)
    assert is_known(keys, "a") and is_known(keys, "a", realm="s")
    clock.now += module.RETRY_INTERVAL
    provider.hold = threading.Event()
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(is_known, keys, "x")
        while len(provider.asked) < 3:
            assert is_known(keys, "a")
        assert is_known(keys, "a") and is_known(keys, "a", realm="s")
        assert not waiting.done()
        provider.hold.set()
        assert waiting.result() is False


def test_find_beyond_some_callers_waits_only_briefly(
    keys, provider, clock, monkeypatch
):
    """Fails when unknown keys can take every thread for as long as a fetch lasts."""
    monkeypatch.setattr(module, "PATIENCE", 30)
    monkeypatch.setattr(module, "BRIEF_PATIENCE", 0.01)
    assert is_known(keys, "a")
    clock.now += module.RETRY_INTERVAL
    provider.hold = threading.Event()
    callers = module.MAX_WAITING + 5
    with ThreadPoolExecutor(callers) as pool:
        asking = [pool.submit(is_known, keys, "x") for _ in range(callers)]
        done, waiting = wait(asking, timeout=1)
        assert len(waiting) == module.MAX_WAITING
        for each in done:
            with pytest.raises(Unavailable, match="being asked for newer keys"):
                each.result()
        assert is_known(keys, "a")
        provider.answer = {"keys": [make_jwk("a"), make_jwk("x")]}
        provider.hold.set()
        assert all(each.result() for each in waiting)
    assert len(provider.asked) == 2


@pytest.mark.parametrize(
    "answer",
    [
        {"keys": []},
        {"keys": [make_jwk("a", use="enc", alg="RSA-OAEP")]},
        {"keys": "a"},
        {"keys": ["a", None]},
        {"keys": None},
        {},
        [],
        None,
        "<html>",
    ],
)
def test_find_answer_without_keys_does_not_replace_good_ones(
    keys, provider, clock, answer
):
    assert is_known(keys, "a")
    provider.answer = answer
    clock.now += module.MAX_AGE
    assert is_known(keys, "a")
    clock.now += module.MAX_AGE_ON_ERROR
    with pytest.raises(Unavailable):
        keys.find("r", "a")


def test_find_passes_over_what_does_not_sign_tokens(keys, provider):
    elliptic = ec.generate_private_key(ec.SECP256R1())
    curve = json.loads(jwt.algorithms.ECAlgorithm.to_jwk(elliptic.public_key()))
    provider.answer = {
        "keys": [
            make_jwk("enc", use="enc", alg="RSA-OAEP"),
            make_jwk("enc that signs", use="enc"),
            make_jwk("no use", use=...),
            make_jwk("other algorithm", alg="RS512"),
            make_jwk("no RSA", n="!"),
            make_jwk("private", d="AQAB"),
            make_jwk(7),
            {
                "kid": "secret",
                "kty": "oct",
                "k": "c2VjcmV0",
                "alg": "HS256",
                "use": "sig",
            },
            {"kid": "none", "kty": "oct", "k": "", "alg": "none", "use": "sig"},
            {**curve, "kid": "elliptic", "alg": "ES256", "use": "sig"},
            make_jwk("no algorithm", alg=...),
            make_jwk("pss", alg="PS256"),
        ]
    }
    known = {
        key["kid"] for key in provider.answer["keys"] if is_known(keys, key["kid"])
    }
    assert known == {"elliptic", "no algorithm", "pss"}
    assert keys.find("r", "elliptic").algorithm_name == "ES256"
    assert keys.find("r", "no algorithm").algorithm_name == "RS256"


def test_find_takes_so_many_keys_of_a_realm_and_no_more(keys, provider):
    provider.answer = {"keys": [make_jwk(str(n)) for n in range(module.MAX_KEYS + 1)]}
    assert is_known(keys, str(module.MAX_KEYS - 1))
    assert not is_known(keys, str(module.MAX_KEYS))


def test_find_forgets_the_realm_that_was_not_used_longest(keys, provider, monkeypatch):
    monkeypatch.setattr(module, "MAX_REALMS", 2)
    for realm in ("r", "s", "r", "t", "r"):
        assert is_known(keys, "a", realm=realm)
    assert provider.asked == ["r", "s", "t"]
    assert is_known(keys, "a", realm="s")
    assert provider.asked == ["r", "s", "t", "s"]
