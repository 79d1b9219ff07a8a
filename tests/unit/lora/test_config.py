import copy
import json

import pytest


@pytest.fixture
def refused(config_module):
    def refuse(document):
        with pytest.raises(config_module.PipelineError) as caught:
            config_module.parse_config(document)
        return str(caught.value)

    return refuse


def test_a_valid_configuration_keeps_its_values_and_gets_the_defaults(config_module, miniature):
    config = config_module.parse_config(miniature.CONFIG)
    assert config.training.learning_rate == 0.02
    assert config.lora.target_modules == ("q_proj", "v_proj", "down_proj", "lm_head")
    assert config.determinism.deterministic_algorithms is True


def test_a_configuration_read_again_from_its_own_dict_is_the_same(config_module, miniature):
    config = config_module.parse_config(miniature.CONFIG)
    assert config_module.parse_config(json.loads(json.dumps(config.as_dict()))) == config


def test_an_unknown_key_names_the_nearest_valid_one(refused, miniature):
    message = refused(miniature.config_with(training__learning_rat=0.1))
    assert "training.learning_rat" in message
    assert "did you mean training.learning_rate?" in message


def test_a_missing_key_is_named(refused, miniature):
    document = copy.deepcopy(miniature.CONFIG)
    del document["training"]["epochs"]
    assert "missing configuration key training.epochs" in refused(document)


def test_a_number_that_yaml_reads_as_text_is_explained(refused, miniature):
    assert "1.0e-3" in refused(miniature.config_with(training__learning_rate="1e-3"))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("seed", True),
        ("seed", 1.5),
        ("seed", -1),
        ("data__train_pairs", 0),
        ("lora__r", 0),
        ("lora__dropout", 1.0),
        ("lora__target_modules", []),
        ("lora__target_modules", "q_proj"),
        ("lora__target_modules", [1]),
        ("training__accumulation", 0),
        ("training__schedule", "triangle"),
        ("training__precision", "int3"),
        ("training__save_every", 0),
        ("training__learning_rate", float("nan")),
        ("training", 3),
        ("experiment", "a/b"),
        ("model__source", "gguf"),
        ("data__pairs_per_epoch", 0),
        ("determinism__threads", 0),
    ],
)
def test_an_impossible_value_is_refused_by_the_name_of_its_key(refused, miniature, name, value):
    assert name.replace("__", ".") in refused(miniature.config_with(**{name: value}))


def test_a_file_that_is_no_json_is_refused(config_module, tmp_path):
    path = tmp_path / "config.json"
    path.write_text("{")
    with pytest.raises(config_module.PipelineError, match="no valid JSON"):
        config_module.load_config(path)


def test_a_file_that_is_not_there_is_refused(config_module, tmp_path):
    with pytest.raises(config_module.PipelineError, match="cannot read"):
        config_module.load_config(tmp_path / "nowhere.json")
