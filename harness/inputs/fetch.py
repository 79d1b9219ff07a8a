"""Inputs made real: fetched, verified against their sha256, and laid out below the cache.

A file is a blob of the store with a second name, a tree appears whole or not at all, and both are named by the sha256
that the experiment pins: whoever has it, in the cache or in an archive, needs nobody to fetch it from. What lies in the
cache already is hashed again before it is used.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from harness.documents.inputs import LISTED, LOCAL, Input, check_input
from harness.errors import HostError, UsageError
from harness.inputs.download import download
from harness.inputs.hub import fetch_snapshot
from harness.inputs.local import local_digest, local_listing, mismatch
from harness.inputs.trees import add_copy, add_tree, link_blob, listing, make_tree, text_digest
from harness.inputs.unpacking import unpack_deb, unpack_wheel
from harness.packages.debian import fetch_package
from harness.packages.wheels import fetch_wheel
from harness.system.store import Progress, Store, disk_errors, file_digest

_UNPACK_VERSION = "1"


def fetch_input(value: Input, store: Store, root: Path, progress: Progress) -> Path:
    """The input on this machine's disk, verified.

    Returns:
        A read-only file (`file`, `https`), or a folder (`folder`, `pypi`, `deb`, `hf`), below the cache.

    Raises:
        UsageError: the input is malformed, is not there, is no sane archive, or has another sha256.
        HostError: it cannot be fetched, or the disk is full.
    """
    check_input(value)
    digits = value.sha256.removeprefix("sha256:")
    waiting = f"waiting: another process is fetching {value.name}"
    with disk_errors(f"input {value.name!r}"), store.locked(f"input-{digits}", lambda: progress(waiting)):
        source = root / value.reference if value.kind in LOCAL and _is_here(value, root) else None
        if value.kind in LOCAL and source is None:
            progress(f"{value.reference} is not there: looking for it in the cache")
        if value.kind == "file":
            return _named(value, store, _local_file(value, store, source))
        if value.kind == "https":
            return _named(value, store, _blob(value, store, progress))
        if value.kind in LISTED:
            return _folder(value, store, source, progress)
        return _package(value, store, progress)


def unpacked_tree(value: Input, store: Store) -> Path:
    """Where the folder of an input lies in the cache, or would lie."""
    digits = value.sha256.removeprefix("sha256:")
    version = "" if value.kind in LISTED else f"{_UNPACK_VERSION}-"
    return store.folder("inputs") / f"{value.kind}-{version}{digits}"


def _named(value: Input, store: Store, blob: Path) -> Path:
    """The blob under the input's own name: a process that resolves `/inputs/<name>` still sees its suffix."""
    path = store.folder("inputs", f"file-{value.sha256.removeprefix('sha256:')}") / value.name
    if not (path.is_file() and path.samefile(blob)):
        path.unlink(missing_ok=True)
        with store.scratch("input") as scratch:
            link_blob(blob, scratch / "file")
            (scratch / "file").replace(path)
    return path


def _is_here(value: Input, root: Path) -> bool:
    """Whether the file or folder lies where the experiment says, as it pins it."""
    found = local_digest(value, root)
    if found is not None and found != value.sha256:
        raise mismatch(value, found)
    return found is not None


def _nowhere(value: Input) -> UsageError:
    return UsageError(f"input {value.name!r}: there is no {value.reference}", "check the path in the experiment")


def _local_file(value: Input, store: Store, source: Path | None) -> Path:
    if blob := store.find(value.sha256):
        return blob
    if source is None:
        raise _nowhere(value)
    return add_copy(source, value.sha256, value.name, store)


def _blob(value: Input, store: Store, progress: Progress) -> Path:
    """The blob with the file, the wheel or the `.deb`, fetched if nobody has it."""
    if blob := store.find(value.sha256):
        return blob
    store.needs_network(f"input {value.name!r}")
    progress(f"fetching {value.reference} {value.version}".rstrip())
    with store.scratch("fetch") as scratch:
        file = scratch / "package"
        if value.kind == "https":
            download(value.reference, file, value.name, progress)
        elif value.kind == "pypi":
            file = fetch_wheel(value.reference, value.version, value.sha256, scratch)
        else:
            fetch_package(value.reference, value.version, file, os.environ)
        found = file_digest(file)
        if found != value.sha256:
            raise mismatch(value, found)
        return store.add(file, value.sha256, value.name)


def _package(value: Input, store: Store, progress: Progress) -> Path:
    """The folder that a package is unpacked into, as it was then; a record says what that was."""
    tree = unpacked_tree(value, store)
    key = tree.name
    if tree.is_dir():
        known = store.read_record("unpacked", key) or {}
        if known.get("tree") == text_digest(listing(tree, links="count")):
            return tree
        progress(f"{value.name} was changed in the cache: unpacking it again")
    archive = _blob(value, store, progress)
    with store.scratch("input") as scratch:
        made = scratch / "tree"
        made.mkdir()
        (unpack_wheel if value.kind == "pypi" else unpack_deb)(archive, made)
        record = {"tree": text_digest(listing(made, links="count"))}
        _put(made, tree, scratch)
    store.write_record("unpacked", key, record)
    return tree


def _folder(value: Input, store: Store, source: Path | None, progress: Progress) -> Path:
    """A folder's files, made of blobs; a listing that has the pinned sha256 says of which.

    They come from the cache, from `source`, or from the hub.
    """
    tree = unpacked_tree(value, store)
    if tree.is_dir():
        if _has_digest(tree, value.sha256):
            return tree
        progress(f"{value.name} was changed in the cache: making it again")
    with store.scratch("input") as scratch:
        if not make_tree(value.sha256, store, scratch / "tree"):
            if value.kind == "hf":
                _download_repository(value, store, progress)
            elif source is None:
                raise _nowhere(value)
            else:
                add_tree(source, local_listing(source), store, is_kept=True)
            shutil.rmtree(scratch / "tree", ignore_errors=True)
            if not make_tree(value.sha256, store, scratch / "tree"):
                problem = f"input {value.name!r}: files vanish from the cache {store.root}"
                raise HostError(problem, "find out who removes them, then start again")
        _put(scratch / "tree", tree, scratch)
    return tree


def _download_repository(value: Input, store: Store, progress: Progress) -> None:
    store.needs_network(f"input {value.name!r}")
    with store.scratch("hub") as scratch:
        tree = fetch_snapshot(value, scratch, os.environ, progress)
        try:
            text = listing(tree)
        except UsageError as error:
            raise UsageError(f"input {value.name!r} ({value.reference}): {error.problem}", error.remedy) from error
        if text_digest(text) != value.sha256:
            raise mismatch(value, text_digest(text))
        add_tree(tree, text, store)


def _has_digest(tree: Path, digest: str) -> bool:
    try:
        return text_digest(listing(tree)) == digest
    except UsageError:
        return False


def _put(made: Path, tree: Path, scratch: Path) -> None:
    """Rename a finished folder to where it belongs; one that was there and is wrong goes first."""
    if tree.is_dir():
        tree.replace(scratch / "wrong")
    made.replace(tree)
