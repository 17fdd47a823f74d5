"""What every request passes: its identity in the logs, CORS, and sane headers."""

import re
import uuid
from urllib.parse import unquote_to_bytes

from django.conf import settings
from django.http import HttpResponse
from django.utils.cache import patch_vary_headers

from . import context
from .problems import explain, is_api, problem_response, replace_page

MAX_ADDRESS = 4000  # characters of path and query; gunicorn's own limit is 4094

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_TRACE_PARENT = re.compile(
    r"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}"
)
# Django writes bytes of a path that are not UTF-8 as they came, with percent signs.
_BROKEN_PATH = re.compile("%[89A-F][0-9A-F]", re.IGNORECASE)

# For answers to programs; a view's own header wins.
API_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
}


class RequestContext:
    """
    Gives each request an id, and each refusal of the API its one shape.

    What no view could serve is refused here: addresses with bytes that no column
    takes, and a header that names another organization than the path.

    Source: W3C Trace Context for ``traceparent``.
    """

    def __init__(self, get_response):
        self._get_response = get_response

    def __call__(self, request):
        sent = request.headers.get("X-Request-Id", "")
        request_id = sent if _REQUEST_ID.fullmatch(sent) else uuid.uuid4().hex
        trace = request.headers.get("traceparent", "")
        context.request_id.set(request_id)
        context.trace_parent.set(trace if _TRACE_PARENT.fullmatch(trace) else "")
        context.organization_id.set("")
        response = _refuse_address(request) or self._get_response(request)
        if is_api(request.path):
            if _is_error_page(response):
                response = replace_page(request, response)
            for name, value in API_HEADERS.items():
                response.headers.setdefault(name, value)
        response["X-Request-Id"] = request_id
        return response

    def process_view(self, request, view_func, view_args, view_kwargs):
        organization_id = view_kwargs.get("organization_id")
        if organization_id is None:
            return None
        context.organization_id.set(str(organization_id))
        said = request.headers.get("Fx-Organization-Id", "").strip().lower()
        if said and said != str(organization_id):
            return problem_response(
                request,
                400,
                "organization_mismatch",
                "The header Fx-Organization-Id and the path name two organizations. "
                "Send the same in both, or leave the header out.",
            )
        return None

    def process_exception(self, request, exception):
        """Explain refusals of plain views; DRF's explain themselves."""
        return explain(request, exception) if is_api(request.path) else None


class Cors:
    """
    Lets pages of the configured origins call the API.

    Bearer tokens travel in a header that pages set themselves, so cookies are
    never allowed along.

    Source: Fetch standard, CORS protocol.
    """

    METHODS = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"
    ALLOWED = (
        "Authorization, Content-Type, Fx-Organization-Id, Idempotency-Key, If-Match, "
        "traceparent, X-Request-Id"
    )
    EXPOSED = (
        "ETag, Location, RateLimit, RateLimit-Policy, Retry-After, WWW-Authenticate, "
        "X-Request-Id"
    )

    def __init__(self, get_response):
        self._get_response = get_response

    def __call__(self, request):
        if not is_api(request.path):
            return self._get_response(request)
        origin = request.headers.get("Origin", "")
        allowed = settings.CORS_ALLOWED_ORIGINS
        is_allowed = origin in allowed or (origin and "*" in allowed)
        if request.method == "OPTIONS" and (
            "Access-Control-Request-Method" in request.headers
        ):
            response = HttpResponse(status=204)
            if is_allowed:
                response["Access-Control-Allow-Methods"] = self.METHODS
                response["Access-Control-Allow-Headers"] = self.ALLOWED
                response["Access-Control-Max-Age"] = "600"
        else:
            response = self._get_response(request)
        if is_allowed:
            response["Access-Control-Allow-Origin"] = "*" if "*" in allowed else origin
            response["Access-Control-Expose-Headers"] = self.EXPOSED
        if allowed and "*" not in allowed:
            patch_vary_headers(response, ["Origin"])
        return response


def _refuse_address(request):
    """Return the refusal of an address that nothing could serve, or None."""
    path = request.META.get("PATH_INFO", "")
    query = request.META.get("QUERY_STRING", "")
    if len(path) + len(query) > MAX_ADDRESS:
        detail = f"The address has more than {MAX_ADDRESS} characters. Send less."
        return _refusal(request, 414, "address_too_long", detail)
    try:  # WSGI hands the bytes of the query on as Latin-1
        text = unquote_to_bytes(query.encode("latin-1")).decode()
    except UnicodeError:
        text = "\x00"  # as bad as that
    if "\x00" not in text + path and not _BROKEN_PATH.search(path):
        return None
    detail = "The address holds a NUL or bytes that are not UTF-8."
    return _refusal(request, 400, "bad_request", detail)


def _refusal(request, status, code, detail):
    if is_api(request.path):
        return problem_response(request, status, code, detail)
    return HttpResponse(detail, status=status, content_type="text/plain")


def _is_error_page(response):
    kind = response.headers.get("Content-Type", "")
    return response.status_code >= 400 and kind.startswith("text/html")
