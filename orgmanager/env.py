"""
Typed, documented access to the environment.

settings.py reads every variable once, needed or not, so that the printed table
is complete. What cannot be read is collected and reported in one go.
"""

import re
import ssl
import uuid
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from django.core.exceptions import ImproperlyConfigured

_CREDENTIALS = (
    (re.compile(r"://[^/@\s]*@"), "://***@"),
    (re.compile(r"(?i)(\w*(?:password|secret|token|key)=)[^&;,\s]*"), r"\1***"),
)
_UNITS_OF_TIME = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400}
_UNITS_OF_SIZE = {"": 0, "B": 0, "KB": 1, "MB": 2, "GB": 3, "TB": 4}  # powers of 1024


class Variable(NamedTuple):
    """One row of the table. ``source``: the name that gave the value, or ""."""

    section: str
    names: tuple
    default: str
    unit: str
    is_secret: bool
    help: str
    source: str


class Environment:
    """
    ``environ``, read by type.

    Of several names the first that is set wins; the others are aliases. An empty
    value counts as not set. A default is text, written as the variable itself
    would be; ``shown`` stands for it in the table where it depends on others.
    """

    def __init__(self, environ):
        self.variables = []
        self.problems = []
        self.secrets = set()  # values no log line may show
        self._environ = environ
        self._section = ""

    def section(self, title):
        """List the variables that follow under ``title``."""
        self._section = title

    def text(self, *names, parse=str, **about):
        """Return text, or what ``parse`` makes of it."""
        return self._read(names, parse, **about)

    def secret(self, *names, parse=str, **about):
        """Return a secret, which may also be in the file that NAME_FILE names."""
        return self._read(names, parse, is_secret=True, has_file=True, **about)

    def words(self, *names, parse=str, default="", **about):
        """Return the words of a comma list, each one parsed."""

        def parse_words(text):
            return [parse(word.strip()) for word in text.split(",") if word.strip()]

        about = {"unit": "comma list", "empty": [], "example": "a,b", **about}
        return self._read(names, parse_words, default, **about)

    def choice(self, *names, options, default, **about):
        """Return one of ``options``; case, ``-`` and ``_`` make no difference."""
        known = {option.lower().replace("-", "_"): option for option in options}
        one_of = " or ".join(options)

        def parse(text):
            try:
                return known[text.lower().replace("-", "_")]
            except KeyError:
                raise ValueError(f"is not {one_of}") from None

        about = {"unit": one_of, "example": options[0], **about}
        return self._read(names, parse, default, **about)

    def boolean(self, *names, default, **about):
        """Return True or False."""
        about = {"unit": "true or false", "example": "true", **about}
        return self._read(names, parse_boolean, str(default).lower(), **about)

    def integer(self, *names, default, minimum=0, maximum=2**31 - 1, **about):
        """Return a whole number from ``minimum`` to ``maximum``."""

        def parse(text):
            matching("-?[0-9]{1,10}", "a whole number")(text)
            if not minimum <= int(text) <= maximum:
                raise ValueError(f"is not from {minimum} to {maximum}")
            return int(text)

        about = {"unit": "whole number", "example": default, **about}
        return self._read(names, parse, default, **about)

    def milliseconds(self, *names, default, **about):
        """Return seconds, given as whole milliseconds."""
        about = {"unit": "milliseconds", "minimum": 1, **about}
        return self.integer(*names, default=default, **about) / 1000

    def duration(self, *names, default, **about):
        """Return seconds, given as 250ms, 5s, 2m, 1h or 7d."""
        about = {"unit": "duration", "example": default, **about}
        return self._read(names, parse_duration, default, **about)

    def size(self, *names, default, **about):
        """Return bytes, given as 512KB, 50MB (1 MB is 1024 KB) or plain bytes."""
        about = {"unit": "size", "example": default, **about}
        return self._read(names, parse_size, default, **about)

    def url(self, *names, default="", **about):
        """Return an http or https address without a final slash."""
        about = {"unit": "URL", "example": "https://host.example.com", **about}
        return self._read(names, parse_url, default, **about)

    def uuid(self, *names, default="", **about):
        """Return a UUID as lower-case text, or None."""
        example = "26ef7b5f-b463-4375-88c8-0123456789ab"
        about = {"unit": "UUID", "empty": None, "example": example, **about}
        return self._read(names, parse_uuid, default, **about)

    def source(self, name):
        """Return which of ``name``, which was read, and its aliases is set, or ""."""
        return self._find(name).source

    def require(self, *names):
        """Report those of ``names`` that are not set, where no default serves."""
        for variable in map(self._find, names):
            if not variable.source:
                self.problems.append(
                    f"{' or '.join(variable.names)} is missing. {variable.help}"
                )

    def refuse(self, *prefixes, because):
        """Report every variable whose name begins with one of ``prefixes``."""
        for name in sorted(self._environ):
            if name.startswith(prefixes) and self._environ[name]:
                self.problems.append(f"{name} is not supported. {because}")

    def finish(self, note=""):
        """Raise ImproperlyConfigured, once, for all problems there were."""
        if self.problems:
            problems = "".join(f"  - {problem}\n" for problem in self.problems)
            for secret in self.secrets:
                if len(secret) >= 8:  # a shorter one would blot out ordinary words
                    problems = problems.replace(secret, "***")
            raise ImproperlyConfigured(
                f"The service cannot start with this environment:\n{problems}"
                f"{note}Every variable is described in deploy/env.md."
            )

    def _find(self, name):
        return next(v for v in self.variables if name in v.names)

    def _read(
        self,
        names,
        parse,
        default="",
        *,
        help,
        unit="",
        example="",
        empty="",
        shown=None,
        is_secret=False,
        has_file=False,
        keep_empty=False,
    ):
        default = str(default)
        source = ""
        value = parse(default) if default else empty
        for candidate in self._candidates(names, has_file):
            try:
                text = self._resolve(candidate, candidate not in names, is_secret)
                if not text and not keep_empty:
                    continue
                value = parse(text) if text else empty
            except ValueError as error:
                self._report(candidate, error, example, default, is_secret)
            source = candidate
            break
        shown = default if shown is None else shown
        self.variables.append(
            Variable(self._section, names, shown, unit, is_secret, help, source)
        )
        return value

    def _candidates(self, names, has_file):
        for name in names:
            for candidate in (name, f"{name}_FILE") if has_file else (name,):
                if candidate in self._environ:
                    yield candidate

    def _resolve(self, name, is_file, is_secret):
        try:
            text = expand(self._environ[name], self._environ)
        except ValueError:
            if is_secret:  # what looks like a name may be part of the secret
                raise ValueError("refers to a variable that is not set") from None
            raise
        except RecursionError:
            raise ValueError("nests references too deeply") from None
        if is_file and text:
            text = read_secret(text)
        if is_secret and text:
            self.secrets.update([text, *text.split(",")])
        return text

    def _report(self, name, error, example, default, is_secret):
        shown = "" if is_secret else f"={without_credentials(self._environ[name])!r}"
        hint = f" Example: {name}={example}." if example else ""
        if default and not is_secret:
            hint += f" Unset it to use {default}."
        self.problems.append(f"{name}{shown} {error}.{hint}")


def expand(text, environ, within=()):
    """
    Resolve ``${NAME}`` and ``${NAME:default}`` in ``text``, as Spring does.

    References may nest. ``{orgId}`` is none and stays, as does a ``${`` without
    an end.

    Raises: ValueError for a name that is not set and has no default, and for one
    that refers to itself.
    """
    resolved = []
    while (start := text.find("${")) >= 0 and (ends := _find_ends(text, start + 2)):
        colon, end = ends
        name = expand(text[start + 2 : colon], environ, within)
        value = environ.get(name, environ.get(re.sub("[.-]", "_", name).upper()))
        if name in within or len(within) > 50:
            raise ValueError(f"refers to ${{{name}}}, which refers back to itself")
        if value is not None:
            value = expand(value, environ, (*within, name))
        elif colon < end:
            value = expand(text[colon + 1 : end], environ, within)
        else:
            raise ValueError(f"refers to ${{{name}}}, which is not set")
        resolved += [text[:start], value]
        text = text[end + 1 :]
    return "".join([*resolved, text])


def _find_ends(text, start):
    """Return where the name and where the whole reference ends, or None."""
    depth, colon = 0, None
    for position, character in enumerate(text[start:], start):
        if character == "}" and depth == 0:
            return (position if colon is None else colon), position
        if character == ":" and depth == 0 and colon is None:
            colon = position
        depth += (character == "{") - (character == "}")
    return None


def read_secret(path):
    """
    Return the text of a mounted secret, without the line end that editors add.

    Raises: ValueError if it cannot be read or holds nothing.
    """
    # Whoever put the secret itself where its path belongs must not see it printed.
    name = repr(path) if path.startswith("/") else "a file"
    try:
        text = Path(path).read_text(encoding="utf-8").rstrip("\r\n")
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "not UTF-8 text"
        raise ValueError(f"names {name} that cannot be read ({reason})") from None
    if not text:
        raise ValueError(f"names {name} that is empty")
    return text


def parse_certificates(path):
    """
    Return ``path``, at which there are certificates in PEM.

    Raises: ValueError if there are none, for then no connection could be made.
    """
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(path)
    except ssl.SSLError:
        raise ValueError("holds no certificates in PEM") from None
    except OSError as error:
        raise ValueError(f"cannot be read ({error.strerror})") from None
    return path


def without_credentials(text):
    """Return ``text`` with the passwords that an address may carry hidden."""
    for pattern, replacement in _CREDENTIALS:
        text = pattern.sub(replacement, text)
    return text


def matching(pattern, what):
    """Return a parser of text that matches ``pattern`` as a whole."""

    def parse(text):
        if not re.fullmatch(pattern, text):
            raise ValueError(f"is not {what}")
        return text

    return parse


def parse_boolean(text):
    if text.lower() not in {"true", "false", "yes", "no", "on", "off", "1", "0"}:
        raise ValueError("is not true or false")
    return text.lower() in {"true", "yes", "on", "1"}


def parse_duration(text):
    match = re.fullmatch(r"([0-9]{1,9}(?:\.[0-9]{1,3})?) ?(ms|s|m|h|d)", text)
    if not match:
        raise ValueError("is not a duration with its unit (ms, s, m, h, d)")
    if not (seconds := float(match[1]) * _UNITS_OF_TIME[match[2]]):
        raise ValueError("must be more than nothing")
    return seconds


def parse_size(text):
    match = re.fullmatch(r"([0-9]{1,12}) ?(|B|KB|MB|GB|TB)", text.upper())
    if not match:
        raise ValueError("is not a size (B, KB, MB, GB, TB)")
    return int(match[1]) * 1024 ** _UNITS_OF_SIZE[match[2]]


def parse_url(text):
    try:
        parts = urlsplit(text)
        is_address = parts.hostname and parts.port != 0 and parts.username is None
    except ValueError:
        is_address = False
    if not is_address or not re.fullmatch(r"https?://[!-~]+", text):
        raise ValueError("is not an http or https address")
    if parts.query or parts.fragment:
        raise ValueError("may end with a path, not with ? or #")
    return text.rstrip("/")


_uuid = matching(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}", "a UUID")


def parse_uuid(text):
    return str(uuid.UUID(_uuid(text)))


def parse_server(text):
    match = re.fullmatch(r"([A-Za-z0-9._-]+|\[[0-9a-fA-F:]+\]):([0-9]{1,5})", text)
    if not match or not 0 < int(match[2]) < 65536:
        raise ValueError(f"has {text!r}, which is not host:port")
    return text
