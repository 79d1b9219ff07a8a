"""Sentences: a verdict in one, and what was not checked."""

from __future__ import annotations

from collections.abc import Sequence

from harness.documents.preflight import preflight_sentence
from harness.documents.run import SIGNAL
from harness.documents.verdict import Cause, Checks, FirstDivergence, Review, Testimony, Word
from harness.evidence.ledger import STREAMS
from harness.evidence.trajectory import TrajectoryEvidence
from harness.judge.check_result import CheckResults
from harness.judge.controls import unchanged_weights
from harness.judge.incidental import incidental, same_everywhere
from harness.judge.kill_points import not_shown
from harness.judge.locate import natural_key
from harness.judge.prefix import not_run
from harness.judge.replay_check import ONE_RUN, difference_in_words
from harness.judge.resume_step import SavedFiles
from harness.judge.verdict_inputs import ReplayInputs, VerdictInputs

_SAME_HARDWARE = {"same machine": "on the same machine", "same model": "on hardware of the same model"}


def summary_of(
    inputs: VerdictInputs,
    outcome: Word,
    checks: Checks,
    first: FirstDivergence | None,
    cause: Cause | None,
    problems: tuple[str, ...],
) -> str:
    """The verdict in one sentence; another one says so where only a prefix was run."""
    only = "" if inputs.scope is None else f" Only {inputs.scope.text} were run."
    if inputs.replay is not None:
        return _summary_of_replay(inputs, inputs.replay, outcome, checks, first, problems, only)
    if outcome == "CERTIFIED":
        return _certified(inputs, checks)
    if outcome == "DIVERGED":
        return f"{inputs.experiment} diverges{_diverged(first, cause)}.{only}"
    if outcome == "VETOED":
        return f"The review forbids {inputs.experiment}: {problems[0].splitlines()[0]}.{only}"
    return f"{inputs.experiment} can be neither certified nor refused: {_first_of(problems)}.{only}"


def not_checked(
    inputs: VerdictInputs, results: CheckResults, testimony: Testimony, review: Review | None
) -> tuple[str, ...]:
    """What was not checked: a certificate says nothing about it."""
    if inputs.replay is not None:
        return _not_checked_by_a_replay(inputs, inputs.replay, results)
    rerun = results["rerun"]
    lines = not_run(inputs)
    lines += [
        f"{name}: {one.check.reason or 'not asked for'}"
        for name, one in results.items()
        if one.check.verdict == "NOT_CHECKED"
    ]
    if review is None:
        lines.append("the review of the pipeline: it did not take place")
    else:
        lines += [f"the review of {one.path}: {one.reason}" for one in review.unread]
    lines += ["replay from an archived commit", "other hardware, another number of threads, another instruction set"]
    if inputs.sweep is not None and any(not one.has_files for one in inputs.sweep.trajectories.values()):
        lines.append(
            "files of swept trainings, by who verifies: those of each were compared when it ended, and given back "
            "where they were equal; the steps after its resume and the state at its end stand here"
        )
    if inputs.interruptions and inputs.sweep is None:
        num = len(inputs.interruptions)
        points = f"the {num} points were" if num > 1 else "the point was"
        lines.append(f"kills at other points: {points} not drawn at random, so there is no statistical claim")
    if any(kill.kind == SIGNAL for kill in inputs.interruptions):
        lines.append("whether a launcher or a scheduler passes a signal on: each rank was sent it directly")
    if inputs.resumed is not None and (unshown := not_shown(inputs.straight, inputs.interruptions)):
        lines.append(unshown)
    if rerun.check.verdict == "CERTIFIED":
        lines.append("more reruns: there was one, so there is no statistical claim")
    if rerun.check.verdict != "NOT_CHECKED" and rerun.check.how.startswith("steps"):
        lines.append(f"a second straight run to the end: rerun rests on {rerun.check.how} alone")
    lines.append("which operator a difference comes from")
    lines.append("code that attacks the recorder in its own process: honest mistakes are caught, such code is not")
    facts = incidental(inputs)
    lines += same_everywhere(facts)
    if inputs.runner == "host":
        is_private = any(one.name == "files elsewhere" and one.varied for one in facts)
        shared = "" if is_private else ", so one can read what another wrote elsewhere"
        lines.append(f"isolation and the image: the runs had no container{shared}")
    if inputs.environment is not None and not inputs.is_locked:
        lines.append(f"the locked environment ({inputs.environment.lock}): {inputs.environment.difference.summary()}")
    lines += _given_up(inputs)
    if inputs.dirty:
        lines.append("the commit: the working tree had uncommitted changes, so this cannot be replayed")
    lines += [*_unchanged(inputs.straight), *_unseen(inputs.straight)]
    if inputs.straight is not None:
        lines += _not_vouched(inputs, testimony)
    lines += [f"{one.path}: {one.num_values} values of the volatile key {one.key}" for one in inputs.left_out]
    lines += _other_bytes(results)
    lines += [*rerun.notes, *results["resume"].notes, *_on_one_side(inputs, results), *_undeclared(inputs.straight)]
    lines += [f"the review in full: {text}" for text in (review.weakened if review is not None else ())]
    return tuple(dict.fromkeys(lines))


def _certified(inputs: VerdictInputs, checks: Checks) -> str:
    num = len(inputs.interruptions)
    times = "once" if num == 1 else f"{num} times"
    said = {
        "rerun": "when it is run again",
        "resume": f"when it is killed {times} and resumed",
        "rebuild": "when its image is rebuilt",
    }
    held = [said[name] for name, check in checks.items() if check.verdict == "CERTIFIED"]
    text = held[0] if len(held) == 1 else f"{', '.join(held[:-1])} and {held[-1]}" if held else "as far as required"
    where = "" if inputs.is_locked else ", in an environment that is NOT the locked one"
    extent = "" if inputs.scope is None else f" in {inputs.scope.text}"
    return f"{inputs.experiment} gives the same bits{extent} {text}{where}."


def _diverged(first: FirstDivergence | None, cause: Cause | None) -> str:
    """Step, stream and cause."""
    title = _lower(cause.title if cause is not None else "it does not give the same bits")
    if first is None:
        return f": {title}"
    tensor = f" ({first.tensor})" if first.tensor else ""
    run = "the rerun" if first.trajectory == "rerun" else f"{first.trajectory}, run {first.run}"
    run += f", rank {first.rank}" if first.rank else ""
    return f" at step {first.step} of {run}, first in {first.stream}{tensor}: {title}"


def _summary_of_replay(
    inputs: VerdictInputs,
    replay: ReplayInputs,
    outcome: Word,
    checks: Checks,
    first: FirstDivergence | None,
    problems: tuple[str, ...],
    only: str,
) -> str:
    record, against = replay.training.record, (replay.against or "")[:12]
    of = f"{record.experiment} of commit {record.commit[:12]}"
    extent = "" if inputs.scope is None else f" in {inputs.scope.text}"
    if outcome == "CERTIFIED":
        if against:
            return f"The code of commit {against} gives the bits of {of}{extent}: the changes altered no number."
        hardware = replay.tier.detail[0] if replay.tier.detail else "not named"
        on = _SAME_HARDWARE.get(replay.tier.name, f"also on other hardware ({replay.tier.name}: {hardware})")
        when = f", as archived on {record.finished[:10]}" if record.finished else ""
        where = "" if inputs.is_locked else ", in an environment that is NOT the locked one"
        return f"{of} gives the same bits again{extent}{when}, {on}{where}."
    if outcome == "DIVERGED":
        if first is None:
            return f"{of} gives the same bits again{extent}, but {checks.rebuild.reason}."
        who = f"{record.experiment} with the code of commit {against}" if against else of
        whose = f"the bits of commit {record.commit[:12]}" if against else "its archived bits"
        return f"{who} does not give {whose}: {_first_difference(first)}.{only}"
    if replay.preflight.gone and inputs.straight is None:
        return f"{of}: {preflight_sentence(replay.preflight)}."
    return f"{of} can be neither confirmed nor refused: {_first_of(problems)}.{only}"


def _first_difference(first: FirstDivergence) -> str:
    if first.stream in ("prepared", "step"):
        return difference_in_words(first.stream, first.step)
    tensor = f" ({first.tensor})" if first.tensor else ""
    return f"the first difference is in {first.stream} at step {first.step}{tensor}"


def _not_checked_by_a_replay(inputs: VerdictInputs, replay: ReplayInputs, results: CheckResults) -> tuple[str, ...]:
    record, result, rebuild = replay.training.record, results["replay"], results["rebuild"].check
    lines = [f"whether it repeats itself and survives a kill today: {ONE_RUN}"]
    if rebuild.verdict in ("NOT_CHECKED", "INCONCLUSIVE"):
        lines.append(f"rebuild: {rebuild.reason}")
    if (scope := inputs.scope) is not None:
        rest = f"steps {scope.steps + 1} to {scope.of}"
        lines.append(f"{rest}, the outputs and the final state: only {scope.text} were run")
    if replay.training.straight.runs[0].sidecar is None and result.differences:
        lines.append(
            "which tensor differs first: the record has the digests of whole streams only; an archive has more"
        )
    if record.key is None:
        lines.append("who made the record: nobody signed it")
    if record.verdict != "CERTIFIED":
        lines.append(f"whether the record repeated itself then: its own verdict was {record.verdict}")
    if not replay.tier.is_decisive and not result.differences:
        lines.append("hardware of other kinds than the record's and this one")
    return tuple(dict.fromkeys((*lines, *result.notes)))


def _not_vouched(inputs: VerdictInputs, testimony: Testimony) -> list[str]:
    """What of the files no recorded state vouches for."""
    what = "outputs" if inputs.scope is None else "checkpoints"
    if not testimony.tensors_on_disk:
        why = "none of them holds tensors" if inputs.scope is None else "no checkpoint could be compared with it"
        return [f"whether the {what} are in the ledger: {why}"]
    num = testimony.tensors_on_disk - testimony.found_in_ledger
    if not num or inputs.scope is not None:
        return []
    more = [f"{testimony.in_checkpoints} are in checkpoints"] if testimony.in_checkpoints else []
    more += [f"{testimony.derived} are declared as derived"] if testimony.derived else []
    names = f"{testimony.missing[0]}{f' and {num - 1} more' if num > 1 else ''}"
    return [
        f"where {num} of {testimony.tensors_on_disk} tensors of the outputs come from: no recorded state holds them, "
        f"they were compared all the same ({'; '.join([*more, names])})"
    ]


def _other_bytes(results: CheckResults) -> list[str]:
    """Files whose bytes differ although what they hold does not."""
    files = {file.path: file for result in results.values() for file in result.files if file.is_equal}
    other = sorted(path for path, file in files.items() if file.same_bytes is False)
    return [f"equal content, other bytes: {len(other)} of {len(files)} files ({_some(other)})"] if other else []


def _given_up(inputs: VerdictInputs) -> list[str]:
    """What a sandbox had to give up of its isolation, as each run recorded it."""
    runs = [run for one in (inputs.straight, inputs.rerun, inputs.resumed) if one is not None for run in one.runs]
    texts = [str(run.record.settings["fallback"]) for run in runs if run.record.settings.get("fallback")]
    return [f"the isolation in full: {text} ({texts.count(text)} of {len(runs)} runs)" for text in sorted(set(texts))]


def _unchanged(straight: TrajectoryEvidence | None) -> list[str]:
    """A warning where only some of the trainable tensors changed: somebody may have meant to train the others."""
    still, total = (unchanged_weights(straight) if straight is not None else None) or ((), 0)
    if not 0 < len(still) < total:
        return []
    what = f"whether {len(still)} of {total} trainable tensors are meant to be trained"
    return [f"{what}: they never changed ({_some(still)})"]


def _on_one_side(inputs: VerdictInputs, results: CheckResults) -> list[str]:
    if inputs.straight is None or inputs.resumed is None or inputs.stopped_at is not None:
        return []
    both = {file.path for file in inputs.straight.files} & {file.path for file in inputs.resumed.files}
    files = [file for one in (inputs.straight, inputs.resumed) for file in one.files if file.role == "checkpoint"]
    once = sorted({file.path for file in files} - both - {file.path for file in results["resume"].files})
    return [f"checkpoint {path}: only one side has it" for path in once[:20]]


def _undeclared(straight: TrajectoryEvidence | None) -> list[str]:
    """What a training saved, and nothing compares: it was removed or renamed, or no glob of the experiment names it."""
    if straight is None:
        return []
    events = [event for run in straight.runs for event in run.events]
    passing = {str(event.fields.get("source")) for event in events if event.kind == "move"}
    saved = SavedFiles(straight.runs).paths - {file.path for file in straight.files}
    names = (one for one in saved if not any(one == old or one.startswith(f"{old}/") for old in passing))
    found = sorted((name for name in names if not name.startswith(("/", ".."))), key=natural_key)
    lines = [f"{_some(found)}: saved, and not compared: not declared, or removed before the end"] if found else []
    elsewhere = [str(name) for run in straight.runs for name in _list(run.record.settings.get("written_elsewhere"))]
    if elsewhere:
        lines.append(f"{_some(elsewhere)}: written outside of {{output}}, and thrown away after the training")
    return lines


def _first_of(problems: tuple[str, ...]) -> str:
    first = problems[0].splitlines()[0] if problems else "nothing was compared"
    return first + (f" (and {len(problems) - 1} more)" if len(problems) > 1 else "")


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


def _some(names: Sequence[str]) -> str:
    return f"{', '.join(names[:3])}{f' and {len(names) - 3} more' if len(names) > 3 else ''}"


def _lower(text: str) -> str:
    return text[:1].lower() + text[1:]
