"""Inputs made real. The HTTPS server and the server that stands for the hub run on 127.0.0.1."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from harness.documents.inputs import Input
from harness.documents.lockfile import digest_of
from harness.errors import HostError, UsageError
from harness.inputs.fetch import fetch_input
from harness.system.store import Store
from tests import ROOT
from tests.made.archives import deb, member, wheel
from tests.made.hub_server import COMMIT, hub_server

DATA = os.urandom(2_000_000)
MATERIALISE = """
import sys
from pathlib import Path
from harness.documents.inputs import Input
from harness.inputs.fetch import fetch_input
from harness.system.store import Store
value = Input(**eval(sys.argv[2]))
print("started", flush=True)
print(fetch_input(value, Store(Path(sys.argv[1])), Path("/nowhere"), lambda text: None))
"""
# The shell line of docs/guide/inputs.md.
SHA256SUM = (
    r"find -L . \( -path ./.cache -o -path ./.git \) -prune -o -type f -printf '%P\n' | LC_ALL=C sort | tr '\n' '\0' "
    "| xargs -0 sha256sum -- | sha256sum"
)


def silent(_):
    pass


@pytest.fixture
def hub(monkeypatch):
    """A server that stands for the hub, with one small repository."""
    for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    with hub_server() as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.address)
        hub.put("config.json", b"{}")
        hub.put("data/train.json", b"[1]")
        hub.put("-x y", b"")
        hub.put("model.safetensors", DATA, is_large=True)
        yield hub


def listing(tree):
    return sorted(str(path.relative_to(tree)) for path in tree.rglob("*") if not path.is_dir() or path.is_symlink())


def cached(store, kind, data):
    """An input whose package is in the cache already, so that nothing has to be fetched."""
    digest = digest_of(data)
    store.blob(digest).parent.mkdir(parents=True, exist_ok=True)
    store.blob(digest).write_bytes(data)
    return Input(name="x", kind=kind, reference="x1", version="1", sha256=digest)


def of_url(url, data=DATA):
    return Input(name="data.bin", kind="https", reference=url, sha256=digest_of(data))


def of_hub(tmp_path, files, **fields):
    """The input that has these files, with the sha256 that the documented shell line gives for them."""
    folder = tmp_path / f"by-hand-{len(files)}"
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    done = subprocess.run(["bash", "-c", SHA256SUM], cwd=folder, capture_output=True, text=True, check=True)
    value = {"name": "model", "kind": "hf", "reference": "someone/tiny", "version": COMMIT, **fields}
    return Input(sha256="sha256:" + done.stdout.split()[0], **value)


def started(store, value, environment=()):
    """A process that makes the input ready."""
    fields = {name: getattr(value, name) for name in Input.__slots__}
    return subprocess.Popen(
        (sys.executable, "-c", MATERIALISE, str(store.root), repr(fields)),
        cwd=ROOT,
        env={**os.environ, **dict(environment)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for(condition):
    for _ in range(600):
        if condition():
            return
        time.sleep(0.05)
    raise AssertionError("it never came to that")


def nothing_half_is_left(store):
    kinds = [store.root / name for name in ("sha256", "inputs", "unpacked")]
    return not any(path.is_file() for kind in kinds for path in kind.rglob("*"))


def test_a_file_of_the_project_is_copied_so_that_it_cannot_change_meanwhile(store, tmp_path):
    (tmp_path / "data.txt").write_bytes(b"text")
    value = Input(name="text.jsonl", kind="file", reference="data.txt", sha256=digest_of(b"text"))
    path = fetch_input(value, store, tmp_path, silent)
    (tmp_path / "data.txt").write_bytes(b"else")
    assert path.resolve().name == "text.jsonl"
    assert path.read_bytes() == b"text"
    assert (path.stat().st_mode & 0o777, path.stat().st_mtime) == (0o444, 0)


def test_a_file_is_one_blob_under_every_name(store, tmp_path):
    (tmp_path / "data.txt").write_bytes(b"text")
    values = [
        Input(name=name, kind="file", reference="data.txt", sha256=digest_of(b"text")) for name in ("one", "other")
    ]
    one, other = (fetch_input(value, store, tmp_path, silent) for value in values)
    assert (one.name, other.name) == ("one", "other")
    assert one.samefile(other)
    assert one.samefile(store.blob(digest_of(b"text")))


def test_a_file_with_another_sha256_is_refused_and_both_are_told(store, tmp_path):
    (tmp_path / "data.txt").write_bytes(b"text")
    value = Input(name="text", kind="file", reference="data.txt", sha256=digest_of(b"text"))
    fetch_input(value, store, tmp_path, silent)
    (tmp_path / "data.txt").write_bytes(b"other")
    with pytest.raises(UsageError) as caught:
        fetch_input(value, store, tmp_path, silent)
    assert f"expected: {digest_of(b'text')}" in str(caught.value)
    assert f"found:    {digest_of(b'other')}" in str(caught.value)


def test_a_file_that_was_changed_in_the_cache_is_copied_again(store, tmp_path):
    (tmp_path / "data.txt").write_bytes(b"text")
    value = Input(name="text", kind="file", reference="data.txt", sha256=digest_of(b"text"))
    path = fetch_input(value, store, tmp_path, silent)
    path.chmod(0o644)
    path.write_bytes(b"evil")
    assert fetch_input(value, store, tmp_path, silent).read_bytes() == b"text"


def test_a_file_that_is_not_there_is_named(store, tmp_path):
    value = Input(name="text", kind="file", reference="gone.txt", sha256=digest_of(b""))
    with pytest.raises(UsageError, match=r"there is no gone.txt"):
        fetch_input(value, store, tmp_path, silent)


def test_a_file_that_only_an_archive_has_is_taken_from_there(store, tmp_path):
    value = Input(name="text", kind="file", reference="gone.txt", sha256=digest_of(b"text"))
    archived = Store(tmp_path / "archive").blob(value.sha256)
    archived.parent.mkdir(parents=True)
    archived.write_bytes(b"text")
    told = []
    path = fetch_input(value, Store(store.root, (tmp_path / "archive",)), tmp_path, told.append)
    assert path.read_bytes() == b"text"
    assert "gone.txt is not there" in told[0]


@pytest.mark.parametrize("by", ["link", "absolute"])
def test_a_file_outside_of_the_project_is_what_its_sha256_says_and_nothing_else(store, tmp_path, by):
    (tmp_path / "root").mkdir()
    (tmp_path / "data").write_bytes(b"d")
    (tmp_path / "root" / "link").symlink_to("../data")
    reference = "link" if by == "link" else str(tmp_path / "data")
    value = Input(name="text", kind="file", reference=reference, sha256=digest_of(b"d"))
    assert fetch_input(value, store, tmp_path / "root", silent).read_bytes() == b"d"
    (tmp_path / "data").write_bytes(b"e")
    with pytest.raises(UsageError, match="not what the experiment pins"):
        fetch_input(value, store, tmp_path / "root", silent)


def local_model(tmp_path):
    """A model's folder as people have it: links into the hub's cache, and what git and `hf download` keep."""
    folder = tmp_path / "models" / "tiny"
    (folder / "onnx").mkdir(parents=True)
    for name, data in {"config.json": b"{}", "onnx/model.onnx": b"o", ".git/HEAD": b"x", ".cache/x": b"x"}.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(data)
    (tmp_path / "blob").write_bytes(DATA)
    (folder / "model.safetensors").symlink_to("../../blob")
    return folder


def test_a_folder_is_pinned_by_the_line_of_shell_and_copied(store, tmp_path):
    folder = local_model(tmp_path)
    done = subprocess.run(["bash", "-c", SHA256SUM], cwd=folder, capture_output=True, text=True, check=True)
    value = Input(name="m", kind="folder", reference="models/tiny", sha256="sha256:" + done.stdout.split()[0])
    tree = fetch_input(value, store, tmp_path, silent)
    assert listing(tree) == ["config.json", "model.safetensors", "onnx/model.onnx"]
    assert (tree / "model.safetensors").read_bytes() == DATA and not (tree / "model.safetensors").is_symlink()
    (folder / "config.json").unlink()
    assert (tree / "config.json").read_bytes() == b"{}"
    with pytest.raises(UsageError, match=f"expected: {value.sha256}"):
        fetch_input(value, store, tmp_path, silent)
    told = []
    assert fetch_input(value, store, tmp_path / "elsewhere", told.append) == tree
    assert told == ["models/tiny is not there: looking for it in the cache"]


@pytest.mark.parametrize(("kind", "right"), [("file", "folder"), ("folder", "file")])
def test_a_folder_that_is_declared_as_a_file_is_told_with_the_key_that_fits(store, tmp_path, kind, right):
    (tmp_path / "x").mkdir() if right == "folder" else (tmp_path / "x").write_bytes(b"")
    with pytest.raises(UsageError, match=f"x is a {right}\n.*declare it as `{right}:`"):
        fetch_input(Input(name="x", kind=kind, reference="x", sha256=digest_of(b"")), store, tmp_path, silent)


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_what_has_no_sha256_yet_is_told_the_right_one(store, tmp_path, kind):
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_bytes(b"text")
    right = {"file": digest_of(b"text"), "folder": digest_of(b"")}[kind]
    with pytest.raises(UsageError, match=rf"has no sha256\n  found:    {right}\n.*write it into the experiment"):
        fetch_input(Input(name="x", kind=kind, reference=kind, sha256=""), store, tmp_path, silent)
    with pytest.raises(UsageError, match="there is no gone"):
        fetch_input(Input(name="x", kind=kind, reference="gone", sha256=""), store, tmp_path, silent)


def test_a_debian_packages_files_are_unpacked_once(store, tmp_path):
    value = cached(store, "deb", deb("x1", member("./usr/", kind="dir"), member("./usr/data", b"d", mode=0o600)))
    first = fetch_input(value, store, tmp_path, silent)
    assert (first / "usr" / "data").read_bytes() == b"d"
    store.blob(value.sha256).unlink()
    assert fetch_input(value, store, tmp_path, silent) == first


def test_a_wheels_files_are_unpacked_once(store, tmp_path):
    value = cached(store, "pypi", wheel(("x1/data.txt", b"d"), ("x1-1.dist-info/METADATA", b"m")))
    first = fetch_input(value, store, tmp_path, silent)
    assert listing(first) == ["x1-1.dist-info/METADATA", "x1/data.txt"]


def test_a_failure_while_unpacking_leaves_no_tree(store, tmp_path):
    value = cached(store, "deb", deb("x1", member("./good", b"g"), member("./bad", kind="char")))
    with pytest.raises(UsageError, match="device"):
        fetch_input(value, store, tmp_path, silent)
    assert list((store.root / "inputs").iterdir()) == []
    assert list((store.root / "scratch").iterdir()) == []


def test_a_cached_package_that_was_changed_is_not_used(store, tmp_path, monkeypatch):
    monkeypatch.setenv("HARNESS_DEBIAN_MIRROR", (tmp_path / "no-mirror").as_uri())
    value = cached(store, "deb", deb("x1", member("./a", b"a")))
    store.blob(value.sha256).write_bytes(b"changed")
    with pytest.raises(HostError, match="no mirror has"):
        fetch_input(value, store, tmp_path, silent)


def test_a_debian_package_is_fetched_from_the_mirror_that_is_set(store, tmp_path, monkeypatch):
    monkeypatch.setenv("HARNESS_DEBIAN_MIRROR", (tmp_path / "mirror").as_uri())
    data = deb("x1", member("./a", b"a"))
    pool = tmp_path / "mirror" / "pool" / "main" / "x" / "x1"
    pool.mkdir(parents=True)
    (pool / "x1_1_all.deb").write_bytes(data)
    value = Input(name="x", kind="deb", reference="x1", version="1", sha256=digest_of(data))
    assert listing(fetch_input(value, store, tmp_path, silent)) == ["a"]
    wrong = Input(name="x", kind="deb", reference="x1", version="1", sha256=digest_of(b"other"))
    with pytest.raises(UsageError) as caught:
        fetch_input(wrong, store, tmp_path, silent)
    assert digest_of(b"other") in str(caught.value)
    assert digest_of(data) in str(caught.value)


def test_an_unpacked_package_that_was_changed_in_the_cache_is_unpacked_again(store, tmp_path):
    package = deb("x1", member("./a", b"a"), member("./l", kind="symlink", linkname="a"))
    value = cached(store, "deb", package)
    tree = fetch_input(value, store, tmp_path, silent)
    for change in (
        lambda: (tree / "a").write_bytes(b"b"),
        lambda: (tree / "new").write_bytes(b""),
        lambda: ((tree / "l").unlink(), (tree / "l").symlink_to("/etc/passwd")),
    ):
        change()
        assert fetch_input(value, store, tmp_path, silent) == tree
        assert (listing(tree), (tree / "a").read_bytes(), os.readlink(tree / "l")) == (["a", "l"], b"a", "a")


def test_a_url_is_fetched_once(store, server, tmp_path):
    value = of_url(server.serve("/files/a.bin", DATA))
    path = fetch_input(value, store, tmp_path, silent)
    assert path.read_bytes() == DATA
    assert (path.resolve().name, path.stat().st_mode & 0o777) == ("data.bin", 0o444)
    server.files.clear()
    assert fetch_input(value, store, tmp_path, silent) == path
    assert len(server.requests) == 1


def test_a_url_with_another_sha256_leaves_nothing_and_both_are_told(store, server, tmp_path):
    value = of_url(server.serve("/a", b"other"))
    with pytest.raises(UsageError) as caught:
        fetch_input(value, store, tmp_path, silent)
    assert value.sha256 in str(caught.value)
    assert digest_of(b"other") in str(caught.value)
    assert nothing_half_is_left(store)
    assert list((store.root / "scratch").iterdir()) == []


def test_a_body_longer_than_announced_is_not_taken(store, server, tmp_path):
    with pytest.raises(UsageError, match="is not what the experiment pins"):
        fetch_input(of_url(server.serve("/a", DATA, announced=1000)), store, tmp_path, silent)
    assert nothing_half_is_left(store)


def test_a_blob_that_was_changed_is_fetched_again(store, server, tmp_path):
    value = of_url(server.serve("/a", DATA))
    path = fetch_input(value, store, tmp_path, silent)
    path.chmod(0o644)
    path.write_bytes(b"evil")
    assert fetch_input(value, store, tmp_path, silent).read_bytes() == DATA
    assert len(server.requests) == 2


def test_what_came_from_one_source_is_never_fetched_from_another(store, server, tmp_path):
    (tmp_path / "a.bin").write_bytes(DATA)
    fetch_input(Input(name="a", kind="file", reference="a.bin", sha256=digest_of(DATA)), store, tmp_path, silent)
    assert fetch_input(of_url(server.url("/never")), store, tmp_path, silent).read_bytes() == DATA
    assert server.requests == []


def test_processes_that_want_the_same_url_at_once_fetch_it_once(store, server):
    value = of_url(server.serve("/a", DATA, stall_after=1_000_000))
    processes = [started(store, value) for _ in range(4)]
    for process in processes:
        assert process.stdout.readline() == "started\n"
    wait_for(lambda: server.requests)
    server.go_on.set()
    ends = [process.communicate(timeout=60) for process in processes]
    assert [process.returncode for process in processes] == [0] * 4, ends
    assert len({out for out, _ in ends}) == 1
    assert Path(ends[0][0].strip()).read_bytes() == DATA
    assert len(server.requests) == 1


def test_a_process_that_is_killed_while_it_fetches_leaves_nothing_half(store, server, tmp_path):
    value = of_url(server.serve("/a", DATA, stall_after=1_000_000))
    process = started(store, value)
    wait_for(lambda: any(path.stat().st_size >= 900_000 for path in store.root.glob("scratch/*/package")))
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=60)
    assert nothing_half_is_left(store)
    server.go_on.set()
    assert fetch_input(value, store, tmp_path, silent).read_bytes() == DATA
    assert list((store.root / "scratch").iterdir()) == []


def test_a_repository_is_a_folder_whose_sha256_a_line_of_shell_computes(store, hub, tmp_path):
    value = of_hub(tmp_path, hub.files)
    tree = fetch_input(value, store, tmp_path, silent)
    assert {name: (tree / name).read_bytes() for name in listing(tree)} == hub.files
    assert {path.lstat().st_mtime for path in [tree, *tree.rglob("*")]} == {0}
    assert {path.stat().st_mode & 0o777 for path in tree.rglob("*") if path.is_file()} == {0o444}
    done = subprocess.run(["bash", "-c", SHA256SUM], cwd=tree, capture_output=True, text=True, check=True)
    assert value.sha256 == "sha256:" + done.stdout.split()[0]


def test_the_shell_line_is_the_documented_one():
    assert f"{SHA256SUM}\n" in (ROOT / "docs" / "guide" / "inputs.md").read_text()


def test_one_file_of_a_repository_is_still_a_folder(store, hub, tmp_path):
    value = of_hub(tmp_path, {"config.json": b"{}"}, patterns=("config.json",))
    assert listing(fetch_input(value, store, tmp_path, silent)) == ["config.json"]


def test_a_repository_with_another_sha256_leaves_nothing_and_both_are_told(store, hub, tmp_path):
    value = of_hub(tmp_path, {**hub.files, "config.json": b"{ }"})
    right = of_hub(tmp_path / "right", hub.files)
    with pytest.raises(UsageError) as caught:
        fetch_input(value, store, tmp_path, silent)
    assert value.sha256 in str(caught.value)
    assert right.sha256 in str(caught.value)
    assert nothing_half_is_left(store)
    assert list((store.root / "scratch").iterdir()) == []


def test_a_repository_in_the_cache_needs_no_hub(store, hub, tmp_path, monkeypatch):
    value = of_hub(tmp_path, hub.files)
    tree = fetch_input(value, store, tmp_path, silent)
    asked = len(hub.requests)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert fetch_input(value, store, tmp_path, silent) == tree
    (tree / "config.json").unlink()
    assert fetch_input(value, store, tmp_path, silent) == tree
    assert (tree / "config.json").read_bytes() == b"{}"
    assert len(hub.requests) == asked


def test_a_repository_is_made_from_an_archive_of_blobs(store, hub, tmp_path, monkeypatch):
    value = of_hub(tmp_path, hub.files)
    fetch_input(value, store, tmp_path, silent)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    other = Store(tmp_path / "other", (store.root,))
    assert listing(fetch_input(value, other, tmp_path, silent)) == sorted(hub.files)


def test_a_repositorys_file_that_was_changed_in_the_cache_is_fetched_again(store, hub, tmp_path):
    value = of_hub(tmp_path, hub.files)
    tree = fetch_input(value, store, tmp_path, silent)
    (tree / "model.safetensors").chmod(0o644)
    (tree / "model.safetensors").write_bytes(b"evil")
    told = []
    assert (fetch_input(value, store, tmp_path, told.append) / "model.safetensors").read_bytes() == DATA
    assert "was changed in the cache" in told[0]


def test_processes_that_want_the_same_repository_at_once_fetch_it_once(store, hub, tmp_path):
    value = of_hub(tmp_path, hub.files)
    processes = [started(store, value) for _ in range(4)]
    ends = [process.communicate(timeout=120) for process in processes]
    assert [process.returncode for process in processes] == [0] * 4, ends
    assert len({out for out, _ in ends}) == 1
    assert len(hub.fetched()) == 3  # the fourth file is empty: the library does not fetch it


def test_a_process_that_is_killed_while_the_hub_sends_leaves_nothing_half_and_no_process(store, hub, tmp_path):
    hub.put("model.safetensors", os.urandom(12 << 20), is_large=True)
    hub.storage.stall_after = 11 << 20  # the library writes pieces of 10 MB
    value = of_hub(tmp_path, hub.files)
    process = started(store, value)
    wait_for(
        lambda: any(path.stat().st_size >= 9_000_000 for path in store.root.glob("scratch/*/tree/**/*.incomplete"))
    )
    [child] = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=60)
    wait_for(lambda: not Path(f"/proc/{child}/cmdline").exists() or not Path(f"/proc/{child}/cmdline").read_bytes())
    assert nothing_half_is_left(store)
    hub.storage.go_on.set()
    assert listing(fetch_input(value, store, tmp_path, silent)) == sorted(hub.files)
    assert list((store.root / "scratch").iterdir()) == []


def test_a_token_is_nowhere_in_the_cache(store, hub, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_thisIsAPlantedToken")
    fetch_input(of_hub(tmp_path, hub.files), store, tmp_path, silent)
    assert all("authorization" in headers for _, _, headers in hub.requests)
    files = [path for path in store.root.rglob("*") if path.is_file()]
    assert files
    assert not any(b"hf_thisIsAPlantedToken" in path.read_bytes() for path in files)
