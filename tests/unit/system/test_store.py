import errno
import multiprocessing
import os
import time

import pytest

from harness.documents.lockfile import digest_of
from harness.errors import EvidenceError, HostError, UsageError
from harness.system import store as store_module
from harness.system.store import Store, disk_errors, file_digest, open_store, write_atomically, write_json


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path)


def test_a_verified_file_lies_under_its_digest(store):
    with store.scratch("x") as folder:
        (folder / "file").write_bytes(b"data")
        path = store.add(folder / "file", digest_of(b"data"), "it")
    assert path == store.blob(digest_of(b"data"))
    assert path.read_bytes() == b"data"
    assert file_digest(path) == digest_of(b"data")


def test_a_file_with_another_digest_is_refused_and_both_are_told(store, tmp_path):
    (tmp_path / "file").write_bytes(b"other")
    with pytest.raises(UsageError) as caught:
        store.add(tmp_path / "file", digest_of(b"data"), "model")
    assert digest_of(b"data") in str(caught.value)
    assert digest_of(b"other") in str(caught.value)
    assert "model" in str(caught.value)
    assert not store.blob(digest_of(b"data")).exists()
    assert not store.blob(digest_of(b"other")).exists()


def test_scratch_is_removed_even_after_a_failure(store):
    with pytest.raises(KeyboardInterrupt), store.scratch("x") as folder:
        (folder / "deep").mkdir()
        raise KeyboardInterrupt
    assert not folder.exists()


def _die_in_scratch(root, queue):
    with Store(root).scratch("x") as folder:
        queue.put(str(folder))
        queue.close()
        queue.join_thread()
        os._exit(1)


def test_what_a_killed_process_left_is_removed_and_what_a_living_one_uses_is_not(store, tmp_path):
    queue = multiprocessing.get_context("fork").Queue()
    process = multiprocessing.get_context("fork").Process(target=_die_in_scratch, args=(tmp_path, queue))
    process.start()
    left = queue.get(timeout=30)
    process.join(30)
    assert os.path.isdir(left)
    with store.scratch("one") as one, store.scratch("other"):
        assert not os.path.exists(left)
        assert one.exists()


def test_a_record_is_read_back_and_a_torn_one_counts_as_absent(store):
    path = store.write_record("images", digest_of(b""), {"b": 1, "a": [2]})
    assert store.read_record("images", digest_of(b"")) == {"a": [2], "b": 1}
    path.write_text(path.read_text()[:-4])
    assert store.read_record("images", digest_of(b"")) is None
    path.write_text("[]")
    assert store.read_record("images", digest_of(b"")) is None
    assert store.read_record("images", "other") is None


def test_writing_atomically_leaves_nothing_beside_the_file(tmp_path):
    write_atomically(tmp_path / "x", "one")
    write_atomically(tmp_path / "x", "two")
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("x", "two")]


def _append_while_locked(root, number):
    store = Store(root)
    with store.locked("x"):
        lines = (root / "log").read_text() if (root / "log").exists() else ""
        time.sleep(0.05)
        (root / "log").write_text(lines + f"{number}\n")


def test_a_document_that_nobody_would_read_is_not_written(tmp_path, monkeypatch):
    monkeypatch.setattr(store_module, "MAX_BYTES", 100)
    with pytest.raises(EvidenceError, match=r"manifest.json would have \d+ bytes, and at most 100 "):
        write_json(tmp_path / "manifest.json", {"files": ["x" * 100]})
    assert list(tmp_path.iterdir()) == []


def test_one_process_at_a_time_holds_a_lock(tmp_path):
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=_append_while_locked, args=(tmp_path, number)) for number in range(6)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(30)
    assert sorted((tmp_path / "log").read_text().split()) == list("012345")


def test_who_has_to_wait_is_told(store):
    told = []
    context = multiprocessing.get_context("fork")
    with store.locked("x", lambda: told.append("held by nobody")):
        process = context.Process(target=_wait_and_tell, args=(store.root,))
        process.start()
        deadline = time.monotonic() + 30
        while not (store.root / "told").exists() and time.monotonic() < deadline:
            time.sleep(0.02)
        assert (store.root / "told").exists()
    process.join(30)
    assert process.exitcode == 0
    assert told == []


def _wait_and_tell(root):
    with Store(root).locked("x", (root / "told").touch):
        pass


def test_the_cache_is_where_the_environment_says(tmp_path):
    assert open_store(None, {"HARNESS_CACHE": str(tmp_path / "a"), "HOME": "/nowhere"}).root == tmp_path / "a"
    assert open_store(None, {"HOME": str(tmp_path)}).root == tmp_path / ".cache" / "repro-harness"
    assert open_store(None, {"XDG_CACHE_HOME": str(tmp_path)}).root == tmp_path / "repro-harness"
    assert open_store(tmp_path / "b", {"HARNESS_CACHE": "/nowhere"}).root == tmp_path / "b"


def test_a_cache_that_cannot_be_made_is_an_error_of_the_environment(tmp_path):
    (tmp_path / "file").touch()
    store = open_store(tmp_path / "file" / "cache", {})
    assert store.find("sha256:" + "0" * 64) is None and store.read_record("reviews", "x") is None
    with pytest.raises(HostError, match="cannot be made"):
        store.write_record("reviews", "x", {})


def test_a_full_disk_is_an_error_of_the_environment_with_a_remedy():
    with pytest.raises(HostError, match="fetching: No space left") as caught, disk_errors("fetching"):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/some/file")
    assert "HARNESS_CACHE" in caught.value.remedy
    assert "/some/file" in caught.value.problem


def test_errors_that_only_derive_from_an_os_error_pass_unchanged():
    class FromALibrary(OSError):
        pass

    with pytest.raises(FromALibrary), disk_errors("x"):
        raise FromALibrary("a library's own")


def archive_with(folder, digest, data):
    path = Store(folder).blob(digest)
    path.parent.mkdir(parents=True)
    path.write_bytes(data)
    return path


def test_a_wrong_blob_in_an_archive_is_told_once_and_the_next_archive_is_asked(tmp_path):
    digest, told = digest_of(b"data"), []
    wrong = archive_with(tmp_path / "a", digest, b"dat4")
    right = archive_with(tmp_path / "b", digest, b"data")
    environment = {"HARNESS_CACHE": str(tmp_path / "cache")}
    alone = open_store(None, {**environment, "HARNESS_ARCHIVE": str(tmp_path / "a")}, told.append)
    assert alone.find(digest) is None and alone.find(digest) is None
    assert told == [f"{wrong} is skipped: its sha256 is not its name"]
    both = open_store(None, {**environment, "HARNESS_ARCHIVE": f"{tmp_path / 'a'}:{tmp_path / 'b'}"}, told.append)
    found = both.find(digest)
    assert found == both.blob(digest) and found.read_bytes() == b"data"
    assert (wrong.read_bytes(), right.read_bytes()) == (b"dat4", b"data"), "an archive is only read"
    assert list((both.root / "scratch").iterdir()) == []
