"""What a full archive holds beside the run: every package that the locks name and every input, and their licences."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from harness.documents.inputs import Input
from harness.documents.lockfile import BaseLock, BasePackage, Lockfile
from harness.errors import TamperedError

LICENCES = "LICENSES.json"
NOT_STATED = "not stated"
_MAX_LICENCE = 1000
_REMEDY = "get the archive again from whoever made it, and compare its sha256"


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What a run was made from, as its code and its manifest name it.

    `image_id` is None for a run without containers; then no Debian packages belong to it.
    """

    lock: Lockfile
    base_lock: BaseLock | None
    inputs: tuple[Input, ...]
    image_id: str | None

    @property
    def debs(self) -> tuple[BasePackage, ...]:
        """The packages of the base."""
        return self.base_lock.packages if self.base_lock and self.image_id else ()


def titles_of(wanted: Wanted, listed: Callable[[str], tuple[str, ...]]) -> dict[str, str]:
    """The sha256 (`sha256:<hex>`) of every package and input, by its title in the archive, sorted; without licences.

    Args:
        wanted: what they are.
        listed: the digests of the files of a repository, by the digest of its listing.
    """
    found = {f"wheels/{wheel.filename}": wheel.sha256 for wheel in wanted.lock.wheels}
    found |= {deb_title(package): package.sha256 for package in wanted.debs}
    for value in wanted.inputs:
        files = listed(value.sha256) if value.kind == "hf" else ()
        found |= {input_title(digest): digest for digest in (value.sha256, *files)}
    return {title: found[title] for title in sorted(found)}


def deb_title(package: BasePackage) -> str:
    """`debs/<name>_<version>_<architecture>.deb`."""
    return f"debs/{package.name}_{package.version}_{package.architecture}.deb"


def input_title(digest: str) -> str:
    """`inputs/<hex>`: an input's file, or of a repository its listing and each of its files."""
    return f"inputs/{digest.removeprefix('sha256:')}"


def render_licences(wanted: Wanted, said: Mapping[str, str]) -> bytes:
    """`LICENSES.json`: what each wheel, Debian package and input says its licence is.

    Args:
        wanted: what they are.
        said: the words, by title; who says nothing is `not stated`.
    """
    wheels = {pin.wheel.filename: (pin.name, pin.version) for pin in wanted.lock.pins if pin.wheel}
    document: dict[str, Any] = {
        "wheels": {file: _row(name, version, said.get(f"wheels/{file}")) for file, (name, version) in wheels.items()},
        "debs": {
            deb_title(one).partition("/")[2]: _row(one.name, one.version, said.get(deb_title(one)))
            for one in wanted.debs
        },
        "inputs": {
            one.name: {
                **_row(one.reference, one.version, said.get(input_title(one.sha256))),
                "kind": one.kind,
                "sha256": one.sha256,
            }
            for one in wanted.inputs
        },
    }
    text = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return text.encode("utf-8", "backslashreplace")


def check_licences(data: bytes, wanted: Wanted) -> None:
    """Hold `LICENSES.json` against what the archive holds; only the words for the licences are its own.

    Raises:
        TamperedError: it is not, byte for byte, the list of these packages.
    """
    said: dict[str, str] = {}
    by_name = {value.name: value.sha256 for value in wanted.inputs}
    try:
        for kind, rows in json.loads(data.decode("utf-8")).items():
            for name, row in rows.items():
                title = input_title(by_name[name]) if kind == "inputs" else f"{kind}/{name}"
                said[title] = row["licence"]
        is_sound = all(isinstance(words, str) and 0 < len(words) <= _MAX_LICENCE for words in said.values())
        is_sound = is_sound and render_licences(wanted, said) == data
    except (ValueError, RecursionError, KeyError, TypeError, AttributeError):
        is_sound = False
    if not is_sound:
        raise TamperedError(f"the archive's {LICENCES} is not the list of what the archive holds", _REMEDY)


def _row(name: str, version: str, licence: str | None) -> dict[str, str]:
    return {"name": name, "version": version, "licence": (licence or NOT_STATED)[:_MAX_LICENCE]}
