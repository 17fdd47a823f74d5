"""JSON pointers: how a refusal says which part of a body it means."""

MAX_LENGTH = 300  # characters; names are the sender's, and may be a megabyte


def pointer(path):
    """
    Return the JSON pointer to ``path``: names and indexes, from the top.

    Source: RFC 6901.
    """
    return "".join(f"/{_escape(part)}" for part in path)[:MAX_LENGTH]


def _escape(part):
    text = str(part)[:MAX_LENGTH].replace("~", "~0").replace("/", "~1")
    return text.encode("utf-8", "backslashreplace").decode()
