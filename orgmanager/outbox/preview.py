"""What a person may see of a message that was not understood."""

import json
import re

SHOWN = 2000  # characters
READ = 1024 * 1024  # bytes; what is longer is not looked at
LONGEST_VALUE = 200  # characters; a longer one may be anything
LEFT_OUT = "(left out)"

_NAMES = r"pass(?:word|wd|phrase)?|secret|token|credential|authorization|cookie"
_SECRET_NAME = re.compile(rf"{_NAMES}|(?:api|private|access|master)[_-]?key", re.I)
# Each begins at a border, and no part is searched for twice: a long message must
# not keep the console busy.
_TOKEN = re.compile(
    r"(?<![\w-])(?:eyJ[\w-]+(?:\.[\w-]*)*|[\w-]{8,}\.[\w-]{8,}\.[\w-]{8,})"
)
_PEM = re.compile(r"-----BEGIN.*?(?:-----END[^-]*-----|\Z)", re.DOTALL)
_URL_CREDENTIALS = re.compile(r"://[^/@\s\"']+@")
_ASSIGNED = re.compile(
    rf"({_SECRET_NAME.pattern})([\w-]{{0,40}}[\"']?\s{{0,8}}[:=])\s{{0,40}}.*", re.I
)


def preview(content):
    """
    Return ``content`` as text, without what could be a secret.

    Whoever sent it did not keep to the rules, so anything may be in it.

    Shapes: ``content`` is bytes.
    """
    if not content:
        return "(empty)"
    if len(content) > READ:
        return f"({len(content)} bytes, too many to show)"
    try:
        text = content.decode()
    except UnicodeDecodeError:
        return f"({len(content)} bytes that are no text)"
    text = "".join(c if c.isprintable() or c in "\n\t" else "·" for c in _masked(text))
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}\n… cut off"


def _masked(text):
    try:
        data = _without_secrets(json.loads(text))
    except (ValueError, RecursionError):
        beginning = text[: 4 * SHOWN]
        return _without_tokens(_ASSIGNED.sub(rf"\1\2 {LEFT_OUT}", beginning))
    return json.dumps(data, indent=2, ensure_ascii=False)


def _without_secrets(data):
    if isinstance(data, dict):
        return {
            _without_tokens(name): LEFT_OUT
            if _SECRET_NAME.search(name)
            else _without_secrets(value)
            for name, value in data.items()
        }
    if isinstance(data, list):
        return [_without_secrets(value) for value in data]
    if isinstance(data, str):
        text = _without_tokens(data)
        return text if len(text) <= LONGEST_VALUE else f"({len(text)} characters)"
    return data


def _without_tokens(text):
    text = _PEM.sub(LEFT_OUT, text)
    text = _TOKEN.sub(lambda found: f"(token of {len(found[0])} characters)", text)
    return _URL_CREDENTIALS.sub("://(left out)@", text)
