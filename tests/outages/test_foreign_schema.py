"""What other services keep in SpiceDB is theirs: a worker that starts changes ours."""

import os
import re
import uuid

import grpc
import pytest
from authzed.api.v1 import (
    CheckPermissionRequest,
    CheckPermissionResponse,
    Consistency,
    DeleteRelationshipsRequest,
    ObjectReference,
    PermissionsServiceStub,
    ReadRelationshipsRequest,
    ReadSchemaRequest,
    Relationship,
    RelationshipFilter,
    RelationshipUpdate,
    SchemaServiceStub,
    SubjectReference,
    WriteRelationshipsRequest,
    WriteSchemaRequest,
)
from google.protobuf.struct_pb2 import Struct

from orgmanager.authorization.definitions import own_definitions
from orgmanager.authorization.schema import render

from .harness import wait_for

pytestmark = pytest.mark.services

NOW = Consistency(fully_consistent=True)
HAS = CheckPermissionResponse.PERMISSIONSHIP_HAS_PERMISSION
NAME = f"other{uuid.uuid4().hex[:8]}"
FOREIGN = f"""
// Not ours: definition orgmanager/user {{ in a comment.
definition {NAME}/user    {{}}

/** One }} too many, in a comment. */
caveat {NAME}/weekday(day string,   allowed list<string>) {{
  day in allowed && day != "definition orgmanager/x {{"
}}
definition {NAME}/folder {{
    relation owner:{NAME}/user
    relation member: {NAME}/user|{NAME}/user with {NAME}/weekday
    // who may look
    permission view=owner+member
}}
definition {NAME}/document {{ // the one with an arrow
\trelation parent:   {NAME}/folder
\trelation banned: {NAME}/user


\tpermission view = parent->view   -   banned
}}
"""

# Of an earlier version: one definition too many, and a permission too few.
OLDER = re.sub(r"\n\s*permission org_audit_read .*", "", render())
OLDER += "\ndefinition orgmanager/retired {}\n"


class SpiceDB:
    """SpiceDB as another service sees it."""

    def __init__(self, channel):
        self._schemas = SchemaServiceStub(channel)
        self._permissions = PermissionsServiceStub(channel)

    def _call(self, method, request):
        token = os.environ["TEST_SPICEDB_TOKEN"]
        metadata = (("authorization", f"Bearer {token}"),)
        return method(request, timeout=10, metadata=metadata)

    def read_schema(self):
        """Return the text, and the revision, which every write raises."""
        answer = self._call(self._schemas.ReadSchema, ReadSchemaRequest())
        return answer.schema_text, answer.read_at.token

    def write_schema(self, text):
        self._call(self._schemas.WriteSchema, WriteSchemaRequest(schema=text))

    def touch(self, *relationships):
        updates = [
            RelationshipUpdate(
                operation=RelationshipUpdate.OPERATION_TOUCH, relationship=each
            )
            for each in relationships
        ]
        request = WriteRelationshipsRequest(updates=updates)
        wait_for(lambda: self._touched(request), timeout=10)

    def _touched(self, request):
        try:
            self._call(self._permissions.WriteRelationships, request)
        except grpc.RpcError as error:
            # For some seconds SpiceDB does not know what was just written.
            if error.code() != grpc.StatusCode.FAILED_PRECONDITION:
                raise
            return False
        return True

    def relationships(self):
        return {
            each.relationship.SerializeToString(deterministic=True)
            for kind in ("folder", "document")
            for each in self._call(
                self._permissions.ReadRelationships,
                ReadRelationshipsRequest(
                    consistency=NOW,
                    relationship_filter=RelationshipFilter(
                        resource_type=f"{NAME}/{kind}"
                    ),
                ),
            )
        }

    def may_view(self, user, *, day):
        context = Struct()
        context.update({"day": day})
        answer = self._call(
            self._permissions.CheckPermission,
            CheckPermissionRequest(
                consistency=NOW,
                resource=thing("document", "d"),
                permission="view",
                subject=SubjectReference(object=thing("user", user)),
                context=context,
            ),
        )
        return answer.permissionship == HAS

    def forget(self):
        for kind in ("folder", "document"):
            request = DeleteRelationshipsRequest(
                relationship_filter=RelationshipFilter(resource_type=f"{NAME}/{kind}")
            )
            self._call(self._permissions.DeleteRelationships, request)


def thing(kind, name):
    return ObjectReference(object_type=f"{NAME}/{kind}", object_id=name)


def relationship(resource, relation, subject, *, days=()):
    found = Relationship(
        resource=thing(*resource),
        relation=relation,
        subject=SubjectReference(object=thing(*subject)),
    )
    if days:
        found.optional_caveat.caveat_name = f"{NAME}/weekday"
        found.optional_caveat.context.update({"allowed": list(days)})
    return found


@pytest.fixture
def spicedb():
    """SpiceDB with the schema and the relationships of another service."""
    with grpc.insecure_channel(os.environ["TEST_SPICEDB_ADDRESS"]) as channel:
        spicedb = SpiceDB(channel)
        before, _ = spicedb.read_schema()
        spicedb.write_schema(f"{FOREIGN}\n{OLDER}")
        spicedb.touch(
            relationship(("folder", "f"), "owner", ("user", "olga")),
            relationship(("folder", "f"), "member", ("user", "tim"), days=["tue"]),
            relationship(("folder", "f"), "member", ("user", "bob")),
            relationship(("document", "d"), "parent", ("folder", "f")),
            relationship(("document", "d"), "banned", ("user", "bob")),
        )
        yield spicedb
        spicedb.forget()
        spicedb.write_schema(before)


def theirs(text):
    """Return the schema without our definitions, which stand between or behind."""
    kept = re.sub(r"(?ms)^definition orgmanager/\w+ \{(\}|.*?^\})\n*", "", text)
    return kept.rstrip("\n")


def start_worker(installation):
    with installation.worker() as log:
        wait_for(lambda: "CAS client initialized" in log.read_text())


def answers(spicedb):
    return [
        spicedb.may_view(user, day=day)
        for user in ("olga", "tim", "bob")
        for day in ("tue", "wed")
    ]


def test_worker_updates_ours_leaves_theirs_and_then_writes_nothing(
    installation, spicedb
):
    """Fails when an upgrade of ours costs another service its permissions."""
    text, _ = spicedb.read_schema()
    assert own_definitions(text) != own_definitions(render())
    relationships = spicedb.relationships()
    assert answers(spicedb) == [True, True, True, False, False, False]
    start_worker(installation)
    upgraded, revision = spicedb.read_schema()
    assert theirs(upgraded) == theirs(text) and NAME in theirs(text)
    assert own_definitions(upgraded) == own_definitions(render())
    assert spicedb.relationships() == relationships and len(relationships) == 5
    wait_for(
        lambda: answers(spicedb) == [True, True, True, False, False, False], timeout=5
    )
    start_worker(installation)
    assert spicedb.read_schema() == (upgraded, revision)
