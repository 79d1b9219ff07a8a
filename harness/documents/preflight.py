"""Preflight: everything that a replay needs, and whether it can be had today.

*present*: it is here, in the cache, in an archive, in the engine. *fetchable*: a source was asked, and has it. *gone*:
every source was asked, and none has it. *unknown*: a source did not answer, so nobody knows.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from pydantic import Field

from harness.documents.document import Model

Kind = Literal["code", "base", "wheel", "input", "engine", "disk", "memory", "gpu", "driver"]
State = Literal["present", "fetchable", "gone", "unknown"]
KINDS: tuple[Kind, ...] = ("code", "base", "wheel", "input", "engine", "disk", "memory", "gpu", "driver")
STATES: tuple[State, ...] = ("gone", "unknown", "fetchable", "present")
ARCHIVE_REMEDY = (
    "replay from an archive that was made with --full, or set HARNESS_ARCHIVE to a folder that has its blob"
)
_PLURALS = {"base": "parts of the base", "wheel": "wheels", "input": "inputs"}
_MAX_NAMED = 3
_MAX_LISTED = 20


class PreflightRow(Model):
    """One thing that a replay needs.

    Attributes:
        kind: what it is.
        name: of this one.
        state: whether it can be had.
        detail: where it is, or what the sources said.
        remedy: what to do; empty where nothing has to be done.
        size_bytes: what would have to be fetched or copied; 0 for what is in the cache. No document has it.
        exit_code: with which what needs it would end, where it is gone. No document has it.
    """

    kind: Kind
    name: str
    state: State
    detail: str = ""
    remedy: str = ""
    size_bytes: int = Field(default=0, exclude=True)
    exit_code: int = Field(default=6, exclude=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Preflight:
    """All needs, those that cannot be had first, and how long it took to ask."""

    needs: tuple[PreflightRow, ...]
    seconds: float = 0.0

    @property
    def gone(self) -> tuple[PreflightRow, ...]:
        """What nobody has any more."""
        return tuple(need for need in self.needs if need.state == "gone")

    @property
    def can_be_had(self) -> bool:
        """Whether everything is here or known to be fetchable."""
        return all(need.state in ("present", "fetchable") for need in self.needs)

    @property
    def fetch_bytes(self) -> int:
        """What would be fetched, as far as locks tell."""
        return sum(need.size_bytes for need in self.needs if need.state == "fetchable")


def preflight_of(needs: Iterable[PreflightRow], seconds: float) -> Preflight:
    """The needs in their order: what is gone first, then by kind and name."""
    order = sorted(needs, key=lambda need: (STATES.index(need.state), KINDS.index(need.kind), need.name))
    return Preflight(needs=tuple(order), seconds=round(seconds, 2))


def preflight_lines(preflight: Preflight) -> list[str]:
    """For a person: what is gone one by one, with its remedy; of anything else all of a kind in one line."""
    lines: list[str] = []
    for need in preflight.gone[:_MAX_LISTED]:
        lines += _line("gone", need.kind, f"{need.name}: {need.detail}", need.remedy)
    if (more := len(preflight.gone) - _MAX_LISTED) > 0:
        lines += _line("gone", preflight.gone[-1].kind, f"and {more} more", "")
    for state in STATES[1:]:
        for kind in KINDS:
            found = [need for need in preflight.needs if (need.state, need.kind) == (state, kind)]
            if found:
                lines += _line(state, kind, _together(found), found[0].remedy)
    return lines


def _line(state: str, kind: str, text: str, remedy: str) -> list[str]:
    return [f"{state:<10} {kind:<7} {text}", *([f"{'':<18} remedy: {remedy}"] if remedy else [])]


def preflight_sentence(preflight: Preflight) -> str:
    """What stops a replay, in one sentence; the first few by name."""
    gone = preflight.gone
    names = ", ".join(f"{need.kind} {need.name}" for need in gone[:_MAX_NAMED])
    more = f" and {len(gone) - _MAX_NAMED} more" if len(gone) > _MAX_NAMED else ""
    verb = "is" if len(gone) == 1 else "are"
    return f"it cannot be replayed here today: {names}{more} {verb} gone ({gone[0].detail})"


def _together(needs: list[PreflightRow]) -> str:
    """Several of one kind and state in one line, by what was said of them."""
    if len(needs) == 1 or needs[0].kind not in _PLURALS:
        return "; ".join(f"{need.name}: {need.detail}" if need.detail else need.name for need in needs)
    details: dict[str, list[PreflightRow]] = {}
    for need in needs:
        details.setdefault(need.detail, []).append(need)
    parts = []
    for detail, found in sorted(details.items(), key=lambda item: -len(item[1])):
        size = sum(need.size_bytes for need in found)
        amount = f"{len(found)} {_PLURALS[found[0].kind]}" if len(found) > 1 else found[0].name
        parts.append(f"{amount}{f' ({size / 1e6:,.1f} MB)' if size else ''}: {detail}")
    return "; ".join(parts)
