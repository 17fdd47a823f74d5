"""ETag and If-Match."""

from types import SimpleNamespace

import pytest

from orgmanager.preconditions import (
    MalformedPrecondition,
    PreconditionFailed,
    PreconditionRequired,
    check_if_match,
    check_version,
    etag,
    read_if_match,
)

ROW = SimpleNamespace(version=7)


@pytest.fixture
def make_request(rf):
    """Return a function that makes a PATCH with this If-Match."""

    def make(header=None):
        return rf.patch("/", headers={} if header is None else {"If-Match": header})

    return make


def test_the_tag_is_the_version_in_quotes():
    assert etag(ROW) == '"7"'


@pytest.mark.parametrize(
    "header", ['"7"', 'W/"7"', ' "7" ', '"1", "7"', '"1",W/"7","x,y"', "*"]
)
def test_a_version_that_was_seen_passes(make_request, header):
    check_if_match(make_request(header), ROW)


@pytest.mark.parametrize("header", ['"6"', 'W/"8"', '"1", "2"', '"77"', '"*"'])
def test_a_version_that_was_not_seen_is_a_412(make_request, header):
    with pytest.raises(PreconditionFailed, match='ETag is "7" now'):
        check_if_match(make_request(header), ROW)


@pytest.mark.parametrize("header", ["7", "W/7", "'7'", '"7', "x, y"])
def test_what_is_no_tag_is_a_400_that_shows_one(make_request, header):
    with pytest.raises(MalformedPrecondition, match='e.g. "3"'):
        check_if_match(make_request(header), ROW)


@pytest.mark.parametrize("header", [None, "", "  "])
def test_a_missing_header_is_a_428_where_it_is_required(make_request, header, settings):
    with pytest.raises(PreconditionRequired, match="send the ETag"):
        check_if_match(make_request(header), ROW)
    check_if_match(make_request(header), ROW, required=False)
    settings.REQUIRE_IF_MATCH = False
    check_if_match(make_request(header), ROW)


def test_a_stale_version_is_refused_even_where_the_header_is_optional(make_request):
    with pytest.raises(PreconditionFailed):
        check_if_match(make_request('"6"'), ROW, required=False)


def test_an_operation_can_check_again_once_it_holds_the_lock(make_request):
    tags = read_if_match(make_request('"7"'))
    check_version(ROW, tags)
    with pytest.raises(PreconditionFailed):
        check_version(SimpleNamespace(version=8), tags)


@pytest.mark.parametrize(
    ("headers", "status", "code"),
    [
        ({}, 428, "precondition_required"),
        ({"If-Match": '"2"'}, 412, "precondition_failed"),
        ({"If-Match": "2"}, 400, "malformed_precondition"),
    ],
)
def test_refusals_are_problems(routes, headers, status, code):
    response = routes.patch(
        "/org/api/orders",
        {"code": "a"},
        content_type="application/json",
        headers=headers,
    )
    assert (response.status_code, response.json()["code"]) == (status, code)


def test_the_tag_of_an_answer_is_the_one_to_send(routes):
    body = {"code": "a"}
    kind = "application/json"
    tag = routes.post("/org/api/orders", body, content_type=kind)["ETag"]
    response = routes.patch(
        "/org/api/orders", body, content_type=kind, headers={"If-Match": tag}
    )
    assert response.status_code == 200
