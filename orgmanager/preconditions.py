"""ETag and If-Match: nobody overwrites what they have not seen."""

from django.conf import settings
from django.utils.http import parse_etags

from .errors import Conflict, Invalid


class PreconditionRequired(Conflict):
    code = "precondition_required"


class PreconditionFailed(Conflict):
    code = "precondition_failed"


class MalformedPrecondition(Invalid):
    code = "malformed_precondition"


def etag(row):
    """Return the entity tag of ``row``: its version, quoted."""
    return f'"{row.version}"'


def check_if_match(request, row, *, required=True):
    """
    Refuse unless the caller has seen the present version of ``row``.

    Where two may write at once this is not enough: hand what read_if_match() returns
    to the operation, which calls check_version() once it has locked the row.

    Raises: as read_if_match() and check_version().
    """
    check_version(row, read_if_match(request, required=required))


def read_if_match(request, *, required=True):
    """
    Return the entity tags that the caller has seen; None for "whatever it is".

    ``W/`` is ignored: a proxy that compresses answers makes our tags weak.

    Shapes: frozenset of tags, quotes and all.
    Raises: PreconditionRequired (428) without If-Match where it is required;
    MalformedPrecondition.
    Source: RFC 9110, section 13.1.1; RFC 6585, section 3.
    """
    header = request.headers.get("If-Match", "").strip()
    if not header and required and settings.REQUIRE_IF_MATCH:
        raise PreconditionRequired(
            "Read it first, and send the ETag of that answer as If-Match."
        )
    if header in ("", "*"):
        return None
    tags = parse_etags(header)
    if not tags:
        raise MalformedPrecondition(
            'If-Match holds no entity tag. Send the ETag as it came, e.g. "3", with '
            "its quotes."
        )
    return frozenset(tag.removeprefix("W/") for tag in tags)


def check_version(row, tags):
    """
    Refuse unless ``tags`` hold the version of ``row``.

    Raises: PreconditionFailed (412).
    """
    if tags is not None and etag(row) not in tags:
        raise PreconditionFailed(
            f"It was changed meanwhile; its ETag is {etag(row)} now. Read it again, "
            "and decide anew."
        )
