"""VRAM: a probe's file read without trust, and held against the budget."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest

from harness.errors import EvidenceError
from harness.review.evidence.vram import judge_probe, mitigations, parse_probe

GIB = 1 << 30


def variant(name: str, reserved: float, **fields: Any) -> dict[str, Any]:
    sizes = {"peak_allocated_bytes": int(reserved * GIB / 2), "peak_reserved_bytes": int(reserved * GIB)}
    phases = {phase: dict(sizes) for phase in ("forward", "backward", "optimizer")}
    return {"name": name, "settings": {"precision": "fp32"}, "phases": phases, **sizes, "is_estimate": False, **fields}


def document(reserved: float = 20, **fields: Any) -> dict[str, Any]:
    variants = [variant("as configured", reserved), variant("bf16", reserved / 2)]
    return {
        "schema": 1,
        "device": "cuda",
        "gpu": "NVIDIA Example",
        "method": "two steps",
        "in_force": [],
        "variants": variants,
        **fields,
    }


def parsed(value: Any):
    return parse_probe(json.dumps(value).encode(), "probe.json")


def test_a_probe_is_read_and_told_again() -> None:
    probe = parsed(document())
    told = probe.measured(24)
    assert told["budget_bytes"] == 24 * GIB and told["gpu"] == "NVIDIA Example"
    assert told["variants"] == document()["variants"]
    assert probe.configured.phases["backward"].peak_reserved_bytes == 20 * GIB


@pytest.mark.parametrize(
    ("reserved", "in_force", "finding", "state"),
    [
        (21.6, [], None, "holds"),
        (21.61, [], "REP801", None),
        (23.9, ["gradient checkpointing"], "REP802", None),
    ],
)
def test_ninety_percent_is_the_limit(
    reserved: float, in_force: list[str], finding: str | None, state: str | None
) -> None:
    said = judge_probe(parsed(document(reserved, in_force=in_force)), 24, 1)
    assert getattr(said, "rule", None) == finding
    assert getattr(said, "state", None) == state
    assert "of 24 GiB" in (said.message if finding else said.text)


def test_an_estimate_decides_nothing_and_is_called_one() -> None:
    for changed in (document(1, device="cpu"), document(1, variants=[variant("as configured", 99, is_estimate=True)])):
        showing = judge_probe(parsed(changed), 24, 1)
        assert showing.state == "unknown" and "an estimate, not a measurement" in showing.text


def test_for_an_experiment_without_gpu_the_estimate_is_told_and_nothing_applies() -> None:
    showing = judge_probe(parsed(document(99, device="cpu")), 24, 0)
    assert showing.state == "does not apply" and "99.00 GiB reserved" in showing.text


def broken() -> list[Any]:
    found: list[Any] = [None, [], "x", {"schema": 2}, document(device="tpu"), document(variants=[]), document(gpu=3)]
    found += [document(variants=[variant("a", 1)] * 65), document(variants={}), document(in_force=[3])]
    for key, value in (
        ("name", 3),
        ("peak_reserved_bytes", -1),
        ("peak_reserved_bytes", True),
        ("peak_reserved_bytes", 2**60),
        ("peak_allocated_bytes", "9"),
        ("phases", []),
        ("phases", {"forward": 3}),
        ("settings", 3),
        ("phases", {"forward": {"peak_allocated_bytes": 1}}),
        ("is_estimate", "no"),
        ("peak_reserved_bytes", 1.5),
    ):
        one = copy.deepcopy(document())
        one["variants"][0][key] = value
        found.append(one)
    return [*found, document(variants=[3])]


@pytest.mark.parametrize("value", broken(), ids=lambda value: str(value)[:40])
def test_a_malformed_probe_is_an_error_that_names_the_field(value: Any) -> None:
    with pytest.raises(EvidenceError, match=r"probe\.json"):
        parsed(value)


@pytest.mark.parametrize("data", [b"", b"\xff", b"{", b"[" * 100_000, b'{"schema": NaN}'])
def test_what_is_no_json_is_an_error(data: bytes) -> None:
    with pytest.raises(EvidenceError, match=r"probe\.json"):
        parse_probe(data, "probe.json")


def test_texts_are_cut_and_settings_stay_plain() -> None:
    settings = {"a": {"b": 1}, "note": "x" * 9999, **{f"k{i}": i for i in range(99)}}
    probe = parsed(document(variants=[variant("n" * 9999, 1, settings=settings)]))
    assert len(probe.configured.name) == 300
    assert "a" not in probe.configured.settings and len(probe.configured.settings) < 41
    assert len(str(probe.configured.settings["note"])) == 300


def test_mitigations_are_read_off_a_configuration() -> None:
    config = {"training": {"gradient_checkpointing": True, "accumulation": 4, "precision": "bf16"}, "fp16": False}
    assert mitigations(config) == ("gradient accumulation", "gradient checkpointing", "half precision")
    assert mitigations({"training": {"gradient_checkpointing": False, "accumulation": 1, "precision": "fp32"}}) == ()
