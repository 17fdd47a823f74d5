import base64
import json
import logging
import os
import pickle
import random
import uuid

import pytest
from django.core.exceptions import ImproperlyConfigured

from orgmanager import keyring as keyring_module
from orgmanager.keyring import (
    DEFAULT_MASTER_KEY,
    Keyring,
    Secret,
    SecretUnavailable,
    derive,
    token_key_id,
    weakness,
)

CANARY = b"sk-canary-4f1c9a"
CONTEXT = ("llmproviders.providerkey", "organization-1", "provider-1", "secret")


def make_master_key():
    return "base64:" + base64.b64encode(os.urandom(32)).decode()


@pytest.fixture
def keyring():
    return Keyring(make_master_key())


@pytest.mark.parametrize("plain", [b"", b"x", CANARY, bytes(range(256)) * 100])
def test_decrypt_own_token_returns_the_plain_bytes(keyring, plain):
    token = keyring.encrypt(plain, context=CONTEXT)
    assert keyring.decrypt(token, context=CONTEXT) == plain


def test_encrypt_twice_gives_tokens_that_share_only_format_and_key_id(keyring):
    first, second = (keyring.encrypt(CANARY, context=CONTEXT) for _ in range(2))
    assert first[:9] == second[:9]
    assert token_key_id(first) == keyring.key_id
    assert first[9:69] != second[9:69] and first[69:] != second[69:]
    assert CANARY not in first


def test_decrypt_token_as_memoryview_returns_the_plain_bytes(keyring):
    """PostgreSQL's driver hands out binary columns like this."""
    token = memoryview(keyring.encrypt(CANARY, context=CONTEXT))
    assert keyring.decrypt(token, context=CONTEXT) == CANARY


def test_decrypt_with_any_bit_flipped_is_refused(keyring):
    token = keyring.encrypt(CANARY, context=CONTEXT)
    for position in range(len(token) * 8):
        changed = bytearray(token)
        changed[position // 8] ^= 1 << position % 8
        with pytest.raises(SecretUnavailable):
            keyring.decrypt(bytes(changed), context=CONTEXT)


def test_decrypt_cut_or_lengthened_token_is_refused(keyring):
    token = keyring.encrypt(CANARY, context=CONTEXT)
    for length in range(len(token)):
        with pytest.raises(SecretUnavailable):
            keyring.decrypt(token[:length], context=CONTEXT)
    with pytest.raises(SecretUnavailable):
        keyring.decrypt(token + b"\0", context=CONTEXT)


def test_decrypt_parts_of_two_tokens_of_one_context_is_refused(keyring):
    first, second = (keyring.encrypt(CANARY, context=CONTEXT) for _ in range(2))
    for cut in (21, 69, 81):
        with pytest.raises(SecretUnavailable, match=keyring.key_id):
            keyring.decrypt(first[:cut] + second[cut:], context=CONTEXT)


def test_decrypt_under_any_other_context_is_refused(keyring):
    """Fails when the parts of a context are joined without their lengths."""
    token = keyring.encrypt(CANARY, context=("ab", "c", "d"))
    others = [
        ("a", "bc", "d"),
        ("ab", "cd"),
        ("abc", "d"),
        ("ab", "c", "d", ""),
        ("", "ab", "c", "d"),
        ("ab", "d", "c"),
        ("AB", "c", "d"),
        ("ab", "c", "d\0"),
    ]
    for context in others:
        with pytest.raises(SecretUnavailable, match="another row"):
            keyring.decrypt(token, context=context)


def test_decrypt_under_a_random_context_is_refused_every_time(keyring):
    chance = random.Random(7)
    for _ in range(500):
        context, other = (
            tuple(
                "".join(chance.choices("ab\0", k=chance.randrange(3)))
                for _ in range(chance.randrange(1, 4))
            )
            for _ in range(2)
        )
        token = keyring.encrypt(CANARY, context=context)
        assert keyring.decrypt(token, context=context) == CANARY
        if other != context:
            with pytest.raises(SecretUnavailable):
                keyring.decrypt(token, context=other)


@pytest.mark.parametrize("context", ["text", (), (1,), (None,), (uuid.uuid4(),)])
def test_encrypt_under_a_context_that_binds_nothing_is_a_type_error(keyring, context):
    with pytest.raises(TypeError):
        keyring.encrypt(CANARY, context=context)


def test_decrypt_only_key_reads_and_never_writes():
    old, new = make_master_key(), make_master_key()
    token = Keyring(old).encrypt(CANARY, context=CONTEXT)
    both = Keyring(new, [old])
    assert both.decrypt(token, context=CONTEXT) == CANARY
    assert token_key_id(both.encrypt(CANARY, context=CONTEXT)) == Keyring(new).key_id
    assert both.key_ids == {Keyring(old).key_id, Keyring(new).key_id}


def test_reencrypt_moves_a_token_to_the_key_that_writes():
    old, new = make_master_key(), make_master_key()
    token = Keyring(old).encrypt(CANARY, context=CONTEXT)
    moved = Keyring(new, [old]).reencrypt(token, context=CONTEXT)
    assert Keyring(new).decrypt(moved, context=CONTEXT) == CANARY
    assert moved[69:] == token[69:]  # the secret itself was not unsealed
    assert Keyring(new).reencrypt(moved, context=CONTEXT) == moved


def test_reencrypt_under_another_context_is_refused():
    old, new = make_master_key(), make_master_key()
    token = Keyring(old).encrypt(CANARY, context=CONTEXT)
    with pytest.raises(SecretUnavailable):
        Keyring(new, [old]).reencrypt(token, context=("another",))


def test_decrypt_with_unknown_key_names_key_ids_and_nothing_else():
    old, new = make_master_key(), make_master_key()
    token = Keyring(old).encrypt(CANARY, context=CONTEXT)
    with pytest.raises(SecretUnavailable, match=Keyring(old).key_id) as caught:
        Keyring(new).decrypt(token, context=CONTEXT)
    assert Keyring(new).key_id in str(caught.value)
    assert old not in str(caught.value) and new not in str(caught.value)
    assert caught.value.code == "secret_unavailable"


def test_decrypt_with_one_key_id_and_another_key_is_refused(keyring):
    """Fails when a key is tried although the token names another one."""
    other = Keyring(make_master_key())
    token = other.encrypt(CANARY, context=CONTEXT)
    disguised = token[:1] + bytes.fromhex(keyring.key_id) + token[9:]
    with pytest.raises(SecretUnavailable, match=keyring.key_id):
        keyring.decrypt(disguised, context=CONTEXT)


def test_same_passphrase_and_salt_give_the_same_key():
    passphrase = "correct horse battery staple, and more"
    token = Keyring(passphrase).encrypt(CANARY, context=CONTEXT)
    assert Keyring(passphrase).decrypt(token, context=CONTEXT) == CANARY
    assert (
        Keyring(passphrase, salt=b"of this site").key_id != Keyring(passphrase).key_id
    )


@pytest.mark.parametrize(
    "master_key",
    ["", "base64:", "base64:AAAA", "base64:" + "A" * 43, "base64:!" + "A" * 43],
)
def test_malformed_master_key_is_refused_without_being_shown(master_key):
    with pytest.raises(ImproperlyConfigured, match="LLM_ENCRYPTION") as caught:
        Keyring(master_key)
    assert master_key == "" or "AAA" not in str(caught.value)


@pytest.mark.parametrize(
    ("master_key", "reason"),
    [
        (DEFAULT_MASTER_KEY, "everybody knows"),
        ("short", "fewer than 32"),
        ("a" * 40, "repeats"),
        ("base64:" + base64.b64encode(bytes(32)).decode(), "repeats"),
        ("base64:AAAA", "not 32 bytes"),
    ],
)
def test_weakness_of_an_unfit_key_says_why(master_key, reason):
    assert reason in weakness(master_key)


def test_weakness_of_a_fit_key_is_empty():
    assert weakness(make_master_key()) == ""
    assert weakness("correct horse battery staple, and more") == ""


def test_fingerprint_depends_on_value_label_and_key(keyring):
    found = keyring.fingerprint("value", label="idempotency")
    assert found == keyring.fingerprint(b"value", label="idempotency")
    assert len(found) == 64
    others = {
        keyring.fingerprint("other", label="idempotency"),
        keyring.fingerprint("value", label="provider-key"),
        keyring.fingerprint("yvalue", label="idempotenc"),
        Keyring(make_master_key()).fingerprint("value", label="idempotency"),
    }
    assert found not in others and len(others) == 4


def test_matches_a_fingerprint_of_an_older_key():
    old, new = make_master_key(), make_master_key()
    stored = Keyring(old).fingerprint("value", label="x")
    assert Keyring(new, [old]).matches("value", stored, label="x")
    assert not Keyring(new, [old]).matches("other", stored, label="x")
    assert not Keyring(new).matches("value", stored, label="x")


def test_derive_gives_each_label_bytes_of_its_own():
    master_key = make_master_key()
    found = derive(master_key, label="django-secret-key", size=50)
    assert len(found) == 50
    assert found == derive(master_key, label="django-secret-key", size=50)
    assert found[:32] != derive(master_key, label="another")


def test_default_keyring_follows_the_settings(settings):
    settings.MASTER_KEY, settings.DECRYPT_ONLY_KEYS = make_master_key(), []
    old_id = keyring_module.keyring.key_id
    token = keyring_module.keyring.encrypt(CANARY, context=CONTEXT)
    settings.DECRYPT_ONLY_KEYS = [settings.MASTER_KEY]
    settings.MASTER_KEY = make_master_key()
    assert keyring_module.keyring.key_id != old_id
    assert keyring_module.keyring.decrypt(token, context=CONTEXT) == CANARY


@pytest.mark.parametrize("value", ["sk-canary", b"sk-canary"])
def test_secret_is_shown_nowhere_but_by_reveal(value, caplog):
    secret = Secret(value)
    with caplog.at_level(logging.DEBUG):
        logging.getLogger("test").debug("%s %r %s", secret, secret, {"key": secret})
    shown = f"{secret} {secret!r} {secret:>5} {[secret]} {caplog.text}"
    assert "canary" not in shown and "***" in shown
    assert secret.reveal() == value
    for leak in (json.dumps, pickle.dumps, vars, hash):
        with pytest.raises(TypeError):
            leak(secret)


def test_secret_equals_a_secret_of_the_same_value_only():
    assert Secret("a") == Secret("a") != Secret("b")
    assert Secret("a") != "a"
    assert Secret("a") and not Secret("")


def test_canary_is_in_no_token_error_repr_or_log(keyring, caplog):
    with caplog.at_level(logging.DEBUG):
        token = keyring.encrypt(CANARY, context=CONTEXT)
        with pytest.raises(SecretUnavailable) as caught:
            keyring.decrypt(token, context=("another",))
        keyring.decrypt(token, context=CONTEXT)
    shown = f"{token!r} {keyring!r} {caught.value!r} {caught.value} {caplog.text}"
    assert CANARY.decode() not in shown
    assert caught.value.__cause__ is None
