"""The two documents that an archive adds to a run: what it leaves out, and the licences of what it holds."""

from __future__ import annotations

import json
from typing import Annotated

from pydantic import Field

from harness.documents.digest import canonical_json
from harness.documents.document import Document, Model

LICENCES = "LICENSES.json"
NOT_STATED = "not stated"
MAX_LICENCE = 1000


class LeftOut(Document):
    """`not-archived.json`: paths of a run's folder that are no regular files, and its empty folders."""

    links: tuple[str, ...]
    others: tuple[str, ...]
    empty: tuple[str, ...]

    @property
    def paths(self) -> tuple[str, ...]:
        """All of them."""
        return (*self.links, *self.others, *self.empty)

    def write(self) -> bytes:
        """Canonical JSON."""
        return canonical_json(self.to_json())


class Licence(Model):
    """What a package says its licence is."""

    name: str
    version: str
    licence: Annotated[str, Field(min_length=1, max_length=MAX_LICENCE)]


class InputLicence(Licence):
    """What an input says its licence is."""

    kind: str
    sha256: str


class Licences(Document):
    """`LICENSES.json`: wheels and Debian packages by file name, inputs by the experiment's names."""

    wheels: dict[str, Licence]
    debs: dict[str, Licence]
    inputs: dict[str, InputLicence]

    def write(self) -> bytes:
        """Sorted and without spaces; names are not escaped."""
        text = json.dumps(self.to_json(), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        return text.encode("utf-8", "backslashreplace")
