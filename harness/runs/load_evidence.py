"""Reads the evidence that runs left in a folder. What a training process wrote there is hostile until it is read.

No link is followed, nothing but regular files is opened, sizes and numbers are bounded, and every failure becomes a
problem in words: a run without whole evidence is INCONCLUSIVE, never a traceback.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import lru_cache, partial
from pathlib import Path, PurePosixPath
from typing import TypeVar

from harness.documents.digest import Data, Digest
from harness.documents.document import MAX_BYTES
from harness.documents.run import RunRecord
from harness.errors import EvidenceError
from harness.evidence.content import Content, read_content
from harness.evidence.ledger import MAX_FILE_BYTES, parse_events, parse_ledger, parse_progress, parse_sidecar
from harness.evidence.trajectory import SWEPT, FileEvidence, Role, RunEvidence, TrajectoryEvidence
from harness.system.files import Files, as_files
from harness.system.safe_read import clean

MAX_DECLARED_BYTES = 1 << 40
MAX_LISTED_BYTES = MAX_BYTES // 16  # of each training: a manifest lists up to six, and what else it says is small
MAX_DECLARED_FILES = 10_000  # of each training; an archive holds 30,000 (`images.oci_documents.MAX_TITLES`)
_MAX_NAMES = 4  # of a file that is moved on
_MAX_PROGRESS_BYTES = 256 << 20
T = TypeVar("T")


def load_trajectory(
    source: Files | Path,
    name: str,
    records: tuple[RunRecord, ...],
    outputs: Iterable[str],
    checkpoints: Iterable[str] = (),
    volatile: Iterable[str] = (),
    known: dict[tuple[str, Digest], Content] | None = None,
    derived: Iterable[str] = (),
    *,
    has_contents: bool = True,
) -> TrajectoryEvidence:
    """Read everything that a trajectory left behind.

    Args:
        source: a folder, or the files of one inside an archive, with `output/` and `runs/<n>/`.
        name: of the trajectory.
        records: what the host saw of its runs, in order.
        outputs: globs below `output/` (`*` within a folder, `**` across folders) of what must be equal.
        checkpoints: globs of what is compared where both sides have it.
        volatile: keys of files' values that may differ.
        known: contents by kind of file and sha256, read and added to: give several trajectories with the same
            `volatile` the same one, and files with equal bytes are read once.
        derived: globs of outputs that are computed from the weights.
        has_contents: whether files are read; else it is only listed which there are.
    """
    problems: list[str] = []
    folder = as_files(source)
    runs = tuple(_load_run(folder, record) for record in records)
    algorithm = TrajectoryEvidence(name=name, runs=runs, files=()).algorithm
    derived_globs, checkpoint_globs, keys = tuple(derived), tuple(checkpoints), tuple(volatile)
    output_globs = (*outputs, *derived_globs)
    has_files = not name.startswith(SWEPT) or folder.exists("output")
    try:
        paths = list(folder.walk("output")) if has_files else []
    except EvidenceError as error:
        paths = []
        problems.append(error.problem)
    files = []
    declared = [(path, ok, role) for path, ok in paths if (role := _role(path, output_globs, checkpoint_globs))]
    listed_bytes = sum(len(json.dumps(clean(path))) for path, _, _ in declared)
    if listed_bytes > MAX_LISTED_BYTES:
        problems.append(
            f"{name}: the names of what matches `outputs` and `checkpoints` take {listed_bytes} bytes, more than the "
            f"{MAX_LISTED_BYTES} that a manifest can list; give files and folders shorter names"
        )
        declared = []
    elif len(declared) > MAX_DECLARED_FILES:
        problems.append(
            f"{name}: {len(declared)} files match `outputs` and `checkpoints`, and at most {MAX_DECLARED_FILES} are "
            "compared and archived; let the training write fewer, larger ones"
        )
        declared = []
    for path, is_regular, role in declared:
        if not is_regular:
            problems.append(f"{name}: output/{clean(path)} is no regular file, so it is not read")
        elif not has_contents:
            files.append(FileEvidence(path=clean(path), role=role, size_bytes=0, sha256=None, content=None))
        else:
            read = partial(read_content, volatile=keys, algorithm=algorithm)
            file = _load_file(folder.below("output"), path, role, read, {} if known is None else known)
            files.append(dataclasses.replace(file, is_derived=_role(path, derived_globs, ()) is not None))
    saved = _saved_checkpoints(runs, output_globs, checkpoint_globs)
    return TrajectoryEvidence(
        name=name, runs=runs, files=tuple(files), problems=tuple(problems), checkpoints=saved, has_files=has_files
    )


def _saved_checkpoints(
    runs: Iterable[RunEvidence], outputs: tuple[str, ...], checkpoints: tuple[str, ...]
) -> frozenset[str]:
    """The paths at which checkpoints were saved, also those that got a declared name by moves that came later."""
    moves: dict[PurePosixPath, PurePosixPath] = {}
    found: set[str] = set()
    for event in reversed([event for run in runs for event in run.events]):
        path = PurePosixPath(str(event.fields.get("path")))
        if event.kind == "move":
            moves[PurePosixPath(str(event.fields.get("source")))] = path
        elif event.kind == "save_begin":
            names = _names(path, moves)
            if any(_role(str(name), outputs, checkpoints) == "checkpoint" for name in names):
                found.add(str(path))
    return frozenset(found)


def _names(path: PurePosixPath, moves: Mapping[PurePosixPath, PurePosixPath]) -> Iterator[PurePosixPath]:
    """The names of a file: its first one, and those that it, or a folder that it is in, was moved to."""
    for _ in range(_MAX_NAMES):
        yield path
        moved = next((one for one in (path, *path.parents) if one in moves), None)
        if moved is None:
            return
        path = moves[moved] / path.relative_to(moved)


def _load_run(folder: Files, record: RunRecord) -> RunEvidence:
    own = folder.below(f"runs/{record.number}")
    try:
        files = _ledgers(folder, record.number)
    except EvidenceError as error:
        return dataclasses.replace(_load_rank(own, record, 0, [""]), problem=error.problem)
    first, *others = (_load_rank(own, record, rank, files[rank]) for rank in sorted({0: [""], **files}))
    return dataclasses.replace(first, ranks=tuple(others))


def _ledgers(folder: Files, number: int) -> dict[int, list[str]]:
    """What stands after `ledger` in the names of a run's ledgers, by rank: nothing, `-2`, `-rank1`, `-rank1-2` ..."""
    own = f"runs/{number}"
    found: dict[int, list[str]] = {0: []}
    for path, _ in folder.walk(own) if folder.exists(own) else ():
        if match := re.fullmatch(r"ledger((?:-rank([1-9][0-9]{0,3}))?(?:-[0-9]{1,9})?)\.jsonl", path):
            found.setdefault(int(match[2] or 0), []).append(match[1])
    found[0] = found[0] or [""]
    return found


def _load_rank(own: Files, record: RunRecord, rank: int, suffixes: list[str]) -> RunEvidence:
    """What one rank left. Of several processes the one that trained counts; that several trained is told."""
    suffix, extra = _trained(own, suffixes)
    name = f"{record.trajectory}/{record.number}"
    # A process that was killed, by plan or not, may leave a torn last line; the exit code is judged elsewhere.
    killed = record.exit_code != 0 or record.is_planned_kill
    problems: list[str] = []

    def attempt(stem: str, read: Callable[[Data, str], T], is_needed: bool, max_bytes: int) -> T | None:
        file = f"{stem}{suffix}.jsonl"
        try:
            if not is_needed and not own.exists(file):
                return None
            return read(own.read(file, max_bytes=max_bytes), f"{name}/{file}")
        except EvidenceError as error:
            problems.append(error.problem if error.problem.startswith(name) else f"{name}: {error.problem}")
            return None

    try:
        data = bytes(own.read(f"ledger{suffix}.jsonl", max_bytes=MAX_FILE_BYTES))
    except EvidenceError as error:
        problems.append(f"{name} left no ledger ({error.problem})")
        data = b""
    ledger = None
    if data:
        ledger = attempt("ledger", lambda _, n: parse_ledger(data, n, killed=killed), True, MAX_FILE_BYTES)
    elif not problems:
        problems.append(f"{name} left an empty ledger")
    # What never trained says of itself elsewhere; it shows why there is no ledger.
    kind = "events-other" if rank == 0 and not suffix and not own.exists("events.jsonl") else "events"
    events = attempt(kind, lambda d, n: parse_events(bytes(d), n, killed=killed), True, MAX_FILE_BYTES)
    sidecar = attempt("tensors", lambda d, n: parse_sidecar(d, n, killed=killed), False, MAX_FILE_BYTES)
    progress = attempt("progress", lambda d, n: parse_progress(bytes(d), n, killed=killed), False, _MAX_PROGRESS_BYTES)
    return RunEvidence(
        record=record,
        ledger=ledger,
        ledger_bytes=data,
        extra_ledgers=extra,
        events=events or (),
        sidecar=sidecar,
        progress=progress or (),
        problem="; ".join(problems) or None,
        rank=rank,
    )


def _trained(own: Files, suffixes: list[str]) -> tuple[str, tuple[str, ...]]:
    """Which of the processes of one rank has steps, and the ledgers of others that have some too.

    A script may call a model elsewhere, to prepare its data or to look at the result: that is no second training.
    """
    if len(suffixes) == 1:
        return suffixes[0], ()
    with_steps = []
    for suffix in sorted(suffixes, key=lambda one: (len(one), one)):
        with contextlib.suppress(EvidenceError):
            if b'"kind":"step"' in bytes(own.read(f"ledger{suffix}.jsonl", max_bytes=MAX_FILE_BYTES)):
                with_steps.append(suffix)
    first = with_steps[0] if with_steps else suffixes[0]
    return first, tuple(f"ledger{one}.jsonl" for one in with_steps[1:])


def _load_file(
    root: Files,
    path: str,
    role: Role,
    read: Callable[..., Content],
    known: dict[tuple[str, Digest], Content],
) -> FileEvidence:
    shown, problem = clean(path), None
    data: Data = b""
    digest: Digest | None = None
    content: Content | None = None
    kind = path.rpartition("/")[2].rpartition(".")[2].lower()
    try:
        data = root.read(path, max_bytes=MAX_DECLARED_BYTES)
        digest = root.digest(path, data)
        content = known.get((kind, digest))
        if content is None:
            content = known.setdefault((kind, digest), read(shown, data, known=digest))
    except EvidenceError as error:
        problem = error.problem
    return FileEvidence(path=shown, role=role, size_bytes=len(data), sha256=digest, content=content, problem=problem)


def _role(path: str, outputs: tuple[str, ...], checkpoints: tuple[str, ...]) -> Role | None:
    if any(_pattern(glob).fullmatch(path) for glob in outputs):
        return "output"
    return "checkpoint" if any(_pattern(glob).fullmatch(path) for glob in checkpoints) else None


@lru_cache(maxsize=256)
def _pattern(glob: str) -> re.Pattern[str]:
    """A glob as an expression: `*` and `?` stay within a folder, `**/` crosses folders; a `.name` must be named."""
    text = ""
    place = 0
    while place < len(glob):
        if glob.startswith("**/", place):
            text, place = text + r"(?:[^/]+/)*", place + 3
        elif glob.startswith("**", place):
            text, place = text + ".*", place + 2
        else:
            char = glob[place]
            is_first = place == 0 or glob[place - 1] == "/"
            text += (
                (r"(?!\.)[^/]*" if is_first else "[^/]*")
                if char == "*"
                else "[^/]"
                if char == "?"
                else (re.escape(char))
            )
            place += 1
    return re.compile(text, re.DOTALL)
