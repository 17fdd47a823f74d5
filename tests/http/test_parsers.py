"""Content types and sizes, through real views."""

import io

import pytest
from django.http.request import UnreadablePostError

from orgmanager.chunked_bodies import ChunkedBodies
from orgmanager.parsers import MAX_BODY, BodyTooLarge, JSONParser, MalformedBody

ECHO = "/org/api/echo"


@pytest.mark.parametrize(
    "content_type",
    [
        "application/json",
        "application/json; charset=utf-8",
        "APPLICATION/JSON",
        "application/json;charset=UTF-8;x=y",
    ],
)
def test_json_by_any_spelling_is_parsed(routes, content_type):
    response = routes.post(ECHO, b'{"a": 1}', content_type=content_type)
    assert response.json() == {"said": {"a": 1}}


@pytest.mark.parametrize(
    "content_type",
    [
        "text/json",
        "application/x-www-form-urlencoded",
        "multipart/form-data",
        "json",
        "",
    ],
)
def test_another_type_is_a_415(routes, content_type):
    response = routes.post(ECHO, b"a=1", content_type=content_type)
    assert response.status_code == 415
    assert response.json()["code"] == "unsupported_media_type"


def test_a_merge_patch_is_taken_by_patch_alone(routes):
    kind = "application/merge-patch+json"
    patched = routes.patch(
        "/org/api/orders", b'{"code": "x"}', content_type=kind, HTTP_IF_MATCH='"3"'
    )
    assert patched.json() == {"code": "x"}
    assert routes.post(ECHO, b"{}", content_type=kind).status_code == 415


def test_a_body_of_just_the_limit_is_taken(routes):
    body = b'"' + b"x" * (MAX_BODY - 2) + b'"'
    assert routes.post(ECHO, body, content_type="application/json").status_code == 200
    more = body[:-1] + b'x"'
    response = routes.post(ECHO, more, content_type="application/json")
    assert response.status_code == 413
    assert response.json()["code"] == "body_too_large"


def test_a_length_past_the_limit_is_refused_before_anything_is_read(rf):
    request = rf.post("/", b"", content_type="application/json")
    request.META["CONTENT_LENGTH"] = str(MAX_BODY + 1)
    request.read = pytest.fail
    with pytest.raises(BodyTooLarge):
        JSONParser().parse(request)


def test_a_body_of_unknown_length_is_counted():
    with pytest.raises(BodyTooLarge):
        JSONParser().parse(io.BytesIO(b" " * (MAX_BODY + 1)))


def test_a_body_that_breaks_off_is_the_senders_fault():
    class Broken(io.BytesIO):
        def read(self, size=-1):
            raise UnreadablePostError("connection reset")

    with pytest.raises(MalformedBody, match="ended before"):
        JSONParser().parse(Broken())


def through_chunks(body, **environ):
    """Return what an application behind ChunkedBodies is given."""
    seen = {}

    def application(environ, start_response):
        seen.update(environ)
        return []

    given = {
        "HTTP_TRANSFER_ENCODING": "chunked",
        "CONTENT_TYPE": "application/json",
        "wsgi.input_terminated": True,
        "wsgi.input": io.BytesIO(body),
    }
    ChunkedBodies(application)(given | environ, None)
    return seen


def test_a_chunked_body_gets_a_length():
    seen = through_chunks(b'{"a": 1}')
    assert seen["CONTENT_LENGTH"] == "8" and seen["wsgi.input"].read() == b'{"a": 1}'


def test_a_chunked_body_past_the_limit_is_one_byte_too_long():
    seen = through_chunks(b" " * (MAX_BODY * 2))
    assert seen["CONTENT_LENGTH"] == str(MAX_BODY + 1)


def test_a_chunked_upload_has_the_limit_of_uploads(settings):
    settings.MULTIPART_MAX_REQUEST_SIZE = MAX_BODY * 3
    upload = {"CONTENT_TYPE": "multipart/form-data; boundary=x"}
    seen = through_chunks(b" " * (MAX_BODY * 2), **upload)
    assert seen["CONTENT_LENGTH"] == str(MAX_BODY * 2)
    seen = through_chunks(b" " * (MAX_BODY * 4), **upload)
    assert seen["CONTENT_LENGTH"] == str(MAX_BODY * 3 + 1)


@pytest.mark.parametrize(
    "environ",
    [
        {"HTTP_TRANSFER_ENCODING": ""},
        {"CONTENT_LENGTH": "3"},
        {"wsgi.input_terminated": False},  # reading might never end
    ],
)
def test_a_body_that_is_not_chunked_is_left_alone(environ):
    stream = io.BytesIO(b"abc")
    assert (
        through_chunks(b"", **{"wsgi.input": stream} | environ)["wsgi.input"] is stream
    )
