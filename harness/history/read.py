"""Reads what past certifies of an experiment left in `runs/` and `manifests/`, and what git says in between.

Anybody may have written the documents: they are loaded strictly, no link is followed, and a run whose documents are
malformed is reported and left out.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Literal, TypeVar

from harness.documents.digest import Digest
from harness.documents.dockerfile import read_base
from harness.documents.document import MAX_BYTES, Document
from harness.documents.experiment import parse_experiment
from harness.documents.history import Between, History, LedgerDifference, LeftOut, PastRun, PinChange
from harness.documents.lockfile import parse_lock
from harness.documents.manifest import Manifest
from harness.documents.names import NAME
from harness.documents.run import RunRecord
from harness.documents.verdict import Verdict
from harness.errors import EvidenceError, HarnessError, UsageError
from harness.evidence.ledger import MAX_FILE_BYTES, Ledger, parse_ledger
from harness.evidence.trajectory import TrajectoryEvidence
from harness.history import commits
from harness.history.lock_changes import pin_changes
from harness.history.records import RUN_ID, Record, compare, read_record, record_before, straight_of
from harness.judge.diff import compare_run
from harness.runs.load_evidence import load_trajectory
from harness.runs.run_folders import entries
from harness.system.project import STOCK
from harness.system.safe_read import clean, safe_read
from harness.system.store import Progress

_MAX_LOCK = 16 << 20
_MAX_SUBJECTS = 20
_MAX_FILES = 100
_COMMIT = re.compile(r"(?:[0-9a-f]{40})?")
_Places = dict[Literal["runs", "manifests"], Path]
T = TypeVar("T", bound=Document)


def read_history(root: Path, name: str, progress: Progress) -> History:
    """Every certify of an experiment that this checkout holds a record of.

    Raises:
        UsageError: it is no name, or there is no record of such an experiment.
    """
    if not NAME.fullmatch(name):
        raise UsageError(f"{name[:80]!r} is no name of an experiment", "give a name in pipelines/experiments/")
    folders, records, left_out = _folders(root, name), [], []
    for run_id, places in sorted(folders.items()):
        try:
            records.append(_read(run_id, places))
        except HarnessError as error:
            shown = str(next(iter(places.values())).relative_to(root))
            left_out.append(LeftOut(path=clean(shown), problem=error.problem))
    if not records and not left_out:
        raise UsageError(f"there is no record of {name} in runs/ or manifests/", f"make one: harness certify {name}")
    changes = []
    for place, after in enumerate(records):
        if (before := record_before(records, place)) is not None:
            if before.run.ledger_head != after.run.ledger_head:
                progress(f"comparing the ledgers of {before.run.run_id} and {after.run.run_id}")
            changes.append(compare(before, after, _between(root, name, before, after, folders)))
    rows = tuple(record.run for record in records)
    return History(experiment=name, records=rows, changes=tuple(changes), left_out=tuple(left_out))


def find_record(root: Path, name: str, commit: str, runner: str, recorder: Digest) -> Path | None:
    """The newest folder with a straight run of a commit that today's recorder wrote, with this runner; None if none."""
    wanted = "docker" if runner == "auto" else runner
    for run_id, places in sorted(_folders(root, name).items(), reverse=True):
        try:
            record = _read(run_id, places)
        except HarnessError:
            continue
        run = record.run
        told = record.manifest
        is_of_recorder = told is not None and told.harness.recorder == str(recorder) and not told.overrides
        is_it = run.commit == commit and not run.dirty and run.runner == wanted
        if is_it and is_of_recorder and run.figures.last_loss is not None:
            return next(iter(places.values()))
    return None


def known_use(root: Path, commit: str, name: str) -> commits.Use | None:
    """What an experiment is known to use at a commit; None where that cannot be told."""
    names = []

    def text(name: str) -> str:
        names.append(name)
        return (commits.file_at(root, commit, f"pipelines/experiments/{name}.yaml", _MAX_LOCK) or b"").decode("utf-8")

    try:
        experiment = parse_experiment(text(name), name, text)
    except (HarnessError, ValueError):
        return None
    base = _base(root, commit, experiment.image)
    entries = _scripts(experiment.to_json())
    return commits.Use(experiments=tuple(names), image=experiment.image, base=base, entries=entries)


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
    verdict = _load(Verdict, folder, "verdict.json")
    manifest = _load(Manifest, folder, "manifest.json") if (folder / "manifest.json").exists() else None
    if not _COMMIT.fullmatch(verdict.commit):
        raise EvidenceError(f"{folder.name}: the commit {verdict.commit[:60]!a} is none", "look at the document")
    source: Literal["runs", "manifests", "both"] = "both" if len(places) > 1 else next(iter(places))
    return read_record(run_id, source, verdict, manifest, _ledger(places, manifest))


def _load(kind: type[T], folder: Path, name: str) -> T:
    return kind.load(bytes(safe_read(folder, name, max_bytes=MAX_BYTES)), f"{folder.name}/{name}")


def _ledger(places: _Places, manifest: Manifest | None) -> Ledger | None:
    """The straight run's ledger where it is at hand and is the one that the manifest names."""
    straight = straight_of(manifest)
    for folder in places.values() if straight else ():
        try:
            data = bytes(safe_read(folder, "straight/runs/1/ledger.jsonl", max_bytes=MAX_FILE_BYTES))
            ledger = parse_ledger(data, f"{folder.name}/straight/1", killed=True)
        except EvidenceError:
            continue
        if straight and str(ledger.head) in straight.ledgers[:1]:
            return ledger
    return None


def _between(root: Path, name: str, before: Record, after: Record, folders: Mapping[str, _Places]) -> Between:
    """What the repository and the ledgers tell of two records."""
    one, two = before.run, after.run
    steps, first = None, None
    if one.ledger_head != two.ledger_head:
        sides = [_straight(folders[run.run_id], run) for run in (one, two)]
        steps, first = _first_difference(*sides)
    if not (commits.has_commit(root, one.commit) and commits.has_commit(root, two.commit)):
        return Between(num_steps=steps, first_difference=first)
    log = commits.read_log(root, one.commit, two.commit, _MAX_SUBJECTS)
    files = commits.changed_files(root, one.commit, two.commit) or ()
    declared = [record.manifest.experiment if record.manifest else {} for record in (after, before)]
    image = str(declared[0].get("image", ""))
    use = commits.Use(
        experiments=(name,), image=image, base=_base(root, two.commit, image), entries=_scripts(*declared)
    )
    seen = commits.seen_by([change.path for change in files], use)
    return Between(
        num_commits=log.num_commits,
        subjects=tuple(clean(subject) for subject in log.subjects),
        is_backwards=log.is_backwards,
        files=tuple(change for change in files if change.path in seen)[:_MAX_FILES],
        num_other_files=sum(1 for change in files if change.path not in seen),
        pins=_pins(root, one.commit, two.commit, image),
        num_steps=steps,
        first_difference=first,
    )


def _scripts(*experiments: Mapping[str, object]) -> tuple[str, ...]:
    """The Python files that experiments' commands name; whatever is no path names no file."""
    found: set[str] = set()
    for experiment, key in itertools.product(experiments, ("run", "resume", "prepare")):
        command = experiment.get(key)
        words = [word for word in command if isinstance(word, str)] if isinstance(command, list) else []
        found |= {word.removeprefix("./") for word in words}
        found |= {f"{module.replace('.', '/')}.py" for flag, module in itertools.pairwise(words) if flag == "-m"}
    return tuple(sorted(word for word in found if word.endswith(".py")))


def _base(root: Path, commit: str, image: str) -> str:
    """The name of an image's base at a commit; "" where that cannot be told."""
    text = commits.file_at(root, commit, f"images/{image}/Dockerfile", _MAX_LOCK)
    try:
        return read_base((text or (STOCK / "Dockerfile").read_bytes()).decode("utf-8", "replace"), "Dockerfile").name
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


def _first_difference(
    left: TrajectoryEvidence | None, right: TrajectoryEvidence | None
) -> tuple[int | None, LedgerDifference | None]:
    """How many steps of two straight ledgers were compared, and the first that differs; None where one is missing."""
    if left is None or right is None:
        return None, None
    compared = compare_run(left, right, 1)
    first = compared.differences[0] if compared.differences else None
    found = None if first is None else LedgerDifference(step=first.step, stream=first.stream, phase=first.phase)
    return compared.amount.steps or None, found


def _straight(places: _Places, record: PastRun) -> TrajectoryEvidence | None:
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
        if ledger is not None and str(ledger.head) == record.ledger_head:
            return evidence
    return None
