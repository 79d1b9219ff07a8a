"""Folders of the cache: what they hold as one digest, and the same folder made again from blobs.

The text that is hashed is what `sha256sum` prints for the files, sorted by path in the C locale, so that a person can
compute it with a line of shell; docs/guide/inputs.md has the line.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from collections.abc import Container, Iterator
from pathlib import Path
from typing import Literal

from harness.documents.lockfile import digest_of
from harness.errors import UsageError
from harness.images.layer import clean_path
from harness.system.store import Store, file_digest

MAX_MEMBERS = 200_000
_LARGEST_LISTING = 128 << 20
_REMEDY = "compute it as docs/guide/inputs.md says"
_LINE = re.compile(r"([0-9a-f]{64})  ([^\x00-\x1f\x7f\\]+)")
Links = Literal["refuse", "count", "follow"]


def listing(folder: Path, *, links: Links = "refuse", without: Container[str] = ()) -> str:
    """One line for each file, `<hex>  <path>`, sorted by path as bytes; empty folders, modes and times do not count.

    Args:
        folder: with the files.
        links: what becomes of symbolic links: they count by a digest of where they point to, or as the file there.
        without: names at the top that are left out.

    Raises:
        UsageError: it holds a link, a device, or a name with a control character or a backslash, which
            `sha256sum` would print in another way.
    """
    lines = {}
    for path in _files(folder, without):
        name = str(path.relative_to(folder))
        if links == "count" and path.is_symlink():
            digits = hashlib.sha256(b"link to " + os.fsencode(path.readlink())).hexdigest()
        elif not path.is_file() or (links == "refuse" and path.is_symlink()):
            raise UsageError(f"{name!r} is not a regular file", "an input's files are regular files")
        else:
            digits = file_digest(path).removeprefix("sha256:")
        line = f"{digits}  {name}"
        if links != "count" and not _LINE.fullmatch(line):
            raise UsageError(f"{name!r} cannot be the name of an input's file", "rename it where it comes from")
        lines[os.fsencode(name)] = line
    return "".join(f"{lines[name]}\n" for name in sorted(lines))


def text_digest(text: str) -> str:
    """`sha256:<hex>` of a listing; names that are no UTF-8 count as the bytes that they are."""
    return digest_of(os.fsencode(text))


def add_tree(folder: Path, text: str, store: Store, *, is_kept: bool = False) -> None:
    """Bring a folder's files into the store, and its listing last: who has a listing can make the folder.

    They are moved, or copied if the folder `is_kept`.

    Raises:
        UsageError: a file is not what the listing says.
    """
    for digest, name in listed(text):
        if store.find(digest) is None:
            if is_kept:
                add_copy(folder / name, digest, name, store)
            else:
                _freeze(folder / name)
                store.add(folder / name, digest, name)
    with store.scratch("listing") as scratch:
        (scratch / "listing").write_bytes(os.fsencode(text))
        store.add(scratch / "listing", text_digest(text), "the listing of an input")


def add_copy(path: Path, digest: str, what: str, store: Store) -> Path:
    """The blob with a copy of somebody's file, which may change while it is used.

    Raises:
        UsageError: it has another digest by now.
    """
    with store.scratch("copy") as scratch:
        return store.add(Path(shutil.copyfile(path, scratch / "file")), digest, what)


def make_tree(digest: str, store: Store, tree: Path) -> bool:
    """Make the folder whose listing has this digest out of the store's blobs, each verified.

    Returns:
        Whether everything was there; if not, what is at `tree` is not the input.

    Raises:
        UsageError: the blob with that digest is no listing.
    """
    found = store.find(digest)
    if found is None:
        return False
    if found.stat().st_size > _LARGEST_LISTING:
        raise UsageError(f"the pinned sha256 is that of {found.stat().st_size} bytes, not of a listing", _REMEDY)
    tree.mkdir()
    for member, name in listed(os.fsdecode(found.read_bytes())):
        blob = store.find(member)
        if blob is None:
            return False
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        link_blob(blob, tree / name)
    forget_times(tree)
    return True


def listed(text: str) -> Iterator[tuple[str, str]]:
    """Digest (`sha256:<hex>`) and path of each line of a listing.

    Raises:
        UsageError: a line is malformed, a path leaves the folder or comes twice, or there are too many.
    """
    lines = text.removesuffix("\n").split("\n")
    seen = set()
    for line in lines:
        found = _LINE.fullmatch(line)
        if not found or clean_path(found[2]) != found[2] or found[2] in seen or len(lines) > MAX_MEMBERS:
            problem = f"the pinned sha256 is not that of a list of files: {line[:80]!r}"
            raise UsageError(problem, _REMEDY)
        seen.add(found[2])
        yield f"sha256:{found[1]}", found[2]


def link_blob(blob: Path, path: Path) -> None:
    """Give a blob a second name, read-only and without a time; a copy where the file system has no links."""
    _freeze(blob)
    try:
        path.hardlink_to(blob)
    except OSError as error:
        if isinstance(error, FileExistsError):
            raise
        shutil.copyfile(blob, path)  # too many links to one inode, or a file system without them
        _freeze(path)


def forget_times(tree: Path) -> None:
    """Set every time to zero: the same input is the same tree on every machine."""
    for folder, _, names in os.walk(tree, topdown=False):
        for name in names:
            os.utime(Path(folder) / name, (0, 0), follow_symlinks=False)
        os.utime(folder, (0, 0))


def _files(folder: Path, without: Container[str]) -> Iterator[Path]:
    """Everything below a folder that is no folder itself; a link to a folder is a link."""
    for root, folders, names in os.walk(folder):
        if root == str(folder):
            folders[:], names = ([name for name in some if name not in without] for some in (folders, names))
        places = [Path(root) / name for name in folders]
        yield from (path for path in places if path.is_symlink())
        yield from (Path(root) / name for name in names)


def _freeze(path: Path) -> None:
    path.chmod(0o444)
    os.utime(path, (0, 0))
