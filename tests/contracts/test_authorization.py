"""Every authorization engine gives the same answers and refuses the same things."""

import os
import uuid

import pytest

from orgmanager.authorization.backends import local, spicedb
from orgmanager.authorization.backends.base import MAX_UPDATES, Relationship
from orgmanager.authorization.relationships import (
    organization_relationships,
    platform_relationships,
    workspace_relationships,
)
from orgmanager.authorization.schema import (
    ORGANIZATION,
    PERMISSIONS,
    PLATFORM,
    ROLES,
    USER,
    WORKSPACE,
    allows,
)
from orgmanager.errors import Rejected

# Written out once more on purpose: a slip in the table must not pass unseen.
MATRIX = """
permission                    operator reader org_owner org_admin member wks_admin wks_user
platform_health_read             x       x       .         .        .       .         .
platform_health_edit             x       .       .         .        .       .         .
platform_organizations_read      x       .       .         .        .       .         .
platform_organizations_create    x       .       .         .        .       .         .
org_read                         x       .       x         x        x       .         .
org_edit                         x       .       x         x        .       .         .
org_suspend                      x       .       .         .        .       .         .
org_resume                       x       .       .         .        .       .         .
org_delete                       x       .       .         .        .       .         .
org_restore                      x       .       .         .        .       .         .
org_users_read                   x       .       x         x        .       .         .
org_users_create                 x       .       .         x        .       .         .
org_users_edit                   x       .       .         x        .       .         .
org_users_delete                 x       .       .         x        .       .         .
org_tenants_read                 x       .       x         x        x       .         .
org_tenants_create               x       .       .         x        .       .         .
org_tenants_edit                 x       .       .         x        .       .         .
org_tenants_delete               x       .       .         x        .       .         .
org_ai_providers_read            x       .       x         x        .       .         .
org_ai_providers_create          x       .       .         x        .       .         .
org_ai_providers_edit            x       .       .         x        .       .         .
org_ai_providers_delete          x       .       .         x        .       .         .
org_audit_read                   x       .       x         x        .       .         .
wks_read                         x       .       x         x        .       x         x
wks_edit                         x       .       .         x        .       x         .
wks_users_read                   x       .       .         x        .       x         .
wks_users_create                 x       .       .         x        .       x         .
wks_users_edit                   x       .       .         x        .       x         .
wks_users_delete                 x       .       .         x        .       x         .
"""  # noqa: E501  a table is read in columns
COLUMNS = [
    "operator",
    "reader",
    "org_owner",
    "org_admin",
    "member",
    "workspace_admin",
    "workspace_user",
]


def expected():
    """Return {role: set of permissions} as MATRIX says."""
    rows = [line.split() for line in MATRIX.strip().splitlines()[1:]]
    return {
        role: {permission for permission, *marks in rows if marks[column] == "x"}
        for column, role in enumerate(COLUMNS)
    }


def new_id():
    return str(uuid.uuid4())


@pytest.fixture(params=["local", "spicedb"])
def authorization(request, tmp_path):
    """An engine with the schema; ids are new each time, so one SpiceDB serves all."""
    if request.param == "local":
        engine = local.Authorization(path=tmp_path / "authorization.sqlite3")
    else:
        address, token = (
            os.environ.get(f"TEST_SPICEDB_{name}") for name in ("ADDRESS", "TOKEN")
        )
        if not address or not token:
            pytest.skip("TEST_SPICEDB_ADDRESS and TEST_SPICEDB_TOKEN are not set.")
        host, port = address.rsplit(":", 1)
        # A busy machine is no reason to fail: the deadline has a test of its own.
        engine = spicedb.Authorization(
            host=host, port=port, token=token, timeout=10, write_timeout=10
        )
    engine.ensure_schema()
    return engine


@pytest.fixture
def make_installation(authorization):
    """Return a function that writes one installation; ids by object type."""

    def make(*, operators=(), admins="", members=None, workspace_members=None):
        ids = {type: new_id() for type in (PLATFORM, ORGANIZATION, WORKSPACE)}
        relationships = platform_relationships(
            ids[PLATFORM],
            operators=operators,
            organization_id=ids[ORGANIZATION],
            admins=admins,
        )
        relationships |= organization_relationships(
            ids[ORGANIZATION], platform_id=ids[PLATFORM], members=members or {}
        )
        relationships |= workspace_relationships(
            ids[WORKSPACE],
            organization_id=ids[ORGANIZATION],
            members=workspace_members or {},
        )
        authorization.write(touch=relationships)
        return ids

    return make


def granted(authorization, ids, user):
    """Return every permission that ``user`` has somewhere in the installation."""
    return {
        permission
        for type in ids
        for permission in PERMISSIONS[type]
        if authorization.check(type, ids[type], permission, user)
    }


def membership(organization_id, user, role="member"):
    return Relationship(ORGANIZATION, organization_id, role, USER, user)


@pytest.mark.parametrize("role", [role for role in COLUMNS if role != "reader"])
def test_check_each_role_grants_what_the_matrix_says(
    authorization, make_installation, role
):
    """Fails when the table, an engine or the overlay says something else."""
    user, stranger = new_id(), new_id()
    place = {
        PLATFORM: {"operators": [user]},
        ORGANIZATION: {"members": {user: [role]}},
        WORKSPACE: {"workspace_members": {user: [role]}},
    }
    ids = make_installation(**place[ROLES[role]])
    assert granted(authorization, ids, user) == expected()[role]
    assert granted(authorization, ids, stranger) == set()


@pytest.mark.parametrize("role", COLUMNS)
def test_allows_each_role_what_the_matrix_says(role):
    permissions = {name for names in PERMISSIONS.values() for name in names}
    found = {name for name in permissions if allows([role], name)}
    assert found == expected()[role]


def test_matrix_has_every_role():
    assert set(COLUMNS) == set(ROLES)


@pytest.mark.parametrize("admins", ["operator", "reader", ""])
def test_check_admins_on_premises_adds_what_their_part_on_the_platform_grants(
    authorization, make_installation, admins
):
    admin, member = new_id(), new_id()
    members = {admin: ["org_admin"], member: ["member", "org_owner"]}
    ids = make_installation(admins=admins, members=members)
    more = expected()[admins] if admins else set()
    assert granted(authorization, ids, admin) == expected()["org_admin"] | more
    others = expected()["member"] | expected()["org_owner"]
    assert granted(authorization, ids, member) == others


def test_check_admin_of_another_organization_is_no(authorization, make_installation):
    admin = new_id()
    make_installation(admins="operator", members={admin: ["org_admin"]})
    other = make_installation(admins="operator")
    assert granted(authorization, other, admin) == set()


def test_check_admin_of_another_workspace_is_no(authorization, make_installation):
    admin = new_id()
    ids = make_installation(workspace_members={admin: ["workspace_admin"]})
    beside = new_id()
    authorization.write(
        touch=workspace_relationships(
            beside, organization_id=ids[ORGANIZATION], members={}
        )
    )
    assert authorization.check(WORKSPACE, ids[WORKSPACE], "wks_edit", admin)
    assert not authorization.check(WORKSPACE, beside, "wks_edit", admin)


def test_check_relation_says_who_has_it(authorization, make_installation):
    user = new_id()
    ids = make_installation(members={user: ["member"]})
    organization = (ORGANIZATION, ids[ORGANIZATION])
    assert authorization.check(*organization, "member", user)
    assert not authorization.check(*organization, "org_admin", user)
    assert not authorization.check(*organization, "operator", user)
    assert not authorization.check(*organization, "platform", ids[PLATFORM])


def test_check_after_delete_is_no_at_once(authorization):
    """Fails when a check may be answered from an older snapshot."""
    organization_id = new_id()
    for _ in range(20):
        given = membership(organization_id, new_id())
        question = (ORGANIZATION, organization_id, "org_read", given.subject_id)
        authorization.write(touch=[given])
        assert authorization.check(*question)
        authorization.write(delete=[given])
        assert not authorization.check(*question)


def test_check_unknown_object_is_no(authorization):
    assert not authorization.check(ORGANIZATION, new_id(), "org_read", new_id())


@pytest.mark.parametrize(
    ("question", "message"),
    [
        (("orgmanager/thing", "a", "org_read", "b"), "not an object type"),
        (("other/organization", "a", "org_read", "b"), "not an object type"),
        ((ORGANIZATION, "a", "wks_read", "b"), "not a permission"),
        ((ORGANIZATION, "a", "", "b"), "not a permission"),
        ((ORGANIZATION, "", "org_read", "b"), "not an object id"),
        ((ORGANIZATION, "a", "org_read", "*"), "not an object id"),
        ((ORGANIZATION, "a", "org_read", "olga@example.com"), "not an object id"),
        ((ORGANIZATION, "a", "org_read", "b\n"), "not an object id"),
        ((ORGANIZATION, "a", "org_read", "b" * 1025), "not an object id"),
        ((ORGANIZATION, "a", "org_read", uuid.UUID(int=1)), "not an object id"),
    ],
)
def test_check_malformed_question_is_rejected(authorization, question, message):
    with pytest.raises(Rejected, match=message):
        authorization.check(*question)


def test_write_the_same_again_changes_nothing(authorization):
    given = membership(new_id(), new_id())
    for _ in range(2):
        authorization.write(touch=[given])
        assert authorization.read(*given[:2]) == {given}
    for _ in range(2):
        authorization.write(delete=[given])
        assert authorization.read(*given[:2]) == set()


def test_write_touches_and_deletes_in_one_step(authorization):
    organization_id, user = new_id(), new_id()
    before = membership(organization_id, user, "member")
    after = membership(organization_id, user, "org_admin")
    authorization.write(touch=[before])
    authorization.write(touch={after}, delete={before})
    assert authorization.read(ORGANIZATION, organization_id) == {after}


def test_write_nothing_is_fine(authorization):
    authorization.write()


def test_write_up_to_the_limit_is_stored_whole(authorization):
    organization_id = new_id()
    many = {membership(organization_id, new_id()) for _ in range(MAX_UPDATES)}
    authorization.write(touch=many)
    assert authorization.read(ORGANIZATION, organization_id) == many


def test_write_over_the_limit_is_rejected_whole(authorization):
    organization_id = new_id()
    many = {membership(organization_id, new_id()) for _ in range(MAX_UPDATES + 1)}
    with pytest.raises(Rejected, match="1001 updates"):
        authorization.write(touch=many)
    assert authorization.read(ORGANIZATION, organization_id) == set()


@pytest.mark.parametrize("way", ["touch", "delete", "both"])
def test_write_the_same_relationship_twice_is_rejected(authorization, way):
    given = membership(new_id(), new_id())
    updates = {
        "touch": {"touch": [given, given]},
        "delete": {"delete": [given, given]},
        "both": {"touch": [given], "delete": [given]},
    }
    with pytest.raises(Rejected, match="stands twice"):
        authorization.write(**updates[way])


@pytest.mark.parametrize("way", ["touch", "delete"])
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"resource_type": "orgmanager/thing"}, "not an object type"),
        ({"resource_id": "*"}, "not an object id"),
        ({"relation": "viewer"}, "not a relation"),
        ({"relation": "org_read"}, "not a relation"),
        ({"relation": "operator"}, "not a relation"),
        ({"subject_type": "other/user"}, "not an object type"),
        ({"subject_type": ORGANIZATION}, "cannot be member"),
        ({"subject_id": "*"}, "not an object id"),
        ({"subject_id": "olga@example.com"}, "not an object id"),
        ({"subject_id": "a" * 1025}, "not an object id"),
        ({"subject_relation": "member"}, "cannot be member"),
        ({"subject_relation": "..."}, "cannot be member"),
    ],
)
def test_write_malformed_relationship_is_rejected_whole(
    authorization, way, changes, message
):
    good = membership(new_id(), new_id())
    bad = good._replace(**changes)
    updates = {"touch": [good, bad]} if way == "touch" else {"delete": [bad]}
    with pytest.raises(Rejected, match=message):
        authorization.write(**{"touch": [good]} | updates)
    assert authorization.read(*good[:2]) == set()


def test_write_longest_id_is_stored(authorization):
    given = membership(new_id(), ("a-Z0_/|=+" * 200)[:1024])
    authorization.write(touch=[given])
    assert authorization.read(*given[:2]) == {given}


def test_read_gives_the_object_and_nothing_else(authorization, make_installation):
    user = new_id()
    ids = make_installation(admins="operator", members={user: ["org_owner"]})
    assert authorization.read(ORGANIZATION, ids[ORGANIZATION]) == {
        membership(ids[ORGANIZATION], user, "org_owner"),
        Relationship(
            ORGANIZATION, ids[ORGANIZATION], "platform", PLATFORM, ids[PLATFORM]
        ),
    }
    assert authorization.read(PLATFORM, ids[PLATFORM]) == {
        Relationship(
            PLATFORM,
            ids[PLATFORM],
            "operator",
            ORGANIZATION,
            ids[ORGANIZATION],
            "org_admin",
        )
    }


@pytest.mark.parametrize(
    "place", [("orgmanager/thing", "a"), (ORGANIZATION, ""), (ORGANIZATION, "*")]
)
def test_read_malformed_object_is_rejected(authorization, place):
    with pytest.raises(Rejected):
        authorization.read(*place)


def test_replace_leaves_exactly_what_was_given(authorization):
    organization_id = new_id()
    kept, gone, new = (membership(organization_id, new_id()) for _ in range(3))
    beside = membership(new_id(), gone.subject_id)
    authorization.write(touch=[kept, gone, beside])
    for _ in range(2):
        authorization.replace(ORGANIZATION, organization_id, [kept, new])
        assert authorization.read(ORGANIZATION, organization_id) == {kept, new}
    assert authorization.read(*beside[:2]) == {beside}


def test_replace_over_the_limit_takes_several_writes(authorization):
    organization_id = new_id()
    first, second = (
        {membership(organization_id, new_id()) for _ in range(MAX_UPDATES - 1)}
        for _ in range(2)
    )
    for wanted in (first, second, set()):
        authorization.replace(ORGANIZATION, organization_id, wanted)
        assert authorization.read(ORGANIZATION, organization_id) == wanted


def test_replace_with_relationships_of_another_object_is_rejected(authorization):
    given = membership(new_id(), new_id())
    with pytest.raises(Rejected, match="is not on"):
        authorization.replace(ORGANIZATION, new_id(), [given])
    assert authorization.read(*given[:2]) == set()


def test_ensure_schema_again_keeps_relationships(authorization):
    given = membership(new_id(), new_id())
    authorization.write(touch=[given])
    authorization.ensure_schema()
    assert authorization.read(*given[:2]) == {given}


def test_ping_answers(authorization):
    assert authorization.ping() is None
