"""Git: commits, dirty trees, shallow clones and exports, on real repositories."""

import os
import subprocess
import tarfile

import pytest

from harness.errors import HostError, UsageError
from harness.system.git import Exported, find_commit, read_checkout


def git(root, *arguments):
    subprocess.run(
        ["git", "-c", "user.name=t", "-c", "user.email=t@example.org", "-C", str(root), *arguments],
        check=True,
        capture_output=True,
    )


@pytest.fixture
def repository(tmp_path):
    root = tmp_path / "project"
    root.mkdir()
    git(root, "init", "-q")
    (root / "train.py").write_text("print(1)\n")
    (root / ".gitignore").write_text("notes.txt\n")
    git(root, "add", ".")
    git(root, "commit", "-qm", "first")
    return root


def test_a_clean_tree_names_its_commit(repository):
    checkout = read_checkout(repository)
    assert len(checkout.commit) == 40
    assert not checkout.is_dirty


@pytest.mark.parametrize("change", ["edit", "new"])
def test_an_edited_or_new_file_makes_it_dirty(repository, change):
    (repository / ("train.py" if change == "edit" else "other.py")).write_text("print(2)\n")
    checkout = read_checkout(repository)
    assert checkout.changed == ("train.py",) if change == "edit" else ("other.py",)


def test_ignored_files_and_results_do_not_make_it_dirty(repository, tmp_path):
    (repository / "notes.txt").write_text("")
    (repository / "runs" / "tiny").mkdir(parents=True)
    (repository / "runs" / "tiny" / "verdict.json").write_text("")
    assert not read_checkout(repository).is_dirty
    (repository / "train.py").write_text("print(2)\n")
    read_checkout(repository).export(tmp_path / "dirty")
    assert not (tmp_path / "dirty" / "runs").exists()


def test_a_committed_file_of_a_folder_called_runs_is_code(repository, tmp_path):
    (repository / "runs").mkdir()
    (repository / "runs" / "train.py").write_text("print(1)\n")
    git(repository, "add", ".")
    git(repository, "commit", "-qm", "second")
    (repository / "runs" / "train.py").write_text("print(2)\n")
    assert read_checkout(repository).changed == ("runs/train.py",)
    read_checkout(repository).export(tmp_path / "dirty")
    assert (tmp_path / "dirty" / "runs" / "train.py").read_text() == "print(2)\n"


def test_a_renamed_file_is_named_whole(repository):
    git(repository, "mv", "train.py", "finetune.py")
    assert read_checkout(repository).changed == ("finetune.py", "train.py")


def test_a_clean_tree_exports_the_commit_and_a_dirty_one_the_working_tree(repository, tmp_path):
    read_checkout(repository).export(tmp_path / "clean")
    assert (tmp_path / "clean" / "train.py").read_text() == "print(1)\n"
    (repository / "train.py").write_text("print(2)\n")
    read_checkout(repository).export(tmp_path / "dirty")
    assert (tmp_path / "dirty" / "train.py").read_text() == "print(2)\n"
    assert not list(tmp_path.glob("*.tar"))


def test_no_repository_is_a_clear_error(tmp_path):
    with pytest.raises(UsageError, match="git init"):
        read_checkout(tmp_path)


def test_a_repository_without_a_commit_is_a_clear_error(tmp_path):
    git(tmp_path, "init", "-q")
    with pytest.raises(UsageError, match="no commit yet"):
        read_checkout(tmp_path)


def test_a_shallow_clone_is_refused_with_its_remedy(repository, tmp_path):
    (repository / "train.py").write_text("print(3)\n")
    git(repository, "commit", "-qam", "second")
    git(tmp_path, "clone", "-q", "--depth", "1", f"file://{repository}", "shallow")
    with pytest.raises(UsageError, match="--unshallow"):
        read_checkout(tmp_path / "shallow")


def test_without_a_git_command_the_error_says_so(repository, monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(HostError, match="no `git` command"):
        read_checkout(repository)


def commit_of(root, name="HEAD"):
    done = subprocess.run(["git", "-C", str(root), "rev-parse", name], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_any_commit_of_the_history_is_exported_whatever_is_checked_out(repository, tmp_path):
    first = commit_of(repository)
    (repository / "train.py").write_text("print(2)\n")
    git(repository, "commit", "-qam", "second")
    (repository / "train.py").write_text("print(3)\n")
    for name in (first, first[:7], "HEAD~1"):
        found = find_commit(repository, name)
        assert (found.commit, found.is_dirty) == (first, False)
    found.export(tmp_path / "old")
    assert (tmp_path / "old" / "train.py").read_text() == "print(1)\n"
    assert (repository / "train.py").read_text() == "print(3)\n"


@pytest.mark.parametrize("name", ["0" * 40, "deadbeef", "no-branch", "--all", "", "HEAD:train.py"])
def test_what_is_no_commit_of_the_repository_is_a_clear_error(repository, name):
    with pytest.raises(UsageError, match=r"no commit|names no commit"):
        find_commit(repository, name)


def test_a_commit_that_a_shallow_clone_lacks_is_told_with_how_to_get_it(repository, tmp_path):
    first = commit_of(repository)
    (repository / "train.py").write_text("print(2)\n")
    git(repository, "commit", "-qam", "second")
    git(tmp_path, "clone", "-q", "--depth=1", repository.as_uri(), str(tmp_path / "shallow"))
    with pytest.raises(UsageError) as caught:
        find_commit(tmp_path / "shallow", first)
    assert "--unshallow" in caught.value.remedy


def test_names_that_are_no_utf8_are_exported_as_they_are(repository, tmp_path):
    name = b"caf\xe9.txt"
    (repository / os.fsdecode(name)).write_text("x")
    checkout = read_checkout(repository)
    assert [os.fsencode(path) for path in checkout.changed] == [name]
    checkout.export(tmp_path / "dirty")
    assert name in os.listdir(os.fsencode(tmp_path / "dirty"))


def test_a_link_out_of_the_tree_is_a_clear_error(repository, tmp_path):
    (repository / "link").symlink_to("/etc/hostname")
    git(repository, "add", ".")
    git(repository, "commit", "-qm", "link")
    with pytest.raises(UsageError, match="its link link leads to /etc/hostname"):
        read_checkout(repository).export(tmp_path / "code")
    assert not list(tmp_path.glob("*.tar"))


def test_a_commit_is_exported_by_a_python_that_has_no_filters(repository, tmp_path, monkeypatch):
    monkeypatch.delattr(tarfile, "data_filter")
    monkeypatch.delattr(tarfile, "FilterError")
    read_checkout(repository).export(tmp_path / "code")
    assert list((tmp_path / "code").iterdir())


def test_a_commit_is_not_asked_of_a_folder_that_is_no_repository(tmp_path):
    with pytest.raises(UsageError, match=r"not a git repository.*nothing is known of commit abcd1234"):
        find_commit(tmp_path, "abcd1234")


def test_code_that_was_exported_already_is_copied_once(repository, tmp_path):
    folder = tmp_path / "code"
    read_checkout(repository).export(folder)
    source = Exported(folder=folder, commit="a" * 40)
    source.export(folder)
    source.export(tmp_path / "copy")
    assert (tmp_path / "copy" / "train.py").read_text() == "print(1)\n"
