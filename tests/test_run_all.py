"""Web and worker live and end together."""

import os
import re
import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture
def run_all(port, tmp_path):
    """Start everything on a port of its own; return the process once it greets."""
    process = subprocess.Popen(
        [sys.executable, "manage.py", "run_all"],
        cwd=ROOT,
        env={"PORT": str(port), "ORGMANAGER_VAR_DIR": str(tmp_path / "var")},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    process.greeting = ""
    for line in process.stdout:
        process.greeting += line
        if "Ctrl-C" in line:
            break
    yield process
    process.terminate()
    process.communicate(timeout=30)


def children(process):
    """Return the process ids of web and worker."""
    table = subprocess.run(
        ["ps", "-o", "pid=,args=", "--ppid", str(process.pid)],
        capture_output=True,
        text=True,
    ).stdout
    web = re.search(r"(\d+) .*gunicorn", table)
    worker = re.search(r"(\d+) .*run_worker", table)
    return int(web[1]), int(worker[1])


def is_alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_run_all_greets_with_address_and_sign_in(run_all, port):
    assert f"http://127.0.0.1:{port}/admin/" in run_all.greeting
    assert re.search(r"^Sign in as .*operator$", run_all.greeting, re.M)
    assert run_all.greeting.count("orgmanager.W001") == 1
    url = f"http://127.0.0.1:{port}/admin/login/"
    with urllib.request.urlopen(url, timeout=10) as answer:
        assert answer.status == 200


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_run_all_asked_to_end_leaves_nothing(run_all, number):
    pids = children(run_all)
    run_all.send_signal(number)
    rest, _ = run_all.communicate(timeout=30)
    assert run_all.returncode == 0, rest
    assert not any(map(is_alive, pids))


@pytest.mark.parametrize("victim, name", [(0, "web server"), (1, "worker")])
def test_run_all_ends_when_one_process_is_killed(run_all, victim, name):
    pids = children(run_all)
    os.kill(pids[victim], signal.SIGKILL)
    rest, _ = run_all.communicate(timeout=30)
    assert run_all.returncode == 1
    assert f"The {name} ended with exit code -9" in rest
    assert not any(map(is_alive, pids))


def test_run_all_on_a_taken_port_says_how_to_choose_another(run_all, port, tmp_path):
    second = subprocess.run(
        [sys.executable, "manage.py", "run_all"],
        cwd=ROOT,
        env={"PORT": str(port), "ORGMANAGER_VAR_DIR": str(tmp_path / "var")},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert second.returncode == 1
    assert "PORT=8090 make run" in second.stderr
