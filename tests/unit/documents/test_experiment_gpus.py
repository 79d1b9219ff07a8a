"""The key `gpus`: a number, nothing else, and the only way to ask for GPUs."""

import pytest

from harness.documents.experiment import parse_experiment
from harness.errors import UsageError

TEXT = """
schema: 1
image: cuda
run: [python, train.py]
resume: [python, train.py, --resume]
steps: 2
outputs: [model.safetensors]
policy: {required: [rerun]}
"""


def test_a_process_gets_no_gpu_unless_it_is_asked_for():
    assert parse_experiment(TEXT, "x.yaml").gpus == 0
    assert parse_experiment(TEXT + "gpus: 2\n", "x.yaml").gpus == 2


def test_the_number_is_part_of_what_is_declared():
    assert parse_experiment(TEXT, "x.yaml").digest != parse_experiment(TEXT + "gpus: 1\n", "x.yaml").digest


@pytest.mark.parametrize(
    ("more", "limits"),
    [("", (12, 7200)), ("gpus: 1\n", (48, 86_400)), ("gpus: 1\nmemory_gib: 20\ntimeout_s: 60\n", (20, 60))],
)
def test_who_asks_for_gpus_gets_more_memory_and_time_unless_it_says_how_much(more, limits):
    experiment = parse_experiment(TEXT + more, "x.yaml")
    assert (experiment.memory_gib, experiment.timeout_s) == limits


@pytest.mark.parametrize("value", ["all", "true", "-1", "17", "1.0", "'1'", "[0]"])
def test_anything_but_a_small_number_is_refused(value):
    with pytest.raises(UsageError, match="gpus"):
        parse_experiment(TEXT + f"gpus: {value}\n", "x.yaml")


@pytest.mark.parametrize("key", ["CUDA_VISIBLE_DEVICES", "NVIDIA_VISIBLE_DEVICES", "NVIDIA_DRIVER_CAPABILITIES"])
def test_the_environment_cannot_ask_for_gpus_past_the_key(key):
    with pytest.raises(UsageError, match=f"{key} is set from the key `gpus`"):
        parse_experiment(TEXT + f'environment: {{{key}: "all"}}\n', "x.yaml")
