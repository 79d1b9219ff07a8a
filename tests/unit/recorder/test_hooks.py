"""What real training scripts do to a recorder: every scenario trains to the same bits with it and without it."""

import functools
import hashlib
import json
import os
import struct
import subprocess
import sys

import pytest

from tests.unit.recorder.comparison import content
from tests.unit.recorder.conftest import INJECT, SCRIPTS

SCRIPT = SCRIPTS / "scenarios.py"


@pytest.fixture(scope="module")
def untouched(new_trajectory) -> dict[str, str]:
    """What every scenario prints when nothing records it."""
    run = new_trajectory().run(SCRIPT, "all", recorded=False)
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout)


@pytest.fixture(scope="module")
def scenario(new_trajectory, untouched):
    """Record a scenario (once), hold what it prints to what it prints unrecorded, return the recording."""

    @functools.cache
    def run(name):
        recorded = new_trajectory().run(SCRIPT, name)
        assert recorded.returncode == 0, recorded.stderr
        assert recorded.stdout == untouched[name]
        if name != "broken_recorder":
            assert recorded.events("recorder_error") == []
        return recorded

    return run


def test_parameters_without_a_shape_are_recorded_from_when_they_have_one(scenario):
    run = scenario("lazy_layers")
    assert set(run.tensors(0, "start", "param")) == {"0.bias", "0.weight", "2.bias", "2.weight"}
    assert len(run.steps()) == 2 and run.events("not_seen") == []


@pytest.mark.parametrize("name", ["recomputation", "closure", "adversaries", "scaler_that_skips", "lazy_layers"])
def test_no_bit_moves_while_operators_are_noted(name, untouched, new_trajectory):
    run = new_trajectory().run(SCRIPT, name, faults=({"kind": "operators", "step": 1},))
    assert (run.returncode, run.stdout) == (0, untouched[name]), run.stderr
    assert run.events("recorder_error") == [] and run.lines("operators.jsonl")


@pytest.mark.parametrize("name", ["compiled", "compiled_function"])
def test_what_is_compiled_runs_uncompiled_while_operators_are_noted(name, new_trajectory):
    run = new_trajectory().run(SCRIPT, name, faults=({"kind": "operators", "step": 1},))
    assert run.returncode == 0, run.stderr
    assert run.events("recorder_error") == [] and run.lines("operators.jsonl")


def test_accumulation_keyword_batches_workers_evaluation_and_frozen_weights(scenario):
    run = scenario("accumulation_with_workers")
    assert sorted(path.name for path in run.folder.iterdir()) == [
        "events.jsonl",
        "ledger.jsonl",
        "progress.jsonl",
        "tensors.jsonl",
    ]
    assert [record["kind"] for record in run.ledger()] == ["start", "step", "eval", "step", "eval", "end"]
    assert [record["micro_batches"] for record in run.steps().values()] == [4, 4]
    counts = run.start()["counts"]
    assert (counts["param"], counts["frozen"], counts["buffer"]) == (2, 1, 1)
    data = run.tensors(1, "step", "data")
    assert data["1.input_ids"][:2] == ["int64", [3, 4]] and data["4.text.2"][:2] == ["json", []]
    evals = [content(record) for record in run.ledger() if record["kind"] == "eval"]
    assert [record["step"] for record in evals] == [1, 2] and all(len(record["loss"]) == 2 for record in evals)
    assert evals[0]["streams"] == evals[1]["streams"] and evals[0]["loss"] != evals[1]["loss"]
    assert run.steps()[1]["streams"]["buffer"] != run.steps()[2]["streams"]["buffer"]
    assert run.ledger()[-1]["streams"]["frozen"] == run.start()["streams"]["frozen"]


@pytest.mark.parametrize("name", ["with_norm_clipping", "with_value_clipping"])
def test_gradients_are_those_before_clipping(scenario, name):
    free, clipped = scenario("without_clipping"), scenario(name)
    one, other = free.steps()[1], clipped.steps()[1]
    assert one["streams"]["grad"] == other["streams"]["grad"]
    assert one["streams"]["param"] != other["streams"]["param"]
    assert sorted(clipped.tensors(1, "step", "grad")) == ["0.bias", "0.weight", "2.bias", "2.weight"]


def test_recomputation_in_backward_and_inner_modules_are_not_counted(scenario):
    run = scenario("recomputation")
    assert [(r["kind"], r.get("micro_batches")) for r in run.ledger()[1:-1]] == [("step", 1), ("step", 1)]
    assert list(run.steps()[1]["streams"]) and "data" not in run.steps()[1]["streams"]


def test_a_closure_runs_inside_the_step(scenario):
    run = scenario("closure")
    assert sorted(run.steps()) == [1, 2]
    first = run.steps()[1]
    assert first["micro_batches"] == len(first["loss"]) > 1
    assert {"grad", "rng", "data", "optim"} <= first["streams"].keys()
    assert "0.weight.d" in run.tensors(1, "step", "optim")


def test_a_step_that_the_scaler_skipped_is_recorded_with_unscaled_gradients(scenario):
    run = scenario("scaler_that_skips")
    assert [record["skipped"] for record in run.steps().values()] == [False, True, False, False]
    assert run.steps()[1]["streams"]["param"] == run.steps()[2]["streams"]["param"]
    assert run.steps()[2]["streams"]["param"] != run.steps()[3]["streams"]["param"]
    assert {"grad", "loss", "lr"} <= run.steps()[2]["streams"].keys()
    assert run.steps()[2]["loss"] == ["inf"]


def test_gradients_under_a_scaler_are_unscaled(scenario, torch_python):
    run = scenario("scaler_that_skips")
    code = """
import sys, torch; sys.path.insert(0, sys.argv[1])
from scenarios import small
torch.manual_seed(11)
model = small(4, 1)
model(torch.randn(3, 4)).pow(2).mean().backward()
print(" ".join(value.hex() for value in model[0].bias.grad.double().tolist()))
"""
    done = subprocess.run([torch_python, "-c", code, SCRIPTS], capture_output=True, text=True, check=True)
    value = struct.pack("<f", float.fromhex(done.stdout.split()[-1]))
    from tests.unit.recorder.digest_reference import reference_digest

    assert run.tensors(1, "step", "grad")["0.bias"] == ["float32", [1], reference_digest("float32", [1], value)]


def test_two_optimizers_that_take_turns_make_one_step_a_round(scenario):
    run = scenario("adversaries")
    assert [(record["step"], record["micro_batches"]) for record in run.steps().values()] == [(1, 2), (2, 2), (3, 2)]
    names = run.tensors(3, "step", "param")
    assert len(names) == 4 and {len(record["lr"]) for record in run.steps().values()} == {2}
    assert len(run.tensors(2, "step", "grad")) == 4
    assert [event["groups"] for event in run.events("optimizer")] == [1, 1]


def test_an_optimizer_that_never_steps_does_not_hold_up_the_steps_of_another(scenario):
    run = scenario("one_optimizer_is_idle")
    assert [(record["step"], record["micro_batches"]) for record in run.steps().values()] == [(1, 2), (2, 2), (3, 2)]
    roots = [[record["streams"][stream] for record in run.steps().values()] for stream in ("data", "rng", "param")]
    assert all(len(set(of_stream)) == 3 for of_stream in roots)
    assert {"1.0", "2.0"} == set(run.tensors(1, "step", "data")) == set(run.tensors(2, "step", "data"))


def test_a_step_that_calls_its_parents_counts_once(scenario):
    assert sorted(scenario("calls_its_parent").steps()) == [1, 2]


def test_a_training_without_modules_is_seen_through_its_optimizer(scenario):
    run = scenario("without_a_module")
    assert sorted(run.steps()) == [1, 2] and "data" not in run.steps()[1]["streams"]
    assert list(run.tensors(2, "step", "param")) == ["optimizer0.0.0"]


def test_weights_that_a_load_puts_in_place_are_followed(scenario):
    run = scenario("assigned_weights")
    assert [event["ok"] for event in run.events("load_state")] == [True]
    assert run.tensors(1, "step", "param").keys() < run.tensors(2, "step", "param").keys()


def test_sparse_gradients_half_precision_and_large_buffers_are_seen_and_unknown_objects_named(scenario):
    run = scenario("half_precision_and_sparse")
    grads = run.tensors(1, "step", "grad")
    assert grads["table.weight.indices"][0] == "int64" and grads["scale"][0] == "bfloat16"
    large = [run.tensors(step, "step", "buffer")["large"] for step in (1, 2, 3)]
    assert large[0] != large[1] == large[2]
    assert run.events("not_seen")[0]["names"] == ["1.object (object)"]


@pytest.mark.parametrize("name", ["compiled", "compiled_in_place", "compiled_in_place_in_vain"])
def test_compiling_is_left_alone(scenario, name):
    run = scenario(name)
    assert sorted(run.steps()) == [1, 2, 3]
    assert {"data", "grad", "param"} <= run.steps()[1]["streams"].keys()


def test_a_module_inside_a_compiled_function_is_not_seen_but_its_training_is(scenario):
    run = scenario("compiled_function")
    assert [record["kind"] for record in run.ledger()] == ["start", "step", "step", "step", "end"]
    assert "data" not in run.steps()[1]["streams"]


def test_a_compiled_update_is_left_alone(scenario):
    assert all(record["kind"] != "step" for record in scenario("compiled_update").ledger())


def test_a_second_training_process_has_files_of_its_own(scenario):
    run = scenario("another_process_trains_too")
    assert len(run.lines("ledger-2.jsonl")) == len(run.ledger()) == 4
    assert content(run.lines("ledger-2.jsonl")[1]) == content(run.ledger()[1])
    assert run.lines("events-2.jsonl")[0]["kind"] == "process"


def test_an_error_of_the_recorder_ends_the_recording_and_not_the_training(scenario):
    run = scenario("broken_recorder")
    assert [event["type"] for event in run.events("recorder_error")] == ["AttributeError"]
    assert [record["kind"] for record in run.ledger()] == ["start", "step", "step"]


IMPORTS = {
    "optimizer first": "from torch.optim import AdamW as Optimizer\nimport torch",
    "functions by name": "from torch.nn.utils import clip_grad_norm_\nfrom safetensors.torch import save_file\n"
    "import torch\nfrom torch.optim import AdamW as Optimizer",
    "safetensors first": "import safetensors\nfrom safetensors import safe_open\nimport safetensors.torch\n"
    "from safetensors.torch import save_file\nimport torch\n"
    "from torch.optim import AdamW as Optimizer",
    "numpy first": "import numpy, random\nnumpy.random.seed(1)\nrandom.seed(1)\nimport torch\n"
    "from torch.optim import AdamW as Optimizer",
    "transformers first": "import transformers\nimport torch\nfrom torch.optim import AdamW as Optimizer",
}
TRAIN = """
torch.manual_seed(0)
model = torch.nn.Linear(3, 1)
optimizer = Optimizer(model.parameters())
for _ in range(2):
    model(torch.ones(1, 3)).sum().backward()
    optimizer.step()
if "save_file" in globals():
    save_file(model.state_dict(), {path!r})
"""


@pytest.mark.parametrize("order", IMPORTS)
def test_the_order_of_imports_does_not_matter(order, new_trajectory):
    trajectory = new_trajectory()
    if order == "transformers first":
        probe = [trajectory.python, "-c", "import transformers"]
        if subprocess.run(probe, capture_output=True, check=False).returncode:
            pytest.skip("no transformers")
    script = trajectory.folder / "script.py"
    script.write_text(IMPORTS[order] + TRAIN.format(path=str(trajectory.output / "model.safetensors")))
    run = trajectory.run_anew(script)
    assert run.returncode == 0, run.stderr
    assert [record["kind"] for record in run.ledger()] == ["start", "step", "step", "end"]
    saves = [event["path"] for event in run.events("save_end")]
    assert saves == (["model.safetensors"] if "save_file" in IMPORTS[order] else [])


def test_a_process_without_torch_leaves_what_it_was_and_imports_nothing(new_trajectory):
    trajectory = new_trajectory()
    script = trajectory.folder / "script.py"
    script.write_text("import sys, json\nprint('torch' in sys.modules, 'numpy' in sys.modules)")
    run = trajectory.run_anew(script)
    assert run.stdout == "False False\n"
    assert [path.name for path in run.folder.iterdir()] == ["events-other.jsonl"]
    process, end = run.lines("events-other.jsonl")
    assert (process["kind"], list(process["versions"]), end["kind"]) == ("process", ["python"], "exit")


def test_a_sitecustomize_that_is_hidden_runs_all_the_same(new_trajectory):
    trajectory = new_trajectory()
    hidden = trajectory.folder / "hidden"
    hidden.mkdir()
    (hidden / "sitecustomize.py").write_text("import builtins\nbuiltins.hidden_one_ran = __name__")
    script = trajectory.folder / "script.py"
    script.write_text("import sitecustomize\nprint(hidden_one_ran, sitecustomize.__file__)")
    for recorded in (True, False):
        run = trajectory.run_anew(script, recorded=recorded, PYTHONPATH=f"{INJECT}:{hidden}")
        assert run.stdout == f"sitecustomize {hidden}/sitecustomize.py\n", run.stderr


def test_a_recorder_that_cannot_be_loaded_lets_the_process_start(tmp_path):
    inject = tmp_path / "recorder" / "inject"
    inject.mkdir(parents=True)
    (inject / "sitecustomize.py").write_text((INJECT / "sitecustomize.py").read_text())
    for run_dir in ({}, {"HARNESS_RUN_DIR": str(tmp_path)}):
        done = subprocess.run(
            [sys.executable, "-c", "print('alive')"],
            env={"PYTHONPATH": str(inject), **run_dir},
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode, done.stdout) == (0, "alive\n")
        assert ("not recording" in done.stderr) == bool(run_dir)


def test_generators_that_nobody_touches_are_left_out(scenario):
    assert list(scenario("without_clipping").tensors(1, "step", "rng")) == ["torch"]


def test_an_unread_sidecar_root_is_still_a_sha256(scenario):
    empty = "sha256:" + hashlib.sha256(b"").hexdigest()
    assert scenario("without_clipping").steps()[1]["streams"]["buffer"] == empty


def test_a_thread_that_writes_hides_no_step_from_the_recorder(scenario):
    run = scenario("another_thread_writes")
    assert [(step, record["micro_batches"]) for step, record in run.steps().items()] == [(n, 1) for n in range(1, 5)]
    assert all({"data", "loss", "grad"} <= record["streams"].keys() for record in run.steps().values())
    (begun,), (ended,) = run.events("save_begin"), run.events("save_end")
    assert (begun["step"], "streams" in begun, ended["path"]) == (2, False, os.devnull)
