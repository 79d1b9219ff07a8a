"""What all suites share: a real engine, a project of one's own to break, and what was certified once."""

import os
import subprocess
import sys

import pytest

from tests.project import copy_project


def pytest_collection_modifyitems(items):
    """Whatever trains with the pinned packages is marked: `make test-engine` runs it, `make test-unit` does not.

    Where engines are looked for, started and killed, Docker's client leaves sockets that were refused to the garbage
    collector; they are closed in the middle of any test.
    """
    for item in items:
        if item.path.parent.name in ("engine", "smoke"):
            item.add_marker(pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"))
        if "torch_python" in getattr(item, "fixturenames", ()):
            item.add_marker("torch")


@pytest.fixture(scope="session")
def torch_python():
    """The interpreter in HARNESS_TEST_TORCH_PYTHON, or this one, if it has torch and peft."""
    python = os.environ.get("HARNESS_TEST_TORCH_PYTHON") or sys.executable
    look = "import importlib.util as u, sys; sys.exit(not all(map(u.find_spec, ('torch', 'transformers', 'peft'))))"
    if subprocess.run([python, "-c", look], check=False).returncode:
        pytest.skip(f"{python} has no torch and peft; name one that has in HARNESS_TEST_TORCH_PYTHON")
    return python


@pytest.fixture(scope="session")
def client():
    from harness.errors import HostError
    from harness.system import engine

    try:
        connection = engine.ensure("auto", print)
    except HostError as error:
        if os.environ.get("CI") or os.geteuid() == 0:
            pytest.fail(f"the container path is never skipped silently here: {error}", pytrace=False)
        pytest.skip(str(error))
    yield connection
    connection.close()


@pytest.fixture
def project(tmp_path):
    return copy_project(tmp_path / "project")


@pytest.fixture(scope="module")
def shared_project(tmp_path_factory):
    """One for all tests of a module that do not disturb each other."""
    return copy_project(tmp_path_factory.mktemp("shared") / "project")


@pytest.fixture(scope="session")
def certified_tiny(client, tmp_path_factory):
    """`tiny`, certified once in containers for all who only read it: its project, and what the command answered."""
    project = copy_project(tmp_path_factory.mktemp("tiny") / "project")
    answer = project.harness("certify", "tiny", RUNNER="docker", timeout=1500)
    assert answer.code == 0, answer.out + answer.err
    return project, answer


@pytest.fixture(scope="session")
def certified_plain(client, tmp_path_factory):
    """`plain`, as `certified_tiny`."""
    project = copy_project(tmp_path_factory.mktemp("plain") / "project")
    answer = project.harness("certify", "plain", RUNNER="docker")
    assert answer.code == 0, answer.out + answer.err
    return project, answer


@pytest.fixture(scope="session")
def certified_prefix(client, tmp_path_factory):
    """The first 10 steps of `plain`, as `certified_tiny`; and what was known of its timings before and after."""
    from harness.system.store import open_store

    project, store = copy_project(tmp_path_factory.mktemp("prefix") / "project"), open_store(None, os.environ)
    before = store.read_record("timings", "plain")
    answer = project.harness("certify", "plain", "--steps", "10", RUNNER="docker")
    return project, answer, (before, store.read_record("timings", "plain"))
