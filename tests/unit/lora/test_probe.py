import pytest

NAMES = ["as configured", "gradient checkpointing", "half the micro-batch, twice the accumulation", "bf16"]


@pytest.fixture
def padded(numerics):
    """The estimate of a training with micro-batches of 4, in fp32."""
    return numerics["estimates"]["padded"]


@pytest.fixture
def peaks(padded):
    return {variant["name"]: variant["peak_allocated_bytes"] for variant in padded["variants"]}


def test_the_file_says_what_it_is_and_how_it_was_made(padded):
    assert padded["schema"] == 1
    assert [padded["device"], padded["gpu"], padded["in_force"], padded["left_out"]] == ["cpu", None, [], {}]
    assert "estimated" in padded["method"] and "no GPU" in padded["budget_note"]


def test_every_variant_has_its_settings_and_its_peaks_in_each_phase(padded):
    assert [variant["name"] for variant in padded["variants"]] == NAMES
    for variant in padded["variants"]:
        assert variant["is_estimate"] is True
        assert variant["out_of_memory"] is False
        assert variant["phases"].keys() == {"forward", "backward", "optimizer", "validation"}
        for figure in ("peak_allocated_bytes", "peak_reserved_bytes"):
            assert variant[figure] == max(phase[figure] for phase in variant["phases"].values()) > 0
        assert variant["peak_reserved_bytes"] >= variant["peak_allocated_bytes"]
    keys = ("gradient_checkpointing", "micro_batch_size", "accumulation", "precision")
    assert [[variant["settings"][key] for key in keys] for variant in padded["variants"]] == [
        [False, 4, 2, "fp32"],
        [True, 4, 2, "fp32"],
        [False, 2, 4, "fp32"],
        [False, 4, 2, "bf16"],
    ]


def test_checkpointing_keeps_less_for_the_backward_pass_and_peaks_within_it(padded, peaks):
    checkpointed = padded["variants"][1]["phases"]
    assert peaks["gradient checkpointing"] < 0.5 * peaks["as configured"]
    assert checkpointed["backward"]["peak_allocated_bytes"] > checkpointed["forward"]["peak_allocated_bytes"]


def test_half_the_micro_batch_takes_about_half_of_what_is_not_the_model(padded, peaks):
    model = padded["variants"][0]["phases"]["optimizer"]["peak_allocated_bytes"]
    assert (peaks[NAMES[2]] - model) / (peaks["as configured"] - model) == pytest.approx(0.5, abs=0.05)
    assert padded["variants"][2]["tokens"] * 2 == padded["variants"][0]["tokens"]


def test_bf16_takes_less_model_and_activations_both(padded, peaks):
    assert peaks["bf16"] < 0.85 * peaks["as configured"]
    full, half = (padded["variants"][n]["phases"]["optimizer"]["peak_allocated_bytes"] for n in (0, 3))
    assert half < 0.7 * full


def test_an_estimate_agrees_with_what_the_cpus_allocator_gave_out(numerics):
    for estimated, given, num_events in numerics["allocator"]:
        assert num_events > 1000
        assert estimated == pytest.approx(given, rel=0.02)


def test_the_second_step_is_made_for_it_has_the_optimizers_state(numerics):
    one_step, two_steps, moments = numerics["second_step"]
    assert two_steps - one_step == moments > 0


def test_the_longest_micro_batch_is_the_one_with_the_most_tokens_of_all_epochs(numerics):
    assert len(numerics["longest"]) == 3
    for found, most, fewest in numerics["longest"]:
        assert found == most > fewest


def test_mitigations_in_force_are_named_and_not_tried(numerics):
    found = numerics["estimates"]["a fresh process"]
    assert [variant["name"] for variant in found["variants"]] == ["as configured"]
    assert found["in_force"] == NAMES[1:]


def test_what_cannot_be_changed_is_left_out_with_the_reason(numerics):
    found = numerics["estimates"]["nothing to change"]
    assert found["in_force"] == ["gradient checkpointing"]
    assert found["left_out"] == {
        "bf16": "fp16 takes as little",
        NAMES[2]: "a micro-batch has one row, and a window one micro-batch",
    }


def test_without_a_gpu_a_training_meant_for_one_is_estimated(numerics):
    assert numerics["gpu_wanted"] == ["cpu", True]


def test_a_variant_that_runs_out_of_memory_says_so_and_the_others_go_on(numerics):
    found = numerics["failures"]["runs out"]
    assert [(variant["name"], variant["out_of_memory"]) for variant in found["variants"]] == [
        ("as configured", False),
        ("gradient checkpointing", True),
        ("bf16", False),
    ]
    assert found["variants"][1]["peak_allocated_bytes"] > 0


def test_a_variant_whose_process_dies_is_left_out_and_the_others_go_on(numerics):
    for kind, why in (("dies", "ended with 9"), ("corrects", "it does not fit")):
        found = numerics["failures"][kind]
        assert [variant["name"] for variant in found["variants"]] == ["as configured", "bf16"]
        assert why in found["left_out"]["gradient checkpointing"]


def test_a_training_that_cannot_be_tried_as_configured_is_an_error(numerics):
    assert "as configured could not be tried" in numerics["failures"]["as configured"]


def test_the_command_writes_one_file_or_says_what_to_correct(numerics):
    (done, said, files), (refused, problem, left) = numerics["command"]
    assert [done, refused] == [0, 2]
    assert files == left == ["probe.json"]
    assert "as configured: estimated" in said
    assert "run prepare.py first" in problem and "Traceback" not in problem
