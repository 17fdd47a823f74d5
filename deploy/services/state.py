"""What one set of services remembers: its folder, secrets and ports."""

import fcntl
import json
import os
import secrets
import socket
import time
from contextlib import contextmanager
from pathlib import Path

from .pins import PORTS
from .refusal import Refusal

ROOT = Path(__file__).resolve().parents[2]
PORT_STEP = 10
PORT_PATIENCE = 10  # seconds
PORT_TRIES = 50


class State:
    """
    The services of one var directory; others run beside them undisturbed.

    ``ORGMANAGER_VAR_DIR`` names it, ``ORGMANAGER_<SERVICE>_PORT`` fixes a port.
    """

    def __init__(self, var=None, environment=os.environ):
        self._environment = environment
        self.var = Path(
            var or environment.get("ORGMANAGER_VAR_DIR") or ROOT / "var"
        ).resolve()
        self.path = self.var / "services"
        self.var.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.path.mkdir(mode=0o700, exist_ok=True)
        self._ports_file = self.path / "ports.json"

    @contextmanager
    def locked(self):
        """Keep a second command on the same services waiting."""
        with (self.path / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def folder(self, service):
        """Return the folder of ``service``, which now exists."""
        folder = self.path / service
        folder.mkdir(mode=0o700, exist_ok=True)
        return folder

    def secret(self, name):
        """Return the secret ``name``, made up when it is first asked for."""
        file = self.folder("secrets") / name
        if not file.exists():
            draft = file.with_name(f"{name}.{secrets.token_hex(4)}.draft")
            write_private(draft, secrets.token_urlsafe(24))
            try:
                os.link(draft, file)  # fails where another thread was faster
            except FileExistsError:
                pass
            finally:
                draft.unlink()
        return file.read_text()

    def port(self, name):
        """Return the port that ``name`` was given."""
        return self._ports()[name]

    def choose_ports(self, names):
        """
        Give each of ``names`` a port that is free now, its last one if possible.

        Raises: Refusal where a port was fixed and is taken.
        """
        ports = self._ports()
        for name in names:
            ports[name] = self._free_port(name, ports)
        write_private(self._ports_file, json.dumps(ports, indent=2))

    def _free_port(self, name, ports):
        variable = f"ORGMANAGER_{name.upper().replace('-', '_')}_PORT"
        if fixed := self._environment.get(variable):
            if not _becomes_free(int(fixed)):
                raise Refusal(f"{variable}={fixed}, and that port is taken.")
            return int(fixed)
        others = {port for other, port in ports.items() if other != name}
        first = PORTS[name]
        candidates = range(first, first + PORT_STEP * PORT_TRIES, PORT_STEP)
        if name in ports and ports[name] not in others and _becomes_free(ports[name]):
            return ports[name]  # the one that clients know
        for port in candidates:
            if port not in others and _is_free(port):
                return port
        raise Refusal(f"No port is free for {name}. Set {variable}.")

    def _ports(self):
        if self._ports_file.exists():
            return json.loads(self._ports_file.read_text())
        return {}


def write_private(file, text):
    """Write ``text`` to ``file``, complete or not at all, for its owner only."""
    draft = file.with_name(f".{file.name}.{os.getpid()}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode=0o600)
    with os.fdopen(descriptor, "w") as opened:
        opened.write(text)
    draft.replace(file)


def _becomes_free(port):
    """Say whether ``port`` is free soon: after a kill it can be busy for a moment."""
    deadline = time.monotonic() + PORT_PATIENCE
    while not _is_free(port):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True


def _is_free(port):
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
