"""Licences: which one a LICENSE file holds, and what wheels, Debian packages and inputs say theirs is.

A LICENSE file is named by its SPDX identifier, and only where there is no doubt. Two texts are known word for word,
Apache-2.0 and MIT; any other file is believed if its first line names one licence in the form that SPDX defines. A
known text with something added in front or behind, which may be a restriction, has no name here. What packages say is
read out of them and not judged.

Sources: https://spdx.org/licenses/, https://spdx.github.io/spdx-spec/v2.3/using-SPDX-short-identifiers-in-source-files/.
"""

from __future__ import annotations

import hashlib
import re
import tarfile
from pathlib import Path

from harness.archive.dependencies import Dependencies, deb_title, input_title
from harness.documents.inputs import LISTED, Input
from harness.errors import HarnessError
from harness.inputs.trees import listed
from harness.packages import metadata
from harness.packages.deb_file import unpack_data
from harness.system.store import Store

_TAG = re.compile(r"\W*SPDX-License-Identifier:[ \t]*([A-Za-z0-9.+-]+)[ \t]*\n", re.ASCII)
_APACHE_TERMS = "apache license version 2 0 january 2004 "
_APACHE_END = "end of terms and conditions"
_APACHE_SHA256 = "f45538b138cf9aea39fa205de037a0bede8305e68281650e7ab809a8b3ebb2f0"
_MIT_TERMS = "permission is hereby granted"
_MIT_SHA256 = "0cf21bdfd1964a97a8615e128534845826afbc887edc95aa5c925cbf64386b5c"
_MIT_HEAD = re.compile(r"(the )?mit license( \(mit\))?:?|copyright .*|all rights reserved\.?", re.IGNORECASE)
_MAX_COPYRIGHT_BYTES = 4 << 20
_SHORT = re.compile(r"^License:[ \t]*(\S[^\n]{0,99})$", re.MULTILINE)
_COMMON = re.compile(r"/usr/share/common-licenses/([A-Za-z]+(?:[.-][A-Za-z0-9]+)*)")
_CARD = re.compile(r"^license:[ \t]*['\"]?([A-Za-z0-9][\w.+ -]{0,99})", re.MULTILINE)


def licence_of(text: str) -> str | None:
    """The SPDX identifier of a licence file's text; None where it cannot be told for certain."""
    from cyclonedx.spdx import is_supported_id

    tag = _TAG.match(text + "\n")
    if tag is not None and text.count("SPDX-License-Identifier:") == 1:
        return tag.group(1) if is_supported_id(tag.group(1)) else None
    if _is_apache(_words(text)):
        return "Apache-2.0"
    return "MIT" if _is_mit(text) else None


def _is_apache(words: str) -> bool:
    head, end, rest = words.partition(_APACHE_END)
    is_text = head.startswith(_APACHE_TERMS) and _digest(head + end) == _APACHE_SHA256
    rest = rest.strip()
    is_appendix = rest.startswith("appendix how to apply") and rest.endswith("limitations under the license")
    return is_text and (not rest or is_appendix)


def _is_mit(text: str) -> bool:
    place = text.lower().find(_MIT_TERMS)
    head = [line.strip() for line in text[: max(place, 0)].splitlines()]
    is_plain = all(not line or _MIT_HEAD.fullmatch(line) for line in head)
    return place >= 0 and is_plain and _digest(_words(text[place:])) == _MIT_SHA256


def _words(text: str) -> str:
    """Letters and digits alone: how a text is wrapped, quoted and spaced does not matter."""
    return " ".join(re.findall(r"[a-z0-9]+", text.lower()))


def _digest(words: str) -> str:
    return hashlib.sha256(words.encode("ascii")).hexdigest()


def stated_licences(wanted: Dependencies, store: Store) -> dict[str, str]:
    """What packages and inputs say their licences are, by title; who says nothing is left out.

    Wheels: their core metadata. Debian packages: the short names of a machine-readable `copyright` (DEP 5), else the
    common licences that it refers to. Inputs: as the package they are, or the front matter of a repository's README.

    Raises:
        UsageError: a package is torn.
        HostError: one is not in the store.
    """
    of_wheels = metadata.licences_of(wanted.lock, store)
    found = {f"wheels/{pin.wheel.filename}": of_wheels.get(pin.name, "") for pin in wanted.lock.pins if pin.wheel}
    with store.scratch("licences") as scratch:
        names = {}
        for package in wanted.debs:
            text = _copyright(store.blob(package.sha256), package.name, scratch)
            names[package.name] = (deb_title(package), text)
        for title, text in names.values():
            # A package whose folder is a link to another's shares its copyright file.
            shared = names.get(text.removeprefix("see ")) if text.startswith("see ") else None
            found[title] = _copyright_words(shared[1] if shared else text)
        for value in wanted.inputs:
            found[input_title(value.sha256)] = _of_input(value, store, scratch)
    return {title: words for title, words in found.items() if words}


def _of_input(value: Input, store: Store, scratch: Path) -> str:
    blob = store.blob(value.sha256)
    try:
        if value.kind == "deb":
            return _copyright_words(_copyright(blob, value.reference, scratch))
        if value.kind == "pypi":
            return metadata.licence_of(blob, value.name)
        if value.kind in LISTED:
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


def _copyright_words(text: str) -> str:
    """The short names of a machine-readable copyright file, which begins with `Format:`, else the common licences."""
    is_machine_readable = re.match(r"\s*Format(-Specification)?:", text)
    short = {name.strip() for name in _SHORT.findall(text)} if is_machine_readable else set()
    return ", ".join(sorted(short or {name.rstrip(".") for name in _COMMON.findall(text)}))
