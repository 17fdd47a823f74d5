"""
Secrets at rest: sealed under a master key, bound to the row they belong to.

Every secret has a key of its own (DEK), and the master key seals only that one,
so a new master key means to reseal 32 bytes. The key is found by the id in the
token and never by trying: AES-GCM does not commit to a key.
"""

import base64
import binascii
import hmac
import os
from functools import lru_cache

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.core.signals import setting_changed
from django.utils.functional import LazyObject, empty
from django.views.decorators.debug import sensitive_variables

from .errors import Unavailable

DEFAULT_MASTER_KEY = "default-dev-key-change-in-prod"
SHORTEST_PASSPHRASE = 32  # characters

# One salt for all: enough for random keys, and it makes a passphrase no weaker
# than itself. A salt of the deployment is given where there is one.
SALT = b"orgmanager/master-key/v1"

_RAW = "base64:"  # starts a master key that is 32 random bytes
_FORMAT = 1
_VARIABLES = "LLM_ENCRYPTION_MASTER_KEY or LLM_ENCRYPTION_DECRYPT_ONLY_KEYS"

# Token: format, key id, nonce, sealed DEK, nonce, sealed secret.
_KEY_ID_SIZE = 8
_NONCE_SIZE = 12
_TAG_SIZE = 16
_DEK_SIZE = 32
_WRAPPED_SIZE = _NONCE_SIZE + _DEK_SIZE + _TAG_SIZE
_HEAD_SIZE = 1 + _KEY_ID_SIZE
_SHORTEST_TOKEN = _HEAD_SIZE + _WRAPPED_SIZE + _NONCE_SIZE + _TAG_SIZE


class SecretUnavailable(Unavailable):
    """A stored secret cannot be read with the keys that are configured."""

    code = "secret_unavailable"


class Secret:
    """
    A value that is shown as ``***`` wherever it ends up by mistake.

    It can be neither pickled nor written as JSON; only reveal() gives it away.
    """

    __slots__ = ("_value",)

    def __init__(self, value):
        self._value = value

    def reveal(self):
        """Return the value."""
        return self._value

    def __repr__(self):
        return "***"

    def __format__(self, specification):
        return format("***", specification)

    def __bool__(self):
        return bool(self._value)

    def __eq__(self, other):
        if not isinstance(other, Secret):
            return NotImplemented
        return hmac.compare_digest(_bytes(self._value), _bytes(other._value))

    __hash__ = None  # a hash in a log would tell equal secrets apart from others

    def __reduce_ex__(self, protocol):
        raise TypeError("A secret is not pickled.")


class Keyring:
    """
    One key that writes, and any number of older ones that only read.

    Raises: ImproperlyConfigured for a master key that cannot be one.
    """

    def __init__(self, master_key, decrypt_only=(), *, salt=SALT):
        """Shapes: keys: ``base64:`` and 32 bytes, or a passphrase."""
        self._primary = _key(master_key, salt)
        others = [_key(each, salt) for each in decrypt_only]
        self._keys = {key.id: key for key in [*others, self._primary]}

    def __repr__(self):
        return f"<Keyring {', '.join(sorted(self.key_ids))}>"

    @property
    def key_id(self):
        """The id of the key that writes: 16 hex digits that tell nothing."""
        return self._primary.id

    @property
    def key_ids(self):
        """The ids of all keys that read."""
        return frozenset(self._keys)

    @sensitive_variables("plain", "dek")
    def encrypt(self, plain, *, context):
        """
        Return ``plain`` sealed for ``context``: the same is needed to read it.

        Shapes: ``plain``: bytes; ``context``: non-empty tuple of str and bytes
        that names the row and the field, whatever must not be swapped.
        """
        bound = _packed(context)
        dek = AESGCM.generate_key(256)
        nonce = os.urandom(_NONCE_SIZE)
        sealed = nonce + AESGCM(dek).encrypt(nonce, plain, b"secret" + bound)
        return self._primary.head + self._primary.wrap(dek, bound) + sealed

    @sensitive_variables("dek")
    def decrypt(self, token, *, context):
        """
        Return the bytes that encrypt() was given.

        Raises: SecretUnavailable when no key has the token's id, or the token
        was changed or belongs to another context.
        """
        key, wrapped, sealed = self._opened(token)
        bound = _packed(context)
        try:
            dek = AESGCM(key.unwrap(wrapped, bound))
            nonce, body = sealed[:_NONCE_SIZE], sealed[_NONCE_SIZE:]
            return dek.decrypt(nonce, body, b"secret" + bound)
        except InvalidTag:
            raise _damaged(key.id) from None

    @sensitive_variables("dek")
    def reencrypt(self, token, *, context):
        """
        Return ``token`` under the key that writes; the secret itself stays sealed.

        A token that is under it already is returned as it is, unread.

        Raises: SecretUnavailable, as decrypt().
        """
        key, wrapped, sealed = self._opened(token)
        if key is self._primary:
            return bytes(token)
        bound = _packed(context)
        try:
            dek = key.unwrap(wrapped, bound)
        except InvalidTag:
            raise _damaged(key.id) from None
        return self._primary.head + self._primary.wrap(dek, bound) + sealed

    @sensitive_variables("value")
    def fingerprint(self, value, *, label):
        """
        Return a keyed hash of ``value``: equal for equal values, no more.

        It depends on the key that writes: use matches() for one that is stored.

        Shapes: ``value``: bytes or str; ``label``: str that keeps uses apart;
        64 hex digits.
        """
        return self._primary.fingerprint(value, label)

    @sensitive_variables("value")
    def matches(self, value, fingerprint, *, label):
        """Say whether ``fingerprint`` is of ``value``, under any of the keys."""
        return any(
            hmac.compare_digest(key.fingerprint(value, label), fingerprint)
            for key in self._keys.values()
        )

    def _opened(self, token):
        """Return the key and the two sealed parts of ``token``."""
        token = bytes(token)
        if len(token) < _SHORTEST_TOKEN or token[0] != _FORMAT:
            raise SecretUnavailable("A stored secret is not in a known format.")
        key = self._keys.get(token_key_id(token))
        if key is None:
            raise SecretUnavailable(
                f"A stored secret needs key {token_key_id(token)}; configured are "
                f"{', '.join(sorted(self.key_ids))}. Add that key to "
                "LLM_ENCRYPTION_DECRYPT_ONLY_KEYS."
            )
        end = _HEAD_SIZE + _WRAPPED_SIZE
        return key, token[_HEAD_SIZE:end], token[end:]


class _Key:
    """What is derived from one master key; the key itself is not kept."""

    def __init__(self, root):
        id = _derived(root, b"key-id", _KEY_ID_SIZE)
        self.id = id.hex()
        self.head = bytes([_FORMAT]) + id
        self._cipher = AESGCM(_derived(root, b"kek", 32))
        self._fingerprint_key = _derived(root, b"fingerprint", 32)

    def wrap(self, dek, bound):
        nonce = os.urandom(_NONCE_SIZE)
        return nonce + self._cipher.encrypt(nonce, dek, self.head + b"dek" + bound)

    def unwrap(self, wrapped, bound):
        nonce, body = wrapped[:_NONCE_SIZE], wrapped[_NONCE_SIZE:]
        return self._cipher.decrypt(nonce, body, self.head + b"dek" + bound)

    def fingerprint(self, value, label):
        message = _packed((label, value))
        return hmac.digest(self._fingerprint_key, message, "sha256").hex()


def token_key_id(token):
    """Return the id of the key that a token was written with."""
    return bytes(token[1:_HEAD_SIZE]).hex()


def derive(master_key, *, label, size=32):
    """
    Return ``size`` bytes for another use, independent of every other label's.

    Raises: ImproperlyConfigured for a master key that cannot be one.
    """
    return _derived(_root(master_key, SALT), b"derived/" + label.encode(), size)


def weakness(master_key):
    """Return what makes ``master_key`` unfit for production, or "" if nothing."""
    if master_key == DEFAULT_MASTER_KEY:
        return "is the default, which everybody knows"
    try:
        material = _raw(master_key)
    except ImproperlyConfigured:
        return f"starts with {_RAW} but is not 32 bytes in base64"
    if material is None and len(master_key) < SHORTEST_PASSPHRASE:
        return f"is a passphrase of fewer than {SHORTEST_PASSPHRASE} characters"
    if len(set(material or master_key)) < 8:
        return "repeats a few characters"
    return ""


@lru_cache(maxsize=16)
def _root(master_key, salt):
    """Return 32 bytes; a passphrase takes 0.1 s and 32 MiB once in a process."""
    material = _raw(master_key)
    if material is not None:
        return material
    if not master_key:
        raise ImproperlyConfigured(f"A key in {_VARIABLES} is empty.")
    scrypt = Scrypt(salt=salt, length=32, n=2**15, r=8, p=1)
    return scrypt.derive(master_key.encode())


def _raw(master_key):
    """Return the bytes of a ``base64:`` key, or None for a passphrase."""
    if not master_key.startswith(_RAW):
        return None
    try:
        material = base64.b64decode(master_key.removeprefix(_RAW), validate=True)
    except binascii.Error:
        material = b""
    if len(material) != 32:
        raise ImproperlyConfigured(
            f"A key in {_VARIABLES} starts with {_RAW} and does not go on with exactly "
            "32 bytes in base64. Make one with: openssl rand -base64 32"
        )
    return material


def _key(master_key, salt):
    return _Key(_root(master_key, salt))


def _derived(root, label, size):
    info = b"orgmanager/" + label
    return HKDF(algorithm=SHA256(), length=size, salt=None, info=info).derive(root)


def _packed(parts):
    """Return ``parts`` as bytes that no other parts give: each with its length."""
    if not isinstance(parts, tuple) or not parts:
        raise TypeError("A context is a tuple of at least one str or bytes.")
    packed = bytearray()
    for part in parts:
        part = _bytes(part)
        packed += len(part).to_bytes(4, "big") + part
    return bytes(packed)


def _bytes(value):
    if isinstance(value, str):
        return value.encode()
    if isinstance(value, bytes):
        return value
    raise TypeError(f"str or bytes are needed, not {type(value).__name__}.")


def _damaged(key_id):
    return SecretUnavailable(
        f"A stored secret of key {key_id} was changed, or belongs to another row."
    )


class _DefaultKeyring(LazyObject):
    """The keyring of the settings, made on first use."""

    def _setup(self):
        self._wrapped = Keyring(settings.MASTER_KEY, settings.DECRYPT_ONLY_KEYS)


keyring = _DefaultKeyring()


def _reset(*, setting, **kwargs):
    if setting in {"MASTER_KEY", "DECRYPT_ONLY_KEYS"}:
        keyring._wrapped = empty


setting_changed.connect(_reset)
