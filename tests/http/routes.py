"""Addresses of tests alone: views that refuse in every way a view can."""

from types import SimpleNamespace

from django.core import exceptions as django_exceptions
from django.core.exceptions import ValidationError
from django.db import IntegrityError, InterfaceError, InternalError, OperationalError
from django.http import Http404, HttpResponse
from django.urls import include, path
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_safe
from psycopg.errors import IdleInTransactionSessionTimeout, InFailedSqlTransaction
from psycopg_pool import PoolTimeout
from rest_framework import exceptions, serializers
from rest_framework.response import Response
from rest_framework.views import APIView

from orgmanager import docs, errors
from orgmanager.parsers import JSONParser, MergePatchParser
from orgmanager.preconditions import check_if_match, etag
from orgmanager.serializers import CamelSerializer


def internal_error(cause):
    """Return what Django raises where PostgreSQL says ``cause``."""
    error = InternalError("canary")
    error.__cause__ = cause
    return error


REFUSALS = {
    "invalid": errors.Invalid("Not so. Send it otherwise."),
    "unauthenticated": errors.Unauthenticated("Sign in."),
    "forbidden": errors.Forbidden("Not you."),
    "missing": errors.Missing("There is none."),
    "conflict": errors.Conflict("Not now."),
    "too-large": errors.TooLarge("Too much."),
    "rejected": errors.Rejected("They said no."),
    "unavailable": errors.Unavailable("They said nothing."),
    "operational-error": OperationalError("password=canary"),
    "interface-error": InterfaceError("canary"),
    "pool-timeout": PoolTimeout("canary"),
    "frozen-transaction": internal_error(IdleInTransactionSessionTimeout("canary")),
    "failed-transaction": internal_error(InFailedSqlTransaction("canary")),
    "integrity-error": IntegrityError("canary"),
    "bug": ZeroDivisionError("canary"),
    "http404": Http404("canary"),
    "permission-denied": django_exceptions.PermissionDenied("canary"),
    "suspicious": django_exceptions.SuspiciousOperation("canary"),
    "bad-request": django_exceptions.BadRequest("canary"),
    "too-big": django_exceptions.RequestDataTooBig("canary"),
    "throttled": exceptions.Throttled(wait=7),
    "model-validation": ValidationError({"first_name": ["Too short."]}),
}


class ItemSerializer(CamelSerializer):
    unit_price = serializers.IntegerField(min_value=0)


class OrderSerializer(CamelSerializer):
    """Has fields called like the parts of DRF's own details."""

    id = serializers.UUIDField(read_only=True)
    code = serializers.CharField(max_length=5)
    message = serializers.CharField(max_length=5, required=False)
    order_items = ItemSerializer(many=True, required=False)
    tags_by_name = serializers.DictField(
        child=serializers.CharField(max_length=5), required=False
    )
    note = serializers.JSONField(required=False)


class OpenView(APIView):
    authentication_classes = ()
    permission_classes = ()
    parser_classes = (JSONParser, MergePatchParser)


class OrderView(OpenView):
    """Takes an order and shows what was understood."""

    serializer_class = OrderSerializer
    row = SimpleNamespace(version=3)

    def post(self, request):
        form = OrderSerializer(data=request.data)
        form.is_valid(raise_exception=True)
        return Response(form.validated_data, headers={"ETag": etag(self.row)})

    def patch(self, request):
        check_if_match(request, self.row)
        form = OrderSerializer(data=request.data, partial=True)
        form.is_valid(raise_exception=True)
        return Response(form.validated_data)


class EchoView(OpenView):
    """Shows the body as it was parsed."""

    def post(self, request):
        return Response({"said": request.data})


class RefusalView(OpenView):
    def get(self, request, name):
        raise REFUSALS[name]


class OrganizationView(OpenView):
    def get(self, request, organization_id):
        return Response({})


@require_safe
def refuse_plainly(request, name):
    raise REFUSALS[name]


@csrf_exempt
@require_safe
def page(request):
    return HttpResponse("fine")


api = [
    path("orders", OrderView.as_view()),
    path("echo", EchoView.as_view()),
    path("refusals/<str:name>", RefusalView.as_view()),
    path("organizations/<uuid:organization_id>", OrganizationView.as_view()),
    path("schema", docs.document),
    path("docs", docs.page),
    path("docs/assets/<str:name>", docs.asset),
]

urlpatterns = [
    path("org/api/", include(api)),
    path("api/", include(api)),
    path("actuator/refusals/<str:name>", refuse_plainly),
    path("actuator/page", page),
    path("people/refusals/<str:name>", refuse_plainly),
]

handler400 = "orgmanager.problems.bad_request"
handler403 = "orgmanager.problems.permission_denied"
handler404 = "orgmanager.problems.page_not_found"
handler500 = "orgmanager.problems.server_error"
