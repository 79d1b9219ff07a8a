"""What wheels, Debian packages and inputs say their licences are: read out of them, never judged."""

from __future__ import annotations

import re
import tarfile
from pathlib import Path

from harness.archive.package_list import Wanted, deb_title, input_title
from harness.documents.inputs import Input
from harness.errors import HarnessError
from harness.inputs.trees import listed
from harness.packages.deb import unpack_data
from harness.packages.metadata import licence_of, licences_of
from harness.system.store import Store

_MAX_COPYRIGHT_BYTES = 4 << 20
_SHORT = re.compile(r"^License:[ \t]*(\S[^\n]{0,99})$", re.MULTILINE)
_COMMON = re.compile(r"/usr/share/common-licenses/([A-Za-z]+(?:[.-][A-Za-z0-9]+)*)")
_CARD = re.compile(r"^license:[ \t]*['\"]?([A-Za-z0-9][\w.+ -]{0,99})", re.MULTILINE)


def licences(wanted: Wanted, store: Store) -> dict[str, str]:
    """The words by title, for those that say something; everything lies in the store.

    Wheels: their core metadata. Debian packages: the short names of a machine-readable `copyright` (DEP 5), else the
    common licences that it refers to. Inputs: as the package they are, or the front matter of a repository's README.

    Raises:
        UsageError: a package is torn.
        HostError: one is not in the store.
    """
    of_wheels = licences_of(wanted.lock, store)
    found = {f"wheels/{pin.wheel.filename}": of_wheels.get(pin.name, "") for pin in wanted.lock.pins if pin.wheel}
    with store.scratch("licences") as scratch:
        names = {}
        for package in wanted.debs:
            text = _copyright(store.blob(package.sha256), package.name, scratch)
            names[package.name] = (deb_title(package), text)
        for title, text in names.values():
            # A package whose folder is a link to another's shares its copyright file.
            shared = names.get(text.removeprefix("see ")) if text.startswith("see ") else None
            found[title] = _words(shared[1] if shared else text)
        for value in wanted.inputs:
            found[input_title(value.sha256)] = _of_input(value, store, scratch)
    return {title: words for title, words in found.items() if words}


def _of_input(value: Input, store: Store, scratch: Path) -> str:
    blob = store.blob(value.sha256)
    try:
        if value.kind == "deb":
            return _words(_copyright(blob, value.reference, scratch))
        if value.kind == "pypi":
            return licence_of(blob, value.name)
        if value.kind == "hf":
            cards = [file for file, path in listed(blob.read_bytes().decode("utf-8", "replace")) if path == "README.md"]
            text = store.blob(cards[0]).read_bytes()[:_MAX_COPYRIGHT_BYTES].decode("utf-8", "replace") if cards else ""
            front = re.match(r"---\n(.*?)\n---", text, re.DOTALL)
            card = _CARD.search(front[1]) if front else None
            return card[1].strip() if card else ""
    except (HarnessError, OSError):
        return ""
    return ""


def _copyright(package: Path, name: str, scratch: Path) -> str:
    """The text of a Debian package's copyright file; `see NAME` where its folder is a link to another's; else ""."""
    data = scratch / "data.tar"
    unpack_data(package, data)
    folder = f"usr/share/doc/{name}"
    try:
        with tarfile.open(data, "r:") as members:
            for member in members:
                path = member.name.removeprefix("./").rstrip("/")
                if path == folder and member.issym():
                    return f"see {member.linkname.rpartition('/')[2]}"
                content = members.extractfile(member) if path == f"{folder}/copyright" and member.isreg() else None
                if content is not None:
                    return content.read(_MAX_COPYRIGHT_BYTES).decode("utf-8", "replace")
    except (tarfile.TarError, EOFError, ValueError):
        return ""
    return ""


def _words(text: str) -> str:
    """The short names of a machine-readable copyright file, which begins with `Format:`, else the common licences."""
    is_machine_readable = re.match(r"\s*Format(-Specification)?:", text)
    short = {name.strip() for name in _SHORT.findall(text)} if is_machine_readable else set()
    return ", ".join(sorted(short or {name.rstrip(".") for name in _COMMON.findall(text)}))
