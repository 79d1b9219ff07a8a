"""The negative controls of one certify; those with runs of their own are kept for each state of the code."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from pydantic import ValidationError

from harness.documents.digest import Digest
from harness.documents.verdict import ControlResult
from harness.errors import EvidenceError
from harness.evidence.trajectory import TrajectoryEvidence
from harness.judge.controls import (
    check_ledger_digit,
    check_tensor_bit,
    check_weights_moved,
    judge_flip_optim,
    judge_flip_param,
)
from harness.runs.campaign import CONTROL_OPTIM, CONTROL_PARAM, STRAIGHT, Campaign
from harness.system.files import Files, as_files
from harness.system.store import Store

EARLIER = " (an earlier run of the same code)"
"""What the detail of a control ends with that an earlier certify made."""

_KIND = "controls"
_MAX_BYTES = 1 << 40


def read(store: Store, key: Digest) -> tuple[ControlResult, ...] | None:
    """The judged controls of this state of code, image and experiment, or None when they have to be run."""
    record = store.read_record(_KIND, key.hex)
    try:
        return tuple(ControlResult(**check) for check in record["checks"]) if record else None
    except (KeyError, TypeError, ValidationError):
        return None


def keep(store: Store, key: Digest, checks: tuple[ControlResult, ...]) -> None:
    """Keep the controls that needed runs, when every one of them was detected."""
    ran = [check for check in checks if check.name in {"flip_param", "flip_optim"}]
    if ran and all(check.detected for check in ran):
        store.write_record(_KIND, key.hex, {"checks": [check.to_json() for check in ran]})


def check_all(
    evidence: Mapping[str, TrajectoryEvidence],
    source: Files | Path,
    planned: Campaign,
    cached: tuple[ControlResult, ...] | None,
) -> tuple[ControlResult, ...]:
    """Every control that can be made of this evidence; those of earlier runs say so.

    Args:
        evidence: trajectories by name.
        source: of the certify, where the straight run's outputs lie.
        planned: what was run.
        cached: controls with runs of their own that were made for the same code, image and experiment.
    """
    straight, files = evidence[STRAIGHT], as_files(source)
    checks = [check_ledger_digit(straight), check_weights_moved(straight)]
    if (weights := _weights_file(straight)) is not None:
        checks.append(_tensor_bit(files.below(f"{STRAIGHT}/output"), weights))
    for check in cached or ():
        checks.append(check.model_copy(update={"detail": f"{check.detail}{EARLIER}"}))
    if cached is None and CONTROL_PARAM in evidence:
        checks.append(judge_flip_param(straight, evidence[CONTROL_PARAM], planned.flip_step))
    if cached is None and CONTROL_OPTIM in evidence:
        checks.append(judge_flip_optim(straight, evidence[CONTROL_OPTIM]))
    return tuple(checks)


def _weights_file(straight: TrajectoryEvidence) -> str | None:
    """The smallest file with tensors that the straight run left, for it is copied; outputs before checkpoints."""
    found = [file for file in straight.files if file.content is not None and file.content.tensors]
    return min(found, key=lambda file: (file.role != "output", file.size_bytes, file.path)).path if found else None


def _tensor_bit(root: Files, path: str) -> ControlResult:
    try:
        return check_tensor_bit(path, root.read(path, max_bytes=_MAX_BYTES))
    except EvidenceError as error:
        return ControlResult(name="tensor_bit", detected=False, detail=error.problem)
