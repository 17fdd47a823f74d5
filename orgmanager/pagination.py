"""Pages by key: as fast at the end as at the start, and without counting."""

import base64
import binascii

from rest_framework.pagination import BasePagination
from rest_framework.response import Response

from .errors import Invalid

DEFAULT_LIMIT, MAX_LIMIT = 50, 200


class BadPage(Invalid):
    code = "bad_page"


class KeysetPagination(BasePagination):
    """
    Newest first by primary key. ``cursor`` is opaque, ``nextCursor`` leads on.

    Raises: BadPage.
    """

    def paginate_queryset(self, queryset, request, view=None):
        limit = _limit(request.query_params.get("limit"))
        rows = queryset.order_by("-pk")
        if cursor := request.query_params.get("cursor"):
            rows = rows.filter(pk__lt=_position(cursor))
        page = list(rows[: limit + 1])
        self.next_cursor = _cursor(page[limit - 1]) if len(page) > limit else None
        return page[:limit]

    def get_paginated_response(self, data):
        return Response({"items": data, "nextCursor": self.next_cursor})

    def get_paginated_response_schema(self, schema):
        return {
            "type": "object",
            "required": ["items", "nextCursor"],
            "properties": {
                "items": schema,
                "nextCursor": {"type": ["string", "null"]},
            },
        }

    def get_schema_operation_parameters(self, view):
        return [
            {
                "name": "limit",
                "in": "query",
                "description": "How many at the most.",
                "schema": {
                    "type": "integer",
                    "minimum": 1,
                    "maximum": MAX_LIMIT,
                    "default": DEFAULT_LIMIT,
                },
            },
            {
                "name": "cursor",
                "in": "query",
                "description": "nextCursor of the page before.",
                "schema": {"type": "string"},
            },
        ]


def _limit(text):
    if text is None:
        return DEFAULT_LIMIT
    if text.isascii() and text.isdigit() and 1 <= int(text[:9]) <= MAX_LIMIT:
        return int(text)
    raise BadPage(f"limit is a whole number from 1 to {MAX_LIMIT}.")


def _cursor(row):
    return base64.urlsafe_b64encode(str(row.pk).encode()).decode().rstrip("=")


def _position(cursor):
    try:
        padded = cursor + "=" * (-len(cursor) % 4)
        position = int(base64.b64decode(padded, altchars=b"-_", validate=True))
    except (ValueError, binascii.Error) as error:
        raise BadPage(
            "cursor is not one of ours: send nextCursor of the page before, as it is."
        ) from error
    if not 0 <= position < 2**63:
        raise BadPage("cursor is not one of ours.")
    return position
