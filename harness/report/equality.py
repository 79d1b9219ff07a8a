"""The map of equality: which stream was equal at which step, read off a verdict; nothing is compared here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from harness.documents.manifest import Manifest
from harness.documents.verdict import Check, CheckName, StreamDifference, Verdict
from harness.evidence.ledger import STREAMS
from harness.report.curves import Curve

State = Literal["equal", "differs", "mixed", "unknown"]
MAX_CELLS = 96
_JUDGED = ("CERTIFIED", "DIVERGED")


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """Neighbouring steps in one state; `first` and `last` are steps, both belong to it.

    `mixed` says that some of these steps differ and the verdict does not say which.
    """

    first: int
    last: int
    state: State


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamRow:
    """One stream's line in the map, and the same in words."""

    stream: str
    spans: tuple[Span, ...]
    note: str


@dataclass(frozen=True, slots=True, kw_only=True)
class EqualityMap:
    """One check's map over steps 1 to `num_steps`."""

    check: CheckName
    num_steps: int
    rows: tuple[StreamRow, ...]


def num_steps(verdict: Verdict, manifest: Manifest | None, curves: Sequence[Curve]) -> int:
    """The length of the training: the largest step that anything in the report names."""
    declared = manifest.experiment.get("steps") if manifest else None
    found = [declared if isinstance(declared, int) else 0]
    found += [curve.steps[-1] for curve in curves if curve.steps and not curve.trajectory.startswith("control")]
    found += [check.compared.steps for _, check in _trained(verdict)]
    return max(found + [one.first_step for one in verdict.streams_that_differ])


def equality_maps(verdict: Verdict, manifest: Manifest | None, curves: Sequence[Curve]) -> tuple[EqualityMap, ...]:
    """A map for each of replay, rerun and resume of which any step was compared.

    Replay and rerun compare from step 1 on, a resume from the first step after the first resume: what comes before it
    is the rerun's. The streams that differ belong to the check of the first divergence, or to the one that is DIVERGED.
    """
    total = num_steps(verdict, manifest, curves)
    maps = []
    for name, check in _trained(verdict) if total >= 1 else ():
        differing = _differing(verdict, name)
        # A difference on other hardware is seen as well, though it decides nothing.
        judged = check.verdict in _JUDGED or (name == "replay" and differing)
        compared = _compared(verdict, name, check, total) if judged else range(1, 1)
        if compared or differing:
            maps.append(EqualityMap(check=name, num_steps=total, rows=_rows(differing, compared, total)))
    return tuple(maps)


def stream_notes(
    verdict: Verdict, manifest: Manifest | None, curves: Sequence[Curve], stream: str
) -> tuple[tuple[CheckName, str], ...]:
    """By check: `same bits at 24 of 24 steps`, or where the stream differs, or that it was not compared."""
    total = num_steps(verdict, manifest, curves)
    notes = []
    for name, check in _trained(verdict):
        compared = _compared(verdict, name, check, total) if check.verdict in _JUDGED else range(1, 1)
        note = _row(stream, _differing(verdict, name), compared, compared[-1]).note if compared else "not compared"
        notes.append((name, note))
    return tuple(notes)


def _trained(verdict: Verdict) -> list[tuple[CheckName, Check]]:
    """The checks that compare steps."""
    return [(name, check) for name, check in verdict.checks.items() if name != "rebuild"]


def _differing(verdict: Verdict, name: CheckName) -> tuple[StreamDifference, ...]:
    """The streams that differ, where it was this check that found them."""
    found = verdict.first_divergence.check if verdict.first_divergence else None
    found = found or next((one for one, check in _trained(verdict) if check.verdict == "DIVERGED"), None)
    return verdict.streams_that_differ if found == name else ()


def _compared(verdict: Verdict, name: CheckName, check: Check, total: int) -> range:
    """Which steps a check compared.

    The verdict has their number alone. Steps that two resumed runs did count twice in a resume's, so where these end
    is known from the end of the training, of the prefix, or from the difference that stopped it.
    """
    amount = check.compared.steps
    if name != "resume":
        return range(1, max(min(amount, total), 0) + 1)
    first = max(min((point.started_after_step for point in check.resumes), default=0), 0) + 1
    end = min(verdict.scope.steps if verdict.scope else total, total)
    if verdict.stopped_at:
        seen = [one.first_step + one.num_steps - 1 for one in _differing(verdict, name)]
        end = min(max((verdict.stopped_at.step, *seen)), end)
    return range(first, max(min(first + amount - 1, end), first - 1) + 1)


def _rows(differing: Sequence[StreamDifference], compared: range, total: int) -> tuple[StreamRow, ...]:
    names = [*STREAMS, *sorted({one.stream for one in differing} - set(STREAMS))]
    return tuple(_row(name, differing, compared, total) for name in names)


def _row(stream: str, differing: Sequence[StreamDifference], compared: range, total: int) -> StreamRow:
    found = next((one for one in differing if one.stream == stream), None)
    begin, last = compared.start, compared.stop - 1
    spans: list[Span] = []
    if found is None:
        note, equal = _same(begin, last), last
    else:
        first, amount = max(found.first_step, 1), found.num_steps
        begin, equal = min(begin, first), first - 1
        note = f"differs from step {first:,}, at {amount:,} of {last - begin + 1:,} steps"
        if last < first:
            note, equal = f"differs at step {first:,}", last
        last = max(last, first)
    if begin > 1:
        spans.append(Span(first=1, last=begin - 1, state="unknown"))
    if begin <= equal:
        spans.append(Span(first=begin, last=equal, state="equal"))
    if found is not None:
        spans += [Span(first=equal + 1, last=first - 1, state="unknown")] if equal + 1 < first else []
        spans.append(Span(first=first, last=last, state="differs" if amount > last - first else "mixed"))
    if last < total:
        spans.append(Span(first=last + 1, last=total, state="unknown"))
    return StreamRow(stream=stream, spans=tuple(spans), note=note)


def _same(first: int, last: int) -> str:
    if last < first:
        return "not compared"
    if first > 1:
        return f"same bits at steps {first:,} to {last:,}"
    return f"same bits at {last:,} of {last:,} steps"
