"""The plan of a certify: everything that would stop it, at once, and nothing is left behind."""

import sys
from pathlib import Path

import pytest

from harness.runs.request import Request
from harness.workflow.plan import plan
from tests.unit.system.test_git import git

EXPERIMENT = """
schema: 1
image: cpu
run: [python, train.py, "{output}"]
resume: [python, train.py, "{output}", --resume]
outputs: [x]
memory_gib: 0.001
policy: {required: [rerun]}
"""
BROKEN = EXPERIMENT.replace("{output}", "{ouput}").replace("--resume]", '--resume, "{prepared}", configs/a.yaml]')
BROKEN = BROKEN.replace("resume: [python, train.py", "resume: [python, resume.py")
BROKEN += "inputs: {rows: {file: rows.txt}, model: {folder: gone, sha256: " + "a" * 64 + "}}\n"
UNSEEDED = """
import sys
import torch
model = torch.nn.Linear(4, 4)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
for step in range(9):
    model(torch.randn(2, 4)).sum().backward()
    optimizer.step()
torch.save(model.state_dict(), sys.argv[1] + "/x")
"""


@pytest.fixture
def project(tmp_path):
    root = tmp_path / "project"
    (root / "pipelines" / "experiments").mkdir(parents=True)
    (root / "lockfiles").mkdir()
    (root / "lockfiles" / "cpu.lock").write_text("# nothing is locked\n")
    (root / "train.py").write_text("print('plain arithmetic')\n")
    return root


def planned(root, store, text=EXPERIMENT, commit=True, **request):
    (root / "pipelines" / "experiments" / "exp.yaml").write_text(text)
    if commit:
        git(root, "init", "-q")
        git(root, "add", ".")
        git(root, "commit", "-qm", "first")
    return plan(Request(root=root, name="exp", engine="none", **request), store)


def stops(found):
    return [(one.about, one.exit_code) for one in found.findings if one.exit_code]


def test_nothing_stops_what_is_in_order_and_nothing_is_left(project, store):
    found = planned(project, store)
    assert (stops(found), found.exit_code, found.runner) == ([], 0, "host"), found.findings
    assert [stage.name for stage in found.stages] == ["python", "inputs", "runs", "judge"]
    assert not (project / "runs").exists() and not list((store.root / "sha256").rglob("*"))


def test_everything_that_is_wrong_is_told_at_once_in_the_order_of_a_certify(project, store):
    (project / "train.py").write_text(UNSEEDED)
    (project / "rows.txt").write_text("rows\n")
    git(project, "init", "-q")
    git(project, "commit", "-q", "--allow-empty", "-m", "first")
    found = planned(project, store, BROKEN, commit=False, python=Path(sys.executable))
    assert stops(found)[0] == ("git", 2) and found.exit_code == 2
    assert set(stops(found)) == {
        ("--python", 3),
        ("`resume`", 3),
        ("`run`", 3),
        ("git", 2),
        ("input", 2),
        ("review", 4),
    }
    told = "\n".join(one.problem for one in found.findings)
    for words in (
        "{ouput} is no placeholder",
        "the code has no resume.py",
        "{prepared} is used, and there is no `prepare`",
        "the code has no configs/a.yaml",
        "and the experiment pins none",
        "no such folder",
        "REP103",
        "cannot import torch",
    ):
        assert words in told


def test_disk_is_planned_for_an_environment_that_is_not_made_yet(project, store):
    size = 300_000_000
    pin = f"toy==1.0 --hash=sha256:{'b' * 64}\n# wheel toy toy-1.0-py3-none-any.whl {size} sha256:{'b' * 64}\n"
    (project / "lockfiles" / "cpu.lock").write_text(pin)
    store.blob("b" * 64).parent.mkdir(parents=True)
    with store.blob("b" * 64).open("wb") as blob:
        blob.truncate(size)
    (disk,) = [need for need in planned(project, store).needs if need.kind == "disk"]
    assert "1.4 GB needed" in disk.detail
    given = planned(project, store, commit=False, python=Path(sys.executable))
    assert next(need.detail for need in given.needs if need.kind == "disk").endswith("0.0 GB needed")


def test_a_gpu_is_held_against_the_image(project, store):
    found = planned(project, store, EXPERIMENT + "gpus: 1\n")
    assert stops(found) == [("gpu", 2)] and "has no CUDA" in found.findings[0].problem


def test_a_mistake_in_the_experiment_is_a_finding_too(project, store):
    found = planned(project, store, EXPERIMENT + "stepz: 3\n")
    assert (stops(found), found.stages) == ([("experiment", 2)], ())
    assert found.findings[0].remedy == "did you mean `steps`?"


def test_what_was_set_and_how_many_steps_is_planned(project, store):
    found = planned(project, store, EXPERIMENT + "steps: 9\n", overrides=("steps=7",), steps=4)
    assert (found.overrides, found.scope.steps, found.scope.of) == (("steps=7",), 4, 7)
    assert stops(planned(project, store, EXPERIMENT, commit=False, steps=0))[0] == ("request", 2)
