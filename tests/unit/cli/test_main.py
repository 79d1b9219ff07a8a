"""The way out of the command line."""

import pytest

from harness import cli


def test_what_is_not_installed_is_named_with_the_command_that_helps(monkeypatch, capsys):
    def missing(**_):
        raise ModuleNotFoundError("No module named 'docker'", name="docker")

    monkeypatch.setattr(cli.cli, "main", missing)
    with pytest.raises(SystemExit) as ended:
        cli.main([])
    assert ended.value.code == 6
    wanted = "error: this needs docker, which is not installed\n  remedy: pip install 'repro-harness[certify]'"
    assert capsys.readouterr().err.startswith(wanted)
