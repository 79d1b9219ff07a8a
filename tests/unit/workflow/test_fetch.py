"""What `harness fetch` brings is all that a cache without anything needs, and offline nothing else is asked for."""

import os
import shutil

import pytest

from harness.documents.inputs import Input
from harness.documents.lockfile import digest_of
from harness.errors import HostError, UsageError
from harness.images.base import cached_base, copy_base, keep_base
from harness.images.recipe import read_recipe
from harness.inputs.fetch import fetch_input
from harness.packages.debian import fetch_packages
from harness.packages.wheels import fetch_wheels
from harness.system.project import read_experiment
from harness.system.store import Store, open_store
from harness.workflow.fetch import fetch
from tests.made.project import DATA, add_blob, make_project


def silent(_):
    pass


@pytest.fixture
def fetched(tmp_path):
    """A project, and the folder that has everything of it, fetched with a cache that had it."""
    store = Store(tmp_path / "cache")
    for data in (*make_project(tmp_path / "project"), DATA):
        add_blob(store, data)
    result = fetch(tmp_path / "project", "exp", tmp_path / "fetched", store, silent)
    assert result.num_files == 3  # the base's package is an input as well
    return tmp_path / "project", tmp_path / "fetched"


def have(project, folder, cold):
    """What a certify asks for: in the order of a certify, with a cache without anything, offline."""
    recipe, experiment = read_recipe(project, "tiny"), read_experiment(project, "exp")
    store = open_store(cold, {}, offline=folder)
    inputs = [declared.named(name) for name, declared in experiment.inputs.items()]
    wheels = fetch_wheels(recipe.lock, store, silent)
    packages = fetch_packages(recipe.base_lock.packages, store, os.environ, silent)
    return [*wheels, *packages, *(fetch_input(value, store, project, silent) for value in inputs)]


def test_what_was_fetched_is_enough(fetched, tmp_path):
    project, folder = fetched
    (project / "data.txt").unlink()  # a file of the project that is not committed
    assert all(path.exists() for path in have(project, folder, tmp_path / "cold"))
    assert fetch(project, "exp", folder, open_store(tmp_path / "cold", {}, offline=folder), silent).num_files == 3


def test_offline_what_was_not_fetched_is_named_and_nobody_is_asked(fetched, tmp_path, monkeypatch):
    project, folder = fetched
    for program in ("harness.packages.wheels.download", "harness.packages.debian._fetch"):
        monkeypatch.setattr(program, None)
    shutil.rmtree(folder / "sha256")
    with pytest.raises(HostError, match=r"^wheel of six 1\.0: neither the cache nor .* this is offline") as caught:
        have(project, folder, tmp_path / "cold")
    assert "harness fetch" in caught.value.remedy
    store = open_store(tmp_path / "cold", {}, offline=folder)
    with pytest.raises(HostError, match=r"^Debian package xx 1\.0: neither"):
        fetch_packages(read_recipe(project, "tiny").base_lock.packages, store, os.environ, silent)


@pytest.mark.parametrize(
    ("kind", "reference", "version"),
    [("https", "https://x.test/y", ""), ("pypi", "xx", "1"), ("deb", "xx", "1"), ("hf", "some/one", "0" * 40)],
)
def test_offline_no_input_is_asked_for(tmp_path, kind, reference, version):
    value = Input(name="it", kind=kind, reference=reference, version=version, sha256=digest_of(b"x"))
    with pytest.raises(HostError, match=r"^input 'it': neither the cache nor .* this is offline"):
        fetch_input(value, open_store(tmp_path / "cold", {}, offline=tmp_path), tmp_path, silent)


def test_a_base_of_a_registry_is_carried_as_it_was_kept(tmp_path):
    store, folder = Store(tmp_path / "cache"), Store(tmp_path / "fetched")
    kept = keep_base("x", "sha256:aa", (), {"os": "linux", "architecture": "amd64"}, store)
    copy_base("sha256:aa", store, folder)
    cold = open_store(tmp_path / "cold", {}, offline=folder.root)
    assert cached_base("x", "sha256:aa", cold).image.image_id == kept.image.image_id
    (folder.root / "bases" / "aa.tar").write_bytes(b"")
    assert cached_base("x", "sha256:aa", cold) is None


def test_the_cache_itself_is_no_folder_to_fetch_to(tmp_path):
    make_project(tmp_path / "project")
    with pytest.raises(UsageError, match="is the cache itself"):
        fetch(tmp_path / "project", "exp", tmp_path / "cache", Store(tmp_path / "cache"), silent)
