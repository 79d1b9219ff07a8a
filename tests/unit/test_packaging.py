"""What pyproject.toml declares, held against the lock and against what the modules import."""

import ast
import tomllib

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests import ROOT

DECLARED = tomllib.loads((ROOT / "pyproject.toml").read_text())
BASE = DECLARED["project"]["dependencies"]
EXTRA = DECLARED["project"]["optional-dependencies"]["certify"]
# Where a module has another name than its distribution.
MODULES = {
    "cyclonedx-python-lib": "cyclonedx", "dockerfile-parse": "dockerfile_parse", "huggingface-hub": "huggingface_hub",
    "nvidia-ml-py": "pynvml", "pip-tools": "piptools", "pyyaml": "yaml",
}  # fmt: skip
# What `review`, `diff` and `verify` import on their way, and the command line itself.
FOR_ALL = ("cli", "documents", "evidence", "judge", "review", "signing", "verify")


def modules(requirements):
    names = [canonicalize_name(Requirement(one).name) for one in requirements]
    return {MODULES.get(name, name) for name in names}


def imports(path, *, is_top=False):
    tree = ast.parse(path.read_text())
    for node in tree.body if is_top else ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module.partition(".")[0]


def sources(*rooms):
    return [path for room in rooms for path in sorted((ROOT / "harness" / room).rglob("*.py"))]


def test_the_lock_is_made_of_what_is_declared():
    wanted = (ROOT / "lockfiles" / "harness.in").read_text().splitlines()[1:]
    assert sorted(wanted) == sorted({*BASE, *EXTRA, *DECLARED["dependency-groups"]["dev"]})


def test_whatever_is_imported_is_declared():
    known = modules([*BASE, *EXTRA])
    others = {name for path in sources("") for name in imports(path) if "recorder" not in path.parts}
    dev = modules(DECLARED["dependency-groups"]["dev"]) - known
    # pytest is there where pytest imports the plugin.
    assert others & dev <= {"pytest"}, "a tool of development is no part of the package"
    assert known - others <= {"pip", "piptools"}, "declared, and imported nowhere"


@pytest.mark.parametrize("path", sources(*FOR_ALL), ids=lambda path: str(path.relative_to(ROOT / "harness")))
def test_the_extra_is_not_needed_to_review_and_to_verify(path):
    assert not set(imports(path, is_top=True)) & (modules(EXTRA) - modules(BASE))


def test_every_file_of_the_package_is_in_the_wheel():
    patterns = DECLARED["tool"]["setuptools"]["package-data"]["harness"]
    carried = {path for pattern in patterns for path in (ROOT / "harness").glob(pattern)}
    for path in (ROOT / "harness").rglob("*"):
        is_module = path.suffix == ".py" and (path.parent / "__init__.py").exists()
        is_compiled = "__pycache__" in path.parts or (path.suffix == ".so" and path.with_suffix(".c") in carried)
        assert path.is_dir() or is_module or is_compiled or path in carried, path
