"""What goes over the wire: field names in Python are snake_case, there camelCase."""

from django.utils import timezone
from rest_framework import serializers

from orgmanager.serializers import CamelSerializer

from .models import Organization


class SignInSerializer(CamelSerializer):
    """Where people of the organization sign in."""

    id = serializers.UUIDField()
    code = serializers.CharField()
    name = serializers.CharField()
    issuer = serializers.URLField()
    token_endpoint = serializers.URLField()
    client_id = serializers.CharField()
    redirect_uri = serializers.CharField()


class EnvironmentSerializer(CamelSerializer):
    """Whether the installation is set up; with ``OK``, where to sign in."""

    installation_type = serializers.ChoiceField(["ONPREM", "SAAS"])
    status = serializers.ChoiceField(["MISSING_ORGANIZATION", "MISSING_LICENCE", "OK"])
    organization = SignInSerializer(required=False)


class OrganizationSerializer(CamelSerializer):
    """
    An organization as the API shows it.

    ``status`` changes through an operation's address, never through a PATCH.
    """

    id = serializers.UUIDField()
    code = serializers.CharField()
    name = serializers.CharField()
    external_id = serializers.CharField()
    attributes = serializers.DictField()
    status = serializers.ChoiceField(Organization.Status.choices)
    status_changed_at = serializers.DateTimeField()
    created_at = serializers.DateTimeField()


class EventSerializer(CamelSerializer):
    """A thing that happened."""

    id = serializers.UUIDField(source="event_id")
    type = serializers.CharField()
    subject = serializers.CharField()
    actor = serializers.CharField()
    reason = serializers.CharField()
    topic = serializers.CharField(source="stream.topic")
    sequence = serializers.IntegerField()
    recorded_at = serializers.DateTimeField()
    data = serializers.DictField()


class RealmSerializer(CamelSerializer):
    """Where tokens of an organization come from, and whether it is usable."""

    organization_id = serializers.UUIDField()
    status = serializers.ChoiceField(Organization.Status.choices)
    issuer = serializers.URLField()
    jwks_uri = serializers.URLField()
    token_endpoint = serializers.URLField()


class LicenceSerializer(CamelSerializer):
    """What the organization may use. Times are RFC 3339; the newest wins."""

    plan = serializers.CharField(max_length=100)
    valid_from = serializers.DateTimeField()
    valid_to = serializers.DateTimeField()
    limits = serializers.DictField(default=dict)
    features = serializers.ListField(
        child=serializers.CharField(max_length=200), default=list, max_length=500
    )
    issued_at = serializers.DateTimeField(
        default=timezone.now,
        help_text="When the licence server made it; what is older is ignored.",
    )

    def validate(self, attrs):
        if attrs["valid_to"] <= attrs["valid_from"]:
            raise serializers.ValidationError(
                {"validTo": "The end must come after the beginning (validFrom)."}
            )
        return attrs


class AdminSerializer(CamelSerializer):
    """The first administrator."""

    email = serializers.EmailField(max_length=254)
    first_name = serializers.CharField(max_length=100)
    last_name = serializers.CharField(max_length=100)
    password = serializers.CharField(
        max_length=256,
        write_only=True,
        trim_whitespace=False,
        help_text="8 to 64 characters: upper and lower case, a digit, and one of "
        "!@#$%^&*()_+-",
    )


class RegisterSerializer(CamelSerializer):
    """What the first run asks for."""

    token = serializers.CharField(
        max_length=16384, write_only=True, help_text="The registration token, whole."
    )
    admin = AdminSerializer()
    organization_name = serializers.CharField(
        max_length=200, required=False, allow_blank=True, default=""
    )


class RegistrationStepSerializer(CamelSerializer):
    """How far one step is."""

    step = serializers.CharField()
    title = serializers.CharField()
    state = serializers.ChoiceField(["DUE", "DONE", "PARKED"])
    attempts = serializers.IntegerField()
    error_code = serializers.CharField(
        help_text="Why it is not done yet; the console and the log have the sentence."
    )


class RegistrationSerializer(CamelSerializer):
    """How far the registration is; ``NONE`` while there is none."""

    state = serializers.ChoiceField(["NONE", "RUNNING", "DONE"])
    organization_id = serializers.UUIDField(required=False)
    code = serializers.CharField(required=False)
    steps = RegistrationStepSerializer(many=True)


class RegisteredSerializer(CamelSerializer):
    """The organization that was registered, as GET /env shows it."""

    organization = SignInSerializer()
