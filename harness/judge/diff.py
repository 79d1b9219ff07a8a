"""Diffs: two trajectories compared bit for bit, step by step in causal order, then at the end, then file by file.

Every copy of a step is compared with the straight trajectory's: a step that was repeated after a resume equals the
interrupted run's copy exactly where both equal that one.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from harness.documents.digest import Digest
from harness.documents.verdict import Compared, Restored, StreamDifference
from harness.errors import EvidenceError
from harness.evidence.ledger import EvalRecord, Ledger, StateRecord, StepRecord
from harness.evidence.trajectory import FileEvidence, RunEvidence, TrajectoryEvidence
from harness.judge.locate import (
    NOT_THERE,
    STREAM_ORDER,
    Difference,
    Location,
    ledger_of,
    locate,
    natural_key,
    size_of,
    state_tensors,
    without_untouched,
)
from harness.judge.ranks import of_rank, replicas_apart
from harness.judge.restored import compare_restored, without_unread
from harness.judge.window import with_last_micro_batches

_END_STREAMS = ("rng", "lr", "optim", "param", "buffer", "frozen")
_MAX_NAMES = 20
WHOLE = "the whole of it"
"""What stands for a name where a file is one tensor and nothing else."""
LENGTH = "step"
"""What stands for a stream where two trainings end after another step."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunComparison:
    """One run of the other trajectory against the straight one."""

    run: int
    differences: tuple[Difference, ...]
    amount: Compared
    problems: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    restored: Restored | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FileComparison:
    """One declared file on both sides; `is_equal` is None where it could not be compared, then `problem` says why.

    `same_bytes` says whether the files are the same byte for byte, where that is known; `doubt` why not its
    values but its bytes were compared.
    """

    path: str
    role: str
    is_equal: bool | None
    content: Digest | None
    num_tensors: int
    size_bytes: int
    different: tuple[str, ...] = ()
    left: str = ""
    right: str = ""
    problem: str | None = None
    same_bytes: bool | None = None
    doubt: str = ""


def compare_steps(
    left: Sequence[StepRecord], right: Sequence[StepRecord], *, trajectory: str = "", run: int = 1
) -> tuple[tuple[Difference, ...], tuple[str, ...], int]:
    """Compare the steps that `right` has with those of the same number in `left`.

    Returns:
        the differences in causal order, what could not be compared, and how many steps were compared.
    """
    straight = {record.step: record for record in left}
    differences: list[Difference] = []
    problems: dict[str, str] = {}
    count = 0
    for record in right:
        other = straight.get(record.step)
        if other is None:
            problems.setdefault("step", f"step {record.step} of {trajectory}/{run} is not in the straight trajectory")
            continue
        count += 1
        for stream, one, two in _step_differences(other, record):
            if NOT_THERE in (one, two):
                text = f"stream {stream} of step {record.step} was seen on one side only ({trajectory}/{run})"
                problems.setdefault(stream, text)
            else:
                differences.append(
                    Difference(
                        trajectory=trajectory,
                        run=run,
                        phase="step",
                        step=record.step,
                        stream=stream,
                        left=one,
                        right=two,
                    )
                )
    differences += _moved_differently(left, right, trajectory, run)
    differences.sort(key=lambda difference: difference.order)
    return tuple(differences), tuple(problems.values()), count


def compare_run(straight: TrajectoryEvidence, other: TrajectoryEvidence, number: int) -> RunComparison:
    """Compare one run of `other` with the straight trajectory, rank by rank.

    Steps are counted once, tensors and bytes for each rank. A rank that only one side has is a problem of that run.
    """
    left, right = straight.runs[0], other.runs[number - 1]
    first = _compare_rank(straight, other, number)
    notes = [*first.notes, *replicas_apart(left), *replicas_apart(right)]
    differences, problems, amount, restored = [*first.differences], [*first.problems], first.amount, first.restored
    for one in right.ranks:
        if one.ledger is None or (there := left.of_rank(one.rank)) is None or there.ledger is None:
            continue
        more = _compare_rank(of_rank(straight, one.rank), of_rank(other, one.rank), number)
        differences += [replace(difference, rank=one.rank) for difference in more.differences]
        problems += [f"rank {one.rank}: {problem}" for problem in more.problems]
        notes += [f"rank {one.rank}: {note}" for note in more.notes]
        amount += more.amount.model_copy(update={"steps": 0})
        if restored is not None and more.restored is not None:
            restored = _joined(restored, more.restored, one.rank)
    return RunComparison(
        run=number,
        differences=tuple(sorted(differences, key=lambda difference: difference.order)),
        amount=amount,
        problems=tuple(problems),
        notes=tuple(notes),
        restored=restored,
    )


def _joined(restored: Restored, more: Restored, rank: int) -> Restored:
    """What a resume brought back, with what it brought back on another rank."""
    return restored.model_copy(
        update={
            "num_tensors": restored.num_tensors + more.num_tensors,
            "num_equal": restored.num_equal + more.num_equal,
            "different": (*restored.different, *(f"rank {rank}: {name}" for name in more.different)),
        }
    )


def _compare_rank(straight: TrajectoryEvidence, other: TrajectoryEvidence, number: int) -> RunComparison:
    """Compare what one rank recorded of a run of `other` with the straight trajectory.

    Args:
        straight: its first run must have a ledger.
        other: the trajectory that is judged.
        number: which of its runs, from 1; it must have a ledger.
    """
    left, right = straight.runs[0], other.runs[number - 1]
    one, two = ledger_of(left), ledger_of(right)
    name = other.name
    whole, notes = (one.steps, []) if number == 1 else with_last_micro_batches(left, right)
    if one.start.algorithm != two.start.algorithm:
        kinds = f"{one.start.algorithm} and {two.start.algorithm}"
        problem = f"the ledgers hold digests of two kinds, {kinds}, which cannot be compared: run both with one version"
        return RunComparison(run=number, differences=(), amount=Compared(), problems=(problem,))
    differences, problems, num_steps = compare_steps(whole, two.steps, trajectory=name, run=number)
    amount = Compared(steps=num_steps)
    restored = None
    if number == 1:
        found, more = _compare_states("start", name, number, one.start, two.start)
        amount += _state_amount(right, "start")
    else:
        earlier = other.runs[: number - 1]
        restored, found, more, restored_amount = compare_restored(left, earlier, right, is_within_step=bool(notes))
        amount += restored_amount
    found_evals = _compare_evals(one, two, name, number)
    all_found = [*found, *differences, *found_evals]
    if (length := _length_difference(left, right, name, number)) is not None:
        all_found.append(length)
        problems = tuple(text for text in problems if not text.endswith("is not in the straight trajectory"))
    all_problems = [*problems, *more]
    if one.end is not None and two.end is not None and one.end.step == two.end.step:
        ended, more = _compare_states("end", name, number, one.end, two.end)
        all_found += ended
        all_problems += more
        amount += _state_amount(right, "end")
    kept, idle = without_untouched(all_found, straight, right)
    kept, unread = without_unread(kept, straight, right)
    kept.sort(key=lambda difference: difference.order)
    return RunComparison(
        run=number,
        differences=tuple(kept),
        amount=amount,
        problems=tuple(all_problems),
        notes=(*notes, *idle, *unread),
        restored=restored,
    )


def _length_difference(straight: RunEvidence, run: RunEvidence, trajectory: str, number: int) -> Difference | None:
    """That two trainings which both ended by themselves did not end after the same step; None if they did."""
    lengths = []
    for one in (straight, run):
        if one.ledger is None or one.ledger.end is None or one.record.exit_code != 0 or one.record.killed_by:
            return None
        lengths.append(one.ledger.last_step)
    if lengths[0] == lengths[1]:
        return None
    left, right = (f"{num} steps" for num in lengths)
    return Difference(
        trajectory=trajectory, run=number, phase="step", step=min(lengths) + 1, stream=LENGTH, left=left, right=right
    )


def compare_files(
    left: Sequence[FileEvidence], right: Sequence[FileEvidence], repeated: Collection[str] = ()
) -> tuple[FileComparison, ...]:
    """Compare declared files by their content.

    An output must be on both sides, and so must a checkpoint that `repeated` names. Any other checkpoint that only one
    side has is not compared: a kill may leave one, and a name may hold the time.
    """
    one, two = {file.path: file for file in left}, {file.path: file for file in right}
    results = []
    for path in sorted(one.keys() | two.keys()):
        a, b = one.get(path), two.get(path)
        if a is not None and b is not None:
            results.append(_compare_file(a, b))
        elif (only := a or b) is not None and (only.role == "output" or path in repeated):
            results.append(_one_sided(path, a, b, only))
    return tuple(results)


def spliced(trajectory: TrajectoryEvidence) -> TrajectoryEvidence:
    """The same training as one run: each step from the last run that did it; without per-tensor digests.

    Raises:
        EvidenceError: a run has no ledger, or no run has one of the steps.
    """
    ledgers = [ledger_of(run) for run in trajectory.runs]
    steps = {record.step: record for ledger in ledgers for record in ledger.steps}
    evals = {
        record.step: [other for other in ledger.evals if other.step == record.step]
        for ledger in ledgers
        for record in ledger.steps
    }
    first, last = ledgers[0], ledgers[-1]
    expected = range(first.start.step + 1, max(steps, default=first.start.step) + 1)
    missing = [step for step in expected if step not in steps]
    if missing:
        problem = f"{trajectory.name}: no run recorded step {missing[0]}"
        raise EvidenceError(problem, "compare trainings that finished")
    ledger = replace(
        first,
        steps=tuple(steps[step] for step in expected),
        evals=tuple(record for step in expected for record in evals[step]),
        end=last.end,
    )
    return replace(trajectory, runs=(replace(trajectory.runs[0], ledger=ledger, sidecar=None),))


def summarise(differences: Iterable[Difference]) -> tuple[StreamDifference, ...]:
    """For each stream the first step at which it differs and the number of such steps, in causal order."""
    steps: dict[str, set[int]] = {}
    for difference in differences:
        steps.setdefault(difference.stream, set()).add(difference.step)
    ordered = sorted(steps.items(), key=lambda item: (min(item[1]), STREAM_ORDER.get(item[0], len(STREAM_ORDER))))
    return tuple(StreamDifference(stream=s, first_step=min(found), num_steps=len(found)) for s, found in ordered)


def place_of(
    first: Difference, files: Sequence[FileComparison], straight: TrajectoryEvidence, other: TrajectoryEvidence
) -> Location:
    """The tensor at which a first difference lies, or the file and what differs first in it."""
    if first.phase != "file":
        return locate(first, straight.runs[0], other.runs[first.run - 1])
    file = next((file for file in files if file.is_equal is False and file.role == first.stream), None)
    different = file.different if file is not None else ()
    name = None if file is None else f"{file.path}: {different[0]}" if different else file.path
    return Location(
        tensor=name,
        micro_batch=None,
        num_different=len(different),
        num_tensors=0,
        left=first.left,
        right=first.right,
    )


def _moved_differently(
    left: Sequence[StepRecord], right: Sequence[StepRecord], trajectory: str, run: int
) -> Iterator[Difference]:
    """What was moved between two steps on one side only, or to something else."""
    straight = {record.step: record for record in left}
    one, two = _states_before(left), _states_before(right)
    for record in right:
        other = straight.get(record.step)
        if other is None or record.step - 1 not in two:
            continue
        for stream in record.before.keys() | other.before.keys():
            a, b = one[record.step].get(stream), two[record.step].get(stream)
            if a is not None and b is not None and a != b:
                yield Difference(
                    trajectory=trajectory,
                    run=run,
                    phase="before",
                    step=record.step,
                    stream=stream,
                    left=str(a),
                    right=str(b),
                )


def _states_before(records: Sequence[StepRecord]) -> dict[int, dict[str, Digest]]:
    """For each step the state just before it, as far as these records tell."""
    known: dict[str, Digest] = {}
    states = {}
    for record in records:
        known |= record.before
        states[record.step] = dict(known)
        known |= {stream: root for stream, root in record.streams.items() if stream in ("optim", "param", "buffer")}
    return states


def _step_differences(left: StepRecord, right: StepRecord) -> Iterator[tuple[str, str, str]]:
    pairs: dict[str, tuple[object, object]] = {
        "data": (left.micro_batches, right.micro_batches),
        "lr": (left.lr, right.lr),
        "loss": (left.loss, right.loss),
        "optim": (left.skipped, right.skipped),
    }
    streams = left.streams.keys() | right.streams.keys()
    for stream in sorted(streams, key=lambda name: (STREAM_ORDER.get(name, len(STREAM_ORDER)), name)):
        one, two = left.streams.get(stream), right.streams.get(stream)
        fields = pairs.get(stream, (None, None))
        if one is None or two is None:
            yield stream, str(one or NOT_THERE), str(two or NOT_THERE)
        elif one != two:
            yield stream, str(one), str(two)
        elif fields[0] != fields[1]:
            yield stream, str(fields[0])[:200], str(fields[1])[:200]


def _compare_states(
    phase: Literal["start", "end"], trajectory: str, run: int, left: StateRecord, right: StateRecord
) -> tuple[list[Difference], list[str]]:
    differences, problems = [], []
    step = right.step + 1 if phase == "start" else right.step
    for stream in _END_STREAMS:
        one, two = left.streams.get(stream), right.streams.get(stream)
        if (one is None) != (two is None):
            problems.append(f"stream {stream} at the {phase} was seen on one side only ({trajectory}/{run})")
        elif one is not None and two is not None and one != two:
            differences.append(
                Difference(
                    trajectory=trajectory, run=run, phase=phase, step=step, stream=stream, left=str(one), right=str(two)
                )
            )
    return differences, problems


def _compare_evals(left: Ledger, right: Ledger, trajectory: str, run: int) -> list[Difference]:
    """Evaluations after the run's own steps; one that a kill cut short is compared as far as it went."""
    one, two = _evals_by_step(left), _evals_by_step(right)
    differences = []
    for record in right.steps:
        a, b = one.get(record.step, []), two.get(record.step, [])
        is_cut = record.step == right.last_step and right.end is None
        texts = [(_eval_text(x), _eval_text(y)) for x, y in zip(a, b, strict=False)]
        if len(a) != len(b) and not is_cut:
            texts.append((f"{len(a)} evaluations", f"{len(b)} evaluations"))
        differences += [
            Difference(trajectory=trajectory, run=run, phase="eval", step=record.step, stream="eval", left=x, right=y)
            for x, y in texts
            if x != y
        ]
    return differences


def _evals_by_step(ledger: Ledger) -> dict[int, list[EvalRecord]]:
    steps: dict[int, list[EvalRecord]] = {}
    for record in ledger.evals:
        steps.setdefault(record.step, []).append(record)
    return steps


def _eval_text(record: EvalRecord) -> str:
    return str(record.streams.get("eval", "")) + "|" + ",".join(record.loss)[:200]


def _state_amount(run: RunEvidence, phase: Literal["start", "end"]) -> Compared:
    """The tensors of a state, and their bytes as far as the sidecar names them."""
    ledger, total = ledger_of(run), 0
    record = ledger.start if phase == "start" else ledger.end
    if record is None:
        return Compared()
    for stream in _END_STREAMS:
        try:
            tensors = state_tensors(run, phase, record.step, stream) or {}
        except EvidenceError:
            continue
        total += sum(size_of(entry) for entry in tensors.values())
    return Compared(tensors=sum(record.counts.values()), bytes=total)


def _compare_file(left: FileEvidence, right: FileEvidence) -> FileComparison:
    one, two = left.content_digest, right.content_digest
    content = left.content
    same_bytes = left.sha256 is not None and left.sha256 == right.sha256
    problem, is_equal = None, None
    if any(side.content is not None and side.content.is_empty for side in (left, right)):
        problem = f"{left.path}: nothing is left to compare: policy.volatile names every key of it"
    elif same_bytes or (one is not None and two is not None):
        is_equal = same_bytes or one == two
    else:
        problem = left.problem or right.problem or f"{left.path} could not be read"
        if left.sha256 is not None and right.sha256 is not None:
            problem = f"{left.path}: its bytes differ, and whether what it holds does could not be told: {problem}"
    return FileComparison(
        path=left.path,
        role="output" if "output" in (left.role, right.role) else "checkpoint",
        is_equal=is_equal,
        content=one,
        num_tensors=len(content.tensors) if content is not None else 0,
        size_bytes=content.size_bytes if content is not None and content.tensors else left.size_bytes,
        different=_different_entries(left, right) if is_equal is False else (),
        left=str(one or left.sha256 or ""),
        right=str(two or right.sha256 or ""),
        problem=problem,
        doubt=next((side.content.doubt for side in (left, right) if side.content and side.content.doubt), ""),
        same_bytes=None if left.sha256 is None or right.sha256 is None else same_bytes,
    )


def _different_entries(left: FileEvidence, right: FileEvidence) -> tuple[str, ...]:
    if left.content is None or right.content is None:
        return (left.path,)
    one: set[tuple[str, str]] = {(t.name, f"{t.dtype}{t.shape}{t.sha256}") for t in left.content.tensors}
    two: set[tuple[str, str]] = {(t.name, f"{t.dtype}{t.shape}{t.sha256}") for t in right.content.tensors}
    one |= {*left.content.values, *left.content.opaque}
    two |= {*right.content.values, *right.content.opaque}
    names = {name for name, _ in one ^ two if name} or {WHOLE}
    return tuple(sorted(names, key=natural_key)[:_MAX_NAMES])


def _one_sided(path: str, left: FileEvidence | None, right: FileEvidence | None, only: FileEvidence) -> FileComparison:
    return FileComparison(
        path=path,
        role=only.role,
        is_equal=False,
        content=only.content_digest,
        num_tensors=0,
        size_bytes=0,
        left=_side(left),
        right=_side(right),
    )


def _side(file: FileEvidence | None) -> str:
    return NOT_THERE if file is None else str(file.content_digest or file.sha256 or "")
