import contextlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from harness.documents.lockfile import Pin, Wheel, digest_of, render_pins, render_wheels
from harness.documents.platform import SERIES, Target
from harness.errors import UsageError
from harness.packages.interpreter import probe
from harness.packages.venv import host_python, host_venv
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


def another_python():
    """A Python of this machine that images may have and that does not run this test."""
    own = "{}.{}".format(*sys.version_info)
    for series in sorted({*SERIES} - {own}):
        known = Path.home().glob(f".pyenv/versions/{series}.*/bin/python{series}")
        for path in filter(None, (shutil.which(f"python{series}"), *known)):
            with contextlib.suppress(UsageError):
                return Path(path), probe(Path(path))
    pytest.skip("there is one Python here")


def test_an_environment_is_made_with_the_python_that_the_lock_is_for(lock, store, monkeypatch):
    path, found = another_python()
    lock.write_text(f"# target: {Target(found.series)}\n{lock.read_text()}")
    monkeypatch.setenv("PATH", f"{path.parent}:{os.environ['PATH']}")
    facts = host_python(lock, None, store, silent)
    assert (facts.facts.python, facts.facts.is_locked) == (found.version, True)
    assert f"-{found.version}-{Target(found.series)}" in str(facts.path)


def test_without_the_python_that_the_lock_is_for_ours_is_taken_and_the_difference_told(lock, store, monkeypatch):
    lock.write_text(f"# target: cp399-linux-x86_64\n{lock.read_text()}")
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    with package_index.serving() as index:
        index.add("tiny_thing", "1.0", content=b"value = 7\n")
        monkeypatch.setenv("PIP_INDEX_URL", f"{index.url}/simple")
        facts = host_python(lock, None, store, silent).facts
    own = "{}.{}".format(*sys.version_info)
    assert facts.sentence() == f"the environment is not the one of x.lock: Python {own} instead of 3.99"


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
