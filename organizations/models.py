"""Organizations, their users, their licence, and the registration that began it."""

import json
import uuid

from django.core.validators import RegexValidator
from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Lower
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from orgmanager.keyring import keyring

from .exceptions import OrganizationNotFound, TransitionNotAllowed, UserNotFound

CODE_PATTERN = r"[a-z0-9][a-z0-9-]{1,62}"


class OrganizationQuerySet(models.QuerySet):
    def visible(self):
        """Organizations that are not deleted."""
        return self.exclude(status=Organization.Status.DELETED)

    def locked(self, pk):
        """Return the row, locked until the transaction ends."""
        organization = self.select_for_update().filter(pk=pk).first()
        if organization is None:
            raise OrganizationNotFound(f"There is no organization {pk}.")
        return organization

    def by_code(self, code):
        """Return the organization that is called ``code`` now."""
        organization = self.visible().filter(code=code).first()
        if organization is None:
            known = ", ".join(self.visible().values_list("code", flat=True)[:10])
            raise OrganizationNotFound(
                f"There is no organization {code!r}. There is: {known or 'none yet'}."
            )
        return organization


class Organization(models.Model):
    """
    A customer of the platform: the root of its tenants, users and LLM keys.

    This class says what is allowed. operations.py says what happens.
    """

    class Status(models.TextChoices):
        PENDING = "PENDING", _("Pending")
        ACTIVE = "ACTIVE", _("Active")
        SUSPENDED = "SUSPENDED", _("Suspended")
        DELETING = "DELETING", _("Being deleted")
        DELETED = "DELETED", _("Deleted")

    # The whole lifecycle. A step that is not listed does not exist.
    STEPS = {
        Status.PENDING: {Status.ACTIVE, Status.DELETED},
        Status.ACTIVE: {Status.SUSPENDED, Status.DELETING},
        Status.SUSPENDED: {Status.ACTIVE, Status.DELETING},
        Status.DELETING: {Status.ACTIVE, Status.SUSPENDED, Status.DELETED},
        Status.DELETED: set(),
    }
    STEP_FIELDS = ("status", "status_changed_at", "version")  # become() writes these

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    code = models.CharField(
        _("code"),
        max_length=63,
        validators=[RegexValidator(rf"\A{CODE_PATTERN}\Z")],
        help_text=_("Short name in addresses and scripts, e.g. acme."),
    )
    name = models.CharField(_("name"), max_length=200)
    external_id = models.CharField(_("external id"), max_length=200, blank=True)
    attributes = models.JSONField(_("attributes"), default=dict, blank=True)
    status = models.CharField(
        _("status"),
        max_length=16,
        choices=Status,
        default=Status.PENDING,
        editable=False,
    )
    status_changed_at = models.DateTimeField(
        _("status since"), default=timezone.now, editable=False
    )
    authorization_generation = models.PositiveBigIntegerField(
        default=1,
        editable=False,
        help_text=_("Raised with every change of who may do what."),
    )
    version = models.PositiveIntegerField(_("version"), default=1, editable=False)
    created_at = models.DateTimeField(
        _("created at"), default=timezone.now, editable=False
    )

    objects = OrganizationQuerySet.as_manager()

    class Meta:
        verbose_name = _("organization")
        verbose_name_plural = _("organizations")
        ordering = ["code"]
        constraints = [
            models.UniqueConstraint(
                fields=["code"],
                condition=~Q(status="DELETED"),
                name="organizations_organization_code_unique",
                violation_error_message=_("This code is taken."),
            ),
            models.CheckConstraint(
                condition=Q(
                    status__in=["PENDING", "ACTIVE", "SUSPENDED", "DELETING", "DELETED"]
                ),
                name="organizations_organization_status_known",
            ),
        ]

    def __str__(self):
        return self.code

    def can_become(self, status):
        return status in self.STEPS[self.status]

    def become(self, status):
        """
        Take one lifecycle step in memory; the caller saves.

        Raises: TransitionNotAllowed, listing the steps that are possible.
        """
        if not self.can_become(status):
            possible = ", ".join(sorted(self.STEPS[self.status])) or "none"
            raise TransitionNotAllowed(
                f"Organization {self.code!r} is {self.status} and cannot become "
                f"{status}. Possible from here: {possible}."
            )
        self.status = status
        self.status_changed_at = timezone.now()
        self.version += 1

    def raise_authorization_generation(self):
        """Make every decision that was taken before this transaction void."""
        self.authorization_generation = F("authorization_generation") + 1
        self.save(update_fields=["authorization_generation"])
        self.refresh_from_db(fields=["authorization_generation"])


class UserQuerySet(models.QuerySet):
    def locked(self, pk):
        """Return the row, locked until the transaction ends."""
        user = self.select_for_update().filter(pk=pk).first()
        if user is None:
            raise UserNotFound(f"There is no user {pk}.")
        return user


class User(models.Model):
    """A person who belongs to an organization; the id is the ``sub`` of tokens."""

    class Status(models.TextChoices):
        INVITED = "INVITED", _("Invited")
        ACTIVE = "ACTIVE", _("Active")
        DISABLED = "DISABLED", _("Disabled")
        REMOVED = "REMOVED", _("Removed")

    STEPS = {
        Status.INVITED: {Status.ACTIVE, Status.REMOVED},
        Status.ACTIVE: {Status.DISABLED, Status.REMOVED},
        Status.DISABLED: {Status.ACTIVE, Status.REMOVED},
        Status.REMOVED: set(),
    }
    STEP_FIELDS = ("status", "version")

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    organization = models.ForeignKey(
        Organization,
        models.CASCADE,
        related_name="users",
        verbose_name=_("organization"),
    )
    email = models.EmailField(_("e-mail"), max_length=254)
    first_name = models.CharField(_("first name"), max_length=100)
    last_name = models.CharField(_("last name"), max_length=100)
    status = models.CharField(
        _("status"), max_length=16, choices=Status, default=Status.INVITED
    )
    version = models.PositiveIntegerField(default=1, editable=False)
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    objects = UserQuerySet.as_manager()

    class Meta:
        verbose_name = _("user")
        verbose_name_plural = _("users")
        ordering = ["email"]
        constraints = [
            models.UniqueConstraint(
                "organization",
                Lower("email"),
                condition=~Q(status="REMOVED"),
                name="organizations_user_email_unique",
                violation_error_message=_("This e-mail address is taken."),
            ),
            models.CheckConstraint(
                condition=Q(status__in=["INVITED", "ACTIVE", "DISABLED", "REMOVED"]),
                name="organizations_user_status_known",
            ),
        ]

    def __str__(self):
        return self.email

    def become(self, status):
        """
        Take one lifecycle step in memory; the caller saves.

        Raises: TransitionNotAllowed, listing the steps that are possible.
        """
        if status not in self.STEPS[self.status]:
            possible = ", ".join(sorted(self.STEPS[self.status])) or "none"
            raise TransitionNotAllowed(
                f"User {self.pk} is {self.status} and cannot become {status}. "
                f"Possible from here: {possible}."
            )
        self.status = status
        self.version += 1


class Membership(models.Model):
    """A role that a user has in the organization."""

    class Role(models.TextChoices):
        ORG_OWNER = "org_owner", _("Organization owner")
        ORG_ADMIN = "org_admin", _("Organization administrator")
        MEMBER = "member", _("Member")

    user = models.ForeignKey(User, models.CASCADE, related_name="memberships")
    role = models.CharField(_("role"), max_length=32, choices=Role)

    class Meta:
        verbose_name = _("membership")
        verbose_name_plural = _("memberships")
        constraints = [
            models.UniqueConstraint(
                fields=["user", "role"], name="organizations_membership_unique"
            ),
            models.CheckConstraint(
                condition=Q(role__in=["org_owner", "org_admin", "member"]),
                name="organizations_membership_role_known",
            ),
        ]

    def __str__(self):
        return f"{self.user} is {self.role}"


class Licence(models.Model):
    """What the organization may use, as the licence server last said."""

    organization = models.OneToOneField(
        Organization, models.CASCADE, related_name="licence", primary_key=True
    )
    plan = models.CharField(_("plan"), max_length=100)
    valid_from = models.DateTimeField(_("valid from"))
    valid_to = models.DateTimeField(_("valid to"))
    limits = models.JSONField(_("limits"), default=dict, blank=True)
    features = models.JSONField(_("features"), default=list, blank=True)
    source = models.CharField(_("source"), max_length=40)
    issued_at = models.DateTimeField(_("issued at"))
    synced_at = models.DateTimeField(_("synced at"), default=timezone.now)
    expiry_recorded = models.BooleanField(default=False, editable=False)

    CONTENT_FIELDS = ("plan", "valid_from", "valid_to", "limits", "features")

    class Meta:
        verbose_name = _("licence")
        verbose_name_plural = _("licences")

    def __str__(self):
        return f"{self.plan} until {self.valid_to:%Y-%m-%d}"

    def is_expired(self, now):
        return self.valid_to <= now


class Registration(models.Model):
    """
    The first run of an on-premises installation, from token to organization.

    Not more than one can be open: the database says so.
    """

    class State(models.TextChoices):
        RUNNING = "RUNNING", _("Running")
        DONE = "DONE", _("Done")
        CANCELLED = "CANCELLED", _("Cancelled")

    OPEN = (State.RUNNING, State.DONE)

    token_id = models.CharField("jti", max_length=255, unique=True, editable=False)
    token_digest = models.CharField(max_length=64, editable=False)
    organization_id = models.UUIDField(editable=False)
    admin_id = models.UUIDField(editable=False)
    # The admin's password hash in the identity provider's format, encrypted;
    # gone as soon as the realm stands. The password itself is nowhere.
    credential = models.BinaryField(null=True, editable=False)
    state = models.CharField(
        _("state"), max_length=16, choices=State, default=State.RUNNING, editable=False
    )
    slot = models.PositiveSmallIntegerField(default=1, editable=False)
    started_at = models.DateTimeField(_("started at"), default=timezone.now)
    finished_at = models.DateTimeField(_("finished at"), null=True)

    class Meta:
        verbose_name = _("registration")
        verbose_name_plural = _("registrations")
        ordering = ["-id"]
        constraints = [
            models.UniqueConstraint(
                fields=["slot"],
                condition=Q(state__in=["RUNNING", "DONE"]),
                name="organizations_registration_one_open",
            ),
            models.CheckConstraint(
                condition=Q(slot=1), name="organizations_registration_one_slot"
            ),
        ]

    def __str__(self):
        return f"registration of {self.organization_id}"

    def keep_credential(self, credential):
        """Save a password hash, encrypted. Shapes: {str: str}, JSON-able."""
        plain = json.dumps(credential).encode()
        self.credential = keyring.encrypt(plain, context=self._credential_context())
        self.save(update_fields=["credential"])

    def read_credential(self):
        """Return the password hash that keep_credential() was given."""
        plain = keyring.decrypt(
            bytes(self.credential), context=self._credential_context()
        )
        return json.loads(plain)

    def forget_credential(self):
        """Delete the password hash: whoever needed it has it."""
        self.credential = None
        self.save(update_fields=["credential"])

    def _credential_context(self):
        return ("registration", str(self.organization_id), "credential")


class InstallationManager(models.Manager):
    def marker(self):
        """Return the marker of this installation, made at the first call."""
        return str(self.get_or_create(pk=1)[0].marker)


class Installation(models.Model):
    """What marks as ours the things that we make in other systems. One row."""

    marker = models.UUIDField(default=uuid.uuid4, editable=False)

    objects = InstallationManager()

    class Meta:
        verbose_name = _("installation")
        verbose_name_plural = _("installations")
        constraints = [
            models.CheckConstraint(
                condition=Q(id=1), name="organizations_installation_one"
            ),
        ]

    def __str__(self):
        return str(self.marker)
