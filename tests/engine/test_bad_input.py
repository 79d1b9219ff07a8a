"""Bad input, as a user gives it: one clear error with its remedy and its exit code, never a traceback, nothing lost."""

import os
import shutil
import signal
import subprocess
import sys
import time

import docker
import pytest
import yaml

from tests import ROOT

PLAIN = {
    "schema": 1,
    "image": "cpu",
    "run": ["python", "tests/mutants/train.py", "--config", "{config}", "--output", "{output}"],
    "resume": ["python", "tests/mutants/train.py", "--config", "{config}", "--output", "{output}", "--resume"],
    "config": {"seed": 7, "steps": 8, "lr": 0.01, "batch_size": 6, "save_every": 2, "accumulation": 2, "bug": None},
    "steps": 8,
    "outputs": ["model.safetensors"],
    "checkpoints": ["checkpoints/*.pt"],
    "environment": {"OMP_NUM_THREADS": "1"},
    "interruptions": [{"kind": "after_step", "step": 5}],
    "policy": {"required": ["rerun", "resume"], "rerun": "prefix"},
}


def refused(answer, code, *words):
    assert answer.code == code, (answer.code, answer.out, answer.err)
    for word in words:
        assert word in answer.err, answer.err
    assert "remedy:" in answer.err


@pytest.mark.parametrize("name", ["../tiny", "/etc/passwd", "tiny;id", "$(id)", "-rf", "tiny/../tiny"])
def test_path_tricks_in_exp_are_no_experiment(shared_project, name):
    refused(shared_project.harness("certify", "--", name), 2, "there is no experiment")


def test_an_unknown_experiment_is_answered_with_the_nearest_names(shared_project):
    refused(shared_project.harness("certify", "tinny"), 2, "did you mean tiny")


def test_make_hands_the_name_over_as_data_not_as_shell(tmp_path):
    marker = tmp_path / "marker"
    result = subprocess.run(
        ["make", "-s", "certify", f"EXP=tiny;touch {marker}"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert result.returncode == 2 and "there is no experiment" in result.stderr
    assert not marker.exists()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("schema: [1", ["not valid YAML", "line"]),
        (yaml.safe_dump({**PLAIN, "stepps": 8}), ["unknown key `stepps`", "did you mean `steps`"]),
        (yaml.safe_dump({**PLAIN, "steps": "eight"}), ["steps", "whole number"]),
        (yaml.safe_dump({**PLAIN, "steps": 0}), ["steps", "greater than or equal to 1"]),
        (
            yaml.safe_dump({**PLAIN, "interruptions": [{"kind": "after_step", "step": 9}]}),
            ["step 9 is beyond the last step (8)"],
        ),
    ],
)
def test_a_wrong_experiment_is_named_with_its_key(shared_project, text, words):
    shared_project.experiment("broken", text)
    refused(shared_project.harness("certify", "broken"), 2, "broken.yaml", *words)
    # A checkout that cannot be read would stop every `gc` of the cache that it shares.
    (shared_project.root / "pipelines" / "experiments" / "broken.yaml").unlink()
    shared_project.commit("without it")


def test_a_dirty_tree_is_refused_and_the_remedy_named(project):
    (project.root / "pipelines" / "plain" / "train.py").write_text("# changed\n")
    refused(project.harness("certify", "tiny"), 2, "uncommitted", "--allow-dirty")


def test_no_git_and_a_shallow_clone_are_refused(project, tmp_path):
    shutil.rmtree(project.root / ".git")
    refused(project.harness("certify", "tiny"), 2, "git init")
    project.git("init", "-q")
    project.commit()
    project.commit()
    shallow = tmp_path / "shallow"
    subprocess.run(["git", "clone", "-q", "--depth", "1", f"file://{project.root}", str(shallow)], check=True)
    project.root = shallow
    refused(project.harness("certify", "tiny"), 2, "shallow", "--unshallow")


def test_without_an_engine_the_docker_runner_is_an_error_of_the_environment(shared_project):
    refused(shared_project.harness("certify", "tiny", RUNNER="docker", ENGINE="none"), 6, "ENGINE=none")
    assert shared_project.verdict("tiny")["verdict"] == "INCONCLUSIVE"
    dead = {"RUNNER": "docker", "DOCKER_HOST": "unix:///nonexistent/docker.sock"}
    refused(shared_project.harness("certify", "tiny", **dead), 6, "no Docker Engine answers")
    assert shared_project.verdict("tiny")["exit_code"] == 6


def test_a_plan_is_printed_and_nothing_runs(shared_project):
    before = sorted((shared_project.root / "runs").rglob("*"))
    answer = shared_project.harness("certify", "smollm2", "--plan", DOCKER_HOST="unix:///nonexistent/docker.sock")
    assert (answer.code == 0 and "micro_batch at step" in answer.out and "GB" in answer.out) or "cached" in answer.out
    assert sorted((shared_project.root / "runs").rglob("*")) == before


@pytest.mark.engine
def test_a_wrong_sha256_of_an_input_shows_both_digests(client, project):
    path = project.root / "pipelines" / "experiments" / "tiny.yaml"
    document = yaml.safe_load(path.read_text())
    document["inputs"]["wordnet"]["sha256"] = "0" * 64
    project.experiment("wrong", yaml.safe_dump(document))
    refused(project.harness("certify", "wrong"), 2, "wordnet", "0" * 64)


@pytest.mark.engine
@pytest.mark.parametrize(
    ("change", "words"),
    [({"lora": {"target_modules": ["no_such_module"]}}, "no_such_module"), ({"training": {"epochs": 0}}, "epochs")],
)
def test_a_pipeline_that_refuses_its_configuration_is_inconclusive_with_its_own_words(client, project, change, words):
    path = project.root / "pipelines" / "experiments" / "tiny.yaml"
    document = yaml.safe_load(path.read_text())
    for block, values in change.items():
        document["config"][block].update(values)
    document["policy"] = {"required": ["resume"]}
    project.experiment("refusing", yaml.safe_dump(document))
    answer = project.harness("certify", "refusing")
    assert answer.code == 3, answer.out + answer.err
    assert words in answer.out + answer.err
    assert project.verdict("refusing")["verdict"] == "INCONCLUSIVE"


@pytest.mark.engine
def test_ctrl_c_removes_the_containers_and_keeps_what_was_finished(client, project):
    project.experiment("long", yaml.safe_dump({**PLAIN, "run": ["sleep", "300"]}))
    process = subprocess.Popen(
        [sys.executable, "-m", "harness", "--root", str(project.root), "certify", "long"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # A shell that starts jobs in the background has SIGINT ignored, and that is inherited.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    mine = {"label": "repro-harness.run"}
    deadline = time.monotonic() + 120
    while not (running := _of(client, project, mine)) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert running, "no container came up"
    os.killpg(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "Traceback" not in err and "interrupted" in err
    assert not _of(client, project, mine)
    assert project.verdict("long")["verdict"] == "INCONCLUSIVE"
    assert project.verdict("long")["exit_code"] == 130


def _of(client, project, filters):
    """The containers of this project's runs."""
    found = []
    for container in client.containers.list(all=True, filters=filters, ignore_removed=True):
        try:
            run_id = container.labels["repro-harness.run"].partition("/")[0]
        except docker.errors.NotFound:
            continue
        if (project.root / "runs" / "long" / run_id).exists():
            found.append(container)
    return found
