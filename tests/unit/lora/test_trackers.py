"""TensorBoard and wandb as their own readers find them: every step once, killed or not, and the training unmoved."""

import json
from pathlib import Path

import pytest

STEPS = [1, 2, 3, 4, 5, 6]
SURVIVED = ["killed", "killed twice", "killed and torn", "killed before any checkpoint"]


def steps(result, tag):
    return [step for step, _ in result["tensorboard"]["scalars"][tag]]


def rows(result, run=-1):
    return [row["_step"] for row in result["wandb"][run]["rows"]]


def codes(result):
    return [code for code, _ in result["exits"]]


def test_metrics_of_training_and_validation_are_logged_at_their_steps(tracked):
    scalars = tracked["straight"]["tensorboard"]["scalars"]
    assert scalars["train/loss"] == [[step, pytest.approx(1 / step)] for step in STEPS]
    assert scalars["train/lr"] == [[step, 0.5] for step in STEPS]
    assert scalars["train/tokens_per_s"] == [[step, 3.0] for step in STEPS]
    assert scalars["validation/loss"] == [[0, 9.0], [3, 1.0], [6, 0.5]]
    assert scalars["epoch/loss"] == [[3, pytest.approx(2 / 3)], [6, pytest.approx(2 / 6)]]


def test_utilisation_and_memory_are_logged_at_every_step_and_epoch(tracked):
    for tag in ("system/cpu_percent", "system/rss_bytes"):
        assert steps(tracked["straight"], tag) == STEPS
    for tag in ("epoch/cpu_percent", "epoch/rss_bytes"):
        assert steps(tracked["straight"], tag) == [3, 6]
    assert "system/gpu_percent" not in tracked["straight"]["tensorboard"]["scalars"], "there is no GPU here"


def test_checkpoint_paths_are_logged(tracked):
    texts = tracked["straight"]["tensorboard"]["texts"]["checkpoint/paths/text_summary"]
    latest = "checkpoints/latest.pt"
    ends = [f"{latest}\ncheckpoints/mini_epoch{epoch}.pt" for epoch in (1, 2)]
    assert texts == [[2, latest], [3, ends[0]], [4, latest], [6, ends[1]]]
    (run,) = tracked["straight"]["wandb"]
    assert [[row["_step"], row["checkpoint/paths"]] for row in run["rows"] if "checkpoint/paths" in row] == texts


def test_wandb_holds_the_same_numbers(tracked):
    result = tracked["straight"]
    (run,) = result["wandb"]
    for tag, points in result["tensorboard"]["scalars"].items():
        logged = [[row["_step"], row[tag]] for row in run["rows"] if tag in row]
        assert logged == [[step, pytest.approx(value, rel=1e-6)] for step, value in points]


def test_the_configuration_is_logged_whole(tracked, config_module, miniature):
    whole = config_module.parse_config({**miniature.CONFIG, "tracking": {"wandb": True}}).as_dict()
    result = tracked["straight"]
    ((step, text),) = result["tensorboard"]["texts"]["config/text_summary"]
    assert step == 0
    assert json.loads(text.removeprefix("```json\n").removesuffix("\n```")) == whole
    assert result["tensorboard"]["hparams"] == [
        "_hparams_/experiment",
        "_hparams_/session_start_info",
        "_hparams_/session_end_info",
    ]
    (run,) = result["wandb"]
    assert {key: value for key, value in run["config"].items() if key != "_wandb"} == whole
    (artifact,) = Path(result["output"]).rglob("files/experiment.json")
    assert json.loads(artifact.read_text()) == whole
    assert run["files"] == [{"files": [{"path": "experiment.json"}]}]


@pytest.mark.parametrize("name", SURVIVED)
def test_after_kills_and_resumes_every_step_is_there_once_and_nothing_else(tracked, name):
    straight, result = tracked["straight"], tracked[name]
    assert codes(result) == [-9] * (len(codes(result)) - 1) + [0], result["exits"]
    volatile = {"system/cpu_percent", "epoch/cpu_percent"}
    for tag, points in straight["tensorboard"]["scalars"].items():
        assert steps(result, tag) == [step for step, _ in points]
        assert tag in volatile or result["tensorboard"]["scalars"][tag] == points
    assert result["tensorboard"]["scalars"].keys() == straight["tensorboard"]["scalars"].keys()
    assert result["tensorboard"]["texts"] == straight["tensorboard"]["texts"]
    assert result["tensorboard"]["hparams"] == straight["tensorboard"]["hparams"]
    newest, expected = result["wandb"][-1], straight["wandb"][0]
    for row in (*newest["rows"], *expected["rows"]):
        for tag in volatile:
            row.pop(tag, None)
    assert newest["rows"] == expected["rows"]
    assert newest["ended"]


def test_a_resumed_wandb_run_has_the_same_id_and_the_earlier_ones_are_what_was_trained_until_the_kill(tracked):
    runs = tracked["killed twice"]["wandb"]
    assert len(runs) == 3
    assert {run["id"] for run in runs} == {tracked["straight"]["wandb"][0]["id"]}
    assert [run["ended"] for run in runs] == [False, False, True]
    # The row of the step that a kill falls into is not complete, so it is not there.
    assert [rows(tracked["killed twice"], number) for number in (0, 1)] == [[0, 1, 2], [0, 1, 2, 3, 4]]


def test_the_run_id_comes_from_experiment_seed_and_configuration(tracked):
    assert tracked["straight"]["wandb"][0]["id"].startswith("mini-5-")


def test_a_start_from_nothing_removes_what_a_process_without_a_checkpoint_left(tracked):
    result = tracked["killed before any checkpoint"]
    assert len(result["wandb"]) == 1
    assert len([path for path in result["files"] if "tfevents" in path]) == 1


def test_neither_the_clock_nor_a_shared_second_nor_a_slow_disk_loses_steps(tracked):
    result = tracked["same second"]
    assert codes(result) == [-9, -9, 0], result["exits"]
    assert steps(result, "train/loss") == STEPS


def test_nothing_lies_outside_the_trackers_folders(tracked):
    result = tracked["killed twice"]
    others = [path for path in result["files"] if not path.startswith(("tracking/tensorboard/", "tracking/wandb/"))]
    assert others == ["metrics.jsonl", "saved.json"]


def test_no_generator_is_drawn_from(tracked):
    states = tracked["generators"]["states"]
    assert tracked["generators"]["exit"] == [0, ""]
    assert len(states) == 8 and len(set(states)) == 1


def test_trackers_change_no_bit_of_a_training(tracked):
    whole = tracked["whole"]
    assert [code for code, _ in whole["exits"]] == [0, 0, 0, -9, 0], whole["exits"]
    assert whole["tracked"]["adapter"] == whole["untracked"]["adapter"] == whole["interrupted"]["adapter"]
    assert whole["tracked"]["metrics"] == whole["untracked"]["metrics"] == whole["interrupted"]["metrics"]
    assert not whole["untracked"]["has tracking"]


@pytest.mark.parametrize("name", ["tracked", "interrupted"])
def test_a_whole_training_is_logged_as_metrics_jsonl_says(tracked, name):
    result = tracked["whole"][name]
    recorded = [record for record in result["metrics"] if record["kind"] == "step"]
    losses = [[record["step"], pytest.approx(record["loss"], rel=1e-6)] for record in recorded]
    assert result["tensorboard"]["scalars"]["train/loss"] == losses
    assert [[row["_step"], row["train/loss"]] for row in result["wandb"][-1]["rows"] if "train/loss" in row] == losses
    validations = [record["step"] for record in result["metrics"] if "validation_loss" in record]
    assert steps(result, "validation/loss") == validations
    for record in result["measured"]:
        assert record["cpu_percent"] >= 0 and record["gpu_percent"] is None


def test_the_service_of_a_killed_process_is_gone_at_once(tracked):
    result = tracked["service"]
    assert result["exit"][0] == -9
    assert result["services"] == 1
    assert result["seconds"] < 5


def test_a_tracker_that_fails_is_told_and_the_training_goes_on(tracked):
    code, said = tracked["failing"]["exit"]
    assert code == 0
    assert "warning: tensorboard stopped logging: FileNotFoundError" in said
    assert "warning: wandb stopped logging: " in said
    assert tracked["failing"]["lines"] == len(["validation"]) + 6 + 2 + 4


def test_a_tracker_that_cannot_start_is_an_error_with_a_remedy(tracked):
    code, said = tracked["unstartable"]
    assert code == 70  # in train.py it is exit code 2
    assert "PipelineError: tensorboard could not be started: " in said
    assert "remedy: set tracking.tensorboard to false" in said


def test_what_is_not_asked_for_is_not_imported(tracked):
    assert tracked["neither"] == {"exit": [0, ""], "imported": [], "files": ["metrics.jsonl", "saved.json"]}


def test_wandb_stays_offline_whatever_the_environment_says(tracked):
    result = tracked["online"]
    assert codes(result) == [0], result["exits"]
    assert "/wandb/offline-run-" in result["wandb"][0]["path"]
    assert rows(result) == [0, *STEPS]
    assert not [path for path in result["files"] if "netrc" in path]
