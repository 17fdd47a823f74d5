"""
Every refusal of the API in one shape, wherever it was raised.

Source: RFC 9457. Pages for people (the console) keep Django's own.
"""

import logging
from http import HTTPStatus

from django.core.exceptions import (
    PermissionDenied,
    RequestDataTooBig,
)
from django.core.exceptions import ValidationError as ModelValidationError
from django.db import DatabaseError, InterfaceError
from django.http import Http404, JsonResponse
from django.views import defaults
from psycopg_pool import PoolTimeout
from rest_framework import exceptions
from rest_framework.response import Response
from rest_framework.views import set_rollback

from . import context, errors
from .preconditions import PreconditionFailed, PreconditionRequired
from .serializers import camel

logger = logging.getLogger(__name__)

CONTENT_TYPE = "application/problem+json"
API_PREFIXES = ("/org/api/", "/api/", "/realms/", "/actuator/")

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

# What DRF's own refusals say, as sentences that tell what to do.
DETAILS = {
    "not_found": "There is nothing at this address. See /org/api/docs.",
    "not_authenticated": "Send a bearer token: Authorization: Bearer TOKEN.",
}


def is_api(path):
    """Return whether ``path`` belongs to programs, not to people."""
    return path.startswith(API_PREFIXES)


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
        status = next(s for kind, s in STATUS.items() if isinstance(exc, kind))
        headers = {}
        if isinstance(exc, errors.Unavailable):
            headers["Retry-After"] = str(exc.retry_after)
        if isinstance(exc, errors.Unauthenticated):
            headers["WWW-Authenticate"] = "Bearer"
        return status, exc.code, str(exc), exc.errors, headers
    if isinstance(exc, DatabaseError | InterfaceError | PoolTimeout):
        logger.error("The database failed: %s", type(exc).__name__, exc_info=exc)
        detail = "The database does not answer. Nothing was changed; try again."
        headers = {"Retry-After": "5"}
        return HTTPStatus.SERVICE_UNAVAILABLE, "unavailable", detail, [], headers
    if isinstance(exc, RequestDataTooBig):
        detail = "The request is larger than is taken here. Send less."
        return HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "body_too_large", detail, [], {}
    if isinstance(exc, Http404):
        exc = exceptions.NotFound(DETAILS["not_found"])
    elif isinstance(exc, PermissionDenied):
        exc = exceptions.PermissionDenied()
    elif isinstance(exc, ModelValidationError):
        return _invalid(_model_errors(exc))
    if isinstance(exc, exceptions.ValidationError):
        return _invalid(list(_flatten(exc.get_full_details(), "")))
    if isinstance(exc, exceptions.APIException):
        return _from_drf(exc)
    return None


def problem(path, status, code, detail, found=()):
    """Return the body of a problem."""
    status = HTTPStatus(status)
    body = {
        "type": f"urn:orgmanager:problem:{code}",
        "code": code,
        "title": status.phrase,
        "status": status.value,
        "detail": detail,
        "instance": path,
        "requestId": context.request_id.get(),
    }
    return body | {"errors": list(found)} if found else body


def problem_response(request, status, code, detail, headers=None):
    """Return a problem as a plain Django response, for what lies outside DRF."""
    body = problem(request.path, status, code, detail)
    return JsonResponse(
        body, status=status, headers=headers, content_type=CONTENT_TYPE
    )


def _from_drf(exc):
    code = exc.get_codes() if isinstance(exc.get_codes(), str) else "invalid"
    detail = DETAILS.get(code, str(exc.detail))
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
    return HTTPStatus.BAD_REQUEST, "invalid", detail, found, {}


def _flatten(details, pointer):
    """Yield {"pointer", "detail", "code"} for each message in DRF's nested details."""
    if isinstance(details, dict) and {"message", "code"} == set(details):
        yield {
            "pointer": pointer,
            "detail": str(details["message"]),
            "code": details["code"],
        }
    elif isinstance(details, dict):
        for name, inner in details.items():
            whole = name == "non_field_errors"
            yield from _flatten(inner, pointer if whole else f"{pointer}/{_part(name)}")
    else:
        messages = all(
            isinstance(each, dict) and {"message", "code"} == set(each)
            for each in details
        )
        for index, inner in enumerate(details):
            yield from _flatten(inner, pointer if messages else f"{pointer}/{index}")


def _part(name):
    text = str(name).replace("~", "~0").replace("/", "~1")
    return text.encode("ascii", "backslashreplace").decode()[:200]


def _model_errors(exc):
    fields = getattr(exc, "error_dict", {"": exc.error_list})
    return [
        {
            "pointer": f"/{camel(field)}" if field not in ("", "__all__") else "",
            "detail": message,
            "code": error.code or "invalid",
        }
        for field, found in fields.items()
        for error in found
        for message in error.messages
    ]


# --- Django's handlers, for what never reaches a view of the API ---------------


def bad_request(request, exception):
    """Answer 400 as a problem to programs, as a page to people."""
    if not is_api(request.path):
        return defaults.bad_request(request, exception)
    if described := describe(exception):
        status, code, detail, _, headers = described
        return problem_response(request, status, code, detail, headers)
    detail = "The request is malformed and was not looked at."
    return problem_response(request, 400, "bad_request", detail)


def permission_denied(request, exception):
    """Answer 403 as a problem to programs, as a page to people."""
    if not is_api(request.path):
        return defaults.permission_denied(request, exception)
    detail = "This is not allowed."
    return problem_response(request, 403, "permission_denied", detail)


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
