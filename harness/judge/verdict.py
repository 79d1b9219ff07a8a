"""The verdict: every oracle's answer, the controls and the testimony, put together into one of four words.

CERTIFIED     every required oracle holds, every control failed as it must, nothing is missing
DIVERGED      an oracle answered no
INCONCLUSIVE  something is missing or went wrong that is not the pipeline's reproducibility
VETOED        the review forbids the run
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from harness.documents.run import Fault
from harness.documents.verdict import ControlResult
from harness.evidence.trajectory import Amount, TrajectoryEvidence
from harness.judge.checkpoints import with_checkpoints
from harness.judge.checks import Check, CheckResult, judge_rebuild, judge_rerun, judge_resume
from harness.judge.controls import CONTROLS, check_weights_moved
from harness.judge.diagnosis import checkpoint_ignored, diagnose, image_differs
from harness.judge.diff import FileComparison, StreamSummary, summarise
from harness.judge.locate import Difference, Location, locate
from harness.judge.prefix import cut_short, unmade, within
from harness.judge.restored import Restored
from harness.judge.sentences import not_checked, summarise_verdict
from harness.judge.soundness import SIGXFSZ_EXIT_CODE, gpu_problems, has_landed, run_problems, trajectory_problems
from harness.judge.symptom import Cause, Symptom
from harness.judge.testimony import Testimony, match_checkpoints, match_ledger
from harness.judge.verdict_inputs import Divergence, Outcome
from harness.judge.verdict_inputs import Rebuild as Rebuild
from harness.judge.verdict_inputs import VerdictInputs as VerdictInputs
from harness.review.checklist import Review, review_to_json
from harness.review.evidence.state_rules import Measured
from harness.review.judged import review_of, review_problems

SCHEMA = 2
EXIT_CODES: dict[Outcome, int] = {"CERTIFIED": 0, "DIVERGED": 1, "INCONCLUSIVE": 3, "VETOED": 4}
_STATIC_CONTROLS = ("tensor_bit", "ledger_digit")


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What was decided, and everything that it stands on."""

    case: VerdictInputs
    verdict: Outcome
    summary: str
    rerun: Check
    resume: Check
    rebuild: Check
    compared: Amount
    divergence: Divergence | None
    streams: tuple[StreamSummary, ...]
    is_final_state_equal: bool | None
    cause: Cause | None
    controls: tuple[ControlResult, ...]
    restored: tuple[Restored, ...]
    testimony: Testimony
    files: tuple[FileComparison, ...]
    problems: tuple[str, ...]
    not_checked: tuple[str, ...]
    review: Review | None = None

    @property
    def exit_code(self) -> int:
        """Of the process."""
        return EXIT_CODES[self.verdict]

    @property
    def controls_failed(self) -> bool:
        """Whether every control that is needed was made and failed as it must."""
        return not _control_problems(self.case, self.controls)


def judge(case: VerdictInputs) -> Verdict:
    """Decide. Everything needed is in the case; equal cases give equal verdicts."""
    case = within(case)
    rerun, resume, rebuild = _oracles(case)
    controls = _with_weights_moved(case)
    testimony = (match_ledger if case.scope is None else match_checkpoints)(case.straight, case.rerun, case.resumed)
    diverged = next(((n, j) for n, j in (("rerun", rerun), ("resume", resume)) if j.oracle.verdict == "DIVERGED"), None)
    is_diverged = diverged is not None or rebuild.oracle.verdict == "DIVERGED"
    divergence, cause = None, None
    streams: tuple[StreamSummary, ...] = ()
    if diverged is not None and case.straight is not None:
        divergence, cause = _explain(case.straight, *diverged, rerun)
        streams = summarise(diverged[1].differences)
    elif rebuild.oracle.verdict == "DIVERGED":
        cause = image_differs(rebuild.oracle.image_ids)
    restored = with_checkpoints(case.resumed, resume.restored)
    review = None
    if case.review is not None:
        asked = dict(zip(("rerun", "resume", "rebuild"), (j.oracle for j in (rerun, resume, rebuild)), strict=True))
        review = review_of(
            Measured(
                case=case,
                basis=case.review,
                restored=restored,
                controls=controls,
                cause=cause,
                guilty=diverged[0] if diverged is not None else "",
                **asked,
            )
        )
    found = _problems(case, (rerun, resume, rebuild), controls, testimony)
    # A difference that the runs showed is the verdict; what the review says on top of it stands in the checklist.
    problems = tuple(found) if is_diverged else review_problems(review, found, has_run=case.straight is not None)
    problems = tuple(dict.fromkeys(problems)) or (("nothing was run",) if case.straight is None else ())
    blind = any(check.name in _STATIC_CONTROLS and not check.detected for check in controls)
    outcome: Outcome = "CERTIFIED"
    if is_diverged:
        outcome = "INCONCLUSIVE" if case.problems or blind else "DIVERGED"
    elif review is not None and review.vetoes:
        outcome = "VETOED"
    elif problems:
        outcome = "INCONCLUSIVE"
    return Verdict(
        case=case,
        verdict=outcome,
        summary=summarise_verdict(case, outcome, (rerun, resume, rebuild), divergence, cause, problems),
        rerun=rerun.oracle,
        resume=resume.oracle,
        rebuild=rebuild.oracle,
        compared=rerun.oracle.compared + resume.oracle.compared,
        divergence=divergence,
        streams=streams,
        is_final_state_equal=_final_state(rerun, resume),
        cause=cause,
        controls=controls,
        restored=restored,
        testimony=testimony,
        files=_files(rerun, resume),
        problems=problems,
        not_checked=(
            *not_checked(case, rerun, resume, rebuild, testimony),
            *(f"the review in full: {text}" for text in (review.weakened if review is not None else ())),
        ),
        review=review,
    )


def verdict_to_json(verdict: Verdict) -> dict[str, Any]:
    """`verdict.json` as a JSON value."""
    case = verdict.case
    return {
        "schema": SCHEMA,
        "experiment": case.experiment,
        "run_id": case.run_id,
        "commit": case.commit,
        "dirty": case.dirty,
        "runner": case.runner,
        "gpus": list(case.gpus),
        "environment": None if case.environment is None else case.environment.to_json(),
        "scope": None if case.scope is None else case.scope.to_json(),
        "stopped_at": None if case.stopped_at is None else case.stopped_at.to_json(),
        "verdict": verdict.verdict,
        "exit_code": verdict.exit_code,
        "summary": verdict.summary,
        "checks": {
            "rerun": oracle_to_json(verdict.rerun),
            "resume": {
                **oracle_to_json(verdict.resume),
                "resumes": [dataclasses.asdict(resume) for resume in verdict.resume.resumes],
            },
            "rebuild": {**oracle_to_json(verdict.rebuild), "image_ids": list(verdict.rebuild.image_ids)},
        },
        "interruptions": _interruptions_json(case),
        "compared": verdict.compared.to_json(),
        "first_divergence": _divergence_json(verdict.divergence),
        "streams_that_differ": [dataclasses.asdict(stream) for stream in verdict.streams],
        "final_state_equal": verdict.is_final_state_equal,
        "cause": _cause_json(verdict.cause),
        "control": {
            "failed_as_it_must": verdict.controls_failed,
            "controls": [control.to_json() for control in verdict.controls],
        },
        "restored": [_restored_json(restored) for restored in verdict.restored],
        "testimony": {
            "tensors_on_disk": verdict.testimony.tensors_on_disk,
            "found_in_ledger": verdict.testimony.found_in_ledger,
            "missing": list(verdict.testimony.missing),
        },
        "files": [_file_json(file) for file in verdict.files],
        "problems": list(verdict.problems),
        "not_checked": list(verdict.not_checked),
        "review": None if verdict.review is None else review_to_json(verdict.review),
    }


def _oracles(case: VerdictInputs) -> tuple[CheckResult, CheckResult, CheckResult]:
    required = frozenset(case.required)
    ids = case.rebuild.image_ids if case.rebuild is not None else ()
    source = case.rebuild.source if case.rebuild is not None else ""
    rebuild = judge_rebuild(ids, source, is_required="rebuild" in required, is_given=case.rebuild is not None)
    if case.straight is None:
        rerun, resume = (
            CheckResult(oracle=Check(verdict="NOT_CHECKED", required=name in required, reason="nothing was run"))
            for name in ("rerun", "resume")
        )
        return rerun, resume, rebuild
    stop = None if case.scope is None else case.scope.stop
    straight = (*_unsound(case, case.straight), *_missing(case.straight, is_whole=stop is None))
    second, resumed = _unsound(case, case.rerun), _unsound(case, case.resumed, case.interruptions)
    first_kill = case.interruptions[0] if case.interruptions else stop
    prefix = run_problems(case.resumed.runs[0], first_kill, case.steps) if case.resumed and case.resumed.runs else ()
    rerun = judge_rerun(
        case.straight,
        case.rerun,
        case.resumed,
        is_second_run_wanted=case.rerun_mode == "second_run",
        is_required="rerun" in required,
        problems=(*straight, *second),
        prefix_problems=prefix,
        is_whole=stop is None,
    )
    resume = judge_resume(
        case.straight,
        case.resumed,
        is_required="resume" in required,
        is_random=case.is_random,
        problems=(*straight, *resumed),
        rerun=rerun.oracle,
        is_whole=stop is None,
        cut=cut_short(case, case.resumed),
    )
    return rerun, resume, rebuild


def _unsound(
    case: VerdictInputs, trajectory: TrajectoryEvidence | None, kills: tuple[Fault, ...] = ()
) -> tuple[str, ...]:
    if trajectory is None:
        return ()
    stop, is_cut = None if case.scope is None else case.scope.stop, case.stopped_at is not None
    return trajectory_problems(trajectory, steps=case.steps, kills=kills, stop=stop, is_cut=is_cut)


def _missing(straight: TrajectoryEvidence, *, is_whole: bool) -> tuple[str, ...]:
    if is_whole and not any(file.role == "output" for file in straight.files):
        return ("straight: no file matches the declared outputs: there is nothing to compare",)
    run = straight.runs[0] if straight.runs else None
    if run is not None and run.ledger is not None and not all("param" in s.streams for s in run.ledger.steps):
        return ("straight: the recorder saw no trainable parameters, so the ledger says too little",)
    return ()


def _with_weights_moved(case: VerdictInputs) -> tuple[ControlResult, ...]:
    """The controls in their order; whether the weights moved needs nothing but the straight ledger."""
    given = {check.name: check for check in case.controls}
    if "weights_moved" not in given and case.straight is not None:
        given["weights_moved"] = check_weights_moved(case.straight)
    order = {name: place for place, name in enumerate(CONTROLS)}
    return tuple(sorted(given.values(), key=lambda check: (order.get(check.name, len(order)), check.name)))


def _control_problems(case: VerdictInputs, controls: tuple[ControlResult, ...]) -> tuple[str, ...]:
    needed = [name for name in CONTROLS if (name != "flip_optim" or case.interruptions) and name not in unmade(case)]
    made = {check.name for check in controls}
    missing = [
        f"control {name} was not made: whether the comparison can fail is not known"
        for name in needed
        if name not in made
    ]
    passed = [f"control {c.name} did not fail as it must: {c.detail}" for c in controls if not c.detected]
    return (*passed, *missing)


def _problems(
    case: VerdictInputs, judged: tuple[CheckResult, ...], controls: tuple[ControlResult, ...], testimony: Testimony
) -> list[str]:
    """Every reason why this cannot be certified, apart from a divergence and the review."""
    found = [*case.problems]
    for name, one in zip(("rerun", "resume", "rebuild"), judged, strict=True):
        found += one.problems
        if one.oracle.required and one.oracle.verdict == "NOT_CHECKED":
            found.append(f"{name} is required and was not checked: {one.oracle.reason}")
    if case.straight is None:
        return found
    found += _control_problems(case, controls)
    if case.stopped_at is not None and not any(one.oracle.verdict == "DIVERGED" for one in judged[:2]):
        at = case.stopped_at
        found.append(f"every training was stopped at step {at.step} of {at.trajectory}/{at.run}, which differed there")
    found += gpu_problems(case.straight, len(case.gpus))
    found += testimony.problems
    if testimony.missing:
        total = testimony.tensors_on_disk
        num, what = total - testimony.found_in_ledger, "outputs" if case.scope is None else "checkpoints"
        found.append(f"{num} of {total} tensors of the {what} are in no recorded state: {testimony.missing[0]}")
    return found


def _explain(
    straight: TrajectoryEvidence, name: str, judged: CheckResult, rerun: CheckResult
) -> tuple[Divergence | None, Cause | None]:
    """The first difference and its cause. A run that started over has a cause even where no bit differs."""
    other = judged.trajectory
    if other is None:
        return None, None
    divergence = None
    first = judged.differences[0] if judged.differences else None
    if first is not None:
        place = locate(first, straight.runs[0], other.runs[first.run - 1])
        if first.phase == "file":
            place = _file_place(first, judged.files)
        divergence = Divergence(oracle=name, difference=first, place=place)
    if judged.ignored is not None:
        ignored = judged.ignored
        is_equal = not judged.differences
        cause = checkpoint_ignored(ignored.run, ignored.saved_step, num_saves=ignored.num_saves, is_equal=is_equal)
        return divergence, cause
    if first is None or divergence is None:
        return None, None
    comparison = next(c for c in judged.comparisons if c.run == first.run or first.phase == "file")
    rerun_steps = rerun.oracle.compared.steps if rerun.oracle.verdict == "CERTIFIED" else 0
    symptom = Symptom(
        oracle=name,
        straight=straight,
        other=other,
        comparison=comparison,
        first=first,
        place=divergence.place,
        files=judged.files,
        rerun_steps=rerun_steps,
    )
    return divergence, diagnose(symptom)


def _file_place(first: Difference, files: tuple[FileComparison, ...]) -> Location:
    file = next((file for file in files if file.is_equal is False and file.role == first.stream), None)
    name = None if file is None else f"{file.path}: {file.different[0]}" if file.different else file.path
    return Location(
        tensor=name,
        micro_batch=None,
        num_different=len(file.different) if file else 0,
        num_tensors=0,
        left=first.left,
        right=first.right,
    )


def _final_state(rerun: CheckResult, resume: CheckResult) -> bool | None:
    """Whether all that was trained to the end ended the same; None if nothing else got there."""
    is_known = False
    for judged in (rerun, resume):
        if judged.trajectory is None or judged.trajectory.last is None:
            continue
        ledger = judged.trajectory.last.ledger
        has_end = ledger is not None and ledger.end is not None
        if not has_end or judged.trajectory.last.record.number not in {c.run for c in judged.comparisons}:
            continue
        is_known = True
        if any(d.phase == "end" or (d.phase == "file" and d.stream == "output") for d in judged.differences):
            return False
    return True if is_known else None


def _files(rerun: CheckResult, resume: CheckResult) -> tuple[FileComparison, ...]:
    """Each file once: the comparison that found it different, else the one that could not compare, else any."""
    best: dict[str, FileComparison] = {}
    rank = {False: 0, None: 1, True: 2}
    for file in (*resume.files, *rerun.files):
        known = best.get(file.path)
        if known is None or rank[file.is_equal] < rank[known.is_equal]:
            best[file.path] = file
    return tuple(file for _, file in sorted(best.items()))


def _cause_json(cause: Cause | None) -> dict[str, Any] | None:
    if cause is None:
        return None
    return {
        "class": cause.kind,
        "title": cause.title,
        "evidence": list(cause.evidence),
        "ruled_out": list(cause.ruled_out),
        "fix": cause.fix,
    }


def _file_json(file: FileComparison) -> dict[str, Any]:
    return {
        "path": file.path,
        "role": file.role,
        "equal": file.is_equal,
        "content": None if file.content is None else str(file.content),
        "num_tensors": file.num_tensors,
    }


def oracle_to_json(oracle: Check) -> dict[str, Any]:
    """One oracle's answer, as every oracle has it."""
    return {
        "verdict": oracle.verdict,
        "required": oracle.required,
        "how": oracle.how,
        "reason": oracle.reason,
        "compared": oracle.compared.to_json(),
        "bound": oracle.bound,
    }


def _interruptions_json(case: VerdictInputs) -> list[dict[str, Any]]:
    runs = case.resumed.runs if case.resumed is not None else ()
    rows = []
    for place, kill in enumerate(case.interruptions):
        run = runs[place] if place < len(runs) else None
        following = runs[place + 1] if place + 1 < len(runs) else None
        code = run.record.exit_code if run is not None else None
        has_start = following is not None and following.ledger is not None
        rows.append(
            {
                "kind": kill.kind,
                "step": kill.step,
                "micro_batch": kill.micro_batch,
                "byte": kill.byte,
                "by": kill.by,
                "run": place + 1,
                "signal": {137: "SIGKILL", SIGXFSZ_EXIT_CODE: "SIGXFSZ"}.get(code) if code is not None else None,
                "exit_code": code,
                "oom_killed": run.record.oom_killed if run is not None else False,
                "landed": run is not None and has_landed(run, kill),
                "resumed_after_step": following.ledger.start.step if has_start else None,  # type: ignore[union-attr]
            }
        )
    return rows


def _divergence_json(divergence: Divergence | None) -> dict[str, Any] | None:
    if divergence is None:
        return None
    at, place = divergence.difference, divergence.place
    return {
        "check": divergence.oracle,
        "trajectory": at.trajectory,
        "run": at.run,
        "step": at.step,
        "micro_batch": place.micro_batch,
        "stream": at.stream,
        "tensor": place.tensor,
        "operator": None,
        "left": place.left or at.left,
        "right": place.right or at.right,
    }


def _restored_json(restored: Restored) -> dict[str, Any]:
    return {
        "run": restored.run,
        "after_step": restored.after_step,
        "num_tensors": restored.num_tensors,
        "num_equal": restored.num_equal,
        "different": list(restored.different[:20]),
        "file": restored.file,
        "num_in_file": restored.num_in_file,
    }
