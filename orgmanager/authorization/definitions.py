"""Our definitions in a schema text that other services write into as well."""

import re

from ..errors import Rejected
from .schema import PREFIX

# The order matters: what a comment or a string holds is no code. A string ends
# at the first closing quote, as for SpiceDB, which knows no escapes.
_TOKEN = re.compile(
    r"""
    (?P<skip> //[^\r\n]* | /\*.*?\*/ | \"{3}.*?\"{3} | '{3}.*?(?:'{3}|\"{3})
            | "[^"\r\n]*" | '[^'\r\n]*')
    | (?P<brace> [{}])
    | (?P<word> \w+ (?: / \w+ )*)
    | .
    """,
    re.VERBOSE | re.DOTALL,
)

# What still belongs to a definition after its closing brace.
_REST_OF_LINE = re.compile(
    r"(?: [ \t;] | /\*[^\r\n]*?\*/ )* (?: //[^\r\n]* )? (?: \r?\n )?", re.VERBOSE
)


def merge(text, own):
    """
    Return ``text`` with our definitions replaced by ``own``.

    Every other definition stays byte for byte, comments above it included.

    Raises: Rejected when ``text`` cannot be told apart into definitions.
    """
    others = [part for name, part in split(text) if not name.startswith(PREFIX)]
    kept = "".join(others)
    gap = "\n" if kept.endswith("\n") else "\n\n"
    return f"{kept}{gap if kept.strip() else ''}{own}"


def own_definitions(text):
    """Return our definitions in ``text``, sorted, without the space around them."""
    parts = split(text)
    return sorted(part.strip() for name, part in parts if name.startswith(PREFIX))


def split(text):
    """
    Return the definitions of ``text`` in order, each with what stands above it.

    Joined, the parts are ``text`` again.

    Shapes: [(name or "", part)]; a ``use`` line and what follows the last
    definition have no name.
    Raises: Rejected when braces do not match.
    """
    parts = []
    words = []  # of the declaration that is being read
    start = depth = 0
    for token in _TOKEN.finditer(text):
        if token["brace"]:
            depth += 1 if token["brace"] == "{" else -1
            if depth < 0:
                break
        elif token["word"] and depth == 0:
            words.append(token["word"])
        is_use = words[:1] == ["use"] and len(words) == 2
        if depth == 0 and (token["brace"] or is_use):
            name = "" if is_use else words[1] if len(words) > 1 else ""
            end = _REST_OF_LINE.match(text, token.end()).end()
            parts.append((name, text[start:end]))
            start, words = end, []
    if depth != 0:
        raise Rejected(
            "The schema in SpiceDB cannot be read: its braces do not match. "
            "Nothing was written."
        )
    return [*parts, ("", text[start:])]
