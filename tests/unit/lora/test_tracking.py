"""What is measured, and under which names it is shown. The files themselves: test_trackers.py."""

import json
import os
from pathlib import Path

import pytest
import yaml

HERE = Path(__file__).parent
PIPELINE = HERE.parents[2] / "pipelines" / "lora"
EXPERIMENTS = [
    path for path in sorted(PIPELINE.parent.glob("experiments/*.yaml")) if "pipelines/lora/train.py" in path.read_text()
]


@pytest.fixture(scope="module")
def seen(call, miniature):
    done = call(HERE / "scripts" / "looks_at_tracking.py", PIPELINE, input=json.dumps(miniature.CONFIG))
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_numbers_of_steps_epochs_and_validations_have_names_of_their_own(seen):
    assert seen["names"]["step"] == {
        "train/loss": 0.5,
        "train/skipped": 1.0,
        "train/tokens": 3.0,
        "system/rss_bytes": 7.0,
        "system/cpu_percent": 99.0,
        "system/vram_allocated_bytes": 8.0,
    }
    assert seen["names"]["epoch"] == {"epoch/loss": 1.0, "validation/loss": 2.0, "epoch/gpu_percent": 3.0}
    assert seen["names"]["validation"] == {"validation/loss": 4.0}


def test_texts_and_lists_of_texts_are_shown_and_nothing_else_is_taken_for_one(seen):
    assert seen["names"]["texts"] == {"checkpoint/paths": "a\nb", "checkpoint/why": "c"}


def test_the_load_of_the_cpu_is_that_of_the_process_since_the_last_reading(seen):
    load = seen["busy"]
    assert load["idle"]["cpu_percent"] < 20 < load["worked"]["cpu_percent"]
    assert load["mean"]["cpu_percent"] == pytest.approx(
        (load["idle"]["cpu_percent"] + load["worked"]["cpu_percent"]) / 2, abs=0.1
    )
    assert load["nothing since"] == {"cpu_percent": None, "gpu_percent": None}


@pytest.mark.skipif(os.path.exists("/dev/nvidiactl"), reason="there is a GPU, and this is about a machine without one")
def test_the_load_of_a_gpu_is_null_where_there_is_none(seen):
    assert seen["without_a_gpu"]["gpu_percent"] is None
    assert seen["without_a_gpu"]["cpu_percent"] >= 0


def test_memory_is_measured_and_that_of_a_gpu_null_on_a_cpu(seen):
    assert 50 << 20 < seen["memory"]["rss_bytes"] < 8 << 30
    assert seen["memory"]["vram_bytes"] is None and seen["memory"]["vram_allocated_bytes"] is None


def test_a_run_id_follows_from_experiment_seed_and_configuration(seen):
    same, again, seed, epochs, name = seen["ids"]
    assert same == again and same.startswith("mini-5-")
    assert len({same, seed, epochs, name}) == 4
    assert name.startswith("a-b-cxxx") and len(name) < 128


def test_a_configuration_is_flattened_for_tables(seen):
    assert seen["flat"] == {"a.b": "1, 2", "a.d": True, "e": "f"}


@pytest.mark.parametrize("path", EXPERIMENTS, ids=lambda path: path.stem)
def test_every_experiment_of_this_pipeline_tracks_and_declares_what_is_volatile(seen, config_module, path):
    experiment = yaml.safe_load(path.read_text())
    config = config_module.parse_config(experiment["config"])
    assert config.tracking.tensorboard or config.tracking.wandb
    assert set(experiment["policy"]["volatile"]) == set(seen["volatile"])
