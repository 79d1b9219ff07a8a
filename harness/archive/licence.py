"""Which licence a LICENSE file holds: told only where there is no doubt, by its SPDX identifier.

Two texts are known word for word, Apache-2.0 and MIT; any other file is believed if its first line names one licence
in the form that SPDX defines. A known text with something added in front or behind, which may be a restriction, is not
told.

Sources: https://spdx.org/licenses/, https://spdx.github.io/spdx-spec/v2.3/using-SPDX-short-identifiers-in-source-files/.
"""

from __future__ import annotations

import hashlib
import re

from cyclonedx.spdx import is_supported_id

_TAG = re.compile(r"\W*SPDX-License-Identifier:[ \t]*([A-Za-z0-9.+-]+)[ \t]*\n", re.ASCII)
_APACHE_TERMS = "apache license version 2 0 january 2004 "
_APACHE_END = "end of terms and conditions"
_APACHE_SHA256 = "f45538b138cf9aea39fa205de037a0bede8305e68281650e7ab809a8b3ebb2f0"
_MIT_TERMS = "permission is hereby granted"
_MIT_SHA256 = "0cf21bdfd1964a97a8615e128534845826afbc887edc95aa5c925cbf64386b5c"
_MIT_HEAD = re.compile(r"(the )?mit license( \(mit\))?:?|copyright .*|all rights reserved\.?", re.IGNORECASE)


def licence_of(text: str) -> str | None:
    """The SPDX identifier of a licence file's text; None where it cannot be told for certain."""
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
