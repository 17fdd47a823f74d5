"""SpiceDB, shared with the other services of the platform."""

import time
from contextlib import contextmanager
from pathlib import Path

import grpc
from authzed.api.v1 import (
    CheckPermissionRequest,
    CheckPermissionResponse,
    Consistency,
    ObjectReference,
    PermissionsServiceStub,
    ReadRelationshipsRequest,
    ReadSchemaRequest,
    RelationshipFilter,
    RelationshipUpdate,
    SchemaServiceStub,
    SubjectReference,
    WriteRelationshipsRequest,
    WriteSchemaRequest,
)
from authzed.api.v1 import Relationship as WireRelationship

from ...breaker import Breaker
from ...deadlines import seconds_left
from ...errors import DomainError, Rejected, Unavailable
from ..definitions import merge, own_definitions
from ..schema import USER, render
from .base import (
    BaseAuthorization,
    Relationship,
    SchemaMissing,
    check_object,
    check_question,
    check_updates,
)

# Never minimize_latency: it answers from a snapshot some seconds old, in which
# a membership that was taken away still stands.
_NOW = Consistency(fully_consistent=True)

_REFUSALS = {
    grpc.StatusCode.ALREADY_EXISTS,
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.OUT_OF_RANGE,
    grpc.StatusCode.UNIMPLEMENTED,
}
_NO_SCHEMA = {grpc.StatusCode.FAILED_PRECONDITION, grpc.StatusCode.NOT_FOUND}
_BAD_TOKEN = {grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.UNAUTHENTICATED}

_RETRY_PAUSE = 0.05  # seconds

# While checks get no answer: a timeout each would soon have every thread.
_FAILURES = 5  # in a row
_PAUSE = 0.5  # seconds
_SCHEMA_TIMEOUT = 10  # seconds; it compares with every stored relationship

_CHANNEL = [
    # gRPC doubles its pause up to two minutes: far too long after an outage.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 1_000),
    ("grpc.max_reconnect_backoff_ms", 1_000),
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 5_000),
]


class NoAnswer(Unavailable):
    """Nothing came back; not even that our token or the schema is wrong."""


class Authorization(BaseAuthorization):
    """
    Checks and writes over gRPC, each with a deadline, each sent once.

    After some checks without an answer the next ones are not sent, for a moment.

    ``write`` alone is repeated, within its deadline, where SpiceDB does not know
    a definition: its nodes learn of a new schema one after the other.
    """

    def __init__(
        self,
        *,
        host,
        port,
        token,
        tls=False,
        ca_file="",
        timeout=0.25,
        write_timeout=2,
    ):
        """
        Open no connection yet; gRPC does with the first call.

        ``ca_file``: certificates to check the server against; the system's if "".

        Units: ``timeout``: seconds per check and ping; ``write_timeout``:
        seconds per write and read.
        Raises: OSError when ``ca_file`` cannot be read.
        """
        self._address = f"{host}:{port}"
        self._metadata = (("authorization", f"Bearer {token}"),)
        self._timeout = timeout
        self._write_timeout = write_timeout
        self._breaker = Breaker("SpiceDB", failures=_FAILURES, pause=_PAUSE)
        if tls:
            roots = Path(ca_file).read_bytes() if ca_file else None
            credentials = grpc.ssl_channel_credentials(roots)
            channel = grpc.secure_channel(self._address, credentials, _CHANNEL)
        else:
            channel = grpc.insecure_channel(self._address, _CHANNEL)
        self._permissions = PermissionsServiceStub(channel)
        self._schemas = SchemaServiceStub(channel)

    def ensure_schema(self):
        """
        Bring our definitions to this version and leave all others alone.

        SpiceDB replaces its schema as a whole and knows no condition on it: what
        another service writes between the two calls here would be lost.
        """
        own = render()
        present = self._read_schema(_SCHEMA_TIMEOUT)
        if own_definitions(present) == own_definitions(own):
            return
        request = WriteSchemaRequest(schema=merge(present, own))
        with self._translated("write the schema"):
            self._call(self._schemas.WriteSchema, request, _SCHEMA_TIMEOUT)

    def check(self, resource_type, resource_id, permission, subject_id):
        check_question(resource_type, resource_id, permission, subject_id)
        request = CheckPermissionRequest(
            consistency=_NOW,
            resource=_object(resource_type, resource_id),
            permission=permission,
            subject=SubjectReference(object=_object(USER, subject_id)),
        )
        with (
            self._breaker.asking(
                silence=NoAnswer, answers=DomainError, refusal=Unavailable
            ),
            self._translated("check a permission"),
        ):
            response = self._call(
                self._permissions.CheckPermission, request, self._timeout
            )
        granted = CheckPermissionResponse.PERMISSIONSHIP_HAS_PERMISSION
        return response.permissionship == granted

    def write(self, *, touch=(), delete=()):
        touch, delete = list(touch), list(delete)
        check_updates(touch, delete)
        updates = [_update(RelationshipUpdate.OPERATION_TOUCH, each) for each in touch]
        updates += [
            _update(RelationshipUpdate.OPERATION_DELETE, each) for each in delete
        ]
        request = WriteRelationshipsRequest(updates=updates)
        deadline = time.monotonic() + self._write_timeout
        while True:
            left = deadline - time.monotonic()
            try:
                with self._translated("write relationships"):
                    self._call(self._permissions.WriteRelationships, request, left)
                return
            except SchemaMissing:
                if deadline - time.monotonic() < 2 * _RETRY_PAUSE:
                    raise
                time.sleep(_RETRY_PAUSE)

    def read(self, resource_type, resource_id):
        check_object(resource_type, resource_id)
        request = ReadRelationshipsRequest(
            consistency=_NOW,
            relationship_filter=RelationshipFilter(
                resource_type=resource_type, optional_resource_id=resource_id
            ),
        )
        with self._translated("read relationships"):
            responses = self._call(
                self._permissions.ReadRelationships, request, self._write_timeout
            )
            return {_relationship(each.relationship) for each in responses}

    def ping(self):
        self._read_schema(self._timeout)

    def _read_schema(self, timeout):
        try:
            with self._translated("read the schema"):
                read = self._schemas.ReadSchema
                return self._call(read, ReadSchemaRequest(), timeout).schema_text
        except SchemaMissing:
            return ""  # nobody has written one yet

    def _call(self, method, request, timeout):
        timeout = seconds_left(timeout)
        return method(request, timeout=timeout, metadata=self._metadata)

    @contextmanager
    def _translated(self, doing):
        """Turn gRPC's errors into Unavailable or Rejected."""
        try:
            yield
        except grpc.RpcError as error:
            code, details = error.code(), str(error.details())[:300]
            if code in _BAD_TOKEN:
                raise Unavailable(
                    f"SpiceDB at {self._address} refused our token while trying to "
                    f"{doing}. Set FLOWX_LIB_CASCLIENT_SPICEDB_TOKEN to SpiceDB's "
                    "preshared key."
                ) from error
            if code in _NO_SCHEMA:
                raise SchemaMissing(
                    f"SpiceDB refused to {doing}: {details}. The worker applies the "
                    "schema when it starts."
                ) from error
            if code in _REFUSALS:
                raise Rejected(f"SpiceDB refused to {doing}: {details}.") from error
            raise NoAnswer(
                f"SpiceDB at {self._address} did not answer while trying to {doing}: "
                f"{code.name} {details}. Check the address, "
                "FLOWX_LIB_CASCLIENT_SPICEDB_TLS_ENABLED, SPICEDB_CA_FILE and the "
                "network policy."
            ) from error


def _object(object_type, object_id):
    return ObjectReference(object_type=object_type, object_id=object_id)


def _update(operation, relationship):
    resource = _object(relationship.resource_type, relationship.resource_id)
    subject = SubjectReference(
        object=_object(relationship.subject_type, relationship.subject_id),
        optional_relation=relationship.subject_relation,
    )
    wire = WireRelationship(
        resource=resource, relation=relationship.relation, subject=subject
    )
    return RelationshipUpdate(operation=operation, relationship=wire)


def _relationship(wire):
    subject = wire.subject
    return Relationship(
        wire.resource.object_type,
        wire.resource.object_id,
        wire.relation,
        subject.object.object_type,
        subject.object.object_id,
        subject.optional_relation,
    )
