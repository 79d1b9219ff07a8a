"""Lines of commits, what they changed, and files as they were, on a real repository."""

import subprocess

import pytest

from harness.documents.history import FileChange
from harness.errors import UsageError
from harness.history.commits import Use, changed_files, file_at, has_commit, line_between, read_log, seen_by


class Repository:
    def __init__(self, root):
        self.root = root
        root.mkdir()
        self.git("init", "-q", "-b", "main")

    def git(self, *arguments):
        identity = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
        command = ["git", *identity, "-C", str(self.root), *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    def commit(self, subject, **files):
        for name, text in files.items():
            (self.root / name).write_text(text)
        self.git("add", "-A")
        self.git("commit", "-q", "--allow-empty", "-m", subject)
        return self.git("rev-parse", "HEAD")


@pytest.fixture
def repository(tmp_path):
    return Repository(tmp_path / "project")


def test_a_line_is_told_from_the_oldest_to_the_newest(repository):
    hashes = [repository.commit(f"number {number}", file=str(number)) for number in range(4)]
    line = line_between(repository.root, hashes[0], hashes[3])
    assert [one.commit for one in line] == hashes[1:]
    assert [one.subject for one in line] == ["number 1", "number 2", "number 3"]
    assert {one.num_parents for one in line} == {1}


@pytest.fixture
def merged(repository):
    """main: a - b - m, of which m merges side: a - s - t."""
    found = {"a": repository.commit("a", f="a")}
    repository.git("checkout", "-q", "-b", "side")
    found["s"] = repository.commit("s", s="s")
    found["t"] = repository.commit("t", s="t")
    repository.git("checkout", "-q", "main")
    found["b"] = repository.commit("b", f="b")
    repository.git("merge", "-q", "--no-ff", "-m", "m", "side")
    found["m"] = repository.git("rev-parse", "HEAD")
    return found


def test_a_merge_is_one_commit_of_the_line(repository, merged):
    line = line_between(repository.root, merged["a"], merged["m"])
    assert [(one.subject, one.num_parents) for one in line] == [("b", 1), ("m", 2)]
    assert [one.subject for one in line_between(repository.root, merged["s"], merged["t"])] == ["t"]


def test_a_good_commit_of_a_merged_branch_is_refused_with_one_that_can_be_given(repository, merged):
    with pytest.raises(UsageError, match="by a merge") as caught:
        line_between(repository.root, merged["s"], merged["m"])
    assert merged["a"][:12] in caught.value.remedy
    assert line_between(repository.root, merged["a"], merged["m"])


def test_ends_without_a_line_are_told_apart(repository, merged):
    with pytest.raises(UsageError) as caught:
        line_between(repository.root, merged["m"], merged["a"])
    assert "exchange" in caught.value.remedy
    with pytest.raises(UsageError) as caught:
        line_between(repository.root, merged["b"], merged["t"])
    assert "descends from" in caught.value.remedy


def test_changed_files_are_told_with_their_lines(repository):
    one = repository.commit("one", text="a\nb\n", gone="x\n")
    (repository.root / "gone").unlink()
    (repository.root / "data").write_bytes(b"\0\1")
    (repository.root / "tab\tname ä").write_text("x\n")
    two = repository.commit("two", text="a\nc\nd\n")
    assert changed_files(repository.root, one, two) == (
        FileChange(path="data", added=None, removed=None),
        FileChange(path="gone", added=0, removed=1),
        FileChange(path="tab\tname ä", added=1, removed=0),
        FileChange(path="text", added=2, removed=1),
    )
    assert changed_files(repository.root, one, "0" * 40) is None


def test_a_file_is_read_as_it_was_and_within_a_bound(repository):
    one = repository.commit("one", text="old")
    repository.commit("two", text="new")
    assert file_at(repository.root, one, "text", 10) == b"old"
    assert file_at(repository.root, one, "text", 2) is None
    assert file_at(repository.root, one, "other", 10) is None


def test_what_lies_between_is_counted_whichever_way_it_goes(repository):
    hashes = [repository.commit(f"number {number}") for number in range(5)]
    log = read_log(repository.root, hashes[0], hashes[4], 2)
    assert (log.num_commits, log.is_backwards) == (4, False)
    assert [one.partition(" ")[2] for one in log.subjects] == ["number 4", "number 3"]
    back = read_log(repository.root, hashes[4], hashes[0], 2)
    assert (back.num_commits, back.is_backwards) == (0, True)


@pytest.mark.parametrize("name", ["", "HEAD", "--help", "x" * 40, "0" * 40, "a" * 39])
def test_what_a_document_calls_a_commit_is_none_unless_git_has_it(repository, name):
    repository.commit("one")
    assert not has_commit(repository.root, name)


def test_files_that_an_experiment_is_likely_to_use():
    paths = [
        "pipelines/lora/train.py",
        "pipelines/experiments/mine.yaml",
        "pipelines/experiments/other.yaml",
        "pipelines/recorder/x.py",
        "pipelines/README.md",
        "images/cpu/Dockerfile",
        "images/precompile.py",
        "images/cuda/Dockerfile",
        "lockfiles/cpu.lock",
        "lockfiles/cuda.lock",
        "lockfiles/base-x.lock",
        "src/x.c",
        "README.md",
        "setup.py",
    ]
    use = Use(experiments=("mine",), image="cpu", base="base-x", entries=("pipelines/lora/train.py",))
    assert seen_by(paths, use) == {
        "pipelines/lora/train.py",
        "pipelines/experiments/mine.yaml",
        "images/cpu/Dockerfile",
        "images/precompile.py",
        "lockfiles/cpu.lock",
        "lockfiles/base-x.lock",
        "setup.py",
    }
