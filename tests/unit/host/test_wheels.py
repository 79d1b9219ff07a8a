import shutil
import subprocess

import pytest
from made_archives import wheel

from harness.core.lockfile import Pin, digest_of, parse_lock, render_pins
from harness.errors import EnvironmentError_, UsageError
from harness.host.store import Store
from harness.host.wheels import check_wheels, fetch_wheels, have_wheels, host_venv

NAME = "tiny_thing-1.0-py3-none-any.whl"


def tiny(text=b"value = 7\n"):
    info = "tiny_thing-1.0.dist-info"
    return wheel(
        ("tiny_thing.py", text),
        (f"{info}/METADATA", b"Metadata-Version: 2.1\nName: tiny-thing\nVersion: 1.0\n"),
        (f"{info}/WHEEL", b"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"),
        (f"{info}/RECORD", f"tiny_thing.py,,\n{info}/METADATA,,\n{info}/WHEEL,,\n{info}/RECORD,,\n".encode()),
    )


@pytest.fixture
def index(tmp_path, monkeypatch):
    """A folder that is all that pip knows: nothing is asked of a network."""
    (tmp_path / "index").mkdir()
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "index"))
    return tmp_path / "index"


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "cache")


def lock_of(data):
    pin = Pin(name="tiny-thing", version="1.0", hashes=(digest_of(data),))
    return parse_lock(render_pins((pin,)), "x.lock")


def silent(_):
    pass


def test_a_lock_is_fetched_once_and_kept(index, store):
    (index / NAME).write_bytes(tiny())
    lock = lock_of(tiny())
    assert not have_wheels(lock, store)
    (found,) = fetch_wheels(lock, store, silent)
    assert found.read_bytes() == tiny()
    (index / NAME).unlink()
    assert fetch_wheels(lock, store, silent) == (found,)
    assert have_wheels(lock, store)


def test_what_is_kept_does_not_depend_on_a_locks_comments(index, store):
    (index / NAME).write_bytes(tiny())
    fetch_wheels(lock_of(tiny()), store, silent)
    assert have_wheels(parse_lock("# other\n" + render_pins(lock_of(tiny()).pins), "x.lock"), store)


def test_a_wheel_with_another_hash_is_not_fetched(index, store):
    (index / NAME).write_bytes(tiny(b"value = 8\n"))
    with pytest.raises(EnvironmentError_, match="HASHES"):
        fetch_wheels(lock_of(tiny()), store, silent)
    assert not have_wheels(lock_of(tiny()), store)


def test_a_wheel_that_changed_in_the_cache_is_found(index, store):
    (index / NAME).write_bytes(tiny())
    (found,) = fetch_wheels(lock_of(tiny()), store, silent)
    found.write_bytes(tiny(b"value = 8\n"))
    with pytest.raises(UsageError, match="hash is not in the lock"):
        fetch_wheels(lock_of(tiny()), store, silent)


def test_a_wheel_that_nobody_has_is_an_error_of_the_environment(index, store):
    with pytest.raises(EnvironmentError_, match="tiny-thing"):
        fetch_wheels(lock_of(tiny()), store, silent)


def test_a_local_build_that_pip_does_not_find_is_looked_for_in_the_index_of_its_label(index, store):
    pin = Pin(name="tiny-thing", version="1.0+cpu", hashes=(digest_of(b""),))
    told = []
    with pytest.raises(EnvironmentError_):
        fetch_wheels(parse_lock(render_pins((pin,)), "x.lock"), store, told.append)
    assert told == ["fetching tiny-thing", "fetching tiny-thing from https://download.pytorch.org/whl/cpu"]


def test_an_empty_lock_needs_no_wheels(index, store):
    assert fetch_wheels(parse_lock("", "x.lock"), store, silent) == ()


def test_a_fetch_that_was_broken_off_is_done_again(index, store):
    (index / NAME).write_bytes(tiny())
    (found,) = fetch_wheels(lock_of(tiny()), store, silent)
    (found.parent / "complete").unlink()
    found.write_bytes(b"half")
    assert fetch_wheels(lock_of(tiny()), store, silent)[0].read_bytes() == tiny()


@pytest.mark.parametrize(
    ("names", "says"),
    [
        ([], "no wheel for tiny-thing"),
        ([NAME, "other-1.0-py3-none-any.whl"], "other-1.0-py3-none-any.whl is not in the lock"),
        (["tiny_thing-2.0-py3-none-any.whl"], "2.0-py3-none-any.whl is not in the lock"),
        ([NAME, "tiny_thing-1.0-cp311-cp311-linux_x86_64.whl"], "is not in the lock"),
        (["nonsense.whl"], "not the name of a wheel"),
    ],
)
def test_wheels_that_are_not_those_of_the_lock_are_named(tmp_path, names, says):
    for name in names:
        (tmp_path / name).write_bytes(tiny())
    with pytest.raises(UsageError, match=says):
        check_wheels(lock_of(tiny()).pins, tmp_path)


def test_the_hosts_environment_holds_what_the_lock_pins_and_is_made_once(index, store, tmp_path):
    (index / NAME).write_bytes(tiny())
    (tmp_path / "x.lock").write_text(render_pins(lock_of(tiny()).pins))
    python = host_venv(tmp_path / "x.lock", store, silent)
    command = [str(python), "-c", "import tiny_thing, sys; print(tiny_thing.value, sys.prefix)"]
    out = subprocess.run(command, check=True, capture_output=True, text=True, env={}).stdout
    assert out.split() == ["7", str(python.parents[1])]
    shutil.rmtree(store.root / "wheels")
    assert host_venv(tmp_path / "x.lock", store, silent) == python


def test_an_environment_that_was_broken_off_is_made_again(index, store, tmp_path):
    (index / NAME).write_bytes(tiny())
    (tmp_path / "x.lock").write_text(render_pins(lock_of(tiny()).pins))
    python = host_venv(tmp_path / "x.lock", store, silent)
    (python.parents[1] / "complete").unlink()
    next(python.parents[1].glob("lib/*/site-packages/tiny_thing.py")).unlink()
    host_venv(tmp_path / "x.lock", store, silent)
    subprocess.run([str(python), "-c", "import tiny_thing"], check=True, env={})


def test_a_lock_that_cannot_be_read_is_named(store, tmp_path):
    with pytest.raises(UsageError, match=r"gone\.lock cannot be read"):
        host_venv(tmp_path / "gone.lock", store, silent)
