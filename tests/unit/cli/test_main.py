"""The way out of the command line."""

import pytest

from harness import cli
from harness.system.gpu import Inventory


def test_what_is_not_installed_is_named_with_the_command_that_helps(monkeypatch, capsys):
    def missing(**_):
        raise ModuleNotFoundError("No module named 'docker'", name="docker")

    monkeypatch.setattr(cli.cli, "main", missing)
    with pytest.raises(SystemExit) as ended:
        cli.main([])
    assert ended.value.code == 6
    wanted = "error: this needs docker, which is not installed\n  remedy: pip install 'repro-harness[certify]'"
    assert capsys.readouterr().err.startswith(wanted)


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
