import pytest


def test_peft_alone_loads_the_adapter_that_was_trained(adapter):
    loaded, saved = adapter["names"]
    assert loaded == saved
    assert adapter["same weights"]


def test_the_loaded_adapter_has_the_loss_that_was_validated(adapter, scenario):
    recorded = [r["validation_loss"] for r in scenario("straight")["metrics"] if "validation_loss" in r]
    assert adapter["base"] == pytest.approx(recorded[0], rel=1e-5)
    assert adapter["adapted"] == pytest.approx(recorded[-1], rel=1e-5)


def test_the_adapted_model_generates_the_same_text_twice(adapter):
    first, second = adapter["answers"]
    assert first == second != ""
