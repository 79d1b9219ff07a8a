"""What is reviewed: scripts of an experiment's commands, files and folders anywhere; and severities of a project."""

from __future__ import annotations

import shlex

import pytest

from harness.documents.experiment import parse_experiment
from harness.errors import EvidenceError, UsageError
from harness.judge.verdict import judge
from harness.judge.verdict_inputs import VerdictInputs
from harness.review.commands import scripts_of
from harness.review.evidence.vram import parse_probe
from harness.review.reviewer import reviewer_of
from harness.review.target import basis_of, read_severities, review_target, target_of, target_of_experiment
from harness.system.store import open_store
from tests.made.project import make_project

TEXT = """
schema: 1
image: cpu
run: [torchrun, --nproc-per-node, "1", ./train.py, --config, "{config}"]
resume: [python, -m, package.resume, "{output}"]
prepare: [python, -m, package, missing.py, ../outside.py, /etc/absolute.py]
probe: [python, probe.py]
steps: 1
outputs: [x]
policy: {required: [rerun]}
"""


@pytest.fixture
def code(tmp_path):
    folder = tmp_path / "code"
    (folder / "package").mkdir(parents=True)
    for name in ("train.py", "probe.py", "package/resume.py", "package/__main__.py", "unused.py"):
        (folder / name).write_text("print(1)\n")
    (tmp_path / "outside.py").write_text("")
    return folder


@pytest.fixture
def store(tmp_path):
    return open_store(tmp_path / "cache", {})


def state(reviewed, item):
    rows = reviewed.review.to_json()["checklist"]
    return next(row["state"] for row in rows if row["id"] == item)


def reviewed(experiment, code):
    """The review of an experiment of which nothing was run."""
    reviewer = reviewer_of(basis_of(experiment, target_of_experiment(experiment, code)))
    known = {"experiment": "x", "run_id": "", "commit": "", "dirty": False, "runner": "", "steps": 1}
    return judge(VerdictInputs(**known, review=reviewer)).review


def test_scripts_are_found_by_path_and_by_module_and_never_outside(code):
    (code / "link.py").symlink_to(code.parent / "outside.py")
    experiment = parse_experiment(TEXT.replace("missing.py", "link.py"), "x")
    target = target_of_experiment(experiment, code)
    assert target.entries == ("package/__main__.py", "package/resume.py", "probe.py", "train.py")
    assert (target.root, target.unknown) == (code, ())


WRAPPED = {
    "run.sh": 'set -e\nHERE=$(dirname "$0")\npython -u "$HERE/train.py" "$@"\n',
    "scripts/inner.sh": "#!/bin/sh\ncd .. && exec torchrun --standalone package/resume.py\n",
    "package/here.sh": 'cd "$(dirname "$0")"\npython resume.py\n',
    "package/there.sh": 'DIR="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"\ncd "$DIR/.."\npython3 train.py\n',
    "scripts/go": "#!/usr/bin/env bash\nscripts/inner.sh\n",
    "Makefile": "PY ?= python\n.PHONY: train other\nother:\n\t$(PY) unused.py\ntrain: setup\n\t@$(PY) -m package \\\n"
    "\t\t--x\nsetup:\n\tmkdir -p x\n",
}


@pytest.mark.parametrize(
    ("command", "entries"),
    [
        ("bash run.sh {output}", ("train.py",)),
        ("./run.sh", ("train.py",)),
        ("bash -euo pipefail run.sh", ("train.py",)),
        ("bash -c 'cd package && python resume.py'", ("package/resume.py",)),
        ("sh scripts/inner.sh", ("package/resume.py",)),
        ("bash package/here.sh {output}", ("package/resume.py",)),
        ("bash package/there.sh", ("train.py",)),
        ("env A=1 nice scripts/go", ("package/resume.py",)),
        ("env -C package python resume.py", ("package/resume.py",)),
        ("env A=1 --chdir=package python resume.py", ("package/resume.py",)),
        ("make train", ("package/__main__.py",)),
        ("make -C . PY=python3 other", ("unused.py",)),
        ("accelerate launch --cpu -m package.resume", ("package/resume.py",)),
        ("torchrun --nproc-per-node 2 train.py", ("train.py",)),
        ("python package", ("package/__main__.py",)),
        ("python -m module_below", ("lib/module_below.py",)),
        ("apt-get install make", ()),
        ("some-program --config x.yaml", ()),
        ("make nothing", ()),
    ],
)
def test_a_command_is_followed_into_the_script_that_it_names(code, command, entries):
    for name, text in WRAPPED.items():
        (code / name).parent.mkdir(exist_ok=True)
        (code / name).write_text(text)
    (code / "lib").mkdir()
    (code / "lib" / "module_below.py").write_text("")
    assert tuple(sorted(scripts_of(shlex.split(command), code, "/outside:lib"))) == entries


def test_where_no_script_can_be_told_nothing_is_vetoed_and_nothing_holds(code):
    (code / "unused.py").write_text("import torch\ntorch.nn.Linear(1, 1)(torch.rand(1)).sum().backward()\n")
    text = TEXT.replace("./train.py", "train").replace("package.resume", "nothing.at.all").partition("prepare:")[0]
    experiment = parse_experiment(f"{text}steps: 1\noutputs: [x]\npolicy: {{required: [rerun]}}\n", "x")
    target = target_of_experiment(experiment, code)
    assert target.entries == () and len(target.unknown) == 2
    review = reviewed(experiment, code)
    assert review.vetoes == () and not review.findings
    v1 = next(item for item in review.checklist if item.id == "V1")
    assert v1.state == "could not tell" and "torchrun" in v1.reason


def test_checkpoints_are_demanded_only_where_a_resume_is(code):
    (code / "train.py").write_text(
        "import torch\ntorch.manual_seed(0)\nmodel = torch.nn.Linear(2, 1)\n"
        "optimizer = torch.optim.Adam(model.parameters())\nfor _ in range(3):\n"
        "    model(torch.ones(2)).sum().backward()\n    optimizer.step()\ntorch.save(model.state_dict(), 'm.pt')\n"
    )
    text = TEXT.replace("package.resume", "train").partition("prepare:")[0] + "steps: 1\noutputs: [x]\n"
    text += "interruptions: [{kind: after_step, step: 1}]\n"
    for required, wanted, vetoes in (("rerun", "warning", 0), ("resume", "vetoed", 1)):
        experiment = parse_experiment(f"{text}policy: {{required: [{required}]}}\n", "x")
        review = reviewed(experiment, code)
        states = {item.id: item.state for item in review.checklist}
        assert (states["V5"], len(review.vetoes)) == (wanted, vetoes)
        assert states["V2"] == ("does not apply" if required == "rerun" else "could not tell")
        assert review.weakened == ()
    found = review_target(code, str(code / "train.py"), open_store(code.parent / "cache", {}), lambda _: None)
    assert (state(found, "V5"), found.review.vetoes) == ("warning", ())


@pytest.mark.parametrize(("name", "words"), [("nb.ipynb", "notebook"), ("notes.txt", "no Python script")])
def test_what_is_no_script_is_told_so(tmp_path, store, name, words):
    (tmp_path / name).write_text("{}")
    with pytest.raises(UsageError, match=words):
        review_target(tmp_path, str(tmp_path / name), store, lambda _: None)


def test_a_file_a_folder_and_nothing(code):
    assert target_of(code / "train.py").entries == ("train.py",)
    assert (target_of(code).root, target_of(code).entries) == (code, None)
    with pytest.raises(UsageError, match="there is no"):
        target_of(code / "nowhere")


def test_severities_come_from_the_nearest_pyproject_of_the_repository(code):
    text = '[tool.harness.review.severity]\nREP703 = "off"\n'
    (code.parent / "pyproject.toml").write_text(text)
    assert target_of(code / "package").severities == {"REP703": "off"}
    (code / ".git").mkdir()
    assert target_of(code / "package").severities == {}
    (code / "pyproject.toml").write_text(text.replace("off", "note"))
    assert target_of(code / "package" / "resume.py").severities == {"REP703": "note"}


def test_a_pyproject_that_cannot_be_read_is_an_error(code, tmp_path):
    assert read_severities(code) == {}
    (code / "pyproject.toml").write_bytes(b"\xff")
    with pytest.raises(UsageError, match=r"pyproject\.toml cannot be read"):
        read_severities(code)
    (code / "pyproject.toml").unlink()
    (code / "pyproject.toml").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere").write_text("")
    with pytest.raises(UsageError, match="link"):
        read_severities(code)


def test_an_experiment_is_meant_before_a_folder_of_its_name(tmp_path, store, monkeypatch):
    root = tmp_path / "project"
    make_project(root)
    (root / "train.py").write_text("print(1)\n")
    (root / "exp").mkdir()
    (root / "exp" / "train.py").write_text("print(1)\n")
    monkeypatch.chdir(root)
    found = review_target(root, "exp", store, lambda text: None)
    assert found.root == root
    assert (state(found, "V3"), state(found, "V4")) == ("holds", "does not apply")
    folder = review_target(root, "./exp", store, lambda text: None)
    assert folder.root == root / "exp" and state(folder, "V4") == "could not tell"


def test_what_is_neither_is_an_error_that_names_the_experiments(tmp_path, store):
    make_project(tmp_path / "project")
    with pytest.raises(UsageError, match="neither a path nor an experiment") as caught:
        review_target(tmp_path / "project", "nowhere", store, lambda text: None)
    assert "exp" in caught.value.remedy


def test_what_a_probe_measured_stands_in_the_review(tmp_path, store):
    root = tmp_path / "project"
    make_project(root)
    (root / "train.py").write_text("print(1)\n")
    probe = parse_probe(
        b'{"schema": 1, "device": "cpu", "gpu": null, "variants": [{"name": "as configured", "is_estimate": true,'
        b' "peak_allocated_bytes": 1, "peak_reserved_bytes": 2}]}',
        "probe.json",
    )
    document = review_target(root, "exp", store, lambda text: None, probe).review.to_json()
    assert document["measured"]["variants"][0]["is_estimate"] is True
    assert document["measured"]["budget_bytes"] == 24 << 30


@pytest.mark.parametrize(("content", "error"), [(None, UsageError), ("def broken(:\n", EvidenceError)])
def test_where_nothing_could_be_read_there_is_no_answer(tmp_path, store, content, error):
    target = tmp_path / "there"
    target.mkdir()
    if content is not None:
        (target / "train.py").write_text(content)
        target = target / "train.py"
    with pytest.raises(error, match=r"nothing to review|cannot be reviewed"):
        review_target(tmp_path, str(target), store, lambda _: None)
