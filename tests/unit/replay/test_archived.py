"""Which record a name means, and what its code is."""

import json
import subprocess
from types import SimpleNamespace

import pytest

from harness.errors import TamperedError, UsageError
from harness.replay.archived import BUNDLE, changed_files, check_code, keep_copy, locate
from harness.system.files import FolderFiles
from harness.system.git import Exported
from harness.system.store import tree_digest

ONE, TWO = "a" * 40, "abc" + "0" * 37


def add(root, folder, experiment, run, commit=ONE, verdict="CERTIFIED", signed=False, kind="certify", **manifest):
    """A record as far as finding it goes."""
    path = root / folder / experiment / run
    path.mkdir(parents=True)
    document = {"commit": commit, "name": experiment, "dirty": False, "scope": None, **manifest}
    (path / "manifest.json").write_text(json.dumps(document))
    (path / "verdict.json").write_text(json.dumps({"verdict": verdict, "kind": kind}))
    (path / (BUNDLE if signed else "certificate.json")).write_text("{}")
    return path


def found(root, name=ONE, experiment=None):
    return locate(root, name, experiment)


def test_the_record_of_a_commit_is_found_by_its_first_digits(tmp_path):
    path = add(tmp_path, "runs", "tiny", "r1")
    place = found(tmp_path, "aaaa")
    assert (place.path, place.shown, place.is_by_commit) == (path, "runs/tiny/r1", True)


def test_signed_and_certified_comes_first_then_certified_then_whole_then_the_newest(tmp_path):
    ordered = [
        add(tmp_path, "runs", "tiny", "r9", verdict="DIVERGED"),
        add(tmp_path, "runs", "tiny", "r7", overrides=["config.lr=0.1"]),
        add(tmp_path, "runs", "tiny", "r8", scope={"steps": 3, "of": 9}),
        add(tmp_path, "runs", "tiny", "r1"),
        add(tmp_path, "runs", "tiny", "r2"),
        add(tmp_path, "manifests", "tiny", "r0", signed=True),
        add(tmp_path, "manifests", "tiny", "r3", signed=True),
    ]
    for place in range(len(ordered) - 1, -1, -1):
        assert found(tmp_path).path == ordered[place]
        (ordered[place] / "manifest.json").unlink()


def test_of_the_same_run_its_own_folder_has_more_than_what_was_published(tmp_path):
    add(tmp_path, "manifests", "tiny", "r1", signed=True)
    own = add(tmp_path, "runs", "tiny", "r1", signed=True)
    assert found(tmp_path).path == own


def test_replays_uncommitted_code_and_certifies_that_did_not_end_are_no_records(tmp_path):
    add(tmp_path, "runs", "tiny", "r1", kind="replay")
    add(tmp_path, "runs", "tiny", "r2", dirty=True)
    (add(tmp_path, "runs", "tiny", "r3") / "certificate.json").unlink()
    (add(tmp_path, "runs", "tiny", "r4") / "manifest.json").write_text("{")
    add(tmp_path, "runs", "tiny", "r5", commit=3)
    (tmp_path / "runs" / "tiny" / "latest").symlink_to("r1")
    with pytest.raises(UsageError, match="neither manifests/ nor runs/ has a record"):
        found(tmp_path)


def test_several_experiments_or_commits_have_to_be_told_apart(tmp_path):
    tiny = add(tmp_path, "runs", "tiny", "r1")
    add(tmp_path, "runs", "plain", "r2")
    with pytest.raises(UsageError, match="several experiments: plain, tiny") as caught:
        found(tmp_path)
    assert "EXP=plain" in caught.value.remedy
    assert found(tmp_path, experiment="tiny").path == tiny
    with pytest.raises(UsageError, match="has a record of other at commit") as caught:
        found(tmp_path, experiment="other")
    assert "plain, tiny" in caught.value.remedy
    add(tmp_path, "runs", "tiny", "r3", commit="aaaa" + "b" * 36)
    with pytest.raises(UsageError, match="2 commits with records begin with aaaa"):
        found(tmp_path, "aaaa")


def test_a_path_is_taken_as_it_is_and_a_hash_never_is_one(tmp_path, monkeypatch):
    path = add(tmp_path, "runs", "tiny", "abcd")
    assert not found(tmp_path, str(path)).is_by_commit
    monkeypatch.chdir(path.parent)
    add(tmp_path, "runs", "plain", "r1", commit=TWO)
    (path.parent / "abc0").mkdir()
    assert found(tmp_path, "abc0").path.name == "r1"


@pytest.mark.parametrize("name", ["x.oci.tar", "runs/tiny/", "a b", "\n", "x" * 300])
def test_what_is_neither_a_path_nor_a_commit_is_a_clear_error(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match="no file, folder or commit called"):
        found(tmp_path, name)


class Record:
    """As much of an open record as holding code against it takes."""

    def __init__(self, folder):
        self.code = tree_digest(folder)
        self.recorded = SimpleNamespace(record=SimpleNamespace(commit=ONE))
        self.location = type("RecordLocation", (), {"shown": "x"})
        self.files = FolderFiles(folder)


def test_a_commit_may_be_named_as_git_names_it(tmp_path):
    git = ["git", "-c", "user.name=t", "-c", "user.email=t@example.org", "-C", str(tmp_path)]
    subprocess.run([*git, "init", "-q"], check=True)
    for message in ("first", "second"):
        subprocess.run([*git, "commit", "-q", "--allow-empty", "-m", message], check=True)
    subprocess.run([*git, "branch", "feed", "HEAD~1"], check=True)
    done = subprocess.run([*git, "rev-parse", "HEAD~1"], check=True, capture_output=True, text=True)
    path = add(tmp_path, "runs", "tiny", "r1", commit=done.stdout.strip())
    for name in ("HEAD~1", "HEAD^", "@~1", "HEAD@{1}", "feed", done.stdout[:7].upper(), done.stdout[:7]):
        assert found(tmp_path, name).path == path
    with pytest.raises(UsageError, match="neither manifests/ nor runs/ has a record of commit"):
        found(tmp_path, "HEAD")


def test_code_that_is_not_the_records_is_refused(tmp_path):
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "train.py").write_text("1")
    record = Record(tmp_path / "one")
    check_code(record, tmp_path / "one")
    Exported(folder=tmp_path / "one", commit=ONE).export(tmp_path / "two")
    check_code(record, tmp_path / "two")
    (tmp_path / "two" / "train.py").write_text("2")
    with pytest.raises(TamperedError, match="are not those recorded in x"):
        check_code(record, tmp_path / "two")


def test_changed_files_are_told_those_that_train_first(tmp_path):
    for side, text in (("one", "1"), ("two", "2")):
        for name in ("docs/a.md", "pipelines/train.py", "lockfiles/cpu.lock", "same.txt"):
            (tmp_path / side / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / side / name).write_text("same" if name == "same.txt" else text)
    (tmp_path / "two" / "new.py").write_text("")
    assert changed_files(tmp_path / "one", tmp_path / "two") == (
        "lockfiles/cpu.lock",
        "pipelines/train.py",
        "docs/a.md",
        "new.py",
    )


def test_a_copy_of_the_record_has_what_a_published_one_has(tmp_path):
    run = add(tmp_path, "runs", "tiny", "r1", signed=True)
    (run / "straight" / "runs" / "1").mkdir(parents=True)
    (run / "straight" / "runs" / "1" / "ledger.jsonl").write_text("ledger")
    (run / "straight" / "runs" / "1" / "tensors.jsonl").write_text("many")
    record = Record(run)
    keep_copy(record, tmp_path / "copy")
    done = subprocess.run(
        ["find", ".", "-type", "f"], cwd=tmp_path / "copy", capture_output=True, text=True, check=True
    )
    assert sorted(done.stdout.split()) == [
        f"./{BUNDLE}",
        "./manifest.json",
        "./straight/runs/1/ledger.jsonl",
        "./verdict.json",
    ]
