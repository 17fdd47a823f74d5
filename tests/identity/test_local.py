"""What is only true of the realms on this machine: their file, and their limits."""

import multiprocessing
import sqlite3
import uuid

import pytest

from orgmanager.errors import Unavailable
from orgmanager.identity import template
from orgmanager.identity.backends import local

MARKER = "installation-1"


@pytest.fixture
def path(tmp_path):
    return tmp_path / "deep" / "realms.sqlite3"


def make_realm(realm=None, **secrets):
    return template.service_account_realm(
        realm=realm or str(uuid.uuid4()), marker=MARKER, secrets=secrets
    )


def ensure_realm(path, representation):
    local.Identity(path=path).ensure_realm(representation)


def test_file_and_its_companions_are_for_the_owner_only(path):
    identity = local.Identity(path=path)
    identity.ensure_realm(make_realm())
    # An open connection keeps the log of SQLite in place.
    with identity._reading() as database:
        database.execute("SELECT * FROM realm").fetchall()
        files = {
            file.name: file.stat().st_mode & 0o777 for file in path.parent.iterdir()
        }
    assert {"realms.sqlite3", "realms.sqlite3-wal"} <= files.keys()
    assert set(files.values()) == {0o600}
    assert path.parent.stat().st_mode & 0o777 == 0o700


def test_realms_outlive_the_process(path):
    realm = make_realm()["realm"]
    process = multiprocessing.get_context("spawn").Process(
        target=ensure_realm, args=[path, make_realm(realm)]
    )
    process.start()
    process.join()
    identity = local.Identity(path=path)
    assert process.exitcode == 0
    assert identity.find_realm(realm)["marker"] == MARKER


def test_ensure_realm_from_many_processes_makes_one(path):
    """The file, too, is made once: they all start without it."""
    realm = make_realm()
    processes = [
        multiprocessing.get_context("fork").Process(
            target=ensure_realm, args=[path, realm]
        )
        for _ in range(6)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * 6
    assert local.Identity(path=path).find_realm(realm["realm"])["enabled"]


def test_file_that_is_no_database_is_unavailable(path):
    path.parent.mkdir()
    path.write_text("something else, long enough to be read as a header " * 50)
    with pytest.raises(Unavailable, match=r"realms\.sqlite3"):
        local.Identity(path=path).ping()


def test_folder_that_cannot_be_made_is_unavailable(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(Unavailable):
        local.Identity(path=tmp_path / "file" / "realms.sqlite3").ping()


def test_writer_that_does_not_finish_makes_others_unavailable(path):
    identity = local.Identity(path=path, timeout=0.05)
    identity.ping()
    writer = sqlite3.connect(path, isolation_level=None)
    writer.execute("BEGIN IMMEDIATE")
    with pytest.raises(Unavailable):
        identity.ensure_realm(make_realm())
    identity.ping()
    writer.close()


def test_vanished_file_starts_over(path):
    identity = local.Identity(path=path)
    realm = make_realm()
    identity.ensure_realm(realm)
    for file in path.parent.iterdir():
        file.unlink()
    assert identity.find_realm(realm["realm"]) is None
    assert path.stat().st_mode & 0o777 == 0o600


def test_secret_of_a_client_is_in_no_settings(path):
    identity = local.Identity(path=path)
    realm = make_realm(**{"flowx-admin-sa": "s3cret"})
    identity.ensure_realm(realm)
    with identity._reading() as database:
        settings = database.execute(
            "SELECT settings FROM client UNION SELECT settings FROM realm"
        ).fetchall()
    assert len(settings) > 20
    assert not any("s3cret" in row[0] for row in settings)


def test_begin_attempt_refuses_the_sixth_of_one_name(path):
    identity = local.Identity(path=path)
    for _ in range(local.ATTEMPTS_PER_NAME):
        assert identity.begin_attempt("r", "user ada", "127.0.0.1")[1] == 0
    attempt, wait = identity.begin_attempt("r", "user ada", "127.0.0.1")
    assert attempt is None
    assert 0 < wait <= local.ATTEMPT_WINDOW
    for other in (("r", "user bob"), ("s", "user ada")):
        assert identity.begin_attempt(*other, "127.0.0.1")[1] == 0
    assert identity.begin_attempt("r", "user ada", "::1")[1] == 0


def test_begin_attempt_refuses_many_names_from_one_address(path):
    identity = local.Identity(path=path)
    for number in range(local.ATTEMPTS_PER_ADDRESS):
        assert identity.begin_attempt("r", f"user {number}", "127.0.0.1")[1] == 0
    assert identity.begin_attempt("r", "user new", "127.0.0.1")[0] is None
    assert identity.begin_attempt("r", "user new", "::1")[1] == 0


def test_begin_attempt_goes_on_when_the_window_has_passed(path):
    identity = local.Identity(path=path)
    for _ in range(local.ATTEMPTS_PER_NAME):
        identity.begin_attempt("r", "user ada", "127.0.0.1")
    with identity._writing() as database:
        database.execute(
            "UPDATE attempt SET made_at = made_at - ?", [local.ATTEMPT_WINDOW]
        )
    assert identity.begin_attempt("r", "user ada", "127.0.0.1")[1] == 0


def test_forget_attempt_makes_room(path):
    identity = local.Identity(path=path)
    for _ in range(20):
        attempt, wait = identity.begin_attempt("r", "user ada", "127.0.0.1")
        assert wait == 0
        identity.forget_attempt(attempt)
