"""The manifest: everything that one certify stood on, as one JSON document; what may differ next time stands apart."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from harness.documents.digest import Digest
from harness.documents.experiment import Experiment
from harness.documents.scope import Prefix
from harness.evidence.trajectory import TrajectoryEvidence

SCHEMA = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Materials:
    """What went into the runs.

    Attributes:
        code: sha256 over the sorted paths and contents of the exported code.
        image: id, size, locks and rebuild record; for the host runner the interpreter and its lock.
        prepared: sha256 of each prepared file.
        host: the machine.
        gpu: the GPUs that every process was given, and how; empty for none.
        interpreter: without a container, the Python and how it differs from the image's lock.
    """

    commit: str
    is_dirty: bool
    code: Digest
    recorder: Digest
    image: Mapping[str, object]
    prepared: Mapping[str, str]
    host: Mapping[str, object]
    gpu: Mapping[str, object] = field(default_factory=dict)
    interpreter: Mapping[str, object] | None = None


def build_manifest(
    *,
    name: str,
    run_id: str,
    runner: str,
    version: str,
    experiment: Experiment,
    materials: Materials,
    trajectories: tuple[TrajectoryEvidence, ...],
    volatile: Mapping[str, object],
    scope: Prefix | None = None,
    overrides: tuple[str, ...] = (),
    sources: Digest | None = None,
    review: Mapping[str, Any] | None = None,
) -> dict[str, object]:
    """The manifest as a JSON value; only what stands under `volatile` depends on the clock or on chance.

    `sources` is the digest of the harness's own code: equal sources give equal verdicts and reports of equal evidence.
    """
    runs = [run.record for trajectory in trajectories for run in trajectory.runs]
    return {
        "schema": SCHEMA,
        "harness": {
            "version": version,
            "recorder": str(materials.recorder),
            "sources": None if sources is None else str(sources),
        },
        "name": name,
        **({"overrides": list(overrides)} if overrides else {}),
        "experiment": experiment.to_json(),
        "experiment_digest": str(experiment.digest),
        "scope": None if scope is None else scope.to_json(),
        "runner": runner,
        "commit": materials.commit,
        "dirty": materials.is_dirty,
        "code": {"sha256": str(materials.code)},
        "image": dict(materials.image),
        "inputs": {key: value.model_dump(exclude_none=True) for key, value in sorted(experiment.inputs.items())},
        "prepared": dict(sorted(materials.prepared.items())),
        "environment": environment_of(materials, trajectories),
        "review": _review(review),
        "runs": [record.model_dump(mode="json", exclude={"volatile", "seconds"}) for record in runs],
        "trajectories": {trajectory.name: _trajectory(trajectory) for trajectory in trajectories},
        "volatile": {
            "run_id": run_id,
            **volatile,
            "runs": [{"run": f"{r.trajectory}/{r.number}", "seconds": r.seconds, **r.volatile} for r in runs],
        },
    }


def environment_of(materials: Materials, trajectories: tuple[TrajectoryEvidence, ...]) -> dict[str, object]:
    """The machine, what the first process said of itself, and the GPUs: `environment` of a manifest."""
    groups: dict[str, object] = {
        "host": dict(materials.host),
        "process": _process_facts(trajectories),
        "gpu": dict(materials.gpu),
    }
    return groups if materials.interpreter is None else {**groups, "interpreter": dict(materials.interpreter)}


def _review(review: Mapping[str, Any] | None) -> dict[str, object] | None:
    """What a later review is held against: the states of the items, and what was allowed, with the reasons."""
    if review is None:
        return None
    return {
        "checklist": {row["id"]: row["state"] for row in review["checklist"]},
        "allowed": list(review["allowed"]),
        "num_files": review["num_files"],
    }


def _trajectory(trajectory: TrajectoryEvidence) -> dict[str, object]:
    heads = [str(run.ledger.head) if run.ledger else None for run in trajectory.runs]
    return {
        "ledgers": heads,
        "files": {
            file.path: {
                "role": file.role,
                "size_bytes": file.size_bytes,
                "sha256": file.sha256 and str(file.sha256),
                "content": file.content_digest and str(file.content_digest),
            }
            for file in trajectory.files
        },
    }


def _process_facts(trajectories: tuple[TrajectoryEvidence, ...]) -> dict[str, object]:
    """What the first run's process said of itself: versions and threads."""
    for trajectory in trajectories:
        for run in trajectory.runs:
            for event in run.events:
                if event.kind == "process":
                    return {key: value for key, value in sorted(event.fields.items()) if key not in {"pid", "argv"}}
    return {}
