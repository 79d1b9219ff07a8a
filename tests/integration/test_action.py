"""The gate as GitHub's runner would run it: action.yml's steps in a clone of their own, and linters on all of it."""

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
from tests.integration.composite import CompositeAction

PLAIN = yaml.safe_load((ROOT / "pipelines" / "experiments" / "plain.yaml").read_text())
ACTIONS = ("action.yml", ".github/workflows/certify.yml", ".github/workflows/test.yml")
CERTIFIED = {"verdict": "CERTIFIED", "exit_code": 0}


@pytest.fixture(scope="module")
def checkout(shared_project, tmp_path_factory):
    """A clone as actions/checkout makes it, with experiments of its own; its environment is made once."""
    shared_project.experiment("forgetful", yaml.safe_dump({**MUTANT, "config": {**MUTANT["config"], **FORGETS}}))
    shared_project.experiment("sleeping", yaml.safe_dump({**PLAIN, "run": ["sleep", "300"]}))
    shared_project.experiment("careless", yaml.safe_dump({**PLAIN, "run": ["python", "careless.py"], "resume": ["x"]}))
    (shared_project.root / "careless.py").write_text(CARELESS)
    shared_project.commit("careless")
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


def use(checkout, tmp_path, start=subprocess.run, **inputs):
    action = CompositeAction(checkout, tmp_path / "job", {"python": sys.executable, **inputs})
    return action.run(start)


def documents(action):
    (given,) = [given for name, given in action.skipped_uses if name.startswith("actions/upload-artifact@")]
    return {path.name: path for path in Path(given["path"]).iterdir()}


@pytest.mark.engine
def test_what_is_certified_passes_and_is_published_and_signed(client, checkout, tmp_path):
    keys = {**os.environ, "XDG_CONFIG_HOME": str(tmp_path / "config")}
    harness = [sys.executable, "-m", "harness", "--root", str(checkout)]
    subprocess.run([*harness, "key", "create", "ci"], cwd=ROOT, env=keys, check=True, capture_output=True)
    key = (tmp_path / "config" / "repro-harness" / "keys" / "ci.pem").read_text()
    action = use(checkout, tmp_path, experiment="plain", steps="9", key=key)
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


def test_without_a_key_the_archive_is_signed_by_one_that_was_made_for_it(checkout, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    action = use(checkout, tmp_path, experiment="careless", runner="host", cache="always", sarif="true")
    assert action.outputs["verdict"] == "VETOED" and action.outputs["exit-code"] == "4", action.log
    assert action["Gate"].outcome == "failure" and "::error title=VETOED::careless:" in action["Gate"].log
    assert re.search(r"^::error file=careless.py,.*line=\d+,", action["Review"].log, re.MULTILINE)
    assert "VETOED" in action.summary.read_text()
    assert {"verdict.json", "report.html"} <= set(documents(action))
    assert action["Archive"].outcome == "success", action["Archive"].log
    assert Path(action.outputs["archive"]).is_file()
    assert not (tmp_path / "config").exists(), "no key of this machine is made or used"
    assert not list(action.runner_temp.rglob("*.pem"))
    given = {name.partition("@")[0]: value for name, value in action.skipped_uses}
    assert list(given) == [
        "actions/cache/restore",
        "actions/cache/save",
        "github/codeql-action/upload-sarif",
        "actions/upload-artifact",
    ]
    assert re.fullmatch("repro-harness-Linux-X64-[0-9a-f]{64}", given["actions/cache/restore"]["key"])
    assert given["actions/cache/restore"]["path"] == given["actions/cache/save"]["path"] != ""
    assert json.loads(Path(given["github/codeql-action/upload-sarif"]["sarif_file"]).read_text())["runs"][0]["results"]


@pytest.mark.engine
@pytest.mark.slow
def test_what_diverges_does_not_pass_and_is_published_all_the_same(client, checkout, tmp_path):
    action = use(checkout, tmp_path, experiment="forgetful", archive="none")
    assert action["Certify"].outcome == "failure" and action["Certify"].conclusion == "success"
    assert action.outputs["verdict"] == "DIVERGED" and action.outputs["exit-code"] == "1", action.log
    assert action["Gate"].outcome == "failure" and "::error title=DIVERGED::forgetful:" in action["Gate"].log
    assert "DIVERGED" in action.summary.read_text()
    assert json.loads(documents(action)["verdict.json"].read_text())["verdict"] == "DIVERGED"
    assert action["Archive"].outcome == "skipped" and action.outputs["archive"] == ""


@pytest.mark.engine
def test_a_job_that_is_cancelled_leaves_no_container_and_fails_as_undecided(client, checkout, tmp_path):
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

    action = use(checkout, tmp_path, start, experiment="sleeping")
    assert mine, action.log
    left = {row["Id"] for row in client.api.containers(all=True)}
    assert not left & set(mine)
    assert action.outputs["verdict"] == "INCONCLUSIVE" and action.outputs["exit-code"] == "130", action.log
    assert "::error title=INCONCLUSIVE::sleeping: it could not be decided" in action["Gate"].log
    assert action["Gate"].outcome == "failure" and action["Archive"].outcome == "skipped"
    assert "INCONCLUSIVE" in action.summary.read_text()


def test_a_certify_that_never_began_fails_and_an_older_certificate_does_not_stand_in_for_it(checkout, tmp_path):
    old = checkout / "runs" / "nothing" / "20200101T000000Z-aaaaaaa-bbbb"
    old.mkdir(parents=True)
    (old / "verdict.json").write_text(json.dumps(CERTIFIED))
    action = use(checkout, tmp_path, experiment="nothing")
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


def gate(tmp_path, text, **environment):
    (tmp_path / "verdict.json").write_text(text)
    result = subprocess.run(
        [sys.executable, str(ROOT / ".github" / "gate.py"), "gate"],
        capture_output=True,
        text=True,
        check=False,
        env={
            "PATH": os.environ["PATH"],
            "EXPERIMENT": "x",
            "OUTCOME": "success",
            "ARCHIVE": "none",
            "VERDICT_FILE": str(tmp_path / "verdict.json"),
            **environment,
        },
    )
    assert result.stderr == ""
    return result.returncode, result.stdout


@pytest.mark.parametrize("text", ["x" * (1 << 20), "x" * ((1 << 20) + 5) + "\n", "é" * (1 << 20), "short", "short\n"])
def test_a_summary_stays_within_what_the_service_takes(tmp_path, text):
    run = tmp_path / "runs" / "x" / "20260101T000000Z-aaaaaaa-bbbb"
    run.mkdir(parents=True)
    (tmp_path / "artifact").mkdir()
    (run / "summary.md").write_text(text)
    (tmp_path / "runs-before.json").write_text("[]")
    summary = tmp_path / "summary"
    subprocess.run(
        [sys.executable, str(ROOT / ".github" / "gate.py"), "results"],
        check=True,
        env={
            "EXPERIMENT": "x",
            "FOLDER": str(tmp_path),
            "GITHUB_WORKSPACE": str(tmp_path),
            "GITHUB_OUTPUT": str(tmp_path / "output"),
            "GITHUB_STEP_SUMMARY": str(summary),
        },
    )
    # "supports content up to a size of 1024k": one byte more and nothing at all is shown.
    assert 0 < summary.stat().st_size <= 1 << 20
    assert summary.read_text().strip("\n") == text.strip("\n")[: len(summary.read_text()) - 1]


def test_the_gate_opens_for_certified(tmp_path):
    assert gate(tmp_path, json.dumps(CERTIFIED)) == (0, "VERDICT: CERTIFIED\n")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "null",
        "{",
        "[" * 100_000,
        '{"verdict": "certified", "exit_code": 0}',
        '{"verdict": ["CERTIFIED"]}',
        '{"verdict": "CERTIFIED", "exit_code": "0"}',
        '{"verdict": "CERTIFIED", "exit_code": false}',
        '{"verdict": "CERTIFIED", "exit_code": 1}',
        '{"verdict": "CERTIFIED"}',
        *[json.dumps({"verdict": word, "exit_code": 0}) for word in ("DIVERGED", "INCONCLUSIVE", "VETOED", "TAMPERED")],
    ],
)
def test_the_gate_opens_for_nothing_else(tmp_path, text):
    code, out = gate(tmp_path, text)
    assert code == 1 and out.startswith("::error title=")


@pytest.mark.parametrize(
    "environment",
    [
        {"OUTCOME": "failure"},
        {"OUTCOME": "cancelled"},
        {"OUTCOME": ""},
        {"VERDICT_FILE": ""},
        {"ARCHIVE": "evidence", "ARCHIVED": ""},
    ],
)
def test_certified_is_not_enough_where_the_command_or_the_archive_failed(tmp_path, environment):
    assert gate(tmp_path, json.dumps(CERTIFIED), **environment)[0] == 1


def test_no_expression_stands_in_a_script_and_every_action_is_pinned_by_its_commit():
    for name in ACTIONS:
        document = yaml.safe_load((ROOT / name).read_text())
        steps = (
            document["runs"]["steps"]
            if "runs" in document
            else [step for job in document["jobs"].values() for step in job["steps"]]
        )
        for step in steps:
            assert "${{" not in step.get("run", ""), step
            uses = step.get("uses", "./")
            assert uses == "./" or re.fullmatch(r"[\w-]+/[\w/-]+@[0-9a-f]{40}", uses), uses
        pins = re.findall(r"uses: (?!\./)(.*)", (ROOT / name).read_text())
        assert all(re.search(r"@[0-9a-f]{40} # v\d+\.\d+\.\d+$", pin) for pin in pins), pins
        assert "pull_request_target" not in (ROOT / name).read_text()
        assert document.get("permissions", {}) == {}, "each job says what it needs"


@pytest.fixture(scope="module")
def linters(tmp_path_factory):
    """The folder of an environment's programs: exactly what lockfiles/lint-workflows.lock pins."""
    folder = tmp_path_factory.mktemp("linters") / "environment"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    options = ["--quiet", "--require-hashes", "--no-deps", "--only-binary", ":all:"]
    lock = ROOT / "lockfiles" / "lint-workflows.lock"
    pip = [sys.executable, "-m", "pip", "--python", folder / "bin" / "python", "install", *options, "-r", lock]
    subprocess.run(pip, check=True, capture_output=True)
    return folder / "bin"


def lint(linters, folder, name):
    """What a linter says of the action and the workflows in a folder: its exit code and its words."""
    workflows = sorted(str(path.relative_to(folder)) for path in (folder / ".github" / "workflows").glob("*.yml"))
    command = {
        "schema of actions": ["check-jsonschema", "--builtin-schema", "vendor.github-actions", "action.yml"],
        "schema of workflows": ["check-jsonschema", "--builtin-schema", "vendor.github-workflows", *workflows],
        "actionlint": ["actionlint", "-no-color"],
        "zizmor": ["zizmor", "--offline", "--no-progress", "--color=never", "action.yml", ".github/workflows"],
    }[name]
    result = subprocess.run(
        [linters / command[0], *command[1:]],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PATH": f"{linters}:{os.environ['PATH']}"},
    )
    return result.returncode, result.stdout + result.stderr


def linted_copy(tmp_path):
    shutil.copytree(ROOT / ".github", tmp_path / ".github")
    shutil.copy(ROOT / "action.yml", tmp_path / "action.yml")
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    return tmp_path


@pytest.mark.parametrize("linter", ["schema of actions", "schema of workflows", "actionlint", "zizmor"])
def test_no_linter_finds_anything(linters, tmp_path, linter):
    code, words = lint(linters, linted_copy(tmp_path), linter)
    assert code == 0, words


@pytest.mark.parametrize(
    ("linter", "file", "old", "new"),
    [
        ("zizmor", ".github/workflows/certify.yml", 'case "$RESULT" in', 'case "${{ github.head_ref }}" in'),
        ("zizmor", "action.yml", "@bbbca2ddaa5d8feaa63e36b76fdaad77386f024f # v7.0.0", "@v7"),
        ("actionlint", ".github/workflows/certify.yml", "experiment: ${{ inputs", "experimnt: ${{ inputs"),
        ("actionlint", ".github/workflows/certify.yml", "needs: certify", "needs: certfy"),
        ("schema of actions", "action.yml", "using: composite", "using: composit"),
        ("schema of workflows", ".github/workflows/test.yml", "timeout-minutes: 45", "timeout: 45"),
    ],
)
def test_each_linter_finds_what_was_planted_for_it(linters, tmp_path, linter, file, old, new):
    path = linted_copy(tmp_path) / file
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    code, words = lint(linters, tmp_path, linter)
    assert code != 0, words


def test_shellcheck_finds_nothing_in_the_scripts_of_the_action(linters, tmp_path):
    for step in yaml.safe_load((ROOT / "action.yml").read_text())["runs"]["steps"]:
        if "run" in step:
            script = tmp_path / "script.sh"
            script.write_text("#!/bin/bash\nset -eo pipefail\n" + step["run"])
            result = subprocess.run([linters / "shellcheck", script], capture_output=True, text=True, check=False)
            assert result.returncode == 0, result.stdout


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
