"""
Every refusal of the API in one shape, wherever it was raised.

Source: RFC 9457. Pages for people (the console) keep Django's own.
"""

import logging
import re
from http import HTTPStatus
from itertools import islice

from django.core.exceptions import (
    NON_FIELD_ERRORS,
    BadRequest,
    PermissionDenied,
    RequestDataTooBig,
    SuspiciousOperation,
)
from django.core.exceptions import ValidationError as ModelValidationError
from django.db import InternalError
from django.http import Http404, JsonResponse
from django.http.multipartparser import MultiPartParserError
from django.http.request import UnreadablePostError
from django.views import defaults
from psycopg.errors import IdleInTransactionSessionTimeout
from rest_framework import exceptions
from rest_framework.response import Response
from rest_framework.settings import api_settings
from rest_framework.views import set_rollback

from . import context, errors
from .pointers import pointer
from .preconditions import PreconditionFailed, PreconditionRequired
from .serializers import camel

logger = logging.getLogger(__name__)

CONTENT_TYPE = "application/problem+json"
MAX_ERRORS = 100  # listed in one problem; a body can have many thousands
MAX_INSTANCE = 500  # characters

_API = re.compile(r"/(?:org/)?api(?:/|\Z)|/(?:realms|actuator)(?:/|\Z)")
_KEPT_HEADERS = ("Allow", "Retry-After", "WWW-Authenticate")

_MALFORMED = (
    BadRequest,
    SuspiciousOperation,
    MultiPartParserError,
    UnreadablePostError,
)

# The first that fits decides, so the particular stands before the general.
STATUS = {
    PreconditionRequired: HTTPStatus.PRECONDITION_REQUIRED,
    PreconditionFailed: HTTPStatus.PRECONDITION_FAILED,
    errors.Invalid: HTTPStatus.BAD_REQUEST,
    errors.Unauthenticated: HTTPStatus.UNAUTHORIZED,
    errors.Forbidden: HTTPStatus.FORBIDDEN,
    errors.Missing: HTTPStatus.NOT_FOUND,
    errors.Conflict: HTTPStatus.CONFLICT,
    errors.TooLarge: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    errors.Rejected: HTTPStatus.BAD_GATEWAY,
    errors.Unavailable: HTTPStatus.SERVICE_UNAVAILABLE,
}

# What to do, where Django and DRF say only what is wrong.
DETAILS = {
    "bad_request": "The request is malformed and was not looked at.",
    "forbidden": "This is not allowed.",
    "method_not_allowed": "This address does not take the method; see Allow.",
    "not_acceptable": "Answers are JSON: send Accept: application/json.",
    "not_authenticated": "Send a bearer token: Authorization: Bearer TOKEN.",
    "not_found": "There is nothing at this address. See /org/api/docs.",
}


def is_api(path):
    """Return whether ``path`` belongs to programs, not to people."""
    return _API.match(path) is not None


def problem_handler(exc, handler_context):
    """
    Return the problem response for ``exc``; None for a bug, so Django's 500.

    Shape: {"type", "code", "title", "status", "detail", "instance",
    "requestId", "errors"?: [{"pointer", "detail", "code"}]}.
    Source: set as REST_FRAMEWORK["EXCEPTION_HANDLER"].
    """
    request = handler_context["request"]
    described = describe(exc)
    if described is None:
        return None
    set_rollback()
    status, code, detail, found, headers = described
    body = problem(request.path, status, code, detail, found)
    return Response(body, status=status, headers=headers, content_type=CONTENT_TYPE)


def describe(exc):
    """Return (status, code, detail, errors, headers) for ``exc``, or None: a bug."""
    if isinstance(exc, errors.DomainError):
        return _from_domain(exc)
    if isinstance(exc, errors.DATABASE_DOWN) or _was_frozen(exc):
        logger.error("The database failed: %s", type(exc).__name__, exc_info=exc)
        detail = (
            "The database does not answer. Try again; where you changed something, "
            "read first whether that was done."
        )
        headers = {"Retry-After": str(errors.Unavailable.retry_after)}
        return HTTPStatus.SERVICE_UNAVAILABLE, "unavailable", detail, [], headers
    if isinstance(exc, RequestDataTooBig):
        detail = "The request is larger than is taken here. Send less."
        return HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "body_too_large", detail, [], {}
    if isinstance(exc, _MALFORMED):
        detail = DETAILS["bad_request"]
        return HTTPStatus.BAD_REQUEST, "bad_request", detail, [], {}
    if isinstance(exc, Http404):
        exc = exceptions.NotFound()
    elif isinstance(exc, PermissionDenied):
        exc = exceptions.PermissionDenied()
    elif isinstance(exc, ModelValidationError):
        return _invalid(_model_errors(exc))
    if isinstance(exc, exceptions.ValidationError):
        return _invalid(_flatten(exc.get_full_details(), []))
    if isinstance(exc, exceptions.APIException):
        return _from_drf(exc)
    return None


def _was_frozen(exc):
    """Say whether PostgreSQL ended a transaction that this process forgot."""
    is_internal = isinstance(exc, InternalError)
    return is_internal and isinstance(exc.__cause__, IdleInTransactionSessionTimeout)


def problem(path, status, code, detail, found=()):
    """Return the body of a problem."""
    status = HTTPStatus(status)
    body = {
        "type": f"urn:orgmanager:problem:{code}",
        "code": code,
        "title": status.phrase,
        "status": status.value,
        "detail": detail,
        "instance": path[:MAX_INSTANCE],
        "requestId": context.request_id.get(),
    }
    return body | {"errors": list(found)} if found else body


def problem_response(request, status, code, detail, headers=None, found=()):
    """Return a problem as a plain Django response, for what lies outside DRF."""
    body = problem(request.path, status, code, detail, found)
    return JsonResponse(body, status=status, headers=headers, content_type=CONTENT_TYPE)


def explain(request, exc):
    """Return the problem response for ``exc`` outside DRF; None for a bug."""
    described = describe(exc)
    if described is None:
        return None
    status, code, detail, found, headers = described
    return problem_response(request, status, code, detail, headers, found)


def replace_page(request, response):
    """Return a problem that says what the error page ``response`` says."""
    status = HTTPStatus(response.status_code)
    code = status.name.lower()
    detail = DETAILS.get(code, f"{status.description or status.phrase}.")
    headers = {name: response[name] for name in _KEPT_HEADERS if name in response}
    return problem_response(request, status, code, detail, headers)


def _from_domain(exc):
    kinds = (status for kind, status in STATUS.items() if isinstance(exc, kind))
    status = next(kinds, HTTPStatus.BAD_REQUEST)
    headers = {}
    if isinstance(exc, errors.Unavailable):
        headers["Retry-After"] = str(exc.retry_after)
    if isinstance(exc, errors.Unauthenticated):
        headers["WWW-Authenticate"] = "Bearer"
    return status, exc.code, str(exc), exc.errors, headers


def _from_drf(exc):
    code = exc.get_codes() if isinstance(exc.get_codes(), str) else "invalid"
    detail = str(exc.detail)
    is_own = detail != str(exc.default_detail) and code != "method_not_allowed"
    if code in DETAILS and not is_own:
        detail = DETAILS[code]
    headers = {}
    if wait := getattr(exc, "wait", None):
        headers["Retry-After"] = str(int(wait) + 1)
    if challenge := getattr(exc, "auth_header", None):
        headers["WWW-Authenticate"] = challenge
    if isinstance(exc, exceptions.UnsupportedMediaType):
        detail += " Send application/json."
    return exc.status_code, code, detail, [], headers


def _invalid(found):
    detail = "Some fields were refused; see errors."
    found = list(islice(found, MAX_ERRORS))
    return HTTPStatus.BAD_REQUEST, "invalid", detail, found, {}


def _flatten(details, path):
    """Yield {"pointer", "detail", "code"} for each message in DRF's nested details."""
    if _is_message(details):
        message, code = str(details["message"]), details["code"]
        yield {"pointer": pointer(path), "detail": message, "code": code}
    elif isinstance(details, dict):
        for name, inner in details.items():
            is_whole = name == api_settings.NON_FIELD_ERRORS_KEY
            yield from _flatten(inner, path if is_whole else [*path, name])
    else:
        are_messages = all(_is_message(each) for each in details)
        for index, inner in enumerate(details):
            yield from _flatten(inner, path if are_messages else [*path, index])


def _is_message(details):
    # A serializer may have fields named "message" and "code": their details are lists.
    return isinstance(details, dict) and isinstance(details.get("message"), str)


def _model_errors(exc):
    is_by_field = hasattr(exc, "error_dict")
    fields = exc.error_dict if is_by_field else {NON_FIELD_ERRORS: exc.error_list}
    for field, found in fields.items():
        path = [] if field == NON_FIELD_ERRORS else [camel(field)]
        for error in found:
            for message in error.messages:
                code = error.code or "invalid"
                yield {"pointer": pointer(path), "detail": message, "code": code}


# --- Django's handlers, for what never reaches a view of the API ---------------


def bad_request(request, exception):
    """Answer 400 as a problem to programs, as a page to people."""
    if not is_api(request.path):
        return defaults.bad_request(request, exception)
    if (response := explain(request, exception)) is not None:
        return response
    return problem_response(request, 400, "bad_request", DETAILS["bad_request"])


def permission_denied(request, exception):
    """Answer 403 as a problem to programs, as a page to people."""
    if not is_api(request.path):
        return defaults.permission_denied(request, exception)
    return explain(request, exception)


def page_not_found(request, exception):
    """Answer 404 as a problem to programs, as a page to people."""
    if not is_api(request.path):
        return defaults.page_not_found(request, exception)
    return problem_response(request, 404, "not_found", DETAILS["not_found"])


def server_error(request):
    """Answer 500 without a word of what went wrong: that is in the log."""
    if not is_api(request.path):
        return defaults.server_error(request)
    detail = (
        "Something is broken here, and it is not your request. Tell the operator "
        "the requestId: the log has the rest under it."
    )
    return problem_response(request, 500, "internal_error", detail)
