"""What a container can do to the machine: nothing of what the probes try, each of which succeeds without its guard."""

import contextlib
import json
import os
import shutil
import stat
import subprocess
import tempfile
import time
from pathlib import Path

import docker
import pytest

from harness.images.builder import build
from harness.images.image import REPOSITORY
from harness.runs.container import ContainerSandbox
from harness.runs.sandbox import Mount, ProcessSpec, hand_over, owner
from harness.system import engine
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


def spec_of(folder, *argv):
    return ProcessSpec(
        name="test/isolation/1",
        argv=argv,
        mounts={
            "code": Mount(source=folder / "code", target="/code"),
            "output": Mount(source=folder / "out", target="/out", is_writable=True),
        },
        environment={},
        memory_bytes=1 << 30,
        timeout_s=60,
        log=folder / "log.txt",
    )


def found(folder):
    return json.loads((folder / "out" / "found.json").read_text())


def test_all_that_a_training_has_no_business_with_is_refused_and_what_it_needs_is_not(image, folder):
    spec = spec_of(folder, "python", "probes.py", "{output}")
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


REMAPPED = """
for name in subuid subgid; do
    echo nobody:200000:65536 > $0/$name
    touch /etc/$name
    mount --bind $0/$name /etc/$name
done
exec dockerd --data-root=$0/data --exec-root=$0/exec --pidfile=$0/pid --host=unix://$0/docker.sock --bridge=none \
    --iptables=false --ip6tables=false --config-file=$0/none.json --userns-remap=nobody:nogroup
"""


@pytest.fixture
def remapped(client):
    """The address of an engine whose containers' users are others here, with the image of a base alone."""
    folder = Path(tempfile.mkdtemp(prefix="rh-test-", dir="/run"))  # a socket's path may have 108 characters
    folder.chmod(0o711)
    (folder / "none.json").write_text("{}")
    before = {path for path in (Path("/etc/subuid"), Path("/etc/subgid")) if path.exists()}
    tied = ["setpriv", "--pdeathsig", "KILL", "unshare", "--mount", "--fork", "--kill-child", "--pid", "--mount-proc"]
    command = [*tied, "--net", "sh", "-c", REMAPPED, str(folder)]
    daemon = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    address = f"unix://{folder}/docker.sock"
    try:
        deadline = time.monotonic() + 60
        while not (folder / "docker.sock").exists() and time.monotonic() < deadline:
            time.sleep(0.2)
        with contextlib.closing(docker.DockerClient(address)) as second:
            tag = next(tag for one in client.images.list(f"{REPOSITORY}/base-bookworm") for tag in one.tags)
            second.images.load(b"".join(client.api.get_image(tag)))
            yield address, second, tag
    finally:
        daemon.kill()
        daemon.wait()
        shutil.rmtree(folder, ignore_errors=True)
        for path in {Path("/etc/subuid"), Path("/etc/subgid")} - before:
            path.unlink(missing_ok=True)


@pytest.mark.skipif(os.geteuid() != 0 or shutil.which("dockerd") is None, reason="it takes root and a dockerd")
def test_in_an_engine_with_user_namespaces_a_training_writes_as_a_user_that_nobody_is(remapped, folder, monkeypatch):
    address, second, tag = remapped
    monkeypatch.setenv("DOCKER_HOST", address)
    (folder / "out").chmod(0o755)
    users = engine.user_namespace(second)
    assert users == engine.UserNamespace(kind="remapped", first_id=200000)
    sandbox = ContainerSandbox(tag, users=users)
    hand_over(sandbox, folder / "out")
    outcome = sandbox.execute(spec_of(folder, "sh", "-c", "cat probes.py > /out/x; chmod 4755 /out/x"), lambda: False)
    assert (outcome.error, outcome.exit_code, outcome.settings["user_namespace"]) == (None, 0, "remapped")
    status = (folder / "out" / "x").stat()
    assert status.st_uid == 200000 + owner()[0] and not status.st_mode & stat.S_ISUID
