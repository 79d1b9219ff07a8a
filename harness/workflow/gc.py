"""Garbage collection: lists, measures and removes what nothing refers to, in the cache, `runs/` and the engine.

A folder is first renamed to where nobody looks for it and then deleted, so that an interruption at any moment leaves
nothing that looks whole and is not. No link is followed, and nothing else on the machine is touched.
"""

from __future__ import annotations

import contextlib
import os
import re
import stat
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path

import docker

from harness.errors import HostError
from harness.images.engine_images import engine_faults, remove_images
from harness.images.image import REPOSITORY
from harness.images.leftovers import left_builds, left_containers, remove_container, sweep
from harness.runs.garbage import (
    CacheEntry,
    References,
    TaggedImage,
    garbage_of_cache,
    garbage_of_images,
    garbage_of_runs,
    is_forgotten,
)
from harness.runs.gc_roots import known_checkouts, references
from harness.runs.run_folders import (
    TEMPORARY,
    bisections,
    discard_run,
    entries,
    half_removed,
    read_run,
    run_folders,
    written_at,
)
from harness.system.disk_sizes import Measure, delete
from harness.system.held import PREFIX, left_folders
from harness.system.project import remember_checkout
from harness.system.store import Progress, Store, disk_errors

_DIGITS = re.compile(r"[0-9a-f]{64}")
_RECORDS: Mapping[str, str] = {
    "bases": "base",
    "checkouts": "checkout",
    "controls": "controls",
    "images": "image record",
    "rebuilds": "rebuild record",
    "reviews": "review",
    "timings": "timings",
    "unpacked": "unpacked",
}
_TREES: Mapping[str, str] = {
    "inputs": "input",
    "prepared": "prepared",
    "venvs": "environment",
    "wheels": "old wheels",  # where wheels lay before they were blobs
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One thing that goes, with the bytes that this frees."""

    kind: str
    name: str
    size_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Collection:
    """What goes or went, and what there is to say about it."""

    items: tuple[Item, ...]
    notes: tuple[str, ...]

    @property
    def size_bytes(self) -> int:
        return sum(item.size_bytes for item in self.items)


@dataclass(frozen=True, slots=True)
class _Removal:
    """An item, and how it is removed."""

    item: Item
    remove: Callable[[], None]


def collect(
    root: Path,
    store: Store,
    client: docker.DockerClient | None,
    progress: Progress,
    *,
    dry_run: bool,
    repository: str = REPOSITORY,
    now: float | None = None,
) -> Collection:
    """Free what no checkout that uses this cache refers to.

    This checkout counts whether or not the cache remembers it; without a client the engine's images are left alone.

    Raises:
        UsageError: this is no checkout, or a lock, an experiment or an image of it is malformed. Nothing was removed.
        HostError: somebody works with the cache (nothing was removed), or something cannot be removed.
    """
    moment = time.time() if now is None else now
    with contextlib.ExitStack() as stack:
        if not dry_run:
            stack.enter_context(store.alone())
        stack.enter_context(disk_errors("collecting garbage"))
        stack.enter_context(engine_faults())
        checkouts = known_checkouts(store, root)
        known = references(checkouts, store, root)
        roots = sorted(path for path in checkouts.values() if os.access(path, os.R_OK | os.X_OK))
        measure = Measure()
        pieces = [*_left(store, roots, client, measure)]
        pieces += _images(client, known, repository, moment) if client else []
        pieces += [*_runs(roots, known, measure, moment), *_cache(store, known, measure, moment)]
        notes = [*known.unread, *(_unknown(client) if client else ())]
        notes += [] if client else ["no container engine is running: its images were not checked"]
        notes += [f"{one}/runs is a link: skipped" for one in roots if (one / "runs").is_symlink()]
        if not dry_run:
            remember_checkout(store, root)
            _remove_all(pieces, progress)
    return Collection(items=tuple(piece.item for piece in pieces), notes=tuple(notes))


def _remove_all(pieces: list[_Removal], progress: Progress) -> None:
    """Remove one after the other; what cannot be removed does not keep the rest.

    Raises:
        HostError: something could not be removed.
    """
    failed = []
    progress(f"removing {len(pieces)} things")
    for piece in pieces:
        try:
            piece.remove()
        except OSError as error:
            failed.append(f"{piece.item.kind} {piece.item.name}: {error.strerror} ({error.filename})")
    if failed:
        problem = f"{len(failed)} of {len(pieces)} could not be removed; {failed[0]}"
        raise HostError(problem, "everything else was removed; remove the rest as its owner")


def _cache(store: Store, known: References, measure: Measure, now: float) -> Iterator[_Removal]:
    for thing in garbage_of_cache(_cache_entries(store), known, now):
        paths = [store.root / path for path in thing.paths]
        size = sum(measure.count(path) for path in paths)
        yield _Removal(Item(kind=thing.kind, name=thing.key, size_bytes=size), partial(_discard, paths, store))


def _cache_entries(store: Store) -> Iterator[CacheEntry]:
    """Everything in the cache that this module knows; whatever else lies there stays."""
    for folder, kind in sorted({**_RECORDS, **_TREES}.items()):
        found: dict[str, list[Path]] = {}
        for path in entries(store.root / folder):
            if path.name.startswith("."):  # of a writer that was killed: nobody works with the cache now
                yield CacheEntry(kind="left over", key=f"{folder}/{path.name}", paths=(f"{folder}/{path.name}",))
            else:
                found.setdefault(path.name if folder in _TREES else path.stem, []).append(path)
        for key, paths in found.items():
            names = tuple(f"{folder}/{path.name}" for path in paths)
            yield CacheEntry(kind=kind, key=key, paths=names, used_at=max(map(_used_at, paths)))
    for shelf in entries(store.root / "sha256"):
        for path in entries(shelf):
            if _DIGITS.fullmatch(path.name):
                yield CacheEntry(kind="blob", key=path.name, paths=(f"sha256/{shelf.name}/{path.name}",))


def _used_at(path: Path) -> float:
    """When something was last read or written, as far as the file system tells (with `relatime` to the day)."""
    marker = path / "files.json"  # of prepared inputs; whoever uses them reads it
    status = marker.stat() if not path.is_symlink() and marker.is_file() else path.lstat()
    return max(status.st_mtime, status.st_atime if stat.S_ISREG(status.st_mode) else 0.0)


def _discard(paths: list[Path], store: Store) -> None:
    with store.scratch("garbage") as scratch:
        for number, path in enumerate(paths):
            delete(path.rename(scratch / str(number)))


def _runs(roots: list[Path], known: References, measure: Measure, now: float) -> Iterator[_Removal]:
    folders = {str(path): path for path in run_folders(roots)}
    gone = garbage_of_runs(map(read_run, folders.values()), known, now)
    paths = [Path(run.checkout) / "runs" / run.experiment / run.run_id for run in gone]
    old = [path for path in bisections(roots) if is_forgotten(written_at(path), now)]
    for path in (*paths, *old, *half_removed(roots)):
        kind = "bisection" if path in old else "run"
        yield _Removal(Item(kind=kind, name=str(path), size_bytes=measure.count(path)), partial(discard_run, path))


def _left(store: Store, roots: list[Path], client: docker.DockerClient | None, measure: Measure) -> Iterator[_Removal]:
    """What a harness that was killed left: its containers and builds in the engine, and temporary folders."""
    if client is not None:
        for one in left_containers(client):
            if one.is_known:
                item = Item(kind="container", name=one.name, size_bytes=0)
                yield _Removal(item, partial(remove_container, client, one.container_id))
        for path in left_builds(client, store):
            item = Item(kind="build", name=path.name, size_bytes=0)
            yield _Removal(item, partial(sweep, client, store, lambda _: None))
    folders = left_folders(Path(tempfile.gettempdir()), PREFIX) + left_folders(store.root / "scratch")
    for above in (one for root in roots for one in (root / "runs", *entries(root / "runs"))):
        folders += [path for prefix in TEMPORARY for path in left_folders(above, prefix)]
    for path in folders:
        yield _Removal(Item(kind="left over", name=str(path), size_bytes=measure.count(path)), partial(delete, path))


def _unknown(client: docker.DockerClient) -> list[str]:
    """The containers of which it cannot be told from here whether their harness lives, as one note."""
    names = [one.name for one in left_containers(client) if not one.is_known]
    listed = f"{', '.join(names[:5])}{' ...' if len(names) > 5 else ''}"
    return [f"kept, for it cannot be seen from here whether their harness lives: {listed}"] if names else []


def _images(client: docker.DockerClient | None, known: References, repository: str, now: float) -> Iterator[_Removal]:
    if client is None:
        return
    images = list(_tagged(client, repository))
    left = {image.tag: image.engine_id for image in images}
    for image in garbage_of_images(images, known, now):
        del left[image.tag]
        size = 0 if image.engine_id in left.values() else image.size_bytes  # freed with its last tag
        yield _Removal(Item(kind="image", name=image.tag, size_bytes=size), partial(_untag, client, image.tag))


def _tagged(client: docker.DockerClient, repository: str) -> Iterator[TaggedImage]:
    used = {str(one.get("ImageID")) for one in client.api.containers(all=True)}
    for one in client.api.images(filters={"reference": f"{repository}/*"}):
        for tag in one.get("RepoTags") or ():
            if not tag.startswith(f"{repository}/"):
                continue
            value = client.api.inspect_image(tag)  # type: ignore[no-untyped-call]
            yield TaggedImage(
                tag=tag,
                engine_id=str(value["Id"]),
                layers=tuple((value.get("RootFS") or {}).get("Layers") or ()),
                size_bytes=int(value.get("Size") or 0),
                tagged_at=_posix(str((value.get("Metadata") or {}).get("LastTagTime") or "")),
                is_used=str(value["Id"]) in used,
            )


def _posix(text: str) -> float:
    """The engine's time, which has nanoseconds, as POSIX time; 0 where it does not tell."""
    try:
        return max(0.0, datetime.fromisoformat(re.sub(r"\.\d+", "", text)).timestamp())
    except (ValueError, OverflowError):
        return 0.0


def _untag(client: docker.DockerClient, tag: str) -> None:
    if remove_images(client, [tag]):
        raise OSError(None, "a container is made from it", tag)
