import os
import subprocess

import pytest

from harness.documents.lockfile import digest_of
from harness.errors import UsageError
from harness.inputs.trees import add_tree, link_blob, listing, make_tree, text_digest


@pytest.fixture
def tree(tmp_path):
    tree = tmp_path / "tree"
    (tree / "b").mkdir(parents=True)
    for name, data in {"b/c": b"1", "b-": b"1", "B": b"2", "é \u2028x": b""}.items():
        (tree / name).write_bytes(data)
    return tree


def contents(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def blob(store, data):
    store.blob(digest_of(data)).parent.mkdir(parents=True, exist_ok=True)
    store.blob(digest_of(data)).write_bytes(data)
    return digest_of(data)


def test_a_listing_is_what_sha256sum_prints_in_the_order_of_bytes(tree):
    names = sorted(contents(tree), key=os.fsencode)
    done = subprocess.run(["sha256sum", *names], cwd=tree, capture_output=True, text=True, check=True)
    assert listing(tree) == done.stdout
    assert names == ["B", "b-", "b/c", "é \u2028x"]


def test_a_folder_is_made_again_from_the_blobs_that_it_was_added_as(tree, store, tmp_path):
    before, text = contents(tree), listing(tree)
    add_tree(tree, text, store)
    assert make_tree(text_digest(text), store, tmp_path / "again")
    assert contents(tmp_path / "again") == before
    assert (tmp_path / "again" / "b-").samefile(tmp_path / "again" / "b" / "c")


def test_a_folder_of_which_a_blob_is_missing_or_wrong_is_not_made(tree, store, tmp_path):
    text = listing(tree)
    add_tree(tree, text, store)
    store.blob(digest_of(b"2")).chmod(0o644)
    store.blob(digest_of(b"2")).write_bytes(b"3")
    assert not make_tree(text_digest(text), store, tmp_path / "again")
    assert not store.blob(digest_of(b"2")).exists()
    assert not make_tree("sha256:" + "0" * 64, store, tmp_path / "other")


def test_a_file_that_changed_after_it_was_listed_is_refused(tree, store):
    text = listing(tree)
    (tree / "B").write_bytes(b"3")
    with pytest.raises(UsageError, match="the sha256 is not the one that is pinned"):
        add_tree(tree, text, store)
    assert store.find(text_digest(text)) is None


@pytest.mark.parametrize(
    "text",
    ["", "hello\n", "{0}  ../evil\n", "{0}  /etc/x\n", "{0}  a//b\n", "{0}  a\n{0}  a\n", "{0} *a\n", "{0}  a\\nb\n"],
)
def test_a_blob_that_is_no_listing_makes_no_folder(store, tmp_path, text):
    text = text.format(blob(store, b"data").removeprefix("sha256:"))
    with pytest.raises(UsageError, match=r"not that of a list of files|a path that leaves it"):
        make_tree(blob(store, text.encode()), store, tmp_path / "tree")
    assert not (tmp_path / "evil").exists()


@pytest.mark.parametrize("name", ["a\nb", "a\\b", "a\rb"])
def test_a_name_that_sha256sum_would_escape_is_refused(tree, name):
    (tree / name).write_bytes(b"")
    with pytest.raises(UsageError, match="cannot be the name"):
        listing(tree)


@pytest.mark.parametrize("target", ["B", "b", "/etc/passwd", "nowhere"])
def test_a_link_is_refused_or_counts_by_its_target(tree, target):
    (tree / "link").symlink_to(target)
    with pytest.raises(UsageError, match="not a regular file"):
        listing(tree)
    text = listing(tree, links="count")
    (tree / "link").unlink()
    (tree / "link").symlink_to("else")
    assert listing(tree, links="count") != text


def test_a_pipe_is_refused_and_not_waited_for(tree):
    os.mkfifo(tree / "pipe")
    for links in ("refuse", "count"):
        with pytest.raises(UsageError, match="not a regular file"):
            listing(tree, links=links)


def test_a_blob_is_copied_where_it_can_have_no_second_name(store, tmp_path, monkeypatch):
    blob(store, b"data")

    def refuse(*_):
        raise OSError(31, "Too many links")

    monkeypatch.setattr(os, "link", refuse)
    link_blob(store.blob(digest_of(b"data")), tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == b"data"
    assert (tmp_path / "copy").stat().st_nlink == 1
    assert ((tmp_path / "copy").stat().st_mode & 0o777, (tmp_path / "copy").stat().st_mtime) == (0o444, 0)
