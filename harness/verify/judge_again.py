"""Judged again: what the runs left must give the same verdict as it did when it was judged first.

Nothing is taken from a document that the evidence shows. What no evidence can show (which images came out of builds,
which GPUs were asked for, controls that an earlier run made) is testimony of whoever signed, and is listed as such.
"""

from __future__ import annotations

from typing import Any

from harness.documents.document import REMEDY
from harness.documents.verdict import EXIT_CODES, NOTHING_COMPARED, Review, Verdict, has_compared_steps
from harness.errors import TamperedError
from harness.judge.kill_points import planned_kills
from harness.judge.soundness import num_steps
from harness.judge.sweep import sweep_inputs
from harness.judge.tier import Tier, tier_of
from harness.judge.verdict import judge
from harness.judge.verdict_inputs import RecordedTraining, ReplayedImage, ReplayInputs, VerdictInputs
from harness.review.evidence.basis import Basis
from harness.review.reviewer import reviewer_of
from harness.verify.comparison import first_difference
from harness.verify.evidence import Evidence
from harness.verify.record import Record

_UNDECIDED = "only the generators' states differ"
# What a verdict decides, without the words that two versions of this program may choose differently.
_OF_CHECK = {"verdict", "required", "compared", "resumes", "image_ids"}
_DECISIONS: dict[str, Any] = {
    "verdict": True,
    "exit_code": True,
    "checks": dict.fromkeys(("rerun", "resume", "rebuild", "replay"), _OF_CHECK),
    "interruptions": True,
    "sweep": True,
    "compared": True,
    "first_divergence": {"check", "trajectory", "run", "step", "micro_batch", "stream", "tensor"},
    "final_state_equal": True,
    "cause": {"kind"},
    "control": {"controls": {"__all__": {"name", "detected"}}},
    "restored": True,
    "testimony": True,
    "files": True,
}
# The same of what another version judged: it may have counted otherwise, and have found another cause.
_DECISIONS_OF_ANOTHER: dict[str, Any] = {
    "verdict": True,
    "exit_code": True,
    "checks": dict.fromkeys(("rerun", "resume", "rebuild", "replay"), _OF_CHECK - {"compared", "resumes"}),
    "first_divergence": {"check", "trajectory", "run", "step", "stream"},
    "sweep": {"num_points", "num_held", "bound"},
    "final_state_equal": True,
    "control": {"controls": {"__all__": {"name", "detected"}}},
}
# The same of a replay, as far as it follows from what a record publishes.
_DECISIONS_OF_REPLAY: dict[str, Any] = {
    "verdict": True,
    "exit_code": True,
    "checks": {"replay": {"verdict"}, "rebuild": {"verdict"}},
    "compared": {"steps"},
    "first_divergence": {"step", "stream"},
    "final_state_equal": True,
    "control": {"controls": {"__all__": {"name", "detected"}}},
    "testimony": True,
}


def check_verdict(
    record: Record, evidence: Evidence, review: Basis | None, document: bytes, *, is_same: bool
) -> Verdict:
    """Judge the evidence, and compare the verdict with what comes of it.

    Args:
        record: the documents.
        evidence: read again.
        review: what the review stands on, read again; None takes the recorded one as testimony.
        document: the bytes of `verdict.json`.
        is_same: whether the harness that judged is this one: then every byte must be the same.

    Returns:
        The verdict that comes of the evidence.

    Raises:
        TamperedError: the verdict does not follow from the evidence.
    """
    found, told = judge(verdict_inputs_of(record, evidence, review)), record.verdict
    if review is None:
        found = with_recorded_review(found, told.review)
    if different := decided_otherwise(found, told, is_same=is_same):
        raise TamperedError(f"the verdict does not follow from the evidence: {different}", REMEDY)
    compared = {str(name): (check.verdict, check.compared.steps) for name, check in told.checks.items()}
    if told.verdict == "CERTIFIED" and not has_compared_steps(compared):
        raise TamperedError(f"verdict.json says CERTIFIED, and {NOTHING_COMPARED}", REMEDY)
    if is_same and found.write() != document:
        different = first_difference(found.to_json(), told.to_json(), only_common=False) or "its keys, or their order"
        raise TamperedError(f"verdict.json is not what this harness writes of this evidence: {different}", REMEDY)
    return found


def check_replay(record: Record, evidence: Evidence, recorded: RecordedTraining, *, is_same: bool) -> str:
    """Compare a replay's training with its record again, and the verdict with what comes of it.

    Args:
        record: the replay's own documents.
        evidence: its one training, read again.
        recorded: the record that it replayed.
        is_same: whether this harness judged it; else the tier, whose rules may be others, is testimony.

    Returns:
        What could not be decided without what only the record's archive has; "" for nothing.

    Raises:
        TamperedError: the verdict does not follow.
    """
    found = judge(_replay_inputs(record, evidence, recorded, is_same))
    if any(text.startswith(_UNDECIDED) for text in found.problems):
        return "whether anything drew from the generators that differ: the record's archive has that"
    if different := decided_otherwise(found, record.verdict, is_same=is_same):
        raise TamperedError(f"the verdict does not follow from the evidence and the record: {different}", REMEDY)
    return ""


def decided_otherwise(found: Verdict, told: Verdict, *, is_same: bool) -> str | None:
    """The first decision of a verdict that is another than was found; None for none."""
    of_certify = _DECISIONS if is_same else _DECISIONS_OF_ANOTHER
    wanted = of_certify if told.kind == "certify" else _DECISIONS_OF_REPLAY
    one, two = (verdict.model_dump(mode="json", include=wanted) for verdict in (found, told))
    return first_difference(one, two, only_common=False)


def verdict_inputs_of(record: Record, evidence: Evidence, review: Basis | None) -> VerdictInputs:
    """What the certify judged; `review` is what its review stands on, read again, or None to leave it out."""
    experiment, verdict = record.trained, record.verdict
    required = experiment.policy.required
    return VerdictInputs(
        experiment=verdict.experiment,
        run_id=verdict.run_id,
        commit=verdict.commit,
        dirty=verdict.dirty,
        runner=verdict.runner,
        steps=num_steps(experiment.steps, evidence.trajectories.get("straight")),
        # Without a container there is no image to build again.
        required=tuple(name for name in required if name != "rebuild" or verdict.runner == "docker"),
        rerun_mode=experiment.policy.rerun,
        straight=evidence.trajectories.get("straight"),
        rerun=evidence.trajectories.get("rerun"),
        resumed=evidence.trajectories.get("resumed"),
        interruptions=planned_kills(experiment, evidence.trajectories.get("straight"), verdict.commit),
        sweep=sweep_inputs(
            evidence.trajectories.get("straight"),
            verdict.commit,
            0 if verdict.sweep is None else verdict.sweep.num_asked,
            evidence.trajectories,
        ),
        declares_checkpoints=bool(experiment.checkpoints),
        controls=evidence.controls,
        rebuild=record.rebuild,
        gpus=verdict.gpus,
        environment=verdict.environment,
        log_ends=evidence.log_ends,
        review=None if review is None else reviewer_of(review),
        scope=record.scope,
        overrides=verdict.overrides,
        stopped_at=verdict.stopped_at,
        continued=verdict.continued,
    )


def with_recorded_review(found: Verdict, review: Review | None) -> Verdict:
    """A verdict that was judged without a review, with what the recorded review adds to it.

    A later version's rules may find more or less in the same code, so the review of another version is testimony.
    """
    if review is None or found.verdict not in ("CERTIFIED", "INCONCLUSIVE"):
        return found
    undecided = any(row.id.startswith("V") and row.state == "could not tell" for row in review.checklist)
    word = "VETOED" if review.vetoes else "INCONCLUSIVE" if undecided else found.verdict
    return found.model_copy(update={"verdict": word, "exit_code": EXIT_CODES[word]})


def _replay_inputs(record: Record, evidence: Evidence, recorded: RecordedTraining, is_same: bool) -> VerdictInputs:
    verdict, manifest, experiment = record.verdict, record.manifest, record.experiment
    told, today = verdict.replay, evidence.trajectories.get("straight")
    if told is None or today is None:
        raise TamperedError("the documents of this replay do not say what was replayed", REMEDY)
    environments = (recorded.manifest.environment.to_json(), manifest.environment.to_json())
    tier = tier_of(*environments, experiment.environment, experiment.gpus)
    if is_same and tier.name != told.tier:
        raise TamperedError(f"verdict.json: the machines are {told.tier}, the manifests say {tier.name}", REMEDY)
    return VerdictInputs(
        experiment=manifest.name,
        run_id=verdict.run_id,
        commit=verdict.commit,
        dirty=False,
        runner=verdict.runner,
        steps=record.trained.steps or recorded.num_steps,
        required=("replay",),
        straight=today,
        controls=evidence.controls,
        gpus=verdict.gpus,
        environment=verdict.environment,
        problems=tuple(evidence.log_ends.values()),
        scope=record.scope,
        overrides=verdict.overrides,
        replay=ReplayInputs(
            training=recorded,
            against=told.against,
            recorder=manifest.harness.recorder,
            prepared=manifest.prepared,
            # Which of two equal builds was made when is testimony.
            image=ReplayedImage(id=manifest.image.id, key=manifest.image.key, is_new=record.rebuild is not None),
            tier=tier if is_same else Tier(name=told.tier),
            code_changes=told.code_changes,
        ),
    )
