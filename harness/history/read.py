"""Reads what certifies of an experiment left in `runs/` and `manifests/`, and what the repository tells in between.

The documents are anybody's: sizes are bounded, no link is followed, and what is malformed is told and left out.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from harness.documents.digest import Digest
from harness.documents.dockerfile import read_base
from harness.documents.experiment import parse_experiment
from harness.documents.lockfile import parse_lock
from harness.documents.names import NAME
from harness.documents.run import RunRecord
from harness.errors import EvidenceError, HarnessError, UsageError
from harness.evidence.ledger import MAX_FILE_BYTES, Ledger, parse_ledger
from harness.evidence.trajectory import TrajectoryEvidence
from harness.history import commits
from harness.history.lock_changes import PinChange, pin_changes
from harness.history.records import RUN_ID, Between, Change, FirstDifference, Record, change_to, compare, read_record
from harness.judge.diff import compare_run
from harness.runs.load_evidence import load_trajectory
from harness.runs.run_folders import entries
from harness.system.safe_read import clean, safe_read
from harness.system.store import Progress

_MAX_DOCUMENT = 64 << 20
_MAX_LOCK = 16 << 20
_MAX_DEPTH = 40
_MAX_SUBJECTS = 20
_MAX_FILES = 100
_COMMIT = re.compile(r"(?:[0-9a-f]{40})?")


@dataclass(frozen=True, slots=True, kw_only=True)
class LeftOut:
    """A folder that looked like a run and could not be read."""

    path: str
    problem: str


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """The records, oldest first, and what changed from each to the next one that trained."""

    experiment: str
    records: tuple[Record, ...]
    changes: tuple[Change, ...]
    left_out: tuple[LeftOut, ...]

    def to_json(self) -> dict[str, Any]:
        """As `harness history --json` prints it."""
        return {
            "schema": 1,
            "experiment": self.experiment,
            "records": [record.to_json() for record in self.records],
            "changes": [change.to_json() for change in self.changes],
            "left_out": [{"path": one.path, "problem": one.problem} for one in self.left_out],
        }


def read_history(root: Path, name: str, progress: Progress) -> History:
    """Every certify of an experiment that this checkout holds a record of.

    Args:
        root: the project's checkout.
        name: of the experiment; it need not exist any more.
        progress: told what takes its time.

    Raises:
        UsageError: it is no name, or there is no record of such an experiment.
    """
    if not NAME.fullmatch(name):
        raise UsageError(f"{name[:80]!r} is no name of an experiment", "give a name in pipelines/experiments/")
    folders, found, left_out = _folders(root, name), [], []
    for run_id, places in sorted(folders.items()):
        try:
            found.append(_read(run_id, places))
        except EvidenceError as error:
            shown = str(next(iter(places.values())).relative_to(root))
            left_out.append(LeftOut(path=clean(shown), problem=error.problem))
    if not found and not left_out:
        raise UsageError(f"there is no record of {name} in runs/ or manifests/", f"make one: harness certify {name}")
    records = tuple(found)
    changes = []
    for place in range(len(records)):
        if (pair := change_to(records, place)) is not None:
            if pair[0].ledger_head != pair[1].ledger_head:
                progress(f"comparing the ledgers of {pair[0].run_id} and {pair[1].run_id}")
            changes.append(compare(*pair, _between(root, name, *pair, folders)))
    return History(experiment=name, records=records, changes=tuple(changes), left_out=tuple(left_out))


_Places = dict[Literal["runs", "manifests"], Path]


def _folders(root: Path, name: str) -> dict[str, _Places]:
    """The folders of every run, by its id."""
    found: dict[str, _Places] = {}
    kinds: tuple[Literal["runs", "manifests"], ...] = ("runs", "manifests")
    for kind in kinds:
        if (root / kind).is_symlink():
            continue
        for path in entries(root / kind / name):
            if RUN_ID.fullmatch(path.name) and path.is_dir() and not path.is_symlink():
                found.setdefault(path.name, {})[kind] = path
    return found


def _read(run_id: str, places: _Places) -> Record:
    """A run's record. A certify that never came to write a manifest has a verdict only."""
    folder = next(iter(places.values()))
    verdict = read_document(folder, "verdict.json")
    has_manifest = (folder / "manifest.json").exists()
    manifest = read_document(folder, "manifest.json") if has_manifest else {}
    for document in (verdict, manifest):
        commit = document.get("commit", "")
        if not isinstance(commit, str) or not _COMMIT.fullmatch(commit):
            raise EvidenceError(f"{folder.name}: the commit {str(commit)[:60]!a} is none", "look at the document")
    source: Literal["runs", "manifests", "both"] = "both" if len(places) > 1 else next(iter(places))
    return read_record(run_id, source, verdict, manifest, _ledger(places, manifest))


def read_document(folder: Path, name: str) -> dict[str, Any]:
    """A JSON object in a file, of bounded size and depth.

    Raises:
        EvidenceError: missing, too large, no JSON object, or nested too deeply.
    """
    data = bytes(safe_read(folder, name, max_bytes=_MAX_DOCUMENT))
    try:
        value = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise EvidenceError(f"{folder.name}/{name} is no JSON: {str(error)[:100]}", "look at the document") from error
    if not isinstance(value, dict) or not _is_shallow(value, _MAX_DEPTH):
        raise EvidenceError(f"{folder.name}/{name} is no JSON object as the harness writes them", "look at it")
    return value


def _is_shallow(value: object, depth: int) -> bool:
    inner = list(value.values()) if isinstance(value, dict) else value if isinstance(value, list) else []
    return depth > 0 and all(_is_shallow(one, depth - 1) for one in inner)


def _ledger(places: _Places, manifest: Mapping[str, Any]) -> Ledger | None:
    """The straight run's ledger where it is at hand and is the one that the manifest names."""
    for folder in places.values():
        try:
            data = bytes(safe_read(folder, "straight/runs/1/ledger.jsonl", max_bytes=MAX_FILE_BYTES))
            ledger = parse_ledger(data, f"{folder.name}/straight/1", killed=True)
        except EvidenceError:
            continue
        if str(ledger.head) == _head(manifest):
            return ledger
    return None


def _head(manifest: Mapping[str, Any]) -> str | None:
    try:
        return str(manifest["trajectories"]["straight"]["ledgers"][0])
    except (KeyError, IndexError, TypeError):
        return None


def _between(root: Path, name: str, before: Record, after: Record, folders: Mapping[str, _Places]) -> Between:
    """What the repository and the ledgers tell of two records."""
    steps, first = None, None
    if before.ledger_head != after.ledger_head:
        steps, first = _first_difference(folders[before.run_id], before, folders[after.run_id], after)
    one, two = before.commit, after.commit
    if not (commits.has_commit(root, one) and commits.has_commit(root, two)):
        return Between(num_steps=steps, first_difference=first)
    log = commits.read_log(root, one, two, _MAX_SUBJECTS)
    image = _declared_image(after.manifest)
    files = commits.changed_files(root, one, two) or ()
    paths = [change.path for change in files]
    entries = tuple(_arguments(after.manifest, before.manifest))
    use = commits.Use(experiment=name, image=image, base=_base(root, two, image), entries=entries)
    seen = commits.seen_by(paths, use)
    return Between(
        num_commits=log.num_commits,
        subjects=tuple(clean(subject) for subject in log.subjects),
        is_backwards=log.is_backwards,
        files=tuple(change for change in files if change.path in seen)[:_MAX_FILES],
        num_other_files=sum(1 for change in files if change.path not in seen),
        pins=_pins(root, one, two, image),
        num_steps=steps,
        first_difference=first,
    )


def _declared_image(manifest: Mapping[str, Any]) -> str:
    experiment = manifest.get("experiment")
    return str(experiment.get("image", "")) if isinstance(experiment, dict) else ""


def _arguments(*manifests: Mapping[str, Any]) -> list[str]:
    """What the commands of two experiments name; whatever is no path names no file."""
    found: set[str] = set()
    for manifest in manifests:
        experiment = manifest.get("experiment")
        for key in ("run", "resume", "prepare"):
            command = experiment.get(key) if isinstance(experiment, dict) else None
            words = [word for word in command if isinstance(word, str)] if isinstance(command, list) else []
            found |= {word.removeprefix("./") for word in words}
            modules = [b for a, b in itertools.pairwise(words) if a == "-m"]
            found |= {f"{module.replace('.', '/')}.py" for module in modules}
    return sorted(word for word in found if word.endswith(".py"))


def _base(root: Path, commit: str, image: str) -> str:
    """The name of an image's base at a commit; "" where that cannot be told."""
    text = commits.file_at(root, commit, f"images/{image}/Dockerfile", _MAX_LOCK)
    try:
        return read_base((text or b"").decode("utf-8", "replace"), "Dockerfile").name
    except UsageError:
        return ""


def _pins(root: Path, before: str, after: str, image: str) -> tuple[PinChange, ...] | None:
    """How the image's lock differs between two commits; None where one of them cannot be read."""
    texts = [commits.file_at(root, commit, f"lockfiles/{image}.lock", _MAX_LOCK) for commit in (before, after)]
    try:
        one, two = (parse_lock((text or b"").decode("utf-8"), image) for text in texts if text is not None)
    except (HarnessError, ValueError):
        return None
    return pin_changes(one, two)


def find_record(root: Path, name: str, commit: str, runner: str, recorder: Digest) -> Path | None:
    """The newest folder with a straight run of a commit that today's recorder wrote, with this runner; None if none.

    Args:
        root: the project's checkout.
        name: of the experiment.
        commit: 40 hex digits; a run of uncommitted changes is none of it.
        runner: `docker`, `host`, or `auto` for containers.
        recorder: the digest of today's.
    """
    wanted = "docker" if runner == "auto" else runner
    for run_id, places in sorted(_folders(root, name).items(), reverse=True):
        folder = next(iter(places.values()))
        try:
            record = _read(run_id, places)
        except EvidenceError:
            continue
        harness = record.manifest.get("harness")
        is_of_recorder = isinstance(harness, dict) and harness.get("recorder") == str(recorder)
        is_it = record.commit == commit and not record.dirty and record.runner == wanted
        if is_it and is_of_recorder and record.figures.last_loss is not None:
            return folder
    return None


def known_use(root: Path, commit: str, name: str) -> commits.Use | None:
    """What an experiment is known to use at a commit; None where that cannot be told."""
    text = commits.file_at(root, commit, f"pipelines/experiments/{name}.yaml", _MAX_LOCK)
    try:
        experiment = parse_experiment((text or b"").decode("utf-8"), name)
    except (HarnessError, ValueError):
        return None
    entries = tuple(_arguments({"experiment": experiment.to_json()}))
    base = _base(root, commit, experiment.image)
    return commits.Use(experiment=name, image=experiment.image, base=base, entries=entries)


def _first_difference(
    one: _Places, before: Record, two: _Places, after: Record
) -> tuple[int | None, FirstDifference | None]:
    """How many steps of two straight ledgers were compared, and the first that differs; None where one is missing."""
    left, right = (_straight(places, record) for places, record in ((one, before), (two, after)))
    if left is None or right is None:
        return None, None
    compared = compare_run(left, right, 1)
    first = compared.differences[0] if compared.differences else None
    found = None if first is None else FirstDifference(step=first.step, stream=first.stream, phase=first.phase)
    return compared.amount.steps or None, found


def _straight(places: _Places, record: Record) -> TrajectoryEvidence | None:
    """The straight run without its files, believed where its ledger is the one that the manifest names."""
    run = RunRecord(
        trajectory="straight",
        number=1,
        mode="run",
        argv=(),
        faults=(),
        exit_code=137,
        oom_killed=False,
        killed_by=None,
        error=None,
        settings={},
        volatile={},
        seconds=0.0,
    )
    for folder in places.values():
        if not (folder / "straight" / "runs" / "1" / "ledger.jsonl").is_file():
            continue
        evidence = load_trajectory(folder / "straight", "straight", (run,), outputs=())
        ledger = evidence.runs[0].ledger
        if ledger is not None and ledger.head == _digest(record.ledger_head):
            return evidence
    return None


def _digest(text: str) -> Digest | None:
    try:
        return Digest.parse(text)
    except ValueError:
        return None
