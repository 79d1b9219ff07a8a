"""A checkout made for the tests: an image with its locks, an experiment with its inputs, and a cache that has them."""

import json
import os

from harness.documents.lockfile import digest_of, render_base_lock
from harness.system.store import Store
from tests.made.archives import base_of, deb, member
from tests.made.package_index import release

EXPERIMENT = """schema: 1
image: tiny
inputs:
  text: {{file: data.txt, sha256: "{data}"}}
  package: {{deb: xx, version: "1.0", sha256: "{package}"}}
run: [python, train.py]
resume: [python, train.py]
steps: 1
outputs: ["*.safetensors"]
policy: {{required: [rerun]}}
"""
DATA = b"some text\n"
VERDICT = {"verdict": "DIVERGED"}


def make_project(root):
    """A checkout with one of everything; returns the bytes of its wheel and of its Debian package."""
    (root / "images" / "tiny").mkdir(parents=True)
    (root / "lockfiles").mkdir()
    (root / "pipelines" / "experiments").mkdir(parents=True)
    (root / "images" / "tiny" / "Dockerfile").write_text("ARG BASE=base-x\nFROM ${BASE}\n")
    (root / "data.txt").write_bytes(DATA)
    file, wheel = release("six", "1.0")
    lock = f"# target: cp311-linux-x86_64\nsix==1.0 --hash={digest_of(wheel)}\n"
    lock += f"# wheel six {file} {len(wheel)} {digest_of(wheel)}\n"
    (root / "lockfiles" / "tiny.lock").write_text(lock)
    package = deb("xx", member("x", b"x"))
    base, _ = base_of(root.parent, xx=package)
    (root / "lockfiles" / "base-x.lock").write_text(render_base_lock(base.packages, "x"))
    experiment = EXPERIMENT.format(data=digest_of(DATA), package=digest_of(package))
    (root / "pipelines" / "experiments" / "exp.yaml").write_text(experiment)
    return wheel, package


def add_blob(store: Store, data):
    with store.scratch("x") as folder:
        (folder / "blob").write_bytes(data)
        return store.add(folder / "blob", digest_of(data), "it")


def add_run(root, experiment, day, verdict="DIVERGED", finished=True, size=0):
    """A run's folder as a certify leaves it."""
    folder = root / "runs" / experiment / f"202611{day:02}T000000Z-abcdef0-0000"
    (folder / "straight").mkdir(parents=True)
    (folder / "straight" / "weights").write_bytes(b"x" * size)
    (folder / "verdict.json").write_text(json.dumps({"verdict": verdict}))
    if finished:
        (folder / "manifest.json").write_text("{}")
    return folder


def age(path, days, now):
    """Set the times of a file, or of everything below a folder."""
    for one in (path, *path.rglob("*")):
        os.utime(one, (now - days * 86_400,) * 2, follow_symlinks=False)
