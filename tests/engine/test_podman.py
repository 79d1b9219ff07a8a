"""Podman, by the socket that speaks Docker's API: the same image comes from it, and a process is killed in it."""

import contextlib
import os
import shutil
import subprocess
import time

import pytest

from harness.documents.digest import sha256
from harness.documents.lockfile import parse_base_lock
from harness.errors import HostError
from harness.images.builder import build
from harness.packages.debian import fetch_packages
from harness.runs.container import ContainerSandbox
from harness.runs.sandbox import Mount, ProcessSpec
from harness.runs.seccomp import profile
from harness.system import engine
from harness.system.project import STOCK
from harness.system.store import Store, open_store
from tests import debian_tools

pytestmark = pytest.mark.engine

BASE = "base-bookworm"
DOCKERFILE = f"ARG BASE={BASE}\nFROM ${{BASE}}\nENV COLOUR=green\nWORKDIR /code\nRUN echo one > /one\nUSER 1000:1000\n"
# Podman raises limits, which takes a capability that not every root has.
LIMITS = '[containers]\ndefault_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]\n'


@pytest.fixture(scope="module")
def podman(tmp_path_factory):
    """Its address and a client; its data are its own."""
    for program in ("podman", "catatonit"):
        debian_tools.need(program, program)
    folder = tmp_path_factory.mktemp("podman")
    (folder / "containers.conf").write_text(LIMITS)
    address = f"unix://{folder}/socket"
    own = [f"--root={folder}/root", f"--runroot={folder}/run"]
    with (folder / "log").open("wb") as log:
        service = subprocess.Popen(
            ["podman", *own, "system", "service", "--time=0", address],
            stdout=log,
            stderr=log,
            env={**os.environ, "CONTAINERS_CONF": str(folder / "containers.conf")},
        )
    try:
        for _ in range(100):
            with contextlib.suppress(HostError):
                client = engine.connect(address=address)
                break
            time.sleep(0.1)
        else:
            pytest.fail((folder / "log").read_text())
        with contextlib.closing(client):
            yield address, client
    finally:
        service.terminate()
        service.wait(10)
        subprocess.run(["podman", *own, "system", "reset", "--force"], capture_output=True, check=False)


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    root = tmp_path_factory.mktemp("project")
    (root / "images" / "tiny").mkdir(parents=True)
    (root / "images" / "tiny" / "Dockerfile").write_text(DOCKERFILE)
    (root / "lockfiles").mkdir()
    (root / "lockfiles" / "tiny.lock").write_text("# no wheels\n")
    shutil.copy(STOCK / f"{BASE}.lock", root / "lockfiles")
    return root


@pytest.fixture(scope="module")
def built(podman, project, tmp_path_factory):
    return build(podman[1], "tiny", project, cache(tmp_path_factory.mktemp("cache")), print)


def cache(folder):
    """A cache of its own, with the base's packages."""
    shared = open_store(None, os.environ)
    lock = parse_base_lock((STOCK / f"{BASE}.lock").read_text(), BASE)
    fetch_packages(lock.packages, shared, os.environ, print)
    return Store(folder, (shared.root,))


def test_the_image_is_the_one_that_docker_makes(client, podman, project, built, tmp_path):
    by_docker = build(client, "tiny", project, cache(tmp_path), print)
    client.images.remove(by_docker.tag)
    assert built.image_id == by_docker.image_id
    assert engine.describe(podman[1]).startswith("Podman ")
    assert engine.identity(podman[1]) == engine.identity(podman[1]) != engine.identity(client)


@pytest.mark.parametrize("is_killed", [True, False])
def test_a_process_that_is_killed_or_kills_itself_ends_as_with_docker(podman, built, tmp_path, monkeypatch, is_killed):
    monkeypatch.setenv("DOCKER_HOST", podman[0])
    (tmp_path / "code").mkdir()
    tmp_path.chmod(0o755)
    spec = ProcessSpec(
        name="test/podman/1",
        argv=("sh", "-c", "echo started; id -u; touch /written; sleep 60" if is_killed else "echo started; kill -9 $$"),
        mounts={"code": Mount(source=tmp_path / "code", target="/code")},
        environment={},
        memory_bytes=1 << 30,
        timeout_s=60,
        log=tmp_path / "log.txt",
    )
    ready = time.monotonic() + 3
    sandbox = ContainerSandbox(built.engine_id, users=engine.user_namespace(podman[1]), profile_form="path")
    outcome = sandbox.execute(spec, lambda: is_killed and time.monotonic() > ready)
    assert (outcome.exit_code, outcome.was_killed_outside, outcome.error) == (137, is_killed, None)
    assert outcome.settings["read_only_root"] and outcome.settings["network_mode"] == "none"
    assert outcome.settings["security_opt"][-1] == f"seccomp={sha256(profile().encode())}"
    log = spec.log.read_text()
    assert "started" in log and ("Read-only file system" in log) == is_killed
