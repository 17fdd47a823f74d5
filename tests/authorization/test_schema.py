import pytest

from orgmanager.authorization.backends.base import Relationship
from orgmanager.authorization.relationships import (
    organization_relationships,
    platform_relationships,
    workspace_relationships,
)
from orgmanager.authorization.schema import (
    INHERITED,
    ORGANIZATION,
    PERMISSIONS,
    PLATFORM,
    RELATIONS,
    ROLES,
    USER,
    WORKSPACE,
    admins_on_platform,
    allows,
    effective_roles,
    render,
)


def test_permission_names_are_unique_over_all_types():
    """Fails when a permission alone no longer says which object it is about."""
    names = [name for names in PERMISSIONS.values() for name in names]
    assert len(names) == len(set(names))


def test_every_role_of_a_permission_is_given_there_or_inherited():
    for type, permissions in PERMISSIONS.items():
        for permission, roles in permissions.items():
            for role in roles:
                known = role in INHERITED[type] or ROLES[role] == type
                assert known, f"{permission} names {role}"
                assert (role in RELATIONS[type]) == (ROLES[role] == type)


def test_render_puts_every_relation_and_permission_on_a_line_of_its_own():
    """SpiceDB refuses a second declaration on a line."""
    text = render()
    assert "definition orgmanager/user {}\n" in text
    lines = text.splitlines()
    assert (
        "\trelation operator: orgmanager/user | orgmanager/organization#org_admin"
        in lines
    )
    assert "\tpermission operator = platform->operator" in lines
    assert "\tpermission org_read = operator + org_owner + org_admin + member" in lines
    for line in lines:
        assert line.count("relation ") + line.count("permission ") <= 1


def test_allows_takes_the_union_of_roles():
    assert allows({"member", "org_admin"}, "org_users_edit")
    assert not allows({"member", "org_owner"}, "org_users_edit")


def test_allows_without_a_known_role_is_no():
    assert not allows([], "org_read")
    assert not allows(["ORG_ADMIN", "nobody"], "org_read")


def test_allows_unknown_permission_is_an_error():
    with pytest.raises(KeyError):
        allows(["operator"], "org_raed")


@pytest.mark.parametrize(
    ("installation_type", "operator_realm", "role"),
    [
        ("ONPREM", "", "operator"),
        ("ONPREM", "operators", "reader"),
        ("SAAS", "operators", ""),
        ("SAAS", "", ""),
    ],
)
def test_admins_on_platform_depends_on_who_else_operates(
    installation_type, operator_realm, role
):
    assert role == admins_on_platform(
        installation_type=installation_type, operator_realm=operator_realm
    )


def test_effective_roles_give_admins_their_part_on_the_platform():
    assert effective_roles(["org_admin"], admins="reader") == {"org_admin", "reader"}
    assert effective_roles(["org_admin"], admins="") == {"org_admin"}
    assert effective_roles(["org_owner"], admins="operator") == {"org_owner"}


def test_platform_relationships_tie_operators_and_admins():
    assert platform_relationships(
        "p", operators=["u"], organization_id="o", admins="reader"
    ) == {
        Relationship(PLATFORM, "p", "operator", USER, "u"),
        Relationship(PLATFORM, "p", "reader", ORGANIZATION, "o", "org_admin"),
    }


@pytest.mark.parametrize(("organization_id", "admins"), [("o", ""), (None, "operator")])
def test_platform_relationships_without_admins_tie_nobody(organization_id, admins):
    found = platform_relationships("p", organization_id=organization_id, admins=admins)
    assert found == set()


def test_organization_relationships_hold_members_and_the_platform():
    members = {"u": ["member", "org_admin"]}
    assert organization_relationships("o", platform_id="p", members=members) == {
        Relationship(ORGANIZATION, "o", "platform", PLATFORM, "p"),
        Relationship(ORGANIZATION, "o", "member", USER, "u"),
        Relationship(ORGANIZATION, "o", "org_admin", USER, "u"),
    }


def test_workspace_relationships_hold_members_and_the_organization():
    members = {"u": ["workspace_user"]}
    assert workspace_relationships("w", organization_id="o", members=members) == {
        Relationship(WORKSPACE, "w", "organization", ORGANIZATION, "o"),
        Relationship(WORKSPACE, "w", "workspace_user", USER, "u"),
    }


@pytest.mark.parametrize("role", ["workspace_admin", "operator", "platform", "x"])
def test_organization_relationships_refuse_a_role_that_is_given_elsewhere(role):
    with pytest.raises(ValueError, match="not a role that is given on"):
        organization_relationships("o", platform_id="p", members={"u": [role]})


def test_relationship_reads_as_spicedb_writes_it():
    plain = Relationship(ORGANIZATION, "o", "member", USER, "u")
    assert str(plain) == "orgmanager/organization:o#member@orgmanager/user:u"
    userset = Relationship(PLATFORM, "p", "reader", ORGANIZATION, "o", "org_admin")
    assert str(userset).endswith("@orgmanager/organization:o#org_admin")
