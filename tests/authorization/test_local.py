import multiprocessing
import sqlite3
import stat
from contextlib import closing

import pytest

from orgmanager.authorization.backends import local
from orgmanager.authorization.backends.base import Relationship, SchemaMissing
from orgmanager.authorization.schema import ORGANIZATION, PLATFORM, USER, WORKSPACE
from orgmanager.errors import Rejected, Unavailable

GIVEN = Relationship(ORGANIZATION, "o", "member", USER, "u")


@pytest.fixture
def path(tmp_path):
    return tmp_path / "var" / "authorization.sqlite3"


@pytest.fixture
def engine(path):
    engine = local.Authorization(path=path)
    engine.ensure_schema()
    return engine


def change(path, statement, *values):
    """Change the file behind the engine's back."""
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(statement, values)


def write_many(path, name):
    """Run in a process of its own: the first call creates the file."""
    engine = local.Authorization(path=path, timeout=20)
    engine.ensure_schema()
    for number in range(20):
        engine.write(touch=[GIVEN._replace(subject_id=f"{name}-{number}")])


@pytest.mark.parametrize(
    "ask",
    [
        lambda engine: engine.check(ORGANIZATION, "o", "org_read", "u"),
        lambda engine: engine.write(touch=[GIVEN]),
        lambda engine: engine.write(delete=[GIVEN]),
        lambda engine: engine.read(ORGANIZATION, "o"),
    ],
)
def test_anything_before_ensure_schema_is_rejected(path, ask):
    with pytest.raises(SchemaMissing, match="no schema"):
        ask(local.Authorization(path=path))


def test_schema_of_another_version_is_replaced_by_ensure_schema(engine, path):
    engine.write(touch=[GIVEN])
    change(path, "UPDATE schema SET text = 'definition orgmanager/user {}'")
    with pytest.raises(SchemaMissing, match="another version"):
        engine.read(ORGANIZATION, "o")
    engine.ensure_schema()
    assert engine.read(ORGANIZATION, "o") == {GIVEN}


def test_ensure_schema_with_relationships_it_has_no_place_for_is_rejected(engine, path):
    """SpiceDB refuses to drop a relation that is in use, too."""
    change(path, "UPDATE schema SET text = 'older'")
    old = GIVEN._replace(relation="guest")
    change(path, "INSERT INTO relationship VALUES (?, ?, ?, ?, ?, ?)", *old)
    with pytest.raises(Rejected, match="'guest' is not a relation"):
        engine.ensure_schema()
    with pytest.raises(SchemaMissing):
        engine.read(ORGANIZATION, "o")


def test_relationships_survive_the_process(engine, path):
    engine.write(touch=[GIVEN])
    again = local.Authorization(path=path)
    assert again.check(ORGANIZATION, "o", "org_read", "u")


def test_several_processes_start_and_write_at_once_without_a_loss(path):
    start = multiprocessing.get_context("spawn")
    names = ["a", "b", "c"]
    writers = [start.Process(target=write_many, args=(path, name)) for name in names]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert [writer.exitcode for writer in writers] == [0, 0, 0]
    found = local.Authorization(path=path).read(ORGANIZATION, "o")
    assert len(found) == 60


def test_files_are_readable_by_their_owner_only(engine, path):
    engine.write(touch=[GIVEN])
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    for file in path.parent.iterdir():
        assert stat.S_IMODE(file.stat().st_mode) == 0o600


@pytest.mark.parametrize("damage", ["garbage", "directory"])
def test_unusable_file_is_unavailable(engine, path, damage):
    path.unlink()
    if damage == "garbage":
        path.write_bytes(b"not a database" * 100)
    else:
        path.mkdir()
    for ask in (engine.ping, engine.ensure_schema, lambda: engine.read(USER, "u")):
        with pytest.raises(Unavailable, match="cannot be used"):
            ask()


def test_file_locked_by_another_process_is_unavailable(engine, path):
    engine = local.Authorization(path=path, timeout=0.01)
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(Unavailable, match="locked"):
            engine.write(touch=[GIVEN])
        assert engine.read(ORGANIZATION, "o") == set()


def test_check_follows_several_objects_up(engine):
    """A workspace leads to its organization, to the platform, to its admins."""
    engine.write(
        touch=[
            Relationship(WORKSPACE, "w", "organization", ORGANIZATION, "o1"),
            Relationship(ORGANIZATION, "o1", "platform", PLATFORM, "p"),
            Relationship(PLATFORM, "p", "operator", ORGANIZATION, "o2", "org_admin"),
            Relationship(ORGANIZATION, "o2", "org_admin", USER, "u"),
        ]
    )
    assert engine.check(WORKSPACE, "w", "wks_edit", "u")
    assert not engine.check(WORKSPACE, "w", "workspace_admin", "u")
    assert not engine.check(WORKSPACE, "w", "wks_edit", "o2")
