"""Registration dies at every point there is; what comes of it is always the same."""

import json
import os
import subprocess
import sys

import pytest

from .crashing_register import DEAD, POINTS
from .harness import ROOT

CLEAN = {
    "organization": ["acme", "ACTIVE"],
    "registration": "DONE",
    "credential_kept": False,
    "admin": ["ada@acme.example", "ACTIVE"],
    "roles": ["org_admin"],
    "realms_ours": [True, True],
    "granted": True,
    "created_events": 1,
    "unfinished": 0,
}


@pytest.fixture(scope="module")
def migrated(tmp_path_factory):
    """A var folder with an empty database, to be copied for each point."""
    var = tmp_path_factory.mktemp("migrated")
    python(var, "manage.py", "migrate", "--verbosity", "0")
    return var


def python(var, *arguments, expect=0):
    environment = {name: os.environ[name] for name in ("PATH", "HOME")}
    environment |= {"ORGMANAGER_VAR_DIR": str(var), "PYTHONPATH": str(ROOT)}
    result = subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert result.returncode == expect, result.stderr[-2000:]
    return result.stdout


@pytest.mark.parametrize("point", POINTS)
def test_register_ends_the_same_after_a_crash(migrated, tmp_path, point):
    var = tmp_path / "var"
    subprocess.run(["cp", "-r", migrated, var], check=True)
    token = python(var, "manage.py", "issue_registration_token", "--org-code", "acme")
    (tmp_path / "token").write_text(token)
    python(
        var, "tests/kill/crashing_register.py", tmp_path / "token", point, expect=DEAD
    )
    out = python(var, "tests/kill/finish_registration.py", tmp_path / "token")
    assert json.loads(out) == CLEAN
