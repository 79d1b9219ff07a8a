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
        found.append(integer(table(verdict, "oracles", key, "compared").get("steps")) or 0)
    for row in rows(verdict.get("streams_that_differ")):
        found.append(integer(row.get("first_step")) or 0)
    return max(found)


def equality_maps(
    verdict: dict[str, Any], manifest: dict[str, Any], curves: Sequence[Curve]
) -> tuple[EqualityMap, ...]:
    """A map for each of replay, rerun and resume of which any step was compared.

    A step counts as compared if it is among the first `compared.steps` of the oracle. The streams that differ belong
    to the oracle of the first divergence, or to the one that is DIVERGED.
    """
    total = num_steps(verdict, manifest, curves)
    if total < 1:
        return ()
    guilty = _guilty(verdict)
    maps = []
    for key in _ORACLES:
        oracle = table(verdict, "oracles", key)
        differing = rows(verdict.get("streams_that_differ")) if key == guilty else []
        # A difference on other hardware is seen as well, though it decides nothing.
        judged = oracle.get("verdict") in _JUDGED or (key == "replay" and differing)
        compared = min(integer(table(oracle.get("compared")).get("steps")) or 0, total) if judged else 0
        if compared or differing:
            maps.append(EqualityMap(oracle=key, num_steps=total, rows=_rows(differing, compared, total)))
    return tuple(maps)


def stream_note(verdict: dict[str, Any], stream: str, oracle: str) -> str:
    """`same bits at 24 of 24 steps`, or where it differs, or that it was not compared."""
    judged = table(verdict, "oracles", oracle)
    compared = integer(table(judged.get("compared")).get("steps")) or 0
    if judged.get("verdict") not in _JUDGED or not compared:
        return "not compared"
    differing = rows(verdict.get("streams_that_differ")) if oracle == _guilty(verdict) else []
    return _row(stream, differing, compared, compared).note


def _guilty(verdict: dict[str, Any]) -> str:
    named = line(table(verdict.get("first_divergence")).get("oracle"))
    if named:
        return named
    return next((key for key in _ORACLES if table(verdict, "oracles", key).get("verdict") == "DIVERGED"), "")


def _rows(differing: list[dict[str, Any]], compared: int, total: int) -> tuple[StreamRow, ...]:
    more = [line(row.get("stream")) for row in differing]
    names = [*STREAMS, *sorted({name for name in more if name and name not in STREAMS})]
    return tuple(_row(name, differing, compared, total) for name in names)


def _row(stream: str, differing: list[dict[str, Any]], compared: int, total: int) -> StreamRow:
    found = next((row for row in differing if line(row.get("stream")) == stream), None)
    first = max(integer(found.get("first_step")) or 1, 1) if found else total + 1
    spans: list[Span] = []
    if min(first - 1, compared) >= 1:
        spans.append(Span(first=1, last=min(first - 1, compared), state="equal"))
    if found is None:
        note = f"same bits at {compared:,} of {compared:,} steps" if compared else "not compared"
    else:
        amount = integer(found.get("num_steps")) or 1
        note = f"differs from step {first:,}, at {amount:,} of {compared:,} steps"
        if compared < first:
            note = f"differs at step {first:,}"
        compared = max(compared, first)
        spans.append(Span(first=first, last=compared, state="differs" if amount > compared - first else "mixed"))
    if compared < total:
        spans.append(Span(first=compared + 1, last=total, state="unknown"))
    return StreamRow(stream=stream, spans=tuple(spans), note=note)
