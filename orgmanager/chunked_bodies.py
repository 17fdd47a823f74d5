"""Bodies of unknown length: Django reads none that comes without Content-Length."""

from tempfile import SpooledTemporaryFile

from django.conf import settings

PIECE = 64 * 1024  # bytes


class ChunkedBodies:
    """
    WSGI application around another that gives chunked bodies a length.

    Many clients send JSON this way, Spring's since 6.1. A body past the limit is
    handed on one byte too long, for whoever reads it to refuse: 413 either way.

    Source: RFC 9112, section 7.1; wsgi.input_terminated as gunicorn sets it.
    """

    def __init__(self, application):
        self._application = application

    def __call__(self, environ, start_response):
        is_chunked = environ.get("HTTP_TRANSFER_ENCODING", "").lower() == "chunked"
        if (
            is_chunked
            and environ.get("wsgi.input_terminated")
            and not environ.get("CONTENT_LENGTH")
        ):
            body, length = _read(environ["wsgi.input"], _limit(environ))
            environ |= {"wsgi.input": body, "CONTENT_LENGTH": str(length)}
        return self._application(environ, start_response)


def _limit(environ):
    if environ.get("CONTENT_TYPE", "").lower().startswith("multipart/"):
        return settings.MULTIPART_MAX_REQUEST_SIZE
    return settings.DATA_UPLOAD_MAX_MEMORY_SIZE


def _read(stream, limit):
    in_memory = settings.DATA_UPLOAD_MAX_MEMORY_SIZE
    body = SpooledTemporaryFile(max_size=in_memory)  # noqa: SIM115  outlives this call
    left = limit + 1
    while left and (piece := stream.read(min(PIECE, left))):
        left -= body.write(piece)
    body.seek(0)
    return body, limit + 1 - left
