import json
import multiprocessing
import os
import time
from pathlib import Path

import pytest

from harness.documents.lockfile import digest_of, parse_base_lock
from harness.errors import HostError, UsageError
from harness.images.base import base_key
from harness.images.recipe import read_recipe
from harness.system.project import remember_checkout
from harness.system.store import Store
from harness.workflow.gc import collect
from tests.made.project import DATA, add_blob, add_run, age, make_project

NOW = time.time()
DAY = 86_400


def gc(root, store, dry_run=False, now=NOW):
    return collect(root, store, None, lambda _: None, dry_run=dry_run, now=now)


def fill(store, root, tag):
    """Put into the cache what a checkout's image, environment and experiment leave there; returns the paths."""
    wheel, package = make_project(root.parent / f"{tag}-again")
    recipe = read_recipe(root, "tiny")
    base = parse_base_lock((root / "lockfiles" / "base-x.lock").read_text(), "x")
    paths = [add_blob(store, wheel), add_blob(store, package), add_blob(store, DATA)]
    paths.append(store.write_record("images", recipe.key, {"tag": f"repro-harness/tiny:{tag}"}))
    paths.append(store.write_record("rebuilds", recipe.key, {"key": recipe.key}))
    paths.append(store.write_record("bases", base_key(base), {"diff_id": digest_of(b"layer")}))
    layer = store.folder("bases") / f"{base_key(base).removeprefix('sha256:')}.tar"
    layer.write_bytes(b"layer")
    paths.append(layer)
    paths.append(store.write_record("timings", "exp", {"runs": 1.0}))
    key = f"deb-1-{digest_of(package).removeprefix('sha256:')}"
    paths.append(store.write_record("unpacked", key, {"tree": "x"}))
    trees = [store.folder("inputs", key)]
    trees.append(store.folder("venvs", f"{recipe.lock.pins_digest.removeprefix('sha256:')[:24]}-3.11.7-x"))
    for tree in trees:
        (tree / "file").write_bytes(b"x")
    return [*paths, *trees]


def rubbish(store):
    """Put into the cache one of everything that nobody refers to; returns the paths."""
    digits = "f" * 64
    paths = [add_blob(store, b"a wheel that was locked once")]
    paths += [store.write_record(kind, digits, {"tag": "x"}) for kind in ("images", "rebuilds", "bases")]
    paths.append(store.write_record("timings", "no-such-experiment", {}))
    paths.append(store.write_record("unpacked", f"pypi-1-{digits}", {}))
    for folder in (f"inputs/pypi-1-{digits}", f"venvs/{digits[:24]}-3.11.7-x", "wheels/0123-x"):
        paths.append(store.folder(*folder.split("/")))
        (paths[-1] / "file").write_bytes(b"x" * 5000)
    (store.folder("images") / ".left.1234").write_bytes(b"x")
    return [*paths, store.root / "images" / ".left.1234"]


def everything(root):
    return {path for path in root.rglob("*") if "locks" not in path.relative_to(root).parts[:1]}


def test_what_a_checkout_refers_to_stays_and_the_rest_goes(store, project):
    kept = fill(store, project, "a")
    gone = rubbish(store)
    result = gc(project, store)
    assert [path for path in kept if not path.exists()] == []
    assert [path for path in gone if path.exists()] == []
    assert len(result.items) == len(gone)
    assert gc(project, store).items == ()


def test_a_dry_run_says_the_same_and_removes_nothing(store, project):
    fill(store, project, "a")
    rubbish(store)
    add_run(project, "exp", 1)
    add_run(project, "exp", 2)
    before = everything(store.root) | everything(project)
    planned = gc(project, store, dry_run=True)
    assert everything(store.root) | everything(project) == before
    assert gc(project, store) == planned
    assert len(planned.items) > 8


def test_what_is_said_to_be_freed_is_what_is_freed(store, project):
    rubbish(store)
    shared = add_blob(store, b"x" * 100_000)  # a blob nobody refers to, with a second name in a kept folder
    kept = store.folder("inputs", f"file-{digest_of(DATA).removeprefix('sha256:')}")
    (kept / "data").hardlink_to(shared)

    def used():
        return sum({path.lstat().st_ino: path.lstat().st_blocks * 512 for path in store.root.rglob("*")}.values())

    gc(project, store, dry_run=True)
    before = used()
    result = gc(project, store)
    after = used()
    assert not shared.exists()
    assert (kept / "data").stat().st_size == 100_000
    new = sum(
        path.lstat().st_blocks * 512 for path in (store.root / "checkouts", *(store.root / "checkouts").iterdir())
    )
    new += sum(path.lstat().st_blocks * 512 for path in (store.root / "locks", store.root / "scratch"))
    assert before - result.size_bytes <= after <= before - result.size_bytes + new


def test_a_second_checkout_keeps_what_it_needs_until_it_is_gone(store, project, tmp_path):
    other = tmp_path / "other"
    make_project(other)
    lock = other / "lockfiles" / "tiny.lock"
    old = add_blob(store, b"the other checkout's wheel")
    digest = digest_of(b"the other checkout's wheel")
    lock.write_text(f"six==1.0 --hash={digest}\n")
    remember_checkout(store, other)
    assert gc(project, store).items == ()
    other.rename(tmp_path / "trash")
    assert sorted(item.kind for item in gc(project, store).items) == ["blob", "checkout"]
    assert not old.exists()
    assert len(list((store.root / "checkouts").iterdir())) == 1


@pytest.mark.parametrize(("days", "stays"), [(29, True), (31, False)])
def test_prepared_inputs_and_controls_stay_for_30_days_after_their_last_use(store, project, days, stays):
    tree = store.folder("prepared", "a" * 64)
    (tree / "files.json").write_text("{}")
    record = store.write_record("controls", "b" * 64, {})
    age(tree, days, NOW)
    age(record, days, NOW)
    gc(project, store)
    assert tree.exists() == record.exists() == stays


def test_whoever_reads_prepared_inputs_uses_them(store, project):
    tree = store.folder("prepared", "a" * 64)
    (tree / "files.json").write_text("{}")
    age(tree, 90, NOW)
    os.utime(tree / "files.json", (NOW - 86_400, NOW - 90 * 86_400))
    gc(project, store)
    assert tree.exists()


def test_what_the_collector_does_not_know_stays(store, project):
    store.folder("something", "new")
    (store.root / "sha256" / "ab").mkdir(parents=True)
    (store.root / "sha256" / "ab" / "no digest").touch()
    (store.root / "README").touch()
    gc(project, store)
    assert (store.root / "something" / "new").exists()
    assert (store.root / "sha256" / "ab" / "no digest").exists()
    assert (store.root / "README").exists()


def test_a_link_in_the_cache_goes_and_what_it_points_at_stays(store, project, tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "file").write_bytes(b"x" * 100_000)
    (store.folder("venvs") / "linked").symlink_to(outside)
    result = gc(project, store)
    assert (outside / "file").exists()
    assert not (store.root / "venvs" / "linked").is_symlink()
    assert result.size_bytes < 100_000


def test_a_part_of_the_cache_that_is_a_link_is_left_alone(store, project, tmp_path):
    outside = tmp_path / "outside"
    (outside / "venv-of-somebody").mkdir(parents=True)
    store.folder()
    (store.root / "venvs").symlink_to(outside)
    assert gc(project, store).items == ()
    assert (outside / "venv-of-somebody").exists()


def test_the_certificate_of_a_prefix_does_not_take_the_place_of_one_of_the_experiment(store, project):
    whole, prefix, newest = (add_run(project, "exp", day, verdict="CERTIFIED") for day in (1, 2, 3))
    for path in (prefix, newest):
        (path / "verdict.json").write_text(json.dumps({"verdict": "CERTIFIED", "scope": {"steps": 1, "of": 2}}))
    gc(project, store)
    assert sorted(path.name for path in (project / "runs" / "exp").iterdir()) == sorted([whole.name, newest.name])


def test_a_certified_replay_does_not_take_the_place_of_a_certificate(store, project):
    whole, replayed, newest = (add_run(project, "exp", day, verdict="CERTIFIED") for day in (1, 2, 3))
    for path in (replayed, newest):
        (path / "verdict.json").write_text(json.dumps({"verdict": "CERTIFIED", "kind": "replay"}))
    gc(project, store)
    assert whole.exists() and newest.exists() and not replayed.exists()


def test_of_an_experiments_runs_the_newest_the_certified_and_the_cited_stay(store, project):
    certified, gone, cited = (
        add_run(project, "exp", 1, "CERTIFIED"),
        add_run(project, "exp", 2),
        add_run(project, "exp", 3),
    )
    newest, other = add_run(project, "exp", 4), add_run(project, "other", 1)
    (project / "runs" / "exp" / "latest").symlink_to(newest.name)
    (project / "manifests").mkdir()
    (project / "manifests" / "paper.json").write_text(json.dumps({"volatile": {"run_id": cited.name}}))
    (project / "runs" / "exp" / "notes").mkdir()
    result = gc(project, store)
    assert [item.name for item in result.items] == [str(gone)]
    left = sorted(path.name for path in (project / "runs" / "exp").iterdir())
    assert left == sorted([certified.name, cited.name, newest.name, "latest", "notes"])
    assert other.exists()


def test_a_run_of_a_remembered_checkout_goes_too(store, project, tmp_path):
    other = tmp_path / "other"
    make_project(other)
    remember_checkout(store, other)
    gone, newest = add_run(other, "exp", 1, size=100_000), add_run(other, "exp", 2)
    result = gc(project, store)
    assert not gone.exists()
    assert newest.exists()
    assert result.size_bytes >= 100_000


def test_runs_that_lie_behind_a_link_are_left_alone_and_it_is_said(store, project, tmp_path):
    elsewhere = tmp_path / "disk"
    add_run(elsewhere, "exp", 1)
    add_run(elsewhere, "exp", 2)
    (project / "runs").symlink_to(elsewhere / "runs")
    result = gc(project, store)
    assert result.items == ()
    assert any("runs is a link" in note for note in result.notes)


def test_a_run_that_is_a_link_is_left_alone(store, project, tmp_path):
    target = add_run(tmp_path / "elsewhere", "exp", 1)
    add_run(project, "exp", 2)
    (project / "runs" / "exp" / target.name).symlink_to(target)
    assert gc(project, store).items == ()


def test_without_an_engine_it_is_said_that_images_were_not_looked_at(store, project):
    assert gc(project, store).notes == ("no container engine is running: its images were not checked",)


NAMES = ["lockfiles/tiny.lock", "pipelines/experiments/exp.yaml", "images/tiny/Dockerfile"]


@pytest.mark.parametrize("name", NAMES)
def test_nothing_is_removed_while_this_checkout_cannot_be_understood(store, project, name):
    gone = [*rubbish(store), add_run(project, "exp", 1), add_run(project, "exp", 2)]
    (project / name).write_text("nonsense: [\n")
    with pytest.raises(UsageError, match=str(project)):
        gc(project, store)
    assert all(path.exists() for path in gone)


@pytest.mark.parametrize("name", NAMES)
def test_what_another_checkouts_broken_file_could_name_is_kept_and_the_rest_goes(store, project, tmp_path, name):
    other = tmp_path / "other"
    make_project(other)
    remember_checkout(store, other)
    unclaimed, gone = rubbish(store), add_run(project, "exp", 1)
    add_run(project, "exp", 2)
    (other / name).write_text("nonsense: [\n")
    result = gc(project, store)
    note = result.notes[0]
    assert str(other) in note and name.rpartition("/")[2] in note and "kept for it: every" in note and "\n" not in note
    assert not gone.exists()
    left = {path.relative_to(store.root).parts[0] for path in unclaimed if path.exists()}
    kinds = {
        "lockfiles/tiny.lock": {"sha256", "bases", "venvs", "images", "rebuilds"},
        "pipelines/experiments/exp.yaml": {"sha256", "inputs", "unpacked", "timings"},
        "images/tiny/Dockerfile": {"bases", "images", "rebuilds"},
    }
    assert left == kinds[name]
    assert not (store.root / "images" / ".left.1234").exists() and not (store.root / "wheels" / "0123-x").exists()


def test_runs_stay_while_another_checkouts_archives_cannot_be_looked_through(store, project, tmp_path):
    other = tmp_path / "other"
    make_project(other)
    remember_checkout(store, other)
    (other / "manifests").mkdir()
    with (other / "manifests" / "large").open("wb") as stream:
        stream.truncate(65 << 20)
    run, unclaimed = add_run(project, "exp", 1), rubbish(store)
    add_run(project, "exp", 2)
    result = gc(project, store)
    assert "manifests/large" in result.notes[0] and "kept for it: every run" in result.notes[0]
    assert run.exists() and not any(path.exists() for path in unclaimed)


def test_another_checkout_that_may_not_be_listed_counts_as_one_that_names_everything(
    store, project, tmp_path, monkeypatch
):
    other = tmp_path / "other"
    make_project(other)
    remember_checkout(store, other)
    unclaimed = rubbish(store)
    real = Path.is_dir

    def is_dir(path):
        if path.is_relative_to(other):
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(Path, "is_dir", is_dir)
    monkeypatch.setattr("os.access", lambda path, mode: path != other)
    result = gc(project, store)
    assert "Permission denied" in " ".join(result.notes)
    assert not any(item.kind in ("blob", "input", "environment", "checkout") for item in result.items)
    assert all(path.exists() for path in unclaimed if "sha256" in path.parts)


def test_an_archive_too_large_to_be_looked_through_is_refused(store, project):
    gone = add_run(project, "exp", 1)
    add_run(project, "exp", 2)
    (project / "manifests").mkdir()
    with (project / "manifests" / "large").open("wb") as stream:
        stream.truncate(65 << 20)
    with pytest.raises(UsageError, match="manifests/large"):
        gc(project, store)
    assert gone.exists()


def _work(root, started, end):
    with Store(root).in_use():
        started.set()
        end.wait(30)


def test_nothing_is_removed_while_somebody_works_with_the_cache(store, project):
    gone = rubbish(store)
    context = multiprocessing.get_context("fork")
    started, end = context.Event(), context.Event()
    worker = context.Process(target=_work, args=(store.root, started, end))
    worker.start()
    try:
        assert started.wait(30)
        with pytest.raises(HostError, match="another process works"):
            gc(project, store)
        assert all(path.exists() for path in gone)
        assert gc(project, store, dry_run=True).items
    finally:
        end.set()
        worker.join(30)
    gc(project, store)
    assert not any(path.exists() for path in gone)


def test_what_cannot_be_removed_is_named_and_the_rest_goes(store, project, monkeypatch):
    gone = rubbish(store)
    stuck = next(path for path in gone if "wheels" in path.parts)

    def refuse(path):
        if "file" in os.listdir(path) if path.is_dir() else False:
            raise PermissionError(13, "Permission denied", str(path))
        path.unlink() if path.is_file() else path.rmdir()

    monkeypatch.setattr("harness.workflow.gc.delete", refuse)
    with pytest.raises(HostError, match=r"could not be removed; .*Permission denied"):
        gc(project, store)
    monkeypatch.undo()
    assert not stuck.exists()  # it was moved out of the way before
    assert not any(path.exists() for path in gone)
    assert gc(project, store).items == ()
    assert not list((store.root / "scratch").iterdir())


def test_an_interruption_leaves_no_half_of_a_run_under_its_name(store, project, monkeypatch):
    gone, newest = add_run(project, "exp", 1), add_run(project, "exp", 2)

    def interrupt(path):
        (path / "verdict.json").unlink()
        raise KeyboardInterrupt

    monkeypatch.setattr("harness.runs.run_folders.delete", interrupt)
    with pytest.raises(KeyboardInterrupt):
        gc(project, store)
    monkeypatch.undo()
    assert not gone.exists()
    left = gone.with_name(".removed-" + gone.name)
    assert (left / "manifest.json").exists()
    result = gc(project, store)
    assert [item.name for item in result.items] == [str(left)]
    assert [path.name for path in (project / "runs" / "exp").iterdir()] == [newest.name]


def test_a_bisection_goes_30_days_after_anything_in_it_was_written(store, project):
    above = project / "runs" / "exp"
    old, resumed = above / "bisect-0123456789ab", above / "bisect-ba9876543210"
    for folder in (old, resumed):
        (folder / "reference").mkdir(parents=True)
        (folder / "question.json").write_text("{}")
        (folder / "reference" / "model.safetensors").write_bytes(b"x" * 5000)
        for path in (*folder.rglob("*"), folder):
            os.utime(path, (NOW - 31 * DAY, NOW - 31 * DAY))
    os.utime(resumed / "question.json", (NOW - 29 * DAY, NOW - 29 * DAY))
    others = [above / "bisect-notes", above / ".removed-notes", above / "bisect-0123456789ab.tar"]
    for path in others[:2]:
        path.mkdir()
    others[2].write_bytes(b"x")
    for path in others:
        os.utime(path, (NOW - 31 * DAY, NOW - 31 * DAY))
    (above / "bisect-aaaaaaaaaaaa").symlink_to(old)
    (item,) = gc(project, store, dry_run=True).items
    assert (item.kind, item.name) == ("bisection", str(old)) and item.size_bytes >= 5000
    assert old.exists()
    assert gc(project, store).items == (item,)
    assert not old.exists() and all(path.exists() for path in (resumed, *others))
    assert gc(project, store, now=NOW + 2 * DAY).items[0].name == str(resumed)


def test_an_interruption_leaves_no_half_of_a_folder_of_the_cache(store, project, monkeypatch):
    tree = next(path for path in rubbish(store) if "venvs" in path.parts)

    def interrupt(path):
        raise KeyboardInterrupt

    monkeypatch.setattr("harness.workflow.gc.delete", interrupt)
    for _ in range(20):
        if not tree.exists():
            break
        with pytest.raises(KeyboardInterrupt):
            gc(project, store)
    monkeypatch.undo()
    assert not tree.exists()
    with store.scratch("next"):
        assert len(list((store.root / "scratch").iterdir())) == 1
