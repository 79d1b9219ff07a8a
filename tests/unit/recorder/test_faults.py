"""Killed at every kind of point and resumed, a training loop gives the straight run's ledger."""

import json
import os
import runpy
import signal
import subprocess
import time

import pytest

from tests.unit.recorder.comparison import assert_chain_holds, content, first_divergence
from tests.unit.recorder.conftest import CONFIG, LOOP, PLAIN, ROOT, SCRIPTS

KILLS = {
    "micro_batch": ({"kind": "micro_batch", "step": 6, "micro_batch": 1}, 5, 4),
    "before_step": ({"kind": "before_step", "step": 6}, 5, 4),
    "after_step": ({"kind": "after_step", "step": 6}, 6, 4),
    "stop": ({"kind": "stop", "step": 6}, 6, 4),
    "before_write": ({"kind": "before_write", "step": 6}, 8, 4),
    "in_write": ({"kind": "in_write", "step": 8, "byte": 5000}, 8, 4),
    "after_write": ({"kind": "after_write", "step": 8}, 8, 4),
    "before_any_checkpoint": ({"kind": "after_step", "step": 2}, 2, 0),
    "twice": ({"kind": "after_step", "step": 5}, 5, 4),
}


@pytest.mark.parametrize("name", KILLS)
def test_killed_and_resumed_the_ledger_and_the_final_bits_are_those_of_the_straight_run(name, straight, new_trajectory):
    fault, last_step, resumed_from = KILLS[name]
    trajectory = new_trajectory()
    killed = trajectory.train(LOOP, CONFIG, faults=(fault,))
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert [(event["fault"], event["waiting"]) for event in killed.events("fault")] == [(fault, False)]
    assert max(killed.steps()) == last_step
    runs = [killed]
    if name == "twice":
        again = trajectory.train(
            LOOP, CONFIG, "--resume", faults=({"kind": "micro_batch", "step": 9, "micro_batch": 2},)
        )
        assert again.returncode == -signal.SIGKILL
        assert (again.start()["step"], max(again.steps())) == (4, 8)
        runs.append(again)
        resumed_from = 8
    resumed = trajectory.train(LOOP, CONFIG, "--resume")
    assert resumed.returncode == 0, resumed.stderr
    assert (resumed.start()["step"], resumed.start()["step_source"]) == (resumed_from, "content")
    assert set(resumed.steps()) == set(range(resumed_from + 1, 13))
    for run in (*runs, resumed):
        assert_chain_holds(run.ledger())
        assert {n: content(r) for n, r in run.steps().items()} == {
            n: content(r) for n, r in straight[1].steps().items() if n in run.steps()
        }
    assert content(resumed.ledger()[-1]) == content(straight[1].ledger()[-1])
    assert trajectory.final() == straight[0].final()


def test_the_plain_pipeline_resumes_exactly(new_trajectory):
    straight, interrupted = new_trajectory(), new_trajectory()
    whole = straight.train(PLAIN, CONFIG)
    assert whole.returncode == 0, whole.stderr
    killed = interrupted.train(PLAIN, CONFIG, faults=({"kind": "in_write", "step": 8, "byte": 5000},))
    resumed = interrupted.train(PLAIN, CONFIG, "--resume")
    assert (killed.returncode, resumed.returncode) == (-signal.SIGKILL, 0)
    assert (max(killed.steps()), resumed.start()["step"], resumed.start()["step_source"]) == (8, 4, "content")
    assert first_divergence(whole.steps(), killed.steps()) is None
    assert first_divergence(whole.steps(), resumed.steps()) is None
    assert content(resumed.ledger()[-1]) == content(whole.ledger()[-1])
    assert interrupted.final() == straight.final()


def test_a_kill_at_a_later_write_leaves_the_earlier_ones_whole(new_trajectory):
    trajectory = new_trajectory()
    killed = trajectory.train(LOOP, CONFIG, faults=({"kind": "before_write", "step": 3, "write": 2},))
    assert killed.returncode == -signal.SIGKILL
    assert [event["step"] for event in killed.events("save_end")] == [4]
    assert [event["step"] for event in killed.events("save_begin")] == [4, 8]


def test_a_resumed_process_says_what_it_restored(new_trajectory):
    trajectory = new_trajectory()
    trajectory.train(LOOP, CONFIG, faults=({"kind": "stop", "step": 5},))
    resumed = trajectory.train(LOOP, CONFIG, "--resume")
    assert [(e["path"], e["function"], e["ok"]) for e in resumed.events("restore")] == [
        ("checkpoints/step0004.pt", "torch.load", True)
    ]
    assert [(e["what"], e["ok"]) for e in resumed.events("load_state")] == [
        ("module", True),
        ("optimizer", True),
        ("scheduler", True),
    ]


OUTSIDE = {"kind": "after_step", "step": 3, "by": "outside"}


def test_a_kill_from_outside_is_waited_for_at_the_exact_point(new_trajectory):
    trajectory = new_trajectory()
    pid, folder = trajectory.start_training(LOOP, CONFIG, faults=(OUTSIDE,))
    deadline = time.monotonic() + 120
    events = folder / "events.jsonl"
    while time.monotonic() < deadline and not (events.exists() and '"waiting":true' in events.read_text()):
        time.sleep(0.1)
    time.sleep(0.5)
    ledger = (folder / "ledger.jsonl").read_text().splitlines()
    assert json.loads(ledger[-1])["step"] == 3
    os.kill(pid, signal.SIGKILL)
    assert trajectory.server.wait(pid) == -signal.SIGKILL
    assert (folder / "ledger.jsonl").read_text().splitlines() == ledger


def test_a_kill_from_outside_that_never_comes_ends_with_86(new_trajectory):
    trajectory = new_trajectory()
    run = trajectory.train(SCRIPTS / "short_wait.py", CONFIG, faults=(OUTSIDE,))
    assert run.returncode == 86
    assert [event["waiting"] for event in run.events("fault")] == [True]


def test_a_flipped_parameter_bit_is_found_at_its_step_in_param(straight, new_trajectory):
    run = new_trajectory().train(LOOP, CONFIG, faults=({"kind": "flip_param", "step": 5},))
    assert run.returncode == 0
    assert first_divergence(straight[1].steps(), run.steps()) == (5, "param")
    good, bad = (r.tensors(5, "step", "param") for r in (straight[1], run))
    assert [name for name in good if good[name] != bad[name]] == [run.events("fault")[0]["tensor"]] == ["0.bias"]


def test_a_flipped_moment_is_found_in_the_restored_state_and_keeps_the_step_number(straight, new_trajectory):
    trajectory = new_trajectory()
    trajectory.train(LOOP, CONFIG, faults=({"kind": "stop", "step": 6},))
    resumed = trajectory.train(
        LOOP, CONFIG, "--resume", faults=({"kind": "flip_optim", "step": 4}, {"kind": "stop", "step": 6})
    )
    assert resumed.returncode == -signal.SIGKILL
    assert (resumed.start()["step"], set(resumed.steps())) == (4, {5, 6})
    at_four = straight[1].tensors(4, "step", "optim")
    restored = resumed.tensors(4, "start", "optim")
    assert [name for name in at_four if at_four[name] != restored[name]] == [resumed.events("fault")[0]["tensor"]]
    assert resumed.start()["streams"]["param"] == straight[1].steps()[4]["streams"]["param"]
    assert first_divergence(straight[1].steps(), resumed.steps()) == (5, "optim")


def test_a_moment_is_flipped_in_its_highest_mantissa_bit(torch_python):
    done = subprocess.run([torch_python, SCRIPTS / "flip_probe.py"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {
        "float32": [0.0, 3.0, 2.0],
        "bfloat16": [0.0, 3.0, 2.0],
        "float16": [0.0, 3.0, 2.0],
        "float64": [0.0, 3.0, 2.0],
        "transposed": [[0.0, 3.0], [0.0, 1.0]],
        "scalar": 3.0,
        "lowest": [1, 1.0],
        "waiting graph": [[1.0, 1.0], [1.0, 1.0]],
        "sharded": [0.0, 3.0],
    }


@pytest.fixture(scope="module")
def whole_files(new_trajectory) -> dict[str, bytes]:
    """What `writes.py` writes when nothing interferes, by way."""
    trajectory = new_trajectory()
    assert trajectory.run(SCRIPTS / "writes.py", "all", trajectory.output, recorded=False).returncode == 0
    return {folder.name: next(folder.iterdir()).read_bytes() for folder in trajectory.output.iterdir()}


# 400000 lies in the last 8 KiB, which Python's own buffer still holds when torch.save returns
@pytest.mark.parametrize(
    ("way", "byte"),
    [
        ("path", 1),
        ("path", 12345),
        ("file", 12345),
        ("file", 400_000),
        ("legacy", 12345),
        ("safetensors", 1),
        ("safetensors", 12345),
    ],
)
def test_a_write_is_torn_at_exactly_the_byte(way, byte, whole_files, new_trajectory):
    trajectory = new_trajectory()
    fault = {"kind": "in_write", "step": 2, "byte": byte}
    run = trajectory.run(SCRIPTS / "writes.py", way, trajectory.output, faults=(fault,))
    assert run.returncode == -signal.SIGKILL, run.stderr
    assert [event["fault"] for event in run.events("fault")] == [fault]
    assert "cleaned up" not in run.stdout
    assert run.events("save_end") == [] and len(run.events("save_begin")) == 1
    (torn,) = (trajectory.output / way).iterdir()
    if way == "legacy":  # that format names storages by their addresses
        assert torn.stat().st_size == byte
    else:
        assert torn.read_bytes() == whole_files[way][:byte]


@pytest.mark.parametrize("way", ["path", "file", "safetensors"])
def test_a_write_that_is_shorter_than_the_byte_is_torn_in_half(way, whole_files, new_trajectory):
    trajectory = new_trajectory()
    run = trajectory.run(
        SCRIPTS / "writes.py", way, trajectory.output, faults=({"kind": "in_write", "step": 2, "byte": 1 << 24},)
    )
    assert run.returncode == -signal.SIGKILL, run.stderr
    (torn,) = (trajectory.output / way).iterdir()
    assert torn.read_bytes() == whole_files[way][: len(whole_files[way]) // 2]


def test_a_kill_after_the_write_leaves_the_whole_file(new_trajectory):
    trajectory = new_trajectory()
    run = trajectory.run(SCRIPTS / "writes.py", "file", trajectory.output, faults=({"kind": "after_write", "step": 2},))
    assert run.returncode == -signal.SIGKILL
    (path,) = (trajectory.output / "file").iterdir()
    assert path.stat().st_size > 400_000 and len(run.events("save_end")) == 1


def test_a_signal_is_sent_once_in_a_run_also_where_the_training_starts_itself_again(tmp_path):
    due = runpy.run_path(str(ROOT / "harness" / "recorder" / "faults.py"))["due"]
    signal, kill = {"kind": "signal", "signal": "SIGTERM", "step": 7}, {"kind": "stop", "step": 9}
    (tmp_path / "events.jsonl").write_text('{"kind":"setting"}\n')
    assert due([signal, kill], str(tmp_path)) == [signal, kill]
    (tmp_path / "events-2.jsonl").write_text('{"fault":{"kind":"signal","step":7},"kind":"fault"}\n')
    assert due([signal, kill], str(tmp_path)) == [kill]
