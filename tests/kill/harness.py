"""
Writers and workers in processes of their own, killed at random, then counted.

The database says what was committed, the log says what was published, and the
writers' notes say what was rolled back: no two of them know of each other.
"""

import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import threading
import time
import uuid
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TOPIC = "ai.flowx.organization.events.v1"


class Run:
    """One run in a var directory of its own."""

    def __init__(self, var, *, seed, worker_command=None):
        self.var = Path(var)
        self.chance = random.Random(seed)
        self.worker_command = worker_command or ["manage.py", "run_worker"]
        self.workers, self.writers, self.kills = [], [], 0
        self.manage("migrate", "--verbosity", "0")

    def environment(self):
        kept = {name: os.environ[name] for name in ("PATH", "HOME")}
        return {**kept, "ORGMANAGER_VAR_DIR": str(self.var), "PYTHONPATH": str(ROOT)}

    def manage(self, *arguments):
        command = [sys.executable, "manage.py", *arguments]
        subprocess.run(command, cwd=ROOT, env=self.environment(), check=True)

    def make_organizations(self, count):
        """Put active organizations in, as the writers' subjects."""
        code = (
            "from organizations.models import Organization\n"
            f"for n in range({count}):\n"
            "    Organization.objects.create(code=f'org-{n}', name='x', "
            "status='ACTIVE')"
        )
        self.manage("shell", "-c", code)

    def start_worker(self):
        with (self.var / "worker.log").open("a") as log:
            process = subprocess.Popen(
                [sys.executable, *self.worker_command],
                cwd=ROOT,
                env=self.environment(),
                stdout=log,
                stderr=log,
            )
        self.workers.append(process)
        return process

    def start_writer(self, count, *, pause=0):
        notes = self.var / f"notes-{uuid.uuid4().hex}"
        seed = self.chance.randrange(10**9)
        arguments = [notes, str(count), str(seed), str(pause)]
        with (self.var / "writer.log").open("a") as log:
            process = subprocess.Popen(
                [sys.executable, "tests/kill/writer.py", *arguments],
                cwd=ROOT,
                env=self.environment(),
                stdout=log,
                stderr=log,
            )
        self.writers.append(process)

    def kill_one(self, processes):
        """Kill a random living one of ``processes``; return whether there was one."""
        living = [process for process in processes if process.poll() is None]
        if not living:
            return False
        # The oldest has the shards and works; the others wait for it to die.
        oldest = processes is self.workers and self.chance.random() < 0.7
        victim = living[0] if oldest else self.chance.choice(living)
        victim.send_signal(signal.SIGKILL)
        victim.wait()
        processes.remove(victim)
        self.kills += 1
        return True

    def freeze_one(self, processes, seconds):
        """Stop a random one of ``processes``; it goes on after ``seconds``."""
        living = [process for process in processes if process.poll() is None]
        victim = self.chance.choice(living)
        victim.send_signal(signal.SIGSTOP)
        wake = threading.Timer(seconds, _wake, [victim])
        wake.daemon = True
        wake.start()

    def committed(self):
        """Return {event id: (organization, epoch, sequence)}, from the database."""
        with sqlite3.connect(self.var / "orgmanager.sqlite3", timeout=20) as database:
            rows = database.execute(
                "SELECT event_id, organization_id, epoch, sequence FROM outbox_event"
            ).fetchall()
        return {
            str(uuid.UUID(event_id)): (str(uuid.UUID(organization)), epoch, sequence)
            for event_id, organization, epoch, sequence in rows
        }

    def owed(self):
        with sqlite3.connect(self.var / "orgmanager.sqlite3", timeout=20) as database:
            return database.execute("SELECT count(*) FROM outbox_delivery").fetchone()[
                0
            ]

    def published(self):
        """Return the log's events in its order: (id, organization, epoch, sequence)."""
        log = self.var / "topics" / f"{TOPIC}.jsonl"
        if not log.exists():
            return []
        lines = log.read_bytes().split(b"\n")
        events = [json.loads(line)["value"] for line in lines[:-1]]
        return [
            (e["id"], e["organizationid"], int(e["epoch"]), int(e["sequence"]))
            for e in events
        ]

    def noted(self, fate):
        """Return the ids that the writers noted with ``fate``."""
        lines = [
            line.split()
            for notes in self.var.glob("notes-*")
            for line in notes.read_text().splitlines()
        ]
        return {words[1] for words in lines if len(words) == 2 and words[0] == fate}

    def wait_until_drained(self, timeout):
        """Wait until nothing is owed; return how many seconds it took."""
        started = time.monotonic()
        while self.owed() and time.monotonic() - started < timeout:
            time.sleep(0.2)
        return time.monotonic() - started

    def stop(self):
        for process in self.workers + self.writers:
            if process.poll() is None:
                process.kill()
                process.wait()

    def verdict(self):
        """Return how many events were lost, invented, out of order, and so on."""
        committed, published = self.committed(), self.published()
        first_seen, last, order, duplicates = set(), defaultdict(int), 0, 0
        for event_id, organization, _epoch, sequence in published:
            if event_id in first_seen:
                duplicates += 1
                continue
            first_seen.add(event_id)
            order += sequence != last[organization] + 1
            last[organization] = sequence
        by_stream = defaultdict(set)
        for organization, epoch, sequence in committed.values():
            by_stream[organization, epoch].add(sequence)
        gaps = sum(max(numbers) - len(numbers) for numbers in by_stream.values())
        return {
            "committed": len(committed),
            "kills": self.kills,
            "lost": len(committed.keys() - first_seen),
            "invented": len(first_seen - committed.keys()),
            "rolled_back_seen": len(first_seen & self.noted("rolled-back")),
            "acknowledged_missing": len(self.noted("committed") - committed.keys()),
            "out_of_order": order,
            "gaps": gaps,
            "duplicates": duplicates,
        }


def _wake(process):
    if process.poll() is None:
        process.send_signal(signal.SIGCONT)


FAULTS = (
    "lost",
    "invented",
    "rolled_back_seen",
    "acknowledged_missing",
    "out_of_order",
    "gaps",
)


def storm(
    run, *, events, kills, pace=0, writers=4, organizations=20, workers=2, patience=60
):
    """
    Let writers record ``events`` while ``kills`` hit them and the workers.

    With ``pace`` (seconds) the writers take their time and a worker lives that
    long before it is killed: long enough to be in the middle of something.
    """
    run.make_organizations(organizations)
    for _ in range(workers):
        run.start_worker()
    pause = pace * kills * writers / events
    for _ in range(writers):
        run.start_writer(events // writers, pause=pause)
    killed, last = 0, time.monotonic()
    while any(process.poll() is None for process in run.writers):
        due = len(run.committed()) >= events * (killed + 1) / (kills + 2)
        if killed < kills and due and time.monotonic() - last >= pace:
            if pace or run.chance.random() < 0.7:
                if run.kill_one(run.workers):
                    run.start_worker()
                    killed += 1
            elif run.kill_one(run.writers):
                left = events - len(run.committed())
                run.start_writer(max(left // writers, 1))
                killed += 1
            last = time.monotonic()
        time.sleep(0.05)
    missing = events - len(run.committed())
    if missing > 0:  # the killed writers' share
        run.start_writer(int(missing * 1.2) + 20)
        run.writers[-1].wait()
    drained = run.wait_until_drained(patience)
    time.sleep(0.5)
    return {**run.verdict(), "drained_seconds": round(drained, 1)}
