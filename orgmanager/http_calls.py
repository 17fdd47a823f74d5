"""
HTTP calls to other systems, bounded in time and size.

A library's own client would follow a redirect with our secret, wait for every
byte anew, and read an answer of any size.
"""

import json
import time
from http.cookiejar import DefaultCookiePolicy
from typing import NamedTuple

import requests
import urllib3

from .deadlines import seconds_left

LARGEST_ANSWER = 64 * 1024  # bytes


class Answer(NamedTuple):
    """What came back. Shapes: ``headers`` is a mapping that ignores case."""

    status_code: int
    headers: dict
    content: bytes

    def json(self):
        """Return the body as JSON. Raises: ValueError."""
        try:
            return json.loads(self.content)
        except RecursionError:
            raise ValueError("the body is nested too deeply") from None


def new_session():
    """
    Return a session that threads may share: it keeps nothing between calls.

    Nor does it keep connections, which firewalls drop without a word: the next
    call would wait for its timeout.
    """
    session = requests.Session()
    session.auth = lambda request: request  # or ~/.netrc would replace our header
    session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
    session.headers.update(
        {
            "Accept": "application/json",
            "Accept-Encoding": "identity",
            "Connection": "close",
            "User-Agent": "organization-manager",
        }
    )
    return session


def send(session, method, url, *, timeout, limit=LARGEST_ANSWER, **options):
    """
    Make one call and return its Answer, a redirect or an error too.

    Shapes: ``options`` as requests.request() takes them.
    Units: ``timeout``: seconds to connect, to wait for the next bytes, and in which
    the body has to arrive; ``limit``: bytes of the body.
    Raises: requests.RequestException when no whole answer came; Unavailable when
    whoever waits for it has waited long enough.
    """
    timeout = seconds_left(timeout)
    deadline = time.monotonic() + timeout
    with session.request(
        method, url, timeout=timeout, allow_redirects=False, stream=True, **options
    ) as response:
        content = _read(response, limit, deadline)
        return Answer(response.status_code, response.headers, content)


def _read(response, limit, deadline):
    content = bytearray()
    try:
        # read() and iter_content() would wait until there are that many bytes. And
        # nothing is unpacked: a small answer could become a large one.
        while chunk := response.raw.read1(limit + 1 - len(content), False):
            content += chunk
            if len(content) > limit:
                raise requests.exceptions.ContentDecodingError(
                    f"The answer is longer than {limit} bytes."
                )
            if time.monotonic() > deadline:
                raise requests.exceptions.ReadTimeout("The answer does not end.")
    except (urllib3.exceptions.HTTPError, OSError) as error:
        if isinstance(error, requests.RequestException):  # an OSError itself
            raise
        raise requests.exceptions.ConnectionError(
            f"The answer broke off: {error}"
        ) from error
    return bytes(content)


def why(error):
    """Return what a requests.RequestException means, without its objects' names."""
    if isinstance(error, requests.Timeout):
        return "no answer in time"
    told = error.args[0] if error.args else error
    told = getattr(told, "reason", told)  # what urllib3's MaxRetryError is about
    text = str(told)
    if isinstance(told, urllib3.exceptions.NewConnectionError):
        text = text.rpartition(": ")[2]
    return " ".join(text.split())[:300].rstrip(".")
