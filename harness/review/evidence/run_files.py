"""What a training wrote beside its declared files: trackers' files, JSON lines, JSON documents; and what they say.

All of it is hostile until it is read: sizes, numbers of rows and depths are bounded, a malformed file is a problem in
words. Numbers are gathered as *series*, one for each tag or key, whatever kind of file they come from.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from harness.errors import EvidenceError
from harness.review.evidence.tracking_files import TrackedRun

Kind = Literal["tensorboard", "wandb", "jsonl", "json"]
MAX_ROWS = 1_000_000
MAX_DEPTH = 32
_STEP_KEYS = ("step", "global_step", "_step", "iteration", "iter")
_REMEDY = "a training writes its metrics as JSON lines, one object a line"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFile:
    """One file: exactly one of `tracked`, `rows`, `document` is there, or `problem` says why none is.

    Attributes:
        path: below the trajectory's output folder.
        tracked: what a tracker's file holds.
        rows: of JSON lines, those that are objects.
        document: of a JSON file, its value.
    """

    path: str
    kind: Kind
    size_bytes: int
    tracked: TrackedRun | None = None
    rows: tuple[Mapping[str, object], ...] = ()
    document: Any = None
    problem: str = ""

    @property
    def is_empty(self) -> bool:
        """Whether nothing but a header is in it."""
        if self.problem:
            return False
        if self.tracked is not None:
            return not self.tracked.series and not self.tracked.texts and not self.tracked.has_config
        return self.kind == "jsonl" and not self.rows


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFiles:
    """The files of one trajectory, sorted by path; `problems` says what was left out."""

    files: tuple[RunFile, ...] = ()
    problems: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Logged:
    """Everything that was logged, by name.

    Attributes:
        series: the steps at which each number was logged, sorted.
        texts: (name, text): strings, paths among them.
        sources: the file that each name came from, the first one.
    """

    series: Mapping[str, tuple[int, ...]]
    texts: tuple[tuple[str, str], ...]
    sources: Mapping[str, str] = field(default_factory=dict)

    def named(self, pattern: re.Pattern[str], unless: re.Pattern[str] | None = None) -> dict[str, tuple[int, ...]]:
        """The series with a name that a pattern is found in, unless the other one is found in it too."""
        return {
            name: steps
            for name, steps in self.series.items()
            if pattern.search(name.lower()) and not (unless and unless.search(name.lower()))
        }


def parse_rows(data: bytes, name: str) -> tuple[Mapping[str, object], ...]:
    """JSON lines; a torn last line is left out, for a kill may have cut it.

    Raises:
        EvidenceError: any other line is no JSON object, or there are too many.
    """
    rows: list[Mapping[str, object]] = []
    lines = data.split(b"\n")
    for number, raw in enumerate(lines, start=1):
        if not raw.strip():
            continue
        if len(rows) >= MAX_ROWS:
            raise EvidenceError(f"{name} has more than {MAX_ROWS} lines", _REMEDY)
        try:
            row = json.loads(raw.decode("utf-8"))
        except (ValueError, RecursionError):
            if number == len(lines):
                break
            raise EvidenceError(f"{name}, line {number}: no JSON", _REMEDY) from None
        if not isinstance(row, dict):
            raise EvidenceError(f"{name}, line {number}: no JSON object", _REMEDY)
        rows.append(row)
    return tuple(rows)


def parse_document(data: bytes, name: str) -> Any:
    """A JSON file's value.

    Raises:
        EvidenceError: it is no JSON.
    """
    try:
        return json.loads(data.decode("utf-8"))
    except (ValueError, RecursionError):
        raise EvidenceError(f"{name}: no JSON", _REMEDY) from None


def gather(files: RunFiles) -> Logged:
    """What all files logged, together."""
    steps: dict[str, set[int]] = {}
    texts: list[tuple[str, str]] = []
    sources: dict[str, str] = {}

    def add(name: str, step: int, path: str) -> None:
        steps.setdefault(name, set()).add(step)
        sources.setdefault(name, path)

    for file in files.files:
        if file.tracked is not None:
            for series in file.tracked.series:
                for step in series.steps:
                    add(series.name, step, file.path)
            texts += [(text.name, text.value) for text in file.tracked.texts]
        for row in file.rows:
            at = row_step(row)
            for path, value in leaves(row):
                if isinstance(value, str):
                    texts.append((path, value))
                elif at is not None and is_number(value):
                    add(f"{row['kind']}/{path}" if isinstance(row.get("kind"), str) else path, at, file.path)
    found = {name: tuple(sorted(values)) for name, values in sorted(steps.items())}
    return Logged(found, tuple(texts), sources)


def row_step(row: Mapping[str, object]) -> int | None:
    """The step that a row speaks of."""
    return next((value for key in _STEP_KEYS if type(value := row.get(key)) is int), None)


def leaves(value: Any, path: str = "", depth: int = 0) -> Iterator[tuple[str, object]]:
    """(path, value) of everything in a JSON value that holds nothing else; what is too deep is left out."""
    if depth > MAX_DEPTH:
        return
    if isinstance(value, Mapping):
        pairs: Any = value.items()
    elif isinstance(value, list):
        pairs = enumerate(value)
    else:
        yield path, value
        return
    for key, inner in pairs:
        yield from leaves(inner, f"{path}/{key}" if path else str(key), depth + 1)


def is_number(value: Any) -> bool:
    """Whether a JSON value is a number; true and null are none."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def contains_config(document: Any, config: Mapping[str, object]) -> bool:
    """Whether a document has every value of a configuration at its place; defaults may be added.

    The configuration may stand below one key (`{"config": ...}`).
    """
    if not isinstance(document, Mapping) or not config:
        return False
    candidates = [document, *(value for value in document.values() if isinstance(value, Mapping))]
    return any(_covers(candidate, config, 0) for candidate in candidates)


def _covers(given: Any, wanted: Any, depth: int) -> bool:
    if depth > MAX_DEPTH:
        return False
    if isinstance(wanted, Mapping):
        return isinstance(given, Mapping) and all(
            key in given and _covers(given[key], value, depth + 1) for key, value in wanted.items()
        )
    if isinstance(wanted, list | tuple):
        return (
            isinstance(given, list | tuple)
            and len(given) == len(wanted)
            and all(_covers(a, b, depth + 1) for a, b in zip(given, wanted, strict=True))
        )
    if is_number(wanted) and is_number(given):
        return bool(given == wanted) or (_is_nan(given) and _is_nan(wanted))
    return type(given) is type(wanted) and bool(given == wanted)


def _is_nan(value: Any) -> bool:
    return isinstance(value, float) and math.isnan(value)
