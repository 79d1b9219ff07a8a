"""Rerun: whether the same command gives the same bits in another process."""

from __future__ import annotations

from harness.documents.verdict import Check, CheckWord
from harness.evidence.trajectory import TrajectoryEvidence
from harness.judge.check_result import (
    CheckResult,
    all_differences,
    all_notes,
    amount_compared,
    compared_files,
    comparison_problems,
    not_checked,
    undecided,
)
from harness.judge.diff import LENGTH, FileComparison, RunComparison, compare_run
from harness.judge.soundness import run_problems
from harness.judge.verdict_inputs import VerdictInputs


def judge_rerun(inputs: VerdictInputs, straight: TrajectoryEvidence, problems: tuple[str, ...]) -> CheckResult:
    """Whether the same command gives the same bits in another process: a second run, or one before its first kill.

    A difference in the steps is proven, whatever went wrong with these runs later on.
    """
    rerun, resumed, is_second_run_wanted = inputs.rerun, inputs.resumed, inputs.rerun_mode == "second_run"
    first_kill = inputs.interruptions[0] if inputs.interruptions else inputs.stop
    prefix_problems = run_problems(resumed.runs[0], first_kill, inputs.steps) if resumed and resumed.runs else ()
    second, prefix = _compare_first(straight, rerun), _compare_first(straight, resumed)
    is_prefix_different = prefix is not None and bool(prefix.differences)
    is_different = is_prefix_different or (second is not None and bool(second.differences))
    if problems and not is_different:
        return undecided(inputs, "rerun", problems, compared=second or prefix)
    if second is not None and rerun is not None and (second.differences or not is_prefix_different):
        files = () if problems else compared_files(inputs, straight, rerun)
        return _rerun_judged(inputs, straight, rerun, second, files, is_second_run=True)
    if is_second_run_wanted and rerun is None and not is_prefix_different:
        return not_checked("no second straight run took place", inputs, "rerun")
    if prefix is None or resumed is None or (prefix_problems and not is_prefix_different):
        reason = "; ".join(prefix_problems) or "no step was complete before the first kill"
        return not_checked("no second straight run took place" if is_second_run_wanted else reason, inputs, "rerun")
    return _rerun_judged(inputs, straight, resumed, prefix, (), is_second_run=False)


def _rerun_judged(
    inputs: VerdictInputs,
    straight: TrajectoryEvidence,
    other: TrajectoryEvidence,
    comparison: RunComparison,
    files: tuple[FileComparison, ...],
    *,
    is_second_run: bool,
) -> CheckResult:
    last = comparison.amount.steps
    part = f"a second straight run up to step {last}" if is_second_run else f"steps 1-{last} before the first kill"
    differences = all_differences((comparison,), files, other)
    problems = comparison_problems((comparison,), files)
    compared = amount_compared((comparison,), files)
    verdict: CheckWord = "CERTIFIED"
    reason = ""
    if differences:
        verdict, problems = "DIVERGED", ()
        first = differences[0]
        reason = f"{first.stream} differs at step {first.step} between two fresh processes"
        if first.stream == LENGTH:
            reason = f"a second straight run ends after {first.right}, the first after {first.left}"
    elif problems or compared.steps == 0:
        problems = problems or ("nothing was compared: the second process has no step",)
        verdict, reason = "INCONCLUSIVE", problems[0]
    check = Check(
        verdict=verdict,
        required="rerun" in inputs.required,
        how="second straight run" if other.runs[0].ledger and other.runs[0].ledger.end else part,
        reason=reason,
        compared=compared,
    )
    return CheckResult(
        check=check,
        reference=straight,
        trajectory=other,
        comparisons=(comparison,),
        files=files,
        differences=differences,
        problems=problems,
        notes=all_notes((comparison,)),
    )


def _compare_first(straight: TrajectoryEvidence, other: TrajectoryEvidence | None) -> RunComparison | None:
    ledgers = [one.runs[0].ledger if one is not None and one.runs else None for one in (straight, other)]
    if other is None or ledgers[0] is None or ledgers[1] is None or not ledgers[1].steps:
        return None
    return compare_run(straight, other, 1)
