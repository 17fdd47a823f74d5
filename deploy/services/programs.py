"""Programs and downloads the services need: found, or fetched once and kept."""

import fcntl
import os
import re
import shutil
import subprocess
import sys
import threading
from contextlib import contextmanager
from pathlib import Path

from . import pins
from .refusal import Refusal

# program -> the Debian package that has it
PACKAGES = {
    "initdb": "postgresql",
    "redis-server": "redis-server",
    "java": "default-jre-headless",
    "mvn": "maven",
    "go": "golang-go",
}
PLACES = {
    "initdb": "/usr/lib/postgresql/*/bin/initdb",
    "java": "/usr/lib/jvm/default-java/bin/java",
    "go": "/usr/local/go/bin/go",
}
COMPOSE = "docker compose -f deploy/compose.yaml up --wait"
JAVA_MAJOR = 17

_apt = threading.Lock()
_maven = threading.Lock()  # its local repository takes one writer at a time


def cache():
    """Return the folder for downloads, shared by every checkout of this user."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    folder = Path(os.environ.get("ORGMANAGER_CACHE_DIR") or Path(base, "orgmanager"))
    folder.mkdir(mode=0o755, parents=True, exist_ok=True)
    return folder


def find(program):
    """Return the path of ``program``, the newest if there are several, or None."""
    if program in PLACES:
        pattern = PLACES[program].lstrip("/")
        found = [path for path in Path("/").glob(pattern) if os.access(path, os.X_OK)]
        if found:
            return max(found, key=lambda path: _numbers(str(path)))
    path = shutil.which(program)
    return Path(path) if path else None


def require(*programs):
    """
    Return the paths of ``programs``; what is missing is installed on Debian.

    Raises: Refusal elsewhere, and without the rights.
    """
    if not all(map(find, programs)):
        with _apt:
            # All at once, and so once: the services ask at the same time.
            missing = [package for name, package in PACKAGES.items() if not find(name)]
            if missing:
                _install(missing)
    return [find(program) for program in programs]


def java():
    """Return the path of a Java that is new enough."""
    (path,) = require("java")
    version = subprocess.run([path, "-version"], capture_output=True, text=True)
    major = _numbers(version.stderr.partition('version "')[2])[:1]
    if major < [JAVA_MAJOR]:
        raise Refusal(f"Java {JAVA_MAJOR} or newer is needed, and {path} is older.")
    return path


def maven(*arguments, folder, log):
    """Run Maven, one at a time, in ``folder``: it leaves its marks where it runs."""
    (path,) = require("mvn")
    with _maven:
        run([path, "--quiet", "--batch-mode", *arguments], log=log, folder=folder)


def go(*arguments, log, environment):
    """Run Go, of the version that is pinned at least."""
    inherited = {name: text for name, text in os.environ.items() if name != "GOROOT"}
    # What is installed and new enough is taken as it is.
    environment = inherited | environment | {"GOTOOLCHAIN": "local"}
    run([_new_enough_go(log), *arguments], log=log, environment=environment)


def run(command, *, log, environment=None, folder=None):
    """
    Run ``command`` with its words going to ``log``.

    Raises: Refusal with the last of them.
    """
    with log.open("ab") as output:
        before = output.tell()
        result = subprocess.run(
            [str(part) for part in command],
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            check=False,
        )
    if result.returncode:
        words = log.read_bytes()[before:].decode(errors="replace").splitlines()[-15:]
        raise Refusal(
            f"{' '.join(map(str, command[:4]))} ... failed. Its log, {log}, ends "
            "with:\n" + "\n".join(words)
        )


@contextmanager
def fetched_once(name):
    """
    Yield (folder, is_there) for a download, which nobody else fetches meanwhile.

    It is there from the moment that the block was left without an error.
    """
    folder = cache() / name
    folder.mkdir(exist_ok=True)
    done = folder / ".complete"
    with (cache() / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        is_there = done.exists()
        yield folder, is_there
        done.touch()


def _install(packages):
    wanted = ", ".join(packages)
    if shutil.which("apt-get") is None or os.geteuid() != 0:
        raise Refusal(
            f"Missing: {wanted}. They are installed on Debian as root only. "
            f"Install them, or use containers: {COMPOSE} serves PostgreSQL, Redis, "
            "Kafka, Keycloak and SpiceDB, and deploy/compose.env has the variables."
        )
    sys.stderr.write(f"Installing {wanted} ...\n")
    environment = os.environ | {
        "DEBIAN_FRONTEND": "noninteractive",
        "RUNLEVEL": "1",  # the packages' own services are not started
    }
    log = cache() / "apt.log"
    run(["apt-get", "update"], log=log, environment=environment)
    run(
        ["apt-get", "install", "--yes", "--no-install-recommends", *packages],
        log=log,
        environment=environment,
    )


def _new_enough_go(log):
    """Return a Go that is new enough; Debian's own fetches one through its proxy."""
    (path,) = require("go")
    if _go_version(path) >= _numbers(pins.GO):
        return path
    version = f"v0.0.1-go{pins.GO}.linux-{_go_environment(path, 'GOARCH')}"
    with fetched_once(f"go-{pins.GO}") as (folder, is_there):
        environment = os.environ | {"GOMODCACHE": str(folder), "GOFLAGS": "-modcacherw"}
        home = folder / f"golang.org/toolchain@{version}"
        if not is_there:
            module = f"golang.org/toolchain@{version}"
            run([path, "mod", "download", module], log=log, environment=environment)
            # A module carries neither execute bits nor, below itself, go.mod files.
            for program in [*home.glob("bin/*"), *home.glob("pkg/tool/*/*")]:
                program.chmod(0o755)
            for file in [home / "src/_go.mod", home / "src/cmd/_go.mod"]:
                if file.exists():
                    file.rename(file.with_name("go.mod"))
    return home / "bin/go"


def _go_version(path):
    result = subprocess.run(
        [path, "version"],
        env=os.environ | {"GOTOOLCHAIN": "local"},
        capture_output=True,
        text=True,
        check=True,
    )
    return _numbers(result.stdout.split()[2])


def _go_environment(path, name):
    result = subprocess.run(
        [path, "env", name], capture_output=True, text=True, check=True
    )
    return result.stdout.strip()


def _numbers(text):
    return [int(number) for number in re.findall(r"\d+", text)]
