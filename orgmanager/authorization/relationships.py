"""
Which relationships must stand, computed from what the database says.

Each function returns everything that may stand on one object, so that its
result can be given to ``authorization.replace()`` as it is.
"""

from .backends.base import Relationship
from .schema import ORGANIZATION, PLATFORM, ROLES, USER, WORKSPACE


def platform_relationships(platform_id, *, operators=(), organization_id=None, admins):
    """
    Return the relationships of the platform, which is one installation.

    On-premises the admins are tied to it through their organization: whoever
    is org_admin there has the role ``admins`` here, without a row per person.

    Shapes: ``platform_id``: a UUID that no other installation on the same
    SpiceDB has; ``operators``: user ids; ``organization_id``: the one
    organization on-premises; ``admins``: what admins_on_platform() returned.
    """
    id = str(platform_id)
    found = {_given(PLATFORM, id, "operator", user) for user in operators}
    if admins and organization_id:
        organization = (ORGANIZATION, str(organization_id), "org_admin")
        found.add(Relationship(PLATFORM, id, admins, *organization))
    return found


def organization_relationships(organization_id, *, platform_id, members):
    """
    Return the relationships of an organization.

    Shapes: ``members``: {user id: roles given on the organization}.
    Raises: ValueError for a role that is given elsewhere.
    """
    id = str(organization_id)
    above = Relationship(ORGANIZATION, id, "platform", PLATFORM, str(platform_id))
    return _members(ORGANIZATION, id, members) | {above}


def workspace_relationships(workspace_id, *, organization_id, members):
    """
    Return the relationships of a workspace, which the API calls a tenant.

    Shapes: ``members``: {user id: roles given on the workspace}.
    Raises: ValueError for a role that is given elsewhere.
    """
    id = str(workspace_id)
    organization = (ORGANIZATION, str(organization_id))
    above = Relationship(WORKSPACE, id, "organization", *organization)
    return _members(WORKSPACE, id, members) | {above}


def _members(resource_type, resource_id, members):
    return {
        _given(resource_type, resource_id, role, user)
        for user, roles in members.items()
        for role in roles
    }


def _given(resource_type, resource_id, role, user):
    if ROLES.get(role) != resource_type:
        raise ValueError(f"{role!r} is not a role that is given on {resource_type}.")
    return Relationship(resource_type, resource_id, role, USER, str(user))
