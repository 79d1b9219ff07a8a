"""The preflight on a machine with an empty cache: every source is a server or a folder of this test."""

import socket
import time
from hashlib import sha256

import pytest

from harness.documents.experiment import parse_experiment
from harness.replay.availability import LocalSources
from harness.replay.preflight import PreflightRequest, preflight
from harness.runs.request import Request
from harness.system.store import Store
from tests.made.page_server import LINK, WHEEL, server

WHEEL_DATA, DEB_DATA, INPUT = b"a wheel", b"a package", b"rows\n"
POOL = "pool/main/t/toy/toy_1.0_all.deb"
EXPERIMENT = """
schema: 1
image: toy
inputs:
  rows: {{file: data/rows.txt, sha256: {rows}}}
run: [python, train.py]
resume: [python, train.py]
steps: 3
outputs: [x]
memory_gib: 0.001
policy: {{required: [rerun]}}
"""


def digest(data):
    return "sha256:" + sha256(data).hexdigest()


@pytest.fixture
def code(tmp_path):
    """Exported code with an image of one wheel and one Debian package."""
    root = tmp_path / "code"
    (root / "images" / "toy").mkdir(parents=True)
    (root / "lockfiles").mkdir()
    (root / "images" / "toy" / "Dockerfile").write_text("ARG BASE=base-toy\nFROM ${BASE}\nRUN true\n")
    pin = f"toy-thing==1.0 --hash={digest(WHEEL_DATA)}\n"
    lock = f"{pin}# wheel toy-thing {WHEEL} {len(WHEEL_DATA)} {digest(WHEEL_DATA)}\n"
    (root / "lockfiles" / "toy.lock").write_text(lock)
    (root / "lockfiles" / "base-toy.lock").write_text(f"toy 1.0 all {len(DEB_DATA)} {digest(DEB_DATA)} {POOL}\n")
    (root / "data").mkdir()
    (root / "data" / "rows.txt").write_bytes(INPUT)
    return root


@pytest.fixture
def found(code, tmp_path, monkeypatch):
    """The preflight, by kind; `engine` is one that answers, or none."""
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    for name in ("PIP_FIND_LINKS", "PIP_EXTRA_INDEX_URL", "HARNESS_DEBIAN_SNAPSHOT"):
        monkeypatch.delenv(name, raising=False)

    def look(index, mirror, archived=frozenset(), runner="auto", **more):
        monkeypatch.setenv("PIP_INDEX_URL", index)
        monkeypatch.setenv("HARNESS_DEBIAN_MIRROR", mirror)
        store = Store(tmp_path / "cache")
        store.folder("sha256")
        experiment = parse_experiment(EXPERIMENT.format(rows=digest(INPUT)), "toy.yaml")
        request = Request(root=tmp_path, name="toy", runner=runner)
        question = PreflightRequest(
            request=request, code=code, experiment=experiment, local=LocalSources(store=store, archived=archived)
        )
        return preflight(question, **more)

    return look


@pytest.fixture
def engine(monkeypatch):
    """A server that answers as an engine without any image does."""
    pages = {
        "/version": ("application/json", '{"ApiVersion": "1.41", "Version": "20.10"}'),
        "/v1.41/version": ("application/json", '{"ApiVersion": "1.41", "Version": "20.10"}'),
        "/v1.41/info": ("application/json", "{}"),
    }
    with server(pages) as (url, _):
        monkeypatch.setenv("DOCKER_HOST", url.replace("http", "tcp"))
        monkeypatch.setenv("DOCKER_API_VERSION", "1.41")
        yield url


def states(preflight_found):
    return {need.kind: need.state for need in preflight_found.needs}


def test_everything_that_a_source_still_has_is_fetchable(found, engine):
    pages = {"/simple/toy-thing/": ("text/html", LINK), f"/debian/{POOL}": ("x", DEB_DATA.decode())}
    with server(pages) as (url, asked):
        result = found(f"{url}/simple", f"{url}/debian")
    assert result.can_be_had, result.needs
    assert states(result) == {
        "wheel": "fetchable",
        "base": "fetchable",
        "input": "present",
        "engine": "present",
        "memory": "present",
        "disk": "present",
    }
    assert result.fetch_bytes == len(WHEEL_DATA) + len(DEB_DATA)
    assert not any("files" in path for path, *_ in asked), "nothing is downloaded"


@pytest.mark.parametrize(
    ("rows", "says"),
    [(b"other", f"its sha256 is {digest(b'other')}, not sha256:"), (None, "no such file")],
)
def test_an_input_that_is_not_as_it_is_pinned_is_told_as_that(found, engine, code, rows, says):
    (code / "data" / "rows.txt").unlink()
    if rows is not None:
        (code / "data" / "rows.txt").write_bytes(rows)
    (gone,) = [need for need in found("http://127.0.0.1:9", "http://127.0.0.1:9").gone if need.kind == "input"]
    assert says in gone.detail and gone.remedy


def test_a_lock_for_another_python_than_its_bases_is_told_before_a_build(found, engine, code):
    lock = code / "lockfiles" / "toy.lock"
    lock.write_text(f"# target: cp312-linux-x86_64\n{lock.read_text()}")
    base = code / "lockfiles" / "base-toy.lock"
    base.write_text(f"{base.read_text()}python3 3.11.2-1+b1 amd64 1 {digest(b'')} pool/main/p/python3.deb\n")
    gone = {need.name: need for need in found("http://127.0.0.1:9", "http://127.0.0.1:9").gone}
    assert "for Python 3.12, and the base base-toy has Python 3.11" in gone["toy.lock"].detail
    on_host = {need.name for need in found("http://127.0.0.1:9", "http://127.0.0.1:9", runner="host").gone}
    assert "toy.lock" not in on_host


def test_a_wheel_that_is_gone_is_told_with_its_remedy(found, engine):
    with server({"/simple/toy-thing/": ("text/html", ""), f"/debian/{POOL}": ("x", DEB_DATA.decode())}) as (url, _):
        result = found(f"{url}/simple", f"{url}/debian")
    (gone,) = result.gone
    assert (gone.kind, gone.name) == ("wheel", WHEEL) and "--full" in gone.remedy and "HARNESS_ARCHIVE" in gone.remedy
    assert not result.can_be_had


@pytest.mark.parametrize("size", [0, 1, 99])
def test_a_package_of_another_size_is_not_the_one_that_is_locked(found, engine, size):
    pages = {"/simple/toy-thing/": ("text/html", LINK), f"/debian/{POOL}": ("x", "x" * size)}
    with server(pages) as (url, _):
        result = found(f"{url}/simple", f"{url}/debian")
    assert states(result)["base"] == "gone" and "HARNESS_DEBIAN_SNAPSHOT" in result.gone[0].remedy


def test_sources_that_fail_leave_it_unknown(found, engine):
    with server({}, status=503) as (url, _):
        result = found(f"{url}/simple", f"{url}/debian")
    assert states(result)["wheel"] == states(result)["base"] == "unknown" and not result.gone and not result.can_be_had


def test_what_is_in_a_full_archive_needs_no_source(found, engine):
    archived = frozenset((digest(WHEEL_DATA), digest(DEB_DATA)))
    result = found("http://127.0.0.1:9/simple", "http://127.0.0.1:9/debian", archived=archived)
    assert result.can_be_had
    assert {need.detail for need in result.needs if need.kind in ("wheel", "base")} == {"in the archive"}


def test_a_folder_of_harness_archive_counts(found, engine, tmp_path, monkeypatch):
    blob = Store(tmp_path / "old").blob(digest(WHEEL_DATA))
    blob.parent.mkdir(parents=True)
    blob.write_bytes(WHEEL_DATA)
    local = LocalSources(store=Store(tmp_path / "cache", (tmp_path / "old",)))
    assert local.place_of(digest(WHEEL_DATA)) == f"in {tmp_path / 'old'}"
    assert local.place_of(digest(DEB_DATA)) == ""


def test_a_blob_of_another_size_is_not_there(tmp_path):
    store = Store(tmp_path)
    store.blob(digest(b"x")).parent.mkdir(parents=True)
    store.blob(digest(b"x")).write_bytes(b"torn")
    assert LocalSources(store=store).place_of(digest(b"x"), 1) == ""


def test_nobody_is_waited_for_longer_than_the_deadline(found, engine):
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        url = f"http://127.0.0.1:{deaf.getsockname()[1]}"
        began = time.monotonic()
        result = found(f"{url}/simple", f"{url}/debian", deadline_s=0.5)
    assert states(result)["wheel"] == "unknown" and time.monotonic() - began < 10
    assert any("no answer in time" in need.detail for need in result.needs)


def test_without_containers_no_base_is_needed(found):
    with server({"/simple/toy-thing/": ("text/html", LINK)}) as (url, _):
        result = found(f"{url}/simple", "http://127.0.0.1:9/debian", runner="host")
    assert result.can_be_had and "base" not in states(result)


def test_an_engine_that_is_asked_for_and_is_not_there_is_gone(found, monkeypatch):
    monkeypatch.setenv("DOCKER_HOST", "unix:///nonexistent/docker.sock")
    with server({"/simple/toy-thing/": ("text/html", LINK)}) as (url, _):
        result = found(f"{url}/simple", "http://127.0.0.1:9/debian", runner="docker")
    assert states(result)["engine"] == "gone" and "DOCKER_HOST" in result.gone[0].remedy


def test_the_base_is_asked_for_as_well_where_no_engine_answers_yet(found, monkeypatch):
    monkeypatch.setenv("DOCKER_HOST", "unix:///nonexistent/docker.sock")
    pages = {"/simple/toy-thing/": ("text/html", LINK), f"/debian/{POOL}": ("x", DEB_DATA.decode())}
    with server(pages) as (url, _):
        result = found(f"{url}/simple", f"{url}/debian", runner="docker")
    assert states(result)["base"] == "fetchable"
