"""ETag and If-Match: nobody overwrites what they have not seen."""

from django.conf import settings

from .errors import Conflict


class PreconditionRequired(Conflict):
    code = "precondition_required"


class PreconditionFailed(Conflict):
    code = "precondition_failed"


def etag(row):
    """Return the entity tag of ``row``: its version, quoted."""
    return f'"{row.version}"'


def check_if_match(request, row, *, required=True):
    """
    Refuse unless the caller has seen the present version of ``row``.

    Raises: PreconditionRequired (428) without the header where it is required;
    PreconditionFailed (412).
    Source: RFC 9110, section 13.1.1; RFC 6585, section 3.
    """
    header = request.headers.get("If-Match", "").strip()
    if not header:
        if required and settings.REQUIRE_IF_MATCH:
            raise PreconditionRequired(
                f"Send If-Match with the ETag that you read, now {etag(row)}."
            )
        return
    tags = {tag.strip().removeprefix("W/") for tag in header.split(",")}
    if "*" not in tags and etag(row) not in tags:
        raise PreconditionFailed(
            f"It was changed meanwhile; its ETag is {etag(row)} now. Read it again, "
            "and decide anew."
        )
