"""Packages unpacked into folders. Nothing in an archive is trusted: a path or a link that leaves the tree is refused,
devices are refused, and sizes and counts are bounded.
"""

from __future__ import annotations

import os
import stat
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import IO

from harness.errors import UsageError
from harness.images.layer import Entry, clean_path
from harness.images.layer_tar import CHUNK, read_contents, read_layer
from harness.inputs.trees import MAX_MEMBERS, forget_times
from harness.packages.deb_file import MAX_UNPACKED_BYTES, unpack_data


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
    forget_times(tree)


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
    forget_times(tree)


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
    """The link's target, relative, when it stays in the tree; the tree is the root of absolute ones."""
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
