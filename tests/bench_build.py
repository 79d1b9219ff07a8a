"""What building an image costs beyond what cannot be avoided: `make bench-build`. Both sides alternate in one session.

Not avoidable are: fetching the packages and wheels that the locks name, installing the wheels and compiling them to
bytecode (in a container of the base, by the commands of the Dockerfile), and writing the resulting files once, as an
archive with its digest. Compared is `harness build` from an empty cache, until the engine has the canonical image.
Medians over ROUNDS (3 unless the environment says otherwise). With IMAGE another image than `cpu`.
"""

import hashlib
import json
import os
import re
import statistics
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

from harness.images.base import build_base
from harness.images.build_once import Materials
from harness.images.builder import build
from harness.images.engine_images import load_image
from harness.images.image import REPOSITORY
from harness.images.layer_tar import read_contents
from harness.images.recipe import build_context, read_recipe
from harness.packages.debian import fetch_packages
from harness.packages.wheels import fetch_wheels
from harness.report.printer import text_table
from harness.system import engine
from harness.system.project import STOCK
from harness.system.store import Store
from tests import ROOT

NUM_ROUNDS = int(os.environ.get("ROUNDS", "3"))
IMAGE = os.environ.get("IMAGE", "cpu")


def say(text):
    print(f"  {text}", file=sys.stderr)


@contextmanager
def timed(seconds, name):
    start = time.monotonic()
    yield
    seconds[name] = time.monotonic() - start


def steps_of(dockerfile):
    """The shell commands of the Dockerfile's RUN steps."""
    joined = re.sub(r"\\\n", " ", dockerfile)
    return "; ".join(line.removeprefix("RUN ") for line in joined.splitlines() if line.startswith("RUN "))


def unavoidable(client, recipe, scratch):
    """Fetch, install, write once; seconds of each."""
    store, seconds = Store(scratch / "cache"), {}
    with timed(seconds, "fetch"):
        packages = fetch_packages(recipe.base_lock.packages, store, os.environ, say)
        materials = Materials(packages, fetch_wheels(recipe.lock, store, say))
    base = build_base(recipe.base.name, recipe.base_lock, materials.packages, store, afresh=True)
    load_image(client, base.image, base.tag)
    context = scratch / "context"
    for entry in build_context(recipe, materials.wheels, scratch):
        (context / entry.path).parent.mkdir(parents=True, exist_ok=True)
        if entry.kind == "file":
            (context / entry.path).write_bytes(b"".join(read_contents(entry)))
    environment = {"PATH": "/opt/venv/bin:/usr/bin:/bin", "HOME": "/tmp", "PYTHONDONTWRITEBYTECODE": "1"}
    script = steps_of((STOCK / "Dockerfile").read_text()).replace("rm -r /build", "true")
    container = client.containers.create(
        base.tag,
        ["sh", "-c", script],
        environment=environment,
        network_mode="none",
        working_dir="/",
        volumes={str(context): {"bind": "/build", "mode": "ro"}},
    )
    try:
        with timed(seconds, "install"):
            container.start()
            assert container.wait()["StatusCode"] == 0, container.logs().decode()
        with timed(seconds, "write"):
            digest = hashlib.sha256()
            with (scratch / "layer").open("wb") as layer:
                for chunk in container.export(chunk_size=1 << 20):
                    digest.update(chunk)
                    layer.write(chunk)
    finally:
        container.remove(force=True)
    return seconds


def built(client, scratch):
    """The harness's own build, from an empty cache and without the image in the engine; seconds of each stage."""
    for image in client.images.list(name=f"{REPOSITORY}/{IMAGE}"):
        client.images.remove(image.id, force=True)
    start = time.monotonic()
    result = build(client, IMAGE, ROOT, Store(scratch / "cache"), say)
    whole = time.monotonic() - start
    assert not result.was_cached
    return {**dict(result.seconds), "whole": whole}


def main():
    client, recipe = engine.ensure("auto", say), read_recipe(ROOT, IMAGE)
    rounds = {"unavoidable": [], "harness build": []}
    for number in range(NUM_ROUNDS):
        for name in rounds:
            say(f"round {number + 1} of {NUM_ROUNDS}: {name}")
            with tempfile.TemporaryDirectory(dir=os.environ.get("HARNESS_CACHE")) as scratch:
                (Path(scratch) / "cache").mkdir()
                place = Path(scratch)
                one = unavoidable(client, recipe, place) if name == "unavoidable" else built(client, place)
            one.setdefault("whole", sum(one.values()))
            rounds[name].append(one)
    rows = []
    for name, seconds in rounds.items():
        parts = {key: statistics.median(one[key] for one in seconds) for key in seconds[0]}
        rows.append((name, parts.pop("whole"), ", ".join(f"{key} {value:.1f}" for key, value in parts.items())))
    ratio = rows[1][1] / rows[0][1]
    if "--json" in sys.argv:
        print(json.dumps({"rounds": rounds, "ratio": ratio}))
    else:
        print(
            text_table([(name, f"{seconds:.1f}", parts) for name, seconds, parts in rows], ("", "seconds", "of which"))
        )
        print(f"ratio of the medians: {ratio:.2f}")


if __name__ == "__main__":
    main()
