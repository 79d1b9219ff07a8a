import json

import pytest

from harness.documents.lockfile import digest_of, parse_base_lock
from harness.errors import HostError, UsageError
from harness.images.base import base_key
from harness.images.recipe import read_recipe
from harness.runs.gc_roots import known_checkouts, references
from harness.system.project import remember_checkout
from tests.made.project import DATA, add_blob, make_project


def digits(data):
    return digest_of(data).removeprefix("sha256:")


def refer(store, *roots):
    return references({str(number): root for number, root in enumerate(roots)}, store, roots[0])


def test_a_checkout_that_used_the_cache_is_known_until_it_is_gone(store, project, tmp_path):
    other = tmp_path / "other"
    make_project(other)
    remember_checkout(store, project)
    remember_checkout(store, project)
    assert sorted(known_checkouts(store, other).values()) == [other, project]
    project.rename(tmp_path / "moved")
    assert list(known_checkouts(store, other).values()) == [other]


def test_this_checkout_counts_before_it_is_remembered(store, project):
    assert list(known_checkouts(store, project).values()) == [project]
    assert not (store.root / "checkouts").exists()


def test_a_folder_that_is_no_checkout_is_refused(store, tmp_path):
    with pytest.raises(UsageError, match="no checkout"):
        known_checkouts(store, tmp_path)


def test_a_record_that_cannot_be_read_is_refused_and_named(store, project):
    store.write_record("checkouts", "ab", {"path": 7})
    with pytest.raises(HostError, match=r"checkouts/ab.json"):
        known_checkouts(store, project)


def test_everything_that_a_checkout_names_is_referred_to(store, project, tmp_path):
    wheel, package = make_project(tmp_path / "again")
    recipe = read_recipe(project, "tiny")
    base = parse_base_lock((project / "lockfiles" / "base-x.lock").read_text(), "x")
    store.write_record("images", recipe.key, {"tag": "repro-harness/tiny:1"})
    store.write_record("bases", base_key(base), {"diff_id": "sha256:layer"})
    found = refer(store, project)
    assert {digits(wheel), digits(package), digits(DATA)} == found.blobs
    assert found.inputs == {digits(DATA), digits(package)}
    assert {f"sha256:{key}" for key in found.recipes} == {recipe.key}
    assert {f"sha256:{key}" for key in found.bases} == {base_key(base)}
    assert {f"sha256:{key}" for key in found.environments} == {recipe.lock.pins_digest}
    assert found.experiments == {"exp"}
    assert (found.tags, found.layers) == ({"repro-harness/tiny:1"}, {"sha256:layer"})


def test_every_file_of_a_lock_is_referred_to_whichever_platform_takes_it(store, project):
    path = project / "lockfiles" / "tiny.lock"
    path.write_text(path.read_text().replace("six==1.0", f"six==1.0 --hash=sha256:{'c' * 64}"))
    assert "c" * 64 in refer(store, project).blobs


def test_the_files_of_a_repository_are_referred_to_through_its_listing(store, project):
    listing = f"{'1' * 64}  model.safetensors\n{'2' * 64}  a/tokenizer.json\n".encode()
    experiment = project / "pipelines" / "experiments" / "exp.yaml"
    text = experiment.read_text().replace(
        "inputs:", f'inputs:\n  model: {{hf: a/b, revision: {"a" * 40}, sha256: "{digest_of(listing)}"}}'
    )
    experiment.write_text(text)
    assert digits(listing) in refer(store, project).blobs
    add_blob(store, listing)
    assert {digits(listing), "1" * 64, "2" * 64} <= refer(store, project).blobs


def test_a_base_of_a_registry_is_referred_to_by_the_key_that_it_is_kept_under(store, project):
    (project / "images" / "tiny" / "Dockerfile").write_text(f"ARG BASE=debian@sha256:{'b' * 64}\nFROM ${{BASE}}\n")
    (project / "lockfiles" / "base-x.lock").unlink()
    assert len(refer(store, project).bases) == 1


def test_an_image_without_a_lock_refers_to_nothing(store, project):
    (project / "images" / "unlocked").mkdir()
    (project / "images" / "unlocked" / "Dockerfile").write_text("ARG BASE=base-x\nFROM ${BASE}\n")
    assert len(refer(store, project).recipes) == 1


@pytest.mark.parametrize(
    "name",
    [
        "lockfiles/tiny.lock",
        "lockfiles/base-x.lock",
        "images/tiny/Dockerfile",
        "pipelines/experiments/exp.yaml",
    ],
)
def test_a_malformed_file_of_this_checkout_is_refused_with_its_checkout_and_name(store, project, name):
    for content in (b"\xff\xfe\x00", b"this is: [nonsense\n"):
        (project / name).write_bytes(content)
        with pytest.raises(UsageError) as caught:
            refer(store, project)
        assert str(project) in str(caught.value)
        assert name.rpartition("/")[2] in str(caught.value)


def test_a_remembered_path_may_hold_any_character(store, tmp_path):
    root = tmp_path / "a \udcff b"
    make_project(root)
    remember_checkout(store, root)
    record = next((store.root / "checkouts").iterdir())
    assert json.loads(record.read_text())["path"] == str(root)
    assert list(known_checkouts(store, root).values()) == [root]
