"""The controls of one certify: comparisons that must fail. Those with runs of their own are kept per state of code."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path

from harness.documents.digest import Digest
from harness.errors import EvidenceError
from harness.evidence.trajectory import TrajectoryEvidence
from harness.judge.controls import (
    ControlCheck,
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


def read(store: Store, key: Digest) -> tuple[ControlCheck, ...] | None:
    """The judged controls of this state of code, image and experiment, or None when they have to be run."""
    record = store.read_record(_KIND, key.hex)
    try:
        return tuple(ControlCheck(**check) for check in record["checks"]) if record else None
    except (KeyError, TypeError):
        return None


def keep(store: Store, key: Digest, checks: tuple[ControlCheck, ...]) -> None:
    """Keep the controls that needed runs, when every one of them failed as it must."""
    ran = [check for check in checks if check.name in {"flip_param", "flip_optim"}]
    if ran and all(check.failed_as_it_must for check in ran):
        store.write_record(_KIND, key.hex, {"checks": [dataclasses.asdict(check) for check in ran]})


def check_all(
    evidence: Mapping[str, TrajectoryEvidence],
    source: Files | Path,
    volatile: tuple[str, ...],
    planned: Campaign,
    cached: tuple[ControlCheck, ...] | None,
) -> tuple[ControlCheck, ...]:
    """Every control that can be made of this evidence; those of earlier runs say so.

    Args:
        evidence: trajectories by name.
        source: of the certify, where the straight run's outputs lie.
        volatile: keys that the comparison of files leaves out.
        planned: what was run.
        cached: controls with runs of their own that were made for the same code, image and experiment.
    """
    straight, files = evidence[STRAIGHT], as_files(source)
    checks = [check_ledger_digit(straight), check_weights_moved(straight)]
    if (weights := _weights_file(straight)) is not None:
        checks.append(_tensor_bit(files.below(f"{STRAIGHT}/output"), weights, volatile))
    for check in cached or ():
        checks.append(dataclasses.replace(check, detail=f"{check.detail}{EARLIER}"))
    if cached is None and CONTROL_PARAM in evidence:
        checks.append(judge_flip_param(straight, evidence[CONTROL_PARAM], planned.flip_step))
    if cached is None and CONTROL_OPTIM in evidence:
        checks.append(judge_flip_optim(straight, evidence[CONTROL_OPTIM]))
    return tuple(checks)


def _weights_file(straight: TrajectoryEvidence) -> str | None:
    """The smallest file with tensors that the straight run left, for it is copied; outputs before checkpoints."""
    found = [file for file in straight.files if file.content is not None and file.content.tensors]
    return min(found, key=lambda file: (file.role != "output", file.size_bytes, file.path)).path if found else None


def _tensor_bit(root: Files, path: str, volatile: tuple[str, ...]) -> ControlCheck:
    try:
        return check_tensor_bit(path, root.read(path, max_bytes=_MAX_BYTES), volatile)
    except EvidenceError as error:
        return ControlCheck(name="tensor_bit", failed_as_it_must=False, detail=error.problem)
