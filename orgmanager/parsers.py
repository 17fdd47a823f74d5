"""Bodies: strict JSON, and not too much of it."""

import json
import math

from rest_framework.parsers import BaseParser

from .errors import Invalid, TooLarge

MAX_BODY = 1024 * 1024  # bytes
MAX_DEPTH = 64
MAX_INTEGER = 2**63 - 1


class MalformedBody(Invalid):
    code = "malformed_body"


class BodyTooLarge(TooLarge):
    code = "body_too_large"


class JSONParser(BaseParser):
    """
    Parses JSON that every system behind us can keep.

    Refused besides bad syntax: more than MAX_BODY, deeper than MAX_DEPTH, a name
    given twice, NaN and infinities, integers beyond 64 bits, NUL characters and
    halves of surrogate pairs, which no database column takes.

    Raises: MalformedBody; BodyTooLarge.
    Source: RFC 8259; RFC 7493 (I-JSON).
    """

    media_type = "application/json"

    def parse(self, stream, media_type=None, parser_context=None):
        return parse_json(_read(stream))


def parse_json(body):
    """Return what ``body`` (bytes) says. Raises: MalformedBody."""
    try:
        text = body.decode("utf-8")
        value = json.loads(
            text,
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
    _check(value)
    return value


def _read(stream):
    length = getattr(stream, "META", {}).get("CONTENT_LENGTH") or "0"
    if length.isdigit() and int(length) > MAX_BODY:
        raise _too_large()
    body = stream.read(MAX_BODY + 1)
    if len(body) > MAX_BODY:
        raise _too_large()
    return body


def _too_large():
    return BodyTooLarge(f"The body has more than {MAX_BODY} bytes. Send less.")


def _too_deep():
    return MalformedBody(f"The body is nested deeper than {MAX_DEPTH} levels.")


def _object(pairs):
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise MalformedBody(f"The name {twice[:100]!r} is given twice in one object.")
    return found


def _integer(text):
    if len(text) > 20 or abs(int(text)) > MAX_INTEGER:
        raise MalformedBody(f"The number {text[:24]} is beyond 64 bits.")
    return int(text)


def _number(text):
    number = float(text)
    if not math.isfinite(number):
        raise MalformedBody(f"The number {text[:24]} is too large.")
    return number


def _constant(text):
    raise MalformedBody(f"{text} is not JSON.")


def _check(value):
    """Refuse what is too deep or holds characters that nobody can store."""
    left = [("", value, 1)]
    while left:
        pointer, item, depth = left.pop()
        if isinstance(item, dict | list):
            if depth > MAX_DEPTH:
                raise _too_deep()
            pairs = item.items() if isinstance(item, dict) else enumerate(item)
            for name, child in pairs:
                if isinstance(name, str):
                    _check_text(pointer, name)
                left.append((f"{pointer}/{name}", child, depth + 1))
        elif isinstance(item, str):
            _check_text(pointer, item)


def _check_text(pointer, text):
    if "\x00" in text or any("\ud800" <= each <= "\udfff" for each in text):
        detail = "holds a NUL or half of a surrogate pair"
        shown = pointer.encode("ascii", "backslashreplace").decode()[:200]
        raise MalformedBody(
            f"The text at {shown or '/'} {detail}.",
            errors=[{"pointer": shown, "detail": f"It {detail}.", "code": "text"}],
        )
