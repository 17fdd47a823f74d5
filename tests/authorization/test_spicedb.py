import os
import socket
import time
import uuid
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest
from authzed.api.v1 import (
    ReadSchemaRequest,
    SchemaServiceStub,
    WriteSchemaRequest,
)

from orgmanager.authorization.backends import spicedb
from orgmanager.authorization.backends.base import Relationship, SchemaMissing
from orgmanager.authorization.definitions import own_definitions
from orgmanager.authorization.schema import ORGANIZATION, USER, render
from orgmanager.errors import Rejected, Unavailable

GIVEN = Relationship(ORGANIZATION, "o", "member", USER, "u")
QUESTION = (ORGANIZATION, "o", "org_read", "u")
TOKEN = "a preshared key"

METHODS = {
    "SchemaService": ["ReadSchema", "WriteSchema"],
    "PermissionsService": [
        "CheckPermission",
        "ReadRelationships",
        "WriteRelationships",
    ],
}
CALLS = {
    "ensure_schema": lambda engine: engine.ensure_schema(),
    "check": lambda engine: engine.check(*QUESTION),
    "write": lambda engine: engine.write(touch=[GIVEN]),
    "read": lambda engine: engine.read(ORGANIZATION, "o"),
    "ping": lambda engine: engine.ping(),
}


@pytest.fixture
def make_engine():
    """Return a function that makes an engine for an address, e.g. 127.0.0.1:50051."""

    def make(address, token=TOKEN, **options):
        host, port = address.rsplit(":", 1)
        return spicedb.Authorization(host=host, port=port, token=token, **options)

    return make


@pytest.fixture
def make_server():
    """
    Return a function that serves, in SpiceDB's place, what ``answer`` does.

    ``answer(context)`` gets every call; the function returns the address.
    """
    servers = []

    def make(answer):
        server = grpc.server(ThreadPoolExecutor(4))
        servers.append(server)
        handler = grpc.unary_unary_rpc_method_handler(
            lambda _, context: answer(context)
        )
        for service, methods in METHODS.items():
            server.add_generic_rpc_handlers(
                [
                    grpc.method_handlers_generic_handler(
                        f"authzed.api.v1.{service}", dict.fromkeys(methods, handler)
                    )
                ]
            )
        address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
        server.start()
        return address

    yield make
    for server in servers:
        server.stop(None)


@pytest.fixture
def address():
    """The address of a real SpiceDB that is there for tests."""
    if not os.environ.get("TEST_SPICEDB_ADDRESS"):
        pytest.skip("TEST_SPICEDB_ADDRESS and TEST_SPICEDB_TOKEN are not set.")
    return os.environ["TEST_SPICEDB_ADDRESS"]


@pytest.fixture
def engine(make_engine, address):
    return make_engine(address, os.environ["TEST_SPICEDB_TOKEN"], timeout=10)


@pytest.fixture
def schema(engine, address):
    """Return (read, write) of the whole schema, put back afterwards."""
    engine.ensure_schema()
    metadata = [("authorization", f"Bearer {os.environ['TEST_SPICEDB_TOKEN']}")]
    with grpc.insecure_channel(address) as channel:
        stub = SchemaServiceStub(channel)

        def read():
            request = ReadSchemaRequest()
            return stub.ReadSchema(request, timeout=10, metadata=metadata).schema_text

        def write(text):
            request = WriteSchemaRequest(schema=text)
            stub.WriteSchema(request, timeout=10, metadata=metadata)

        before = read()
        yield read, write
        write(before)


@pytest.mark.parametrize("call", CALLS)
def test_nothing_listening_is_unavailable(make_engine, call):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))  # taken, and refusing connections
        engine = make_engine(f"127.0.0.1:{unused.getsockname()[1]}")
        with pytest.raises(Unavailable, match="network policy"):
            CALLS[call](engine)


@pytest.mark.parametrize("call", ["check", "ping"])
def test_silent_server_is_unavailable_after_the_deadline(make_engine, call):
    """Fails when a call has no deadline: it would then never return."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        engine = make_engine(f"127.0.0.1:{silent.getsockname()[1]}", timeout=0.05)
        with pytest.raises(Unavailable, match="DEADLINE_EXCEEDED|UNAVAILABLE"):
            CALLS[call](engine)


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("code", ["PERMISSION_DENIED", "UNAUTHENTICATED"])
def test_refused_token_is_unavailable_and_names_the_variable(
    make_engine, make_server, call, code
):
    """It is our mistake and not the caller's, so it must not look like a no."""
    address = make_server(lambda context: context.abort(grpc.StatusCode[code], "no"))
    with pytest.raises(Unavailable, match="CASCLIENT_SPICEDB_TOKEN") as caught:
        CALLS[call](make_engine(address))
    assert TOKEN not in str(caught.value)


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("UNAVAILABLE", Unavailable),
        ("DEADLINE_EXCEEDED", Unavailable),
        ("RESOURCE_EXHAUSTED", Unavailable),
        ("ABORTED", Unavailable),
        ("INTERNAL", Unavailable),
        ("UNKNOWN", Unavailable),
        ("CANCELLED", Unavailable),
        ("INVALID_ARGUMENT", Rejected),
        ("OUT_OF_RANGE", Rejected),
        ("UNIMPLEMENTED", Rejected),
        ("FAILED_PRECONDITION", SchemaMissing),
    ],
)
def test_each_code_says_whether_trying_again_may_help(
    make_engine, make_server, code, kind
):
    calls = []

    def answer(context):
        calls.append(code)
        context.abort(grpc.StatusCode[code], "why")

    with pytest.raises(kind, match="why"):
        make_engine(make_server(answer), timeout=5).check(*QUESTION)
    assert len(calls) == 1  # never tried again behind the caller's back


def test_checks_without_an_answer_are_soon_not_sent_for_a_moment(
    make_engine, make_server
):
    """Fails when each check waits for a SpiceDB that hangs."""
    calls = []

    def answer(context):
        calls.append(1)
        if len(calls) <= spicedb._FAILURES:
            context.abort(grpc.StatusCode.UNAVAILABLE, "gone")
        return b""

    engine = make_engine(make_server(answer), timeout=5)
    for _ in range(20):
        with pytest.raises(Unavailable, match="gone"):
            engine.check(*QUESTION)
    assert len(calls) == spicedb._FAILURES
    time.sleep(spicedb._PAUSE)
    for _ in range(20):
        assert engine.check(*QUESTION) is False
    assert len(calls) == spicedb._FAILURES + 20


@pytest.mark.parametrize("code", ["PERMISSION_DENIED", "FAILED_PRECONDITION"])
def test_checks_that_are_refused_are_all_sent(make_engine, make_server, code):
    calls = []

    def answer(context):
        calls.append(1)
        context.abort(grpc.StatusCode[code], "no")

    engine = make_engine(make_server(answer), timeout=5)
    for _ in range(20):
        with pytest.raises(Unavailable, match="FLOWX|schema"):
            engine.check(*QUESTION)
    assert len(calls) == 20


def test_long_refusal_is_cut(make_engine, make_server):
    answer = make_server(
        lambda context: context.abort(grpc.StatusCode.INVALID_ARGUMENT, "y" * 5_000)
    )
    with pytest.raises(Rejected) as caught:
        make_engine(answer, timeout=5).check(*QUESTION)
    assert len(str(caught.value)) < 400


def test_call_carries_the_token(make_engine, make_server):
    seen = []

    def answer(context):
        seen.append(dict(context.invocation_metadata())["authorization"])
        return b""

    make_engine(make_server(answer), timeout=5).check(*QUESTION)
    assert seen == [f"Bearer {TOKEN}"]


def test_check_with_an_empty_answer_is_no(make_engine, make_server):
    engine = make_engine(make_server(lambda context: b""), timeout=5)
    assert engine.check(*QUESTION) is False


def test_write_waits_for_a_schema_that_is_on_its_way(make_engine, make_server):
    calls = []

    def answer(context):
        calls.append(1)
        if len(calls) < 3:
            context.abort(grpc.StatusCode.FAILED_PRECONDITION, "not found")
        return b""

    make_engine(make_server(answer), write_timeout=30).write(touch=[GIVEN])
    assert len(calls) == 3


def test_write_without_a_schema_gives_up_in_the_end(make_engine, make_server):
    address = make_server(
        lambda context: context.abort(grpc.StatusCode.FAILED_PRECONDITION, "not found")
    )
    with pytest.raises(SchemaMissing, match="not found"):
        make_engine(address, write_timeout=0.5).write(touch=[GIVEN])


def test_tls_to_a_server_without_is_unavailable(make_engine, make_server):
    engine = make_engine(make_server(lambda context: b""), tls=True, timeout=5)
    with pytest.raises(Unavailable, match="CASCLIENT_SPICEDB_TLS_ENABLED"):
        engine.ping()


def test_real_spicedb_refuses_a_wrong_token(make_engine, address):
    for call in CALLS.values():
        with pytest.raises(Unavailable, match="CASCLIENT_SPICEDB_TOKEN"):
            call(make_engine(address, "wrong", timeout=10))


def test_ensure_schema_keeps_the_definitions_of_other_services(engine, schema):
    read, write = schema
    name = f"other{uuid.uuid4().hex[:8]}"
    theirs = (
        f"caveat {name}/weekday(day string) {{\n"
        '\tday == "definition orgmanager/x {"\n}\n\n'
        f"// Not ours.\ndefinition {name}/document {{\n"
        f"\trelation viewer: {name}/user with {name}/weekday\n"
        f"\tpermission view = viewer\n}}\n\ndefinition {name}/user {{}}"
    )
    write(f"{read()}\n\n{theirs}\n\ndefinition orgmanager/retired {{}}\n")
    engine.ensure_schema()
    found = read()
    for definition in theirs.split("\n\n"):
        assert definition in found
    assert "retired" not in found


def test_render_is_laid_out_as_spicedb_prints_it(schema):
    """Fails when every ensure_schema() would write the schema once more."""
    read, _ = schema
    assert own_definitions(read()) == own_definitions(render())
