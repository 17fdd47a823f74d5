"""Bodies: strict JSON, and not too much of it."""

import json
import math
import re
from typing import NamedTuple

from django.http.request import UnreadablePostError
from rest_framework.exceptions import UnsupportedMediaType
from rest_framework.parsers import BaseParser

from .errors import Invalid, TooLarge
from .pointers import pointer

MAX_BODY = 1024 * 1024  # bytes
MAX_DEPTH = 64
INTEGERS = range(-(2**63), 2**63)

# No database column takes them: NUL, and halves of surrogate pairs.
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")


class MalformedBody(Invalid):
    code = "malformed_body"


class BodyTooLarge(TooLarge):
    code = "body_too_large"


class JSONParser(BaseParser):
    """
    Parses JSON that every system behind us can keep.

    Refused besides bad syntax: more than MAX_BODY, deeper than MAX_DEPTH, a name
    given twice, NaN and infinities, integers beyond 64 bits, NUL characters and
    halves of surrogate pairs.

    Raises: MalformedBody; BodyTooLarge.
    Source: RFC 8259; RFC 7493 (I-JSON).
    """

    media_type = "application/json"

    def parse(self, stream, media_type=None, parser_context=None):
        return parse_json(_read(stream))


class MergePatchParser(JSONParser):
    """
    Parses the changes of a PATCH; with any other method they mean nothing.

    Source: RFC 7396.
    """

    media_type = "application/merge-patch+json"

    def parse(self, stream, media_type=None, parser_context=None):
        if parser_context["request"].method != "PATCH":
            raise UnsupportedMediaType(media_type)
        return super().parse(stream, media_type, parser_context)


def parse_json(body):
    """
    Return what ``body`` (bytes) says.

    Raises: MalformedBody, with the place: line and column of bad syntax, a JSON
    pointer to what is well written and refused nevertheless.
    """
    try:
        value = json.loads(
            body.decode("utf-8"),
            object_pairs_hook=_object,
            parse_int=_integer,
            parse_float=_number,
            parse_constant=_constant,
        )
    except UnicodeDecodeError as error:
        raise MalformedBody(
            f"The body is not UTF-8: byte {error.start} is wrong."
        ) from error
    except json.JSONDecodeError as error:
        raise MalformedBody(
            f"The body is not JSON: {error.msg}, line {error.lineno}, column "
            f"{error.colno}."
        ) from error
    except RecursionError as error:
        raise _too_deep() from error
    _check(value, [])
    return value


def _read(stream):
    length = getattr(stream, "META", {}).get("CONTENT_LENGTH") or "0"
    if length.isdigit() and int(length) > MAX_BODY:
        raise _too_large()
    try:
        body = stream.read(MAX_BODY + 1)
    except UnreadablePostError as error:
        raise MalformedBody("The body ended before its Content-Length.") from error
    if len(body) > MAX_BODY:
        raise _too_large()
    return body


def _too_large():
    return BodyTooLarge(f"The body has more than {MAX_BODY} bytes. Send less.")


def _too_deep():
    return MalformedBody(f"The body is nested deeper than {MAX_DEPTH} levels.")


class _Refused(NamedTuple):
    """Stands in the value for what is refused, until its place is known."""

    code: str
    why: str


def _object(pairs):
    found = dict(pairs)
    if len(found) == len(pairs):
        return found
    seen = set()
    twice = next(name for name, _ in pairs if name in seen or seen.add(name))
    return _Refused("duplicate_name", f"has the name {twice[:100]!a} twice")


def _integer(text):
    if len(text) <= 20 and (number := int(text)) in INTEGERS:
        return number
    return _Refused("out_of_range", "is an integer beyond 64 bits")


def _number(text):
    number = float(text)
    if math.isfinite(number):
        return number
    return _Refused("out_of_range", "is too large a number")


def _constant(text):
    return _Refused("not_a_number", f"is {text}, which JSON does not have")


def _check(value, path):
    """
    Refuse what is too deep and what nobody can keep.

    ``path`` is one list for the whole walk: pointers are written for refusals only,
    or long names above many values would cost their product.
    """
    if isinstance(value, str):
        if _UNSTORABLE.search(value):
            why = "holds a NUL or half of a surrogate pair"
            raise _refusal(path, _Refused("unstorable_text", why))
    elif isinstance(value, _Refused):
        raise _refusal(path, value)
    elif isinstance(value, dict | list):
        if len(path) >= MAX_DEPTH:
            raise _too_deep()
        pairs = value.items() if isinstance(value, dict) else enumerate(value)
        for name, child in pairs:
            path.append(name)
            if isinstance(name, str):
                _check(name, path)
            _check(child, path)
            path.pop()


def _refusal(path, refused):
    place = pointer(path)
    error = {"pointer": place, "detail": f"It {refused.why}.", "code": refused.code}
    where = place or "the top"
    return MalformedBody(f"The value at {where} {refused.why}.", errors=[error])
