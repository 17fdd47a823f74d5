"""
Log lines: what is being served goes in, secrets stay out.

What belongs to a request comes from context.py, and need not be passed on.
"""

import json
import logging
import re
from datetime import UTC, datetime

from . import context

_TOKENS = re.compile(
    r"(?i:\b(?P<scheme>bearer|basic)\s+)[A-Za-z0-9._~+/=-]{8,}"
    r"|\beyJ[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]*)?"
)
_URL_CREDENTIALS = re.compile(r"://[^/@\s\"']+@")
HIDDEN = "***"


def fields():
    """Return what the line belongs to. Shapes: {"request_id": str, ...}, or {}."""
    found = {
        "request_id": context.request_id.get(),
        "trace_id": context.trace_parent.get()[3:35],  # version-trace-span-flags
        "organization_id": context.organization_id.get(),
    }
    return {name: value for name, value in found.items() if value}


class SecretFilter(logging.Filter):
    """
    Replaces configured secrets, bearer tokens and JWTs in all a record says.

    Short secrets are left alone: they would blot out ordinary words.
    """

    MIN_LENGTH = 8  # characters

    def __init__(self, secrets=()):
        super().__init__()
        long_enough = [secret for secret in secrets if len(secret) >= self.MIN_LENGTH]
        # Longest first, so that a secret that begins another leaves no rest of it.
        self._secrets = sorted(long_enough, key=len, reverse=True)

    def filter(self, record):
        try:
            message = record.getMessage()
        except (TypeError, ValueError, KeyError):  # arguments that do not fit
            message = f"{record.msg} {record.args!r}"
        record.msg, record.args = self.redact(message), None
        if record.exc_info and not record.exc_text:
            # Formatters take the text over where there is one.
            record.exc_text = logging.Formatter().formatException(record.exc_info)
        if record.exc_text:
            record.exc_text = self.redact(record.exc_text)
        if record.stack_info:
            record.stack_info = self.redact(record.stack_info)
        return True

    def redact(self, text):
        """Return ``text`` without secrets."""
        for secret in self._secrets:
            text = text.replace(secret, HIDDEN)
        text = _URL_CREDENTIALS.sub(f"://{HIDDEN}@", text)
        return _TOKENS.sub(_hide_token, text)


def _hide_token(match):
    scheme = match["scheme"]
    return f"{scheme} {HIDDEN}" if scheme else HIDDEN


class JSONFormatter(logging.Formatter):
    """One JSON object per line; line ends inside a message cannot forge a line."""

    def format(self, record):
        line = {
            "time": _time(record),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            **fields(),
        }
        if record.exc_info and not record.exc_text:
            record.exc_text = self.formatException(record.exc_info)
        if record.exc_text:
            line["exception"] = record.exc_text
        if record.stack_info:
            line["stack"] = record.stack_info
        return json.dumps(line)


class TextFormatter(logging.Formatter):
    """The same for people: time, level, what happened, and where it belongs."""

    def format(self, record):
        ids = "".join(f" {name}={value}" for name, value in fields().items())
        start = f"{_time(record)[11:23]} {record.levelname:<7} {record.name}{ids}"
        return f"{start}: {super().format(record)}"


def _time(record):
    moment = datetime.fromtimestamp(record.created, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
