"""The host runner with an interpreter that somebody gives: the locked one, one that differs, and what is none."""

import json
import os
import subprocess
import sys
import time

import pytest

from harness.packages.venv import host_venv
from harness.system.store import open_store
from tests import ROOT


@pytest.fixture(scope="module")
def locked_python():
    """The interpreter of the environment that the harness makes from the lock."""
    return host_venv(ROOT / "lockfiles" / "cpu.lock", open_store(None, os.environ), print)


def site_packages(python):
    return next((python.parent.parent / "lib").glob("python3.*")) / "site-packages"


@pytest.fixture(scope="module")
def changed_python(locked_python, tmp_path_factory):
    """An environment with every locked package but gguf, another PyYAML, and one that is not locked."""
    folder = tmp_path_factory.mktemp("given") / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    python = folder / "bin" / "python"
    own = site_packages(python)
    for path in site_packages(locked_python).iterdir():
        if not path.name.lower().startswith(("gguf", "pyyaml", "__pycache__")):
            (own / path.name).symlink_to(path)
    for name, version in (("PyYAML", "5.4.1"), ("Not.In_The-Lock", "1.0")):
        info = own / f"{name}-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    return python


def test_the_locked_interpreter_is_certified_without_a_difference(shared_project, locked_python):
    answer = shared_project.harness("certify", "plain", "--python", str(locked_python))
    assert (answer.code, answer.last_line) == (0, "VERDICT: CERTIFIED"), answer.out + answer.err
    verdict, manifest = shared_project.verdict("plain"), shared_project.manifest("plain")
    assert verdict["runner"] == manifest["runner"] == "host"
    environment = verdict["environment"]
    assert environment["kind"] == "given" and environment["is_locked"] is True
    assert environment["difference"] == {"python": None, "missing": [], "added": [], "changed": []}
    assert manifest["environment"]["interpreter"] == environment
    assert manifest["volatile"]["interpreter"] == str(locked_python)
    assert "NOT" not in verdict["summary"]
    assert not any("locked environment" in text for text in verdict["not_checked"])


def test_an_interpreter_that_differs_is_certified_and_every_document_says_what_differs(shared_project, changed_python):
    answer = shared_project.harness("certify", "plain", HARNESS_PYTHON=str(changed_python))
    assert (answer.code, answer.last_line) == (0, "VERDICT: CERTIFIED"), answer.out + answer.err
    verdict = shared_project.verdict("plain")
    assert {name: one["verdict"] for name, one in verdict["checks"].items()} == {
        "rerun": "CERTIFIED",
        "resume": "CERTIFIED",
        "rebuild": "NOT_CHECKED",
    }
    difference = verdict["environment"]["difference"]
    assert [row["name"] for row in difference["missing"]] == ["gguf"]
    assert [(row["name"], row["found"]) for row in difference["changed"]] == [("pyyaml", "5.4.1")]
    assert difference["added"] == [{"name": "not-in-the-lock", "found": "1.0"}]
    assert verdict["environment"]["is_locked"] is False
    assert "NOT the locked one" in verdict["summary"]
    assert any("pyyaml 5.4.1 instead of" in text for text in verdict["not_checked"])
    assert shared_project.manifest("plain")["environment"]["interpreter"]["difference"] == difference
    folder = shared_project.latest("plain")
    documents = [answer.out, (folder / "summary.md").read_text(), (folder / "report.html").read_text()]
    for text in documents:
        assert "NOT the locked environment" in text and "pyyaml" in text and "gguf" in text
    certificate = (folder / "certificate.json").read_text()
    assert '"name":"pyyaml"' in certificate and "5.4.1" in json.dumps(json.loads(certificate))


def test_a_certify_that_is_killed_goes_on_and_repeats_nothing_that_it_had_finished(project, locked_python):
    command = ("certify", "plain", "--python", str(locked_python))
    killed = start(project, *command)
    wait_for(lambda: list((project.root / "runs" / "plain").glob("2*/.finished/straight.json")))
    killed.kill()
    killed.communicate()
    (folder,) = (project.root / "runs" / "plain").glob("2*")
    log = (folder / "straight" / "log-1.txt").stat().st_mtime_ns
    another = start(project, *command)
    said = next(line for line in another.stderr if "cut off" in line)
    assert folder.name in said and "--continue (CONTINUE=1)" in said
    another.kill()
    another.communicate()
    answer = project.harness(*command, CONTINUE="1")
    assert (answer.code, project.latest("plain")) == (0, folder), answer.err
    assert project.verdict("plain")["continued"] == ["straight"]
    assert (folder / "straight" / "log-1.txt").stat().st_mtime_ns == log
    assert "finished before: straight" in (folder / "report.html").read_text()
    assert not [path.name for path in folder.iterdir() if path.name.startswith(".")]
    assert project.harness("verify", str(folder)).code == 0


def start(project, *arguments):
    command = [sys.executable, "-m", "harness", "--root", str(project.root), *arguments]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def wait_for(holds):
    deadline = time.monotonic() + 600
    while not holds() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert holds()


def test_controls_of_one_environment_are_not_cited_for_another(shared_project, locked_python, changed_python):
    folder = shared_project.latest("plain")
    assert (folder / "control-param").exists(), "the changed environment's own controls were made"


def test_an_interpreter_and_a_container_contradict_each_other(shared_project, locked_python):
    answer = shared_project.harness("certify", "plain", "--python", str(locked_python), RUNNER="docker")
    assert answer.code == 2 and "RUNNER=docker" in answer.err


def test_what_is_no_interpreter_ends_in_words_and_in_a_verdict(shared_project, tmp_path):
    answer = shared_project.harness("certify", "plain", "--python", str(tmp_path))
    assert answer.code == 2 and "folder" in answer.err and "remedy" in answer.err
    verdict = shared_project.verdict("plain")
    assert (verdict["verdict"], verdict["exit_code"]) == ("INCONCLUSIVE", 2)


def test_the_plan_names_the_host_when_an_interpreter_is_given(shared_project, locked_python):
    answer = shared_project.harness("certify", "plain", "--plan", "--python", str(locked_python))
    assert answer.code == 0 and "host runner" in answer.out


def test_a_sweep_kills_each_of_its_trainings_once_gives_their_files_back_and_verifies(shared_project, locked_python):
    settings = ("steps=6", "config.steps=6", "config.save_every=2", "interruptions=auto")
    changed = [word for setting in settings for word in ("--set", setting)]
    answer = shared_project.harness("certify", "plain", "--sweep", "4", *changed, "--python", str(locked_python))
    assert (answer.code, answer.last_line.split(" (")[0]) == (0, "VERDICT: CERTIFIED"), answer.out + answer.err
    sweep = shared_project.verdict("plain")["sweep"]
    assert (sweep["num_points"], sweep["num_possible"], sweep["num_held"]) == (4, 6 * 2 + 2, 4)
    assert sweep["bound"].startswith("4 of 4 held: with 95 % confidence, after fewer than 52.7 % of kills")
    folder = shared_project.latest("plain")
    assert sorted(path.name for path in folder.glob("swept-*")) == [f"swept-00{number}" for number in range(1, 5)]
    assert [path.name for path in (folder / "swept-001").iterdir() if path.is_dir()] == ["runs"]
    assert shared_project.harness("verify", str(folder)).code == 0
