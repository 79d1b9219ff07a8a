"""What a container can do to the machine: nothing of what the probes try, each of which succeeds without its guard."""

import json
import os
import shutil
import stat

import pytest

from harness.images.builder import build
from harness.runs.container import ContainerSandbox
from harness.runs.sandbox import Mount, ProcessSpec
from harness.system.store import open_store
from tests import ROOT

pytestmark = pytest.mark.engine


@pytest.fixture(scope="module")
def image(client):
    return build(client, "cpu", ROOT, open_store(None, os.environ), print).engine_id


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "code").mkdir()
    shutil.copy(ROOT / "tests" / "engine" / "probes.py", tmp_path / "code")
    (tmp_path / "out").mkdir()
    (tmp_path / "out").chmod(0o777)
    tmp_path.chmod(0o700)  # as a run's folder is
    return tmp_path


def found(folder):
    return json.loads((folder / "out" / "found.json").read_text())


def test_all_that_a_training_has_no_business_with_is_refused_and_what_it_needs_is_not(image, folder):
    spec = ProcessSpec(
        name="test/isolation/1",
        argv=("python", "probes.py", "{output}"),
        mounts={
            "code": Mount(source=folder / "code", target="/code"),
            "output": Mount(source=folder / "out", target="/out", is_writable=True),
        },
        environment={},
        memory_bytes=1 << 30,
        timeout_s=60,
        log=folder / "log.txt",
    )
    outcome = ContainerSandbox(image).execute(spec, lambda: False)
    assert (outcome.error, outcome.exit_code) == (None, 0), spec.log.read_text()
    result = found(folder)
    assert result["needed"] and [name for name, is_refused in result["refused"].items() if not is_refused] == []
    for name in ("armed", "folder"):
        mode = (folder / "out" / name).stat().st_mode
        assert not mode & (stat.S_ISUID | stat.S_ISGID), "setuid and setgid bits are taken off"
    assert not (folder / "log.lock").exists()


def test_each_probe_would_succeed_without_its_guard(client, image, folder):
    client.containers.run(
        image,
        ["python", "/code/probes.py", "/out"],
        cap_add=["SYS_ADMIN", "SYS_BOOT", "SYS_PTRACE", "DAC_READ_SEARCH"],
        user="0",
        network_mode="host",
        security_opt=["seccomp=unconfined"],
        volumes={str(folder / "code"): {"bind": "/code"}, str(folder / "out"): {"bind": "/out"}},
        remove=True,
    )
    assert [name for name, is_refused in found(folder)["refused"].items() if is_refused] == []
    assert (folder / "out" / "armed").stat().st_mode & stat.S_ISUID
