"""History of real certificates, on the host runner: nothing changed, a file that nobody recorded, and the code."""

import json

import pytest

from tests.project import copy_project

EXPERIMENT = """schema: 1
image: cpu
run: [python, pipelines/plain/train.py, --config, "{config}", --output, "{output}"]
resume: [python, pipelines/plain/train.py, --config, "{config}", --output, "{output}", --resume]
config: {seed: 5, steps: 4, lr: 0.01, batch_size: 8, accumulation: 1, save_every: 2}
steps: 4
outputs: [model.safetensors]
environment: {OMP_NUM_THREADS: "1", ATEN_CPU_CAPABILITY: avx2}
policy: {required: [rerun], rerun: second_run}
"""
BATCH = "generator=draw)"


@pytest.mark.slow
def test_what_changed_is_told_and_numbers_that_nothing_explains_stand_out(tmp_path):
    project, secret = copy_project(tmp_path / "project"), tmp_path / "secret"
    (project.root / "pipelines" / "experiments" / "past.yaml").write_text(EXPERIMENT)
    script = project.root / "pipelines" / "plain" / "train.py"
    # It reads what no certificate knows of; the host runner has no wall that would keep it from that.
    script.write_text(script.read_text().replace(BATCH, f'{BATCH} * float(open("{secret}").read())'))
    project.commit("reads something")
    secret.write_text("1.0")
    for text in ("1.0", "1.0", "1.5"):
        secret.write_text(text)
        answer = project.harness("certify", "past", RUNNER="host")
        assert answer.last_line == "VERDICT: CERTIFIED", answer.out + answer.err
    script.write_text(script.read_text().replace("nn.Dropout(0.1)", "nn.Dropout(0.2)"))
    project.commit("more dropout")
    assert project.harness("certify", "past", RUNNER="host").code == 0

    answer = project.harness("history", "past")
    assert answer.code == 0, answer.err
    assert "1 -> 2: the numbers are the same; changed: nothing" in answer.out
    assert "2 -> 3: !! the numbers changed" in answer.out
    assert "3 -> 4: the numbers changed; changed: code of the experiment" in answer.out
    found = json.loads(project.harness("history", "past", "--json").out)
    assert [change["is_unexplained"] for change in found["changes"]] == [False, True, False]
    second, third = found["changes"][1:]
    assert (second["first_difference"]["step"], second["first_difference"]["stream"]) == (1, "data")
    assert (third["first_difference"]["step"], third["first_difference"]["stream"]) == (1, "loss")
    assert third["files"] == [{"path": "pipelines/plain/train.py", "added": 1, "removed": 1}]
    assert third["num_commits"] == 1 and third["different_outputs"] == ["model.safetensors"]
