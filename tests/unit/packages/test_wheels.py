import pytest

from harness.documents.lockfile import Pin, Wheel, digest_of, parse_lock, render_pins, render_wheels
from harness.errors import HostError, UsageError
from harness.packages.wheels import absent_wheels, fetch_wheel, fetch_wheels, link_wheels
from harness.system.store import Store
from tests.made import package_index

NAME = "tiny_thing-1.0-py3-none-any.whl"


@pytest.fixture
def index(tmp_path, monkeypatch):
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_FIND_LINKS", "")
    with package_index.serving() as index:
        monkeypatch.setenv("PIP_INDEX_URL", f"{index.url}/simple")
        yield index


def lock_of(*datas, name="tiny-thing", version="1.0"):
    hashes = tuple(sorted(digest_of(data) for data in datas))
    wheel = Wheel(filename=NAME, size_bytes=len(datas[0]), sha256=digest_of(datas[0]))
    text = render_pins((Pin(name=name, version=version, hashes=hashes),)) + render_wheels({name: wheel})
    return parse_lock(text, "x.lock")


def silent(_):
    pass


def test_a_wheel_is_fetched_once_and_kept_by_its_digest(index, store):
    data = index.add("tiny_thing", "1.0")
    lock = lock_of(data)
    assert absent_wheels(lock, store) == lock.wheels
    (found,) = fetch_wheels(lock, store, silent)
    assert (found, found.read_bytes()) == (store.blob(digest_of(data)), data)
    index.files.clear()
    assert fetch_wheels(lock, store, silent) == (found,)
    assert absent_wheels(lock, store) == ()


def test_only_the_wheel_that_the_lock_names_is_taken_whatever_other_hashes_it_allows(index, store):
    offered = index.add("tiny_thing", "1.0", content=b"other = True\n")
    with pytest.raises(UsageError, match="not the one that is locked"):
        fetch_wheels(lock_of(b"the one that is named", offered), store, silent)


def test_a_wheel_with_another_hash_is_refused_and_not_kept(index, store):
    index.add("tiny_thing", "1.0", content=b"value = 8\n")
    lock = lock_of(package_index.release("tiny_thing", "1.0")[1])
    with pytest.raises(UsageError, match="not the one that is locked"):
        fetch_wheels(lock, store, silent)
    assert absent_wheels(lock, store) == lock.wheels
    assert list((store.root / "scratch").iterdir()) == []


def test_a_wheel_that_changed_in_the_cache_is_fetched_again(index, store):
    data = index.add("tiny_thing", "1.0")
    (found,) = fetch_wheels(lock_of(data), store, silent)
    found.write_bytes(b"half")
    assert fetch_wheels(lock_of(data), store, silent)[0].read_bytes() == data


def test_a_wheel_that_is_gone_is_named_with_what_to_do(index, store):
    with pytest.raises(HostError, match=r"no source has a wheel of tiny-thing===1\.0") as caught:
        fetch_wheels(lock_of(b"x"), store, silent)
    assert "HARNESS_ARCHIVE" in caught.value.remedy


def test_a_wheel_that_is_gone_is_taken_from_an_archive(index, tmp_path):
    data = package_index.release("tiny_thing", "1.0")[1]
    archive = Store(tmp_path / "archive")
    archive.blob(digest_of(data)).parent.mkdir(parents=True)
    archive.blob(digest_of(data)).write_bytes(data)
    store = Store(tmp_path / "cache", (archive.root,))
    (found,) = fetch_wheels(lock_of(data), store, silent)
    assert found == store.blob(digest_of(data)) and found.read_bytes() == data
    assert not index.asked


def test_an_archive_that_holds_something_else_is_named_and_the_index_asked(index, tmp_path):
    data, told = index.add("tiny_thing", "1.0"), []
    archive = Store(tmp_path / "archive")
    archive.blob(digest_of(data)).parent.mkdir(parents=True)
    archive.blob(digest_of(data)).write_bytes(b"y")
    store = Store(tmp_path / "cache", (archive.root,), tell=told.append)
    (wheel,) = fetch_wheels(lock_of(data), store, silent)
    assert wheel.read_bytes() == data
    assert told == [f"{archive.blob(digest_of(data))} is skipped: its sha256 is not its name"]


def test_a_yanked_wheel_that_is_locked_is_fetched_with_a_warning(index, store):
    data = index.add("tiny_thing", "1.0", yanked="it eats gradients")
    told = []
    fetch_wheels(lock_of(data), store, told.append)
    assert "warning: tiny-thing 1.0 is yanked: it eats gradients" in told


def test_a_local_build_that_pip_does_not_find_is_looked_for_in_the_index_of_its_label(index, store, monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setenv("PIP_RETRIES", "0")
    with pytest.raises(HostError, match=r"tiny-thing"):
        fetch_wheels(lock_of(b"x", version="1.0+cpu"), store, silent)
    assert "/simple/tiny-thing/" in index.asked


def test_a_lock_that_names_no_wheels_is_refused_with_the_command_that_writes_them(store):
    lock = parse_lock(f"tiny-thing==1.0 --hash={digest_of(b'')}", "x.lock")
    with pytest.raises(UsageError, match="does not name a wheel of tiny-thing") as caught:
        fetch_wheels(lock, store, silent)
    assert "harness lock" in caught.value.remedy


def test_an_empty_lock_needs_no_wheels(store):
    assert fetch_wheels(parse_lock("", "x.lock"), store, silent) == ()


def test_large_wheels_are_fetched_one_by_one_so_that_none_is_lost_with_another(index, store, monkeypatch):
    monkeypatch.setattr("harness.packages.wheels._LARGE_BYTES", 10)
    data = {name: index.add(name, "1.0") for name in ("aa", "bb")}
    index.files["bb-1.0-py3-none-any.whl"][0] = b"torn"
    wheels = {
        name: Wheel(filename=f"{name}-1.0-py3-none-any.whl", size_bytes=len(data[name]), sha256=digest_of(data[name]))
        for name in data
    }
    pins = tuple(Pin(name=name, version="1.0", hashes=(wheels[name].sha256,)) for name in data)
    lock = parse_lock(render_pins(pins) + render_wheels(wheels), "x.lock")
    with pytest.raises(UsageError):
        fetch_wheels(lock, store, silent)
    assert [wheel.filename for wheel in absent_wheels(lock, store)] == ["bb-1.0-py3-none-any.whl"]


def test_a_single_wheel_is_downloaded_even_with_another_digest_so_that_both_can_be_named(index, tmp_path):
    data = index.add("tiny_thing", "1.0")
    (tmp_path / "one").mkdir()
    assert fetch_wheel("tiny-thing", "1.0", "sha256:" + "0" * 64, tmp_path / "one").read_bytes() == data


def test_wheels_are_laid_out_under_their_own_names(index, store, tmp_path):
    data = index.add("tiny_thing", "1.0")
    fetch_wheels(lock_of(data), store, silent)
    (tmp_path / "names").mkdir()
    link_wheels(lock_of(data), store, tmp_path / "names")
    assert {path.name: path.read_bytes() for path in (tmp_path / "names").iterdir()} == {NAME: data}
