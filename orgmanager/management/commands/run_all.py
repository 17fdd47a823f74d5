import os
import signal
import socket
import subprocess
import sys
import time
from http.client import HTTPConnection, HTTPException

from django.conf import settings
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError
from django.db import connections

LOOPBACK = "127.0.0.1"
STOP_TIMEOUT = 15  # seconds for a process to end by itself
START_TIMEOUT = 60  # seconds until the web server answers
POLL_INTERVAL = 0.2  # seconds


class Command(BaseCommand):
    help = (
        "Migrate, then run web and worker together until Ctrl-C. When one of the "
        "two ends, so does the other, with exit code 1."
    )

    def handle(self, **options):
        refuse_taken_port()
        self.is_stopping = False
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self.stop)
        call_command("migrate", verbosity=0, interactive=False)
        connections.close_all()
        processes = {}
        try:
            for name, command in commands().items():
                # A session of its own: the terminal's Ctrl-C reaches this process
                # alone, which then ends the others in order.
                processes[name] = subprocess.Popen(  # noqa: S603  both are ours
                    command, cwd=settings.BASE_DIR, start_new_session=True
                )
            self.watch(processes)
            self.stdout.write("Stopping.")
        finally:
            end(processes.values())

    def stop(self, number, frame):
        self.is_stopping = True

    def watch(self, processes):
        """
        Return once somebody asks for the end.

        Raises: CommandError when a process ends before, or web never answers.
        """
        is_greeted = False
        started_at = time.monotonic()
        while not self.is_stopping:
            for name, process in processes.items():
                if (code := process.poll()) is not None:
                    raise CommandError(f"The {name} ended with exit code {code}.")
            if not is_greeted and is_serving():
                is_greeted = True
                self.greet()
            if not is_greeted and time.monotonic() - started_at > START_TIMEOUT:
                raise CommandError(f"No answer on port {settings.PORT} yet; giving up.")
            time.sleep(POLL_INTERVAL)

    def greet(self):
        address = f"http://{LOOPBACK}:{settings.PORT}"
        self.stdout.write("")
        self.stdout.write(self.style.SUCCESS(f"Console      {address}/admin/"))
        call_command("ensure_first_operator", stdout=self.stdout)
        self.stdout.write(f"Next step    curl {address}/org/api/env")
        self.stdout.write("             (says what is missing; Designer asks it first)")
        self.stdout.write("Ctrl-C stops everything.\n")
        self.stdout.flush()
        connections.close_all()


def commands():
    """Return the command line of each process."""
    python = sys.executable
    return {
        "web server": [
            *(python, "-m", "gunicorn"),
            *("--config", "deploy/gunicorn.conf.py"),
            "orgmanager.wsgi",
        ],
        # This process has just checked the same settings.
        "worker": [python, "manage.py", "run_worker", "--skip-checks"],
    }


def refuse_taken_port():
    """Raise CommandError if something else has the port."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((settings.BIND_ADDRESS, settings.PORT))
        except OSError as error:
            raise CommandError(
                f"Port {settings.PORT} cannot be opened: {error.strerror}. "
                "Choose another one, for example: PORT=8090 make run"
            ) from error


def is_serving():
    """Say whether web answers, whatever it answers."""
    web = HTTPConnection(LOOPBACK, settings.PORT, timeout=2)
    try:
        web.request("GET", "/actuator/health/liveness")
        web.getresponse().read()
    except (OSError, HTTPException):
        return False
    finally:
        web.close()
    return True


def end(processes):
    """Ask all to end, wait, and kill those that do not, with their children."""
    for process in processes:
        process.terminate()
    deadline = time.monotonic() + STOP_TIMEOUT
    for process in processes:
        try:
            process.wait(max(0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
