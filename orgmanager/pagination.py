"""Pages by key: as fast at the end as at the start, and without counting."""

from django.core import signing
from django.db.models import Q
from rest_framework.pagination import BasePagination
from rest_framework.response import Response

from .errors import Invalid

DEFAULT_LIMIT, MAX_LIMIT = 50, 200
PARAMETERS = frozenset({"limit", "cursor", "sort"})


class BadPage(Invalid):
    code = "bad_page"


class KeysetPagination(BasePagination):
    """
    Newest first by primary key; a subclass names what else a list is sorted by.

    ``cursor`` is opaque and signed, so that what comes back is what was given out.

    Shapes: ``sorts``: {"createdAt": "created_at"}, wire name to column; the columns
    hold no NULL and have an index on (column, primary key). ``default_sort``: one of
    them, "-" before it for falling; "" is newest first by primary key.
    Raises: BadPage.
    """

    sorts = {}
    default_sort = ""

    def paginate_queryset(self, queryset, request, view=None):
        limit = _limit(request.query_params.get("limit"))
        sort = self._sort(request.query_params.get("sort"))
        column = self.sorts.get(sort.removeprefix("-"), "pk")
        is_falling = sort.startswith("-") or not sort
        signer = _signer(queryset.model, sort)
        rows = queryset.order_by(*_order(column, is_falling))
        if cursor := request.query_params.get("cursor"):
            position = _position(cursor, signer)
            rows = rows.filter(_beyond(column, is_falling, *position))
        page = list(rows[: limit + 1])
        self.next_cursor = None
        if len(page) > limit:
            self.next_cursor = _cursor(page[limit - 1], column, signer)
        return page[:limit]

    def get_paginated_response(self, data):
        return Response({"items": data, "nextCursor": self.next_cursor})

    def get_paginated_response_schema(self, schema):
        return {
            "type": "object",
            "required": ["items", "nextCursor"],
            "properties": {
                "items": schema,
                "nextCursor": {
                    "type": ["string", "null"],
                    "description": "Send it as cursor for the next page; null at "
                    "the end.",
                },
            },
        }

    def get_schema_operation_parameters(self, view):
        limit = {
            "type": "integer",
            "minimum": 1,
            "maximum": MAX_LIMIT,
            "default": DEFAULT_LIMIT,
        }
        cursor = {"type": "string"}
        found = [
            _parameter("limit", "How many at the most.", limit),
            _parameter("cursor", "nextCursor of the page before.", cursor),
        ]
        if self.sorts:
            sort = {"type": "string", "enum": self._possible()}
            if self.default_sort:
                sort["default"] = self.default_sort
            found.append(_parameter("sort", "The order; - is falling.", sort))
        return found

    def _sort(self, text):
        if text is None:
            return self.default_sort
        if text in self._possible():
            return text
        known = ", ".join(self._possible()) or "nothing; leave it out"
        raise BadPage(f"This list is sorted by one of: {known}.")

    def _possible(self):
        return [sign + name for name in self.sorts for sign in ("", "-")]


def read_filters(request, serializer_class):
    """
    Return what a list is filtered by: the query without limit, cursor and sort.

    ``serializer_class`` documents each filter and refuses every other parameter: a
    misspelt filter that is ignored shows everything.

    Raises: ValidationError.
    """
    given = {
        name: value
        for name, value in request.query_params.items()
        if name not in PARAMETERS
    }
    form = serializer_class(data=given)
    form.is_valid(raise_exception=True)
    return form.validated_data


def _parameter(name, description, schema):
    return {"name": name, "in": "query", "description": description, "schema": schema}


def _limit(text):
    if text is None:
        return DEFAULT_LIMIT
    if text.isascii() and text.isdigit() and 1 <= int(text[:9]) <= MAX_LIMIT:
        return int(text)
    raise BadPage(f"limit is a whole number from 1 to {MAX_LIMIT}.")


def _order(column, is_falling):
    columns = [column] if column == "pk" else [column, "pk"]
    return [f"-{name}" if is_falling else name for name in columns]


def _beyond(column, is_falling, value, pk):
    """Return the condition for rows after the one with ``value`` and ``pk``."""
    way = "lt" if is_falling else "gt"
    if column == "pk":
        return Q(**{f"pk__{way}": pk})
    # The first condition alone is what an index can start from.
    return Q(**{f"{column}__{way}e": value}) & (
        Q(**{f"{column}__{way}": value}) | Q(**{f"pk__{way}": pk})
    )


def _signer(model, sort):
    # Each list its own: the keys of one mean nothing in another.
    return signing.Signer(salt=f"orgmanager.pagination {model._meta.label} {sort}")


def _cursor(row, column, signer):
    field = row._meta.pk if column == "pk" else row._meta.get_field(column)
    return signer.sign_object([field.value_to_string(row), str(row.pk)])


def _position(cursor, signer):
    try:
        return signer.unsign_object(cursor)
    except signing.BadSignature as error:
        raise BadPage(
            "cursor is not of this list: send nextCursor of the page before, as it is, "
            "and the same sort."
        ) from error
