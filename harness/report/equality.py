"""The map of equality: which stream was equal at which step, read off a verdict; nothing is compared here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from harness.report.curves import Curve
from harness.report.fields import integer, line, rows, table

State = Literal["equal", "differs", "mixed", "unknown"]
STREAMS = ("data", "rng", "lr", "loss", "grad", "optim", "param", "buffer")
MAX_CELLS = 96
_ORACLES = ("replay", "rerun", "resume")
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
    """One oracle's map over steps 1 to `num_steps`."""

    oracle: str
    num_steps: int
    rows: tuple[StreamRow, ...]


def num_steps(verdict: dict[str, Any], manifest: dict[str, Any], curves: Sequence[Curve]) -> int:
    """The length of the training: the largest step that anything in the report names."""
    found = [integer(table(manifest.get("experiment")).get("steps")) or 0]
    found += [curve.steps[-1] for curve in curves if curve.steps and not curve.trajectory.startswith("control")]
    for key in _ORACLES:
        found.append(integer(table(verdict, "checks", key, "compared").get("steps")) or 0)
    for row in rows(verdict.get("streams_that_differ")):
        found.append(integer(row.get("first_step")) or 0)
    return max(found)


def equality_maps(
    verdict: dict[str, Any], manifest: dict[str, Any], curves: Sequence[Curve]
) -> tuple[EqualityMap, ...]:
    """A map for each of replay, rerun and resume of which any step was compared.

    Replay and rerun compare from step 1 on, a resume from the first step after the first resume: what comes before it
    is the rerun's. The streams that differ belong to the oracle of the first divergence, or to the one that is
    DIVERGED.
    """
    total = num_steps(verdict, manifest, curves)
    if total < 1:
        return ()
    guilty = _guilty(verdict)
    maps = []
    for key in _ORACLES:
        oracle = table(verdict, "checks", key)
        differing = rows(verdict.get("streams_that_differ")) if key == guilty else []
        # A difference on other hardware is seen as well, though it decides nothing.
        judged = oracle.get("verdict") in _JUDGED or (key == "replay" and differing)
        compared = _compared(verdict, key, differing, total) if judged else range(1, 1)
        if compared or differing:
            maps.append(EqualityMap(oracle=key, num_steps=total, rows=_rows(differing, compared, total)))
    return tuple(maps)


def stream_note(
    verdict: dict[str, Any], manifest: dict[str, Any], curves: Sequence[Curve], stream: str, oracle: str
) -> str:
    """`same bits at 24 of 24 steps`, or where it differs, or that it was not compared."""
    judged = table(verdict, "checks", oracle)
    differing = rows(verdict.get("streams_that_differ")) if oracle == _guilty(verdict) else []
    compared = _compared(verdict, oracle, differing, num_steps(verdict, manifest, curves))
    if judged.get("verdict") not in _JUDGED or not compared:
        return "not compared"
    return _row(stream, differing, compared, compared[-1]).note


def _guilty(verdict: dict[str, Any]) -> str:
    named = line(table(verdict.get("first_divergence")).get("check"))
    if named:
        return named
    return next((key for key in _ORACLES if table(verdict, "checks", key).get("verdict") == "DIVERGED"), "")


def _compared(verdict: dict[str, Any], key: str, differing: list[dict[str, Any]], total: int) -> range:
    """Which steps an oracle compared.

    The verdict has their number alone. Steps that two resumed runs did count twice in a resume's, so where these end
    is known from the end of the training, of the prefix, or from the difference that stopped it.
    """
    judged = table(verdict, "checks", key)
    amount = integer(table(judged.get("compared")).get("steps")) or 0
    if key != "resume":
        return range(1, max(min(amount, total), 0) + 1)
    begins = [integer(row.get("started_after_step")) or 0 for row in rows(judged.get("resumes"))]
    first = max(min(begins, default=0), 0) + 1
    end = min(integer(table(verdict.get("scope")).get("steps")) or total, total)
    if (stopped := integer(table(verdict.get("stopped_at")).get("step"))) is not None:
        seen = [_first(row) + (integer(row.get("num_steps")) or 1) - 1 for row in differing]
        end = min(max((stopped, *seen)), end)
    return range(first, max(min(first + amount - 1, end), first - 1) + 1)


def _first(row: dict[str, Any]) -> int:
    return max(integer(row.get("first_step")) or 1, 1)


def _rows(differing: list[dict[str, Any]], compared: range, total: int) -> tuple[StreamRow, ...]:
    more = [line(row.get("stream")) for row in differing]
    names = [*STREAMS, *sorted({name for name in more if name and name not in STREAMS})]
    return tuple(_row(name, differing, compared, total) for name in names)


def _row(stream: str, differing: list[dict[str, Any]], compared: range, total: int) -> StreamRow:
    found = next((row for row in differing if line(row.get("stream")) == stream), None)
    begin, last = compared.start, compared.stop - 1
    spans: list[Span] = []
    if found is None:
        note, equal = _same(begin, last), last
    else:
        first, amount = _first(found), integer(found.get("num_steps")) or 1
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
