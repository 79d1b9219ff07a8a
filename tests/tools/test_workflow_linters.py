"""What the linters of the trade say of action.yml and the workflows, and that each of them finds what is wrong."""

import os
import re
import shutil
import subprocess
import sys

import pytest
import yaml

from tests import ROOT

ACTIONS = ("action.yml", ".github/workflows/certify.yml", ".github/workflows/test.yml")


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
