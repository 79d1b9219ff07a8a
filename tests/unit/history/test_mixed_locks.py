"""Two locks whose wheels lie in the cache: what they need is read from the wheels themselves."""

import pytest

from harness.documents.lockfile import digest_of, render_base_lock
from harness.errors import UsageError
from harness.history.mixed_locks import cost, read_fit, read_pair, write_mix
from harness.system.store import Store
from tests.made.archives import base_of, deb, member
from tests.made.package_index import release


class Project:
    """A folder with an image `tiny`, a cache, and locks that a test writes."""

    def __init__(self, root):
        self.root, self.store = root / "code", Store(root / "cache")
        self.store.root.mkdir()
        (self.root / "images" / "tiny").mkdir(parents=True)
        (self.root / "lockfiles").mkdir()
        (self.root / "images" / "tiny" / "Dockerfile").write_text("ARG BASE=base-x\nFROM ${BASE}\n")
        base, _ = base_of(root, xx=deb("xx", member("x", b"x")))
        (self.root / "lockfiles" / "base-x.lock").write_text(render_base_lock(base.packages, "x"))

    def lock(self, name, *releases, target="cp311-linux-x86_64"):
        """A lockfile with these releases, each (name, version, requirements); their wheels are put into the cache."""
        pins, table = [], []
        for distribution, version, requires in releases:
            file, data = release(distribution, version, requires)
            digest = digest_of(data)
            with self.store.scratch("x") as folder:
                (folder / "blob").write_bytes(data)
                self.store.add(folder / "blob", digest, file)
            pins.append(f"{distribution}=={version} --hash={digest}\n")
            table.append(f"# wheel {distribution} {file} {len(data)} {digest}\n")
        path = self.root / "lockfiles" / f"{name}.lock"
        path.write_text("".join((f"# target: {target}\n", *pins, *table)))
        return path


@pytest.fixture
def project(tmp_path):
    return Project(tmp_path)


@pytest.fixture
def pair(project):
    good = project.lock("tiny", ("http", "1", ["h11<1"]), ("h11", "0.9", []), ("x", "1", []))
    bad = project.lock("other", ("http", "2", ["h11>=1"]), ("h11", "1.0", []), ("x", "2", []))
    return read_pair(good, bad, "tiny")


def test_the_wheels_say_which_mixes_are_consistent(project, pair):
    fit = read_fit(pair, project.root, project.store, print)
    assert fit.problems({"http"}) and fit.problems({"h11"})
    assert not fit.problems({"x"}) and not fit.problems({"http", "h11"})
    assert fit.closure("http") == {"http", "h11"}


def test_locks_for_two_pythons_cannot_be_mixed(project):
    good = project.lock("tiny", ("x", "1", []))
    bad = project.lock("other", ("x", "2", []), target="cp312-linux-x86_64")
    with pytest.raises(UsageError, match=r"tiny\.lock is for cp311-linux-x86_64 and other\.lock for cp312-linux"):
        read_pair(good, bad, "tiny")


def test_the_cost_counts_wheels_that_are_not_there(project, pair):
    fetch, size = cost(pair, project.root, project.store)
    assert fetch == 0 and size > 0
    wheel = pair.bad.wheels[0]
    project.store.blob(wheel.sha256).unlink()
    assert cost(pair, project.root, project.store)[0] == wheel.size_bytes


def test_the_ends_are_the_files_themselves_and_a_mix_stands_where_the_lock_stood(project, pair, tmp_path):
    assert pair.text(()) == pair.good_text and pair.text(pair.names) == pair.bad_text
    write_mix(pair, {"x"}, project.root, tmp_path / "mixed")
    text = (tmp_path / "mixed" / "lockfiles" / "tiny.lock").read_text()
    assert "x==2" in text and "http==1" in text and "h11==0.9" in text
    assert (tmp_path / "mixed" / "images" / "tiny" / "Dockerfile").is_file()
    assert "x==1" in (project.root / "lockfiles" / "tiny.lock").read_text(), "the code itself is not touched"


def test_locks_that_pin_the_same_or_are_none_are_refused(project, pair, tmp_path):
    good = project.root / "lockfiles" / "tiny.lock"
    with pytest.raises(UsageError, match="pin the same"):
        read_pair(good, good, "tiny")
    with pytest.raises(UsageError):
        read_pair(good, tmp_path / "none.lock", "tiny")
    (tmp_path / "bad.lock").write_text("six>=1\n")
    with pytest.raises(UsageError, match="not pinned"):
        read_pair(good, tmp_path / "bad.lock", "tiny")
