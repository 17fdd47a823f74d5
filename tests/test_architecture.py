"""Rules of the house that no import graph can see."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
APPS = ["organizations", "health", "orgmanager"]
STATUS_WRITERS = {"models.py", "operations.py"}


def sources(*, apps=APPS):
    for app in apps:
        for path in sorted((ROOT / app).rglob("*.py")):
            if "migrations" not in path.parts:
                yield pytest.param(path, id=str(path.relative_to(ROOT)))


def calls(tree):
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            name = getattr(node.func, "id", getattr(node.func, "attr", ""))
            yield name, node


def parse(path):
    return ast.parse(path.read_text(), str(path))


@pytest.mark.parametrize("path", sources())
def test_only_operations_record_events(path):
    if path.name == "operations.py":
        return
    found = [node.lineno for name, node in calls(parse(path)) if name == "record"]
    assert not found, f"{path}:{found}: record() is called by operations alone"


@pytest.mark.parametrize("path", sources(apps=["organizations"]))
def test_only_operations_and_models_write_a_status(path):
    if path.name in STATUS_WRITERS:
        return
    for node in ast.walk(parse(path)):
        targets = node.targets if isinstance(node, ast.Assign) else []
        for target in targets:
            assert getattr(target, "attr", "") != "status", f"{path}:{node.lineno}"


@pytest.mark.parametrize("path", sources())
def test_model_signals_are_not_used(path):
    forbidden = {"post_save", "pre_save", "post_delete", "pre_delete", "m2m_changed"}
    for node in ast.walk(parse(path)):
        if isinstance(node, ast.ImportFrom):
            names = {alias.name for alias in node.names}
            assert not names & forbidden, f"{path}:{node.lineno}"


@pytest.mark.parametrize("path", sources())
def test_no_import_hides_in_a_function(path):
    if path.name == "apps.py":  # Django: models can be imported in ready() only
        return
    for function in ast.walk(parse(path)):
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
            for node in ast.walk(function):
                assert not isinstance(node, ast.Import | ast.ImportFrom), (
                    f"{path}:{node.lineno}: import at the top of the module"
                )


@pytest.mark.parametrize("path", sources(apps=["organizations"]))
def test_operations_take_their_actor_by_name(path):
    if path.name != "operations.py":
        return
    for node in parse(path).body:
        if not isinstance(node, ast.FunctionDef) or node.name.startswith("_"):
            continue
        records = any(name == "record" for name, _ in calls(node))
        keywords = {argument.arg for argument in node.args.kwonlyargs}
        assert not records or "actor" in keywords, f"{path}:{node.lineno}"


def test_a_file_is_called_after_a_noun_that_means_something():
    vague = {"utils.py", "helpers.py", "common.py", "constants.py", "services.py"}
    found = [path for path in ROOT.glob("*/**/*.py") if path.name in vague]
    outside = [path for path in found if ".venv" not in path.parts]
    assert not [path for path in outside if "deploy" not in path.parts]


def test_no_pickle_and_no_print():
    """manage.py writes through self.stdout, and nothing is unpickled."""
    for parameter in sources():
        path = parameter.values[0]
        for name, node in calls(parse(path)):
            assert name != "print", f"{path}:{node.lineno}"
        assert "import pickle" not in path.read_text(), path
