"""The way out of the command line."""

import json

import pytest

from harness import cli
from harness.errors import EvidenceError, UsageError
from harness.system.gpu import Inventory


def test_what_is_not_installed_is_named_with_the_command_that_helps(monkeypatch, capsys):
    def missing(**_):
        raise ModuleNotFoundError("No module named 'docker'", name="docker")

    monkeypatch.setattr(cli.cli, "main", missing)
    code, said = ended(capsys)
    assert code == 6
    assert said.startswith(
        "error: this needs docker, which is not installed\n  remedy: pip install 'repro-harness[certify]'"
    )


def ended(capsys, *arguments):
    with pytest.raises(SystemExit) as how:
        cli.main([str(one) for one in arguments])
    return how.value.code, capsys.readouterr().err


@pytest.mark.parametrize("command", [("doctor",), ("review", __file__), ("key", "list"), ("certify", "tiny")])
def test_a_root_that_is_not_there_is_refused(capsys, command, tmp_path):
    code, said = ended(capsys, "--root", tmp_path / "absent", *command)
    assert code == 2 and "does not exist" in said


def test_without_a_gpu_the_checks_of_one_end_with_the_reason(capsys, monkeypatch):
    found = Inventory(problem="no NVIDIA driver answers", remedy="install it")
    monkeypatch.setattr("harness.system.gpu.inventory", lambda: found)
    code, said = ended(capsys, "doctor", "--gpu")
    assert code == 6 and "there is no GPU to check: no NVIDIA driver answers" in said
    code, said = ended(capsys, "doctor", "--gpu", "0", "--check", "digest")
    assert code == 2 and "there is no check 'digest'" in said and "nvml, digests" in said


def test_an_image_that_is_not_there_is_named_with_the_nearest_before_an_engine_is_looked_for(
    capsys, tmp_path, monkeypatch
):
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("harness.system.engine.ensure", lambda *_: pytest.fail("an engine was looked for"))
    code, said = ended(capsys, "build", "cpuu")
    assert code == 2 and "there is no image 'cpuu'" in said and "did you mean cpu" in said and "Errno" not in said


def test_a_file_that_is_no_key_is_wrong_usage_and_a_key_that_was_changed_is_tampered(capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    (tmp_path / "README.md").write_text("# Read me\n")
    assert ended(capsys, "key", "trust", tmp_path / "README.md", "--name", "x")[0] == 2
    ended(capsys, "key", "create", "own")
    public = tmp_path / "repro-harness" / "keys" / "own.json"
    (tmp_path / "changed.json").write_text(public.read_text().replace("a", "b"))
    assert ended(capsys, "key", "trust", tmp_path / "changed.json", "--name", "x")[0] == 5


FAILURES = {
    "of the harness": (UsageError("no", "do this"), "no", "do this", 2),
    "without a remedy": (EvidenceError("torn"), "torn", None, 3),
    "of a bug": (ValueError("oh"), "internal error: ValueError: oh (test_main.py:", "report it with", 70),
    "of a person": (KeyboardInterrupt(), "interrupted", "start again", 130),
}


@pytest.mark.parametrize("name", FAILURES)
def test_a_failure_says_the_same_to_people_and_to_programs(monkeypatch, capsys, name):
    error, problem, remedy, code = FAILURES[name]

    def fails(**_):
        raise error

    monkeypatch.setattr(cli.cli, "main", fails)
    monkeypatch.delenv("HARNESS_TRACEBACK", raising=False)
    with pytest.raises(SystemExit) as how:
        cli.main(["verify", "x", "--json"])
    said = capsys.readouterr()
    found = json.loads(said.out)
    assert how.value.code == found["exit_code"] == code
    assert found["error"].startswith(problem) and (found["remedy"] or "").startswith(remedy or "")
    assert said.err == f"error: {found['error']}\n" + (f"  remedy: {found['remedy']}\n" if found["remedy"] else "")


@pytest.mark.parametrize("command", [["verfy"], ["verify"], ["verify", "x", "--jsn"], ["--root", "/nowhere", "doctor"]])
def test_wrong_usage_is_told_as_every_other_error(capsys, command):
    with pytest.raises(SystemExit) as how:
        cli.main([*command, "--json"])
    said = capsys.readouterr()
    assert how.value.code == json.loads(said.out)["exit_code"] == 2
    assert said.err.startswith("error: ") and "\n  remedy: see " in said.err and "Usage:" not in said.err


def test_json_behind_two_dashes_is_a_name(capsys, tmp_path):
    with pytest.raises(SystemExit):
        cli.main(["verify", "--", "--json"])
    assert capsys.readouterr().out == ""


def commands(group, path=()):
    for name, one in group.commands.items():
        yield from commands(one, (*path, name)) if hasattr(one, "commands") else [((*path, name), one)]


COMMANDS = dict(commands(cli.cli))


@pytest.mark.parametrize("path", COMMANDS, ids="-".join)
def test_every_command_that_answers_has_json_and_names_its_exit_codes(path):
    command = COMMANDS[path]
    has_json = any("--json" in option.opts for option in command.params)
    assert has_json or path in {("fetch",), ("key", "create"), ("key", "show"), ("key", "trust")}
    assert path[0] == "key" or "Exit codes: 0" in command.help
