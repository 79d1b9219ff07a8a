import pytest
from made_archives import wheel

from harness.core.lockfile import digest_of, parse_lock
from harness.errors import EnvironmentError_, UsageError
from harness.host.resolver import write_lock
from harness.host.store import Store
from harness.host.wheels import IMAGE_TARGET, host_target

needs_the_images_python = pytest.mark.skipif(host_target() != IMAGE_TARGET, reason="locks are for CPython 3.11")


def silent(_):
    pass


def release(index, version, name="tiny_thing"):
    info = f"{name}-{version}.dist-info"
    data = wheel(
        (f"{name}.py", b""),
        (f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n".encode()),
        (f"{info}/WHEEL", b"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"),
        (f"{info}/RECORD", b""),
    )
    (index / f"{name}-{version}-py3-none-any.whl").write_bytes(data)
    return data


@pytest.fixture
def index(tmp_path, monkeypatch):
    (tmp_path / "index").mkdir()
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "index"))
    return tmp_path / "index"


@pytest.fixture
def project(tmp_path):
    (tmp_path / "project" / "lockfiles").mkdir(parents=True)
    (tmp_path / "project" / "lockfiles" / "tiny.in").write_text("tiny-thing\n")
    return tmp_path / "project"


@needs_the_images_python
def test_a_lock_is_pinned_and_hashed_and_tells_nothing_of_the_machine(index, project, tmp_path):
    data = release(index, "1.0")
    path = write_lock(project, "tiny", Store(tmp_path / "cache"), silent)
    text = path.read_text()
    lock = parse_lock(text, "tiny.lock")
    assert path == project / "lockfiles" / "tiny.lock"
    assert [(pin.name, pin.version, pin.hashes) for pin in lock.pins] == [("tiny-thing", "1.0", (digest_of(data),))]
    assert (lock.num_wheels, lock.wheels_bytes) == (1, len(data))
    assert "harness lock tiny" in text
    assert str(tmp_path) not in text


@needs_the_images_python
def test_a_lock_written_again_is_the_same_until_an_upgrade_is_asked_for(index, project, tmp_path):
    store = Store(tmp_path / "cache")
    release(index, "1.0")
    before = write_lock(project, "tiny", store, silent).read_text()
    release(index, "2.0")
    assert write_lock(project, "tiny", store, silent).read_text() == before
    upgraded = write_lock(project, "tiny", store, silent, upgrade=True).read_text()
    assert [pin.version for pin in parse_lock(upgraded, "x").pins] == ["2.0"]


@needs_the_images_python
def test_a_lock_says_which_index_local_builds_come_from(index, project, tmp_path):
    (project / "lockfiles" / "tiny.in").write_text("tiny-thing==1.0+cpu\n")
    release(index, "1.0+cpu")
    text = write_lock(project, "tiny", Store(tmp_path / "cache"), silent).read_text()
    assert "# builds with +cpu come from https://download.pytorch.org/whl/cpu\n" in text
    assert "tiny-thing==1.0+cpu" in text


@needs_the_images_python
def test_what_cannot_be_resolved_leaves_the_lock_as_it_was(index, project, tmp_path):
    (project / "lockfiles" / "tiny.lock").write_text("# as it was\n")
    with pytest.raises(EnvironmentError_, match="tiny-thing"):
        write_lock(project, "tiny", Store(tmp_path / "cache"), silent)
    assert (project / "lockfiles" / "tiny.lock").read_text() == "# as it was\n"


@pytest.mark.parametrize("name", ["gone", "base-gone"])
def test_a_lock_whose_requirements_are_not_there_is_named(project, tmp_path, name):
    with pytest.raises(UsageError, match=rf"{name}\.in does not exist"):
        write_lock(project, name, Store(tmp_path / "cache"), silent)


def test_a_name_that_climbs_is_refused(project, tmp_path):
    with pytest.raises(UsageError, match="no name"):
        write_lock(project, "../tiny", Store(tmp_path / "cache"), silent)
