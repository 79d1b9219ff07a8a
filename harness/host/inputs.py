"""Inputs made real: fetched, verified against their sha256, unpacked below the cache.

A package's tree appears in the cache whole or not at all, under its sha256. Nothing in an archive is trusted: a path or
a link that leaves the tree is refused, devices are refused, and sizes and counts are bounded.
"""

from __future__ import annotations

import os
import stat
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import IO

from harness.core.experiment_input import Input, check_input
from harness.core.layer import Entry, clean_path
from harness.errors import UsageError
from harness.host.deb import MAX_UNPACKED_BYTES, unpack_data
from harness.host.debian import fetch_package
from harness.host.layers import CHUNK, read_contents, read_layer
from harness.host.store import Progress, Store, disk_errors, file_digest
from harness.host.wheels import fetch_wheel

MAX_MEMBERS = 200_000
_UNPACK_VERSION = "1"


def materialise(value: Input, store: Store, root: Path, progress: Progress) -> Path:
    """The input on this machine's disk, verified.

    Args:
        value: the input.
        store: the cache.
        root: the project's root, which a `file` input lies below.
        progress: told what is fetched.

    Returns:
        A file (`file`), or the folder that a package was unpacked into (`pypi`, `deb`).

    Raises:
        UsageError: the input is malformed, leaves the project, is no sane archive, or has another sha256.
        EnvironmentError_: it cannot be fetched, or the disk is full.
    """
    check_input(value)
    with disk_errors(f"input {value.name!r}"):
        if value.kind == "file":
            return _project_file(value, root)
        unpack = unpack_wheel if value.kind == "pypi" else unpack_deb
        digits = value.sha256.removeprefix("sha256:")
        tree = store.folder("inputs") / f"{value.kind}-{_UNPACK_VERSION}-{digits}"
        with store.locked(f"input-{digits}", lambda: progress(f"waiting: {value.name} is being unpacked already")):
            if not tree.is_dir():
                archive = _archive(value, store, progress)
                with store.scratch("input") as scratch:
                    (scratch / "tree").mkdir()
                    unpack(archive, scratch / "tree")
                    (scratch / "tree").replace(tree)
    return tree


def unpack_wheel(wheel: Path, tree: Path, max_bytes: int = MAX_UNPACKED_BYTES) -> None:
    """Unpack a wheel into an empty folder.

    Raises:
        UsageError: it is torn, too large, or holds a path that leaves the folder or a member that is no file.
    """
    try:
        with zipfile.ZipFile(wheel) as archive:
            members = [member for member in archive.infolist() if not member.is_dir()]
            _bounded(wheel.name, len(members), sum(member.file_size for member in members), max_bytes)
            for member in members:
                mode = member.external_attr >> 16
                if stat.S_IFMT(mode) not in (0, stat.S_IFREG):
                    raise _refused(wheel.name, f"{member.filename!r} is no regular file")
                path = _inside(tree, clean_path(member.filename.replace("\\", "/")))
                with archive.open(member) as content:
                    _write(path, _pieces(content), mode)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise _refused(wheel.name, f"it is torn ({error})") from error
    except (FileExistsError, NotADirectoryError) as error:
        raise _refused(wheel.name, f"it holds {error.filename!r} twice") from error
    _forget_times(tree)


def unpack_deb(package: Path, tree: Path, max_bytes: int = MAX_UNPACKED_BYTES) -> None:
    """Unpack a Debian package's files into an empty folder; absolute links become relative to it.

    Raises:
        UsageError: it is torn, too large, or holds a path or a link that leaves the folder, or a device.
    """
    data = tree.with_name(f"{tree.name}.tar")
    unpack_data(package, data, max_bytes)
    try:
        entries = read_layer(data)
        _bounded(package.name, len(entries), 0, max_bytes)
        for entry in entries:
            _unpack_entry(entry, tree, package.name)
    except (FileExistsError, NotADirectoryError) as error:
        raise _refused(package.name, f"it holds {error.filename!r} twice") from error
    finally:
        data.unlink()
    _forget_times(tree)


def _unpack_entry(entry: Entry, tree: Path, name: str) -> None:
    path = _inside(tree, entry.path)
    if entry.kind == "dir":
        path.mkdir(parents=True, exist_ok=True)
    elif entry.kind == "file":
        _write(path, read_contents(entry), entry.mode)
    elif entry.kind == "symlink":
        path.parent.mkdir(parents=True, exist_ok=True)
        path.symlink_to(_safe_link(entry, name))
    elif entry.kind == "hardlink":
        target = _inside(tree, entry.link)
        if not target.is_file():
            raise _refused(name, f"{entry.path!r} is a link to something that is not in it")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.hardlink_to(target)
    else:
        raise _refused(name, f"{entry.path!r} is a device or a pipe")


def _safe_link(entry: Entry, name: str) -> str:
    """The link's target, relative, when it stays in the tree; the tree is the root of absolute ones.

    Raises:
        UsageError: it climbs out.
    """
    folder = PurePosixPath(entry.path).parent
    target = PurePosixPath(entry.link)
    parts: list[str] = [] if target.is_absolute() else [part for part in folder.parts if part != "."]
    for part in target.parts:
        if part == "..":
            if not parts:
                raise _refused(name, f"the link {entry.path!r} -> {entry.link!r} leaves it")
            parts.pop()
        elif part not in ("/", "."):
            parts.append(part)
    return os.path.relpath("/".join(parts) or ".", str(folder))


def _project_file(value: Input, root: Path) -> Path:
    path = (root / value.reference).resolve()
    if not path.is_relative_to(root.resolve()):
        raise UsageError(f"input {value.name!r}: {value.reference} leaves the project", "put the file below its root")
    if not path.is_file():
        raise UsageError(f"input {value.name!r}: {value.reference} is no file", "check the path in the experiment")
    found = file_digest(path)
    if found != value.sha256:
        raise _mismatch(value, found)
    return path


def _archive(value: Input, store: Store, progress: Progress) -> Path:
    """The package's file in the store, fetched if it is not there."""
    blob = store.blob(value.sha256)
    if blob.is_file():
        if file_digest(blob) == value.sha256:
            return blob
        blob.unlink()
    progress(f"fetching {value.reference} {value.version}")
    with store.scratch("fetch") as scratch:
        file = scratch / "package"
        if value.kind == "pypi":
            file = fetch_wheel(value.reference, value.version, value.sha256, scratch)
        else:
            fetch_package(value.reference, value.version, file, os.environ)
        found = file_digest(file)
        if found != value.sha256:
            raise _mismatch(value, found)
        return store.add(file, value.sha256, value.name)


def _mismatch(value: Input, found: str) -> UsageError:
    problem = f"input {value.name!r} ({value.reference} {value.version}".rstrip() + ") is not what the experiment pins"
    problem += f"\n  expected: {value.sha256}\n  found:    {found}"
    return UsageError(problem, "find out which of the two is right; only then change the experiment's sha256")


def _refused(name: str, why: str) -> UsageError:
    return UsageError(f"{name} is not unpacked: {why}", "do not use this package")


def _bounded(name: str, num_members: int, size: int, max_bytes: int) -> None:
    if num_members > MAX_MEMBERS or size > max_bytes:
        raise _refused(
            name, f"it holds {num_members} members and {size} bytes; {MAX_MEMBERS} and {max_bytes} are allowed"
        )


def _inside(tree: Path, name: str) -> Path:
    """The place of a member; no folder on the way to it may be a link that was unpacked before."""
    path = tree
    parts = name.split("/")
    for part in parts[:-1]:
        path = path / part
        if path.is_symlink():
            raise _refused(tree.name, f"{name!r} goes through a link")
    return path / parts[-1] if name else tree


def _pieces(stream: IO[bytes]) -> Iterator[bytes]:
    while piece := stream.read(CHUNK):
        yield piece


def _write(path: Path, chunks: Iterator[bytes], mode: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("xb") as output:
        for chunk in chunks:
            output.write(chunk)
    path.chmod(0o755 if mode & 0o111 else 0o644)


def _forget_times(tree: Path) -> None:
    """Set every time to zero: the same package is the same tree on every machine."""
    for folder, _, names in os.walk(tree, topdown=False):
        for name in names:
            os.utime(Path(folder) / name, (0, 0), follow_symlinks=False)
        os.utime(folder, (0, 0))
