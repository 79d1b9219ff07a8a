"""A base from a registry, by its digest: a real registry on localhost, which Debian packages."""

import json
import os
import shutil
import socket
import subprocess
import time
import urllib.request

import pytest

from harness.documents.lockfile import parse_base_lock, parse_lock, render_pins, render_wheels
from harness.documents.platform import USUAL
from harness.errors import HostError, UsageError
from harness.images.base import build_base
from harness.images.builder import build
from harness.images.engine_images import load_image
from harness.packages.debian import fetch_packages, write_base_lock
from harness.packages.resolver import write_lock
from harness.scaffold.base import dockerfile
from harness.system.project import STOCK
from harness.system.store import Store, open_store
from tests import debian_tools

pytestmark = pytest.mark.engine

DOCKERFILE = "FROM {}\nRUN echo two > /two\nUSER 1000:1000\n"


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Registry:
    def __init__(self, folder):
        self.folder, self.port = folder, free_port()
        self.address = f"localhost:{self.port}"
        config = {
            "version": 0.1,
            "storage": {"filesystem": {"rootdirectory": str(folder / "data")}},
            "http": {"addr": f"127.0.0.1:{self.port}"},
        }
        (folder / "config.yml").write_text(json.dumps(config))
        with (folder / "log").open("wb") as log:
            self.process = subprocess.Popen(
                ["docker-registry", "serve", str(folder / "config.yml")], stdout=log, stderr=log
            )
        for _ in range(100):
            try:
                urllib.request.urlopen(f"http://{self.address}/v2/", timeout=5)
                return
            except OSError:
                time.sleep(0.1)
        raise AssertionError((folder / "log").read_text())

    def blob(self, digest):
        digits = digest.removeprefix("sha256:")
        return self.folder / "data/docker/registry/v2/blobs/sha256" / digits[:2] / digits / "data"

    def stop(self):
        self.process.terminate()
        self.process.wait(10)


@pytest.fixture(scope="module")
def registry(tmp_path_factory):
    debian_tools.need("docker-registry", "docker-registry")
    registry = Registry(tmp_path_factory.mktemp("registry"))
    yield registry
    registry.stop()


@pytest.fixture(scope="module")
def pushed(client, registry, tmp_path_factory):
    """The bootstrapped base with a file more, pushed; its digest. The engine keeps nothing of it."""
    shared, scratch = open_store(None, os.environ), Store(tmp_path_factory.mktemp("cache"))
    lock = parse_base_lock((STOCK / "base-bookworm.lock").read_text(), "base")
    packages = fetch_packages(lock.packages, shared, os.environ, print)
    base = build_base("base-bookworm", lock, packages, scratch, afresh=True)
    load_image(client, base.image, base.tag)
    container = client.containers.create(base.tag, ["sh", "-c", "echo one > /one"], network_mode="none")
    container.start()
    container.wait()
    name = f"{registry.address}/team/base"
    container.commit(name, "latest", changes="ENV COLOUR=green")
    container.remove()
    return f"{name}@{push(client, name)}"


def push(client, name):
    """Push an image, forget it, and return its digest."""
    for line in client.api.push(name, "latest", stream=True, decode=True):
        assert "error" not in line, line
        digest = line.get("aux", {}).get("Digest") or locals().get("digest")
    client.images.remove(f"{name}:latest")
    return digest


@pytest.fixture(scope="module")
def python313(client, registry, tmp_path_factory):
    """Debian trixie, which has Python 3.13, pushed; its digest."""
    root, shared = tmp_path_factory.mktemp("trixie"), open_store(None, os.environ)
    (root / "lockfiles").mkdir()
    text = (STOCK / "base-bookworm.in").read_text().replace("python3-distutils\n", "")
    (root / "lockfiles" / "base-trixie.in").write_text(text)
    path = write_base_lock(root, "base-trixie", shared, os.environ, print)
    lock = parse_base_lock(path.read_text(), path.name)
    packages = fetch_packages(lock.packages, shared, os.environ, print)
    base = build_base("base-trixie", lock, packages, Store(root / "cache"), afresh=True)
    load_image(client, base.image, base.tag)
    name = f"{registry.address}/python/base"
    client.images.get(base.tag).tag(name, "latest")
    digest = push(client, name)
    client.images.remove(base.tag)
    return f"{name}@{digest}"


@pytest.fixture
def project(tmp_path):
    (tmp_path / "project" / "images" / "onbase").mkdir(parents=True)
    (tmp_path / "project" / "lockfiles").mkdir()
    (tmp_path / "project" / "lockfiles" / "onbase.lock").write_text("# no wheels\n")
    return tmp_path / "project"


@pytest.fixture
def make(client, project, tmp_path):
    """Builds the project's image on a base, with a cache of its own."""
    before = {image["Id"] for image in client.api.images(all=True)}

    def make(base, cache="cache", text=DOCKERFILE, **options):
        (project / "images" / "onbase" / "Dockerfile").write_text(text.replace("{}", base))
        (tmp_path / cache).mkdir(exist_ok=True)
        return build(client, "onbase", project, Store(tmp_path / cache), print, **options)

    yield make
    for name in ("repro-harness/onbase", "repro-harness/base"):
        for image in client.images.list(name=name):
            client.images.remove(image.id, force=True)
    left = {image["Id"] for image in client.api.images(all=True)} - before
    assert not left, [client.images.get(one).tags for one in left]


def test_a_base_is_pulled_by_its_digest_and_the_image_on_it_is_the_same_from_two_engines(client, make, pushed):
    result = make(pushed, check=True)
    assert result.rebuild.is_identical
    assert len(set(result.rebuild.engines)) == (2 if os.geteuid() == 0 else 1)
    script = "cat /one /two; echo $COLOUR; id -u"
    out = client.containers.run(result.tag, ["sh", "-c", script], network_mode="none", remove=True).decode()
    assert out.split() == ["one", "two", "green", "1000"]
    labels = client.images.get(result.tag).labels
    assert labels["org.opencontainers.image.base.digest"] == pushed.partition("@")[2]
    assert labels["org.opencontainers.image.base.name"] == pushed.partition("@")[0]


def test_an_image_has_the_python_of_its_base_and_the_wheels_that_its_lock_names_for_it(
    client, make, project, python313, tmp_path
):
    (tmp_path / "locks").mkdir()
    (project / "lockfiles" / "onbase.in").write_text("# python 3.13\nmarkupsafe\npip\n")
    text = write_lock(project, "onbase", Store(tmp_path / "locks"), print).read_text()
    assert "markupsafe-" in text and "-cp313-cp313-manylinux" in text
    result = make(python313, text=dockerfile(python313))
    script = "import sys, markupsafe._speedups; print(sys.version_info[:2], sys.prefix)"
    out = client.containers.run(result.tag, ["python", "-c", script], network_mode="none", remove=True).decode()
    assert out == "(3, 13) /opt/venv\n"
    pip = next(pin for pin in parse_lock(text, "x").pins if pin.name == "pip")
    other = f"# target: {USUAL}\n{render_pins((pip,))}{render_wheels({'pip': pip.wheel})}"
    (project / "lockfiles" / "onbase.lock").write_text(other)
    with pytest.raises(UsageError, match=r"wheels are for Python 3\.11, and the base .* has Python 3\.13"):
        make(python313)


def test_another_cache_and_another_pull_give_the_same_image_and_what_is_cached_needs_no_registry(
    client, make, pushed, registry
):
    first = make(pushed)
    assert make(pushed, cache="other").image_id == first.image_id
    client.images.remove(first.tag)
    data = registry.folder / "data"
    data.rename(registry.folder / "away")
    try:
        assert make(pushed).image_id == first.image_id
    finally:
        shutil.rmtree(data, ignore_errors=True)
        (registry.folder / "away").rename(data)


def test_a_digest_that_the_registry_does_not_have_is_refused(make, pushed):
    with pytest.raises(UsageError, match="the registry has no") as caught:
        make(pushed.partition("@")[0] + "@sha256:" + "0" * 64)
    assert "check the name and the digest" in caught.value.remedy


def test_a_tag_without_a_digest_is_refused_before_anything_is_pulled(make, pushed):
    with pytest.raises(UsageError, match="is not pinned by this project"):
        make(pushed.partition("@")[0] + ":latest")


def test_an_image_that_was_changed_in_the_registry_is_refused(make, pushed, registry):
    manifest = registry.blob(pushed.partition("@")[2])
    digest = json.loads(manifest.read_text())["layers"][-1]["digest"]
    layer = registry.blob(digest)
    before = layer.read_bytes()
    layer.write_bytes(before[:-9] + bytes([before[-9] ^ 1]) + before[-8:])
    try:
        with pytest.raises(UsageError, match=rf"is not what the digest says: .*{digest}") as caught:
            make(pushed)
        assert "somebody changed the image" in caught.value.remedy
    finally:
        layer.write_bytes(before)
    assert make(pushed).image_id


def test_a_registry_that_does_not_answer_is_an_error_of_the_environment(make):
    with pytest.raises(HostError, match="cannot be pulled"):
        make(f"localhost:{free_port()}/team/base@sha256:" + "0" * 64)
