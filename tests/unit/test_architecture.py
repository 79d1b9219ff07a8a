"""The house, read off the source: which room imports which, that there is no circle, and which rooms are pure."""

import ast
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

from tests import ROOT

# From left to right: a room imports rooms to its right. `system` stands aside: rooms that are not pure may import it.
ROOMS = (
    "__main__ cli pytest_plugin api workflow report scaffold history replay verify archive signing runs inputs "
    "images packages review judge evidence documents errors"
).split()
PURE = {"documents", "evidence", "judge"}
PURE_FOLDERS = ("review/code/", "review/evidence/", "review/source/", "review/surroundings/")
NEVER = {"torch", "transformers", "peft", "pickle", "marshal", "dill", "pipelines", "pip"}
NOT_IN_PURE = {
    "os", "subprocess", "socket", "random", "secrets", "time", "uuid", "docker", "requests", "urllib", "http", "shutil",
    "tempfile",
}  # fmt: skip


def imported(path):
    """Every module that a file imports, with the names imported from it."""
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


def is_pure(path):
    return room(path) in PURE or path.relative_to(ROOT / "harness").as_posix().startswith(PURE_FOLDERS)


def allowed(name):
    """The rooms that a room may import, itself included."""
    if name == "system":
        return {"system", "documents", "errors"}
    right = set(ROOMS[ROOMS.index(name) :]) if name in ROOMS else set()
    return right | {"system"}


# `stock` is what runs in images.
OURS = [
    path for path in sources("harness") if room(path) not in {"recorder", "__init__"} and path.parent.name != "stock"
]


@pytest.mark.parametrize("path", OURS, ids=lambda path: str(path.relative_to(ROOT)))
def test_arrows_point_one_way(path):
    may = allowed(room(path)) - ({"system"} if is_pure(path) else set())
    for name in imported(path):
        head, *rest = name.split(".")
        if name == "harness.api" and path.name == "__init__.py":
            continue  # two rooms have the names of functions, and can be called
        if head == "harness" and rest and (ROOT / "harness" / rest[0]).is_dir():
            assert rest[0] in may, f"{path.relative_to(ROOT)} imports {name}"
        is_the_compiler = path.name == "compile_for.py" and head == "pip"  # a program that only a subprocess runs
        assert head not in NEVER or is_the_compiler, f"{path.relative_to(ROOT)} imports {name}"
        assert not (is_pure(path) and head in NOT_IN_PURE), f"{path.relative_to(ROOT)} is pure and imports {name}"


def test_no_circle_among_modules():
    modules = {path.relative_to(ROOT).with_suffix("").as_posix().replace("/", "."): path for path in OURS}
    graph = {
        module: {
            target
            for name in at_import(path)
            for target in (name, name.rpartition(".")[0])
            if target in modules and target != module
        }
        for module, path in modules.items()
    }
    TopologicalSorter(graph).prepare()


def at_import(path):
    """What a module imports when it is imported: not inside functions, not for types alone."""
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("path", sources("harness/recorder"), ids=lambda path: path.name)
def test_the_recorder_imports_nothing_of_the_harness(path):
    assert not {name.split(".")[0] for name in imported(path)} & {"harness", "lora", "plain", "pipelines"}


def test_what_the_recorder_imports_at_once_imports_no_torch():
    """An import of torch before the script's own would be missed by the hook that waits for it."""
    folder, reached, waiting = ROOT / "harness" / "recorder", set(), {"__init__"}
    while waiting:
        reached |= waiting
        bodies = [ast.parse((folder / f"{name}.py").read_text()).body for name in waiting]
        nodes = [node for body in bodies for node in body if isinstance(node, ast.Import | ast.ImportFrom)]
        names = {f"{getattr(node, 'module', None) or ''}.{alias.name}" for node in nodes for alias in node.names}
        assert "torch" not in {name.strip(".").split(".")[0] for name in names}
        parts = {part for name in names if name.startswith("_harness_recorder") for part in name.split(".")[1:]}
        waiting = {part for part in parts if (folder / f"{part}.py").exists()} - reached
    assert {"steps", "session", "settings"} <= reached


@pytest.mark.parametrize("path", sources("pipelines"), ids=lambda path: str(path.relative_to(ROOT)))
def test_a_pipeline_never_imports_the_harness(path):
    assert "harness" not in {name.split(".")[0] for name in imported(path)}


def test_no_module_is_called_by_what_it_does_for_others():
    names = {path.stem for path in sources("harness") + sources("pipelines")}
    assert not names & {"utils", "util", "common", "helpers", "helper", "manager", "misc"}


def test_every_room_says_what_it_is_for():
    for folder in sorted({path.parent for path in OURS}):
        assert ast.get_docstring(ast.parse((Path(folder) / "__init__.py").read_text())), folder
