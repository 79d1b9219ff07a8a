"""Tiers: which hardware counts as the record's."""

import pytest

from harness.judge.tier import tier_of

AVX2 = ["avx2", "fma"]
HOST = {"cpu": "EPYC 7B13", "machine": "x86_64", "machine_id": "0123456789abcdef", "isa": AVX2}
CAP = {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2"}


def tier(today, declared=CAP, archived=HOST, num_gpus=0):
    one, two = ({"host": host} if "host" not in host else host for host in (archived, today))
    return tier_of(one, two, declared, num_gpus).name


@pytest.mark.parametrize(
    ("today", "expected"),
    [
        (HOST, "same machine"),
        ({**HOST, "machine_id": "fedcba9876543210"}, "same model"),
        ({**HOST, "machine_id": None}, "same model"),
        ({**HOST, "cpu": "Xeon"}, "same architecture"),
        ({**HOST, "cpu": "Xeon", "machine_id": None, "isa": [*AVX2, "avx512f"]}, "same architecture"),
        ({**HOST, "isa": [*AVX2, "avx512f"]}, "same architecture"),
        ({**HOST, "cpu": "Atom", "isa": ["sse4_1"]}, "other"),
        ({**HOST, "cpu": "Graviton", "machine": "aarch64", "isa": ["asimd"]}, "other"),
        ({}, "other"),
        ({"cpu": 3, "isa": "avx2", "machine": []}, "other"),
    ],
)
def test_the_tier_of_a_processor(today, expected):
    assert tier(today) == expected


def test_without_a_cap_libraries_take_all_there_is_so_the_sets_must_be_equal():
    xeon = {**HOST, "cpu": "Xeon"}
    assert tier(xeon, declared={}) == "same architecture"
    assert tier({**xeon, "isa": [*AVX2, "avx512f"]}, declared={}) == "other"


def test_a_cap_that_this_machine_does_not_reach_is_none():
    assert tier({**HOST, "cpu": "Xeon"}, declared={"ATEN_CPU_CAPABILITY": "avx512"}) == "other"


def test_a_record_from_before_instruction_sets_were_recorded_is_judged_by_its_model():
    old = {"cpu": "EPYC 7B13", "machine": "x86_64"}
    assert tier(HOST, archived=old) == "same model"
    assert tier({**HOST, "cpu": "Xeon"}, archived=old) == "same architecture"


def gpu_host(name, capability="8.9", machine_id="0123456789abcdef", uuid="GPU-1"):
    row = {"name": name, "uuid": uuid, "compute_capability": capability}
    other = {"name": "idle", "uuid": "GPU-9", "compute_capability": "7.0"}
    host = {**HOST, "machine_id": machine_id, "gpus": [row, other]}
    return {"host": host, "gpu": {"uuids": [uuid]}}


@pytest.mark.parametrize(
    ("today", "expected"),
    [
        (gpu_host("RTX 4090"), "same machine"),
        (gpu_host("RTX 4090", machine_id="0" * 16, uuid="GPU-2"), "same model"),
        (gpu_host("L40S", machine_id="0" * 16), "same architecture"),
        (gpu_host("A100", capability="8.0"), "other"),
        (gpu_host("A100", capability=""), "other"),
    ],
)
def test_with_gpus_their_model_counts_and_those_only_that_were_given(today, expected):
    assert tier(today, archived=gpu_host("RTX 4090"), num_gpus=1) == expected


def test_the_detail_says_what_it_was_told_by():
    found = tier_of({"host": HOST}, {"host": {**HOST, "cpu": "Xeon", "machine_id": None}}, CAP, 0)
    assert found.detail[0] == "processor: EPYC 7B13, today Xeon" and not found.is_decisive
    assert any("both reach the declared cap" in line for line in found.detail)
    assert any("one side names no machine id" in line for line in found.detail)
