"""The review inside `certify`: what is proven from the code ends it before anything is built, within seconds."""

import json
import time
import xml.etree.ElementTree as ET

import pytest

EXPERIMENT = """
schema: 1
image: cpu
run: [python, pipelines/careless/train.py, --output, "{output}"]
resume: [python, pipelines/careless/train.py, --output, "{output}", --resume]
steps: 4
outputs: [model.safetensors]
checkpoints: ["*.pt"]
interruptions: [{kind: after_step, step: 2}]
policy: {required: [rerun, resume]}
"""
SCRIPT = """
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file

folder = Path(sys.argv[2])
inputs = torch.randn(8, 4){comment}
model = torch.nn.Linear(4, 1)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
step = 0
if "--resume" in sys.argv:
    state = torch.load(folder / "latest.pt", weights_only=True)
    model.load_state_dict(state["model"])
    optimizer.load_state_dict(state["optimizer"])
    torch.set_rng_state(state["rng"])
    step = state["step"]
while step < 4:
    loss = model(inputs).pow(2).mean()
    loss.backward()
    optimizer.step()
    optimizer.zero_grad()
    step += 1
    state = {{"model": model.state_dict(), "optimizer": optimizer.state_dict(), "step": step}}
    state["rng"] = torch.get_rng_state()
    torch.save(state, folder / "latest.tmp")
    (folder / "latest.tmp").replace(folder / "latest.pt")
save_file(model.state_dict(), folder / "model.safetensors")
"""
NO_ENGINE = {"DOCKER_HOST": "tcp://127.0.0.1:1", "RUNNER": "docker", "ENGINE": "none"}


def careless(project, comment=""):
    script = project.root / "pipelines" / "careless" / "train.py"
    script.parent.mkdir(exist_ok=True)
    script.write_text(SCRIPT.format(comment=comment))
    project.experiment("careless", EXPERIMENT)


@pytest.fixture(scope="module")
def vetoed(shared_project):
    careless(shared_project)
    began = time.monotonic()
    answer = shared_project.harness("certify", "careless", **NO_ENGINE)
    return shared_project, answer, time.monotonic() - began


def test_a_draw_that_nobody_seeds_is_vetoed_with_its_place(vetoed):
    project, answer, _ = vetoed
    assert (answer.code, answer.last_line) == (4, "VERDICT: VETOED"), answer.out + answer.err
    verdict = project.verdict("careless")
    assert (verdict["verdict"], verdict["exit_code"]) == ("VETOED", 4)
    line = next(n for n, text in enumerate(SCRIPT.splitlines(), start=1) if "torch.randn" in text)
    found = [f for f in verdict["review"]["findings"] if f["severity"] == "veto" and f["certainty"] == "proven"]
    assert [(f["path"], f["line"]) for f in found] == [("pipelines/careless/train.py", line)]
    assert found[0]["why"] and found[0]["fix"] and found[0]["source"].startswith("https://")
    states = {item["id"]: item["state"] for item in verdict["review"]["checklist"]}
    assert states["V1"] == states["T1"] == "vetoed"
    assert verdict["problems"] == verdict["review"]["vetoes"]
    assert f"pipelines/careless/train.py:{line}" in answer.out


def test_nothing_was_built_or_trained_and_it_took_seconds(vetoed):
    project, answer, seconds = vetoed
    folder = project.latest("careless")
    assert not [name for name in ("straight", "rerun", "resumed", "prepare") if (folder / name).exists()]
    assert "image:" not in answer.err and "inputs:" not in answer.err
    assert seconds < 30
    assert project.manifest("careless")["runs"] == []


def test_the_report_of_a_veto_is_complete(vetoed):
    project, _, _ = vetoed
    folder = project.latest("careless")
    names = {"verdict.json", "manifest.json", "certificate.json", "report.html", "summary.md", "junit.xml"}
    assert {path.name for path in folder.iterdir()} >= names
    statement = json.loads((folder / "certificate.json").read_text())
    assert statement["predicate"]["result"] == "VETOED" and statement["predicate"]["claims"] == []
    assert int(ET.parse(folder / "junit.xml").getroot().get("failures")) > 0
    assert "VETOED" in (folder / "report.html").read_text()


def test_the_review_by_itself_says_the_same(vetoed):
    project, _, _ = vetoed
    answer = project.harness("review", "careless", "--format", "json")
    assert answer.code == 4
    assert json.loads(answer.out)["vetoes"] == project.verdict("careless")["review"]["vetoes"]


def test_a_reason_on_the_line_lets_it_pass_and_stands_in_the_review(project):
    finding = "REP103"
    careless(project, comment=f"  # harness: allow {finding} a demonstration, not a training")
    document = json.loads(project.harness("review", "careless", "--format", "json").out)
    assert document["vetoes"] == []
    assert [(one["rule"], one["allowed"]) for one in document["allowed"]] == [
        (finding, "a demonstration, not a training")
    ]
    answer = project.harness("certify", "careless", **NO_ENGINE)
    assert answer.code == 6, "the review lets it pass, and then there is no engine"
