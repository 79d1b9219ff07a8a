"""The direction of imports, read off the source: cli -> workflow -> {host, report} -> core -> errors."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ALLOWED = {
    "errors": set(),
    "core": {"core", "errors"},
    "host": {"host", "core", "errors"},
    "report": {"report", "core", "errors"},
    "workflow": {"workflow", "host", "report", "core", "errors"},
    "cli": {"cli", "workflow", "host", "report", "core", "errors"},
    "__main__": {"cli"},
    "__init__": set(),
}
FORBIDDEN_IN_HARNESS = {"torch", "transformers", "peft", "pickle", "marshal", "dill", "pipelines"}
FORBIDDEN_IN_CORE = {"subprocess", "socket", "random", "secrets", "time", "os", "docker", "requests", "urllib", "uuid"}


def imported(path):
    """Every module that a file imports, with the names imported from it; relative imports stay in their folder."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0 or "recorder" in path.parts, f"{path}: relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names if node.level == 0)


def sources(folder):
    return sorted(path for path in (ROOT / folder).rglob("*.py") if "__pycache__" not in path.parts)


def room(path):
    """The part of the harness a file belongs to: a folder, or a module at the top."""
    parts = path.relative_to(ROOT / "harness").parts
    return parts[0] if len(parts) > 1 else path.stem


@pytest.mark.parametrize("path", sources("harness"), ids=lambda path: str(path.relative_to(ROOT)))
def test_arrows_point_one_way(path):
    for name in imported(path):
        head, *rest = name.split(".")
        if head == "harness" and rest and rest[0] in ALLOWED:
            assert rest[0] in ALLOWED[room(path)], f"{path.name} imports {name}"
        assert head not in FORBIDDEN_IN_HARNESS, f"{path.name} imports {name}"
        if room(path) == "core":
            assert head not in FORBIDDEN_IN_CORE, f"core/{path.name} imports {name}"


@pytest.mark.parametrize("path", sources("pipelines"), ids=lambda path: str(path.relative_to(ROOT)))
def test_a_pipeline_never_imports_the_harness_and_the_recorder_no_pipeline(path):
    heads = {name.split(".")[0] for name in imported(path) if name}
    assert "harness" not in heads
    if "recorder" in path.parts:
        assert not heads & {"lora", "plain", "pipelines"}


def test_no_module_is_called_by_what_it_does_for_others():
    names = {path.stem for path in sources("harness") + sources("pipelines")}
    assert not names & {"utils", "util", "common", "helpers", "helper", "manager", "misc"}
