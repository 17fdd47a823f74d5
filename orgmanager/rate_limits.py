"""
Limits on failures: who guesses tokens or passwords is soon told to wait.

Successes are not counted, so an operator's script is never stopped by its own
good work. Counters live in the cache, and in the process while that is down.
"""

import logging
import re
import time
from typing import NamedTuple

from django.conf import settings
from django.core.cache import cache

from .problems import problem_response

logger = logging.getLogger(__name__)

EVERYBODY = "*"


class Limit(NamedTuple):
    """
    At most ``count`` answers of ``statuses`` per ``window`` seconds.

    ``shared`` counts all addresses together.
    """

    name: str
    method: str
    path: re.Pattern
    statuses: frozenset
    count: int
    window: int
    shared: bool = False


_ANY = re.compile(r"/(org/)?api/|/realms/")
_REGISTRATION = re.compile(r"/(org/)?api/org/single/?\Z")

LIMITS = (
    Limit("registration", "POST", _REGISTRATION, frozenset({400}), 5, 60),
    Limit("registration-all", "POST", _REGISTRATION, frozenset({400}), 20, 60, True),
    Limit("authentication", "*", _ANY, frozenset({401}), 60, 60),
)


class FailureLimits:
    """Middleware that counts failed answers and refuses after too many."""

    def __init__(self, get_response):
        self._get_response = get_response
        self._local = {}

    def __call__(self, request):
        limits = [limit for limit in LIMITS if _applies(limit, request)]
        address = client_address(request)
        for limit in limits:
            key, left_seconds = _window(limit, address)
            if self._count(key) >= limit.count:
                return _refuse(request, limit, left_seconds)
        response = self._get_response(request)
        for limit in limits:
            if response.status_code in limit.statuses:
                key, left_seconds = _window(limit, address)
                used = self._add(key, limit.window)
                _show(response, limit, limit.count - used, left_seconds)
        return response

    def _count(self, key):
        stored = cache.get(key)
        return max(stored or 0, self._local.get(key, 0))

    def _add(self, key, window):
        if len(self._local) > 10_000:
            self._local.clear()
        self._local[key] = self._local.get(key, 0) + 1
        try:
            cache.add(key, 0, timeout=window * 2)
            stored = cache.incr(key)
        except (ValueError, TypeError):  # gone meanwhile, or the cache is down
            stored = 0
        return max(stored or 0, self._local[key])


def client_address(request):
    """
    Return the address of the caller, as far as it can be believed.

    Behind TRUSTED_PROXY_COUNT proxies that is the entry which the outermost of
    them wrote; what stands to the left of it was sent by the caller.
    """
    proxies = settings.TRUSTED_PROXY_COUNT
    forwarded = request.headers.get("X-Forwarded-For", "").split(",")
    chain = [entry.strip() for entry in forwarded if entry.strip()]
    if proxies and len(chain) >= proxies:
        return chain[-proxies][:64]
    return request.META.get("REMOTE_ADDR", "")


def _applies(limit, request):
    return limit.method in ("*", request.method) and limit.path.match(request.path)


def _window(limit, address):
    now = time.time()
    start = int(now // limit.window)
    who = EVERYBODY if limit.shared else address
    left = limit.window - int(now % limit.window)
    return f"failures:{limit.name}:{who}:{start}", left


def _refuse(request, limit, seconds):
    logger.warning("%s: too many failures from one address.", limit.name)
    response = problem_response(
        request,
        429,
        "too_many_failures",
        f"Too many failed tries. Wait {seconds} seconds, and check what you send.",
        {"Retry-After": str(seconds)},
    )
    _show(response, limit, 0, seconds)
    return response


def _show(response, limit, left, seconds):
    # Source: draft-ietf-httpapi-ratelimit-headers-10.
    response["RateLimit-Policy"] = f'"{limit.name}";q={limit.count};w={limit.window}'
    response["RateLimit"] = f'"{limit.name}";r={max(left, 0)};t={seconds}'
