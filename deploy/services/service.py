"""What every service has in common."""

import os
import time

from .processes import Process
from .refusal import Refusal

POLL_INTERVAL = 0.1  # seconds


class Service:
    """
    One service: install, start, wait, stop.

    ``needs`` names services that must be ready first, ``ports`` what it listens
    on, ``patience`` how many seconds a start may take on a busy machine.
    """

    name = ""
    needs = ()
    ports = ()
    patience = 60

    def __init__(self, state):
        self.state = state
        self.folder = state.folder(self.name)
        self.process = Process(self.folder)

    def install(self):
        """Get what it takes to run, once; later calls return at once."""
        raise NotImplementedError

    def prepare(self):
        """Write configuration and make the data folder, before each start."""

    def command(self):
        """Return the command that runs the service in the foreground."""
        raise NotImplementedError

    def environment(self):
        """Return variables for the process; secrets go here, never on a command."""
        return {}

    def user(self):
        """Return whom the process runs as, or None for the caller."""

    def is_ready(self):
        """Return whether the service does its work, by having it do some."""
        raise NotImplementedError

    def complete(self):
        """Bring in what the project expects there; repeated at each ``up``."""

    def address(self):
        return f"127.0.0.1:{self.state.port(self.ports[0])}"

    def start(self):
        """
        Start unless it runs, and wait until it is ready.

        Raises: Refusal with the log's last lines.
        """
        self.process.resume()
        if self.process.pid() is None:
            self.prepare()
            self.process.start(
                self.command(),
                environment=plain_environment() | self.environment(),
                user=self.user(),
            )
        self._wait_until_ready()
        self.complete()

    def stop(self):
        self.process.stop()

    def wipe(self):
        """Forget data outside of the folder; the service must be stopped."""

    def status(self):
        """Return stopped, paused, ready or not ready."""
        if self.process.pid() is None:
            return "stopped"
        if self.process.is_paused():
            return "paused"
        return "ready" if self.is_ready() else "not ready"

    def _wait_until_ready(self):
        deadline = time.monotonic() + self.patience
        while not self.is_ready():
            if self.process.pid() is None:
                raise self._failure("ended")
            if time.monotonic() > deadline:
                raise self._failure(f"was not ready after {self.patience} s")
            time.sleep(POLL_INTERVAL)

    def _failure(self, what):
        return Refusal(
            f"{self.name} {what}. Its log, {self.process.log}, ends with:\n"
            f"{self.process.last_words() or '(nothing)'}"
        )


def plain_environment():
    """Return what a service may see of the caller's environment."""
    kept = ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "JAVA_HOME")
    return {name: os.environ[name] for name in kept if name in os.environ}
