"""Images are built by a real engine, twice, from nothing."""

import os
import shutil
import signal
import subprocess
import sys
import threading
import time

import docker.errors
import pytest

from harness.documents.lockfile import parse_base_lock, parse_lock
from harness.errors import UsageError
from harness.images.builder import build, build_for_certificate
from harness.images.recipe import read_recipe
from harness.packages.debian import fetch_packages
from harness.system.project import STOCK
from harness.system.store import Store, open_store
from tests import ROOT

pytestmark = pytest.mark.engine

BASE = "base-bookworm"
FROM = f"ARG BASE={BASE}\nFROM ${{BASE}}\n"
FOUR_FILES = FROM + (
    "RUN mkdir /data && echo one > /data/b && ln /data/b /data/a && mknod /data/null c 1 3 && rm /etc/debian_version &&"
    " python3 -c \"import os; os.setxattr('/data/b', 'security.capability', bytes.fromhex('01000002')+bytes(16))\"\n"
    "ENV COLOUR=green\nUSER 1000:1000\nWORKDIR /data\n"
)


@pytest.fixture(scope="module")
def packages(tmp_path_factory):
    """The cache's blobs with the base's packages in them; fetched once, whatever the tests do to their own caches."""
    shared = open_store(None, os.environ)
    text = (STOCK / f"{BASE}.lock").read_text()
    fetch_packages(parse_base_lock(text, BASE).packages, shared, os.environ, print)
    return shared.root / "sha256"


@pytest.fixture
def store(tmp_path, packages):
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "sha256").symlink_to(packages)
    return Store(tmp_path / "cache")


@pytest.fixture
def project(tmp_path):
    (tmp_path / "project" / "images" / "tiny").mkdir(parents=True)
    (tmp_path / "project" / "lockfiles").mkdir()
    shutil.copy(STOCK / f"{BASE}.lock", tmp_path / "project" / "lockfiles")
    (tmp_path / "project" / "lockfiles" / "tiny.lock").write_text("# no wheels\n")
    return tmp_path / "project"


@pytest.fixture
def tidy(client):
    """Removes the test's images; fails when a build left anything else in the engine."""
    before, running = ids(client), containers(client)
    yield
    for image in client.images.list(name="repro-harness/tiny"):
        client.images.remove(image.id, force=True)
    left = {one for one in ids(client) - before if not tagged(client, one, f"repro-harness/{BASE}")}
    assert not left
    assert not containers(client) - running


def ids(client):
    return {image["Id"] for image in client.api.images(all=True)}


def containers(client):
    return {container["Id"] for container in client.api.containers(all=True)}


def tagged(client, image_id, prefix):
    try:
        return any(tag.startswith(prefix) for tag in client.images.get(image_id).tags)
    except docker.errors.ImageNotFound:
        return True


def write(project, text):
    (project / "images" / "tiny" / "Dockerfile").write_text(text)


def silent(_):
    pass


def run(client, result, *command, **options):
    options = {"network_mode": "none", "read_only": True, "remove": True, "cap_drop": ["ALL"]} | options
    return client.containers.run(result.tag, list(command), **options).decode()


def test_an_image_built_twice_from_nothing_has_one_id_and_the_record_says_so(client, project, store, tidy):
    write(project, FOUR_FILES)
    result = build(client, "tiny", project, store, silent, check=True)
    assert result.rebuild.is_identical
    assert result.rebuild.image_ids == (result.image_id, result.image_id)
    assert result.rebuild.differences == ()
    assert client.images.get(result.tag).id == result.engine_id
    again = build(client, "tiny", project, store, silent)
    assert again.was_cached
    assert again.rebuild == result.rebuild


def test_an_unchanged_image_is_not_built_again(client, project, store, tidy):
    write(project, FOUR_FILES)
    first = build(client, "tiny", project, store, silent)
    told = []
    start = time.monotonic()
    second = build(client, "tiny", project, store, told.append)
    assert time.monotonic() - start < 1
    assert (second.was_cached, second.image_id, told) == (True, first.image_id, [])


def test_an_image_that_the_engine_lost_is_built_again_with_the_same_id(client, project, store, tidy):
    write(project, FOUR_FILES)
    first = build(client, "tiny", project, store, silent)
    client.images.remove(first.tag)
    second = build(client, "tiny", project, store, silent)
    assert (second.was_cached, second.image_id) == (False, first.image_id)


def test_links_devices_capabilities_and_removals_survive_the_rewriting(client, project, store, tidy):
    write(project, FOUR_FILES)
    result = build(client, "tiny", project, store, silent)
    script = (
        "import os; a, b, n = (os.stat('/data/' + name) for name in ('a', 'b', 'null'));"
        "print(a.st_ino == b.st_ino, a.st_nlink, open('/data/a').read(), os.major(n.st_rdev), os.minor(n.st_rdev),"
        "os.getxattr('/data/a', 'security.capability').hex(), os.path.exists('/etc/debian_version'),"
        "os.getuid(), os.getcwd(), os.environ['COLOUR'], a.st_mtime)"
    )
    assert run(client, result, "python3", "-c", script).split() == [
        "True",
        "2",
        "one",
        "1",
        "3",
        "01000002" + "00" * 16,
        "False",
        "1000",
        "/data",
        "green",
        "0.0",
    ]


def test_a_difference_between_two_builds_is_found_and_named(client, project, store, tidy):
    write(project, FROM + "RUN head -c 16 /dev/urandom > /stamp && echo same > /same\n")
    result = build(client, "tiny", project, store, silent, check=True)
    assert not result.rebuild.is_identical
    assert [found.path for found in result.rebuild.differences] == ["stamp"]
    assert "content from byte" in result.rebuild.differences[0].how
    assert not build(client, "tiny", project, store, silent).was_cached


def test_a_certificate_gets_a_record_of_two_builds_by_building_what_is_missing(client, project, store, tidy):
    write(project, FOUR_FILES)
    first = build_for_certificate(client, "tiny", project, store, silent, rebuild_required=False)
    assert first.rebuild is None
    told = []
    second = build_for_certificate(client, "tiny", project, store, told.append, rebuild_required=True)
    assert second.rebuild.image_ids == (first.image_id, first.image_id)
    assert len([line for line in told if "Step 1/" in line]) == 1
    third = build_for_certificate(client, "tiny", project, store, told.clear, rebuild_required=True)
    assert third.rebuild == second.rebuild


def test_a_certificates_second_build_that_differs_is_compared_with_the_image_in_the_engine(
    client, project, store, tidy
):
    write(project, FROM + "RUN head -c 16 /dev/urandom > /stamp\n")
    build(client, "tiny", project, store, silent)
    result = build_for_certificate(client, "tiny", project, store, silent, rebuild_required=True)
    assert not result.rebuild.is_identical
    assert [found.path for found in result.rebuild.differences] == ["stamp"]


def test_there_is_no_network_while_an_image_is_built(client, project, store, tidy):
    write(project, FROM + "RUN ls /sys/class/net > /interfaces\n")
    result = build(client, "tiny", project, store, silent)
    assert run(client, result, "cat", "/interfaces").split() == ["lo"]


def test_the_base_runs_a_shell_and_python_as_the_one_who_trains(client, project, store, tidy):
    write(project, FROM + "USER 1000:1000\nENV PATH=/usr/bin:/bin\n")
    result = build(client, "tiny", project, store, silent)
    modules = "ssl, sqlite3, lzma, bz2, zlib, ctypes, venv, distutils, readline, uuid, curses, multiprocessing"
    assert run(client, result, "sh", "-c", "id -un; test -w /etc || echo read-only").split() == ["trainer", "read-only"]
    assert "PATH=/usr/bin:/bin" in run(client, result, "env").splitlines()
    assert run(client, result, "python3", "-c", f"import sys, {modules}; print(*sys.version_info[:2])") == "3 11\n"


def test_a_step_that_fails_is_told_with_its_output_and_leaves_nothing(client, project, store, tidy):
    before = ids(client)
    write(project, FROM + "RUN echo kept > /x\nRUN echo 'this is why' && exit 3\n")
    with pytest.raises(UsageError) as caught:
        build(client, "tiny", project, store, silent)
    assert "this is why" in str(caught.value)
    assert {one for one in ids(client) - before if not tagged(client, one, f"repro-harness/{BASE}")} == set()
    assert list((store.root / "scratch").iterdir()) == []


def test_a_build_that_is_interrupted_leaves_nothing(client, project, store, tidy):
    write(project, FROM + "RUN echo kept > /x\nRUN sleep 98765\n")
    program = (
        "import docker, sys; from pathlib import Path; from harness.images.builder import build;"
        "from harness.system.store import Store; tell = lambda line: print(line, flush=True);"
        "build(docker.DockerClient(base_url=sys.argv[3]), 'tiny', Path(sys.argv[1]), Store(Path(sys.argv[2])), tell)"
    )
    command = [sys.executable, "-c", program, str(project), str(store.root), client.api.base_url]
    if client.api.base_url.startswith("http+docker"):
        command[-1] = os.environ.get("DOCKER_HOST") or "unix:///var/run/docker.sock"
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A shell that starts jobs in the background has SIGINT ignored, and that is inherited.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    for line in process.stdout:
        if "sleep 98765" in line:
            break
    deadline = time.monotonic() + 30
    while not sleeping(client) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert sleeping(client)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode != 0
    deadline = time.monotonic() + 30
    while sleeping(client) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not sleeping(client)
    assert list((store.root / "scratch").iterdir()) == []


def sleeping(client):
    return [one for one in client.api.containers(all=True) if "sleep 98765" in one["Command"]]


def test_two_builds_at_once_do_the_work_once(client, project, store, tidy):
    write(project, FOUR_FILES)
    results, told = [], []
    threads = [
        threading.Thread(target=lambda: results.append(build(client, "tiny", project, store, told.append)))
        for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(300)
    assert sorted(result.was_cached for result in results) == [False, True]
    assert len({result.image_id for result in results}) == 1
    assert len([line for line in told if line.startswith("Step 1/")]) == 1


@pytest.fixture(scope="module")
def cpu_image(client):
    return build(client, "cpu", ROOT, open_store(None, os.environ), print)


def test_the_cpu_image_holds_exactly_what_its_lock_pins(client, cpu_image):
    lock = parse_lock((ROOT / "lockfiles" / "cpu.lock").read_text(), "cpu.lock")
    script = "from importlib.metadata import distributions as d; print(*(x.name + '==' + x.version for x in d()))"
    found = run(client, cpu_image, "python3", "-c", script).split()
    names = {line.lower().replace("_", "-") for line in found}
    assert names == {f"{pin.name}=={pin.version}" for pin in lock.pins}


def test_the_cpu_image_imports_what_training_needs_from_bytecode_that_it_holds(client, cpu_image):
    script = (
        "import torch, transformers, peft, importlib.util, pathlib, sys\n"
        "from transformers import AutoModelForCausalLM\n"
        "files = {pathlib.Path(getattr(m, '__file__', None) or '') for m in list(sys.modules.values())}\n"
        "sources = [f for f in files if f.suffix == '.py' and f.is_file() and not f.is_symlink()]\n"
        "missing = [f for f in sources if not pathlib.Path(importlib.util.cache_from_source(f)).exists()]\n"
        "print(torch.ones(3).sum().item(), len(sources) > 1000, missing)"
    )
    options = {"tmpfs": {"/tmp": ""}, "environment": {"OMP_NUM_THREADS": "1"}}
    assert run(client, cpu_image, "python3", "-c", script, **options) == "3.0 True []\n"


def test_the_cpu_image_is_the_one_that_its_recipe_names(cpu_image):
    assert cpu_image.key == read_recipe(ROOT, "cpu").key
    assert cpu_image.tag == f"repro-harness/cpu:{cpu_image.image_id.removeprefix('sha256:')[:12]}"
