"""
What other systems are told, one function per destination of a work order.

Each reads the present row and brings its system there, whatever was before;
each may run twice, and holds no transaction open while it calls.
"""

import logging

from django.conf import settings

from orgmanager.authorization import authorization
from orgmanager.authorization.backends.base import SchemaMissing
from orgmanager.authorization.relationships import (
    organization_relationships,
    platform_relationships,
)
from orgmanager.authorization.schema import ORGANIZATION, PLATFORM
from orgmanager.errors import Unavailable
from orgmanager.identity import identity
from orgmanager.identity.client_secrets import given_secrets
from orgmanager.identity.exceptions import RealmConflict
from orgmanager.identity.template import service_account_realm, users_realm
from orgmanager.locks import make_locks

from . import access
from .models import Installation, Membership, Organization, Registration, User

logger = logging.getLogger(__name__)

Status = Organization.Status


def converge_users_realm(organization_id):
    """
    Bring the realm of the organization's users to the organization's status.

    Raises: Unavailable; RealmConflict when a realm of that name is not ours.
    """
    organization = Organization.objects.filter(pk=organization_id).first()
    marker = Installation.objects.marker()
    if organization is None or organization.status == Status.DELETED:
        _remove_realm(str(organization_id), marker)
        return
    if organization.status == Status.PENDING:
        _make_users_realm(organization, marker)
        return
    enabled = organization.status == Status.ACTIVE
    identity.set_realm_enabled(str(organization.pk), enabled)


def _make_users_realm(organization, marker):
    registration = Registration.objects.filter(
        organization_id=organization.pk, state=Registration.State.RUNNING
    ).first()
    if registration is None or registration.credential is None:
        return  # cancelled meanwhile, or made before
    admin = User.objects.get(pk=registration.admin_id)
    identity.ensure_realm(
        users_realm(
            realm=str(organization.pk),
            display_name=organization.name,
            marker=marker,
            admin={
                "id": str(admin.pk),
                "email": admin.email,
                "first_name": admin.first_name,
                "last_name": admin.last_name,
                "credential": registration.read_credential(),
            },
        )
    )
    registration.forget_credential()


def converge_service_account_realm(organization_id):
    """
    Keep the installation's service-account realm while any organization lives.

    Raises: Unavailable; RealmConflict when a realm of that name is not ours.
    """
    marker = Installation.objects.marker()
    if Organization.objects.visible().exists():
        identity.ensure_realm(
            service_account_realm(
                realm=settings.SERVICE_ACCOUNT_REALM,
                marker=marker,
                secrets=given_secrets(),
            )
        )
    else:
        _remove_realm(settings.SERVICE_ACCOUNT_REALM, marker)


def _remove_realm(name, marker):
    try:
        identity.delete_realm(name, marker)
    except RealmConflict as error:
        # What was never ours need not go for ours to be gone. Parked, the order
        # would wait for somebody to remove a realm that may well be needed.
        logger.warning("Nothing of ours to remove. %s", error)


def converge_relationships(organization_id):
    """Bring the relationships of the organization to its memberships."""
    organization = Organization.objects.filter(pk=organization_id).first()
    exists = organization is not None and organization.status != Status.DELETED
    platform = Installation.objects.marker()
    wanted = {(ORGANIZATION, str(organization_id)): set()}
    if exists:
        wanted[ORGANIZATION, str(organization_id)] = organization_relationships(
            organization.pk, platform_id=platform, members=_members(organization)
        )
    if settings.INSTALLATION_TYPE == "ONPREM":
        wanted[PLATFORM, platform] = platform_relationships(
            platform,
            organization_id=organization_id if exists else None,
            admins=access.role_of_admins_on_platform(),
        )
    try:
        _replace_relationships(wanted)
    except SchemaMissing:
        apply_schema()
        _replace_relationships(wanted)


def _replace_relationships(wanted):
    for (resource_type, resource_id), relationships in wanted.items():
        authorization.replace(resource_type, resource_id, relationships)


def apply_schema():
    """
    Bring the authorization service to the schema of this version.

    Raises: Unavailable, also while another process is doing it.
    """
    locks = make_locks()
    try:
        if not locks.try_acquire("authorization-schema"):
            raise Unavailable("Another process is applying the schema.")
        authorization.ensure_schema()
        logger.info("CAS client initialized")  # the line that the setup guide names
    finally:
        locks.close()


def _members(organization):
    members = {}
    rows = Membership.objects.filter(
        user__organization=organization, user__status=User.Status.ACTIVE
    )
    for user_id, role in rows.values_list("user_id", "role"):
        members.setdefault(str(user_id), set()).add(role)
    return members
