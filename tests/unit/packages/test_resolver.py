import pytest

from harness.documents.lockfile import digest_of, parse_lock
from harness.documents.platform import USUAL
from harness.errors import HostError, UsageError
from harness.packages import resolver
from harness.packages.resolver import target_of, write_lock
from harness.system.store import Store
from tests.made import package_index


def silent(_):
    pass


@pytest.fixture
def index(tmp_path, monkeypatch):
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_FIND_LINKS", "")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "pips-own-cache"))
    with package_index.serving() as index:
        monkeypatch.setenv("PIP_INDEX_URL", f"{index.url}/simple")
        yield index


@pytest.fixture
def project(tmp_path):
    (tmp_path / "project" / "lockfiles").mkdir(parents=True)
    (tmp_path / "project" / "images" / "tiny").mkdir(parents=True)
    (tmp_path / "project" / "lockfiles" / "tiny.in").write_text("tiny-thing\n")
    return tmp_path / "project"


def versions(path):
    return {pin.name: pin.version for pin in parse_lock(path.read_text(), "x").pins}


def test_a_lock_is_pinned_and_hashed_names_its_wheels_and_tells_nothing_of_the_machine(index, project, tmp_path):
    data = index.add("tiny_thing", "1.0", content=b"x = 1\n")
    store = Store(tmp_path / "cache")
    path = write_lock(project, "tiny", store, silent)
    text = path.read_text()
    (pin,) = (lock := parse_lock(text, "tiny.lock")).pins
    assert path == project / "lockfiles" / "tiny.lock"
    assert (pin.name, pin.version, pin.hashes) == ("tiny-thing", "1.0", (digest_of(data),))
    assert (pin.wheel.filename, pin.wheel.size_bytes) == ("tiny_thing-1.0-py3-none-any.whl", len(data))
    assert lock.target == USUAL and lock.as_of.startswith("20") and lock.installed_bytes > len(b"x = 1\n")
    assert store.blob(pin.wheel.sha256).read_bytes() == data
    assert "harness lock tiny" in text
    assert str(tmp_path) not in text and "127.0.0.1" not in text


def test_a_lock_written_again_is_the_same_until_an_upgrade_is_asked_for(index, project, tmp_path):
    store = Store(tmp_path / "cache")
    index.add("tiny_thing", "1.0")
    before = write_lock(project, "tiny", store, silent).read_text()
    index.add("tiny_thing", "2.0")
    assert write_lock(project, "tiny", store, silent).read_text() == before
    assert versions(write_lock(project, "tiny", store, silent, upgrade=True)) == {"tiny-thing": "2.0"}


def test_a_package_added_later_is_resolved_as_of_the_day_of_the_lock(index, project, tmp_path):
    store = Store(tmp_path / "cache")
    index.add("tiny_thing", "1.0")
    path = write_lock(project, "tiny", store, silent)
    as_of = parse_lock(path.read_text(), "x").as_of
    index.add("other", "1.0")
    index.add("other", "2.0", uploaded="2999-01-01T00:00:00Z")
    (project / "lockfiles" / "tiny.in").write_text("tiny-thing\nother\n")
    assert versions(write_lock(project, "tiny", store, silent)) == {"other": "1.0", "tiny-thing": "1.0"}
    assert parse_lock(path.read_text(), "x").as_of == as_of


def test_an_index_without_upload_times_is_resolved_undated_and_the_lock_says_so(index, project, tmp_path):
    index.add("tiny_thing", "1.0", uploaded=None)
    told = []
    path = write_lock(project, "tiny", Store(tmp_path / "cache"), told.append)
    assert "# resolved without a date" in path.read_text()
    assert parse_lock(path.read_text(), "x").as_of == ""
    assert any("cannot be dated" in line for line in told)


def test_a_yanked_version_that_is_asked_for_is_refused_with_the_reason(index, project, tmp_path):
    index.add("tiny_thing", "1.0", yanked="it eats gradients")
    (project / "lockfiles" / "tiny.in").write_text("tiny-thing==1.0\n")
    with pytest.raises(UsageError, match=r"tiny-thing 1\.0 is yanked: it eats gradients"):
        write_lock(project, "tiny", Store(tmp_path / "cache"), silent)
    assert not (project / "lockfiles" / "tiny.lock").exists()


def test_a_package_that_has_only_sources_is_refused_and_nothing_of_it_is_run(index, project, tmp_path):
    index.add_source("tiny_thing", "1.0")
    with pytest.raises(HostError, match=r"no source has a wheel of tiny-thing"):
        write_lock(project, "tiny", Store(tmp_path / "cache"), silent)
    assert not any(path.endswith(".tar.gz") for path in index.asked)


def test_three_equals_signs_keep_a_local_build_out(index, project, tmp_path, monkeypatch):
    index.add("tiny_thing", "1.0")
    (tmp_path / "links").mkdir()
    name, data = package_index.release("tiny_thing", "1.0+cpu")
    (tmp_path / "links" / name).write_bytes(data)
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "links"))
    (project / "lockfiles" / "tiny.in").write_text("tiny-thing===1.0\n")
    path = write_lock(project, "tiny", Store(tmp_path / "cache"), silent)
    assert [wheel.filename for wheel in parse_lock(path.read_text(), "x").wheels] == ["tiny_thing-1.0-py3-none-any.whl"]


def test_a_lock_says_which_index_local_builds_come_from(index, project, tmp_path):
    (project / "lockfiles" / "tiny.in").write_text("tiny-thing==1.0+cpu\n")
    index.add("tiny_thing", "1.0+cpu")
    text = write_lock(project, "tiny", Store(tmp_path / "cache"), silent).read_text()
    assert "# builds with +cpu come from https://download.pytorch.org/whl/cpu\n" in text
    assert "tiny-thing==1.0+cpu" in text


def test_a_lock_of_no_image_names_no_wheels(index, project, tmp_path):
    index.add("tiny_thing", "1.0")
    (project / "images" / "tiny").rmdir()
    lock = parse_lock(write_lock(project, "tiny", Store(tmp_path / "cache"), silent).read_text(), "x")
    assert (len(lock.pins), lock.wheels, lock.target) == (1, (), None)


@pytest.mark.parametrize(("python", "expected"), [("3.10", {"old": "1.0"}), ("3.13", {"new": "2.0"})])
def test_requirements_are_those_of_the_images_python_whichever_runs_here(
    index, project, tmp_path, monkeypatch, python, expected
):
    """Neither is this interpreter's: what its own markers bring is left out, what it is too old or new for is taken."""
    (project / "lockfiles" / "tiny.in").write_text(f"# python {python}\ntiny-thing\n")
    (tmp_path / "harness").mkdir()  # the folder that it is called in may have a package of this name
    (tmp_path / "harness" / "__init__.py").touch()
    monkeypatch.chdir(tmp_path)
    (project / "images" / "tiny").rmdir()
    index.add("tiny_thing", "1.0", requires=("old; python_version < '3.11'", "new; python_full_version >= '3.13'"))
    index.add("tiny_thing", "2.0", python="==3.11.*,==3.12.*")
    index.add("old", "1.0", python="<3.11")
    index.add("new", "1.0")
    index.add("new", "2.0", python=">=3.13")
    path = write_lock(project, "tiny", Store(tmp_path / "cache"), silent)
    assert versions(path) == {"tiny-thing": "1.0", **expected}
    assert f"pip-compile with Python {python}" in path.read_text()


def test_a_lock_names_the_wheels_of_its_python_and_chooses_them_anew_for_another(index, project, tmp_path):
    store = Store(tmp_path / "cache")
    for series in ("310", "312"):
        index.add("tiny_thing", "1.0", content=series.encode(), tag=f"cp{series}-cp{series}-manylinux_2_28_x86_64")
    found = []
    for python in ("3.10", "3.12"):
        (project / "lockfiles" / "tiny.in").write_text(f"# python {python}\ntiny-thing\n")
        lock = parse_lock(write_lock(project, "tiny", store, silent).read_text(), "x")
        found.append((str(lock.target), lock.wheels[0].filename))
    assert found == [
        (f"cp{series}-linux-x86_64", f"tiny_thing-1.0-cp{series}-cp{series}-manylinux_2_28_x86_64.whl")
        for series in ("310", "312")
    ]
    (project / "lockfiles" / "tiny.in").write_text("# Python: 3.13\ntiny-thing\n")
    with pytest.raises(HostError, match="no source has a wheel of tiny-thing for cp313-linux-x86_64"):
        write_lock(project, "tiny", store, silent)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("# python 3.9\n", "images have no Python 3.9"),
        ("# python 3.12.4\n", "images have no Python 3.12.4"),
        ("# python 3.12\n# python 3.13\n", "names Python 3.12 and 3.13"),
    ],
)
def test_a_python_that_no_image_has_is_refused(project, tmp_path, text, says):
    (project / "lockfiles" / "tiny.in").write_text(f"{text}tiny-thing\n")
    with pytest.raises(UsageError, match=says) as caught:
        write_lock(project, "tiny", Store(tmp_path / "cache"), silent)
    assert "`# python X.Y`" in caught.value.remedy


def test_other_comments_name_no_python():
    assert target_of("# python bindings for x\n# 3.12\nx  # python 3.12\n", "x.in") == USUAL


def test_what_does_not_fit_the_images_python_is_not_written(index, project, tmp_path, monkeypatch):
    data = index.add("tiny_thing", "1.0", requires=("other; python_version == '3.11'",))

    def compiled_elsewhere(_source, output, *_, **__):
        output.write_text(f"tiny-thing==1.0 --hash={digest_of(data)}\n")

    monkeypatch.setattr(resolver, "_compile", compiled_elsewhere)
    with pytest.raises(UsageError, match="tiny-thing: it needs other, which is not locked"):
        write_lock(project, "tiny", Store(tmp_path / "cache"), silent)
    assert not (project / "lockfiles" / "tiny.lock").exists()


def test_what_cannot_be_resolved_leaves_the_lock_as_it_was(index, project, tmp_path):
    (project / "lockfiles" / "tiny.lock").write_text("# as it was\n")
    with pytest.raises(HostError, match="tiny-thing"):
        write_lock(project, "tiny", Store(tmp_path / "cache"), silent)
    assert (project / "lockfiles" / "tiny.lock").read_text() == "# as it was\n"


@pytest.mark.parametrize("name", ["gone", "base-gone"])
def test_a_lock_whose_requirements_are_not_there_is_named(project, tmp_path, name):
    with pytest.raises(UsageError, match=rf"{name}\.in does not exist"):
        write_lock(project, name, Store(tmp_path / "cache"), silent)


def test_a_name_that_climbs_is_refused(project, tmp_path):
    with pytest.raises(UsageError, match="not a name"):
        write_lock(project, "../tiny", Store(tmp_path / "cache"), silent)


def test_a_lock_is_written_again_where_the_cache_is_empty(index, project, tmp_path):
    data = index.add("tiny_thing", "1.0")
    before = write_lock(project, "tiny", Store(tmp_path / "cache"), silent).read_text()
    elsewhere = Store(tmp_path / "another machine's cache")
    assert write_lock(project, "tiny", elsewhere, silent).read_text() == before
    assert elsewhere.blob(digest_of(data)).read_bytes() == data
