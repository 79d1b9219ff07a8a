"""The verdict of a replay, and `verdict.json` of it: the same keys as a certify's, and what was replayed."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from harness.documents.preflight import preflight_sentence
from harness.errors import EvidenceError
from harness.evidence.trajectory import TrajectoryEvidence
from harness.judge.checks import Check, CheckVerdict
from harness.judge.diagnosis import diagnose, image_differs
from harness.judge.diff import summarise
from harness.judge.locate import ledger_of
from harness.judge.replay_check import TODAY, Held, ReplayInputs, ReplayVerdict, hold, judge_rebuilt, testimony_of
from harness.judge.symptom import Cause, Symptom
from harness.judge.verdict import Verdict, oracle_to_json, verdict_to_json
from harness.judge.verdict_inputs import Divergence, Outcome, VerdictInputs

_MAX_CHANGES = 12
_ONE_RUN = "a replay is one straight training: nothing is run twice or killed"


def judge_replay(case: ReplayInputs) -> ReplayVerdict:
    """Decide. Everything needed is in the case; equal cases give equal verdicts."""
    held, rebuild, testimony = hold(case), judge_rebuilt(case), testimony_of(case)
    replay = _replay_oracle(case, held)
    divergence = None
    if held.differences and held.place is not None and not case.problems:
        divergence = Divergence(oracle="replay", difference=held.differences[0], place=held.place)
    cause = _cause(case, held, rebuild)
    problems = [*case.problems, *held.problems, *testimony.problems]
    if replay.verdict == "INCONCLUSIVE" and not problems:
        problems.append(replay.reason)
    problems += [f"control {c.name} did not fail as it must: {c.detail}" for c in case.controls if not c.detected]
    if testimony.missing:
        num, total = testimony.tensors_on_disk - testimony.found_in_ledger, testimony.tensors_on_disk
        problems.append(f"{num} of {total} tensors of the outputs are in no recorded state: {testimony.missing[0]}")
    problems = list(dict.fromkeys(problems))
    is_blind = any(check.name in ("tensor_bit", "ledger_digit") and not check.detected for check in case.controls)
    outcome: Outcome = "CERTIFIED"
    if replay.verdict == "DIVERGED" or (rebuild.verdict == "DIVERGED" and replay.verdict == "CERTIFIED"):
        outcome = "INCONCLUSIVE" if case.problems or is_blind else "DIVERGED"
    elif problems or replay.verdict != "CERTIFIED":
        outcome = "INCONCLUSIVE"
    return ReplayVerdict(
        case=case,
        verdict=outcome,
        replay=replay,
        rebuild=rebuild,
        held=held,
        divergence=divergence,
        cause=cause,
        testimony=testimony,
        problems=tuple(problems),
    )


def _replay_oracle(case: ReplayInputs, held: Held) -> Check:
    verdict, reason = _answer(case, held)
    record = case.record
    what = "one straight training" if case.against is None else f"one straight training of {case.against[:12]}"
    how = f"{what} against the record {record.run_id} ({record.source}), on: {case.tier.name}"
    return Check(verdict=verdict, required=True, how=how, reason=reason, compared=held.amount)


def _answer(case: ReplayInputs, held: Held) -> tuple[CheckVerdict, str]:
    if case.today is None:
        return "NOT_CHECKED", case.problems[0].splitlines()[0] if case.problems else "nothing was run"
    if held.comparison is None:
        return "INCONCLUSIVE", case.problems[0].splitlines()[0] if case.problems else "the training left no ledger"
    if case.problems:
        return "INCONCLUSIVE", case.problems[0].splitlines()[0]
    if held.differences:
        where = _where(held.differences[0].stream, held.differences[0].step)
        if not _is_locked(case):
            return "INCONCLUSIVE", f"{where}, in an environment that is not the locked one: that may be why"
        if case.tier.is_decisive:
            return "DIVERGED", where
        return (
            "INCONCLUSIVE",
            f"{where}, on other hardware ({case.tier.name}): whether the code or it does that is open",
        )
    if held.problems:
        return "INCONCLUSIVE", held.problems[0]
    if held.amount.steps == 0:
        return "INCONCLUSIVE", "nothing was compared: the training has no step"
    return "CERTIFIED", ""


def _where(stream: str, step: int) -> str:
    if stream == "prepared":
        return "the converted inputs are not those of the record"
    return f"the training ends at another step than {step}" if stream == "step" else f"{stream} differs at step {step}"


def _cause(case: ReplayInputs, held: Held, rebuild: Check) -> Cause | None:
    """Why it differs, where that was measured: another commit's changes, another image, or what the streams show."""
    if not held.differences or held.comparison is None or case.today is None or case.problems:
        return image_differs(rebuild.image_ids) if rebuild.verdict == "DIVERGED" else None
    if case.against is not None:
        return _code_changed(case, held)
    if rebuild.verdict == "DIVERGED":
        return image_differs(rebuild.image_ids)
    first = held.differences[0]
    is_open = not case.tier.is_decisive or not _is_locked(case)
    if is_open or held.place is None or first.stream in ("prepared", "step"):
        return None
    symptom = Symptom(
        oracle="rerun",
        straight=case.record.straight,
        other=replace(case.today, name=TODAY),
        comparison=held.comparison,
        first=first,
        place=held.place,
        files=held.files,
        rerun_steps=0,
    )
    try:
        return diagnose(symptom)
    except EvidenceError:
        return None


def _code_changed(case: ReplayInputs, held: Held) -> Cause:
    first, shown = held.differences[0], case.code_changes[:_MAX_CHANGES]
    more = len(case.code_changes) - len(shown)
    changes = f"changed since the record: {', '.join(shown)}{f' and {more} more' if more else ''}"
    ruled_out = []
    if case.record.image_id is not None and case.record.image_id == case.image.id:
        ruled_out.append(f"the image: both trained in {case.image.id}")
    if dict(case.record.prepared) == dict(case.prepared):
        ruled_out.append(
            f"the converted inputs: all {len(case.prepared)} files are the same"
            if case.prepared
            else "converted inputs: there are none"
        )
    if first.phase != "start" and first.step > 1 and first.stream != "step":
        ruled_out.append(f"everything before step {first.step}: steps 1 to {first.step - 1} are the same")
    return Cause(
        kind="code_changed",
        title=f"The code of {(case.against or '')[:12]} gives other numbers",
        evidence=(f"{_where(first.stream, first.step)}, trained on: {case.tier.name}", changes),
        ruled_out=tuple(ruled_out),
        fix="Look at what these files do before and in that step; `harness bisect` finds the commit among several.",
    )


def replay_to_json(verdict: ReplayVerdict) -> dict[str, Any]:
    """`verdict.json` of a replay."""
    case, record = verdict.case, verdict.case.record
    document = verdict_to_json(_as_certify(verdict))
    skipped = Check(verdict="NOT_CHECKED", required=False, reason=_ONE_RUN)
    return {
        **document,
        "kind": "replay",
        "checks": {
            "replay": oracle_to_json(verdict.replay),
            "rebuild": {**oracle_to_json(verdict.rebuild), "image_ids": list(verdict.rebuild.image_ids)},
            "rerun": oracle_to_json(skipped),
            "resume": {**oracle_to_json(skipped), "resumes": []},
        },
        "control": {
            "failed_as_it_must": bool(case.controls) and all(check.detected for check in case.controls),
            "controls": document["control"]["controls"],
        },
        "replay": {
            "record": {
                "run_id": record.run_id,
                "experiment": record.experiment,
                "commit": record.commit,
                "verdict": record.verdict,
                "finished": record.finished,
                "source": record.source,
                "key": record.key,
            },
            "against": case.against,
            "tier": case.tier.name,
            "tier_detail": list(case.tier.detail),
            "environment": [row.to_json() for row in case.environment],
            "image": {
                "archived": record.image_id,
                "today": case.image.id,
                "equal": record.image_id is not None and record.image_id == case.image.id,
            },
            "code_changes": list(case.code_changes),
            "preflight": [need.to_json() for need in case.preflight.needs],
        },
    }


def _as_certify(verdict: ReplayVerdict) -> Verdict:
    """The parts of a verdict that a replay shares with a certify."""
    case, held = verdict.case, verdict.held
    skipped = Check(verdict="NOT_CHECKED", required=False, reason=_ONE_RUN)
    shared = VerdictInputs(
        experiment=case.record.experiment,
        run_id=case.run_id,
        commit=case.commit,
        dirty=False,
        runner=case.runner,
        steps=case.steps,
        required=("replay",),
        straight=case.today,
        controls=case.controls,
        gpus=case.gpus,
        environment=case.interpreter,
        problems=case.problems,
        scope=case.scope,
    )
    return Verdict(
        case=shared,
        verdict=verdict.verdict,
        summary=summarise_replay(verdict),
        rerun=skipped,
        resume=skipped,
        rebuild=verdict.rebuild,
        compared=held.amount,
        divergence=verdict.divergence,
        streams=summarise(held.differences),
        is_final_state_equal=_is_final_state_equal(case, held),
        cause=verdict.cause,
        controls=case.controls,
        restored=(),
        testimony=verdict.testimony,
        files=held.files,
        problems=verdict.problems,
        not_checked=_not_checked(verdict),
    )


def summarise_replay(verdict: ReplayVerdict) -> str:
    """The verdict in one sentence; another one says so where only a prefix was run."""
    case, record = verdict.case, verdict.case.record
    of = f"{record.experiment} of commit {record.commit[:12]}"
    extent = "" if case.scope is None else f" in {case.scope.text}"
    if verdict.verdict == "CERTIFIED":
        where = {"same machine": "on the same machine", "same model": "on hardware of the same model"}
        on = where.get(case.tier.name, f"also on other hardware ({case.tier.name}: {_hardware(case)})")
        if case.against is not None:
            return (
                f"The code of commit {case.against[:12]} gives the bits of {of}{extent}: the changes altered no number."
            )
        when = f", as archived on {record.finished[:10]}" if record.finished else ""
        on += "" if _is_locked(case) else ", in an environment that is NOT the locked one"
        return f"{of} gives the same bits again{extent}{when}, {on}."
    only = "" if case.scope is None else f" Only {case.scope.text} were run."
    if verdict.verdict == "DIVERGED":
        who = of if case.against is None else f"{record.experiment} with the code of commit {case.against[:12]}"
        whose = "its archived bits" if case.against is None else f"the bits of commit {record.commit[:12]}"
        if verdict.divergence is None:
            return f"{of} gives the same bits again{extent}, but {verdict.rebuild.reason}."
        at, tensor = verdict.divergence.difference, verdict.divergence.place.tensor
        if at.stream in ("prepared", "step"):
            return f"{who} does not give {whose}: {_where(at.stream, at.step)}.{only}"
        first = f"the first difference is in {at.stream} at step {at.step}{f' ({tensor})' if tensor else ''}"
        return f"{who} does not give {whose}: {first}.{only}"
    if case.preflight.gone and case.today is None:
        return f"{of}: {preflight_sentence(case.preflight)}."
    first_problem = verdict.problems[0].splitlines()[0] if verdict.problems else "nothing was compared"
    more = f" (and {len(verdict.problems) - 1} more)" if len(verdict.problems) > 1 else ""
    return f"{of} can be neither confirmed nor refused: {first_problem}{more}.{only}"


def _is_locked(case: ReplayInputs) -> bool:
    """Whether the packages are those of the lock: always in a container, and without one where nothing differs."""
    return case.interpreter is None or case.interpreter.difference.is_empty


def _hardware(case: ReplayInputs) -> str:
    return case.tier.detail[0] if case.tier.detail else "not named"


def _is_final_state_equal(case: ReplayInputs, held: Held) -> bool | None:
    """Whether both trainings ended the same; None where one of them has no end."""
    sides = (case.record.straight, case.today)
    if held.comparison is None or any(side is None or _end(side) is None for side in sides):
        return None
    return not any(d.phase == "end" or (d.phase == "file" and d.stream == "output") for d in held.differences)


def _end(side: TrajectoryEvidence) -> object:
    return ledger_of(side.runs[0]).end


def _not_checked(verdict: ReplayVerdict) -> tuple[str, ...]:
    """What nobody looked at: the verdict says nothing about it."""
    case, record, held = verdict.case, verdict.case.record, verdict.held
    lines = [f"whether it repeats itself and survives a kill today: {_ONE_RUN}"]
    if verdict.rebuild.verdict in ("NOT_CHECKED", "INCONCLUSIVE"):
        lines.append(f"rebuild: {verdict.rebuild.reason}")
    if case.scope is not None:
        lines.append(
            f"steps {case.scope.steps + 1} to {case.scope.of}, the outputs and the final state: "
            f"only {case.scope.text} were run"
        )
    if record.straight.runs[0].sidecar is None and held.differences:
        lines.append(
            "which tensor differs first: the record has the digests of whole streams only; an archive has more"
        )
    if record.key is None:
        lines.append("who made the record: nobody signed it")
    if record.verdict != "CERTIFIED":
        lines.append(f"whether the record repeated itself then: its own verdict was {record.verdict}")
    if not case.tier.is_decisive and not held.differences:
        lines.append("hardware of other kinds than the record's and this one")
    return tuple(dict.fromkeys((*lines, *held.notes)))
