"""What goes wrong while an image is built, as a user meets it on the command line: one clear error with its remedy and
its exit code, nothing left behind, and the next build works.

An engine of the test's own, on a small disk, is filled up, stopped and killed; the machine's own is not touched but for
the builds that are compared on two engines.
"""

import contextlib
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
import uuid
from pathlib import Path

import docker
import pytest

from harness.documents.lockfile import Pin, Wheel, parse_base_lock, render_pins, render_wheels
from harness.documents.platform import USUAL
from harness.packages.debian import fetch_packages
from harness.system.project import STOCK
from harness.system.store import open_store
from tests import ROOT
from tests.made import package_index
from tests.project import Answer, Project

pytestmark = [
    pytest.mark.engine,
    pytest.mark.skipif(os.geteuid() != 0, reason="engines of its own and small disks take root"),
    pytest.mark.usefixtures("client"),  # installs an engine where there is none
]

BASE = "base-bookworm"
SMALL = "base-small"
# What `sh` and `head` need: a base that is made and loaded in a second.
PACKAGES = "base-files coreutils dash gcc-12-base libacl1 libattr1 libc6 libgcc-s1 libgmp10 libpcre2-8-0 libselinux1"
FROM = f"ARG BASE={SMALL}\nFROM ${{BASE}}\n"
DISK_MB = 300


class Engine:
    """A dockerd of the test's own, with its data on a small disk, in a network of its own."""

    def __init__(self, folder):
        self.folder, self.data = folder, folder / "disk" / "data"
        self.host = f"unix://{folder}/docker.sock"
        self.client = docker.DockerClient(base_url=self.host, version="1.41", timeout=120)
        (folder / "disk").mkdir()
        (folder / "none.json").write_text("{}")
        mount("tmpfs", folder / "disk", DISK_MB)
        self.start()

    def start(self):
        for name in (
            "pid",
            "x/containerd/containerd.pid",
        ):  # of a process that nobody has waited for yet, if it was killed
            (self.folder / name).unlink(missing_ok=True)
        options = [f"--data-root={self.data}", f"--exec-root={self.folder}/x", f"--pidfile={self.folder}/pid"]
        options += [
            f"--host={self.host}",
            f"--config-file={self.folder}/none.json",
            "--bridge=none",
            "--iptables=false",
        ]
        with (self.folder / "log").open("ab") as log:
            command = ["unshare", "--net", "dockerd", "--ip6tables=false", *options]
            self.process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
        wait_until(self.answers, 60, (self.folder / "log").read_text)

    def answers(self):
        with contextlib.suppress(Exception):
            return self.client.ping()

    def end(self, number):
        self.process.send_signal(number)
        self.process.wait(60)
        wait_until(lambda: not processes(f"{self.folder}/x", "containerd"), 30)

    def remove(self):
        self.client.close()
        if self.process.poll() is None:
            self.end(signal.SIGTERM)
        for pid in processes(str(self.folder)):  # of an engine that was killed: shims, and the containers below them
            with contextlib.suppress(OSError):
                for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
                    os.kill(int(child), signal.SIGKILL)
                os.kill(pid, signal.SIGKILL)
        for point in sorted(mounts(self.folder), reverse=True):
            subprocess.run(["umount", "--lazy", point], check=True)

    def free_mb(self):
        return shutil.disk_usage(self.folder / "disk").free >> 20

    def fill(self):
        """Take the rest of its disk, but for a mebibyte."""
        with (self.folder / "disk" / "ballast").open("wb") as ballast:
            os.posix_fallocate(ballast.fileno(), 0, max(1, self.free_mb() - 1) << 20)

    def empty(self):
        (self.folder / "disk" / "ballast").unlink()

    def left(self):
        """The images and containers beside bases and finished images."""
        ids = {one["Id"] for one in self.client.api.images(all=True)}
        finished = {one.id for one in self.client.images.list() if all("building" not in tag for tag in one.tags)}
        return (ids - finished) | {one["Id"] for one in self.client.api.containers(all=True)}


def mount(kind, folder, size_mb):
    subprocess.run(["mount", "-t", kind, "-o", f"size={size_mb}m", kind, str(folder)], check=True)


def mounts(folder):
    points = (line.split(" ")[1] for line in Path("/proc/self/mounts").read_text().splitlines())
    return [point for point in points if Path(point).is_relative_to(folder)]


def processes(text, program=""):
    """The processes whose command line has a text in it, other than this test's own."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            arguments = (path / "cmdline").read_bytes().split(b"\0")
            if any(text.encode() in one for one in arguments) and arguments[0].endswith(program.encode()):
                found.append(int(path.name))
    return sorted(set(found) - {os.getpid()})


def wait_until(holds, timeout_s, told=lambda: ""):
    deadline = time.monotonic() + timeout_s
    while not holds():
        assert time.monotonic() < deadline, told()
        time.sleep(0.05)


class Tiny(Project):
    """A project with one small image, a cache of its own, and what a user sees when it is built."""

    def __init__(self, root, cache, name, host):
        super().__init__(root)
        self.cache, self.name, self.host = cache, name, host
        (root / "images" / name).mkdir(parents=True)
        (root / "lockfiles").mkdir()
        text = (STOCK / f"{BASE}.lock").read_text()
        shutil.copy(STOCK / f"{BASE}.lock", root / "lockfiles")
        small = [line for line in text.splitlines() if line.split(" ")[0] in PACKAGES.split(" ")]
        (root / "lockfiles" / f"{SMALL}.lock").write_text("\n".join(small) + "\n")
        self.lock("# no wheels\n")
        self.dockerfile("RUN echo it works > /works\n")

    def dockerfile(self, steps, start=FROM):
        (self.root / "images" / self.name / "Dockerfile").write_text(start + steps)

    def lock(self, text):
        (self.root / "lockfiles" / f"{self.name}.lock").write_text(text)

    @property
    def environment(self):
        values = {**os.environ, "HARNESS_CACHE": str(self.cache), "PYTHONDONTWRITEBYTECODE": "1"}
        values.pop("DOCKER_HOST", None)
        return values | ({"DOCKER_HOST": self.host} if self.host else {})

    def start(self, *options):
        """Begin a build; a shell that starts jobs in the background has SIGINT ignored, and that is inherited."""
        return subprocess.Popen(
            [sys.executable, "-m", "harness", "--root", str(self.root), "build", self.name, *options],
            cwd=ROOT,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )

    def build(self, *options, when="", do=None):
        """Build; when a line with these words is told, `do` is done."""
        process = self.start(*options)
        told, out = [], []
        reader = threading.Thread(target=lambda: out.append(process.stdout.read()))
        reader.start()
        for line in process.stderr:
            told.append(line)
            if do and when in line:
                do(process)
                do = None
        reader.join()
        assert not do, "".join(told)
        return Answer(process.wait(120), out[0], "".join(told))

    def refused(self, answer, code, *words):
        assert answer.code == code, (answer.code, answer.out, answer.err)
        for word in (*words, "remedy:"):
            assert word in answer.err, answer.err
        assert "Traceback" not in answer.err
        self.is_tidy()

    def is_tidy(self):
        for folder in ("scratch", "unfinished"):
            if (self.cache / folder).is_dir():
                assert os.listdir(self.cache / folder) == []

    def builds(self, *options):
        answer = self.build(*options, "--json")
        assert answer.code == 0, answer.err
        self.is_tidy()
        return json.loads(answer.out)


@pytest.fixture(scope="module")
def packages():
    """The blobs of the base's packages, fetched once."""
    shared = open_store(None, os.environ)
    text = (STOCK / f"{BASE}.lock").read_text()
    fetch_packages(parse_base_lock(text, BASE).packages, shared, os.environ, print)
    return shared.root / "sha256"


@pytest.fixture(scope="module")
def engine(client):
    folder = Path("/run") / f"harness-test-{uuid.uuid4().hex[:8]}"  # a socket's path may have 108 characters
    folder.mkdir()
    engine = Engine(folder)
    yield engine
    engine.remove()
    shutil.rmtree(folder)


@pytest.fixture
def cache(tmp_path, packages):
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "sha256").symlink_to(packages)
    return tmp_path / "cache"


@pytest.fixture
def tiny(tmp_path, cache, engine):
    """A project for the engine of the test; whatever happens in it, nothing else is left there."""
    yield Tiny(tmp_path / "project", cache, "tiny", engine.host)
    assert engine.left() == set()
    for image in engine.client.images.list(name="repro-harness/tiny"):
        engine.client.images.remove(image.id, force=True)


@pytest.fixture
def index(monkeypatch, cache):
    """A package index; the blobs of this test are its own."""
    (packages,) = [cache / "sha256"]
    monkeypatch.setenv("HARNESS_ARCHIVE", str(archive := cache.parent / "archive"))
    archive.mkdir()
    packages.rename(archive / "sha256")
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_FIND_LINKS", "")
    with package_index.serving() as index:
        monkeypatch.setenv("PIP_INDEX_URL", f"{index.url}/simple")
        yield index


def lock_text(**releases):
    """A lock of releases (name: (version, wheel's bytes)), as `harness lock` writes them."""
    pins, wheels = [], {}
    for name, (version, data) in releases.items():
        sha256 = "sha256:" + hashlib.sha256(data).hexdigest()
        wheels[name] = Wheel(filename=f"{name}-{version}-py3-none-any.whl", size_bytes=len(data), sha256=sha256)
        pins.append(Pin(name=name, version=version, hashes=(sha256,)))
    return f"# target: {USUAL}\n" + render_pins(tuple(pins)) + render_wheels(wheels)


def changed(digest):
    return digest.replace(digest[-1], "0" if digest[-1] != "0" else "1")


def test_a_lock_that_was_edited_by_hand_is_refused_with_what_does_not_fit(tiny, index):
    one, two = index.add("one", "1.0", requires=["two>=1.0"]), index.add("two", "1.0")
    right = lock_text(one=("1.0", one), two=("1.0", two))
    digest = hashlib.sha256(one).hexdigest()
    edits = {
        "another version": (right.replace("one==1.0", "one==2.0"), 2, "one-1.0-py3-none-any.whl is not one 2.0"),
        "a dependency's lines": (lock_text(one=("1.0", one)), 2, "it needs two>=1.0, which is not locked"),
        "another platform": (right.replace("py3-none-any", "cp312-cp312-win32", 1), 2, "does not run on cp311"),
        "a line of the table": (re.sub("# wheel one .*\n", "", right), 2, "no wheel of it is named"),
        "a digit of one hash": (right.replace(digest, digest[:-1] + "x", 1), 2, "one has no sha256 hash"),
        "a digit of both": (right.replace(digest, changed(digest)), 2, "a wheel is not the one that is locked"),
        "no pin": (right.replace("one==1.0", "one>=1.0"), 2, "one is not pinned with =="),
        "no hash": (re.sub(" --hash=\\S+", "", right, count=1), 2, "one has no sha256 hash"),
    }
    for what, (text, code, says) in edits.items():
        assert text != right, what
        tiny.lock(text)
        tiny.refused(tiny.build(), code, says)
    tiny.lock(right)
    assert tiny.builds()["was_cached"] is False


def test_what_an_index_offers_is_not_taken_when_it_is_not_what_is_locked(tiny, index):
    data = index.add("one", "1.0")
    tiny.lock(lock_text(one=("1.0", data)))
    index.files["one-1.0-py3-none-any.whl"][0] = package_index.release("one", "1.0", content=b"evil = True\n")[1]
    tiny.refused(tiny.build(), 2, "a wheel is not the one that is locked", "do not add its hash before")
    index.files.clear()
    index.add_source("one", "1.0")
    tiny.refused(tiny.build(), 6, "no source has a wheel of one===1.0", "nothing is built from source")
    assert not any(path.endswith(".tar.gz") for path in index.asked)
    index.files.clear()
    index.add("one", "1.0", yanked="it eats gradients")
    answer = tiny.build()
    assert (answer.code, "warning: one 1.0 is yanked: it eats gradients" in answer.err) == (0, True), answer.err
    tiny.is_tidy()


def test_a_dockerfile_that_reaches_for_a_network_is_told_that_there_is_none(tiny):
    for steps, start, says in (
        ("", "FROM debian:12\n", "line 1: FROM debian:12 is not pinned by this project"),
        ("ADD https://example.org/x /x\n", FROM, "line 3: ADD fetches https://example.org/x"),
        ("COPY --from=busybox /bin/sh /x\n", FROM, "line 3: COPY takes files from the image busybox"),
    ):
        tiny.dockerfile(steps, start)
        tiny.refused(tiny.build(), 2, says)
    for call, said in (
        ("urllib.request.urlopen('http://example.org')", "name resolution"),
        ("socket.create_connection(('192.0.2.1', 80))", "unreachable"),
    ):
        script = f"import socket, sys, urllib.request; sys.excepthook = lambda *e: print(e[1]); {call}"
        tiny.dockerfile(f'RUN python3 -c "{script}"\n', FROM.replace(SMALL, BASE))
        answer = tiny.build()
        tiny.refused(answer, 2, said, "this step needs a network, and a build has none")
        assert "harness lock" in answer.err
    tiny.dockerfile("")
    tiny.builds()


def test_an_engine_whose_disk_is_full_is_named_whatever_it_was_doing(tiny, engine):
    tiny.dockerfile("RUN echo a > /a\nRUN head -c 1G /dev/zero > /large\n")
    tiny.refused(tiny.build(), 6, "No space left on device", "no space was left for this step on the engine's disk")
    # The container's copy fits, the layer that is made of it does not.
    tiny.dockerfile(f"RUN head -c {engine.free_mb() * 6 // 10}M /dev/urandom > /large\n")
    tiny.refused(tiny.build(), 6, "building the image: the engine's disk is full", "docker image prune")
    tiny.dockerfile("RUN head -c 50M /dev/urandom > /large\n")
    for when in ("Step 3/3", "rewriting"):
        answer = tiny.build(when=when, do=lambda _: engine.fill())
        engine.empty()
        tiny.refused(answer, 6, "the engine's disk")
    tiny.builds()


def test_a_cache_whose_disk_is_full_is_named_and_what_was_written_is_gone(tiny, cache):
    (small := cache.parent / "small").mkdir()
    mount("tmpfs", small, 80)
    try:
        (small / "sha256").symlink_to(cache / "sha256")
        tiny.cache = small
        tiny.dockerfile("RUN head -c 70M /dev/urandom > /large\n")
        tiny.refused(tiny.build(), 6, "building the image: No space left on device", "HARNESS_CACHE")
        with (small / "ballast").open("wb") as ballast:
            os.posix_fallocate(ballast.fileno(), 0, shutil.disk_usage(small).free)
        tiny.dockerfile("RUN echo small > /small\n")
        tiny.refused(tiny.build(), 6, "HARNESS_CACHE")
        (small / "ballast").unlink()
        tiny.builds()
    finally:
        subprocess.run(["umount", str(small)], check=True)


def sleeping(token):
    """The processes of a step that waits, in whatever engine; the shell that started them apart."""
    return processes(token, "sleep")


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_an_engine_that_stops_in_the_middle_is_told_and_the_next_build_removes_what_was_left(tiny, engine, number):
    token = str(uuid.uuid4().int % 10**9 + 10**6)
    tiny.dockerfile(f"RUN echo a > /a\nRUN trap 'exit 3' TERM; sleep {token} & wait\n")

    def end(_):
        wait_until(lambda: sleeping(token), 30)
        engine.end(number)

    answer = tiny.build(when=f"sleep {token}", do=end)
    assert answer.code == 6, answer.err
    assert "the engine stopped" in answer.err and "remedy: see whether it still runs" in answer.err
    assert "Traceback" not in answer.err
    assert os.listdir(tiny.cache / "scratch") == []
    engine.start()
    images = {one["Id"] for one in engine.client.api.images(all=True, filters={"label": "repro-harness.base"})}
    containers = engine.client.api.containers(all=True, filters={"label": "repro-harness.base"})
    assert engine.left() <= images | {one["Id"] for one in containers}
    assert engine.left() or number == signal.SIGTERM, "nothing was left: the test shows nothing"
    tiny.dockerfile("RUN echo b > /b\n")
    tiny.builds()
    assert engine.left() == set()


def test_two_builds_at_once_do_the_work_once(tiny):
    tiny.dockerfile("RUN echo once > /once && sleep 1\n")
    both = [tiny.start("--json") for _ in range(2)]
    answers = [process.communicate(timeout=120) for process in both]
    assert [process.returncode for process in both] == [0, 0], answers
    results = [json.loads(out) for out, _ in answers]
    assert len({result["image_id"] for result in results}) == 1
    assert sorted(result["was_cached"] for result in results) == [False, True]
    assert sum(err.count("Step 1/") for _, err in answers) == 1
    tiny.is_tidy()


def test_a_build_that_is_killed_leaves_what_the_next_one_removes(tiny, engine):
    token = str(uuid.uuid4().int % 10**9 + 10**6)
    tiny.dockerfile(f"RUN echo a > /a\nRUN trap 'exit 3' TERM; sleep {token} & wait\n")

    def kill(process):
        wait_until(lambda: sleeping(token), 30)
        process.kill()

    assert tiny.build(when=f"sleep {token}", do=kill).code == -signal.SIGKILL
    wait_until(lambda: not sleeping(token), 30)
    assert os.listdir(tiny.cache / "scratch") != []
    tiny.dockerfile("RUN echo b > /b\n")
    tiny.builds()
    assert engine.left() == set()


@pytest.fixture
def compared(tmp_path, cache, client):
    """A project that is built on the machine's engine and on a second one."""
    name = f"faults-{uuid.uuid4().hex[:8]}"
    interfaces = os.listdir("/sys/class/net")
    yield Tiny(tmp_path / "project", cache, name, "")
    for repository in (f"repro-harness/{name}", f"repro-harness/{SMALL}"):
        for image in client.images.list(name=repository):
            client.images.remove(image.id, force=True)
    assert mounts(cache) == []
    assert os.listdir("/sys/class/net") == interfaces


def second(cache):
    """The second engine of a cache: its dockerd, and its folder in /run."""
    (daemon,) = processes(f"--data-root={cache}", "dockerd")
    arguments = Path(f"/proc/{daemon}/cmdline").read_bytes().decode().split("\0")
    return daemon, Path(
        next(one for one in arguments if one.startswith("--pidfile=")).removeprefix("--pidfile=")
    ).parent


@pytest.mark.parametrize("how", ["Ctrl-C", "the harness is killed", "the second engine is killed"])
def test_two_builds_side_by_side_that_are_cut_off_leave_no_engine_behind(compared, client, how):
    token = str(uuid.uuid4().int % 10**9 + 10**6)
    compared.dockerfile(f"RUN echo {token} > /a\nRUN trap 'exit 3' TERM; sleep {token} & wait\n")
    found = []

    def cut(process):
        wait_until(lambda: len(sleeping(token)) == 2, 60)
        found.extend(second(compared.cache))
        if how == "Ctrl-C":
            process.send_signal(signal.SIGINT)
        else:
            os.kill(process.pid if how == "the harness is killed" else found[0], signal.SIGKILL)
        if how == "the second engine is killed":  # the first build goes on, until its step has ended
            wait_until(lambda: not processes(f"--data-root={compared.cache}", "dockerd"), 10)
            for pid in sleeping(token):
                with contextlib.suppress(ProcessLookupError):  # the second engine's own ends with it, at any moment
                    os.kill(pid, signal.SIGTERM)

    answer = compared.build("--check", when="second build: Step 4/4", do=cut)
    codes = {"Ctrl-C": 130, "the harness is killed": -signal.SIGKILL, "the second engine is killed": 6}
    assert answer.code == codes[how], answer.err
    assert "Traceback" not in answer.err
    _, state = found
    wait_until(lambda: not processes(str(state)) and not sleeping(token), 40, lambda: processes(str(state)))
    if how == "the harness is killed":
        assert os.listdir(compared.cache / "scratch") != []
    else:
        assert not state.exists()
        compared.is_tidy()
    compared.dockerfile(f"RUN echo {token} > /b\n")
    result = compared.builds(*(["--check"] if how == "the harness is killed" else []))
    assert not state.exists()
    assert not client.api.containers(all=True, filters={"ancestor": result["tag"]})
