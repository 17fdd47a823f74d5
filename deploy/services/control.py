"""All services at once, and one by name."""

import shutil
import threading
import time

from . import variables
from .kafka import Kafka
from .keycloak import Keycloak
from .postgresql import PeersPostgreSQL, ProjectPostgreSQL
from .redis import Redis
from .refusal import Refusal
from .spicedb import SpiceDB
from .state import State

KINDS = (ProjectPostgreSQL, PeersPostgreSQL, Redis, Kafka, Keycloak, SpiceDB)
NAMES = tuple(kind.name for kind in KINDS)


class Control:
    """
    The services of one var directory; tests start, kill and freeze them here.

    ``tell`` is called with each line that people may want to read meanwhile.
    """

    def __init__(self, state=None, *, tell=lambda line: None):
        self.state = state or State()
        self._tell = tell
        self._services = {kind.name: kind(self.state) for kind in KINDS}

    def up(self, names=NAMES):
        """
        Start ``names`` and what they need; return the file with the variables.

        What runs stays as it is, what was killed or frozen goes on.

        Raises: Refusal that names each service that failed, and why.
        """
        with self.state.locked():
            services = self._with_needs(names)
            self._choose_ports()
            starts = {
                name: _Start(self._services[name], self._tell) for name in services
            }
            for start in starts.values():
                start.begin([starts[need] for need in start.service.needs])
            failures = [line for start in starts.values() for line in start.wait()]
            file = variables.write(self.state)
        if failures:
            raise Refusal("\n\n".join(failures))
        return file

    def down(self):
        """
        Stop all, those first that need others.

        Raises: Refusal naming what still runs.
        """
        with self.state.locked():
            later = {
                need for service in self._services.values() for need in service.needs
            }
            self._stop([name for name in NAMES if name not in later])
            self._stop(later)
            left = [name for name in NAMES if self._services[name].process.pid()]
        if left:
            raise Refusal(f"Still running: {', '.join(left)}.")

    def wipe(self):
        """Stop all and forget their data and secrets."""
        self.down()
        for service in self._services.values():
            service.wipe()
        shutil.rmtree(self.state.path)
        variables.path(self.state).unlink(missing_ok=True)

    def status(self):
        """Return {name: (status, address)}."""
        return {
            name: (service.status(), service.address() if self._has_port(name) else "")
            for name, service in self._services.items()
        }

    def start(self, name):
        """Start one service again, where it was; return once it is ready."""
        self.up([name])

    def stop(self, name):
        self._services[name].stop()

    def kill(self, name):
        """Take ``name`` away at once, without a chance to put things in order."""
        self._services[name].process.kill()

    def pause(self, name):
        """Freeze ``name``: its connections stay open, and nobody answers."""
        self._services[name].process.pause()

    def resume(self, name):
        self._services[name].process.resume()

    def _stop(self, names):
        threads = [
            threading.Thread(target=self._services[name].stop, daemon=True)
            for name in names
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def _with_needs(self, names):
        wanted = set(names)
        for name in names:
            wanted.update(self._services[name].needs)
        return [name for name in NAMES if name in wanted]

    def _choose_ports(self):
        idle = [s for s in self._services.values() if s.process.pid() is None]
        self.state.choose_ports([port for service in idle for port in service.ports])

    def _has_port(self, name):
        try:
            return bool(self._services[name].address())
        except KeyError:
            return False


class _Start:
    """One service coming up, in a thread; installing needs to wait for nobody."""

    def __init__(self, service, tell):
        self.service = service
        self._tell = tell
        self._failure = None
        self._thread = None

    def begin(self, needs):
        self._thread = threading.Thread(target=self._run, args=(needs,), daemon=True)
        self._thread.start()

    def wait(self):
        """Return what went wrong, as a list of none or one."""
        self._thread.join()
        return [self._failure] if self._failure else []

    def _run(self, needs):
        began = time.monotonic()
        name = self.service.name
        try:
            self.service.install()
            installed = time.monotonic() - began
            if missing := [need.service.name for need in needs if need.wait()]:
                raise Refusal(f"{name} was not started: {', '.join(missing)} failed.")
            started = time.monotonic()
            self.service.start()
        except Refusal as error:
            self._failure = str(error)
        except Exception as error:  # a thread's exception would be lost
            self._failure = f"{name} failed: {error!r}"
        if self._failure:
            self._tell(f"{name:18} FAILED")
            return
        ready = time.monotonic() - started
        installing = f", after {installed:.0f} s of installing" if installed > 2 else ""
        self._tell(f"{name:18} ready in {ready:.1f} s{installing}")
