"""The gate as GitHub's runner would run it: action.yml's steps in a clone of their own."""

import json
import os
import re
import shutil
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from tests import ROOT
from tests.engine.composite import CompositeAction
from tests.project import Project

PLAIN = yaml.safe_load((ROOT / "pipelines" / "experiments" / "plain.yaml").read_text())


@pytest.fixture(scope="module")
def place(shared_project, tmp_path_factory):
    """The action as the service lays out that of another repository: files alone; its environment is made once."""
    folder = tmp_path_factory.mktemp("actions") / "repro-harness" / "v0"
    folder.mkdir(parents=True)
    packed = subprocess.run(["git", "-C", str(shared_project.root), "archive", "HEAD"], check=True, capture_output=True)
    subprocess.run(["tar", "-x", "-C", str(folder)], input=packed.stdout, check=True)
    return folder


@pytest.fixture(scope="module")
def checkout(shared_project, place, tmp_path_factory):
    """A clone as actions/checkout makes it, with experiments of its own."""
    shared_project.experiment("forgetful", yaml.safe_dump({**MUTANT, "config": {**MUTANT["config"], **FORGETS}}))
    shared_project.experiment("sleeping", yaml.safe_dump({**PLAIN, "run": ["sleep", "300"]}))
    clone = tmp_path_factory.mktemp("clone") / "work"
    subprocess.run(["git", "clone", "-q", str(shared_project.root), str(clone)], check=True)
    return clone


MUTANT = {
    **PLAIN,
    "run": ["python", "tests/mutants/train.py", *PLAIN["run"][2:]],
    "resume": ["python", "tests/mutants/train.py", *PLAIN["resume"][2:]],
}
FORGETS = {"bug": "forgets_rng"}
CARELESS = "import torch\nmodel = torch.nn.Linear(4, 1)\nmodel(torch.randn(8, 4)).sum().backward()\n"


@pytest.fixture(scope="module")
def foreign(tmp_path_factory):
    """Somebody's own repository: a script, an experiment, a lock."""
    project = Project(tmp_path_factory.mktemp("foreign"))
    (project.root / "pipelines" / "experiments").mkdir(parents=True)
    shutil.copytree(ROOT / "lockfiles", project.root / "lockfiles", ignore=shutil.ignore_patterns("harness*", "lint*"))
    (project.root / "careless.py").write_text(CARELESS)
    (project.root / ".gitignore").write_text("/runs/\n")
    project.git("init", "-q")
    project.experiment("careless", yaml.safe_dump({**PLAIN, "run": ["python", "careless.py"], "resume": ["x"]}))
    return project.root


def use(checkout, place, tmp_path, start=subprocess.run, used=None, **inputs):
    action = CompositeAction(checkout, tmp_path / "job", {"python": sys.executable, **inputs}, used, place)
    return action.run(start)


def documents(action):
    (given,) = [given for name, given in action.skipped_uses if name.startswith("actions/upload-artifact@")]
    return {path.name: path for path in Path(given["path"]).iterdir()}


@pytest.mark.engine
def test_what_is_certified_passes_and_is_published_and_signed(client, checkout, place, tmp_path):
    keys = {**os.environ, "XDG_CONFIG_HOME": str(tmp_path / "config")}
    harness = [sys.executable, "-m", "harness", "--root", str(checkout)]
    subprocess.run([*harness, "key", "create", "ci"], cwd=ROOT, env=keys, check=True, capture_output=True)
    key = (tmp_path / "config" / "repro-harness" / "keys" / "ci.pem").read_text()
    action = use(checkout, place, tmp_path, experiment="plain", steps="9", key=key)
    assert action["Gate"].outcome == "success", action.log
    assert action["Gate"].log == "VERDICT: CERTIFIED (the first 9 of 20 steps)\n"
    assert action["Review"].outcome == "success" and "::error" not in action.log
    assert {key: value for key, value in action.outputs.items() if key in ("verdict", "exit-code")} == {
        "verdict": "CERTIFIED",
        "exit-code": "0",
    }
    assert "CERTIFIED" in action.summary.read_text()
    found = documents(action)
    assert {"report.html", "verdict.json", "manifest.json", "summary.md", "junit.xml"} <= set(found)
    archive = Path(action.outputs["archive"])
    assert archive == found[archive.name] and archive.name.startswith("plain-")
    assert Path(action.outputs["report"]).is_file()
    told = subprocess.run(
        [*harness, "verify", str(archive), "--json"], cwd=ROOT, env=keys, check=False, capture_output=True, text=True
    )
    assert told.returncode == 0, told.stdout + told.stderr
    assert json.loads(told.stdout)["word"] == "CONSISTENT"
    assert_no_key_is_left(action, key)


def assert_no_key_is_left(action, key):
    secret = key.splitlines()[1]
    assert secret not in action.log
    left = [path for path in action.temp.rglob("*") if path.is_file() and secret.encode() in path.read_bytes()]
    assert left == []


def test_in_another_repository_and_without_a_key_the_archive_is_signed_by_one_that_was_made_for_it(
    foreign, place, tmp_path, monkeypatch
):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    action = use(foreign, place, tmp_path, experiment="careless", runner="host", cache="always", sarif="true")
    assert action.outputs["verdict"] == "VETOED" and action.outputs["exit-code"] == "4", action.log
    assert action["Gate"].outcome == "failure"
    assert "::error title=VETOED,file=careless.py::careless:" in action["Gate"].log
    assert re.search(r"^::error file=careless.py,.*line=\d+,", action["Review"].log, re.MULTILINE)
    assert "VETOED" in action.summary.read_text()
    assert {"verdict.json", "report.html"} <= set(documents(action))
    assert action["Archive"].outcome == "success", action["Archive"].log
    assert Path(action.outputs["archive"]).is_file()
    assert not (tmp_path / "config").exists(), "no key of this machine is made or used"
    assert not list(action.runner_temp.rglob("*.pem"))
    names, given = zip(*((name.partition("@")[0], value) for name, value in action.skipped_uses), strict=True)
    assert names == (
        "actions/cache/restore",
        "actions/cache/restore",
        "actions/cache/save",
        "actions/cache/save",
        "github/codeql-action/upload-sarif",
        "actions/upload-artifact",
    )
    packages, environment, kept_environment, kept_packages, sarif, _ = given
    assert re.fullmatch("repro-harness-Linux-X64-[0-9a-f]{64}", packages["key"])
    assert re.fullmatch("repro-harness-environment-Linux-X64-[0-9a-f]{32}", environment["key"])
    assert packages["path"] == kept_packages["path"] != "" and environment["path"] == kept_environment["path"]
    assert [Path(path).exists() for path in environment["path"].split()] == [True, True]
    assert json.loads(Path(sarif["sarif_file"]).read_text())["runs"][0]["results"]


def test_an_environment_that_was_restored_is_not_made_again(checkout, place, tmp_path):
    os.utime(place / ".venv" / ".lock-installed", (1, 1))
    used = {"environment": {"cache-hit": "true"}}
    action = use(checkout, place, tmp_path, used=used, experiment="nothing", cache="always")
    made = action["The harness's own environment, from its hashed lock"]
    assert made.outcome == "success" and "making" not in made.log, made.log
    assert action["Keep the harness's own environment"].outcome == "skipped"
    assert "there is no experiment" in action["Certify"].log


@pytest.mark.engine
@pytest.mark.slow
def test_what_diverges_does_not_pass_and_is_published_all_the_same(client, checkout, place, tmp_path):
    action = use(checkout, place, tmp_path, experiment="forgetful", archive="none")
    assert action["Certify"].outcome == "failure" and action["Certify"].conclusion == "success"
    assert action.outputs["verdict"] == "DIVERGED" and action.outputs["exit-code"] == "1", action.log
    assert action["Gate"].outcome == "failure" and "::error title=DIVERGED%3A resume%2C step" in action["Gate"].log
    assert "DIVERGED" in action.summary.read_text()
    assert json.loads(documents(action)["verdict.json"].read_text())["verdict"] == "DIVERGED"
    assert action["Archive"].outcome == "skipped" and action.outputs["archive"] == ""


@pytest.mark.engine
def test_a_job_that_is_cancelled_leaves_no_container_and_fails_as_undecided(client, checkout, place, tmp_path):
    mine = []

    def start(command, **options):
        if "exec .venv/bin/python -m harness" not in Path(command[-1]).read_text():
            return subprocess.run(command, **options)
        timeout = options.pop("timeout")
        options.pop("check")
        # As the runner starts it, and signals it: the process that it started, and no other.
        process = subprocess.Popen(command, **options, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))
        deadline = time.monotonic() + 120
        while not mine and time.monotonic() < deadline and process.poll() is None:
            runs = {path.name for path in (checkout / "runs" / "sleeping").glob("2*")}
            rows = client.api.containers(filters={"label": "repro-harness.run"})
            mine.extend(row["Id"] for row in rows if row["Labels"]["repro-harness.run"].partition("/")[0] in runs)
            time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=timeout)
        return subprocess.CompletedProcess(command, process.returncode, out)

    action = use(checkout, place, tmp_path, start, experiment="sleeping")
    assert mine, action.log
    left = {row["Id"] for row in client.api.containers(all=True)}
    assert not left & set(mine)
    assert action.outputs["verdict"] == "INCONCLUSIVE" and action.outputs["exit-code"] == "130", action.log
    assert (
        "::error title=INCONCLUSIVE,file=pipelines/experiments/sleeping.yaml::sleeping: it could not be decided"
        in action["Gate"].log
    )
    assert action["Gate"].outcome == "failure" and action["Archive"].outcome == "skipped"
    assert "INCONCLUSIVE" in action.summary.read_text()


def test_a_certify_that_never_began_fails_and_an_older_certificate_does_not_stand_in_for_it(checkout, place, tmp_path):
    old = checkout / "runs" / "nothing" / "20200101T000000Z-aaaaaaa-bbbb"
    old.mkdir(parents=True)
    (old / "verdict.json").write_text(json.dumps({"verdict": "CERTIFIED", "exit_code": 0}))
    action = use(checkout, place, tmp_path, experiment="nothing")
    assert "there is no experiment" in action["Certify"].log
    assert action["Gate"].outcome == "failure" and "::error title=No verdict::" in action["Gate"].log
    assert action.outputs == {"verdict": "", "exit-code": "", "report": "", "archive": ""}
    assert [name for name, _ in action.skipped_uses] == [], "nothing is uploaded"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("experiment", "../x"),
        ("experiment", "plain\nverdict=CERTIFIED"),
        ("experiment", "$(touch pwned)"),
        ("archive", "yes"),
        ("cache", "perhaps"),
    ],
)
def test_a_malformed_input_closes_the_gate_at_once(checkout, tmp_path, name, value):
    action = CompositeAction(checkout, tmp_path, {"experiment": "plain", "python": sys.executable, name: value})
    action.run()
    assert action["Inputs"].outcome == action["Gate"].outcome == "failure"
    assert [label for label, step in action.steps if step.outcome == "success"] == []
    assert "::error" in action["Inputs"].log and "Traceback" not in action.log
    assert not (checkout / "pwned").exists()


def test_the_key_is_readable_by_its_user_alone_while_it_is_used(tmp_path):
    # The archive step's own text, with a harness that says how the key lies.
    (script,) = [
        step["run"]
        for step in yaml.safe_load((ROOT / "action.yml").read_text())["runs"]["steps"]
        if step.get("id") == "archive"
    ]
    program = tmp_path / ".venv" / "bin" / "python"
    program.parent.mkdir(parents=True)
    program.write_text(
        '#!/bin/bash\nwhile [ "$1" != --key ]; do shift; done\nstat -c "%a" "$2" "${2%/*}"; cat "$2"\n'
        'echo "in the environment: [$KEY]"\n'
    )
    program.chmod(0o755 | stat.S_IXUSR)
    (tmp_path / "artifact").mkdir()
    environment = {
        "PATH": os.environ["PATH"],
        "GITHUB_ACTION_PATH": str(tmp_path),
        "GITHUB_WORKSPACE": str(tmp_path),
        "GITHUB_OUTPUT": str(tmp_path / "output"),
        "KIND": "full",
        "KEY": "line one\nline two",
        "RUN": "r",
        "FOLDER": str(tmp_path),
        "NAME": "n",
    }
    result = subprocess.run(
        ["bash", "-eo", "pipefail", "-c", f"umask 022\n{script}"],
        env=environment,
        check=True,
        capture_output=True,
        text=True,
    )
    assert result.stdout == "600\n700\nline one\nline two\nin the environment: []\n"
    assert not list(tmp_path.glob("keys.*"))
