"""Layers: the members of a file system layer in their canonical order, and their canonical tar headers.

Two layers that unpack to the same files, modes, owners, links, devices and extended attributes are the same
bytes here, whatever engine, clock or Python wrote them: times are zero, names are sorted, user names are
empty, hard links stand after the file they name, and numbers or names that do not fit a ustar field go into
a pax header. The encoding is written out instead of left to a library so that an image's id cannot change
with the version of an interpreter.

Format: POSIX.1-2017, pax interchange format; extended attributes as `SCHILY.xattr.*`, device nodes, `.wh.`
whiteouts as in the OCI image specification, "Image Layer Filesystem Changeset".
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from harness.errors import UsageError

BLOCK = 512
END_OF_ARCHIVE = b"\0" * (2 * BLOCK)
Kind = Literal["file", "hardlink", "symlink", "char", "block", "dir", "fifo"]

_TYPE_FLAGS: dict[Kind, bytes] = {
    "file": b"0",
    "hardlink": b"1",
    "symlink": b"2",
    "char": b"3",
    "block": b"4",
    "dir": b"5",
    "fifo": b"6",
}
_WHITEOUT = ".wh."
_OPAQUE = ".wh..wh..opq"
_MOUNT_FILES = {".dockerenv", "dev/console", "etc/hosts", "etc/hostname", "etc/resolv.conf"}
_MOUNT_FOLDERS = {"dev", "dev/pts", "dev/shm", "etc", "proc", "sys"}
_MAX_SIZE = 8**11 - 1
_MAX_ID = 8**7 - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One member. A file's `size` bytes lie in the file `archive` (a path on the host) at `offset`.

    `path` and a hard link's `link` are relative to the layer's root, without `./` or a trailing slash.
    `mode` holds the permission bits (12 of them). `xattrs` are sorted by name.

    A sparse file has `extents`: (position in the file, number of bytes) of its parts, which lie in `archive` one after
    another; everything between them is zeros. A layer is written without holes.
    """

    path: str
    kind: Kind
    mode: int = 0o644
    uid: int = 0
    gid: int = 0
    size: int = 0
    link: str = ""
    device: tuple[int, int] = (0, 0)
    xattrs: tuple[tuple[str, bytes], ...] = ()
    archive: str = ""
    offset: int = 0
    extents: tuple[tuple[int, int], ...] = ()


def canonical(entries: Iterable[Entry]) -> tuple[Entry, ...]:
    """Entries in canonical order, the last of several with one path, hard links renamed to come after their file.

    Of the names of one file the smallest becomes the file and the others links to it, so the result does not depend on
    which name an engine met first. A link to a file that is not in the layer stays as it is.

    Raises:
        UsageError: hard links form a circle.
    """
    return ordered(named_files(entries))


def squash(layers: Iterable[Iterable[Entry]], below: Iterable[Iterable[Entry]] = ()) -> tuple[Entry, ...]:
    """Several layers as one canonical layer; what a later one removes is gone, unless it lies in a layer `below`.

    Raises:
        UsageError: hard links form a circle.
    """
    under = _with_parents(entry.path for layer in below for entry in layer)
    merged: dict[str, Entry] = {}
    for layer in layers:
        members = named_files(layer)
        for path in sorted(members, key=order_key):
            _lay(members[path], merged, under)
    return ordered(merged)


def order_key(path: str) -> tuple[tuple[bool, str], ...]:
    """Folders before what is in them; whiteouts before their siblings, so that what replaces a name comes after."""
    return tuple((not part.startswith(_WHITEOUT), part) for part in path.split("/"))


def clean_path(name: str) -> str:
    """A member's name as a relative path; "" for the root itself.

    Raises:
        UsageError: it is absolute or climbs.
    """
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if name.startswith("/") or ".." in parts:
        raise UsageError(f"an archive holds a path that leaves it: {name!r}", "do not use this archive")
    return "/".join(parts)


def header(entry: Entry) -> bytes:
    """The canonical header of a member: a ustar block, after a pax header where something does not fit."""
    name = _encode(entry.path + ("/" if entry.kind == "dir" else ""))
    link = _encode(entry.link)
    records: dict[str, bytes] = {f"SCHILY.xattr.{key}": value for key, value in entry.xattrs}
    if len(name) > 100 or not name.isascii():
        records["path"] = name
    if len(link) > 100 or not link.isascii():
        records["linkpath"] = link
    for key, number, limit in (
        ("size", entry.size, _MAX_SIZE),
        ("uid", entry.uid, _MAX_ID),
        ("gid", entry.gid, _MAX_ID),
    ):
        if number > limit:
            records[key] = str(number).encode()
    block = _block(entry, name=name, link=link, flag=_TYPE_FLAGS[entry.kind])
    if not records:
        return block
    body = b"".join(_record(key, records[key]) for key in sorted(records))
    extended = Entry(path="././@PaxHeader", kind="file", size=len(body))
    return _block(extended, name=_encode(extended.path), link=b"", flag=b"x") + body + padding(len(body)) + block


def padding(size: int) -> bytes:
    """Zeros up to the next block."""
    return b"\0" * (-size % BLOCK)


def whiteout(path: str) -> Entry:
    """The member that hides a path of the layers below."""
    folder, _, name = path.rpartition("/")
    return Entry(path=clean_path(f"{folder}/{_WHITEOUT}{name}".lstrip("/")), kind="file")


def is_engines_own(entry: Entry) -> bool:
    """Whether this is a point that an engine makes in every container to mount something on."""
    if entry.kind == "file":
        return entry.size == 0 and entry.path in _MOUNT_FILES
    return entry.path in _MOUNT_FOLDERS if entry.kind == "dir" else entry.path == "etc/mtab"


def named_files(entries: Iterable[Entry]) -> dict[str, Entry]:
    """Entries by path, hard links as files with their owner's content: (archive, offset) says which are one file."""
    by_path = {entry.path: entry for entry in entries}
    files = {}
    for path, entry in by_path.items():
        owner = _owner(entry, by_path)
        files[path] = entry if owner is None else dataclasses.replace(owner, path=path)
    return files


def _owner(entry: Entry, by_path: dict[str, Entry]) -> Entry | None:
    """The file that a hard link stands for, through links to links; None for no link, or if it is not in the layer."""
    seen = {entry.path}
    found: Entry | None = entry
    while found is not None and found.kind == "hardlink":
        found = by_path.get(found.link)
        if found is not None and found.path in seen:
            raise UsageError(f"hard links form a circle at {found.path!r}", "do not use this archive")
        seen |= {found.path} if found else set()
    return None if found is entry else found


def ordered(files: dict[str, Entry]) -> tuple[Entry, ...]:
    """The entries in order, and files that share their content linked to the first of them."""
    first: dict[tuple[str, int], str] = {}
    ordered = []
    for path in sorted(files, key=order_key):
        entry = files[path]
        name = first.setdefault((entry.archive, entry.offset), path) if entry.archive else path
        if name != path:
            # Owner, mode and attributes stay: an engine applies them for each link, and a chown drops capabilities.
            entry = dataclasses.replace(entry, kind="hardlink", link=name, size=0, archive="", offset=0, extents=())
        ordered.append(entry)
    return tuple(ordered)


def _lay(entry: Entry, merged: dict[str, Entry], under: set[str]) -> None:
    """Put one member of a layer over the merged ones; an order of `order_key` sees whiteouts first."""
    folder, _, name = entry.path.rpartition("/")
    if name == _OPAQUE:
        _remove_below(folder, merged)
        if _is_below(folder, under):
            merged[entry.path] = entry
        return
    if name.startswith(_WHITEOUT):
        hidden = clean_path(f"{folder}/{name.removeprefix(_WHITEOUT)}".lstrip("/"))
        merged.pop(hidden, None)
        _remove_below(hidden, merged)
        if hidden in under:
            merged[entry.path] = entry
        return
    was_hidden = merged.pop(whiteout(entry.path).path, None) is not None
    replaced = merged.get(entry.path)
    if entry.kind != "dir" and replaced is not None and replaced.kind == "dir":
        _remove_below(entry.path, merged)
    elif was_hidden and _is_below(entry.path, under):
        opaque = f"{entry.path}/{_OPAQUE}"
        merged[opaque] = Entry(path=opaque, kind="file")
    merged[entry.path] = entry


def _remove_below(folder: str, merged: dict[str, Entry]) -> None:
    for path in [path for path in merged if path.startswith(folder + "/")]:
        del merged[path]


def _is_below(folder: str, under: set[str]) -> bool:
    return any(path.startswith(folder + "/") for path in under)


def _with_parents(paths: Iterable[str]) -> set[str]:
    found = set()
    for path in paths:
        while path and path not in found:
            found.add(path)
            path = path.rpartition("/")[0]
    return found


def _encode(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _record(key: str, value: bytes) -> bytes:
    """`<length> <key>=<value>` and a line feed; the length counts itself."""
    rest = b" " + _encode(key) + b"=" + value + b"\n"
    length = len(rest)
    while length != len(rest) + len(str(length)):
        length = len(rest) + len(str(length))
    return str(length).encode() + rest


def _block(entry: Entry, *, name: bytes, link: bytes, flag: bytes) -> bytes:
    def octal(number: int, width: int, limit: int) -> bytes:
        return b"%0*o\0" % (width - 1, number if number <= limit else 0)

    fields = (
        _ascii(name, 100),
        octal(entry.mode & 0o7777, 8, _MAX_ID),
        octal(entry.uid, 8, _MAX_ID),
        octal(entry.gid, 8, _MAX_ID),
        octal(entry.size, 12, _MAX_SIZE),
        octal(0, 12, 0),
        b" " * 8,
        flag,
        _ascii(link, 100),
        b"ustar\x0000",
        bytes(64),
        octal(entry.device[0], 8, _MAX_ID),
        octal(entry.device[1], 8, _MAX_ID),
        bytes(167),
    )
    block = b"".join(fields)
    return block[:148] + b"%06o\0 " % sum(block) + block[156:]


def _ascii(value: bytes, width: int) -> bytes:
    return bytes(byte if byte < 128 else ord("?") for byte in value[:width]).ljust(width, b"\0")
