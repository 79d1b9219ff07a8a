"""A recorder that is not there, or is not loaded, is an error before the first training."""

import dataclasses
import shutil

import pytest

from harness.errors import HostError
from harness.runs.recorder_check import check_recorder
from tests import ROOT
from tests.unit.runs.test_trajectory import context_of

RECORDER = ROOT / "harness" / "recorder"


@pytest.fixture
def context(tmp_path):
    return dataclasses.replace(context_of(tmp_path, ""), recorder=RECORDER)


def copied(context, tmp_path) -> tuple:
    recorder = tmp_path / "a copy of the recorder"
    shutil.copytree(RECORDER, recorder)
    return dataclasses.replace(context, recorder=recorder), recorder


def test_the_recorder_is_loaded_and_the_check_leaves_nothing(context):
    check_recorder(context)
    assert not (context.folder / "recorder-check").exists()


def test_a_recorder_that_is_not_there_is_an_error_with_its_path(context, tmp_path):
    with pytest.raises(HostError, match="sitecustomize") as caught:
        check_recorder(dataclasses.replace(context, recorder=tmp_path / "nowhere"))
    assert caught.value.exit_code == 6


@pytest.mark.parametrize("name", ["__init__.py", "hooks.py"])
def test_a_recorder_that_cannot_be_loaded_is_an_error(context, tmp_path, name):
    context, recorder = copied(context, tmp_path)
    (recorder / name).unlink()
    with pytest.raises(HostError, match="would not be recorded: sitecustomize did not load"):
        check_recorder(context)


def test_a_python_that_ignores_the_environment_is_an_error(context, tmp_path):
    """`PYTHONPATH` is how the recorder is injected."""
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\nexec {context.sandbox._python} -E "$@"\n')
    python.chmod(0o755)
    sandbox = type(context.sandbox)(python)
    with pytest.raises(HostError, match="did not load"):
        check_recorder(dataclasses.replace(context, sandbox=sandbox))
