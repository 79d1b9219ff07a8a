"""Negative controls: planted differences that must be detected; a judge that misses a planted bit certifies nothing.

Every control goes through the same functions as the verdict: `read_content` and `compare_files` for files,
`parse_ledger` and `compare_steps` for ledgers, `compare_run` for runs.
"""

from __future__ import annotations

import dataclasses
import struct
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from harness.documents.digest import Data, sha256_of
from harness.documents.verdict import ControlName, ControlResult
from harness.errors import EvidenceError
from harness.evidence.content import open_file, read_content
from harness.evidence.ledger import Ledger, parse_ledger, rechain
from harness.evidence.reader import Part, Patched, crc32_of
from harness.evidence.tensor_file import RawTensor
from harness.evidence.trajectory import FileEvidence, RunEvidence, TrajectoryEvidence
from harness.evidence.zip_file import is_zip, read_zips
from harness.judge.diff import WHOLE, RunComparison, compare_files, compare_run, compare_steps
from harness.judge.locate import Difference, ledger_of, locate, natural_key, state_tensors

CONTROLS: tuple[ControlName, ...] = ("tensor_bit", "ledger_digit", "weights_moved", "flip_param", "flip_optim")


def check_tensor_bit(path: str, data: Data) -> ControlResult:
    """Compare a file of tensors with a copy of which one bit is changed: that tensor must differ.

    Args:
        path: of a declared output of the straight trajectory.
        data: the whole file.
    """
    try:
        raw = open_file(path, data)
        tensors = raw.tensors if raw is not None else ()
        tensor = next((t for t in tensors if t.size_bytes and t.begin is not None), None)
        if tensor is None:
            return _check("tensor_bit", False, f"{path} holds no tensor with an element, so no bit could be changed")
        original, changed = _file(path, data), _file(path, _with_one_bit_changed(path, data, tensor))
        (compared,) = compare_files([original], [changed])
    except EvidenceError as error:
        return _check("tensor_bit", False, f"{path} could not be compared with a copy of itself: {error.problem}")
    name = tensor.name or WHOLE
    found = compared.is_equal is False and name in compared.different
    what = "was found" if found else f"was not found (found instead: {', '.join(compared.different) or 'nothing'})"
    return _check("tensor_bit", found, f"one bit changed in {name} of a copy of {path} {what}")


def check_ledger_digit(straight: TrajectoryEvidence) -> ControlResult:
    """Change one hex digit in a copy of the ledger: its chain must break, and with a new chain the step must differ."""
    run = straight.runs[0] if straight.runs else None
    if run is None or run.ledger is None or not run.ledger.steps:
        return _check("ledger_digit", False, "the straight trajectory has no ledger with a step to change")
    step = run.ledger.steps[len(run.ledger.steps) // 2]
    stream = "param" if "param" in step.streams else next(iter(step.streams), None)
    if stream is None:
        return _check("ledger_digit", False, f"step {step.step} of the ledger has no stream to change")
    changed = _with_one_digit_changed(run.ledger_bytes, step.step, step.streams[stream].hex)
    is_refused = False
    try:
        parse_ledger(changed, "the changed copy")
    except EvidenceError:
        is_refused = True
    found: tuple[Difference, ...] = ()
    try:
        forged = parse_ledger(rechain(changed), "the copy with a new chain")
        found, _, _ = compare_steps(run.ledger.steps, forged.steps)
    except EvidenceError:
        pass
    is_found = [(d.step, d.stream) for d in found] == [(step.step, stream)]
    detail = (
        f"one digit changed at step {step.step} in {stream}: the chain "
        f"{'breaks' if is_refused else 'DOES NOT break'}; with the chain computed anew the comparison "
        f"{'finds it there' if is_found else 'DOES NOT find it there'}"
    )
    return _check("ledger_digit", is_refused and is_found, detail)


def check_weights_moved(straight: TrajectoryEvidence) -> ControlResult:
    """The parameters after the last step must not be those of the start: a training that does nothing repeats."""
    run = straight.runs[0] if straight.runs else None
    if run is None or run.ledger is None or not run.ledger.steps:
        return _check("weights_moved", False, "the straight trajectory has no ledger with a step")
    before, after = run.ledger.start.streams.get("param"), run.ledger.steps[-1].streams.get("param")
    if before is None or after is None:
        return _check("weights_moved", False, "the recorder saw no parameters")
    count, last = run.ledger.start.counts.get("param", 0), run.ledger.last_step
    if count == 0:
        return _check("weights_moved", False, "the process has no trainable parameters")
    counted = unchanged_weights(straight)
    if counted is not None:
        still, total = counted
        moved = len(still) < total
        text = f"{total - len(still)} of {total} trainable tensors changed by step {last}"
        return _check("weights_moved", moved, text if moved else f"{text}: training changed nothing")
    if before == after:
        return _check("weights_moved", False, f"0 of {count} trainable tensors changed by step {last}")
    return _check("weights_moved", True, f"weights changed by step {last}; which of the {count} was not recorded")


def unchanged_weights(straight: TrajectoryEvidence) -> tuple[tuple[str, ...], int] | None:
    """The trainable tensors that are the same after the last step as at the start, and how many tensors there are.

    None where the digests of single tensors were not recorded. A module that is first called later has another name at
    the start: its tensors are found by their content.
    """
    run = straight.runs[0] if straight.runs else None
    if run is None or run.ledger is None:
        return None
    try:
        before = state_tensors(run, "start", run.ledger.start.step, "param")
        after = state_tensors(run, "step", run.ledger.last_step, "param")
    except EvidenceError:
        return None
    if not before or not after:
        return None
    renamed = Counter(entry for name, entry in before.items() if name not in after)
    still = []
    for name, entry in sorted(after.items()):
        if name not in before and renamed[entry]:
            renamed[entry] -= 1
        elif before.get(name) != entry:
            continue
        still.append(name)
    return tuple(sorted(still, key=natural_key)), len(after)


def judge_flip_param(straight: TrajectoryEvidence, control: TrajectoryEvidence, step: int) -> ControlResult:
    """A run in which one bit of a live parameter was flipped after a step: found there, in `param`, and not before.

    With several optimizers the first of a step flips it; what the others compute in that step may show it first. And an
    optimizer's state may share the parameter's memory.

    Args:
        straight: the straight trajectory.
        control: one run with the faults `flip_param` at `step` and possibly a `stop` later.
        step: where the bit was flipped.
    """
    name: ControlName = "flip_param"
    if (nothing := _nothing_to_flip(control)) is not None:
        return _not_made(name, nothing)
    try:
        compared = _compare_control(straight, control, 1, "flip_param")
    except EvidenceError as error:
        return _check(name, False, error.problem)
    if not compared.differences:
        return _check(name, False, f"a bit of a parameter flipped after step {step} was NOT found")
    first = compared.differences[0]
    is_within = _flip_event(control.runs[0], "flip_param").get("within_step") is True
    is_param = any((d.phase, d.step, d.stream) == ("step", step, "param") for d in compared.differences)
    is_first = (first.phase, first.step) == ("step", step) and (first.stream in ("optim", "param") or is_within)
    is_found = is_param and is_first
    where = f"step {first.step} in {first.stream}" + (" before the first step" if first.phase == "start" else "")
    tensor = locate(first, straight.runs[0], control.runs[0]).tensor
    detail = f"flipped after step {step}, first found at {where}{f' ({tensor})' if tensor else ''}"
    return _check(name, is_found, detail)


def judge_flip_optim(straight: TrajectoryEvidence, control: TrajectoryEvidence) -> ControlResult:
    """A resume in which one bit of the restored optimizer state was changed: found at the restore and in its step.

    Args:
        straight: the straight trajectory.
        control: killed runs and a resume with the fault `flip_optim`.
    """
    name: ControlName = "flip_optim"
    if (nothing := _nothing_to_flip(control)) is not None:
        return _not_made(name, nothing)
    try:
        compared = _compare_control(straight, control, len(control.runs), "flip_optim")
    except EvidenceError as error:
        return _check(name, False, error.problem)
    run = control.runs[-1]
    before = [d.stream for d in compared.differences if d.phase == "restore"]
    step = ledger_of(run).start.step + 1
    after = [d.stream for d in compared.differences if d.phase == "step" and d.step == step]
    changed = str(_flip_event(run, "flip_optim").get("tensor"))
    different = compared.restored.different if compared.restored is not None else ()
    is_found = any(name in (changed, f"optim.{changed}", f"param.{changed}") for name in different)
    is_stepped = "optim" in after or "param" in after
    detail = (
        f"changed in the state restored before step {step} ({changed}): "
        f"{'found there' if is_found else f'NOT found there (different: {_names(different)})'}, "
        f"{f'and in that step in {_names(after)}' if is_stepped else 'and NOT in that step'}"
    )
    is_restored = is_found and bool({"optim", "param"} & set(before))
    if is_restored and not is_stepped and ledger_of(run).steps:
        return _not_made(name, f"{detail}: nothing in that step reads {changed}")
    return _check(name, is_restored and is_stepped, detail)


def _nothing_to_flip(control: TrajectoryEvidence) -> str | None:
    """Why no bit could be changed in a training; None if one was, or nobody knows."""
    events = [event for run in control.runs for event in run.events if event.kind == "not_flipped"]
    return f"{control.name}: {events[0].fields.get('reason')}" if events else None


def _not_made(name: ControlName, detail: str) -> ControlResult:
    return ControlResult(name=name, detected=False, detail=detail, made=False)


def _flip_event(run: RunEvidence, kind: str) -> Mapping[str, Any]:
    """What the recorder says of the bit that it changed last."""
    for event in reversed(run.events):
        fault = event.fields.get("fault")
        if event.kind == "fault" and isinstance(fault, dict) and fault.get("kind") == kind:
            return event.fields
    return {}


def _names(names: Iterable[str]) -> str:
    return ", ".join(list(names)[:4]) or "nothing"


def _check(name: ControlName, detected: bool, detail: str) -> ControlResult:
    return ControlResult(name=name, detected=detected, detail=detail)


def _file(path: str, data: Data) -> FileEvidence:
    content = read_content(path, data)
    return FileEvidence(path=path, role="output", size_bytes=len(data), sha256=sha256_of(data), content=content)


def _with_one_bit_changed(path: str, data: Data, tensor: RawTensor) -> Data:
    """The file with one bit in the middle of the tensor changed; a zip's CRC is corrected."""
    assert tensor.begin is not None
    place = tensor.begin + (tensor.size_bytes // 2 if tensor.is_contiguous else 0)
    changed = Patched(data, place, bytes([data[place : place + 1][0] ^ 1]))
    members = [member for archive in read_zips(data, path) for member in archive.values()] if is_zip(data) else []
    for member in members:
        if member.has_crc and member.begin <= place < member.begin + member.size:
            crc = crc32_of(Part(changed, member.begin, member.begin + member.size))
            return Patched(changed, member.crc_at, struct.pack("<L", crc))
    return changed


def _with_one_digit_changed(data: bytes, step: int, digits: str) -> bytes:
    """A copy in which the last hex digit of a root is another, in the record of one step only."""
    lines = data.splitlines(keepends=True)
    for number, line in enumerate(lines):
        if f'"step":{step},'.encode() in line and b'"kind":"step"' in line:
            other = digits[:-1] + ("0" if digits[-1] != "0" else "1")
            lines[number] = line.replace(digits.encode(), other.encode(), 1)
    return b"".join(lines)


def _compare_control(
    straight: TrajectoryEvidence, control: TrajectoryEvidence, number: int, kind: str
) -> RunComparison:
    """Compare the control's run with the straight one, if both are whole and the fault took place.

    Raises:
        EvidenceError: they are not; the control then shows nothing.
    """
    if not straight.runs or straight.runs[0].ledger is None:
        raise EvidenceError("the straight trajectory has no ledger to compare with")
    if len(control.runs) < number:
        raise EvidenceError(f"{control.name}: run {number} of the control did not take place")
    run = control.runs[number - 1]
    _sound_ledger(run)
    faults = [event.fields.get("fault") for event in run.events if event.kind == "fault"]
    if not any(isinstance(fault, dict) and fault.get("kind") == kind for fault in faults):
        raise EvidenceError(f"{run.name}: no bit was flipped: no event of it was recorded")
    return compare_run(straight, dataclasses.replace(control, files=()), number)


def _sound_ledger(run: RunEvidence) -> Ledger:
    record = run.record
    if record.error or record.oom_killed or (record.exit_code != 0 and not record.is_planned_kill):
        raise EvidenceError(f"{run.name}: the control did not run as planned (exit code {record.exit_code})")
    if run.problem or run.ledger is None or not run.ledger.steps:
        raise EvidenceError(run.problem or f"{run.name}: the control left no ledger with a step")
    return run.ledger
