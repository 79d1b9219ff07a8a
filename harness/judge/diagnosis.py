"""Diagnosis: from the first stream that differs, and what was measured there, to the cause by name.

Facts are computed in `observations`; the modules that end in `_cause` make statements about them. A cause is named
only where all that it says was observed; otherwise the class is `unknown`, with what is known and what it may be.
Streams are looked at in causal order (data, rng, lr, loss, grad, optim, param, buffer), so everything before the first
that differs is ruled out. The classes follow root causes that others have reported; see the guide.
"""

from __future__ import annotations

from harness.documents.verdict import Cause
from harness.evidence.trajectory import RunEvidence
from harness.judge import observations
from harness.judge.computation_cause import computation_cause, schedule_cause, settings_cause, update_cause
from harness.judge.crash import ends_at_another_step
from harness.judge.data_cause import data_cause, evaluation_cause, rng_cause, window_cause
from harness.judge.diff import LENGTH
from harness.judge.file_cause import file_cause
from harness.judge.locate import ledger_of
from harness.judge.restored_cause import restored_cause
from harness.judge.symptom import (
    Symptom,
    before,
    is_same,
    names_of,
    restore_sentence,
    tensor_evidence,
)


def diagnose(symptom: Symptom) -> Cause:
    """The cause of a divergence, or class `unknown` with what is known and the candidates that remain."""
    first = symptom.first
    if first.phase == "file":
        return file_cause(symptom)
    if first.stream == LENGTH:
        return _length(symptom)
    if first.phase == "eval" and (evaluated := evaluation_cause(symptom)) is not None:
        return evaluated
    if symptom.check == "rerun" or first.run == 1:
        return _rerun(symptom)
    if first.phase == "restore":
        return restored_cause(symptom)
    if first.phase != "step":
        return _unknown(symptom)
    if (lost := window_cause(symptom)) is not None:
        return lost
    if first.stream in ("loss", "grad") or (first.stream == "data" and observations.is_computed_otherwise(symptom)):
        return computation_cause(symptom)
    if first.stream == "data":
        return data_cause(symptom)
    if first.stream == "rng":
        return settings_cause(symptom) or rng_cause(symptom)
    if first.stream == "lr":
        return schedule_cause(symptom)
    return update_cause(symptom) or _unknown(symptom)


def checkpoint_ignored(run: RunEvidence, saved_step: int, *, num_saves: int, is_equal: bool) -> Cause:
    """A resumed run that started over although there was a checkpoint."""
    ledger = ledger_of(run)
    evidence = [
        f"{run.name} starts after step 0: its first step is step {ledger.start.step + 1}",
        f"{num_saves} checkpoint writes were complete before it, the last one after step {saved_step}",
        restore_sentence(run),
    ]
    same_result = "a difference in the result: the final bits agree, because everything was computed again"
    ruled_out = (same_result,) if is_equal else ()
    return Cause(
        kind="checkpoint_ignored",
        title="The checkpoint was ignored: training started over",
        evidence=tuple(evidence),
        ruled_out=ruled_out,
        fix="Make the resume command find and load the newest complete checkpoint below its output folder, and fail "
        "when it cannot.",
    )


def image_differs(image_ids: tuple[str, ...]) -> Cause:
    """An image that was built twice and came out differently."""
    return Cause(
        kind="image_not_reproducible",
        title="The image built again has another id",
        evidence=tuple(f"build {n}: {image_id}" for n, image_id in enumerate(image_ids, start=1)),
        ruled_out=(),
        fix="Run `harness build --check`: it names the files of the image that differ.",
    )


def _rerun(symptom: Symptom) -> Cause:
    first = symptom.first
    if first.phase == "start":
        return _unseeded_start(symptom)
    if first.phase == "step" and first.stream in ("data", "rng"):
        return _unseeded_stream(symptom)
    if first.phase == "step" and first.stream in ("loss", "grad"):
        return computation_cause(symptom)
    return _unknown(symptom)


def _unseeded_start(symptom: Symptom) -> Cause:
    first = symptom.first
    streams = {d.stream for d in symptom.comparison.differences if d.phase == "start"}
    if not streams & {"param", "frozen", "buffer", "rng"}:
        return _unknown(symptom)
    weights = sorted(streams & {"param", "frozen", "buffer"})
    evidence = [f"before the first step, {names_of(sorted(streams))} already differ between two fresh processes"]
    evidence += tensor_evidence(symptom)
    if weights and "rng" not in streams:
        evidence.append("the recorded generators are equal then, so the weights come from one that was seeded later")
    return Cause(
        kind="unseeded_randomness",
        title="Randomness without a seed: " + ("the initial weights" if weights else "the generators"),
        evidence=tuple(evidence),
        ruled_out=before(first, symptom),
        fix="Seed random, numpy.random, torch and CUDA with a number from the configuration at the very start, before "
        "the model and the data are made.",
    )


def _unseeded_stream(symptom: Symptom) -> Cause:
    """Data or generators that two fresh processes do not have in common."""
    first = symptom.first
    if first.stream == "rng" and not symptom.is_first_step:
        return _unknown(symptom, f"a generator was drawn from differently in step {first.step - 1}")
    evidence = [f"two fresh processes first differ at step {first.step}, in {first.stream}", *tensor_evidence(symptom)]
    title, fix = (
        "a generator",
        "Seed every generator with a number from the configuration before anything draws from it.",
    )
    if first.stream == "data":
        is_ordered = is_same(symptom, "rng", first.step)
        title, fix = "the data, or their order", _ORDER_FIX if is_ordered else fix
        evidence.append(
            "the recorded generators are equal at that step: the order comes from somewhere else"
            if is_ordered
            else "a recorded generator differs at that step too"
        )
    return Cause(
        kind="unseeded_randomness",
        title=f"Randomness without a seed: {title}",
        evidence=tuple(evidence),
        ruled_out=before(first, symptom),
        fix=fix,
    )


_ORDER_FIX = (
    "Seed what the order is drawn from: a DataLoader's generator and worker_init_fn, numpy's default_rng. Sort what is "
    "listed from folders and sets. Take results of threads in the order in which they were asked for, and nothing by "
    "the clock."
)


def _length(symptom: Symptom) -> Cause:
    """Both ended by themselves, after different steps."""
    first, is_resume = symptom.first, symptom.resumed_at is not None
    evidence = [f"{symptom.right.name} ended by itself after {first.right}, the straight training after {first.left}"]
    if is_resume:
        evidence.append(f"it went on after step {symptom.resumed_at}")
    return ends_at_another_step(is_resume=is_resume, evidence=tuple(evidence), ruled_out=before(first, symptom))


def _unknown(symptom: Symptom, more: str = "") -> Cause:
    first = symptom.first
    after = f", {first.step - symptom.resumed_at} steps after the resume" if symptom.resumed_at is not None else ""
    evidence = [f"{first.stream} is the first stream to differ, at step {first.step}{after}"]
    evidence += tensor_evidence(symptom)
    if more:
        evidence.append(more)
    return Cause(
        kind="unknown",
        title="The cause is not known",
        evidence=tuple(evidence),
        ruled_out=before(first, symptom),
        fix="Look at what sets this quantity at that step; `harness diff` shows both sides' tensors and files.",
        candidates=_CANDIDATES.get(first.phase if first.phase in ("before", "eval", "end") else first.stream, ()),
    )


_CANDIDATES = {
    "before": (
        "weights are changed between an update and the next forward (an average is swapped in, a clamp, a merge), and "
        "that is done at other steps than in the straight run",
    ),
    "eval": (
        "validation takes other examples, or in another order: print which",
        "validation computes with other weights, an average for instance",
    ),
    "end": ("the weights are changed after the last step: averaged, merged, replaced by the best ones",),
    "buffer": ("statistics that forwards outside of training steps move: warm-up, validation in training mode",),
    "rng": ("a number of draws that hangs on time, on threads, or on what an earlier process left behind",),
}
