"""
The actuator, in the shape of Spring Boot's, for whoever watches the platform.

Plain Django: these answers must come when nothing else works, for any ``Accept``.
"""

import logging
from functools import partial

from django.conf import settings
from django.db import Error
from django.http import HttpResponse, JsonResponse
from django.utils.module_loading import import_string
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe
from rest_framework.exceptions import AuthenticationFailed

from orgmanager import metrics
from orgmanager.authentication import BearerAuthentication
from orgmanager.errors import DomainError
from orgmanager.problems import problem_response

from . import probes
from .info import info
from .monitor import DOWN, UP, Call

logger = logging.getLogger(__name__)

GROUPS = ["liveness", "readiness"]
PERMISSION = "platform_health_read"
PATIENCE = 1.0  # seconds to find out who is asking


@never_cache
@require_safe
def health(request):
    """Return how everything is. 503 only when what it takes to serve is down."""
    findings = probes.report()
    return _answer(request, findings, groups=GROUPS)


@never_cache
@require_safe
def liveness(request):
    """Return that this process answers: a restart would mend nothing else."""
    return JsonResponse({"status": UP})


@never_cache
@require_safe
def readiness(request):
    """Return whether this process can serve."""
    return _answer(request, probes.report(probes.READINESS))


@never_cache
@require_safe
def component(request, name):
    """Return how one component is; 503 when it is down."""
    findings = probes.report([name])
    if not findings:
        known = ", ".join(probes.components())
        detail = f"There is no component {name!r:.60}. There are: {known}."
        return problem_response(request, 404, "not_found", detail)
    body = _component(findings[name], with_details=_may_see_details(request))
    return JsonResponse(body, status=_http_status(body["status"]))


@never_cache
@require_safe
def show_info(request):
    """Return what is running."""
    return JsonResponse(info())


@never_cache
@require_safe
def show_metrics(request):
    """Return all metrics of all processes, as Prometheus text."""
    return HttpResponse(metrics.render(), content_type=metrics.CONTENT_TYPE)


def _answer(request, findings, **more):
    with_details = _may_see_details(request)
    status = probes.overall(findings)
    components = {
        name: _component(found, with_details=with_details)
        for name, found in findings.items()
    }
    body = {"status": status, "components": components, **more}
    return JsonResponse(body, status=_http_status(status))


def _component(found, *, with_details):
    if not with_details:
        return {"status": found.status}
    details = {
        "reason": found.reason,
        "nextStep": found.next_step,
        "affectedBy": found.affected_by,
        "checkedAt": found.checked_at,
    }
    details = {name: value for name, value in details.items() if value}
    return {"status": found.status, "details": details}


def _http_status(status):
    return 503 if status == DOWN else 200


def _may_see_details(request):
    if settings.HEALTH_SHOW_DETAILS != "when-authorized":
        return settings.HEALTH_SHOW_DETAILS == "always"
    if "HTTP_AUTHORIZATION" not in request.META:
        return False
    try:
        # Who that is may take the database, which is perhaps what hangs.
        return Call(partial(_is_authorized, request)).result(timeout=PATIENCE)
    except (DomainError, Error, AuthenticationFailed) as error:
        logger.info("Health is shown without details: %s", error)
        return False


def _is_authorized(request):
    principal, _ = BearerAuthentication().authenticate(request) or (None, None)
    if principal is None:
        return False
    return import_string(settings.PLATFORM_ACCESS)(principal, PERMISSION)
