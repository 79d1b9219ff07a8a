"""Garbage in a real engine. Only tags of a prefix of this test's own are removed: other tests need the real images."""

import io
import json
import shutil
import tarfile
import time
import uuid

import docker.errors
import pytest

from harness.documents.lockfile import parse_base_lock
from harness.errors import HostError
from harness.images.base import base_key
from harness.images.engine_images import find_image
from harness.images.leftovers import MACHINE, lock_labels, remove_container, sweep
from harness.images.recipe import read_recipe
from harness.system.held import held
from harness.system.project import STOCK
from harness.system.store import Store
from harness.workflow.gc import collect

pytestmark = pytest.mark.engine

HOUR = 3600.0


@pytest.fixture
def repository(client):
    """A prefix of one's own; whatever bears it is removed at the end."""
    name = f"repro-harness-test-{uuid.uuid4().hex[:12]}"
    yield name
    for one in client.api.images(filters={"reference": f"{name}/*"}):
        for tag in one["RepoTags"]:
            client.api.remove_image(tag, force=True)


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "cache")


def import_image(client, tag, content):
    """An image of one file, under a tag; returns it as the engine knows it."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        info = tarfile.TarInfo("file")
        info.size = len(content)
        archive.addfile(info, io.BytesIO(content))
    name, _, version = tag.partition(":")
    client.api.import_image_from_data(stream.getvalue(), repository=name, tag=version)
    return find_image(client, tag)


def gc(project, store, client, repository, *, hours=2, dry_run=False):
    now = time.time() + hours * HOUR
    return collect(project.root, store, client, lambda _: None, dry_run=dry_run, repository=repository, now=now)


def images_of(result):
    return {item.name: item.size_bytes for item in result.items if item.kind == "image"}


def test_images_that_no_record_names_go_and_all_others_stay(client, project, store, repository):
    recipe = read_recipe(project.root, "cpu")
    base = parse_base_lock((STOCK / "base-bookworm.lock").read_text(), "base")
    kept, foundation = f"{repository}/cpu:kept", f"{repository}/base:kept"
    old, building, foreign = f"{repository}/cpu:old", f"{repository}/building:1", f"{repository}x/cpu:1"
    for tag in (kept, foundation, old, building, foreign):
        import_image(client, tag, tag.encode() * 100)
    store.write_record("images", recipe.key, {"tag": kept})
    store.write_record("bases", base_key(base), {"diff_id": find_image(client, foundation).diff_ids[0]})
    try:
        planned = gc(project, store, client, repository, dry_run=True)
        assert set(images_of(planned)) == {old, building}
        assert min(images_of(planned).values()) > 0
        assert find_image(client, old)
        assert gc(project, store, client, repository) == planned
        left = {tag for tag in (kept, foundation, old, building, foreign) if find_image(client, tag)}
        assert left == {kept, foundation, foreign}
    finally:
        client.api.remove_image(foreign)


def test_an_image_that_a_container_is_made_from_stays(client, project, store, repository):
    tag = f"{repository}/cpu:used"
    import_image(client, tag, b"used")
    container = client.api.create_container(tag, command=["/file"])
    try:
        assert images_of(gc(project, store, client, repository)) == {}
        assert find_image(client, tag)
    finally:
        client.api.remove_container(container["Id"])
    assert set(images_of(gc(project, store, client, repository))) == {tag}


def test_what_a_build_with_another_cache_may_be_making_stays_for_an_hour(client, project, store, repository):
    tag = f"{repository}/building:{uuid.uuid4().hex}"
    import_image(client, tag, b"being built")
    assert images_of(gc(project, store, client, repository, hours=0)) == {}
    assert set(images_of(gc(project, store, client, repository, hours=1.1))) == {tag}


def test_an_image_of_two_tags_is_freed_with_the_last_of_them(client, project, store, repository):
    image = import_image(client, f"{repository}/a:1", b"x" * 5000)
    client.api.tag(image.engine_id, f"{repository}/b", "1")
    assert images_of(gc(project, store, client, repository)) == {f"{repository}/a:1": 0, f"{repository}/b:1": 5000}
    with pytest.raises(docker.errors.ImageNotFound):
        client.api.inspect_image(image.engine_id)


def test_the_containers_of_killed_harnesses_go_and_no_others(client, project, store, repository, tmp_path):
    import_image(client, tag := f"{repository}/cpu:1", b"x")
    names = ("killed", "lives", "ended", "unseen", "elsewhere")
    folders = {name: tmp_path / name for name in names}
    for name in names:
        folders[name].mkdir()
        (folders[name] / "log.lock").touch()
    labels = {name: lock_labels(folders[name] / "log.lock") for name in names}
    labels["elsewhere"][MACHINE] = "another-boot another-machine"
    made = {name: client.api.create_container(tag, command=["x"], labels=labels[name])["Id"] for name in names}
    (folders["ended"] / "log.lock").unlink()  # the engine did not answer when the run ended
    shutil.rmtree(folders["unseen"])
    try:
        with held(folders["lives"] / "log.lock"):
            planned = gc(project, store, client, repository, dry_run=True)
            result = gc(project, store, client, repository)
        left = {row["Id"] for row in client.api.containers(all=True)} & set(made.values())
        assert left == {made[name] for name in ("lives", "unseen", "elsewhere")}
        assert [item for item in planned.items if item.kind == "container"] == [
            item for item in result.items if item.kind == "container"
        ]
        named = " ".join(result.notes)
        assert all(client.api.inspect_container(made[name])["Name"][1:] in named for name in ("unseen", "elsewhere"))
        sweep(client, store, lambda _: None)
        assert {row["Id"] for row in client.api.containers(all=True)} & set(made.values()) == left - {made["lives"]}
    finally:
        for container in made.values():
            remove_container(client, container)


def test_an_engine_that_stops_answering_is_an_error_and_nothing_is_removed(project, store):
    gone = docker.DockerClient(base_url="tcp://127.0.0.1:1", version="1.41", timeout=5)
    record = store.write_record("images", "f" * 64, {"tag": "x"})
    with pytest.raises(HostError):
        gc(project, store, gone, "repro-harness-test")
    assert record.exists()


def test_the_command_lists_what_would_go_and_removes_nothing(client, project, tmp_path):
    """With a cache of its own, which knows no image: every real one would go."""
    before = {tag for one in client.api.images(filters={"reference": "repro-harness/*"}) for tag in one["RepoTags"]}
    cache = tmp_path / "empty"
    answer = project.harness("gc", "--dry-run", "--json", HARNESS_CACHE=str(cache))
    assert answer.code == 0, answer.err
    summary = json.loads(answer.out)
    listed = {item["name"] for item in summary["items"] if item["kind"] == "image"}
    assert listed <= before
    assert summary["dry_run"] is True
    assert summary["size_bytes"] == sum(item["size_bytes"] for item in summary["items"])
    after = {tag for one in client.api.images(filters={"reference": "repro-harness/*"}) for tag in one["RepoTags"]}
    assert before <= after


def test_without_an_engine_the_command_frees_the_cache_and_says_so(project, tmp_path):
    store = Store(tmp_path / "cache")
    record = store.write_record("timings", "no-such-experiment", {})
    nowhere = {"HARNESS_CACHE": str(store.root), "DOCKER_HOST": "unix:///nowhere/docker.sock"}
    answer = project.harness("gc", **nowhere)
    assert answer.code == 0, answer.err
    assert "no container engine is running" in answer.out
    assert "freed" in answer.last_line
    assert not record.exists()


def test_a_malformed_lock_is_one_clear_error_and_nothing_goes(project, tmp_path):
    store = Store(tmp_path / "cache")
    record = store.write_record("timings", "no-such-experiment", {})
    (project.root / "lockfiles" / "cpu.lock").write_text("torch\n")
    answer = project.harness("gc", HARNESS_CACHE=str(store.root), DOCKER_HOST="unix:///nowhere/docker.sock")
    assert answer.code == 2
    assert "cpu.lock, line 1" in answer.err
    assert record.exists()
