"""A process that outlives the command that started it, found again by its pid."""

import os
import signal
import subprocess
import time
from pathlib import Path

from .refusal import Refusal

POLL_INTERVAL = 0.05  # seconds

# What a process does, in the kernel's letters.
STOPPED = "T"
DEAD = "Z"


class Process:
    """The process of one service: ``<folder>/pid`` says which, ``log`` its words."""

    def __init__(self, folder):
        self.log = folder / "log"
        self._pid_file = folder / "pid"

    def pid(self):
        """Return the process id, or None if the process is gone."""
        try:
            pid, started = self._pid_file.read_text().split()
        except (FileNotFoundError, ValueError):
            return None
        # A pid is used again after a while; together with its start it is not.
        return int(pid) if _started(int(pid)) == started else None

    def start(self, command, *, environment, user=None):
        """
        Start ``command`` in a session of its own, with a new log.

        Units: ``user``: a name, where the process may not be root.
        """
        if self.log.exists():
            self.log.replace(self.log.with_name("log.1"))
        demotion = {"user": user, "group": user, "extra_groups": []} if user else {}
        descriptor = os.open(self.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        with os.fdopen(descriptor, "wb") as log:
            process = subprocess.Popen(
                [str(part) for part in command],
                cwd="/",
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                **demotion,
            )
        self._pid_file.write_text(f"{process.pid} {_started(process.pid)}")

    def stop(self, *, with_signal=signal.SIGTERM, timeout=30):
        """Ask the process to end, and after ``timeout`` seconds make it."""
        pid = self.pid()
        if pid is None:
            return
        self.resume()
        os.kill(pid, with_signal)
        if not self._wait_until_gone(timeout):
            self.kill()

    def kill(self):
        """End the process and its children at once, as a power cut would."""
        pid = self.pid()
        if pid is None:
            return
        family = _family(pid)
        _send(signal.SIGKILL, family)
        if not self._wait_until_gone(10, family):
            raise Refusal(f"Process {pid} does not die: see `cat /proc/{pid}/wchan`.")

    def pause(self):
        """Freeze the process and its children: connections hang, none is refused."""
        self._send_until(signal.SIGSTOP, lambda doing: doing in (STOPPED, DEAD))

    def resume(self):
        """Let a frozen process go on."""
        self._send_until(signal.SIGCONT, lambda doing: doing != STOPPED)

    def is_paused(self):
        pid = self.pid()
        return pid is not None and _doing(pid) == STOPPED

    def last_words(self, lines=15):
        """Return the end of the log."""
        if not self.log.exists():
            return ""
        with self.log.open("rb") as log:
            log.seek(max(0, log.seek(0, os.SEEK_END) - 65536))
            text = log.read().decode(errors="replace")
        return "\n".join(text.splitlines()[-lines:])

    def _send_until(self, number, is_done):
        """Signal the whole family until it shows, children born meanwhile too."""
        deadline = time.monotonic() + 10
        while pid := self.pid():
            left = [member for member in _family(pid) if not is_done(_doing(member))]
            if not left:
                return
            if time.monotonic() > deadline:
                raise Refusal(f"Process {left[0]} does not take signal {number}.")
            _send(number, left)
            time.sleep(POLL_INTERVAL)

    def _wait_until_gone(self, timeout, family=()):
        deadline = time.monotonic() + timeout
        while self.pid() or any(_started(pid) for pid in family):
            if time.monotonic() > deadline:
                return False
            time.sleep(POLL_INTERVAL)
        return True


def _fields(pid):
    """Return what /proc says about ``pid``, from its state on; None if gone."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return text[text.rindex(")") + 2 :].split()


def _doing(pid):
    """Return the kernel's letter for what ``pid`` does; what is gone is dead."""
    fields = _fields(pid)
    return fields[0] if fields else DEAD


def _started(pid):
    """Return when ``pid`` started, in the kernel's ticks; None if it is dead."""
    fields = _fields(pid)
    # A dead child stays a zombie where process 1 does not collect it.
    return fields[19] if fields and fields[0] != DEAD else None


def _family(pid):
    """Return ``pid`` and all that descend from it, parents first."""
    children = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and (fields := _fields(entry.name)):
            children.setdefault(int(fields[1]), []).append(int(entry.name))
    family = [pid]
    for member in family:  # grows as it goes
        family += children.get(member, [])
    return family


def _send(number, family):
    for pid in family:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            continue
