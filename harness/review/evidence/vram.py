"""VRAM: what a probe or a run measured against the budget (V4); nothing is guessed, an estimate is called one.

A probe's file is written by the pipeline below {output} as `probe.json`; it is hostile until it is read. Its first
variant is the training as configured, the others are mitigations: gradient checkpointing, a smaller micro-batch with
more accumulation, half precision.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from harness.errors import EvidenceError
from harness.evidence.trajectory import TrajectoryEvidence
from harness.review.finding import Finding, Showing

SHARE = 0.9
MAX_PROBE_BYTES = 1 << 20
PHASES = ("forward", "backward", "optimizer")
_MAX_VARIANTS = 64
_MAX_TEXT = 300
_MAX_BYTES = 1 << 48
_GIB = 1 << 30
_REMEDY = "write it as docs/guide/review.md says: schema 1, and variants with their peaks in bytes"
_HALF = ("bf16", "fp16", "bfloat16", "float16", "half")


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """One way to train: peaks in bytes, those of each phase by its name as (allocated, reserved)."""

    name: str
    settings: Mapping[str, Any]
    phases: Mapping[str, tuple[int, int]]
    peak_allocated_bytes: int
    peak_reserved_bytes: int
    is_estimate: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """What a probe found; the first variant is the training as configured."""

    device: str
    gpu: str
    method: str
    in_force: tuple[str, ...]
    variants: tuple[Variant, ...]

    @property
    def configured(self) -> Variant:
        """The training as it is."""
        return self.variants[0]

    def to_json(self, budget_gib: float) -> dict[str, Any]:
        """For the reports, with the budget that it is held against."""
        return {
            "device": self.device,
            "gpu": self.gpu,
            "method": self.method,
            "in_force": list(self.in_force),
            "budget_bytes": int(budget_gib * _GIB),
            "variants": [
                {
                    "name": one.name,
                    "settings": dict(one.settings),
                    "phases": {
                        phase: {"peak_allocated_bytes": allocated, "peak_reserved_bytes": reserved}
                        for phase, (allocated, reserved) in one.phases.items()
                    },
                    "peak_allocated_bytes": one.peak_allocated_bytes,
                    "peak_reserved_bytes": one.peak_reserved_bytes,
                    "is_estimate": one.is_estimate,
                }
                for one in self.variants
            ],
        }


def parse_probe(data: bytes, name: str) -> Probe:
    """Read a `probe.json`.

    Raises:
        EvidenceError: it is no JSON, or a field is missing, of a wrong type or out of bounds; it names the field.
    """
    try:
        document = json.loads(data.decode("utf-8"))
    except (ValueError, RecursionError):
        raise EvidenceError(f"{name} is no JSON", _REMEDY) from None
    reader = _Reader(name)
    if not isinstance(document, dict) or document.get("schema") != 1:
        raise reader.error("schema", "is not 1")
    device = reader.text(document, "device")
    if device not in ("cuda", "cpu"):
        raise reader.error("device", "is neither cuda nor cpu")
    variants = document.get("variants")
    if not isinstance(variants, list) or not 1 <= len(variants) <= _MAX_VARIANTS:
        raise reader.error("variants", f"is no list of 1 to {_MAX_VARIANTS}")
    in_force = document.get("in_force", [])
    if not isinstance(in_force, list) or not all(isinstance(item, str) for item in in_force[:_MAX_VARIANTS]):
        raise reader.error("in_force", "is no list of strings")
    return Probe(
        device=device,
        gpu=reader.text(document, "gpu", ""),
        method=reader.text(document, "method", ""),
        in_force=tuple(str(item)[:_MAX_TEXT] for item in in_force[:_MAX_VARIANTS]),
        variants=tuple(reader.variant(entry, place, device) for place, entry in enumerate(variants)),
    )


def judge_probe(probe: Probe, budget_gib: float, num_gpus: int) -> tuple[tuple[Finding, ...], tuple[Showing, ...]]:
    """V4 by a probe."""
    configured = probe.configured
    said = f"{configured.name}: {_gib(configured.peak_reserved_bytes)} reserved of {budget_gib:g} GiB"
    if num_gpus == 0:
        text = f"the experiment asks for no GPU; {'an estimate' if configured.is_estimate else 'measured'}, {said}"
        return (), (Showing(item="V4", state="does not apply", text=text, is_measured=True),)
    if configured.is_estimate or probe.device != "cuda":
        text = f"no GPU was at hand: an estimate, not a measurement: {said}"
        return (), (Showing(item="V4", state="unknown", text=text, is_measured=True),)
    where = f" on {probe.gpu}" if probe.gpu else ""
    return _judge_peak(configured.peak_reserved_bytes, budget_gib, probe.in_force, f"measured by the probe{where}")


def judge_recorded(
    straight: TrajectoryEvidence | None, budget_gib: float, num_gpus: int, config: Mapping[str, Any]
) -> tuple[tuple[Finding, ...], tuple[Showing, ...]]:
    """V4 by what the recorder saw reserved at each step of the straight run."""
    if num_gpus == 0:
        text = "the experiment asks for no GPU, so no GPU memory is used"
        return (), (Showing(item="V4", state="does not apply", text=text, is_measured=True),)
    progress = [row for run in (straight.runs if straight else ()) for row in run.progress]
    peaks = [row.vram_bytes for row in progress if row.vram_bytes]
    if not peaks:
        text = "no step of the straight run recorded any GPU memory"
        return (), (Showing(item="V4", state="unknown", text=text, is_measured=True),)
    how = f"the peak of {len(peaks)} steps of the straight run, as torch's allocator reserved it"
    return _judge_peak(max(peaks), budget_gib, mitigations(config), how)


def mitigations(config: Mapping[str, Any]) -> tuple[str, ...]:
    """What a configuration says is done to save memory, sorted; by the usual names of its keys."""
    return tuple(sorted(set(_mitigations(config, 0))))


def _mitigations(value: Any, depth: int) -> list[str]:
    if not isinstance(value, Mapping) or depth > 16:
        return []
    found: list[str] = []
    for key, entry in value.items():
        name = str(key).lower()
        if "gradient_checkpointing" in name and entry is True:
            found.append("gradient checkpointing")
        elif "accumulation" in name and type(entry) is int and entry > 1:
            found.append("gradient accumulation")
        elif (name in _HALF and entry is True) or (
            name in ("precision", "dtype", "torch_dtype", "mixed_precision")
            and any(half in str(entry).lower() for half in _HALF)
        ):
            found.append("half precision")
        found += _mitigations(entry, depth + 1)
    return found


def _judge_peak(
    peak: int, budget_gib: float, in_force: tuple[str, ...], how: str
) -> tuple[tuple[Finding, ...], tuple[Showing, ...]]:
    share = peak / (budget_gib * _GIB)
    said = f"{_gib(peak)} reserved of {budget_gib:g} GiB ({share:.0%}), {how}"
    if share <= SHARE:
        return (), (Showing(item="V4", state="holds", text=said, is_measured=True),)
    if in_force:
        message = f"{said}, although in force: {', '.join(in_force)}"
        return (Finding(rule="REP802", certainty="proven", place=None, message=message),), ()
    return (Finding(rule="REP801", certainty="proven", place=None, message=f"{said}; no mitigation is in force"),), ()


def _gib(size: int) -> str:
    return f"{size / _GIB:.2f} GiB"


@dataclass(frozen=True, slots=True)
class _Reader:
    """Fields of one probe file, with errors that name them."""

    name: str

    def error(self, where: str, what: str) -> EvidenceError:
        return EvidenceError(f"{self.name}: {where} {what}", _REMEDY)

    def text(self, entry: Mapping[str, Any], key: str, default: str | None = None) -> str:
        value = entry.get(key, default)
        if value is None and default is not None:
            return default
        if not isinstance(value, str):
            raise self.error(key, "is no string")
        return value[:_MAX_TEXT]

    def size(self, entry: Mapping[str, Any], key: str, where: str) -> int:
        value = entry.get(key)
        if type(value) is not int or not 0 <= value <= _MAX_BYTES:
            raise self.error(f"{where}.{key}", "is no number of bytes")
        return value

    def variant(self, entry: Any, place: int, device: str) -> Variant:
        where = f"variants[{place}]"
        if not isinstance(entry, dict):
            raise self.error(where, "is no object")
        is_estimate = entry.get("is_estimate", device == "cpu")
        if not isinstance(is_estimate, bool):
            raise self.error(f"{where}.is_estimate", "is neither true nor false")
        phases, settings = entry.get("phases", {}), entry.get("settings", {})
        if not isinstance(phases, dict) or not isinstance(settings, dict):
            raise self.error(where, "has phases or settings that are no object")
        sizes: dict[str, tuple[int, int]] = {}
        for phase in PHASES:
            if (given := phases.get(phase)) is None:
                continue
            if not isinstance(given, dict):
                raise self.error(f"{where}.phases.{phase}", "is no object")
            at = f"{where}.phases.{phase}"
            sizes[phase] = self.size(given, "peak_allocated_bytes", at), self.size(given, "peak_reserved_bytes", at)
        plain = {str(k)[:80]: v for k, v in list(settings.items())[:40] if isinstance(v, str | int | float | bool)}
        return Variant(
            name=self.text(entry, "name"),
            settings={k: v[:_MAX_TEXT] if isinstance(v, str) else v for k, v in plain.items()},
            phases=sizes,
            peak_allocated_bytes=self.size(entry, "peak_allocated_bytes", where),
            peak_reserved_bytes=self.size(entry, "peak_reserved_bytes", where),
            is_estimate=is_estimate or device == "cpu",
        )
