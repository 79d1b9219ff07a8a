"""Which step a resumed run stands after, found again from the evidence alone.

Three witnesses: the checkpoint that was read and the write that made it, the state's content, and what the recorder
claims (which has seen the optimizer's own counter too). The recorder's side is `harness/recorder/numbering.py`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from harness.documents.digest import Digest
from harness.evidence.ledger import Event, Ledger, StateRecord
from harness.evidence.trajectory import RunEvidence

_Roots = tuple[Digest | None, Digest | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Alignment:
    """After which step a run's state stands.

    Attributes:
        claimed: what the recorder wrote.
        source: how the recorder found it.
        found: where the host found it itself, by content or by the file that was read; None if nowhere.
        agrees: whether the claim is one of the places where the host found it, or the host found none.
        finding: what the witnesses disagree on, in words; empty if they agree.
    """

    claimed: int
    source: str
    found: int | None
    agrees: bool
    finding: str = ""


class SavedFiles:
    """Which file was written after which step, followed through renames and copies."""

    def __init__(self, runs: Sequence[RunEvidence]) -> None:
        self._by_path: dict[str, int] = {}
        self._by_file: dict[str, set[int]] = {}
        for run in runs:
            for event in run.events:
                self._follow(event)

    def _follow(self, event: Event) -> None:
        fields = event.fields
        path, step, file = str(fields.get("path")), fields.get("step"), fields.get("file")
        if event.kind == "save_end" and type(step) is int:
            self._by_path[path] = step
            self._by_file.setdefault(str(file), set()).add(step)
        elif event.kind == "move":
            source = str(fields.get("source"))
            for known, step in list(self._by_path.items()):
                if known == source or known.startswith(f"{source}/"):
                    self._by_path[path + known[len(source) :]] = step
                    if known == source and file is not None:
                        self._by_file.setdefault(str(file), set()).add(step)

    @property
    def last(self) -> tuple[str, int] | None:
        """The newest name that one of them got, and after which step it was written."""
        return next(reversed(self._by_path.items()), None)

    @property
    def paths(self) -> frozenset[str]:
        """Every name that one of these files has had."""
        return frozenset(self._by_path)

    def step_of(self, place: Mapping[str, Any]) -> int | None:
        """The step after which a file was written; None for a file that no earlier run wrote."""
        by_path = self._by_path.get(str(place.get("path")))
        steps = self._by_file.get(str(place.get("file"))) if place.get("file") is not None else None
        return max(steps) if steps and by_path not in steps else by_path


def align(earlier: Sequence[RunEvidence], straight: Ledger | None, run: RunEvidence, start: StateRecord) -> Alignment:
    """Find again after which step a resumed run's state stands.

    Args:
        earlier: the runs before it in its trajectory.
        straight: also searched: a kill may come between a checkpoint and its step's record.
        run: the resumed run.
        start: its start.
    """
    wanted = (start.streams.get("param"), start.streams.get("optim"))
    read = steps_read(earlier, run)
    content = list(_steps_with(wanted, earlier, straight)) if None not in wanted else []
    if any(step > 0 for _, step in read):
        content = [step for step in content if step > 0]
    places = [*content, *(step for _, step in read)]
    claimed = start.step
    agrees = claimed in content or (not content and (claimed in places or start.source not in ("content", "file")))
    found = claimed if agrees and claimed in places else next(iter(places), None)
    finding = ""
    if read and claimed not in {step for _, step in read}:
        path, step = read[-1]
        finding = f"{run.name} read {path}, written after step {step}, and its state is that after step {claimed}"
    return Alignment(claimed=claimed, source=start.source, found=found, agrees=agrees, finding=finding)


def steps_read(earlier: Sequence[RunEvidence], run: RunEvidence) -> list[tuple[str, int]]:
    """The files of earlier runs that a run read before it trained, each with the step after which it was written."""
    saved = SavedFiles(earlier)
    found = []
    for event in run.events:
        if event.kind == "save_end":
            break
        if event.kind == "restore" and event.fields.get("ok") is True:
            step = saved.step_of(event.fields)
            if step is not None:
                found.append((str(event.fields.get("path")), step))
    return found


def _steps_with(wanted: _Roots, earlier: Sequence[RunEvidence], straight: Ledger | None) -> Iterator[int]:
    """The steps after which (param, optim) were these: newest run first, in each the last step first."""
    for run in reversed(earlier):
        saved = {
            step
            for event in run.events
            if event.kind == "save_begin" and type(step := event.fields.get("step")) is int
            if _roots_of(event.fields.get("streams")) == tuple(map(str, wanted))
        }
        steps = saved | ({step for step, roots in _states(run.ledger) if roots == wanted} if run.ledger else set())
        yield from sorted(steps, reverse=True)
    if straight is not None:
        yield from sorted({step for step, roots in _states(straight) if roots == wanted}, reverse=True)


def _roots_of(streams: object) -> tuple[str, str]:
    return (str(streams.get("param")), str(streams.get("optim"))) if isinstance(streams, dict) else ("", "")


def _states(ledger: Ledger) -> Iterator[tuple[int, _Roots]]:
    """The state after each step, and the one before the next step where it had moved."""
    after = ledger.start.streams
    yield ledger.start.step, (after.get("param"), after.get("optim"))
    for record in ledger.steps:
        if record.before:
            before = {**after, **record.before}
            yield record.step - 1, (before.get("param"), before.get("optim"))
        after = record.streams
        yield record.step, (after.get("param"), after.get("optim"))
