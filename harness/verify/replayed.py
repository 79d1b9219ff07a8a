"""A replay, judged again: its folder holds what the record published, so both sides of its comparison are there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from harness.documents.document import REMEDY, read_json
from harness.errors import EvidenceError, TamperedError
from harness.judge.recorded import Record, read_record, read_verdict, recorded_training
from harness.judge.tier import Tier, tier_of
from harness.judge.verdict import judge
from harness.judge.verdict_inputs import RecordedTraining, ReplayedImage, ReplayInputs, VerdictInputs
from harness.runs.load_evidence import load_trajectory
from harness.signing.certificate import read_certificate
from harness.signing.public_key import KEY_FILE, PublicKey, verify_bundle
from harness.verify import written_again
from harness.verify.judge_again import Evidence
from harness.verify.material import BUNDLE, Material
from harness.verify.rejudge import first_difference

FOLDER = "record"
_UNDECIDED = "only the generators' states differ"


def check_replay(
    record: Record,
    manifest: Mapping[str, Any],
    verdict: Mapping[str, Any],
    evidence: Evidence,
    material: Material,
    *,
    is_same: bool,
) -> str:
    """Hold a replay's training against the record again, and the verdict against what comes of it.

    Args:
        record: the replay's own documents.
        manifest: its `manifest.json`.
        verdict: its `verdict.json`.
        evidence: its one training, read again.
        material: where it lies; below `record/` is what the record published.
        is_same: whether this harness judged it; else the tier, whose rules may be others, is testimony.

    Returns:
        What could not be decided without what only the record's archive has; "" for nothing.

    Raises:
        TamperedError: the record is not what its signature says, or the verdict does not follow.
    """
    published = _record_of(material)
    recorded = _recorded(published, verdict)
    found = judge(_case(record, manifest, verdict, evidence, recorded, is_same)).to_json()
    if any(text.startswith(_UNDECIDED) for text in found["problems"]):
        return "whether anything drew from the generators that differ: the record's archive has that"
    if different := first_difference(_decisions(found), _decisions(verdict), only_common=False):
        raise TamperedError(f"the verdict does not follow from the evidence and the record: {different}", REMEDY)
    return ""


def _record_of(material: Material) -> Material:
    """The record's part of the evidence, as a published folder of its own."""
    prefix = f"{FOLDER}/"
    digests = {
        name.removeprefix(prefix): digest
        for name, digest in material.digests.items()
        if name.startswith(prefix) and name not in (prefix + BUNDLE, prefix + KEY_FILE)
    }
    return Material(kind="published", files=material.files.below(FOLDER), digests=digests, size_bytes=0)


def _recorded(published: Material, verdict: Mapping[str, Any]) -> RecordedTraining:
    """The record, its signature verified where it has one."""
    manifest = read_json(published.document("manifest.json"), f"{FOLDER}/manifest.json")
    old = read_verdict(published.document("verdict.json"), f"{FOLDER}/verdict.json")
    if published.is_signed:
        key = published.key()
        if key is None:
            raise TamperedError(f"{FOLDER}/{KEY_FILE} is missing", REMEDY)
        payloads = verify_bundle(published.bundle(), PublicKey.parse(key))
        written_again.check_evidence_list(read_certificate(payloads[0]), published)
    record = read_record(manifest, old)
    try:
        told = verdict["replay"]["record"]
        known = {"run_id": record.run_id, "experiment": record.name, "commit": record.commit, "verdict": old["verdict"]}
        if different := first_difference(known, {key: told[key] for key in known}, only_common=False):
            raise TamperedError(f"verdict.json names another record than it holds: {different}", REMEDY)
        if "straight" not in record.records:
            raise TamperedError(f"{FOLDER} has no straight run", REMEDY)
        straight = load_trajectory(published.files.below("straight"), "straight", record.records["straight"], ())
        written_again.check_straight_ledger(manifest, record.controls, straight)
        return recorded_training(record, straight, word=old["verdict"], source=str(told["source"]), key=told["key"])
    except (KeyError, TypeError, AttributeError, EvidenceError) as error:
        raise TamperedError(f"the record of this replay cannot be read: {error}", REMEDY) from error


def _case(
    record: Record,
    manifest: Mapping[str, Any],
    verdict: Mapping[str, Any],
    evidence: Evidence,
    recorded: RecordedTraining,
    is_same: bool,
) -> VerdictInputs:
    try:
        today = evidence.trajectories["straight"]
        image, experiment = manifest["image"], record.experiment
        tier = tier_of(
            recorded.manifest.environment.to_json(), manifest["environment"], experiment.environment, experiment.gpus
        )
        told = verdict["replay"]["tier"]
        if is_same and tier.name != told:
            raise TamperedError(f"verdict.json: the machines are {told}, the manifests say {tier.name}", REMEDY)
        tier = tier if is_same else Tier(name=told)
        replay = ReplayInputs(
            training=recorded,
            against=verdict["replay"]["against"],
            recorder=record.recorder,
            prepared=manifest["prepared"],
            # Which of two equal builds was made when is testimony.
            image=ReplayedImage(id=image["id"], key=image.get("key"), is_new=record.rebuild is not None),
            tier=tier,
            code_changes=tuple(verdict["replay"]["code_changes"]),
        )
        return VerdictInputs(
            experiment=record.name,
            run_id=record.run_id,
            commit=record.commit,
            dirty=False,
            runner=record.runner,
            steps=record.trained.steps,
            required=("replay",),
            straight=today,
            controls=evidence.controls,
            gpus=record.gpus,
            environment=record.environment,
            problems=evidence.problems,
            scope=record.scope,
            replay=replay,
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise TamperedError(f"the documents of this replay are malformed ({error})", REMEDY) from error


def _decisions(verdict: Mapping[str, Any]) -> dict[str, Any]:
    """What follows from a replay's evidence and from what a record publishes."""
    try:
        first = verdict["first_divergence"]
        return {
            "verdict": verdict["verdict"],
            "exit_code": verdict["exit_code"],
            "replay": verdict["checks"]["replay"]["verdict"],
            "rebuild": verdict["checks"]["rebuild"]["verdict"],
            "steps": verdict["compared"]["steps"],
            "first_divergence": None if first is None else [first["step"], first["stream"]],
            "final_state_equal": verdict["final_state_equal"],
            "controls": {control["name"]: control["detected"] for control in verdict["control"]["controls"]},
            "testimony": verdict["testimony"],
        }
    except (KeyError, TypeError, AttributeError) as error:
        raise TamperedError(f"verdict.json lacks or garbles a decision ({error})", REMEDY) from error
