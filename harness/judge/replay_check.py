"""The replay check: one training of today compared with an archived one, step by step and file by file.

A record is a manifest, a verdict and the ledger of the straight run; an archive also has the files and the digests of
single tensors. Equality on any hardware is CERTIFIED. A difference is DIVERGED on hardware of the same kind, and
INCONCLUSIVE on any other: libraries choose their kernels by the processor.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from harness.documents.manifest import FileFacts
from harness.documents.verdict import Cause, Check, CheckWord, Compared
from harness.errors import EvidenceError
from harness.evidence.ledger import StepRecord
from harness.evidence.trajectory import FileEvidence, TrajectoryEvidence
from harness.judge.check_result import (
    CheckResult,
    CheckResults,
    amount_compared,
    comparison_problems,
    file_differences,
)
from harness.judge.checks import unsound
from harness.judge.diagnosis import diagnose, image_differs
from harness.judge.diff import LENGTH, FileComparison, compare_files, compare_run
from harness.judge.locate import NOT_THERE, Difference, Location, ledger_of
from harness.judge.soundness import gpu_problems
from harness.judge.symptom import Symptom
from harness.judge.verdict_inputs import RecordedTraining, ReplayInputs, VerdictInputs

TODAY = "replay"
"""The name of today's trajectory where a difference is told."""

ONE_RUN = "a replay is one straight training: nothing is run twice or killed"
_MAX_CHANGES = 12
_BEFORE_AND_AFTER = ("prepared", LENGTH)


def check_replay(inputs: VerdictInputs, replay: ReplayInputs) -> CheckResults:
    """Judge the checks of a replay; only the first is required."""
    skipped = CheckResult(check=Check(verdict="NOT_CHECKED", required=False, reason=ONE_RUN))
    replayed, rebuilt = judge_replay(inputs, replay), CheckResult(check=_judge_rebuild(replay))
    return {"replay": replayed, "rebuild": rebuilt, "rerun": skipped, "resume": skipped}


def judge_replay(inputs: VerdictInputs, replay: ReplayInputs) -> CheckResult:
    """Whether today's training gives the bits of the record."""
    if inputs.straight is None:
        reason = inputs.failures[0].splitlines()[0] if inputs.failures else "nothing was run"
        return CheckResult(check=_check(replay, "NOT_CHECKED", reason))
    problems = (*unsound(inputs, inputs.straight), *gpu_problems(inputs.straight, len(inputs.gpus)), *inputs.failures)
    if not inputs.straight.runs or inputs.straight.runs[0].ledger is None:
        problems = problems or ("the training left no ledger",)
        return CheckResult(check=_check(replay, "INCONCLUSIVE", problems[0].splitlines()[0]), problems=problems)
    record = replay.training.straight
    today, unseen = _without_unknown_streams(replay, replace(inputs.straight, name=TODAY))
    comparison = compare_run(record, today, 1)
    files = _compare_files(replay.training, today.files) if inputs.scope is None else ()
    found = [*_prepared(replay), *comparison.differences, *file_differences(files, today)]
    differences, undecided = _without_undecided_generators(found, record)
    compared = amount_compared((comparison,), files)
    unread = tuple(dict.fromkeys((*comparison_problems((comparison,), files), *undecided)))
    verdict, reason = _answer(inputs, replay, problems, differences, unread, compared)
    return CheckResult(
        check=_check(replay, verdict, reason, compared),
        reference=record,
        trajectory=today,
        comparisons=(comparison,),
        files=files,
        differences=tuple(differences),
        problems=(*problems, *unread) or ((reason,) if verdict == "INCONCLUSIVE" else ()),
        notes=(*(f"stream {name}: the recorder of the record did not see it" for name in unseen), *comparison.notes),
        is_open=verdict == "INCONCLUSIVE" and bool(differences) and not problems,
    )


def replay_cause(replay: ReplayInputs, result: CheckResult, rebuild: Check, place: Location | None) -> Cause | None:
    """Why it differs, where that was measured: another commit's changes, another image, or what the streams show.

    Args:
        replay: what only a replay has.
        result: of the replay check.
        rebuild: the answer of the other check.
        place: where the first difference lies; None where there is none, or where it says nothing.
    """
    if place is not None and replay.against is not None:
        return _code_changed(replay, result.differences[0])
    if rebuild.verdict == "DIVERGED":
        return image_differs(rebuild.image_ids)
    if place is None or result.is_open or result.differences[0].stream in _BEFORE_AND_AFTER:
        return None
    assert result.reference is not None and result.trajectory is not None
    symptom = Symptom(
        check="rerun",
        straight=result.reference,
        other=result.trajectory,
        comparison=result.comparisons[0],
        first=result.differences[0],
        place=place,
        files=result.files,
        rerun_steps=0,
    )
    try:
        return diagnose(symptom)
    except EvidenceError:
        return None


def difference_in_words(stream: str, step: int) -> str:
    """The first difference of a replay, in words."""
    if stream == "prepared":
        return "the converted inputs are not those of the record"
    return f"the training ends at another step than {step}" if stream == "step" else f"{stream} differs at step {step}"


def _check(replay: ReplayInputs, verdict: CheckWord, reason: str, compared: Compared | None = None) -> Check:
    record = replay.training.record
    what = "one straight training" if replay.against is None else f"one straight training of {replay.against[:12]}"
    how = f"{what} against the record {record.run_id} ({record.source}), on: {replay.tier.name}"
    return Check(verdict=verdict, required=True, how=how, reason=reason, compared=compared or Compared())


def _answer(
    inputs: VerdictInputs,
    replay: ReplayInputs,
    problems: Sequence[str],
    differences: Sequence[Difference],
    unread: Sequence[str],
    compared: Compared,
) -> tuple[CheckWord, str]:
    if problems:
        return "INCONCLUSIVE", problems[0].splitlines()[0]
    if differences:
        where, tier = difference_in_words(differences[0].stream, differences[0].step), replay.tier
        if not inputs.is_locked:
            return "INCONCLUSIVE", f"{where}, in an environment that is not the locked one: that may be why"
        if tier.is_decisive:
            return "DIVERGED", where
        return "INCONCLUSIVE", f"{where}, on other hardware ({tier.name}): the code or the hardware may be why"
    if unread:
        return "INCONCLUSIVE", unread[0]
    if compared.steps == 0:
        return "INCONCLUSIVE", "nothing was compared: the training has no step"
    return "CERTIFIED", ""


def _judge_rebuild(replay: ReplayInputs) -> Check:
    """Whether the image built today from the record's locks has the record's id."""
    recorded, image = replay.training.manifest.image, replay.image
    if replay.against is not None:
        return Check(verdict="NOT_CHECKED", required=False, reason="another commit's image was built")
    if recorded.id is None or image.id is None:
        return Check(verdict="NOT_CHECKED", required=False, reason="one of the two trainings had no container")
    verdict: CheckWord = "CERTIFIED"
    how = reason = ""
    if recorded.id == image.id and image.is_new:
        how = f"built from the record's locks, {image.built_at}; the record names the same id"
    elif recorded.id == image.id:
        verdict = "NOT_CHECKED"
        reason = f"the record's own image, built {image.built_at}, is still here: it was not built again"
    elif recorded.key != image.key:
        verdict = "INCONCLUSIVE"
        reason = "this version builds images in another way than that of the record, so another id says nothing"
    else:
        verdict, reason = "DIVERGED", "the image built again from the same locks has another id"
    return Check(verdict=verdict, required=False, how=how, reason=reason, image_ids=(recorded.id, image.id))


def _without_unknown_streams(
    replay: ReplayInputs, today: TrajectoryEvidence
) -> tuple[TrajectoryEvidence, tuple[str, ...]]:
    """Today's steps without streams that an older recorder never wrote; the same recorder must have written them."""
    if replay.recorder == replay.training.manifest.harness.recorder:
        return today, ()
    ledger = ledger_of(today.runs[0])
    known = {name for step in ledger_of(replay.training.straight.runs[0]).steps for name in step.streams}
    unseen = tuple(sorted({name for step in ledger.steps for name in step.streams} - known))
    if not unseen:
        return today, ()

    def kept(step: StepRecord) -> StepRecord:
        return replace(step, streams={name: root for name, root in step.streams.items() if name in known})

    cut = replace(ledger, steps=tuple(map(kept, ledger.steps)))
    return replace(today, runs=(replace(today.runs[0], ledger=cut), *today.runs[1:])), unseen


def _prepared(replay: ReplayInputs) -> list[Difference]:
    """Converted inputs that are not the record's; that another commit converts them otherwise is no answer."""
    if replay.against is not None:
        return []
    then, now = replay.training.manifest.prepared, replay.prepared
    for name in sorted(then.keys() | now.keys()):
        left, right = then.get(name, NOT_THERE), now.get(name, NOT_THERE)
        if left != right:
            return [
                Difference(trajectory=TODAY, run=1, phase="start", step=1, stream="prepared", left=left, right=right)
            ]
    return []


def _compare_files(training: RecordedTraining, today: Sequence[FileEvidence]) -> tuple[FileComparison, ...]:
    """Each declared file by its content; a record without the files themselves has their digests."""
    straight = training.manifest.trajectories.get("straight")
    recorded = straight.files if straight is not None else {}
    whole, now = {file.path: file for file in training.straight.files}, {file.path: file for file in today}
    results: list[FileComparison] = []
    for path in sorted(recorded.keys() | now.keys()):
        left = whole.get(path)
        if path in recorded and path in now and left is not None and left.content is not None:
            results += compare_files([left], [now[path]])
        else:
            results.append(_compare_digests(path, recorded.get(path), now.get(path)))
    return tuple(results)


def _compare_digests(path: str, then: FileFacts | None, now: FileEvidence | None) -> FileComparison:
    content = None if now is None else now.content_digest
    is_equal: bool | None = False
    if then is not None and now is not None:
        same_bytes = bool(then.sha256) and then.sha256 == str(now.sha256 or "")
        is_known = then.content is not None and content is not None
        is_equal = True if same_bytes else then.content == str(content) if is_known else None
    tensors = now.content.tensors if now is not None and now.content is not None and then is not None else ()
    size = now.size_bytes if now is not None and then is not None else 0
    if tensors and now is not None and now.content is not None:
        size = now.content.size_bytes
    unread = (now.problem if now is not None else None) or f"{path}: the record has no digest of its content"
    return FileComparison(
        path=path,
        role=then.role if then is not None else now.role if now is not None else "output",
        is_equal=is_equal,
        content=content,
        num_tensors=len(tensors),
        size_bytes=size,
        left=NOT_THERE if then is None else then.content or then.sha256 or "",
        right=NOT_THERE if now is None else str(content or now.sha256 or ""),
        problem=unread if is_equal is None else None,
    )


def _without_undecided_generators(
    found: list[Difference], record: TrajectoryEvidence
) -> tuple[list[Difference], tuple[str, ...]]:
    """Leave it open when only generators differ, and the record does not say whether anything drew from them."""
    if record.runs[0].sidecar is not None or not found or any(one.stream != "rng" for one in found):
        return found, ()
    text = f"only the generators' states differ, from step {found[0].step} on: whether anything drew from what differs "
    return [], (text + "is in the record's tensors.jsonl, which an archive has and a manifest has not",)


def _code_changed(replay: ReplayInputs, first: Difference) -> Cause:
    shown, manifest = replay.code_changes[:_MAX_CHANGES], replay.training.manifest
    more = len(replay.code_changes) - len(shown)
    changes = f"changed since the record: {', '.join(shown)}{f' and {more} more' if more else ''}"
    ruled_out = []
    if manifest.image.id is not None and manifest.image.id == replay.image.id:
        ruled_out.append(f"the image: both trained in {replay.image.id}")
    if manifest.prepared == dict(replay.prepared):
        num = len(replay.prepared)
        ruled_out.append(f"the converted inputs: all {num} files are the same" if num else "converted inputs: none")
    if first.phase != "start" and first.step > 1 and first.stream != "step":
        ruled_out.append(f"everything before step {first.step}: steps 1 to {first.step - 1} are the same")
    return Cause(
        kind="code_changed",
        title=f"The code of {(replay.against or '')[:12]} gives other numbers",
        evidence=(f"{difference_in_words(first.stream, first.step)}, trained on: {replay.tier.name}", changes),
        ruled_out=tuple(ruled_out),
        fix="Look at what these files do before and in that step; `harness bisect` finds the commit among several.",
    )
