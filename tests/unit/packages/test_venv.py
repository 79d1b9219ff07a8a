import shutil
import subprocess

import pytest

from harness.documents.lockfile import Pin, Wheel, digest_of, render_pins, render_wheels
from harness.errors import UsageError
from harness.packages.venv import host_venv
from tests.made import package_index


@pytest.fixture
def lock(tmp_path, store):
    """A lock whose one wheel is in the store."""
    name, data = package_index.release("tiny_thing", "1.0", content=b"value = 7\n")
    digest = digest_of(data)
    store.blob(digest).parent.mkdir(parents=True)
    store.blob(digest).write_bytes(data)
    wheel = Wheel(filename=name, size_bytes=len(data), sha256=digest)
    path = tmp_path / "x.lock"
    pins = (Pin(name="tiny-thing", version="1.0", hashes=(digest,)),)
    path.write_text(render_pins(pins) + render_wheels({"tiny-thing": wheel}))
    return path


def silent(_):
    pass


def test_the_hosts_environment_holds_what_the_lock_pins_and_is_made_once(lock, store):
    python = host_venv(lock, store, silent)
    command = [str(python), "-c", "import tiny_thing, sys; print(tiny_thing.value, sys.prefix)"]
    out = subprocess.run(command, check=True, capture_output=True, text=True, env={}).stdout
    assert out.split() == ["7", str(python.parents[1])]
    shutil.rmtree(store.root / "sha256")
    assert host_venv(lock, store, silent) == python


def test_what_the_users_pythonpath_has_is_installed_all_the_same(lock, store, tmp_path, monkeypatch):
    (tmp_path / "tiny_thing-1.0.dist-info").mkdir()
    (tmp_path / "tiny_thing-1.0.dist-info" / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: tiny-thing\nVersion: 1.0\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    subprocess.run([str(host_venv(lock, store, silent)), "-c", "import tiny_thing"], check=True, env={})


def test_an_environment_that_was_broken_off_is_made_again(lock, store):
    python = host_venv(lock, store, silent)
    (python.parents[1] / "complete").unlink()
    next(python.parents[1].glob("lib/*/site-packages/tiny_thing.py")).unlink()
    host_venv(lock, store, silent)
    subprocess.run([str(python), "-c", "import tiny_thing"], check=True, env={})


def test_a_lock_that_cannot_be_read_is_named(store, tmp_path):
    with pytest.raises(UsageError, match=r"there is no file .*gone\.lock"):
        host_venv(tmp_path / "gone.lock", store, silent)
