"""`make stack`, from an empty installation to its administrator's first request."""

import uuid

import pytest
from authzed.api.v1 import (
    ObjectReference,
    Relationship,
    RelationshipUpdate,
    SubjectReference,
    WriteRelationshipsRequest,
)

from tests.real_services import Administrator

from .installation import EMAIL, SpiceDB, subject_of, traces

pytestmark = pytest.mark.services

TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


@pytest.fixture
def ledger():
    """
    Put a schema and relationships of somebody else into SpiceDB.

    Ours lacks a permission then, as one of an earlier version would: so it has to be
    written again, and theirs with it.
    """
    name = f"ledger_{uuid.uuid4().hex[:8]}"
    theirs = (
        f"/** what {name} is for */\n"
        f"definition {name}/account {{\n"
        f"\trelation owner: {name}/person // whoever pays\n"
        "\tpermission pay = owner\n"
        "}\n\n"
        f"definition {name}/person {{}}\n"
    )
    spicedb = SpiceDB()
    ours = "".join(
        line
        for line in spicedb.schema().splitlines(keepends=True)
        if "permission org_audit_read" not in line
    )
    spicedb.write_schema(f"{ours}\n\n{theirs}")
    account = ObjectReference(object_type=f"{name}/account", object_id="1")
    person = ObjectReference(object_type=f"{name}/person", object_id="bea")
    owns = Relationship(
        resource=account, relation="owner", subject=SubjectReference(object=person)
    )
    touch = RelationshipUpdate(
        operation=RelationshipUpdate.OPERATION_TOUCH, relationship=owns
    )
    spicedb.client.WriteRelationships(WriteRelationshipsRequest(updates=[touch]))
    return name


def foreign_part(name):
    """Return the definitions of ``name`` and its relationships, as they are stored."""
    spicedb, text = SpiceDB(), SpiceDB().schema()
    begin = text.index(f"/** what {name} is for */")
    end = text.index(f"definition {name}/person {{}}", begin)
    return text[begin:end], spicedb.relationships(f"{name}/account")


def test_the_first_run_on_the_five_services_makes_all_of_it_and_nothing_else(
    make_installation, ledger
):
    installation = make_installation()
    before, theirs = Administrator().realms(), foreign_part(ledger)
    assert theirs[1]
    password = f"Canary-{uuid.uuid4().hex}-7"
    installation.start("all")
    installation.wait_until_serving()
    assert installation.get("env").json()["status"] == "MISSING_ORGANIZATION"

    answer = installation.post(
        installation.registration_body(password), traceparent=TRACE
    )
    assert answer.status_code == 201, answer.text
    pk = installation.organization_id
    assert answer.json()["organization"]["id"] == pk

    # Kafka: one event, as the platform's consumers want it.
    (message,) = installation.created()
    event_id = message.headers.pop("event-id")
    assert str(uuid.UUID(event_id)) == event_id
    assert message.key == pk
    assert message.headers == {
        "content-type": "application/cloudevents+json",
        "Fx-Organization-Id": pk,
        "event-type": "organization.created",
        "sequence": "1",
        "epoch": "1",
        "traceparent": TRACE,
    }
    assert [each.key for each in installation.messages()] == [pk]

    # Keycloak: two realms more, both ours, and the administrator signs in.
    after, marker = Administrator().realms(), installation.marker()
    new = {name: after[name] for name in after.keys() - before.keys()}
    assert new == {pk: marker, installation.service_accounts: marker}
    assert {name: after[name] for name in before} == before
    token = installation.sign_in(EMAIL, password)
    bearer = {"Authorization": f"Bearer {token}"}
    read = installation.get(f"organizations/{pk}", **bearer)
    assert read.status_code == 200 and read.json()["status"] == "ACTIVE"

    # SpiceDB: a yes for them, a no for everybody else, and theirs is theirs still.
    spicedb, subject = SpiceDB(), subject_of(token)
    assert spicedb.may(subject, "org_edit", pk)
    assert spicedb.may(subject, "org_audit_read", pk)
    assert not spicedb.may(str(uuid.uuid4()), "org_read", pk)
    assert foreign_part(ledger) == theirs

    # The password is nowhere, in no form.
    trace = traces(password)
    assert trace.search(password.encode().hex().encode())
    dump = installation.dump()
    assert EMAIL.encode() in dump and not trace.search(dump)
    for message in installation.messages():
        assert not trace.search(message.value)
    for key in installation.redis.scan_iter():
        assert not trace.search(key)
        assert not trace.search(installation.redis.get(key) or b"")
    for file in installation.var.rglob("*"):
        if file.is_file():
            assert not trace.search(file.read_bytes()), file
    assert installation.logs()
