"""What builds that were cut off left in an engine, remembered in the cache and removed by the next build.

An engine ends a build whose caller is gone, but keeps the images of its finished steps; an engine that dies in the
middle of a build keeps the step's container as well. So while a build runs, a file in the cache names what the engine
has told of. Whoever finds such a file that nobody holds removes what it names, and nothing else: other builds may run.
"""

from __future__ import annotations

import contextlib
import fcntl
import re
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import docker
import docker.errors
import requests

from harness.images.engine_images import remove_images
from harness.images.image import REPOSITORY
from harness.system.engine import identity
from harness.system.store import Store

Remember = Callable[[str], None]
BUILDING = f"{REPOSITORY}/building"
_FOLDER = "unfinished"
_LINE = re.compile(rf"(?:image|container) (?:[0-9a-f]{{12,64}}|{BUILDING}:[0-9a-f]{{32}})")


@contextlib.contextmanager
def unfinished(client: docker.DockerClient, store: Store) -> Iterator[Remember]:
    """Remove what earlier builds left in this engine, and remember what this one makes until that is gone.

    Yields:
        What takes the name of all that this build makes in the engine and will remove: `image <id>`, `container <id>`.
    """
    info = client.info()
    if Path(str(info.get("DockerRootDir") or "/")).is_relative_to(store.root / "scratch"):
        yield lambda _: None  # an engine that ends with the build
        return
    engine = identity(client)
    folder = store.folder(_FOLDER)
    with store.locked(_FOLDER):
        _remove_all(client, folder, engine)
        file = tempfile.NamedTemporaryFile("w", dir=folder, prefix="build-", delete=False)  # noqa: SIM115
        fcntl.flock(file, fcntl.LOCK_EX)

    def remember(line: str) -> None:
        file.write(line + "\n")
        file.flush()

    with file:
        remember(engine)
        try:
            yield remember
        finally:
            # Where the engine does not answer any more, the next build does it.
            with contextlib.suppress(docker.errors.DockerException, requests.RequestException):
                _remove(client, Path(file.name))


def _remove_all(client: docker.DockerClient, folder: Path, engine: str) -> None:
    """Remove what the builds of processes that are gone left in this engine."""
    for path in sorted(folder.glob("build-*")):
        with path.open(encoding="ascii", errors="replace") as stream:
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            if stream.readline().strip() in ("", engine):
                _remove(client, path)


def _remove(client: docker.DockerClient, path: Path) -> None:
    """Remove what a file names, then the file; what somebody has tagged since is kept."""
    lines = path.read_text(encoding="ascii", errors="replace").splitlines()
    named = [line.partition(" ")[::2] for line in lines if _LINE.fullmatch(line)]
    for kind, name in named:
        if kind == "container":
            with contextlib.suppress(docker.errors.NotFound):
                client.api.remove_container(name, force=True)
    images = [name for kind, name in named if kind == "image"]
    if not remove_images(client, [name for name in images if _is_ours(client, name)]):
        path.unlink()


def _is_ours(client: docker.DockerClient, name: str) -> bool:
    """Whether a name can be removed: a tag of a build, or an image without any other tag."""
    if ":" in name:
        return True
    try:
        tags = client.api.inspect_image(name).get("RepoTags") or ()  # type: ignore[no-untyped-call]
    except docker.errors.ImageNotFound:
        return False
    return all(tag.startswith(f"{BUILDING}:") for tag in tags)
