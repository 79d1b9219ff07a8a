"""Which process is recorded, under which name: forked and spawned trainers, ranks, and what only looks like one."""

import json

import pytest

LOOP = """
import os, sys, torch
def train(steps=3, fail_at=None):
    torch.manual_seed(0)
    model = torch.nn.Linear(3, 1)
    optimizer = torch.optim.AdamW(model.parameters())
    for step in range(steps):
        if step == fail_at:
            raise RuntimeError("no")
        model(torch.ones(1, 3)).sum().backward()
        optimizer.step()
        optimizer.zero_grad()
"""
FORKED = "\npid = os.fork()\nif pid == 0:\n    train()\n    os._exit(0)\nos.waitpid(pid, 0)\n"
PROCESS = (
    "\nimport multiprocessing as mp\nif __name__ == '__main__':\n"
    "    child = mp.get_context({how!r}).Process(target=train, kwargs={arguments!r})\n    child.start(); child.join()\n"
)
WHOLE = ["start", "step", "step", "step", "end"]


@pytest.fixture
def run(new_trajectory):
    def run_script(code, **environment):
        trajectory = new_trajectory()
        script = trajectory.folder / "script.py"
        script.write_text(LOOP + code)
        done = trajectory.run_anew(script, **environment)
        assert "recorder:" not in done.stderr, done.stderr
        return done

    return run_script


def kinds(run, name="ledger.jsonl"):
    return [record["kind"] for record in run.lines(name)]


def names(run):
    return sorted(path.name for path in run.folder.iterdir())


@pytest.mark.parametrize(
    "code",
    [
        FORKED,
        PROCESS.format(how="fork", arguments={}),
        PROCESS.format(how="spawn", arguments={}),
        "\nimport torch.multiprocessing as mp\ndef work(rank): train()\n"
        "if __name__ == '__main__':\n    mp.spawn(work, nprocs=1)\n",
    ],
    ids=["os.fork", "Process by fork", "Process by spawn", "mp.spawn"],
)
def test_a_child_that_trains_is_recorded_to_its_end(run, code):
    done = run(code)
    assert done.returncode == 0, done.stderr
    assert kinds(done) == WHOLE
    assert kinds(done, "events.jsonl")[-1] == "exit"
    assert "ledger-2.jsonl" not in names(done)


@pytest.mark.parametrize("how", ["fork", "spawn"])
def test_a_child_that_fails_has_no_end(run, how):
    done = run(PROCESS.format(how=how, arguments={"fail_at": 2}))
    assert kinds(done) == ["start", "step", "step"]
    assert kinds(done, "events.jsonl")[-2:] == ["exception", "exit"]


def test_a_child_that_trains_while_its_parent_does_is_a_second_training(run):
    done = run("\ntrain()" + FORKED)
    assert kinds(done) == kinds(done, "ledger-2.jsonl") == WHOLE


def test_a_child_of_a_training_that_does_not_train_leaves_nothing(run):
    done = run(
        "\ntrain()" + FORKED.replace("train()", "torch.nn.Linear(3, 1)(torch.ones(1, 3))", 1).replace("\n", "\n", 1)
    )
    assert kinds(done) == WHOLE
    done = run("\ntrain()\nif os.fork() == 0:\n    print('helper')\n    os._exit(0)\nos.wait()\n")
    assert [name for name in names(done) if name.startswith("events")] == ["events.jsonl"]


def test_each_rank_has_files_of_its_own(run):
    done = run("\ntrain()", RANK="1", WORLD_SIZE="2")
    assert kinds(done, "ledger-rank1.jsonl") == WHOLE
    process = done.lines("events-rank1.jsonl")[0]
    assert (process["rank"], process["num_ranks"]) == (1, 2)
    assert "ledger.jsonl" not in names(done)


@pytest.mark.parametrize(("rank", "dies"), [("0", False), ("1", True)])
def test_a_fault_of_one_rank_is_its_alone(run, rank, dies):
    faults = json.dumps([{"kind": "after_step", "step": 2, "rank": 1}])
    done = run("\ntrain()", RANK=rank, WORLD_SIZE="2", HARNESS_FAULTS=faults)
    assert (done.returncode == -9) is dies


def test_all_ranks_come_to_the_fault_before_one_dies(run):
    """The kill of one process takes the others with it, wherever they are."""
    code = """
if __name__ == '__main__':
    import subprocess, time
    both = [subprocess.Popen([sys.executable, '-c', f"import time; time.sleep({rank}); import runpy; "
            f"runpy.run_path({__file__!r})['train']()"], env={**os.environ, 'RANK': str(rank), 'WORLD_SIZE': '2'})
            for rank in (0, 1)]
    print([one.wait() for one in both])
"""
    done = run(code, HARNESS_FAULTS=json.dumps([{"kind": "before_step", "step": 2}]))
    assert done.stdout.strip() == "[-9, -9]", done.stderr
    for name in ("events.jsonl", "events-rank1.jsonl"):
        assert done.lines(name)[-1]["kind"] == "fault"
    assert kinds(done) == kinds(done, "ledger-rank1.jsonl") == ["start", "step"]


PER_SAMPLE = """
from torch.func import functional_call, grad, vmap
torch.manual_seed(0)
model = torch.nn.Linear(4, 2); optimizer = torch.optim.AdamW(model.parameters())
def loss(parameters, x): return functional_call(model, parameters, (x[None],)).sum()
each = vmap(grad(loss), in_dims=(None, 0))
for step in range(3):
    grads = each({k: v.detach() for k, v in model.named_parameters()}, torch.full((5, 4), float(step)))
    for name, parameter in model.named_parameters(): parameter.grad = grads[name].mean(0)
    optimizer.step()
"""


def test_per_sample_gradients_are_recorded_with_what_the_model_was_given(run):
    done = run(PER_SAMPLE)
    assert kinds(done) == WHOLE
    assert all({"data", "grad", "param", "optim"} <= record["streams"].keys() for record in done.steps().values())
    assert sorted(done.tensors(1, "step", "param")) == ["bias", "weight"]
    assert done.tensors(1, "step", "data")["1.0"][1] == [5, 1, 4]


UPDATES = {
    "in place": """
model = torch.nn.Linear(4, 2)
update = torch.optim.SGD(model.parameters(), lr=0)
for step in range(3):
    model(torch.ones(1, 4)).sum().backward()
    with torch.no_grad():
        for p in model.parameters():
            p -= 0.1 * p.grad
            p.grad = None
    update.step()
""",
    "torch.func with a module": """
model = torch.nn.Linear(4, 2)
params = {k: v.detach() for k, v in model.named_parameters()}
update = torch.optim.SGD(params.values(), lr=0)
for step in range(3):
    grads = torch.func.grad(lambda p: torch.func.functional_call(model, p, (torch.ones(1, 4),)).sum())(params)
    params = {k: params[k] - 0.1 * grads[k] for k in params}
    update.param_groups[0]["params"] = list(params.values())
    update.step()
""",
    "torch.autograd.grad without a module": """
w = torch.zeros(3, requires_grad=True)
update = torch.optim.SGD([w], lr=0)
for step in range(3):
    grad, = torch.autograd.grad((w - 1).pow(2).sum(), [w])
    with torch.no_grad():
        w -= 0.1 * grad
    update.step()
""",
}


@pytest.mark.parametrize("how", UPDATES)
def test_updates_by_hand_that_are_declared_are_recorded_from_the_state_before_the_first(run, how):
    done = run("\ntorch.manual_seed(0)\n" + UPDATES[how])
    assert kinds(done) == WHOLE
    roots = [record["streams"]["param"] for record in (done.start(), *done.steps().values())]
    assert len(set(roots)) == 4


def test_the_seed_of_a_loader_without_workers_is_told_to_be_unused(run):
    code = """
from torch.utils.data import DataLoader
train()
for shuffle in (False, True):
    list(DataLoader(range(4), shuffle=shuffle))
"""
    first, second = run(code).events("unused_seed")
    assert first["before"] != first["after"] == second["before"]


def test_a_training_that_closes_all_descriptors_is_recorded_and_nothing_of_it_is_written_to(run):
    code = """
def close():
    os.closerange(3, 64)
    files.extend(open(f"{os.path.dirname(__file__)}/own-{n}", "w") for n in range(20))
files = []
torch.optim.AdamW.zero_grad = lambda self: files or close()
train()
for file in files: file.close()
print([os.path.getsize(file.name) for file in files])
"""
    done = run(code)
    assert set(json.loads(done.stdout)) == {0}
    assert kinds(done) == WHOLE
