"""An image written as an OCI layout: other tools read it, another engine runs it, it is the same bytes each time."""

import hashlib
import json
import os
import shutil
import subprocess
import tempfile

import pytest

from harness.documents.lockfile import parse_base_lock
from harness.packages.debian import fetch_packages
from harness.system.project import STOCK
from harness.system.store import open_store
from tests import debian_tools

pytestmark = pytest.mark.engine

DOCKERFILE = """ARG BASE=base-bookworm
FROM ${BASE}
RUN echo hello > /greeting && ln /greeting /same && rm /etc/debian_version
ENV COLOUR=green
USER 1000:1000
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    from tests.project import copy_project

    project = copy_project(tmp_path_factory.mktemp("oci") / "project")
    (project.root / "images" / "small").mkdir(parents=True)
    (project.root / "images" / "small" / "Dockerfile").write_text(DOCKERFILE)
    (project.root / "lockfiles" / "small.lock").write_text("# no wheels\n")
    project.commit("a small image")
    return project


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """A cache of its own that has the base's packages."""
    shared = open_store(None, os.environ)
    lock = parse_base_lock((STOCK / "base-bookworm.lock").read_text(), "base")
    fetch_packages(lock.packages, shared, os.environ, print)
    return {"HARNESS_CACHE": str(tmp_path_factory.mktemp("cache")), "HARNESS_ARCHIVE": str(shared.root)}


@pytest.fixture(scope="module")
def built(client, project, cache, tmp_path_factory):
    """The layout, and what `build --json` says of the image."""
    folder = tmp_path_factory.mktemp("out") / "layout"
    answer = project.harness("build", "small", "--output", str(folder), "--json", **cache)
    assert answer.code == 0, answer.err
    yield folder, json.loads(answer.out)
    client.images.remove(json.loads(answer.out)["tag"], force=True)


def commit_of(project):
    command = ["git", "-C", str(project.root), "rev-parse", "HEAD"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def test_every_blob_is_what_its_name_says_and_the_configuration_is_the_images_id(built):
    folder, result = built
    blobs = {path.name: path.read_bytes() for path in (folder / "blobs" / "sha256").iterdir()}
    assert all(hashlib.sha256(data).hexdigest() == name for name, data in blobs.items())
    (entry,) = json.loads((folder / "index.json").read_text())["manifests"]
    manifest = json.loads(blobs[entry["digest"].removeprefix("sha256:")])
    assert manifest["config"]["digest"] == result["image_id"]
    config = json.loads(blobs[manifest["config"]["digest"].removeprefix("sha256:")])
    assert config["rootfs"]["diff_ids"] == [layer["digest"] for layer in manifest["layers"]]
    assert set(blobs) == {
        entry["digest"].removeprefix("sha256:"),
        manifest["config"]["digest"].removeprefix("sha256:"),
        *(layer["digest"].removeprefix("sha256:") for layer in manifest["layers"]),
    }


def test_it_names_the_commit_the_locks_and_the_base(built, project):
    folder, _ = built
    (entry,) = json.loads((folder / "index.json").read_text())["manifests"]
    assert entry["annotations"]["org.opencontainers.image.revision"] == commit_of(project)
    debian_tools.need("skopeo", "skopeo")
    command = ["skopeo", "inspect", f"oci:{folder}"]
    told = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    assert told["Digest"] == entry["digest"]
    lock = (project.root / "lockfiles" / "small.lock").read_bytes()
    base = (STOCK / "base-bookworm.lock").read_bytes()
    assert told["Labels"] == {
        "org.opencontainers.image.base.name": "base-bookworm",
        "repro-harness.base": "base-bookworm",
        "repro-harness.base-lock": "sha256:" + hashlib.sha256(base).hexdigest(),
        "repro-harness.lock": "sha256:" + hashlib.sha256(lock).hexdigest(),
    }
    assert "COLOUR=green" in told["Env"]


def test_another_engine_runs_it(built, tmp_path):
    folder, result = built
    debian_tools.need("podman", "podman", "runc")
    runc = shutil.which("runc") or "/usr/sbin/runc"
    state = tempfile.TemporaryDirectory(prefix="pod-")  # podman wants a path of less than 50 characters
    podman = ["podman", "--root", str(tmp_path / "root"), "--runroot", f"{state.name}/run"]
    podman += ["--storage-driver", "overlay", "--cgroup-manager", "cgroupfs", "--runtime", runc]
    options = ["--rm", "--network", "none", "--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1000:1000"]
    script = "cat /same; echo $COLOUR; id -u; test -e /etc/debian_version || echo gone"
    command = [*podman, "run", *options, f"oci:{folder}", "sh", "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["hello", "green", "1000", "gone"], done.stderr
    command = [*podman, "images", "--no-trunc", "--quiet"]
    ids = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert ids.strip() == result["image_id"]
    subprocess.run([*podman, "rmi", "--all", "--force"], capture_output=True, check=False)
    state.cleanup()


def test_the_same_image_is_the_same_bytes_and_another_commit_changes_only_the_index(built, project, cache, tmp_path):
    folder, _ = built
    project.commit("nothing")
    answer = project.harness("build", "small", "--output", str(tmp_path / "again"), **cache)
    assert answer.code == 0, answer.err
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.name != "index.json":
            assert path.read_bytes() == (tmp_path / "again" / path.relative_to(folder)).read_bytes()
    (entry,) = json.loads((tmp_path / "again" / "index.json").read_text())["manifests"]
    assert entry["annotations"]["org.opencontainers.image.revision"] == commit_of(project)


def test_uncommitted_files_are_no_commit(built, project, cache, tmp_path):
    (project.root / "new.txt").write_text("x")
    try:
        assert project.harness("build", "small", "--output", str(tmp_path / "again"), **cache).code == 0
    finally:
        (project.root / "new.txt").unlink()
    assert "revision" not in (tmp_path / "again" / "index.json").read_text()


def test_a_folder_that_holds_something_is_refused_and_kept(built, project, cache, tmp_path):
    (tmp_path / "precious").write_text("x")
    answer = project.harness("build", "small", "--output", str(tmp_path), **cache)
    assert answer.code == 2 and "is there already" in answer.err and "remedy:" in answer.err
    assert (tmp_path / "precious").read_text() == "x"
