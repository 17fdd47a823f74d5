"""
Who may touch an organization: one statement loads the row and the caller's roles.

Two must agree: the roles in the database, which are always fresh, and the
authorization service, whose "yes" is reused only while nothing has changed. So
a revocation holds at once, and no "yes" is made up while the service is down.
"""

from django.conf import settings
from django.db import connection

from orgmanager.authorization.decisions import decisions
from orgmanager.authorization.schema import (
    ORGANIZATION,
    PLATFORM,
    admins_on_platform,
    allows,
    effective_roles,
)
from orgmanager.identity.addresses import is_canonical_uuid

from .exceptions import OrganizationNotFound, OrganizationSuspended, PermissionDenied
from .models import Installation, Membership, Organization, User

Status = Organization.Status
USABLE = (Status.ACTIVE, Status.SUSPENDED, Status.DELETING)
CLOSED = (Status.SUSPENDED, Status.DELETING)

# By hand: to build it by annotations took longer than to run it and verify a token.
_ID = Organization._meta.pk
_LOAD = f"""
SELECT o.*, u.status AS caller_status, m.role AS caller_role
FROM {Organization._meta.db_table} o
LEFT JOIN {User._meta.db_table} u ON u.organization_id = o.id AND u.id = %s
LEFT JOIN {Membership._meta.db_table} m ON m.user_id = u.id
WHERE o.id = %s AND o.status <> %s
"""  # noqa: S608  the names are the models' own


def is_known_organization(organization_id):
    """Return whether tokens of the organization's realm are looked at at all."""
    return Organization.objects.filter(pk=organization_id, status__in=USABLE).exists()


def role_of_admins_on_platform():
    """Return the role that an org_admin has on the platform here, or ""."""
    return admins_on_platform(
        installation_type=settings.INSTALLATION_TYPE,
        operator_realm=settings.OPERATOR_REALM,
    )


def realm_of_admins():
    """Return the realm whose org_admins are operators of this installation, or None."""
    if role_of_admins_on_platform() != "operator":
        return None
    active = Organization.objects.filter(status=Status.ACTIVE).order_by("created_at")
    pk = active.values_list("pk", flat=True).first()
    return pk and str(pk)


def is_operating_admin(realm, subject):
    """
    Return whether user ``subject`` of ``realm`` is an operator, as its org_admin.

    The database says so alone: whoever is disabled or demoted there is none at once.
    """
    if role_of_admins_on_platform() != "operator" or not is_canonical_uuid(subject):
        return False
    return Membership.objects.filter(
        role=Membership.Role.ORG_ADMIN,
        user_id=subject,
        user__status=User.Status.ACTIVE,
        user__organization_id=realm,
        user__organization__status=Status.ACTIVE,
    ).exists()


def may_on_platform(principal, permission):
    """
    Return whether ``principal`` has ``permission`` on the platform as a whole.

    Raises: Unavailable when the authorization service does not answer.
    """
    if principal.kind == "operator":
        return allows({"operator"}, permission)
    if principal.kind != "user":
        return False
    organization, roles = _load_with_roles(principal, principal.organization_id)
    if organization is None or organization.status in CLOSED:
        return False
    return allows(roles, permission) and decisions.is_allowed(
        subject=principal.subject,
        permission=permission,
        resource_type=PLATFORM,
        resource_id=Installation.objects.marker(),
        generation=organization.authorization_generation,
    )


def load(principal, organization_id, permission):
    """
    Return the organization if ``principal`` has ``permission`` on it.

    Raises: OrganizationNotFound, also for other people's organizations;
    PermissionDenied; OrganizationSuspended; Unavailable when the authorization
    service had to be asked and did not answer.
    """
    organization, roles = _load_with_roles(principal, organization_id)
    if organization is None or not roles:
        raise OrganizationNotFound(
            f"There is no organization {organization_id}, or it is not yours."
        )
    if not allows(roles, permission):
        raise PermissionDenied(
            f"This needs the permission {permission} on organization "
            f"{organization.code}, and you are {_listed(roles)} there."
        )
    if principal.kind == "operator":
        return organization  # vouched for by the operator realm's signature
    if organization.status in CLOSED:
        raise OrganizationSuspended(
            f"Organization {organization.code} is {organization.status}. An operator "
            "of the platform can resume it."
        )
    if not decisions.is_allowed(
        subject=principal.subject,
        permission=permission,
        resource_type=ORGANIZATION,
        resource_id=str(organization.pk),
        generation=organization.authorization_generation,
    ):
        raise PermissionDenied(
            f"The authorization service does not grant {permission} on organization "
            f"{organization.code}. If you were given it just now, try again."
        )
    return organization


def _load_with_roles(principal, organization_id):
    """Return (organization or None, the caller's roles), in one statement."""
    ids = (principal.subject, organization_id)
    prepared = [_ID.get_db_prep_value(each, connection) for each in ids]
    rows = list(Organization.objects.raw(_LOAD, [*prepared, Status.DELETED]))
    if not rows:
        return None, frozenset()
    roles = set()
    if principal.kind == "operator":
        roles.add("operator")
    if principal.kind == "user" and principal.organization_id == str(organization_id):
        roles |= {
            row.caller_role
            for row in rows
            if row.caller_role and row.caller_status == User.Status.ACTIVE
        }
    return rows[0], effective_roles(roles, admins=role_of_admins_on_platform())


def _listed(roles):
    return ", ".join(sorted(roles))
