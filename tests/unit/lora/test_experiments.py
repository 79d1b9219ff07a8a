"""The experiments of this pipeline declare what it trains."""

from pathlib import Path

import pytest
import yaml

FOLDER = Path(__file__).parents[3] / "pipelines" / "experiments"
DECLARED = {path.stem: yaml.safe_load(path.read_text()) for path in sorted(FOLDER.glob("*.yaml"))}
LORA = [name for name, experiment in DECLARED.items() if "pipelines/lora/train.py" in experiment["run"]]


@pytest.mark.parametrize("name", LORA)
def test_the_configuration_of_an_experiment_is_valid_and_has_its_name(config_module, name):
    assert config_module.parse_config(DECLARED[name]["config"]).experiment == name


@pytest.mark.parametrize("name", LORA)
def test_the_steps_of_an_experiment_are_those_of_its_epochs(config_module, name):
    config = config_module.parse_config(DECLARED[name]["config"])
    data, training = config.data, config.training
    assert data.batching != "packed", "then count them from the prepared pairs: train.py prints the number first"
    pairs, window = data.pairs_per_epoch or data.train_pairs, training.accumulation
    micro_batches = pairs // training.micro_batch_size + (pairs % training.micro_batch_size > 0)
    steps = micro_batches // window + (micro_batches % window > 0)
    assert DECLARED[name]["steps"] == training.epochs * steps


@pytest.mark.parametrize("name", LORA)
def test_an_experiment_fixes_the_hashing_of_strings(name):
    assert DECLARED[name]["environment"]["PYTHONHASHSEED"].isdigit()


@pytest.mark.parametrize("name", ["tiny", "smollm2"])
def test_an_experiment_can_be_probed(name):
    assert DECLARED[name]["probe"][1] == "pipelines/lora/probe.py"


def test_at_least_one_experiment_loads_with_workers_and_one_by_length():
    settings = [DECLARED[name]["config"]["data"] for name in LORA]
    assert any(data.get("num_workers", 0) > 0 for data in settings)
    assert any(data.get("batching") == "bucketed" for data in settings)
