"""
The public keys of realms, kept in the process.

A key set is fetched when it is old or lacks a key, by one thread per realm; few
callers wait a second for it, the others a moment, and nobody at all who holds a key
that will do. While the identity provider is down the last good set goes on, for an
hour.
"""

import logging
import threading
import time
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor, wait

import jwt
from django.conf import settings
from django.core.signals import setting_changed

from .errors import Rejected, Unavailable
from .identity import identity

logger = logging.getLogger(__name__)

REFRESH_AGE = 240  # seconds: from here on a set is renewed behind the callers' backs
MAX_AGE = 300  # seconds: from here on a caller waits for a newer set
MAX_AGE_ON_ERROR = 3_600  # seconds: from here on a set is of no use
RETRY_INTERVAL = 5  # seconds between two fetches of one realm
PATIENCE = 1.0  # seconds that a caller waits for a fetch
BRIEF_PATIENCE = 0.1  # seconds, once MAX_WAITING do; what is well answers within it
MAX_WAITING = max(1, settings.WEB_THREADS // 2)  # so that others find a thread free
MAX_REALMS = 1_000
MAX_KEYS = 32  # of one realm
MAX_FETCHES = 8  # at a time, over all realms

ALGORITHMS = frozenset({"RS256", "PS256", "ES256"})


class UnknownKey(Exception):
    """The realm's keys are known, and this is none of them."""


class RealmKeys:
    """
    Cache of the signing keys of realms; ask only about realms that exist.

    Shapes: ``fetch``: callable(realm) -> {"keys": [...]}, failing as BaseIdentity.
    Units: ``clock`` counts seconds.
    """

    def __init__(self, fetch, *, clock=time.monotonic):
        self._fetch = fetch
        self._clock = clock
        self._realms = OrderedDict()  # least recently used first
        self._lock = threading.Lock()  # guards _realms, never held while waiting
        self._places = threading.BoundedSemaphore(MAX_WAITING)
        # Starts no thread before the first fetch, which is after any fork.
        self._pool = ThreadPoolExecutor(MAX_FETCHES, thread_name_prefix="realm-keys")

    def clear(self):
        """Forget every key."""
        with self._lock:
            self._realms.clear()

    def find(self, realm, key_id):
        """
        Return the key ``key_id`` of ``realm``.

        Shapes: a jwt.PyJWK whose algorithm is one of ALGORITHMS.
        Raises: UnknownKey; Unavailable when no key of the realm is known at all and
        the identity provider does not answer, or when it has not answered yet.
        """
        known = self._known(realm)
        key = known.find(key_id, self._clock())
        if key is None or known.age(self._clock()) >= REFRESH_AGE:
            fetching = self._refresh(realm, known)
            if fetching and (key is None or known.age(self._clock()) >= MAX_AGE):
                self._wait(fetching, known.patience(self._clock()))
            key = known.find(key_id, self._clock())
        if key is not None:
            return key
        if known.usable(self._clock()) or known.is_refused:
            if known.is_open():  # a no would be a guess: the key may be a new one
                raise Unavailable(
                    f"The identity provider is being asked for newer keys of realm "
                    f"{realm}. Try again in a moment."
                )
            raise UnknownKey
        raise Unavailable(
            f"The keys of realm {realm} could not be had from the identity provider, "
            "so no token of it can be checked. Try again in a moment."
        )

    def _wait(self, fetching, patience):
        has_place = self._places.acquire(blocking=False)
        try:
            wait([fetching], patience if has_place else min(patience, BRIEF_PATIENCE))
        finally:
            if has_place:
                self._places.release()

    def _known(self, realm):
        with self._lock:
            known = self._realms.setdefault(realm, _KnownKeys())
            self._realms.move_to_end(realm)
            if len(self._realms) > MAX_REALMS:
                self._realms.popitem(last=False)
        return known

    def _refresh(self, realm, known):
        """Return the fetch that is under way, begun if need be; None if too soon."""
        with known.lock:
            if known.fetching is not None and not known.fetching.done():
                return known.fetching
            now = self._clock()
            if known.tried_at is not None and now - known.tried_at < RETRY_INTERVAL:
                return None
            known.tried_at = now
            known.fetching = self._pool.submit(self._renew, realm, known)
            return known.fetching

    def _renew(self, realm, known):
        try:
            keys = _signing_keys(self._fetch(realm))
        except Rejected as error:
            # There is no such realm: no reason to ask people to wait.
            known.fail(is_refused=True)
            logger.warning("The keys of realm %s were refused: %s", realm, error)
        except Unavailable as error:
            known.fail(is_refused=False)
            logger.warning("The keys of realm %s were not renewed: %s", realm, error)
        except Exception:
            # Nobody looks at the result, so a bug would go unseen.
            known.fail(is_refused=False)
            logger.exception("The keys of realm %s were not renewed.", realm)
        else:
            known.replace(keys, self._clock())


class _KnownKeys:
    """What is known of a realm; replaced as a whole, so that reading needs no lock."""

    def __init__(self):
        self.lock = threading.Lock()  # guards the start of a fetch
        self.fetching = None
        self.tried_at = None
        self.is_failing = False
        self.is_refused = False
        self._keys_and_time = {}, None

    def replace(self, keys, now):
        self._keys_and_time = keys, now
        self.is_failing = self.is_refused = False

    def fail(self, *, is_refused):
        self.is_refused = is_refused
        self.is_failing = True

    def find(self, key_id, now):
        keys, _ = self._keys_and_time
        return keys.get(key_id) if self.usable(now) else None

    def age(self, now):
        _, fetched_at = self._keys_and_time
        return float("inf") if fetched_at is None else now - fetched_at

    def usable(self, now):
        return self.age(now) < MAX_AGE_ON_ERROR

    def is_open(self):
        """Say whether an answer is under way that may well come."""
        fetching = self.fetching
        return bool(fetching) and not fetching.done() and not self.is_failing

    def patience(self, now):
        """Return how long to wait: not at all for what has just failed to come."""
        return 0 if self.is_failing and self.usable(now) else PATIENCE


def _signing_keys(key_set):
    """
    Return {key id: key} of what may sign tokens; the rest is passed over.

    Raises: Unavailable when nothing is left, so that a broken answer does not
    replace a good one.
    """
    candidates = key_set["keys"][:MAX_KEYS]
    keys = {key.key_id: key for key in map(_signing_key, candidates) if key}
    if not keys:
        raise Unavailable("The identity provider listed no key that signs tokens.")
    return keys


def _signing_key(candidate):
    """Return the key of one JWK, or None when it is of no use."""
    if not isinstance(candidate, dict) or candidate.get("use") != "sig":
        return None
    if not isinstance(candidate.get("kid"), str) or "d" in candidate:
        return None
    if candidate.get("alg", "RS256") not in ALGORITHMS:
        return None
    try:
        key = jwt.PyJWK(candidate)
    except (jwt.PyJWTError, ValueError, TypeError, NotImplementedError):
        return None  # one odd key must not hide the others
    return key if key.algorithm_name in ALGORITHMS else None


realm_keys = RealmKeys(lambda realm: identity.jwks(realm))


def _clear(*, setting, **kwargs):
    if setting == "IDENTITY":
        realm_keys.clear()


setting_changed.connect(_clear)
