"""A past run of an experiment as its documents tell it, and what changed from one to the next."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from harness.documents.history import Between, Change, Figures, PastRun, Source, ValueChange
from harness.documents.manifest import HostFacts, Manifest, TrajectoryFacts
from harness.documents.verdict import Verdict
from harness.evidence.ledger import Ledger
from harness.replay.environment_changes import changed_values

RUN_ID = re.compile(r"\d{8}T\d{6}Z-[0-9a-f]{7}-[0-9a-f]{4}")
_STRAIGHT = "straight"
_MAX_VALUES = 200
_SECTIONS = ("experiment", "prepared", "environment", "harness")


@dataclass(frozen=True, slots=True)
class Record:
    """A run in short, with its manifest; None for a certify that never came to write one."""

    run: PastRun
    manifest: Manifest | None


def read_record(
    run_id: str, source: Source, verdict: Verdict, manifest: Manifest | None, ledger: Ledger | None
) -> Record:
    """What two documents and the straight ledger tell of a run."""
    scope = verdict.scope or (manifest.scope if manifest else None)
    straight = straight_of(manifest)
    files = sorted(straight.files.items()) if straight else []
    digests = {path: file.content or file.sha256 for path, file in files if file.role == "output"}
    run = PastRun(
        run_id=run_id,
        date=_date(run_id),
        source=source,
        kind=verdict.kind,
        verdict=verdict.verdict,
        scope=", ".join((*([f"the first {scope.steps} of {scope.of} steps"] if scope else ()), *verdict.overrides)),
        commit=verdict.commit,
        dirty=verdict.dirty,
        runner=verdict.runner,
        image_id=(manifest.image.id or "") if manifest else "",
        machine=_machine(manifest.environment.host) if manifest else "",
        figures=_figures(manifest, ledger),
        ledger_head=(straight.ledgers[0] or "") if straight and straight.ledgers else "",
        outputs={path: digest for path, digest in digests.items() if digest},
    )
    return Record(run, manifest)


def straight_of(manifest: Manifest | None) -> TrajectoryFacts | None:
    """The straight trajectory, if there was one."""
    return manifest.trajectories.get(_STRAIGHT) if manifest else None


def compare(before: Record, after: Record, between: Between) -> Change:
    one, two = before.run, after.run
    outputs = _different_outputs(one, two)
    values = _changed_values(before.manifest, after.manifest)
    return Change(
        **dict(between),
        before=one.run_id,
        after=two.run_id,
        values=values[:_MAX_VALUES],
        image=(one.image_id, two.image_id) if one.image_id != two.image_id else None,
        numbers_equal=_numbers_equal(before, after, between, outputs),
        different_outputs=outputs or (),
        causes=_causes(before, after, between, values),
    )


def record_before(records: Sequence[Record], place: int) -> Record | None:
    """What the record at a place is compared with: the newest one before it that trained; None if either has not."""
    earlier = [record for record in records[:place] if record.run.ledger_head]
    return earlier[-1] if earlier and records[place].run.ledger_head else None


def _changed_values(before: Manifest | None, after: Manifest | None) -> tuple[ValueChange, ...]:
    """The values of two manifests that are not the same; what a person wrote about the experiment is none."""
    sides: list[dict[str, Any]] = []
    for manifest in (before, after):
        side = manifest.model_dump(mode="json", include=set(_SECTIONS)) if manifest else {}
        side.get("experiment", {}).pop("description", None)
        sides.append(side)
    return changed_values(*sides)


def _numbers_equal(before: Record, after: Record, between: Between, outputs: tuple[str, ...] | None) -> bool | None:
    one, two = before.run.ledger_head, after.run.ledger_head
    found: list[bool] = [] if outputs is None else [not outputs]
    if one and one == two:
        found.append(True)
    elif between.num_steps:
        found.append(between.first_difference is None)
    elif one and two and _extent(before) == _extent(after):
        found.append(False)
    return all(found) if found else None


def _different_outputs(before: PastRun, after: PastRun) -> tuple[str, ...] | None:
    """Paths of outputs that differ; None where one side has none, or stopped elsewhere on purpose."""
    one, two = before.outputs, after.outputs
    if not one or not two or before.scope != after.scope:
        return None
    return tuple(path for path in sorted(one.keys() | two.keys()) if one.get(path) != two.get(path))


def _causes(before: Record, after: Record, between: Between, values: tuple[ValueChange, ...]) -> tuple[str, ...]:
    sections = {change.path.partition(".")[0] for change in values}
    one, two = before.manifest, after.manifest
    is_code_equal = (one and one.code) == (two and two.code)
    is_dirty = before.run.dirty or after.run.dirty
    found = {
        "code": bool(between.files),
        "uncommitted changes": is_dirty and not is_code_equal,
        "other files": not is_code_equal and not between.files and not is_dirty,
        "lock": bool(between.pins),
        "image": before.run.image_id != after.run.image_id,
        "experiment": "experiment" in sections,
        "prepared inputs": "prepared" in sections,
        "environment": "environment" in sections,
        "recorder": any(change.path == "harness.recorder" for change in values),
        "runner": before.run.runner != after.run.runner,
    }
    return tuple(kind for kind, is_so in found.items() if is_so)


def _figures(manifest: Manifest | None, ledger: Ledger | None) -> Figures:
    if manifest is None:
        return Figures()
    declared = manifest.experiment.get("steps")
    steps = manifest.scope.steps if manifest.scope else declared if type(declared) is int else None
    loss = None
    if ledger is not None and ledger.steps:
        steps = ledger.last_step
        total = sum(float.fromhex(one) for one in ledger.steps[-1].loss)
        loss = total if ledger.steps[-1].loss and math.isfinite(total) else None
    seconds = next((run.seconds for run in manifest.volatile.runs if run.run == f"{_STRAIGHT}/1"), None)
    return Figures(steps=steps, last_loss=loss, seconds=seconds)


def _machine(host: HostFacts) -> str:
    cpu = host.cpu + (f", {host.cores} cores" if host.cores is not None else "")
    return ", ".join(part for part in (cpu, *(gpu.name for gpu in host.gpus[:8])) if part)


def _extent(record: Record) -> tuple[str, str]:
    """What a ledger's head covers beside the numbers: how many steps, and how the recorder writes them."""
    return record.run.scope, record.manifest.harness.recorder if record.manifest else ""


def _date(run_id: str) -> str:
    """`20261123T160543Z-...` as `2026-11-23T16:05:43Z`."""
    t = run_id.partition("-")[0]
    return f"{t[:4]}-{t[4:6]}-{t[6:8]}T{t[9:11]}:{t[11:13]}:{t[13:15]}Z"
