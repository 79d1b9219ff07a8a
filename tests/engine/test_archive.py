"""Archives of real runs: the same bytes every time, readable by other programs, enough to do without a network."""

import hashlib
import json
import os
import subprocess
import tarfile

import docker
import pytest

from harness.archive.dependencies import read_dependencies, restore_packages
from harness.archive.reading import open_archive
from harness.inputs.fetch import fetch_input
from harness.packages.debian import fetch_packages
from harness.packages.wheels import fetch_wheels
from harness.system.files import FolderFiles
from harness.system.store import Store, file_digest
from tests import debian_tools

pytestmark = pytest.mark.engine


@pytest.fixture(scope="module")
def certified(certified_plain, tmp_path_factory):
    """A project with a certified run of `plain`, and a key; commands get the environment it is in."""
    environment = {"XDG_CONFIG_HOME": str(tmp_path_factory.mktemp("config")), "HARNESS_KEY": ""}
    project, _ = certified_plain
    assert project.harness("key", "create", "me", **environment).code == 0
    return project, environment


def archived(project, environment, target, *options):
    answer = project.harness("archive", "plain", "--output", str(target), "--json", *options, **environment)
    assert answer.code == 0, answer.err
    told = json.loads(answer.out)
    assert told["sha256"] == file_digest(target)
    return target


def test_archiving_twice_gives_the_same_bytes_and_they_verify(certified, tmp_path):
    project, environment = certified
    first, second = (archived(project, environment, tmp_path / name) for name in ("a.oci.tar", "b.oci.tar"))
    assert first.read_bytes() == second.read_bytes()
    answer = project.harness("verify", str(first), **environment)
    assert answer.code == 0 and "CONSISTENT" in answer.out, answer.out + answer.err


def test_the_certificate_lists_every_file_of_the_run(certified):
    project, _ = certified
    run = project.latest("plain")
    certificate = json.loads((run / "certificate.json").read_bytes())
    listed = {row["name"]: row["digest"]["sha256"] for row in certificate["predicate"]["evidence"]}
    there = {path.relative_to(run).as_posix() for path in run.rglob("*") if path.is_file() and not path.is_symlink()}
    there = {name for name in there if not name.startswith(("code/", "inputs/", "prepare/", "certificate"))}
    assert listed.keys() == there | {"code.tar"}
    assert {"badge.svg", "macros.tex", "report.html", "ro-crate-metadata.json", "sbom.cdx.json"} <= listed.keys()
    assert all(hashlib.sha256((run / name).read_bytes()).hexdigest() == listed[name] for name in there)


def test_a_run_that_was_touched_is_refused(certified, tmp_path):
    project, environment = certified
    file = next((project.latest("plain") / "straight" / "runs" / "1").glob("ledger.jsonl"))
    before = file.read_bytes()
    file.write_bytes(before.replace(b"0", b"1", 1))
    try:
        answer = project.harness("archive", "plain", "--output", str(tmp_path / "x"), **environment)
    finally:
        file.write_bytes(before)
    assert answer.code == 5 and "straight/runs/1/ledger.jsonl was changed" in answer.err
    assert not (tmp_path / "x").exists()


def test_without_a_key_the_remedy_is_named(certified, tmp_path):
    project, _ = certified
    answer = project.harness("archive", "plain", XDG_CONFIG_HOME=str(tmp_path), HARNESS_KEY="")
    assert answer.code == 2 and "harness key create" in answer.err


@pytest.mark.slow
def test_a_full_archive_is_loaded_by_other_programs_and_feeds_an_empty_cache(certified, client, tmp_path, monkeypatch):
    project, environment = certified
    path = archived(project, environment, tmp_path / "full.oci.tar", "--full")
    run = project.latest("plain")
    manifest = json.loads((run / "manifest.json").read_text())
    wanted = read_dependencies(FolderFiles(run / "code"), manifest)
    empty = Store(tmp_path / "cache")
    with open_archive(path, print) as archive:
        assert archive.image.image_id == manifest["image"]["id"]
        restore_packages(archive, empty, print)
        reference = archive.image.reference
        layers = [(layer.digest, layer.path) for layer in archive.image.layers]
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    assert len(fetch_wheels(wanted.lock, empty, print)) == len(wanted.lock.wheels)
    assert len(fetch_packages(wanted.debs, empty, {"HARNESS_DEBIAN_MIRROR": "file:///nowhere"}, print)) > 40
    for value in wanted.inputs:
        assert fetch_input(value, empty, run / "code", print).exists()
    with tarfile.open(path) as tar:
        for digest, name in layers:
            assert hashlib.file_digest(tar.extractfile(name), "sha256").hexdigest() == digest.removeprefix("sha256:")
    check_with_skopeo(path, reference, manifest["image"]["id"], client)


def check_with_skopeo(path, reference, image_id, client):
    """Another implementation of the OCI layout reads the image and gives it to the engine."""
    debian_tools.need("skopeo", "skopeo")
    source = f"oci-archive:{path}:{reference}"
    said = subprocess.run(["skopeo", "inspect", source], capture_output=True, text=True, check=True)
    assert json.loads(said.stdout)["Architecture"] == "amd64"
    tag = f"repro-harness-test/archive:{os.getpid()}"
    subprocess.run(["skopeo", "copy", "--insecure-policy", source, f"docker-daemon:{tag}"], check=True)
    try:
        assert client.images.get(tag).id == image_id
    finally:
        client.api.remove_image(tag)
        with pytest.raises(docker.errors.ImageNotFound):
            client.images.get(tag)
