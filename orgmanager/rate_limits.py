"""
Limits on failures: who guesses tokens or passwords is soon told to wait.

Successes are not counted where something can be guessed, so an operator's script is
never stopped by its own good work. Counters live in the cache, and in the process
while that is down.
"""

import re
import threading
import time
from ipaddress import ip_address, ip_network
from typing import NamedTuple

from django.conf import settings
from django.core.cache import cache
from django.shortcuts import render

from .problems import is_api, problem_response

MAX_COUNTERS = 10_000  # in a process

_PORT = re.compile(r"(?:\[([^]]+)\]|([0-9.]+))(?::[0-9]+)?")


class Limit(NamedTuple):
    """
    At most ``count`` answers of ``statuses`` per ``window`` seconds.

    ``statuses`` None counts every answer. Past the limit nothing more is looked at;
    unless ``blocks`` is false: then only what fails again is told to wait, so that
    one caller's bad tokens never lock out others behind the same address.
    ``is_shared`` counts all addresses together. ``is_local`` counts in the process
    only, at no cost: for limits that need not be exact.
    """

    name: str
    method: str
    path: re.Pattern
    statuses: frozenset | None
    count: int
    window: int = 60
    blocks: bool = True
    is_shared: bool = False
    is_local: bool = False

    def applies_to(self, request):
        return self.method in ("*", request.method) and self.path.match(request.path)

    def counts(self, response):
        return self.statuses is None or response.status_code in self.statuses


_API = re.compile(r"/(?:org/)?api/|/realms/")
_REGISTRATION = re.compile(r"/(?:org/)?api/org/single/?\Z")
_SIGN_IN = re.compile(r"/oidc/")
_PASSWORD = re.compile(r"/admin/login/?\Z")
_PUBLIC = re.compile(r"/(?:org/)?api/(?:env|org/single|schema|docs)\b")

LIMITS = (
    Limit("registration", "POST", _REGISTRATION, frozenset({400}), 5),
    Limit(
        "registration-all", "POST", _REGISTRATION, frozenset({400}), 20, is_shared=True
    ),
    Limit("authentication", "*", _API, frozenset({401}), 60, blocks=False),
    # A wrong password shows the form again; a right one leads on.
    Limit("password", "POST", _PASSWORD, frozenset({200}), 10),
    # Each costs a row and a call to the identity provider, whoever asks.
    Limit("sign-in", "*", _SIGN_IN, None, 120),
    # For clients that run wild: all of an ingress may look like one address.
    Limit("public", "*", _PUBLIC, None, 6000, is_local=True),
)


class FailureLimits:
    """
    Middleware that counts answers and refuses after too many.

    Requests that run at the same moment are each let in before any has failed, so
    the count is passed by as many as there are threads at the most.
    """

    def __init__(self, get_response, *, clock=time.time):
        self._get_response = get_response
        self._clock = clock
        self._local = {}
        self._lock = threading.Lock()

    def __call__(self, request):
        limits = [limit for limit in LIMITS if limit.applies_to(request)]
        if not limits:
            return self._get_response(request)
        now = self._clock()
        counters = [(limit, _key(limit, request, now)) for limit in limits]
        used = {}
        for limit, key in counters:
            if limit.blocks:
                used[limit] = self._count(key, limit)
                if used[limit] >= limit.count:
                    return _refuse(request, limit, now)
        response = self._get_response(request)
        for limit, key in counters:
            if limit.counts(response):
                used[limit] = self._add(key, limit)
                if used[limit] > limit.count and not limit.blocks:
                    response = _refuse(request, limit, now)
        for limit, count in used.items():
            _show(response, limit, limit.count - count, now)
        return response

    def _count(self, key, limit):
        local, _ = self._local.get(key, (0, 0))
        return local if limit.is_local else max(cache.get(key) or 0, local)

    def _add(self, key, limit):
        local = self._add_local(key, limit.window)
        if limit.is_local:
            return local
        try:
            cache.add(key, 0, timeout=limit.window * 2)
            stored = cache.incr(key)
        except (ValueError, TypeError):  # gone meanwhile, or the cache is down
            stored = 0
        return max(stored or 0, local)

    def _add_local(self, key, window):
        with self._lock:
            if len(self._local) >= MAX_COUNTERS:
                self._forget()
            count = self._local.get(key, (0, 0))[0] + 1
            self._local[key] = count, self._clock() + window
            return count

    def _forget(self):
        """Forget what is over; and all, when that many callers are at it at once."""
        now = self._clock()
        live = {key: entry for key, entry in self._local.items() if entry[1] > now}
        self._local = live if len(live) < MAX_COUNTERS else {}


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


def network(address):
    """
    Return what callers are told apart by: an IPv4 address, or an IPv6 /64.

    Whoever has one IPv6 address has 2**64 of them. A port, which some proxies write
    along, is left out.
    """
    if match := _PORT.fullmatch(address):
        address = match[1] or match[2]
    try:
        found = ip_address(address)
    except ValueError:
        return "unknown"
    found = getattr(found, "ipv4_mapped", None) or found
    if found.version == 4:
        return str(found)
    return str(ip_network((found, 64), strict=False).network_address)


def _key(limit, request, now):
    who = "*" if limit.is_shared else network(client_address(request))
    return f"limits:{limit.name}:{who}:{int(now // limit.window)}"


def _refuse(request, limit, now):
    seconds = _seconds_left(limit, now)
    if is_api(request.path):
        detail = f"Too many tries. Wait {seconds} seconds, and check what you send."
        response = problem_response(request, 429, "too_many_requests", detail)
    else:
        page = {"seconds": seconds, "path": request.path}
        response = render(request, "too_many.html", page, status=429)
    response["Retry-After"] = str(seconds)
    _show(response, limit, 0, now)
    return response


def _seconds_left(limit, now):
    return limit.window - int(now % limit.window)


def _show(response, limit, left, now):
    """
    Add the limit and what is left of it to the response.

    Source: draft-ietf-httpapi-ratelimit-headers-10.
    """
    policy = f'"{limit.name}";q={limit.count};w={limit.window}'
    state = f'"{limit.name}";r={max(left, 0)};t={_seconds_left(limit, now)}'
    for header, item in (("RateLimit-Policy", policy), ("RateLimit", state)):
        others = response.headers.get(header, "")
        if item.partition(";")[0] not in others:
            response.headers[header] = f"{others}, {item}" if others else item
