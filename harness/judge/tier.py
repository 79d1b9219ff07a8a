"""Tiers: how much the hardware of a replay is that of its record, and what equality or a difference there says.

Equal bits on other hardware are the stronger claim. Different bits on other hardware say nothing of the code: libraries
choose their kernels by the processor, and one that has another vector width sums in another order.
Sources: the environment variables ATEN_CPU_CAPABILITY (PyTorch), ONEDNN_MAX_CPU_ISA (oneDNN), MKL_ENABLE_INSTRUCTIONS
(oneMKL), each documented as a cap on the instruction sets that are used; flag names are those of /proc/cpuinfo.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from harness.documents.platform import ISA_FLAGS

TierName = Literal["same machine", "same model", "same architecture", "other"]

"""The flags of a processor by which numerical libraries choose their kernels."""

_AVX2 = ("avx2", "fma")
_AVX512 = (*_AVX2, "avx512f", "avx512bw", "avx512dq", "avx512vl")
_NEEDED = {
    "default": (),
    "sse41": ("sse4_1",),
    "sse4_2": ("sse4_2",),
    "avx": ("avx",),
    "avx2": _AVX2,
    "avx512": _AVX512,
    "avx512_core": _AVX512,
}
_CAPS = ("ATEN_CPU_CAPABILITY", "ONEDNN_MAX_CPU_ISA", "MKL_ENABLE_INSTRUCTIONS")


@dataclass(frozen=True, slots=True, kw_only=True)
class Tier:
    """Which tier, and in sentences what it was told by."""

    name: TierName
    detail: tuple[str, ...] = ()

    @property
    def is_decisive(self) -> bool:
        """Whether a difference counts against the code: the hardware is of the same kind."""
        return self.name in ("same machine", "same model")


def tier_of(
    archived: Mapping[str, object], today: Mapping[str, object], declared: Mapping[str, str], num_gpus: int
) -> Tier:
    """The tier of a replay.

    Args:
        archived: `environment` of the record's manifest; it may be anything that JSON can hold.
        today: the same of this machine.
        declared: the experiment's environment, with its caps on instruction sets.
        num_gpus: how many GPUs the experiment asks for; with any, their model counts, else the processor's.
    """
    one, two = _table(archived.get("host")), _table(today.get("host"))
    detail = [_said("processor", one.get("cpu"), two.get("cpu"))]
    same_cpu = _is_known_and_same(one.get("cpu"), two.get("cpu")) and _is_same_isa(one, two)
    if num_gpus:
        left, right = _gpus(archived, "name"), _gpus(today, "name")
        detail.append(_said("GPUs", ", ".join(left), ", ".join(right)))
        is_model = bool(left) and left == right
        levels = _gpus(archived, "compute_capability"), _gpus(today, "compute_capability")
        detail.append(_said("compute capability", ", ".join(levels[0]), ", ".join(levels[1])))
        is_architecture = _is_same(one, two, "machine") and bool(levels[0]) and levels[0] == levels[1]
    else:
        is_model = same_cpu
        is_architecture, why = _is_same_architecture(one, two, declared)
        detail.append(why)
    if is_model and same_cpu and _is_same(one, two, "machine_id"):
        return Tier(name="same machine", detail=tuple(detail))
    if one.get("machine_id") is None or two.get("machine_id") is None:
        detail.append("whether it is the same machine is not known: one side names no machine id")
    if is_model:
        return Tier(name="same model", detail=tuple(detail))
    return Tier(name="same architecture" if is_architecture else "other", detail=tuple(detail))


def _is_same_architecture(
    one: dict[str, object], two: dict[str, object], declared: Mapping[str, str]
) -> tuple[bool, str]:
    """Whether both are of one kind and have what the declared caps allow; without caps libraries take all there is."""
    if not _is_same(one, two, "machine"):
        return False, _said("machine", one.get("machine"), two.get("machine"))
    caps = {key: declared[key] for key in _CAPS if key in declared}
    named = (one.get("isa"), two.get("isa"))
    sets = [frozenset(map(str, value)) if isinstance(value, list) else None for value in named]
    if not caps:
        same = sets[0] is not None and sets[0] == sets[1]
        return same, f"no cap on instruction sets is declared, and these are {'the same' if same else 'not the same'}"
    needed = {flag for value in caps.values() for flag in _NEEDED.get(value.lower(), ISA_FLAGS)}
    # A record from before flags were recorded is taken to have had what it declares; today's are always known.
    lacking = sorted(needed - sets[1]) if sets[1] is not None else sorted(needed)
    lacked = sorted(needed - sets[0]) if sets[0] is not None else []
    shown = ", ".join(f"{key}={value}" for key, value in caps.items())
    if lacking or lacked:
        return False, f"the declared cap ({shown}) is not reached: {', '.join(lacking or lacked)} is missing"
    return True, f"both reach the declared cap on instruction sets ({shown})"


def _is_same_isa(one: Mapping[str, object], two: Mapping[str, object]) -> bool:
    """Whether the flags are the same, as far as both sides name them: one name is given to several processors."""
    left, right = one.get("isa"), two.get("isa")
    return left is None or right is None or left == right


def _is_same(one: Mapping[str, object], two: Mapping[str, object], key: str) -> bool:
    return _is_known_and_same(one.get(key), two.get(key))


def _is_known_and_same(one: object, two: object) -> bool:
    return isinstance(one, str) and one not in ("", "unknown") and one == two


def _gpus(environment: Mapping[str, object], key: str) -> list[str]:
    """A fact of the GPUs that the processes were given, sorted."""
    given = _table(environment.get("gpu")).get("uuids")
    rows = _table(environment.get("host")).get("gpus")
    rows = [row for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []
    if isinstance(given, list):
        rows = [row for row in rows if row.get("uuid") in given]
    return sorted(str(row[key]) for row in rows if row.get(key))


def _table(value: object) -> dict[str, object]:
    return value if isinstance(value, dict) else {}


def _said(what: str, one: object, two: object) -> str:
    shown = f"{what}: {one or 'not named'}"
    return shown if one == two else f"{shown}, today {two or 'not named'}"
