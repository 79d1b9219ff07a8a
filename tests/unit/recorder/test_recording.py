"""A straight recording of a training loop, which knows nothing of it."""

import hashlib
import json

import pytest

from harness.evidence.ledger import parse_events, parse_ledger
from tests.unit.recorder.comparison import assert_chain_holds, content, first_divergence
from tests.unit.recorder.conftest import CONFIG, LOOP


def test_the_training_has_the_same_final_bits_with_and_without_the_recorder(straight, new_trajectory):
    untouched = new_trajectory()
    assert untouched.train(LOOP, CONFIG, recorded=False).returncode == 0
    assert untouched.final() == straight[0].final()


def test_without_a_run_folder_nothing_is_written(new_trajectory):
    trajectory = new_trajectory()
    run = trajectory.train(LOOP, {**CONFIG, "steps": 1}, recorded=False)
    assert run.returncode == 0 and list(run.folder.iterdir()) == []


def test_two_straight_runs_have_the_same_ledger(straight, new_trajectory):
    again = new_trajectory().train(LOOP, CONFIG)
    assert again.ledger() == straight[1].ledger()


def test_every_step_is_recorded_with_every_stream(straight):
    _, run = straight
    ledger = run.ledger()
    assert [record["kind"] for record in ledger] == ["start", *["step"] * 12, "end"]
    assert (ledger[0]["step"], ledger[0]["step_source"], ledger[-1]["step"]) == (0, "fresh", 12)
    for number, record in run.steps().items():
        assert record["micro_batches"] == 2 and not record["skipped"]
        assert len(record["loss"]) == 2 and len(record["lr"]) == 1
        assert sorted(record["streams"]) == sorted("data rng lr loss grad optim param buffer".split()), number


def test_what_does_not_change_keeps_its_root_and_what_changes_does_not(straight):
    steps = straight[1].steps()
    for stream in ("data", "rng", "lr", "loss", "grad", "optim", "param"):
        assert len({record["streams"][stream] for record in steps.values()}) == 12, stream
    assert len({record["streams"]["buffer"] for record in steps.values()}) == 1


def test_both_chains_hold_and_every_line_is_canonical(straight):
    _, run = straight
    for name in ("ledger.jsonl", "events.jsonl"):
        assert_chain_holds(run.lines(name))
        for line in (run.folder / name).read_text().splitlines():
            assert line == json.dumps(json.loads(line), sort_keys=True, separators=(",", ":"))


def test_the_host_reads_what_the_recorder_writes(straight):
    _, run = straight
    ledger = parse_ledger((run.folder / "ledger.jsonl").read_bytes(), "ledger.jsonl")
    assert (len(ledger.steps), ledger.start.step, ledger.end.step) == (12, 0, 12)
    kinds = [event.kind for event in parse_events((run.folder / "events.jsonl").read_bytes(), "events.jsonl")]
    assert kinds[0] == "process" and kinds[-1] == "exit" and kinds.count("save_begin") == 4


def test_the_sidecar_hashes_to_the_roots(straight):
    _, run = straight
    records = {(record["step"], record["kind"]): record for record in run.ledger()}
    seen = 0
    for line in run.lines("tensors.jsonl"):
        rows = sorted(
            f"{name}|{dtype}|{'x'.join(map(str, shape))}|{digest}\n"
            for name, (dtype, shape, digest) in line["tensors"].items()
        )
        root = "sha256:" + hashlib.sha256("".join(rows).encode()).hexdigest()
        assert records[line["step"], line["at"]]["streams"][line["stream"]] == root
        seen += 1
    assert seen == 6 * 2 + 12 * 8


def test_parameters_have_the_names_that_the_outermost_module_gives_them(straight):
    assert sorted(straight[1].tensors(12, "end", "param")) == ["0.bias", "0.weight", "3.bias", "3.weight"]
    assert "0.weight.exp_avg" in straight[1].tensors(1, "step", "optim")


def test_data_is_what_the_model_and_the_loss_were_given(straight):
    tensors = straight[1].tensors(1, "step", "data")
    shapes = {name: (dtype, shape) for name, (dtype, shape, _) in tensors.items()}
    assert shapes == {
        "1.0": ("float32", [8, 16]),
        "1.+2.1": ("int64", [8]),
        "2.0": ("float32", [8, 16]),
        "2.+2.1": ("int64", [8]),
    }


def test_the_end_holds_the_last_step(straight):
    _, run = straight
    end, last = run.ledger()[-1], run.steps()[12]
    assert {s: end["streams"][s] for s in ("param", "optim")} == {s: last["streams"][s] for s in ("param", "optim")}


def test_events_name_seeds_optimizers_and_writes_below_the_output(straight):
    _, run = straight
    assert {event["function"] for event in run.events("seed")} >= {"random.seed", "numpy.random.seed"}
    assert [event["class"] for event in run.events("optimizer")] == ["AdamW"]
    saves = [event["path"] for event in run.events("save_end")]
    assert saves == [
        "checkpoints/step0004.tmp",
        "checkpoints/step0008.tmp",
        "checkpoints/step0012.tmp",
        "model.safetensors",
    ]
    assert run.events("process")[0]["versions"].keys() >= {"python", "torch", "numpy"}


def test_progress_has_a_line_for_each_step(straight):
    lines = straight[1].lines("progress.jsonl")
    assert [line["step"] for line in lines] == list(range(1, 13))
    for line in lines:
        assert line["recorder_seconds"] > 0 and line["seconds"] > 0 and line["rss_bytes"] > 1 << 20
        assert line["vram_bytes"] is None or line["vram_bytes"] >= 0


def test_another_seed_gives_another_ledger_from_the_first_step_on(straight, new_trajectory):
    other = new_trajectory().train(LOOP, {**CONFIG, "seed": 4, "steps": 2})
    assert first_divergence(straight[1].steps(), other.steps()) == (1, "data")


def test_a_run_that_raises_has_no_end_and_says_what_was_raised(new_trajectory):
    run = new_trajectory().train(LOOP, {**CONFIG, "steps": 3, "save_every": 0})
    assert run.returncode == 1
    assert [event["type"] for event in run.events("exception")] == ["ZeroDivisionError"]
    assert [content(record)["kind"] for record in run.ledger()] == ["start", "step"]


@pytest.mark.parametrize("faults", ['{"kind":"stop"}', '[{"kind":"explode","step":1}]', "[1]", "not json"])
def test_malformed_faults_leave_the_training_alone_and_no_ledger(straight, new_trajectory, faults):
    trajectory = new_trajectory()
    run = trajectory.train(LOOP, {**CONFIG, "steps": 1}, HARNESS_FAULTS=faults)
    assert run.returncode == 0 and "recorder: not recording" in run.stderr
    assert list(run.folder.iterdir()) == []
