"""Wording: a verdict in one sentence, and what nobody looked at."""

from __future__ import annotations

from dataclasses import replace

from harness.evidence.ledger import STREAMS
from harness.evidence.trajectory import TrajectoryEvidence
from harness.judge.checks import CheckResult
from harness.judge.prefix import not_run
from harness.judge.symptom import Cause
from harness.judge.testimony import Testimony
from harness.judge.verdict_inputs import Divergence, Outcome, VerdictInputs


def summarise_verdict(
    case: VerdictInputs,
    outcome: Outcome,
    judged: tuple[CheckResult, ...],
    divergence: Divergence | None,
    cause: Cause | None,
    problems: tuple[str, ...],
) -> str:
    """The verdict in one sentence; another one says so where only a prefix was run."""
    if outcome != "CERTIFIED" and case.scope is not None:
        whole = summarise_verdict(replace(case, scope=None), outcome, judged, divergence, cause, problems)
        return f"{whole} Only {case.scope.text} were run."
    if outcome == "CERTIFIED":
        num = len(case.interruptions)
        times = "once" if num == 1 else f"{num} times"
        said = ("when it is run again", f"when it is killed {times} and resumed", "when its image is rebuilt")
        held = [text for text, one in zip(said, judged, strict=True) if one.oracle.verdict == "CERTIFIED"]
        text = held[0] if len(held) == 1 else f"{', '.join(held[:-1])} and {held[-1]}" if held else "as far as required"
        where = "" if _is_locked(case) else ", in an environment that is NOT the locked one"
        extent = "" if case.scope is None else f" in {case.scope.text}"
        return f"{case.experiment} gives the same bits{extent} {text}{where}."
    if outcome == "DIVERGED":
        title = cause.title if cause is not None else "it does not give the same bits"
        if divergence is None:
            return f"{case.experiment} diverges: {_lower(title)}."
        at = divergence.difference
        tensor = f" ({divergence.place.tensor})" if divergence.place.tensor else ""
        where = f"in {at.stream} at step {at.step} of {at.trajectory}, run {at.run}{tensor}"
        return f"{case.experiment} diverges: {_lower(title)}; the first difference is {where}."
    first = problems[0].splitlines()[0] if problems else "nothing was compared"
    if outcome == "VETOED":
        return f"The review forbids {case.experiment}: {first}."
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    return f"{case.experiment} can be neither certified nor refused: {first}{more}."


def not_checked(
    case: VerdictInputs, rerun: CheckResult, resume: CheckResult, rebuild: CheckResult, testimony: Testimony
) -> tuple[str, ...]:
    """What nobody looked at: a certificate says nothing about it."""
    lines = not_run(case)
    lines += [
        f"{name}: {one.oracle.reason or 'not asked for'}"
        for name, one in (("rerun", rerun), ("resume", resume), ("rebuild", rebuild))
        if one.oracle.verdict == "NOT_CHECKED"
    ]
    if case.review is None:
        lines.append("the review of the pipeline: it did not take place")
    else:
        lines += [f"the review of {one.path}: {one.reason}" for one in case.review.static.unread]
    lines += ["replay from an archived commit", "other hardware, another number of threads, another instruction set"]
    if case.interruptions and not case.is_random:
        lines.append(
            f"kills at other points: the {len(case.interruptions)} points were picked by hand, so no bound holds"
        )
    if rerun.oracle.verdict != "NOT_CHECKED" and rerun.oracle.how.startswith("steps"):
        lines.append(f"a second straight run to the end: rerun stands on {rerun.oracle.how} alone")
    lines.append("which operator a difference comes from")
    if case.runner == "host":
        lines.append("isolation and the image: the runs had no container")
    if case.environment is not None and not case.environment.difference.is_empty:
        lines.append(f"the locked environment ({case.environment.lock}): {case.environment.difference.summary()}")
    lines += _given_up(case)
    if case.dirty:
        lines.append("the commit: the working tree had uncommitted changes, so this cannot be replayed")
    lines += _unseen(case.straight)
    if case.straight is not None and not testimony.tensors_on_disk:
        none = "none of them is a safetensors file"
        what = (
            f"the outputs are in the ledger: {none}"
            if case.scope is None
            else ("the checkpoints are in the ledger: none that was written could be looked for there")
        )
        lines.append(f"whether {what}")
    lines += [*rerun.notes, *resume.notes]
    if case.straight is not None and case.resumed is not None and case.stopped_at is None:
        both = {file.path for file in case.straight.files} & {file.path for file in case.resumed.files}
        once = {f.path for t in (case.straight, case.resumed) for f in t.files if f.role == "checkpoint"} - both
        lines += [f"checkpoint {path}: only one side has it" for path in sorted(once)[:20]]
    return tuple(dict.fromkeys(lines))


def _is_locked(case: VerdictInputs) -> bool:
    return case.environment is None or case.environment.difference.is_empty


def _given_up(case: VerdictInputs) -> list[str]:
    """What a sandbox had to give up of its isolation, as each run recorded it."""
    runs = [run for one in (case.straight, case.rerun, case.resumed) if one is not None for run in one.runs]
    given_up = [(str(run.record.settings["fallback"]), run.name) for run in runs if run.record.settings.get("fallback")]
    lines = []
    for text in sorted({text for text, _ in given_up}):
        names = [name for other, name in given_up if other == text]
        lines.append(f"the isolation in full: {text} ({len(names)} of {len(runs)} runs)")
    return lines


def _unseen(straight: TrajectoryEvidence | None) -> list[str]:
    if straight is None or not straight.runs or straight.runs[0].ledger is None:
        return []
    run, steps = straight.runs[0], straight.runs[0].ledger.steps
    streams = [name for name in STREAMS if not any(name in record.streams for record in steps)]
    lines = [f"stream {name}: the recorder did not see it" for name in streams]
    names = sorted({str(n) for e in run.events if e.kind == "not_seen" for n in _list(e.fields.get("names"))})
    if names:
        lines.append(f"what the recorder could not read: {', '.join(names[:10])}")
    if any(event.kind == "sidecar_full" for event in run.events):
        lines.append("single tensors of later steps: the sidecar was full; their roots were compared")
    return lines


def _list(value: object) -> list[object]:
    return value if isinstance(value, list) else []


def _lower(text: str) -> str:
    return text[:1].lower() + text[1:]
