"""`code.tar`: the exported code of a run as one canonical archive, written, read in place, and unpacked elsewhere."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from harness.archive.archive_file import PackedFiles
from harness.archive.tar import read_members
from harness.documents.archive import LeftOut
from harness.documents.digest import Data, Digest, canonical_json, sha256
from harness.errors import TamperedError, UsageError
from harness.images.layer import Entry, clean_path, order_key
from harness.images.layer_tar import encode, encoded_size, layer_digest
from harness.system.safe_read import is_plain

NAME = "code.tar"
MAX_MEMBERS = 200_000
_REMEDY = "get the archive again from whoever made it"


def code_entries(folder: Path) -> tuple[Entry, ...]:
    """The files and links below a folder in canonical order; of a mode only whether it can be executed counts.

    Raises:
        UsageError: it holds something else than files, folders and links, or too much.
    """
    entries = {}
    for root, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if name != "__pycache__"]
        links = [name for name in folders if (Path(root) / name).is_symlink()]
        for path in (Path(root) / name for name in (*names, *links)):
            entry = _entry(path, path.relative_to(folder).as_posix())
            entries[entry.path] = entry
            if len(entries) > MAX_MEMBERS:
                raise UsageError(f"the code has more than {MAX_MEMBERS} files", "leave data out of the repository")
    return tuple(entries[path] for path in sorted(entries, key=order_key))


def code_tar(folder: Path) -> Iterator[bytes]:
    return encode(code_entries(folder))


def code_tar_size(folder: Path) -> int:
    return encoded_size(code_entries(folder))


def code_tar_digest(folder: Path) -> Digest:
    """The sha256 of the archive of a folder with code."""
    return Digest.parse(layer_digest(code_entries(folder)))


class CodeFiles(PackedFiles):
    """The files of a `code.tar`, read in place."""

    def tree_digest(self) -> Digest:
        """As `store.tree_digest` of the folder that it was made of: the manifest's digest of the code."""
        return sha256(canonical_json({path: str(self.digest(path, part)) for path, part in self.parts()}))


def read_code(data: Data) -> CodeFiles:
    """A `code.tar`, checked byte by byte.

    Raises:
        TamperedError: it is not the canonical archive of any folder.
    """
    members = list(_checked(data))
    places = {entry.path: (begin, entry.size) for entry, begin in members if entry.kind == "file"}
    links = LeftOut(links=tuple(entry.path for entry, _ in members if entry.kind == "symlink"), others=(), empty=())
    return CodeFiles(data, "code", places, digests={}, left_out=links, remedy=_REMEDY)


def unpack_code(data: Data, folder: Path) -> None:
    """Write the files of a `code.tar` into a folder that does not exist; nothing is written outside of it.

    Raises:
        TamperedError: it is not the canonical archive of any folder.
        UsageError: a link leads out of the folder.
    """
    members = {entry.path: (entry, begin) for entry, begin in _checked(data)}
    links = {path for path, (entry, _) in members.items() if entry.kind == "symlink"}
    for path in links:
        _check_link(members[path][0], links)
    folder.mkdir(parents=True)
    for path, (entry, begin) in members.items():
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        if entry.kind == "symlink":
            target.symlink_to(entry.link)
        else:
            target.write_bytes(data[begin : begin + entry.size])
            target.chmod(entry.mode)


def _entry(path: Path, name: str) -> Entry:
    if path.is_symlink():
        return Entry(path=name, kind="symlink", mode=0o777, link=os.fspath(path.readlink()))
    if not path.is_file():
        raise UsageError(f"{name} in the exported code is no file", "export the code again: certify anew")
    status = path.stat()
    mode = 0o755 if status.st_mode & 0o100 else 0o644
    return Entry(path=name, kind="file", mode=mode, size=status.st_size, archive=str(path))


def _checked(data: Data) -> Iterator[tuple[Entry, int]]:
    """The members, each where it may stand: sorted, under a name that climbs nowhere, below no other member."""
    seen: set[str] = set()
    last: tuple[tuple[bool, str], ...] = ()
    for entry, begin in read_members(data, NAME, max_members=MAX_MEMBERS):
        if not is_plain(entry.path) or clean_path(entry.path) != entry.path:
            raise TamperedError(f"{NAME} holds a path that leaves it: {entry.path!a}", _REMEDY)
        if last >= (last := order_key(entry.path)):
            raise TamperedError(f"{NAME}: {entry.path!a} is not in its place", _REMEDY)
        parts = entry.path.split("/")
        if any("/".join(parts[:depth]) in seen for depth in range(1, len(parts))):
            raise TamperedError(f"{NAME}: {entry.path!a} lies below something that is no folder", _REMEDY)
        if entry.mode not in ((0o644, 0o755) if entry.kind == "file" else (0o777,)) or "__pycache__" in parts:
            raise TamperedError(f"{NAME}: {entry.path!a} is no such member as code has", _REMEDY)
        seen.add(entry.path)
        yield entry, begin


def _check_link(entry: Entry, links: set[str]) -> None:
    """Refuse a link that leads out of the folder, if need be through another link."""
    place = entry.path.split("/")[:-1]
    parts = entry.link.split("/")
    is_inside = bool(entry.link) and not entry.link.startswith("/") and "\0" not in entry.link
    for number, part in enumerate(parts):
        if part == ".." and not place:
            is_inside = False
        place = place[:-1] if part == ".." else place if part in ("", ".") else [*place, part]
        if number < len(parts) - 1 and "/".join(place) in links:
            is_inside = False
    if not is_inside:
        raise UsageError(f"{NAME}: the link {entry.path!a} leads to {entry.link!a}", "such code is not unpacked here")
