"""What every request passes: its identity in the logs, CORS, and sane headers."""

import re
import uuid

from django.conf import settings
from django.http import HttpResponse

from . import context
from .problems import is_api, problem_response

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_TRACE_PARENT = re.compile(r"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")


class RequestContext:
    """
    Gives each request an id, and refuses addresses that nothing could serve.

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
        response = self._answer(request)
        response["X-Request-Id"] = request_id
        if is_api(request.path):
            response.headers.setdefault("Cache-Control", "no-store")
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

    def _answer(self, request):
        query = request.META.get("QUERY_STRING", "")
        if "\x00" in request.path or "%00" in query or "\ufffd" in request.path:
            return problem_response(
                request,
                400,
                "bad_request",
                "The address holds a NUL or bytes that are not UTF-8.",
            )
        return self._get_response(request)


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
            response.headers["Vary"] = ", ".join(
                filter(None, [response.headers.get("Vary"), "Origin"])
            )
        return response
