"""Which files of a run's folder are its evidence, each with its sha256: what a certificate lists and an archive holds.

Everything below the folder is, but the exported code (one entry, `code.tar`), what can be fetched or made again
(`inputs/`, `prepare/`), and the certificate itself with the key that signed it. An archive holds regular files only:
links, empty folders and whatever else lies there is named in `not-archived.json`, which is evidence too, so that who
judges inside an archive sees what was seen in the folder.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from harness.archive.code_tar import NAME as CODE_TAR
from harness.archive.code_tar import code_tar_digest
from harness.documents.digest import Digest, canonical_json
from harness.images.oci_documents import MAX_TITLES, NOT_ARCHIVED
from harness.system.safe_read import clean
from harness.system.store import file_digest

_LEFT_OUT = {"code", "inputs", "prepare", "key.json", NOT_ARCHIVED}


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What lies in a run's folder, relative to it, sorted: regular files, links, other things, and empty folders."""

    files: tuple[str, ...]
    links: tuple[str, ...]
    others: tuple[str, ...]
    empty: tuple[str, ...]

    @property
    def left_out(self) -> dict[str, list[str]]:
        """As `not-archived.json` has it; names that are no UTF-8 are escaped."""
        named = {"links": self.links, "others": self.others, "empty": self.empty}
        return {kind: [clean(path) for path in paths] for kind, paths in named.items()}


def list_evidence(folder: Path) -> dict[str, Digest]:
    """The sha256 of every file that belongs to a run, by its name, sorted; `code.tar` where there is code.

    Raises:
        OSError: a file cannot be read.
    """
    found = {clean(path): Digest.parse(file_digest(folder / path)) for path in found_in(folder).files}
    if (folder / NOT_ARCHIVED).is_file():
        found[NOT_ARCHIVED] = Digest.parse(file_digest(folder / NOT_ARCHIVED))
    if (folder / "code").is_dir():
        found[CODE_TAR] = code_tar_digest(folder / "code")
    return {name: found[name] for name in sorted(found)}


def note_left_out(folder: Path) -> None:
    """Write `not-archived.json` where there is something to name; to be called before the evidence is listed."""
    found = found_in(folder)
    if any(found.left_out.values()):
        (folder / NOT_ARCHIVED).write_bytes(canonical_json(found.left_out))


def left_out_now(folder: Path) -> Mapping[str, list[str]]:
    """What `not-archived.json` would name now."""
    return found_in(folder).left_out


def found_in(folder: Path) -> Found:
    """What lies in a run's folder and belongs to the run; names are as the file system has them."""
    found: dict[str, list[str]] = {"file": [], "link": [], "other": [], "empty": []}
    for path, kind in _walk(folder):
        found[kind].append(path)
        if sum(map(len, found.values())) > MAX_TITLES:
            break  # so many are in no archive; a certificate lists the first of them
    files, links, others, empty = (tuple(sorted(found[kind])) for kind in ("file", "link", "other", "empty"))
    return Found(files=files, links=links, others=others, empty=empty)


def _walk(folder: Path) -> Iterator[tuple[str, str]]:
    """Paths below a run's folder that belong to the run, each a `file`, a `link`, an `empty` folder or `other`."""
    folders = [""]
    while folders:
        relative = folders.pop()
        with os.scandir(folder / relative) as entries:
            inside = sorted(entries, key=lambda entry: entry.name)
        if not inside:
            yield relative, "empty"
        for entry in inside:
            path = f"{relative}/{entry.name}" if relative else entry.name
            if not relative and (entry.name in _LEFT_OUT or entry.name.startswith("certificate")):
                continue
            if entry.is_dir(follow_symlinks=False):
                folders.append(path)
            else:
                yield path, "link" if entry.is_symlink() else "file" if entry.is_file() else "other"
