"""How gunicorn serves: all that varies comes from the environment."""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from django.conf import settings
from django.core import checks
from django.core.exceptions import ImproperlyConfigured

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "orgmanager.settings")
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

try:
    bind = f"{settings.BIND_ADDRESS}:{settings.PORT}"
except ImproperlyConfigured as error:
    sys.exit(str(error))

worker_class = "gthread"
workers = settings.WEB_CONCURRENCY
threads = settings.WEB_THREADS
timeout = 30  # seconds
graceful_timeout = 20  # seconds; Kubernetes kills after 30
keepalive = 5  # seconds, more than the ingress waits between requests
max_requests = 10_000 if settings.PRODUCTION else 0
max_requests_jitter = 1_000
limit_request_fields = 50
control_socket_disable = True
logconfig_dict = settings.LOGGING
# A heartbeat file on a disk can stall a worker that is fine.
worker_tmp_dir = "/dev/shm" if Path("/dev/shm").is_dir() else None  # noqa: S108

# Every process counts in a file of its own; a scrape adds them up. Files of an
# earlier run would be added too.
_own_metrics = "PROMETHEUS_MULTIPROC_DIR" not in os.environ
if _own_metrics:
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = tempfile.mkdtemp(prefix="orgmanager-")


def on_starting(server):
    """Migrate first, where that is wanted; a failure ends the start."""
    if settings.MIGRATE_ON_START:
        migrate = [sys.executable, "manage.py", "migrate", "--no-input"]
        done = subprocess.run(migrate, cwd=settings.BASE_DIR)  # noqa: S603  ours
        if done.returncode:
            sys.exit(done.returncode)


def post_worker_init(worker):
    """Refuse to serve what the checks refuse, whoever started gunicorn and how."""
    errors = [
        error
        for error in checks.run_checks(tags=["orgmanager"])
        if error.is_serious() and not error.is_silenced()
    ]
    for error in errors:
        worker.log.error("%s", error)
    if errors:
        sys.exit(3)  # gunicorn's code for "do not start this worker again"


def child_exit(server, worker):
    """Forget the gauges of a process that is no more."""
    from prometheus_client import multiprocess  # only after the directory is set

    multiprocess.mark_process_dead(worker.pid)


def on_exit(server):
    if _own_metrics:
        shutil.rmtree(os.environ["PROMETHEUS_MULTIPROC_DIR"], ignore_errors=True)
