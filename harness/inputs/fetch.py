"""Inputs made real: fetched, verified against their sha256, and laid out below the cache.

A file is a blob of the store with a second name, a tree appears whole or not at all, and both are named by the sha256
that the experiment pins: whoever has it, in the cache or in an archive, needs nobody to fetch it from. What lies in the
cache already is hashed again before it is used.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from harness.documents.inputs import Input, check_input
from harness.errors import HostError, UsageError
from harness.inputs.download import download
from harness.inputs.hub import fetch_snapshot
from harness.inputs.trees import add_tree, link_blob, listing, make_tree, text_digest
from harness.inputs.unpacking import unpack_deb, unpack_wheel
from harness.packages.debian import fetch_package
from harness.packages.wheels import fetch_wheel
from harness.system.store import Progress, Store, disk_errors, file_digest

_UNPACK_VERSION = "1"


def fetch_input(value: Input, store: Store, root: Path, progress: Progress) -> Path:
    """The input on this machine's disk, verified.

    Returns:
        A read-only file (`file`, `https`), or a folder (`pypi`, `deb`, `hf`), below the cache.

    Raises:
        UsageError: the input is malformed, leaves the project, is no sane archive, or has another sha256.
        HostError: it cannot be fetched, or the disk is full.
    """
    check_input(value)
    digits = value.sha256.removeprefix("sha256:")
    waiting = f"waiting: another process is fetching {value.name}"
    with disk_errors(f"input {value.name!r}"), store.locked(f"input-{digits}", lambda: progress(waiting)):
        if value.kind == "file":
            return _named(value, store, _project_file(value, store, root, progress))
        if value.kind == "https":
            return _named(value, store, _blob(value, store, progress))
        if value.kind == "hf":
            return _repository(value, store, progress)
        return _package(value, store, progress)


def unpacked_tree(value: Input, store: Store) -> Path:
    """Where the folder of a package or a repository lies in the cache, or would lie."""
    digits = value.sha256.removeprefix("sha256:")
    version = "" if value.kind == "hf" else f"{_UNPACK_VERSION}-"
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


def _project_file(value: Input, store: Store, root: Path, progress: Progress) -> Path:
    """The blob with a copy of the project's file, which may change while it is used."""
    path = (root / value.reference).resolve()
    if not path.is_relative_to(root.resolve()):
        raise UsageError(f"input {value.name!r}: {value.reference} leaves the project", "put the file below its root")
    if not path.is_file():
        if blob := store.find(value.sha256):
            progress(f"{value.reference} is not in the project; the cache has it")
            return blob
        raise UsageError(f"input {value.name!r}: {value.reference} is not a file", "check the path in the experiment")
    found = file_digest(path)
    if found != value.sha256:
        raise _mismatch(value, found)
    if blob := store.find(value.sha256):
        return blob
    with store.scratch("copy") as scratch:
        return store.add(Path(shutil.copyfile(path, scratch / "file")), value.sha256, value.name)


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
            raise _mismatch(value, found)
        return store.add(file, value.sha256, value.name)


def _package(value: Input, store: Store, progress: Progress) -> Path:
    """The folder that a package is unpacked into, as it was then; a record says what that was."""
    tree = unpacked_tree(value, store)
    key = tree.name
    if tree.is_dir():
        known = store.read_record("unpacked", key) or {}
        if known.get("tree") == text_digest(listing(tree, links=True)):
            return tree
        progress(f"{value.name} was changed in the cache: unpacking it again")
    archive = _blob(value, store, progress)
    with store.scratch("input") as scratch:
        made = scratch / "tree"
        made.mkdir()
        (unpack_wheel if value.kind == "pypi" else unpack_deb)(archive, made)
        record = {"tree": text_digest(listing(made, links=True))}
        _put(made, tree, scratch)
    store.write_record("unpacked", key, record)
    return tree


def _repository(value: Input, store: Store, progress: Progress) -> Path:
    """The folder with a repository's files, made of blobs; a listing that has the pinned sha256 says of which."""
    tree = unpacked_tree(value, store)
    if tree.is_dir():
        if _has_digest(tree, value.sha256):
            return tree
        progress(f"{value.name} was changed in the cache: making it again")
    with store.scratch("input") as scratch:
        if not make_tree(value.sha256, store, scratch / "tree"):
            _download_repository(value, store, progress)
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
            raise _mismatch(value, text_digest(text))
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


def _mismatch(value: Input, found: str) -> UsageError:
    problem = f"input {value.name!r} ({value.reference} {value.version}".rstrip() + ") is not what the experiment pins"
    problem += f"\n  expected: {value.sha256}\n  found:    {found}"
    return UsageError(problem, "find out which of the two is right; only then change the experiment's sha256")
