"""
Who may do what: one table, read by both engines and by the deny overlay.

A relationship gives a subject a role on one object. Objects below it inherit
some roles, and every permission is a list of roles: so the table says all there
is to say, and render() and the local backend only read it.
"""

PREFIX = "orgmanager/"  # marks our definitions in a SpiceDB shared with others

USER = "orgmanager/user"
PLATFORM = "orgmanager/platform"
ORGANIZATION = "orgmanager/organization"
WORKSPACE = "orgmanager/workspace"

# What may be written: object type -> relation -> subjects, ``type#relation``
# meaning everybody who has that relation there.
RELATIONS = {
    USER: {},
    PLATFORM: {
        "operator": (USER, f"{ORGANIZATION}#org_admin"),
        "reader": (f"{ORGANIZATION}#org_admin",),
    },
    ORGANIZATION: {
        "platform": (PLATFORM,),
        "org_owner": (USER,),
        "org_admin": (USER,),
        "member": (USER,),
    },
    WORKSPACE: {
        "organization": (ORGANIZATION,),
        "workspace_admin": (USER,),
        "workspace_user": (USER,),
    },
}

# Which roles come from the object above: object type -> role -> the relation
# that leads there. One step each, because a SpiceDB arrow takes only one.
INHERITED = {
    USER: {},
    PLATFORM: {},
    ORGANIZATION: {"operator": "platform"},
    WORKSPACE: {
        "operator": "organization",
        "org_owner": "organization",
        "org_admin": "organization",
    },
}

# Every role, and the type of the object it is given on.
ROLES = {
    "operator": PLATFORM,
    "reader": PLATFORM,
    "org_owner": ORGANIZATION,
    "org_admin": ORGANIZATION,
    "member": ORGANIZATION,
    "workspace_admin": WORKSPACE,
    "workspace_user": WORKSPACE,
}

PERMISSIONS = {
    USER: {},
    PLATFORM: {
        "platform_health_read": ("operator", "reader"),
        "platform_health_edit": ("operator",),
        "platform_organizations_read": ("operator",),  # the list of all of them
        "platform_organizations_create": ("operator",),
    },
    ORGANIZATION: {
        "org_read": ("operator", "org_owner", "org_admin", "member"),
        "org_edit": ("operator", "org_owner", "org_admin"),
        "org_suspend": ("operator",),
        "org_resume": ("operator",),
        "org_delete": ("operator",),
        "org_restore": ("operator",),
        "org_users_read": ("operator", "org_owner", "org_admin"),
        "org_users_create": ("operator", "org_admin"),
        "org_users_edit": ("operator", "org_admin"),
        "org_users_delete": ("operator", "org_admin"),
        "org_tenants_read": ("operator", "org_owner", "org_admin", "member"),
        "org_tenants_create": ("operator", "org_admin"),
        "org_tenants_edit": ("operator", "org_admin"),
        "org_tenants_delete": ("operator", "org_admin"),
        "org_ai_providers_read": ("operator", "org_owner", "org_admin"),
        "org_ai_providers_create": ("operator", "org_admin"),
        "org_ai_providers_edit": ("operator", "org_admin"),
        "org_ai_providers_delete": ("operator", "org_admin"),
        "org_audit_read": ("operator", "org_owner", "org_admin"),
    },
    WORKSPACE: {
        "wks_read": (
            "operator",
            "org_owner",
            "org_admin",
            "workspace_admin",
            "workspace_user",
        ),
        "wks_edit": ("operator", "org_admin", "workspace_admin"),
        "wks_users_read": ("operator", "org_admin", "workspace_admin"),
        "wks_users_create": ("operator", "org_admin", "workspace_admin"),
        "wks_users_edit": ("operator", "org_admin", "workspace_admin"),
        "wks_users_delete": ("operator", "org_admin", "workspace_admin"),
    },
}

# Permission names are unique, so a permission alone says which object it is about.
_ROLES_OF = {
    permission: frozenset(roles)
    for permissions in PERMISSIONS.values()
    for permission, roles in permissions.items()
}


def allows(roles, permission):
    """
    Say whether one of ``roles`` carries ``permission``.

    The overlay over SpiceDB: with the roles that the database knows at this
    moment, a False here is final, whatever SpiceDB still believes.

    Shapes: ``roles``: any iterable of names from ROLES; an unknown one gives
    nothing.
    Raises: KeyError for a permission that is not in the table.
    """
    return not _ROLES_OF[permission].isdisjoint(roles)


def admins_on_platform(*, installation_type, operator_realm):
    """
    Return the role that every org_admin has on the platform, or "" for none.

    An on-premises installation without an operator realm is run by its own
    admins. With one they keep sight of its health. Where many organizations
    share a platform their admins have no part in it.
    """
    if installation_type != "ONPREM":
        return ""
    return "reader" if operator_realm else "operator"


def effective_roles(roles, *, admins):
    """
    Return ``roles`` and what they bring along on the platform, for allows().

    Shapes: ``admins``: what admins_on_platform() returned.
    """
    roles = frozenset(roles)
    return roles | {admins} if admins and "org_admin" in roles else roles


def render():
    """
    Return the table as SpiceDB schema text, as SpiceDB itself would print it.

    That layout makes "is it applied already?" a comparison of strings.
    """
    return "\n\n".join(_definition(name) for name in sorted(RELATIONS)) + "\n"


def _definition(name):
    relations = [
        f"\trelation {relation}: {' | '.join(subjects)}"
        for relation, subjects in RELATIONS[name].items()
    ]
    inherited = [
        f"\tpermission {role} = {relation}->{role}"
        for role, relation in INHERITED[name].items()
    ]
    permissions = [
        f"\tpermission {permission} = {' + '.join(roles)}"
        for permission, roles in PERMISSIONS[name].items()
    ]
    lines = relations + inherited + permissions
    body = "\n" + "\n".join(lines) + "\n" if lines else ""
    return f"definition {name} {{{body}}}"
