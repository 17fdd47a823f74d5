"""Pages by key, over rows with equal values."""

import pytest
from rest_framework import serializers
from rest_framework.request import Request

from orgmanager.operators.models import Operator
from orgmanager.pagination import BadPage, KeysetPagination, read_filters
from orgmanager.serializers import CamelSerializer


class OperatorPages(KeysetPagination):
    sorts = {"username": "username", "lastName": "last_name", "joined": "date_joined"}
    default_sort = "-joined"


class NewestOperators(KeysetPagination):
    """Has no sort but by primary key."""


@pytest.fixture
def make_operators(db):
    """Return a function that makes operators who share last names and times."""

    def make(count):
        for number in range(count):
            Operator.objects.create(
                username=f"operator-{number:03}",
                last_name=f"Name {number % 3}",
                date_joined=f"2026-01-0{number % 2 + 1}T12:00:00.123456Z",
            )

    return make


@pytest.fixture
def list_page(rf):
    """Return a function that lists one page: (rows, cursor of the next)."""

    def list_page(pages=OperatorPages, **query):
        paginator = pages()
        request = Request(rf.get("/", query))
        rows = paginator.paginate_queryset(Operator.objects.all(), request)
        body = paginator.get_paginated_response(rows).data
        return body["items"], body["nextCursor"]

    return list_page


def walk(list_page, pages=OperatorPages, **query):
    """Return all rows of all pages, in order."""
    rows, cursor = list_page(pages, **query)
    found = [*rows]
    while cursor is not None:
        rows, cursor = list_page(pages, cursor=cursor, **query)
        assert rows, "a cursor leads to a page with something on it"
        found += rows
    return found


@pytest.mark.parametrize("sort", ["username", "lastName", "joined"])
@pytest.mark.parametrize("sign", ["", "-"])
@pytest.mark.parametrize("limit", [1, 3, 7, 50])
def test_pages_together_are_the_whole_list_in_order(
    make_operators, list_page, sort, sign, limit
):
    make_operators(11)
    column = OperatorPages.sorts[sort]
    expected = list(Operator.objects.order_by(f"{sign}{column}", f"{sign}pk"))
    assert walk(list_page, sort=f"{sign}{sort}", limit=limit) == expected


def test_without_a_sort_the_default_holds(make_operators, list_page):
    make_operators(5)
    assert walk(list_page, limit=2) == walk(list_page, sort="-joined", limit=2)
    newest = list(Operator.objects.order_by("-pk"))
    assert walk(list_page, NewestOperators, limit=2) == newest


def test_rows_that_come_and_go_neither_repeat_nor_hide_others(
    make_operators, list_page
):
    make_operators(6)
    first, cursor = list_page(sort="username", limit=3)
    Operator.objects.create(username="operator-000a")
    Operator.objects.filter(username="operator-002").delete()
    second, _ = list_page(sort="username", limit=3, cursor=cursor)
    assert [row.username for row in second] == [f"operator-00{n}" for n in (3, 4, 5)]


def test_a_page_is_one_query_and_counts_nothing(
    make_operators, list_page, django_assert_num_queries
):
    make_operators(5)
    with django_assert_num_queries(1) as captured:
        list_page(limit=2)
    assert "COUNT" not in captured[0]["sql"] and "OFFSET" not in captured[0]["sql"]


def test_a_page_has_fifty_rows_unless_asked(make_operators, list_page):
    make_operators(60)
    rows, cursor = list_page()
    assert len(rows) == 50 and cursor
    rows, cursor = list_page(limit=200)
    assert len(rows) == 60 and cursor is None


def test_an_empty_list_has_no_next_page(db, list_page):
    assert list_page() == ([], None)


@pytest.mark.parametrize("limit", ["0", "201", "-1", "x", "", "1.0", "٣", "9" * 99])
def test_a_limit_out_of_range_is_refused(db, list_page, limit):
    with pytest.raises(BadPage, match="from 1 to 200"):
        list_page(limit=limit)


@pytest.mark.parametrize("cursor", ["x", "MQ", "a:b", ":", "é", "x" * 3000, "W10:"])
def test_a_cursor_that_is_not_ours_is_refused(db, list_page, cursor):
    with pytest.raises(BadPage, match="nextCursor"):
        list_page(cursor=cursor)


def test_a_cursor_of_another_order_is_refused(make_operators, list_page):
    make_operators(3)
    _, cursor = list_page(sort="username", limit=1)
    with pytest.raises(BadPage, match="the same sort"):
        list_page(sort="-username", cursor=cursor)
    with pytest.raises(BadPage):
        list_page(NewestOperators, cursor=cursor)
    with pytest.raises(BadPage):
        other = "B" if cursor.endswith("A") else "A"
        list_page(sort="username", cursor=cursor[:-1] + other)


@pytest.mark.parametrize("sort", ["password", "date_joined", "--joined", "", "pk"])
def test_a_sort_that_is_not_documented_is_refused(db, list_page, sort):
    with pytest.raises(BadPage, match="username, -username"):
        list_page(sort=sort)


class OperatorFilters(CamelSerializer):
    is_active = serializers.BooleanField(required=False)


def test_filters_are_read_and_page_parameters_left_out(rf):
    request = Request(rf.get("/?isActive=true&limit=3&cursor=x&sort=y"))
    assert read_filters(request, OperatorFilters) == {"is_active": True}
    assert read_filters(Request(rf.get("/")), OperatorFilters) == {}


@pytest.mark.parametrize("query", ["isactive=true", "isActive=perhaps", "password=x"])
def test_a_filter_that_is_not_documented_is_refused(rf, query):
    with pytest.raises(serializers.ValidationError):
        read_filters(Request(rf.get(f"/?{query}")), OperatorFilters)


def test_the_document_says_what_a_list_can_be_asked():
    parameters = OperatorPages().get_schema_operation_parameters(None)
    by_name = {each["name"]: each["schema"] for each in parameters}
    assert by_name["limit"]["maximum"] == 200
    assert "-joined" in by_name["sort"]["enum"]
    assert by_name["sort"]["default"] == "-joined"
