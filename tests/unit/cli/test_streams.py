"""Standard output and error that nobody reads, or that lie on a full disk: the exit code is the answer all the same."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests import ROOT


@pytest.fixture
def closed():
    """A pipe whose reader has gone."""
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "wb") as stream:
        yield stream


def diff(folder, other, **streams):
    (folder / "a.json").write_text('{"loss": 1}')
    (folder / "b.json").write_text(other)
    command = [sys.executable, "-m", "harness", "diff", str(folder / "a.json"), str(folder / "b.json")]
    return subprocess.run(command, cwd=ROOT, timeout=60, check=False, **{"stderr": subprocess.PIPE, **streams})


@pytest.mark.parametrize(("other", "code"), [('{"loss": 1}', 0), ('{"loss": 2}', 1)])
@pytest.mark.parametrize("names", [["stdout"], ["stderr"], ["stdout", "stderr"]], ids="+".join)
def test_an_answer_that_nobody_reads_is_the_same(tmp_path, closed, names, other, code):
    assert diff(tmp_path, other, **dict.fromkeys(names, closed)).returncode == code


@pytest.mark.parametrize("names", [["stderr"], ["stdout", "stderr"]], ids="+".join)
def test_an_error_that_nobody_reads_has_its_exit_code(tmp_path, closed, names):
    command = [sys.executable, "-m", "harness", "diff", str(tmp_path / "a"), str(tmp_path / "b")]
    result = subprocess.run(command, cwd=ROOT, timeout=60, check=False, **dict.fromkeys(names, closed))
    assert result.returncode == 2


@pytest.mark.parametrize("names", [[1], [2], [1, 2]], ids=str)
@pytest.mark.parametrize(("other", "code"), [('{"loss": 1}', 0), ('{"loss": 2}', 1)])
def test_whoever_starts_it_without_a_stream_gets_the_same_answer(tmp_path, names, other, code):
    def close():
        for number in names:
            os.close(number)

    assert diff(tmp_path, other, preexec_fn=close).returncode == code


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
def test_an_answer_for_which_there_is_no_room_is_an_error_of_the_environment(tmp_path):
    with Path("/dev/full").open("wb") as full:
        result = diff(tmp_path, '{"loss": 1}', stdout=full)
    assert (result.returncode, result.stderr.decode().splitlines()[0]) == (
        6,
        "error: standard output cannot be written: No space left on device",
    )
