import json
import re
from pathlib import Path

import pytest

IDENTICAL_TO_STRAIGHT = [
    "again",
    "killed in windows",
    "killed twice in one epoch",
    "killed before any checkpoint",
    "killed in the first write",
    "torn",
    "after the end",
    "latest damaged",
    "killed after the epoch's latest",
    "killed after the epoch's file",
    "killed before the epoch's best",
]


def exits(result):
    return [run["exit"] for run in result["runs"]]


def steps(result):
    return [record for record in result["metrics"] if record["kind"] == "step"]


@pytest.mark.parametrize("name", IDENTICAL_TO_STRAIGHT)
def test_every_trajectory_leaves_the_same_adapter_checkpoints_and_metrics(scenario, name):
    straight, other = scenario("straight"), scenario(name)
    killed = name not in ("again", "after the end")
    assert (-9 in exits(other)) == killed
    assert exits(other)[-1] == 0, other["runs"][-1]["err"]
    assert other["content"] == straight["content"]


def test_a_straight_training_writes_all_that_it_owes(scenario):
    files = set(scenario("straight")["content"])
    losses = [r["validation_loss"] for r in scenario("straight")["metrics"] if r["kind"] == "epoch"]
    epochs = {f"checkpoints/mini_epoch{n}_loss{loss:.4f}.pt" for n, loss in enumerate(losses, start=1)}
    assert len(epochs) == 2
    assert files >= epochs | {
        "checkpoints/latest.pt",
        "checkpoints/best.pt",
        "adapter/adapter_model.safetensors",
        "adapter/adapter_config.json",
        "metrics.jsonl",
        "config.json",
        "environment.json",
    }
    assert not [name for name in files if name.endswith(".tmp")]


def test_another_seed_gives_another_adapter(scenario):
    adapter = "adapter/adapter_model.safetensors"
    assert scenario("other seed")["content"][adapter] != scenario("straight")["content"][adapter]


def test_a_short_window_at_an_epochs_end_makes_a_step(scenario):
    recorded = steps(scenario("straight"))
    assert [record["step"] for record in recorded] == [1, 2, 3, 4, 5, 6]
    assert [record["epoch"] for record in recorded] == [1, 1, 1, 2, 2, 2]


def test_accumulation_changes_memory_and_not_the_result(scenario):
    one_by_one, at_once = steps(scenario("one by one")), steps(scenario("nine at once"))
    assert [r["tokens"] for r in one_by_one] == [r["tokens"] for r in at_once]
    assert [r["loss"] for r in one_by_one] == pytest.approx([r["loss"] for r in at_once], rel=1e-5)
    assert at_once[-1]["loss"] < at_once[0]["loss"]


def test_the_training_learns(scenario):
    losses = [r["validation_loss"] for r in scenario("straight")["metrics"] if "validation_loss" in r]
    assert len(losses) == 3
    assert losses[0] > losses[1] > losses[2]


@pytest.mark.parametrize("num_workers", [1, 2])
@pytest.mark.parametrize("batching", ["shuffled", "bucketed", "packed"])
def test_loader_workers_change_nothing_not_even_when_killed_in_mid_epoch(scenario, batching, num_workers):
    straight, killed = scenario(f"{batching} 0 workers"), scenario(f"{batching} {num_workers} workers")
    assert exits(straight) == [0], straight["runs"][0]["err"]
    assert exits(killed) == [-9, 0], killed["runs"][-1]["err"]
    steps_of_first = [record for record in steps(straight) if record["epoch"] == 1]
    resumed_after = int(re.search(r"resuming from latest.pt: step (\d+)", killed["runs"][1]["out"])[1])
    assert len(steps_of_first) < resumed_after < len(steps(straight)), "in the middle of the second epoch"
    for name in ("adapter/adapter_model.safetensors", "metrics.jsonl"):
        assert killed["content"][name] == straight["content"][name]


@pytest.mark.parametrize("batching", ["shuffled", "bucketed", "packed"])
def test_the_steps_are_counted_before_the_first_one(scenario, batching):
    result = scenario(f"{batching} 0 workers")
    counts = [sum(record["epoch"] == epoch for record in steps(result)) for epoch in (1, 2)]
    assert f"{sum(counts)} steps in 2 epochs: {counts[0]} + {counts[1]}" in result["runs"][0]["out"]


def test_every_batching_trains_on_all_target_tokens_of_the_epoch(scenario):
    tokens = []
    for batching in ("shuffled", "bucketed", "packed"):
        epochs = [record for record in scenario(f"{batching} 0 workers")["metrics"] if record["kind"] == "epoch"]
        tokens.append([record["tokens"] for record in epochs])
    assert tokens[0] == tokens[1] == tokens[2]


def test_accumulation_of_packed_rows_changes_memory_and_not_the_result(scenario):
    one_by_one, at_once = steps(scenario("packed one by one")), steps(scenario("packed at once"))
    assert [r["tokens"] for r in one_by_one] == [r["tokens"] for r in at_once]
    assert [r["loss"] for r in one_by_one] == pytest.approx([r["loss"] for r in at_once], rel=1e-5)
    assert at_once[-1]["loss"] < at_once[0]["loss"]


def test_activations_computed_again_give_the_same_bits_dropout_included(scenario):
    for again, kept in (("recomputed", "straight"), ("recomputed bf16", "bf16")):
        assert exits(scenario(again)) == [0], scenario(again)["runs"][0]["err"]
        assert steps(scenario(again)) == steps(scenario(kept))
        adapter = "adapter/adapter_model.safetensors"
        assert scenario(again)["content"][adapter] == scenario(kept)["content"][adapter]


def test_with_activations_computed_again_a_resume_gives_the_same_bits(scenario):
    assert exits(scenario("recomputed killed")) == [-9, 0]
    assert scenario("recomputed killed")["content"] == scenario("recomputed")["content"]


def test_a_training_that_no_longer_gets_better_ends_early(scenario):
    result = scenario("stopped early")
    assert [record["epoch"] for record in steps(result)] == [1] * 3 + [2] * 3 + [3] * 3
    assert [r["num_stale"] for r in result["metrics"] if r["kind"] == "epoch"] == [0, 1, 2]
    assert "18 steps in 6 epochs" in result["runs"][0]["out"]
    assert "ended early: no better in 2 validations" in result["runs"][0]["out"]
    assert "adapter/adapter_model.safetensors" in result["content"]


def test_the_schedule_does_not_know_of_an_early_end(scenario):
    assert steps(scenario("stopped early"))[-1]["lr"] > 0.3 * 0.02


def test_a_resumed_training_ends_early_after_the_same_step(scenario):
    assert exits(scenario("stopped early, killed")) == [-9, 0]
    assert "resuming from latest.pt: step 6" in scenario("stopped early, killed")["runs"][1]["out"]
    assert scenario("stopped early, killed")["content"] == scenario("stopped early")["content"]


def test_a_training_that_ended_early_stays_ended_when_it_is_resumed(scenario):
    assert exits(scenario("stopped early, twice")) == [0, 0]
    assert scenario("stopped early, twice")["content"] == scenario("stopped early")["content"]


@pytest.mark.parametrize(
    ("kept", "file", "resumed_after"),
    [
        ("the first epoch", "mini_epoch1_", 3),
        ("the second epoch", "mini_epoch2_", 6),
        ("the third epoch", "mini_epoch3_", 9),
        ("the best", "best.pt", 9),
        ("the latest", "latest.pt", 8),
        ("the latest of an epoch's end", "latest.pt", 6),
    ],
)
def test_every_kind_of_checkpoint_by_itself_continues_the_training_bit_for_bit(scenario, kept, file, resumed_after):
    straight, resumed = scenario("four epochs"), scenario(f"only {kept} is left")
    assert exits(resumed)[-1] == 0, resumed["runs"][-1]["err"]
    assert f"resuming from {file}" in resumed["runs"][1]["out"]
    assert f": step {resumed_after}\n" in resumed["runs"][1]["out"]
    assert len(steps(straight)) - resumed_after >= 3, "at least one whole epoch is trained on"
    assert resumed["metrics"] == straight["metrics"]
    for name in ("adapter/adapter_model.safetensors", "checkpoints/latest.pt"):
        assert resumed["content"][name] == straight["content"][name]


def test_how_much_is_validated_changes_nothing_in_the_training(scenario):
    adapter = "adapter/adapter_model.safetensors"
    assert scenario("validated on less")["content"][adapter] == scenario("straight")["content"][adapter]
    assert steps(scenario("validated on less")) == steps(scenario("straight"))


def test_a_validation_that_draws_random_numbers_changes_nothing_in_the_training(scenario):
    drawing, straight = scenario("validated with draws"), scenario("straight")
    assert exits(drawing) == [0], drawing["runs"][0]["err"]
    assert drawing["content"] == straight["content"]


def test_bf16_repeats_bit_for_bit(scenario):
    assert scenario("bf16 again")["content"] == scenario("bf16")["content"] != {}
    assert steps(scenario("bf16")) != steps(scenario("straight"))


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_mixed_precision_resumes_to_the_same_bits(scenario, precision):
    straight, killed = scenario(precision), scenario(f"{precision} killed")
    assert exits(straight) == [0], straight["runs"][0]["err"]
    assert exits(killed) == [-9, 0]
    assert killed["content"] == straight["content"]
    assert straight["content"]["checkpoints/latest.pt"] != scenario("straight")["content"]["checkpoints/latest.pt"]


def test_learning_rates_warm_up_and_follow_half_a_cosine(scenario):
    rates = [record["lr"] / 0.02 for record in steps(scenario("straight"))]
    assert rates == pytest.approx([0.0, 1.0, 0.9045084, 0.6545084, 0.3454915, 0.0954915])


def test_a_resume_says_where_it_goes_on_and_what_it_rejected(scenario):
    assert "resuming from latest.pt: step 2" in scenario("killed twice in one epoch")["runs"][1]["out"]
    assert "rejected latest.pt.tmp: an unfinished write" in scenario("killed in the first write")["runs"][1]["out"]
    damaged = scenario("latest damaged")["runs"][1]["out"]
    assert "rejected latest.pt: its bytes do not have the recorded SHA-256" in damaged
    assert "resuming from mini_epoch1" in damaged


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("all damaged", ["no sound checkpoint", "SHA-256", "start over"]),
        ("another configuration", ["training.epochs = 2", "says 3"]),
        ("metrics lost", ["metrics.jsonl holds 0 lines"]),
        ("not empty", ["holds a training already", "--resume"]),
        ("no target", ["no linear module", "query", "exist: down_proj, gate_proj, k_proj, lm_head, o_proj, q_proj"]),
        ("zero steps", ["zero steps"]),
        ("unknown key", ["training.learning_rat", "did you mean training.learning_rate?"]),
        ("more pairs than there are", ["data.pairs_per_epoch is 21", "only 20"]),
        ("nothing prepared", ["no data", "prepare.py"]),
        ("other data", ["other prepared pairs"]),
        ("a row too short", ["data.pack_length is 119", "data.max_length = 120"]),
        ("diverging", ["loss", "step 3 is", "lower training.learning_rate"]),
    ],
)
def test_what_can_be_put_right_is_an_error_with_a_remedy_and_code_2(scenario, name, words):
    last = scenario(name)["runs"][-1]
    assert last["exit"] == 2
    assert "Traceback" not in last["err"]
    assert "remedy: " in last["err"]
    for word in words:
        assert word in last["err"]


def test_steps_and_epochs_are_logged_with_all_their_figures(scenario):
    path = Path(scenario("straight")["folder"]) / "output" / "metrics.jsonl"
    records = [json.loads(line) for line in path.read_text().splitlines()]
    step = next(record for record in records if record["kind"] == "step")
    assert step.keys() >= {
        "step",
        "epoch",
        "loss",
        "lr",
        "grad_norm",
        "tokens",
        "skipped",
        "seconds",
        "tokens_per_s",
        "rss_bytes",
        "vram_bytes",
    }
    epoch = next(record for record in records if record["kind"] == "epoch")
    assert epoch.keys() >= {"loss", "validation_loss", "best_loss", "best_step", "rss_bytes", "vram_bytes", "seconds"}
    saved = [path for record in records if record["kind"] == "checkpoint" for path in record["paths"]]
    assert saved[0] == "checkpoints/latest.pt"
    assert "checkpoints/best.pt" in saved


def test_the_environment_is_written_down(scenario):
    path = Path(scenario("straight")["folder"]) / "output" / "environment.json"
    described = json.loads(path.read_text())
    assert described.keys() >= {"cuda", "cudnn", "driver", "gpu", "commit", "packages", "python", "threads"}
    assert described["packages"]["torch"]


def test_the_whole_configuration_is_written_down(scenario, config_module, miniature):
    path = Path(scenario("straight")["folder"]) / "output" / "config.json"
    assert json.loads(path.read_text()) == config_module.parse_config(miniature.CONFIG).as_dict()
