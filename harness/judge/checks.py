"""Checks: rerun, resume and rebuild, each judged on its own: does it repeat, survive a kill, is its image rebuilt.

A fault of the infrastructure is never a divergence, missing evidence never a certificate, and a difference after a
resume is the resume's only if the pipeline repeats itself without one.
"""

from __future__ import annotations

from collections.abc import Iterator

from harness.documents.run import Fault
from harness.documents.verdict import Check
from harness.evidence.ledger import Event
from harness.evidence.trajectory import TrajectoryEvidence
from harness.judge.check_result import CheckResult, CheckResults, not_checked, undecided
from harness.judge.ranks import num_ranks
from harness.judge.rerun_check import judge_rerun
from harness.judge.resume_check import judge_resume
from harness.judge.soundness import trajectory_problems
from harness.judge.sweep import with_sweep
from harness.judge.verdict_inputs import VerdictInputs


def check_certify(inputs: VerdictInputs) -> CheckResults:
    """Judge the three checks of a certify."""
    if inputs.straight is None:
        nothing = not_checked("nothing was run", inputs, "rerun"), not_checked("nothing was run", inputs, "resume")
        return {"rerun": nothing[0], "resume": nothing[1], "rebuild": judge_rebuild(inputs)}
    straight = (*unsound(inputs, inputs.straight), *_missing(inputs, inputs.straight), *_other_ranks(inputs))
    rerun = judge_rerun(inputs, inputs.straight, (*straight, *unsound(inputs, inputs.rerun)))
    problems = (*straight, *unsound(inputs, inputs.resumed, inputs.interruptions))
    resume = judge_resume(inputs, inputs.straight, problems, rerun)
    resume = with_sweep(inputs, inputs.straight, resume, rerun, straight)
    return {"rerun": rerun, "resume": resume, "rebuild": judge_rebuild(inputs)}


def unsound(
    inputs: VerdictInputs, trajectory: TrajectoryEvidence | None, kills: tuple[Fault, ...] = ()
) -> tuple[str, ...]:
    """What was not as planned with a trajectory, in words."""
    if trajectory is None:
        return ()
    is_cut = inputs.stopped_at is not None
    problems = trajectory_problems(trajectory, steps=inputs.steps, kills=kills, stop=inputs.stop, is_cut=is_cut)
    return (*problems, *_borrowed(inputs, trajectory))


def _borrowed(inputs: VerdictInputs, trajectory: TrajectoryEvidence) -> Iterator[str]:
    """Files outside the output that a training read and another one saved: what is equal then may not be its own."""
    given = (inputs.straight, inputs.rerun, inputs.resumed)
    others = [one for one in given if one is not None and one is not trajectory]
    own = {event.fields.get("file") for event in _events(trajectory, "save_end", "move")}
    saved = {event.fields.get("file"): one.name for one in others for event in _events(one, "save_end")}
    for event in _events(trajectory, "restore"):
        path, file = str(event.fields.get("path")), event.fields.get("file")
        if path.startswith("/") and file not in own and (other := saved.get(file)) and file is not None:
            yield f"{trajectory.name} read {path}, which {other} saved; let each training write below {{output}} alone"


def _events(trajectory: TrajectoryEvidence, *kinds: str) -> Iterator[Event]:
    yield from (event for run in trajectory.runs for event in run.events if event.kind in kinds)


def judge_rebuild(inputs: VerdictInputs) -> CheckResult:
    """Whether the image built again has the same id."""
    if inputs.rebuild is None:
        return not_checked("the image was not built again", inputs, "rebuild")
    ids = inputs.rebuild.image_ids
    if len(ids) < 2:
        return undecided(inputs, "rebuild", ("the record of the rebuild names fewer than two images",))
    is_same = len(set(ids)) == 1
    return CheckResult(
        check=Check(
            verdict="CERTIFIED" if is_same else "DIVERGED",
            required="rebuild" in inputs.required,
            how=inputs.rebuild.source,
            reason="" if is_same else "the image built again has another id",
            image_ids=ids,
        )
    )


def no_match(straight: TrajectoryEvidence, *, declares_checkpoints: bool) -> tuple[str, ...]:
    """Globs that match nothing of what a whole training left, with what it saved."""
    if straight.problems:
        return ()  # the files were not even listed
    events = [event for run in straight.runs for event in run.events if event.kind == "save_end"]
    saved = list(dict.fromkeys(str(event.fields.get("path")) for event in events))
    shown = f"; it saved {', '.join(saved[:4])}{' ...' if len(saved) > 4 else ''}" if saved else ""
    roles = {file.role for file in straight.files}
    if "output" not in roles:
        return (f"straight: no file matches the declared outputs: there is nothing to compare{shown}",)
    others = [path for path in saved if straight.file(path) is None]
    if declares_checkpoints and "checkpoint" not in roles and others:
        return (f"straight: no file matches the declared checkpoints{shown}",)
    return ()


def late_kills(kills: tuple[Fault, ...], straight: TrajectoryEvidence) -> tuple[str, ...]:
    """Kills at steps that the straight run, which ended by itself, never came to."""
    ledger = straight.runs[0].ledger if straight.runs else None
    if ledger is None or ledger.end is None:
        return ()
    late = [kill.step for kill in kills if kill.step > ledger.last_step]
    return (f"interruptions: step {late[0]} is beyond the last step ({ledger.last_step})",) if late else ()


def _missing(inputs: VerdictInputs, straight: TrajectoryEvidence) -> tuple[str, ...]:
    if inputs.scope is None and (problems := no_match(straight, declares_checkpoints=inputs.declares_checkpoints)):
        return problems
    if inputs.scope is None and (problems := late_kills(inputs.interruptions, straight)):
        return problems
    run = straight.runs[0] if straight.runs else None
    if run is not None and run.ledger is not None and not all("param" in s.streams for s in run.ledger.steps):
        return ("straight: the recorder saw no trainable parameters, so the ledger says too little",)
    return ()


def _other_ranks(inputs: VerdictInputs) -> Iterator[str]:
    """Trainings of another number of ranks than the straight one: they cannot be compared rank by rank."""
    for one in (inputs.rerun, inputs.resumed):
        if one is None or not one.runs or inputs.straight is None or not inputs.straight.runs:
            continue
        here, there = num_ranks(inputs.straight.runs[0]), num_ranks(one.runs[0])
        if here != there and one.runs[0].ledger is not None:
            yield f"{one.runs[0].name} had {there} ranks, the straight training had {here}"
