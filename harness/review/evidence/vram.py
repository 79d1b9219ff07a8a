"""GPU memory: what a probe or a run measured against the budget (V4); nothing is guessed, an estimate is called one.

A probe's file is written by the pipeline below {output} as `probe.json`; it is hostile until it is read. Its first
variant is the training as configured, the others are mitigations: gradient checkpointing, a smaller micro-batch with
more accumulation, half precision.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, JsonValue, ValidationError, model_validator

from harness.documents.document import Model
from harness.errors import EvidenceError
from harness.evidence.trajectory import TrajectoryEvidence
from harness.review.finding import Said, finding, measured, undecided

SHARE = 0.9
MAX_PROBE_BYTES = 1 << 20
_MAX_VARIANTS = 64
_MAX_SETTINGS = 40
_MAX_KEY = 80
_MAX_TEXT = 300
_GIB = 1 << 30
_REMEDY = "write it as docs/guide/review.md says: schema 1, and variants with their peaks in bytes"
_HALF = ("bf16", "fp16", "bfloat16", "float16", "half")


def _cut(value: Any) -> Any:
    return value[:_MAX_TEXT] if isinstance(value, str) else value


def _plain(value: Any) -> Any:
    """Settings without what is nested, and not more of them than anybody reads."""
    if not isinstance(value, dict):
        return value
    first = list(value.items())[:_MAX_SETTINGS]
    return {str(key)[:_MAX_KEY]: _cut(one) for key, one in first if isinstance(one, str | int | float | bool)}


def _known(value: Any) -> Any:
    """The phases that have numbers, and a name that is known."""
    if not isinstance(value, dict):
        return value
    return {key: value[key] for key in ("forward", "backward", "optimizer") if value.get(key) is not None}


_Text = Annotated[str, BeforeValidator(_cut)]
_OptionalText = Annotated[str, BeforeValidator(lambda value: _cut("" if value is None else value))]
_Size = Annotated[int, Field(ge=0, le=1 << 48)]


class Peak(Model):
    """The most memory that was in use, and that torch's allocator had reserved."""

    peak_allocated_bytes: _Size
    peak_reserved_bytes: _Size


class Variant(Peak):
    """One way to train, with the peaks of its phases."""

    name: _Text
    settings: Annotated[dict[str, JsonValue], BeforeValidator(_plain)] = Field(default_factory=dict)
    phases: Annotated[dict[str, Peak], BeforeValidator(_known)] = Field(default_factory=dict)
    is_estimate: bool = False


class Probe(Model):
    """What a probe found; the first variant is the training as configured. Without a GPU all is an estimate."""

    schema_: Literal[1] = Field(alias="schema")
    device: Literal["cuda", "cpu"]
    gpu: _OptionalText = ""
    method: _OptionalText = ""
    in_force: Annotated[tuple[_Text, ...], Field(max_length=_MAX_VARIANTS)] = ()
    variants: Annotated[tuple[Variant, ...], Field(min_length=1, max_length=_MAX_VARIANTS)]

    @model_validator(mode="after")
    def _estimated(self) -> Probe:
        if self.device != "cpu" or all(one.is_estimate for one in self.variants):
            return self
        estimates = tuple(one.model_copy(update={"is_estimate": True}) for one in self.variants)
        return self.model_copy(update={"variants": estimates})

    @property
    def configured(self) -> Variant:
        """The training as it is."""
        return self.variants[0]

    def measured(self, budget_gib: float) -> dict[str, JsonValue]:
        """For the reports, with the budget that it is held against."""
        return {**self.model_dump(mode="json", exclude={"schema_"}), "budget_bytes": int(budget_gib * _GIB)}


def parse_probe(data: bytes, name: str) -> Probe:
    """Read a `probe.json`.

    Raises:
        EvidenceError: it is no JSON, or a field is missing, of a wrong type or out of bounds; it names the field.
    """
    try:
        return Probe.model_validate_json(json.dumps(json.loads(data.decode("utf-8"))))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "the document"
        raise EvidenceError(f"{name}: {where[:200]}: {str(first['msg'])[:200]}", _REMEDY) from error
    except (ValueError, RecursionError):
        raise EvidenceError(f"{name} is no JSON", _REMEDY) from None


def judge_probe(probe: Probe, budget_gib: float, num_gpus: int) -> Said:
    """V4 by a probe."""
    configured = probe.configured
    said = f"{configured.name}: {_gib(configured.peak_reserved_bytes)} reserved of {budget_gib:g} GiB"
    if num_gpus == 0:
        how = "an estimate" if configured.is_estimate else "measured"
        return measured("V4", f"the experiment asks for no GPU; {how}, {said}", "does not apply")
    if configured.is_estimate:
        return undecided("V4", f"no GPU was at hand: an estimate, not a measurement: {said}")
    where = f" on {probe.gpu}" if probe.gpu else ""
    return _judge_peak(configured.peak_reserved_bytes, budget_gib, probe.in_force, f"measured by the probe{where}")


def judge_recorded(
    straight: TrajectoryEvidence | None, budget_gib: float, num_gpus: int, config: Mapping[str, object]
) -> Said:
    """V4 by what the recorder saw reserved at each step of the straight run."""
    if num_gpus == 0:
        return measured("V4", "the experiment asks for no GPU, so no GPU memory is used", "does not apply")
    progress = [row for run in (straight.runs if straight else ()) for row in run.progress]
    peaks = [row.vram_bytes for row in progress if row.vram_bytes]
    if not peaks:
        return undecided("V4", "no step of the straight run recorded any GPU memory")
    how = f"the peak of {len(peaks)} steps of the straight run, as torch's allocator reserved it"
    return _judge_peak(max(peaks), budget_gib, mitigations(config), how)


def mitigations(config: Mapping[str, object]) -> tuple[str, ...]:
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


def _judge_peak(peak: int, budget_gib: float, in_force: tuple[str, ...], how: str) -> Said:
    share = peak / (budget_gib * _GIB)
    said = f"{_gib(peak)} reserved of {budget_gib:g} GiB ({share:.0%}), {how}"
    if share <= SHARE:
        return measured("V4", said)
    if in_force:
        return finding("REP802", None, f"{said}, although in force: {', '.join(in_force)}")
    return finding("REP801", None, f"{said}; no mitigation is in force")


def _gib(size: int) -> str:
    return f"{size / _GIB:.2f} GiB"
