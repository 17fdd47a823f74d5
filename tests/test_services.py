"""What starts the real services: processes, ports, secrets, and what it says."""

import os
import socket
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from deploy.services import pins, programs
from deploy.services.pins import PORTS
from deploy.services.processes import Process
from deploy.services.refusal import Refusal
from deploy.services.service import Service
from deploy.services.state import PORT_STEP, State

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="It reads /proc.")

PATIENCE = 10  # seconds
ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def state(tmp_path, monkeypatch):
    monkeypatch.setattr("deploy.services.state.PORT_PATIENCE", 0.3)
    return State(tmp_path / "var", environment={})


@pytest.fixture
def start(tmp_path):
    """Return a function that starts a shell script as a process; all are ended."""
    started = []

    def start_script(script):
        folder = tmp_path / f"process-{len(started)}"
        folder.mkdir()
        process = Process(folder)
        process.start(["sh", "-c", script], environment={"PATH": "/usr/bin:/bin"})
        started.append(process)
        return process

    yield start_script
    for process in started:
        process.kill()


def wait_for(happened):
    deadline = time.monotonic() + PATIENCE
    while not happened():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def state_of(pid):
    """Return the kernel's letter for what ``pid`` does, or Z when it is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0]
    except FileNotFoundError:
        return "Z"


# --- Processes ---------------------------------------------------------------


def test_process_is_found_again_by_another_command(start):
    process = start("exec sleep 60")
    assert Process(process.log.parent).pid() == process.pid() is not None


def test_kill_ends_the_children_too(start):
    process = start("sleep 60 & echo $!; wait")
    wait_for(process.last_words)
    child = int(process.last_words())
    process.kill()
    assert process.pid() is None
    assert state_of(child) == "Z"


def test_pause_freezes_the_children_too_until_resumed(start):
    process = start("sleep 60 & echo $!; wait")
    wait_for(process.last_words)
    child = int(process.last_words())
    process.pause()
    wait_for(lambda: state_of(child) == "T")
    assert process.is_paused()
    process.resume()
    wait_for(lambda: state_of(child) == "S")
    assert not process.is_paused()


def test_stop_paused_process_lets_it_end_in_good_order(start):
    process = start("trap 'echo bye; exit' TERM; echo hi; while :; do sleep 0.1; done")
    wait_for(process.last_words)
    process.pause()
    process.stop(timeout=PATIENCE)
    assert process.pid() is None
    assert process.last_words() == "hi\nbye"


def test_stop_process_that_does_not_listen_kills_it(start):
    process = start("trap '' TERM; echo ready; while :; do sleep 0.1; done")
    wait_for(process.last_words)
    process.stop(timeout=0.3)
    assert process.pid() is None


def test_pid_that_somebody_else_got_is_not_taken_for_the_process(start):
    """Fails when a process is told by its number alone."""
    process, other = start("exec sleep 60"), start("exec sleep 60")
    number = other.pid()
    _, started = (other.log.parent / "pid").read_text().split()
    (process.log.parent / "pid").write_text(f"{number} {int(started) - 1}")
    assert process.pid() is None
    process.kill()
    assert other.pid() == number


# --- Services ----------------------------------------------------------------


class Broken(Service):
    name = "broken"

    def command(self):
        return ["sh", "-c", "echo It cannot be; exit 3"]

    def is_ready(self):
        return False


class Slow(Broken):
    name = "slow"
    patience = 0.3

    def command(self):
        return ["sh", "-c", "echo Still at it; exec sleep 60"]


@pytest.mark.parametrize(
    "kind, said",
    [
        (Broken, "broken ended.*broken/log.*It cannot be"),
        (Slow, "slow was not ready after 0.3 s.*slow/log.*Still at it"),
    ],
)
def test_service_that_does_not_come_up_says_where_its_log_is(state, kind, said):
    service = kind(state)
    try:
        with pytest.raises(Refusal, match=f"(?s){said}"):
            service.start()
    finally:
        service.process.kill()


def test_missing_program_elsewhere_names_what_else_serves(monkeypatch):
    monkeypatch.setenv("PATH", "")
    with pytest.raises(Refusal, match="redis-server.*docker compose .*Keycloak"):
        programs.require("redis-server")


# --- What is remembered ------------------------------------------------------


def test_secret_is_made_once_and_for_its_owner_only(state):
    secret = state.secret("kafka")
    assert len(secret) >= 32
    assert State(state.var, environment={}).secret("kafka") == secret
    assert state.secret("redis") != secret
    file = state.path / "secrets" / "kafka"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(state.var.stat().st_mode) == 0o700


def test_port_is_kept_while_it_is_free_and_left_when_it_is_taken(state):
    state.choose_ports(["redis"])
    first = state.port("redis")
    assert (first - PORTS["redis"]) % PORT_STEP == 0
    state.choose_ports(["redis"])
    assert state.port("redis") == first
    with socket.create_server(("127.0.0.1", first)):
        state.choose_ports(["redis"])
        assert state.port("redis") != first


def test_port_that_was_fixed_and_is_taken_is_refused(state, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        fixed = State(tmp_path, environment={"ORGMANAGER_REDIS_PORT": str(port)})
        with pytest.raises(Refusal, match=f"ORGMANAGER_REDIS_PORT={port}.*taken"):
            fixed.choose_ports(["redis"])


# --- In containers, where nothing can be installed ---------------------------


def test_containers_run_the_same_versions_on_the_same_ports():
    compose = yaml.safe_load((ROOT / "deploy" / "compose.yaml").read_text())
    services = compose["services"]
    images = {name: each["image"].split(":")[1] for name, each in services.items()}
    assert images["kafka"] == pins.KAFKA
    assert images["keycloak"] == pins.KEYCLOAK
    assert images["spicedb"] == pins.SPICEDB
    for name, service in services.items():
        (port,) = service["ports"]
        assert port.startswith(f"127.0.0.1:{pins.PORTS[name]}:")


def test_variables_for_containers_are_taken_and_name_real_systems(tmp_path):
    code = (
        "from orgmanager import settings as s; "
        "print(*s.BROKER['bootstrap_servers'], s.IDENTITY['server_url'], "
        "s.AUTHORIZATION['port'], s.DATABASES['default']['PORT'])"
    )
    script = 'set -a; . deploy/compose.env; exec "$0" -c "$1"'
    done = subprocess.run(
        ["bash", "-euc", script, sys.executable, code],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "ORGMANAGER_VAR_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    kafka, keycloak = pins.PORTS["kafka"], pins.PORTS["keycloak"]
    assert done.stdout.split() == [
        f"127.0.0.1:{kafka}",
        f"http://127.0.0.1:{keycloak}",
        str(pins.PORTS["spicedb"]),
        str(pins.PORTS["postgresql"]),
    ]
