"""The REST door: parse, authorize, call one operation, render."""

from types import SimpleNamespace

from django.conf import settings
from django.http import Http404
from django.views.decorators.debug import sensitive_variables
from drf_spectacular.utils import OpenApiResponse, extend_schema
from rest_framework import status as http
from rest_framework.permissions import AllowAny
from rest_framework.response import Response
from rest_framework.views import APIView

from orgmanager.outbox.models import Event
from orgmanager.pagination import KeysetPagination
from orgmanager.permissions import IsLicenceService, IsServiceAccount
from orgmanager.preconditions import etag

from . import access, operations, registration, status
from .models import Registration
from .serializers import (
    EnvironmentSerializer,
    EventSerializer,
    LicenceSerializer,
    OrganizationSerializer,
    RealmSerializer,
    RegisteredSerializer,
    RegisterSerializer,
    RegistrationSerializer,
)


class EnvironmentView(APIView):
    """Is the installation set up, and where does one sign in?"""

    authentication_classes = ()
    permission_classes = (AllowAny,)

    @extend_schema(operation_id="readEnvironment", responses=EnvironmentSerializer)
    def get(self, request):
        return Response(status.environment())


class RegistrationView(APIView):
    """The first run of an on-premises installation."""

    authentication_classes = ()
    permission_classes = (AllowAny,)

    def initial(self, request, *args, **kwargs):
        if settings.INSTALLATION_TYPE == "SAAS":
            raise Http404
        super().initial(request, *args, **kwargs)

    @extend_schema(operation_id="readRegistration", responses=RegistrationSerializer)
    def get(self, request):
        current = Registration.objects.filter(state__in=Registration.OPEN).first()
        if current is None:
            return Response({"state": "NONE", "steps": []})
        result = registration.outcome(current)
        body = {
            "state": current.state,
            "organization_id": current.organization_id,
            "code": result.organization.code,
            "steps": registration.steps(current),
        }
        return Response(RegistrationSerializer(body).data)

    @extend_schema(
        operation_id="register",
        request=RegisterSerializer,
        responses={
            201: RegisteredSerializer,
            202: OpenApiResponse(
                RegistrationSerializer,
                description="Still running; look at Location. Send the same again.",
            ),
        },
    )
    @sensitive_variables("form", "admin", "fields")
    def post(self, request):
        registration.refuse_if_registered()
        form = RegisterSerializer(data=request.data)
        form.is_valid(raise_exception=True)
        fields = form.validated_data
        admin = dict(fields["admin"])
        result = registration.register(
            token=fields["token"],
            password=admin.pop("password"),
            admin=admin,
            name=fields["organization_name"],
            actor="first-run",
        )
        if result.is_done:
            body = {"organization": status.sign_in_details(result.organization)}
            return Response(body, status=http.HTTP_201_CREATED)
        response = self.get(request)
        response.status_code = http.HTTP_202_ACCEPTED
        response["Location"] = "/org/api/org/single"
        response["Retry-After"] = "2"
        return response


class OrganizationView(APIView):
    """One organization, for its members and for operators."""

    @extend_schema(operation_id="readOrganization", responses=OrganizationSerializer)
    def get(self, request, organization_id):
        organization = access.load(request.user, organization_id, "org_read")
        body = OrganizationSerializer.show(organization)
        return Response(body, headers={"ETag": etag(organization)})


class OrganizationEventsView(APIView):
    """What happened to an organization, newest first."""

    pagination_class = KeysetPagination

    @extend_schema(
        operation_id="listOrganizationEvents",
        responses=EventSerializer(many=True),
    )
    def get(self, request, organization_id):
        access.load(request.user, organization_id, "org_audit_read")
        events = Event.objects.filter(organization_id=organization_id)
        paginator = self.pagination_class()
        page = paginator.paginate_queryset(events.select_related("stream"), request)
        return paginator.get_paginated_response(EventSerializer(page, many=True).data)


class RealmView(APIView):
    """Where tokens of an organization come from, for services of the platform."""

    permission_classes = (IsServiceAccount,)

    @extend_schema(operation_id="readRealm", responses=RealmSerializer)
    def get(self, request, organization_id):
        return Response(status.realm(organization_id))


class LicenceView(APIView):
    """What an organization may use, told by the licence service."""

    permission_classes = (IsLicenceService,)

    @extend_schema(
        operation_id="syncLicence",
        request=LicenceSerializer,
        responses=LicenceSerializer,
    )
    def put(self, request, organization_id):
        form = LicenceSerializer(data=request.data)
        form.is_valid(raise_exception=True)
        licence = SimpleNamespace(
            organization_id=organization_id, **form.validated_data
        )
        row, _ = operations.sync_licence(
            organization_id, licence, source="rest", actor=request.user.actor
        )
        return Response(LicenceSerializer(row).data)
