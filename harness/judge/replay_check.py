"""Replay: one training of today held against the record of an earlier certify, step by step and file by file.

A record is a manifest, a verdict and the ledger of the straight run; an archive also has the files and the digests of
single tensors. Equality on any hardware is CERTIFIED. A difference is DIVERGED on hardware of the same kind, and
INCONCLUSIVE on any other: libraries choose their kernels by the processor. What is judged here is judged again by
whoever has both sides; nothing here reads a file.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from harness.documents.environment import EnvironmentFacts
from harness.documents.preflight import Preflight
from harness.documents.scope import Prefix
from harness.documents.verdict import ControlResult
from harness.evidence.ledger import Ledger, StepRecord
from harness.evidence.trajectory import Amount, FileEvidence, TrajectoryEvidence
from harness.judge.checks import Check
from harness.judge.diff import FileComparison, RunComparison, compare_files, compare_run
from harness.judge.locate import NOT_THERE, Difference, Location, ledger_of, locate
from harness.judge.replay_record import Recorded, RecordedFile
from harness.judge.symptom import Cause
from harness.judge.testimony import Testimony, match_ledger
from harness.judge.tier import Tier
from harness.judge.verdict_inputs import Divergence, Outcome

TODAY = "replay"
"""How today's trajectory is called where a difference is told."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """The image of a replay: its id and key, and when it was built; `is_new` unless it is the record's own build."""

    id: str | None
    key: str | None = None
    built_at: str = ""
    is_new: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvironmentRow:
    """One value that is not the same as it was; None where one side does not have it."""

    path: str
    archived: str | None
    today: str | None

    def to_json(self) -> dict[str, str | None]:
        """As verdict.json has it."""
        return {"path": self.path, "archived": self.archived, "today": self.today}


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayInputs:
    """Everything that is judged.

    Attributes:
        commit: of the code that was trained: the record's, or that of `--against`.
        against: the commit whose code was trained instead of the record's; None for a replay.
        steps: how many the training was to do.
        today: its evidence; None if it never came to it.
        recorder: the digest of the recorder that wrote it.
        controls: of today's evidence: comparisons that must fail.
        problems: what went wrong outside of the comparison; any makes the whole INCONCLUSIVE.
        code_changes: files of the code that are not the record's, where `against` names another commit.
    """

    run_id: str
    record: Recorded
    commit: str
    runner: str
    steps: int
    against: str | None = None
    scope: Prefix | None = None
    gpus: tuple[str, ...] = ()
    interpreter: EnvironmentFacts | None = None
    today: TrajectoryEvidence | None = None
    recorder: str = ""
    prepared: Mapping[str, str] = field(default_factory=dict)
    image: Image = field(default_factory=lambda: Image(id=None))
    tier: Tier = field(default_factory=lambda: Tier(name="other"))
    environment: tuple[EnvironmentRow, ...] = ()
    preflight: Preflight = field(default_factory=lambda: Preflight(needs=()))
    controls: tuple[ControlResult, ...] = ()
    problems: tuple[str, ...] = ()
    code_changes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """The training of today held against the record's.

    Attributes:
        differences: in the order of their causes; of files last.
        problems: what could not be compared and should have been.
        notes: what was seen and does not count, and what was not compared for a reason.
    """

    comparison: RunComparison | None = None
    files: tuple[FileComparison, ...] = ()
    differences: tuple[Difference, ...] = ()
    place: Location | None = None
    amount: Amount = field(default_factory=Amount)
    problems: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayVerdict:
    """What was decided, and everything that it stands on."""

    case: ReplayInputs
    verdict: Outcome
    replay: Check
    rebuild: Check
    held: Held
    divergence: Divergence | None
    cause: Cause | None
    testimony: Testimony
    problems: tuple[str, ...]


def hold(case: ReplayInputs) -> Held:
    """Compare; the record's straight run is the left side of everything."""
    if case.today is None or not case.today.runs or case.today.runs[0].ledger is None:
        return Held()
    record, notes = case.record.straight, []
    today, unseen = _without_unknown(record, case.today, is_other=case.recorder != case.record.recorder)
    notes += [f"stream {name}: the recorder of the record did not see it" for name in unseen]
    comparison = compare_run(record, replace(today, name=TODAY), 1)
    found = [*_of_prepared(case), *comparison.differences, *_of_length(case, today)]
    files: tuple[FileComparison, ...] = ()
    if case.scope is None:
        files = _compare_files(case.record, today.files)
    found += _of_files(files, ledger_of(today.runs[0]).last_step)
    problems = [
        *comparison.problems,
        *(f.problem or f"{f.path} could not be compared" for f in files if f.is_equal is None),
    ]
    kept, undecided = _without_undecided_generators(found, record)
    place = _place(kept[0], files, record, today) if kept else None
    amount = comparison.amount
    for file in files:
        if file.is_equal is not None:
            amount += Amount(tensors=file.num_tensors, bytes=file.size_bytes, files=1)
    return Held(
        comparison=comparison,
        files=files,
        differences=tuple(kept),
        place=place,
        amount=amount,
        problems=tuple(dict.fromkeys((*problems, *undecided))),
        notes=(*notes, *comparison.notes),
    )


def judge_rebuilt(case: ReplayInputs) -> Check:
    """Whether the image built today from the record's locks has the record's id."""
    ids = tuple(one for one in (case.record.image_id, case.image.id) if one)
    if case.against is not None:
        return Check(verdict="NOT_CHECKED", required=False, reason="another commit's image was built")
    if case.record.image_id is None or case.image.id is None:
        return Check(verdict="NOT_CHECKED", required=False, reason="one of the two trainings had no container")
    if ids[0] == ids[1]:
        if not case.image.is_new:
            reason = f"the record's own image, built {case.image.built_at}, is still here: it was not built again"
            return Check(verdict="NOT_CHECKED", required=False, reason=reason, image_ids=ids)
        how = f"built from the record's locks, {case.image.built_at}; the record names the same id"
        return Check(verdict="CERTIFIED", required=False, how=how, image_ids=ids)
    if case.record.image_key != case.image.key:
        reason = "this version builds images in another way than that of the record, so another id says nothing"
        return Check(verdict="INCONCLUSIVE", required=False, reason=reason, image_ids=ids)
    reason = "the image built again from the same locks has another id"
    return Check(verdict="DIVERGED", required=False, reason=reason, image_ids=ids)


def testimony_of(case: ReplayInputs) -> Testimony:
    """Whether what today's training left on disk is in its ledger."""
    if case.today is None or case.scope is not None:
        return Testimony(tensors_on_disk=0, found_in_ledger=0, missing=())
    return match_ledger(case.today)


def _without_unknown(
    record: TrajectoryEvidence, today: TrajectoryEvidence, *, is_other: bool
) -> tuple[TrajectoryEvidence, tuple[str, ...]]:
    """Today's steps without streams that an older recorder never wrote; the same recorder must have written them."""
    if not is_other:
        return today, ()
    ledger = ledger_of(today.runs[0])
    known = {name for step in ledger_of(record.runs[0]).steps for name in step.streams}
    unseen = tuple(sorted({name for step in ledger.steps for name in step.streams} - known))
    if not unseen:
        return today, ()

    def kept(step: StepRecord) -> StepRecord:
        return replace(step, streams={name: root for name, root in step.streams.items() if name in known})

    cut: Ledger = replace(ledger, steps=tuple(map(kept, ledger.steps)))
    return replace(today, runs=(replace(today.runs[0], ledger=cut), *today.runs[1:])), unseen


def _of_prepared(case: ReplayInputs) -> list[Difference]:
    """Converted inputs that are not the record's; that another commit converts them otherwise is no answer."""
    if case.against is not None:
        return []
    names = sorted(case.record.prepared.keys() | case.prepared.keys())
    return [
        Difference(trajectory=TODAY, run=1, phase="start", step=1, stream="prepared", left=left, right=right)
        for name in names
        if (left := case.record.prepared.get(name, NOT_THERE)) != (right := case.prepared.get(name, NOT_THERE))
    ][:1]


def _of_length(case: ReplayInputs, today: TrajectoryEvidence) -> list[Difference]:
    """A training that is shorter or longer than the record's, where both were to end by themselves."""
    one, two = case.record.num_steps, ledger_of(today.runs[0]).last_step
    if case.scope is not None or one == two:
        return []
    texts = [f"{num} steps" for num in (one, two)]
    return [
        Difference(
            trajectory=TODAY, run=1, phase="step", step=min(one, two) + 1, stream="step", left=texts[0], right=texts[1]
        )
    ]


def _compare_files(record: Recorded, today: Sequence[FileEvidence]) -> tuple[FileComparison, ...]:
    """Each declared file by its content; a record without the files themselves has their digests."""
    whole = {file.path: file for file in record.straight.files}
    now = {file.path: file for file in today}
    results = []
    for path in sorted(record.files.keys() | now.keys()):
        recorded, file = record.files.get(path), now.get(path)
        if recorded is None or file is None:
            results.append(_one_sided(path, recorded, file))
        elif (left := whole.get(path)) is not None and left.content is not None:
            results += compare_files([left], [file])
        else:
            results.append(_by_digest(path, recorded, file))
    return tuple(results)


def _by_digest(path: str, recorded: RecordedFile, file: FileEvidence) -> FileComparison:
    content = "" if file.content_digest is None else str(file.content_digest)
    same_bytes = bool(recorded.sha256) and recorded.sha256 == str(file.sha256 or "")
    is_equal = True if same_bytes else recorded.content == content if recorded.content and content else None
    tensors = file.content.tensors if file.content is not None else ()
    return FileComparison(
        path=path,
        role=recorded.role,
        is_equal=is_equal,
        content=file.content_digest,
        num_tensors=len(tensors),
        size_bytes=file.content.size_bytes if file.content is not None and tensors else file.size_bytes,
        different=(path,) if is_equal is False else (),
        left=recorded.content or recorded.sha256,
        right=content or str(file.sha256 or ""),
        problem=None if is_equal is not None else file.problem or f"{path}: the record has no digest of its content",
    )


def _one_sided(path: str, recorded: RecordedFile | None, file: FileEvidence | None) -> FileComparison:
    return FileComparison(
        path=path,
        role=recorded.role if recorded is not None else file.role if file is not None else "output",
        is_equal=False,
        content=None if file is None else file.content_digest,
        num_tensors=0,
        size_bytes=0,
        different=(path,),
        left=NOT_THERE if recorded is None else recorded.content or recorded.sha256,
        right=NOT_THERE if file is None else str(file.content_digest or file.sha256 or ""),
    )


def _of_files(files: Sequence[FileComparison], step: int) -> list[Difference]:
    return [
        Difference(trajectory=TODAY, run=1, phase="file", step=step, stream=file.role, left=file.left, right=file.right)
        for file in files
        if file.is_equal is False
    ]


def _without_undecided_generators(
    found: list[Difference], record: TrajectoryEvidence
) -> tuple[list[Difference], tuple[str, ...]]:
    """Leave it open when only generators differ, and the record does not say whether anything drew from them."""
    if record.runs[0].sidecar is not None or not found or any(one.stream != "rng" for one in found):
        return found, ()
    text = f"only the generators' states differ, from step {found[0].step} on: whether anything drew from what differs "
    return [], (text + "is in the record's tensors.jsonl, which an archive has and a manifest has not",)


def _place(
    first: Difference, files: Sequence[FileComparison], record: TrajectoryEvidence, today: TrajectoryEvidence
) -> Location:
    """The tensor or the file at which it first differs, as far as both sides say."""
    if first.stream in ("prepared", "step"):
        return Location(
            tensor=None, micro_batch=None, num_different=0, num_tensors=0, left=first.left, right=first.right
        )
    if first.phase != "file":
        return locate(first, record.runs[0], today.runs[0])
    file = next(file for file in files if file.is_equal is False and file.role == first.stream)
    name = f"{file.path}: {file.different[0]}" if file.different and file.different[0] != file.path else file.path
    return Location(
        tensor=name,
        micro_batch=None,
        num_different=len(file.different),
        num_tensors=0,
        left=first.left,
        right=first.right,
    )
