"""`harness diff`: two files, or two trajectory folders of a run, read with the same care as evidence and compared."""

from __future__ import annotations

import dataclasses
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.documents.run import RunRecord
from harness.errors import EvidenceError, TamperedError, UsageError
from harness.evidence.trajectory import TrajectoryEvidence
from harness.judge.diff import compare_files, compare_run, spliced
from harness.judge.elementwise import FileDiff, diff_files
from harness.judge.locate import Difference, locate
from harness.runs.load_evidence import load_trajectory
from harness.system.safe_read import safe_read

_MAX_BYTES = 1 << 40
_RECORD = re.compile(r"run-[1-9][0-9]{0,8}\.json")


@dataclass(frozen=True, slots=True, kw_only=True)
class Located(Difference):
    """The first difference of a stream, and the tensor it is in."""

    tensor: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class FileResult:
    """A file on both sides; `equal` is None where it could not be compared."""

    path: str
    equal: bool | None
    different: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class FolderDiff:
    """Two trajectories: the first difference of every run and stream, and every file that one of them has."""

    left: str
    right: str
    is_equal: bool
    num_steps: int
    differences: tuple[Located, ...]
    files: tuple[FileResult, ...]
    problems: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """As `harness diff --json` prints it."""
        fields = dataclasses.asdict(self)
        return {"kind": "trajectories", "equal": fields.pop("is_equal"), **fields}


def compare_paths(a: Path, b: Path) -> FileDiff | FolderDiff:
    """Compare two files element by element, or two trajectory folders step by step.

    Raises:
        UsageError: one is a file and the other a folder, or a folder is no trajectory.
        EvidenceError: something cannot be read.
    """
    if a.is_dir() != b.is_dir():
        raise UsageError(
            f"one of {a.name} and {b.name} is a file, the other a folder", "compare two files, or two trajectories"
        )
    if a.is_dir():
        return _compare_folders(_load(a), _load(b))
    left, right = (safe_read(p.resolve().parent, p.resolve().name, max_bytes=_MAX_BYTES) for p in (a, b))
    return diff_files(str(a), left, str(b), right)


def _load(folder: Path) -> TrajectoryEvidence:
    found = {path: _RECORD.fullmatch(path.name) for path in folder.iterdir()}
    records = sorted((path for path, match in found.items() if match), key=lambda path: int(path.stem[len("run-") :]))
    if not records:
        remedy = "give a folder such as runs/tiny/latest/straight"
        raise UsageError(f"{folder} is no trajectory: it has no run-1.json", remedy)
    try:
        runs = tuple(RunRecord.load(path.read_bytes(), path.name) for path in records)
    except TamperedError as error:
        raise EvidenceError(f"{folder}: {error.problem}", "compare folders of a certify") from error
    outputs, checkpoints, volatile = _declared(folder.resolve().parent / "manifest.json")
    return load_trajectory(folder, folder.name, runs, outputs, checkpoints, volatile)


def _declared(manifest: Path) -> tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]:
    """Outputs, checkpoints and volatile keys as the experiment declared them; every file where nobody can tell."""
    try:
        experiment = json.loads(manifest.read_text(encoding="utf-8"))["experiment"]
        volatile = experiment["policy"]["volatile"]
        return tuple(experiment["outputs"]), tuple(experiment["checkpoints"]), tuple(volatile)
    except (OSError, ValueError, KeyError, TypeError):
        return ("**",), (), ()


def _compare_folders(left: TrajectoryEvidence, right: TrajectoryEvidence) -> FolderDiff:
    if len(left.runs) > 1:
        left = spliced(left)
    straight = left.runs[0]
    if straight.ledger is None:
        raise EvidenceError(f"{straight.name}: {straight.problem or 'there is no ledger'}", "compare finished runs")
    differences: list[Located] = []
    problems: list[str] = []
    num_steps = 0
    for number, run in enumerate(right.runs, start=1):
        if run.ledger is None:
            problems.append(f"{run.name}: {run.problem or 'there is no ledger'}")
            continue
        compared = compare_run(left, right, number)
        num_steps += compared.amount.steps
        problems += compared.problems
        seen: set[str] = set()
        for found in compared.differences:
            if found.stream not in seen:
                seen.add(found.stream)
                differences.append(Located(**dataclasses.asdict(found), tensor=locate(found, straight, run).tensor))
    files = compare_files(left.files, right.files)
    unread = [file.problem or f"{file.path} cannot be compared" for file in files if file.is_equal is None]
    unequal = [file for file in files if file.is_equal is False and file.left and file.right]
    if unread and not differences and not unequal:  # a difference that is proven outranks what could not be read
        raise EvidenceError(unread[0], "a file that cannot be read is neither equal nor different: see who wrote it")
    return FolderDiff(
        left=left.name,
        right=right.name,
        is_equal=not differences and not problems and not unequal and num_steps > 0,
        num_steps=num_steps,
        differences=tuple(differences),
        files=tuple(FileResult(path=one.path, equal=one.is_equal, different=one.different) for one in files),
        problems=tuple(problems),
    )
