"""The verdict: every check's answer, the negative controls and what the ledger vouches for, put into one of four words.

CERTIFIED     every required check holds, every negative control was detected, nothing is missing
DIVERGED      a check answered no
INCONCLUSIVE  something is missing or went wrong that is not the pipeline's reproducibility
VETOED        the review forbids the run
"""

from __future__ import annotations

from harness.documents.run import SIGKILL_EXIT_CODE, Fault
from harness.documents.verdict import (
    EXIT_CODES,
    NOTHING_COMPARED,
    Cause,
    CheckName,
    Checks,
    Compared,
    Control,
    ControlResult,
    File,
    FirstDivergence,
    ImageIds,
    Interruption,
    Replay,
    Restored,
    Review,
    Testimony,
    Verdict,
    Word,
    has_compared_steps,
)
from harness.evidence.trajectory import RunEvidence
from harness.judge.check_result import CheckResult, CheckResults
from harness.judge.checks import check_certify
from harness.judge.controls import CONTROLS, check_weights_moved
from harness.judge.crash import crash_cause
from harness.judge.diagnosis import checkpoint_ignored, diagnose, image_differs
from harness.judge.diff import FileComparison, place_of, summarise
from harness.judge.divergence import divergence_of, symptom_of
from harness.judge.incidental import incidental
from harness.judge.locate import Location
from harness.judge.prefix import within
from harness.judge.problems import all_problems, control_problems, review_problems
from harness.judge.repair import with_patch, with_resume_patch
from harness.judge.replay_check import check_replay, replay_cause
from harness.judge.sentences import not_checked, summary_of
from harness.judge.soundness import SIGXFSZ_EXIT_CODE, has_landed
from harness.judge.sweep import sweep_of
from harness.judge.symptom import Symptom
from harness.judge.testimony import match_checkpoints, match_outputs, with_checkpoints
from harness.judge.under_signal import under_signal
from harness.judge.verdict_inputs import Measured, ReplayInputs, VerdictInputs

_STATIC_CONTROLS = ("tensor_bit", "ledger_digit")
_MAX_RESTORED, _MAX_SWEPT_CAUSES = 20, 50


def judge(inputs: VerdictInputs) -> Verdict:
    """Decide. Equal inputs give equal verdicts."""
    inputs = within(inputs)
    replay = inputs.replay
    results = check_certify(inputs) if replay is None else check_replay(inputs, replay)
    checks = Checks(**{name: result.check for name, result in results.items()})
    controls = _with_weights_moved(inputs)
    testimony, unread = _testimony(inputs)
    name, differing = _differing(results)
    place = None if differing is None else _place(differing)
    first = None if differing is None or place is None else _first_divergence(name, differing, place)
    symptom = None if replay is not None else symptom_of(results, name, differing, place)
    cause = _cause(inputs, results, differing, place, symptom)
    restored = with_checkpoints(results["resume"].trajectory, results["resume"].restored)
    diverged = name if differing is not None and differing.check.verdict == "DIVERGED" else ""
    review = _reviewed(inputs, checks, restored, controls, cause, diverged)
    divergence = None if symptom is None else divergence_of(symptom)
    cause = with_patch(_with_seeds(cause, review), symptom, divergence, review)
    blind_spots = control_problems(inputs, controls)
    problems = all_problems(inputs, results, blind_spots, testimony, unread)
    outcome, problems = _outcome(inputs, results, controls, review, problems)
    return Verdict(
        kind="certify" if replay is None else "replay",
        experiment=inputs.experiment,
        run_id=inputs.run_id,
        commit=inputs.commit,
        dirty=inputs.dirty,
        runner=inputs.runner,
        gpus=inputs.gpus,
        environment=inputs.environment,
        scope=inputs.scope,
        overrides=inputs.overrides,
        stopped_at=inputs.stopped_at,
        continued=inputs.continued,
        verdict=outcome,
        exit_code=EXIT_CODES[outcome],
        summary=summary_of(inputs, outcome, checks, first, cause, problems),
        checks=checks,
        interruptions=tuple(_interruption(inputs, place, kill) for place, kill in enumerate(inputs.interruptions)),
        sweep=sweep_of(inputs, results["resume"].swept, _swept_causes(inputs, results)) if replay is None else None,
        compared=sum((check.compared for _, check in checks.items()), Compared()),
        first_divergence=first,
        streams_that_differ=() if differing is None else summarise(differing.differences),
        final_state_equal=_is_final_state_equal(results),
        cause=cause,
        divergence=divergence,
        control=Control(failed_as_it_must=not blind_spots and bool(controls), controls=controls),
        restored=tuple(one.model_copy(update={"different": one.different[:_MAX_RESTORED]}) for one in restored),
        testimony=testimony,
        files=_files(results),
        left_out=inputs.left_out,
        varied=incidental(inputs),
        problems=problems,
        not_checked=not_checked(inputs, results, testimony, review),
        review=review,
        replay=None if replay is None else _replay(replay),
    )


def _reviewed(
    inputs: VerdictInputs,
    checks: Checks,
    restored: tuple[Restored, ...],
    controls: tuple[ControlResult, ...],
    cause: Cause | None,
    diverged: str,
) -> Review | None:
    """The checklist, with what was measured; None if nothing was reviewed."""
    measured = Measured(
        inputs=inputs,
        rerun=checks.rerun,
        resume=checks.resume,
        rebuild=checks.rebuild,
        restored=restored,
        controls=controls,
        cause=cause,
        diverged=diverged,
    )
    return None if inputs.review is None else inputs.review(measured)


def _with_seeds(cause: Cause | None, review: Review | None) -> Cause | None:
    """A cause that is randomness without a seed, with what the review saw the seeds come from."""
    if cause is None or review is None or cause.kind != "unseeded_randomness":
        return cause
    seen = [one for one in review.findings if "V1" in one.items and one.certainty == "proven" and one.path]
    evidence = tuple(f"{one.message} ({one.path}:{one.line})" for one in seen)
    return cause.model_copy(update={"evidence": (*evidence, *cause.evidence)})


def _outcome(
    inputs: VerdictInputs,
    results: CheckResults,
    controls: tuple[ControlResult, ...],
    review: Review | None,
    problems: tuple[str, ...],
) -> tuple[Word, tuple[str, ...]]:
    is_diverged = _is_diverged(results)
    # A difference that the runs showed is the verdict; what the review says on top of it stands in the checklist.
    if not is_diverged:
        problems = review_problems(review, problems, has_run=inputs.straight is not None)
    problems = tuple(dict.fromkeys(problems)) or (("nothing was run",) if inputs.straight is None else ())
    is_blind = any(control.name in _STATIC_CONTROLS and not control.detected for control in controls)
    if is_diverged:
        return "INCONCLUSIVE" if inputs.problems or is_blind else "DIVERGED", problems
    if review is not None and review.vetoes:
        return "VETOED", problems
    # Looked at last: whatever dropped a check before, a certificate stands on steps that were compared.
    if not problems and not has_compared_steps(
        {name: (one.check.verdict, one.check.compared.steps) for name, one in results.items()}
    ):
        problems = (NOTHING_COMPARED,)
    return "INCONCLUSIVE" if problems else "CERTIFIED", problems


def _is_diverged(results: CheckResults) -> bool:
    diverged = {name for name, result in results.items() if result.check.verdict == "DIVERGED"}
    replay = results.get("replay")
    if replay is not None and replay.check.verdict != "CERTIFIED":
        diverged.discard("rebuild")  # nobody knows yet whether its other bits matter
    return bool(diverged)


def _differing(results: CheckResults) -> tuple[CheckName, CheckResult | None]:
    """The check that the first difference belongs to: a pipeline that does not repeat itself cannot resume either.

    A difference in what was trained comes before one in a file alone.
    """
    order: tuple[CheckName, ...] = ("replay", "rerun", "resume")
    found = [(name, results[name]) for name in order if name in results]
    found = [(name, one) for name, one in found if one.check.verdict == "DIVERGED" or one.is_open]
    of_files = [(name, one) for name, one in found if one.differences and one.differences[0].phase == "file"]
    return next(iter([row for row in found if row not in of_files] or of_files), ("rerun", None))


def _place(result: CheckResult) -> Location | None:
    if not result.differences or result.reference is None or result.trajectory is None:
        return None
    return place_of(result.differences[0], result.files, result.reference, result.trajectory)


def _first_divergence(name: CheckName, result: CheckResult, place: Location) -> FirstDivergence:
    first = result.differences[0]
    return FirstDivergence(
        check=name,
        trajectory=first.trajectory,
        run=first.run,
        step=first.step,
        micro_batch=place.micro_batch,
        stream=first.stream,
        tensor=place.tensor,
        rank=first.rank if result.trajectory is not None and result.trajectory.runs[first.run - 1].ranks else None,
        left=place.left or first.left,
        right=place.right or first.right,
    )


def _cause(
    inputs: VerdictInputs,
    results: CheckResults,
    result: CheckResult | None,
    place: Location | None,
    symptom: Symptom | None,
) -> Cause | None:
    """Why it differs. A run that started over has a cause even where no bit differs."""
    rebuild = results["rebuild"].check
    if inputs.replay is not None:
        return replay_cause(inputs.replay, results["replay"], rebuild, place)
    if result is None:
        return image_differs(rebuild.image_ids) if rebuild.verdict == "DIVERGED" else None
    if result.ignored is not None:
        one = result.ignored
        is_equal = not result.differences
        cause = checkpoint_ignored(one.run, one.saved_step, num_saves=one.num_saves, is_equal=is_equal)
        return cause if result.reference is None else with_resume_patch(cause, result.reference)
    if result.crash is not None:
        return crash_cause(result.crash)
    return None if symptom is None else diagnose(symptom)


def _swept_causes(inputs: VerdictInputs, results: CheckResults) -> dict[str, str]:
    """Why each training of a sweep differs, by its name; of the first ones."""
    causes = {}
    differing = [(name, one) for name, one in results["resume"].swept.items() if one.check.verdict == "DIVERGED"]
    for name, one in differing[:_MAX_SWEPT_CAUSES]:
        place = _place(one)
        cause = _cause(inputs, results, one, place, symptom_of(results, "resume", one, place))
        if cause is not None:
            causes[name] = cause.kind
    return causes


def _testimony(inputs: VerdictInputs) -> tuple[Testimony, tuple[str, ...]]:
    """What lies on disk, looked for in the ledgers; a replay of a prefix left nothing that is declared."""
    if inputs.scope is None:
        return match_outputs(inputs.straight, inputs.rerun, inputs.resumed)
    if inputs.replay is not None:
        return Testimony(tensors_on_disk=0, found_in_ledger=0, missing=()), ()
    return match_checkpoints(inputs.straight, inputs.rerun, inputs.resumed)


def _with_weights_moved(inputs: VerdictInputs) -> tuple[ControlResult, ...]:
    """The controls in their order; whether the weights moved needs nothing but the straight ledger."""
    given = {control.name: control for control in inputs.controls}
    if "weights_moved" not in given and inputs.straight is not None and inputs.replay is None:
        given["weights_moved"] = check_weights_moved(inputs.straight)
    return tuple(sorted(given.values(), key=lambda control: CONTROLS.index(control.name)))


def _is_final_state_equal(results: CheckResults) -> bool | None:
    """Whether all that was trained to the end ended the same; None if nothing else got there."""
    is_known = False
    for result in results.values():
        if result.trajectory is None or result.trajectory.last is None or result.reference is None:
            continue
        last = result.trajectory.last
        if not _has_end(last) or last.record.number not in {one.run for one in result.comparisons}:
            continue
        if not _has_end(result.reference.runs[0]):
            continue
        is_known = True
        if any(d.phase == "end" or (d.phase == "file" and d.stream == "output") for d in result.differences):
            return False
    return True if is_known else None


def _has_end(run: RunEvidence) -> bool:
    return run.ledger is not None and run.ledger.end is not None


def _files(results: CheckResults) -> tuple[File, ...]:
    """Each file once: the comparison that found it different, else the one that could not compare, else any."""
    best: dict[str, FileComparison] = {}
    rank = {False: 0, None: 1, True: 2}
    order: tuple[CheckName, ...] = ("resume", "rerun", "replay")
    for file in [file for name in order if name in results for file in results[name].files]:
        known = best.get(file.path)
        if known is None or rank[file.is_equal] < rank[known.is_equal]:
            best[file.path] = file
    return tuple(
        File(
            path=path,
            role=file.role,
            equal=file.is_equal,
            content=None if file.content is None else str(file.content),
            num_tensors=file.num_tensors,
            same_bytes=file.same_bytes,
        )
        for path, file in sorted(best.items())
    )


def _interruption(inputs: VerdictInputs, place: int, kill: Fault) -> Interruption:
    runs = inputs.resumed.runs if inputs.resumed is not None else ()
    run = runs[place] if place < len(runs) else None
    following = runs[place + 1] if place + 1 < len(runs) else None
    ledger = following.ledger if following is not None else None
    code = run.record.exit_code if run is not None else None
    is_killed = run is not None and (run.record.is_planned_kill or code == SIGKILL_EXIT_CODE)
    landed = run is not None and has_landed(run, kill, inputs.steps)
    return Interruption(
        kind=kill.kind,
        step=kill.step,
        micro_batch=kill.micro_batch,
        byte=kill.byte,
        by=kill.by,
        rank=kill.rank,
        run=place + 1,
        signal=kill.signal or ("SIGXFSZ" if code == SIGXFSZ_EXIT_CODE else "SIGKILL" if is_killed else None),
        exit_code=code,
        oom_killed=run.record.oom_killed if run is not None else False,
        landed=landed,
        resumed_after_step=ledger.start.step if ledger is not None else None,
        under_signal=under_signal(kill, run, following) if run is not None and landed else None,
    )


def _replay(replay: ReplayInputs) -> Replay:
    archived, today = replay.training.manifest.image.id, replay.image.id
    return Replay(
        record=replay.training.record,
        against=replay.against,
        tier=replay.tier.name,
        tier_detail=replay.tier.detail,
        environment=replay.environment,
        image=ImageIds(archived=archived, today=today, equal=archived is not None and archived == today),
        code_changes=replay.code_changes,
        preflight=replay.preflight.needs,
    )
