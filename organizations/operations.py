"""
Everything that can be done to an organization, one function per verb.

REST, the console, manage.py and the inbox call these and nothing else. A
function here locks the row, takes one step, records one event, and talks to no
other system: that is the work of work orders (see effects.py).
"""

import hashlib
import logging
import uuid

from django.conf import settings
from django.db import IntegrityError, transaction
from django.utils import timezone
from django.views.decorators.debug import sensitive_variables

from orgmanager.identity.passwords import hash_password
from orgmanager.outbox.models import WorkOrder
from orgmanager.outbox.record import record
from orgmanager.outbox.work import NotYet

from . import events
from .exceptions import (
    AlreadyRegistered,
    ConfirmationMismatch,
    LastAdmin,
    LicenceMismatch,
    NothingToCancel,
    RegistrationInProgress,
    RemovalInProgress,
    TokenUsed,
    TransitionNotAllowed,
)
from .models import Licence, Membership, Organization, Registration, User

logger = logging.getLogger(__name__)

Status = Organization.Status
_CONTENT = Licence.CONTENT_FIELDS


def digest(token):
    """Return what is kept of a registration token: enough to know it again."""
    return hashlib.sha256(token.encode()).hexdigest()


@sensitive_variables("password", "token")
@transaction.atomic
def start_registration(claims, *, token, name, admin, password, actor):
    """
    Claim the one registration and create the pending organization.

    The password is hashed only once the claim is won, and the hash is kept,
    encrypted, until the realm has it.

    Shapes: ``claims`` has token_id, org_id, org_code, org_name; ``admin`` is
    {"email", "first_name", "last_name"}; returns the Registration.
    Raises: ValidationError for malformed fields; AlreadyRegistered;
    RegistrationInProgress; RemovalInProgress; TokenUsed.
    """
    earlier = Registration.objects.filter(token_id=claims.token_id).first()
    if earlier is not None and earlier.state in Registration.OPEN:
        raise refusal_of_second_registration()
    if earlier is not None:
        raise TokenUsed(
            "This registration token has been used. Ask for a new one where you "
            "got this one."
        )
    admin_id = uuid.uuid4()
    try:
        with transaction.atomic():
            registration = Registration.objects.create(
                token_id=claims.token_id,
                token_digest=digest(token),
                organization_id=claims.org_id,
                admin_id=admin_id,
            )
    except IntegrityError as error:
        raise refusal_of_second_registration() from error
    _refuse_during_removal()
    # An earlier registration of this organization may have been cancelled, or
    # the organization purged: the history stays, the empty row makes room.
    Organization.objects.filter(pk=claims.org_id, status=Status.DELETED).delete()
    organization = Organization(
        id=claims.org_id, code=claims.org_code, name=name or claims.org_code
    )
    organization.full_clean(validate_constraints=False)
    organization.save(force_insert=True)
    user = User(id=admin_id, organization=organization, **admin)
    user.status = User.Status.ACTIVE
    user.full_clean(validate_constraints=False)
    user.save(force_insert=True)
    Membership.objects.create(user=user, role=Membership.Role.ORG_ADMIN)
    registration.keep_credential(hash_password(password))
    record(
        events.REGISTRATION_STARTED,
        organization_id=organization.pk,
        subject=_subject(organization),
        actor=actor,
        data={"code": organization.code, "tokenId": registration.token_id},
    )
    return registration


def _refuse_during_removal():
    # Whoever removes a realm now could remove the new one, or leave the old one,
    # which bears our marker as well and knows another administrator.
    cancelled = Registration.objects.filter(state=Registration.State.CANCELLED)
    removals = WorkOrder.objects.unfinished().filter(
        organization_id__in=cancelled.values("organization_id"),
        destination__in=events.WORK[events.REGISTRATION_CANCELLED],
    )
    if removals.exists():
        raise RemovalInProgress(
            "What a cancelled registration had made is still being removed. Try again "
            "in a moment; the console shows the work orders that are left."
        )


@transaction.atomic
def resume_registration(registration):
    """
    Set the steps of a running registration going that were refused for good.

    Nothing is recorded: whoever has the token may ask as often as they like.
    """
    parked = WorkOrder.objects.filter(
        organization_id=registration.organization_id, state=WorkOrder.State.PARKED
    )
    resumed = parked.retry()
    if resumed:
        logger.info("%s: %d steps are tried again.", registration, resumed)


def refusal_of_second_registration():
    """Return the exception for whoever comes after the one open registration."""
    done = Registration.objects.filter(state=Registration.State.DONE).first()
    if done:
        organization = Organization.objects.filter(pk=done.organization_id).first()
        code = organization.code if organization else done.organization_id
        return AlreadyRegistered(
            f"This installation is registered, as {code}. There is nothing to do; "
            "sign in with the account of its administrator."
        )
    return RegistrationInProgress(
        "A registration is running. Watch it at GET /org/api/org/single; to give it "
        "up, run: manage.py cancel_registration --confirm CODE"
    )


@transaction.atomic
def activate(pk, *, actor):
    """
    Make a pending organization active, once all its other work is done.

    Raises: NotYet while an order of the organization is unfinished.
    """
    organization = Organization.objects.locked(pk)
    if organization.status != Status.PENDING:
        return organization
    others = WorkOrder.objects.unfinished().filter(organization_id=pk)
    if others.exclude(destination=events.ACTIVATION).exists():
        raise NotYet
    organization.become(Status.ACTIVE)
    organization.save(update_fields=Organization.STEP_FIELDS)
    Registration.objects.filter(
        organization_id=pk, state=Registration.State.RUNNING
    ).update(state=Registration.State.DONE, finished_at=timezone.now())
    record(
        events.CREATED,
        organization_id=organization.pk,
        subject=_subject(organization),
        actor=actor,
        data={
            "code": organization.code,
            "name": organization.name,
            "installationType": settings.INSTALLATION_TYPE,
        },
    )
    return organization


@transaction.atomic
def cancel_registration(*, confirm, actor):
    """
    Give up the running registration: what was made of it is removed again.

    ``confirm`` is the organization's code, so that nobody does this by mistake.

    Raises: NothingToCancel; ConfirmationMismatch; TransitionNotAllowed once the
    organization is active.
    """
    registration = (
        Registration.objects.select_for_update()
        .filter(state=Registration.State.RUNNING)
        .first()
    )
    if registration is None:
        raise NothingToCancel(
            "No registration is running. An organization that is registered is "
            "removed by deleting it."
        )
    organization = Organization.objects.locked(registration.organization_id)
    if confirm != organization.code:
        raise ConfirmationMismatch(
            f"The running registration is of {organization.code!r}, not {confirm!r}. "
            "Nothing was changed."
        )
    organization.become(Status.DELETED)
    organization.save(update_fields=Organization.STEP_FIELDS)
    organization.raise_authorization_generation()
    organization.users.all().delete()
    registration.state = Registration.State.CANCELLED
    registration.finished_at = timezone.now()
    registration.credential = None
    registration.save(update_fields=["state", "finished_at", "credential"])
    WorkOrder.objects.filter(
        organization_id=organization.pk, destination=events.ACTIVATION
    ).delete()
    record(
        events.REGISTRATION_CANCELLED,
        organization_id=organization.pk,
        subject=_subject(organization),
        actor=actor,
        data={"code": organization.code},
    )
    return organization


@transaction.atomic
def sync_licence(pk, licence, *, source, actor):
    """
    Take over what the licence server says the organization may use.

    What is older than the licence at hand is ignored, and what is the same
    changes nothing: messages come twice and late.

    Shapes: ``licence`` has organization_id, plan, valid_from, valid_to, limits,
    features, issued_at; returns (Licence, whether anything changed).
    Raises: OrganizationNotFound; LicenceMismatch for another organization's.
    """
    organization = Organization.objects.locked(pk)
    if str(licence.organization_id) != str(organization.pk):
        raise LicenceMismatch(
            f"This licence is for organization {licence.organization_id}, not for "
            f"{organization.pk} ({organization.code}). Ask for the right one."
        )
    if organization.status in {Status.PENDING, Status.DELETED}:
        raise TransitionNotAllowed(
            f"Organization {organization.code!r} is {organization.status} and takes "
            "no licence. It does once its registration is done."
        )
    current = Licence.objects.filter(organization=organization).first()
    if current is not None:
        if licence.issued_at < current.issued_at:
            return current, False
        if all(getattr(current, f) == getattr(licence, f) for f in _CONTENT):
            return current, False
    row = current or Licence(organization=organization)
    for field in _CONTENT:
        setattr(row, field, getattr(licence, field))
    row.issued_at, row.synced_at = licence.issued_at, timezone.now()
    row.source, row.expiry_recorded = source, False
    row.full_clean(validate_constraints=False, validate_unique=False)
    row.save()
    record(
        events.LICENCE_SYNCED,
        organization_id=organization.pk,
        subject=f"licence/{organization.pk}",
        actor=actor,
        data={
            "plan": row.plan,
            "validFrom": _time(row.valid_from),
            "validTo": _time(row.valid_to),
            "limits": row.limits,
            "features": row.features,
            "source": row.source,
        },
    )
    return row, True


def expire_licences(now=None):
    """Record, once each, that a licence has run out. Nothing is stopped by it."""
    now = now or timezone.now()
    due = Licence.objects.filter(valid_to__lte=now, expiry_recorded=False)
    for pk in list(due.values_list("pk", flat=True)):
        expire_licence(pk, now=now, actor="worker")


@transaction.atomic
def expire_licence(pk, *, now, actor):
    """Record that the licence of organization ``pk`` has run out, if it has."""
    row = Licence.objects.select_for_update().get(pk=pk)
    if row.expiry_recorded or not row.is_expired(now):
        return row
    row.expiry_recorded = True
    row.save(update_fields=["expiry_recorded"])
    record(
        events.LICENCE_EXPIRED,
        organization_id=pk,
        subject=f"licence/{pk}",
        actor=actor,
        data={"plan": row.plan, "validTo": _time(row.valid_to)},
    )
    return row


@transaction.atomic
def disable_user(pk, *, actor, reason):
    """
    Take from a user everything they may do, until they are enabled again.

    Disabling the disabled changes nothing and records nothing.

    Raises: UserNotFound; TransitionNotAllowed; LastAdmin.
    """
    user, organization = _lock_user(pk)
    if user.status == User.Status.DISABLED:
        return user
    user.become(User.Status.DISABLED)
    _refuse_last_admin(user, organization)
    user.save(update_fields=User.STEP_FIELDS)
    organization.raise_authorization_generation()
    _record_user(events.USER_DISABLED, user, actor, reason)
    return user


@transaction.atomic
def enable_user(pk, *, actor, reason):
    """
    Give a disabled user their roles again. Enabling the active changes nothing.

    Raises: UserNotFound; TransitionNotAllowed.
    """
    user, organization = _lock_user(pk)
    if user.status == User.Status.ACTIVE:
        return user
    user.become(User.Status.ACTIVE)
    user.save(update_fields=User.STEP_FIELDS)
    organization.raise_authorization_generation()
    _record_user(events.USER_ENABLED, user, actor, reason)
    return user


def _lock_user(pk):
    # The organization first, always: two requests that take each other's admin
    # away at the same time must not both see the other one left.
    organization_id = User.objects.filter(pk=pk).values_list("organization_id")[:1]
    organization = Organization.objects.select_for_update().filter(
        pk__in=organization_id
    )
    organization = organization.first()
    return User.objects.locked(pk), organization


def _refuse_last_admin(user, organization):
    admins = Membership.objects.filter(
        role=Membership.Role.ORG_ADMIN,
        user__organization=organization,
        user__status=User.Status.ACTIVE,
    )
    if admins.filter(user=user).exists() and not admins.exclude(user=user).exists():
        raise LastAdmin(
            f"User {user.pk} is the last active administrator of "
            f"{organization.code}. Make somebody else one first."
        )


def _record_user(event_type, user, actor, reason):
    record(
        event_type,
        organization_id=user.organization_id,
        subject=f"user/{user.pk}",
        actor=actor,
        reason=reason,
        data={"userId": str(user.pk)},
    )


def _subject(organization):
    return f"organization/{organization.pk}"


def _time(moment):
    return moment.isoformat(timespec="seconds").replace("+00:00", "Z")
