"""What builds and trainings that were cut off left in an engine, and how the next command removes it.

A container carries the path of a lock file that its harness holds, and the machine that the path is one of. Whoever
finds one whose lock is free removes it; where it cannot be told, for another user's or another machine's, it stays.

An engine ends a build whose caller is gone, but keeps the images of its finished steps; an engine that dies in the
middle of a build keeps the step's container as well. So while a build runs, a file in the cache names what the engine
has told of. Whoever finds such a file that nobody holds removes what it names, and nothing else: other builds may run.
"""

from __future__ import annotations

import contextlib
import platform
import re
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import docker
import docker.errors
import requests

from harness.images.engine_images import remove_images
from harness.images.image import REPOSITORY
from harness.system.engine import identity
from harness.system.held import is_free, lock
from harness.system.store import Progress, Store

Remember = Callable[[str], None]
BUILDING = f"{REPOSITORY}/building"
LOCK, MACHINE = "repro-harness.lock", "repro-harness.machine"
_FOLDER = "unfinished"
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_LINE = re.compile(rf"(?:image|container) (?:[0-9a-f]{{12,64}}|{BUILDING}:[0-9a-f]{{32}})")


@dataclass(frozen=True, slots=True, kw_only=True)
class LeftContainer:
    """A container that no living harness has; `is_known` is false where that cannot be told from here."""

    container_id: str
    name: str
    is_known: bool


def lock_labels(path: Path) -> dict[str, str]:
    """The labels of a container that ends with whoever holds this lock file."""
    return {LOCK: str(path.resolve()), MACHINE: " ".join(_machine())}


def left_containers(client: docker.DockerClient) -> list[LeftContainer]:
    """The harness's containers in this engine but those of living ones, running or not."""
    found = []
    for row in client.api.containers(all=True, filters={"label": LOCK}):
        path, machine = Path(row["Labels"][LOCK]), str(row["Labels"].get(MACHINE, "")).split()
        # Locks of another machine may not be seen here, also where the file is; and this one may have been restarted.
        is_ours = bool({*_machine()} & {*machine})
        # A lock goes after its container: where only the lock is gone, the engine did not answer at the run's end.
        is_left = is_ours and (is_free(path) or (_is_folder(path.parent) and not path.exists()))
        if is_left or not (is_ours and path.exists()):
            name = str((row.get("Names") or [row["Id"][:12]])[0]).lstrip("/")
            found.append(LeftContainer(container_id=str(row["Id"]), name=name, is_known=is_left))
    return sorted(found, key=lambda one: one.name)


def _machine() -> tuple[str, ...]:
    """What tells this machine from others: while it runs, and after it was started again."""
    with contextlib.suppress(OSError):
        return (_BOOT_ID.read_text(encoding="ascii").strip(), platform.node())
    return (platform.node(),)


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:  # somebody else's, who does not show it
        return False


def remove_container(client: docker.DockerClient, container_id: str) -> None:
    """Remove a container, running or not; one that is gone already, or on its way, is."""
    try:
        client.api.remove_container(container_id, force=True, v=True)
    except docker.errors.APIError as error:
        if error.status_code not in (404, 409):
            raise


def sweep(client: docker.DockerClient, store: Store, tell: Progress) -> None:
    """Remove what killed harnesses left in this engine: containers, and what their builds had made."""
    left = [one for one in left_containers(client) if one.is_known]
    for one in left:
        remove_container(client, one.container_id)
    if left:
        tell(f"removed {len(left)} containers of a harness that was killed")
    with store.locked(_FOLDER):
        for path in left_builds(client, store):
            _remove(client, path)


@dataclass(frozen=True, slots=True)
class Unfinished:
    """A build on its way: `remember` takes the name of all that it makes and will remove: `image <id>`."""

    remember: Remember
    labels: dict[str, str]


@contextlib.contextmanager
def unfinished(client: docker.DockerClient, store: Store, tell: Progress) -> Iterator[Unfinished]:
    """Remove what others left in this engine, and remember what this build makes until that is gone."""
    info = client.info()
    if Path(str(info.get("DockerRootDir") or "/")).is_relative_to(store.root / "scratch"):
        yield Unfinished(lambda _: None, {})  # an engine that ends with the build
        return
    sweep(client, store, tell)
    engine = identity(client)
    folder = store.folder(_FOLDER)
    with contextlib.ExitStack() as stack:
        with store.locked(_FOLDER):
            file = stack.enter_context(tempfile.NamedTemporaryFile("w", dir=folder, prefix="build-", delete=False))
            lock(file, "alone")

        def remember(line: str) -> None:
            file.write(line + "\n")
            file.flush()

        remember(engine)
        try:
            yield Unfinished(remember, lock_labels(Path(file.name)))
        finally:
            # Where the engine does not answer any more, the next command does it.
            with contextlib.suppress(docker.errors.DockerException, requests.RequestException):
                _remove(client, Path(file.name))


def left_builds(client: docker.DockerClient, store: Store) -> list[Path]:
    """The files of builds in this engine that nobody holds any more."""
    paths = sorted((store.root / _FOLDER).glob("build-*"))
    engine = identity(client) if paths else ""
    return [path for path in paths if is_free(path) and _lines(path)[:1] in ([], [engine])]


def _lines(path: Path) -> list[str]:
    return path.read_text(encoding="ascii", errors="replace").splitlines()


def _remove(client: docker.DockerClient, path: Path) -> None:
    """Remove what a file names, then the file; what somebody has tagged since is kept."""
    named = [line.partition(" ")[::2] for line in _lines(path) if _LINE.fullmatch(line)]
    for kind, name in named:
        if kind == "container":
            remove_container(client, name)
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
