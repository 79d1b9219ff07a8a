"""`harness verify` as a person runs it: on what real runs left, and on a machine that has neither engine nor torch."""

import json
import os
import shutil
import subprocess
import sys

import pytest

from tests import ROOT
from tests.mutants import mutant
from tests.project import Project
from tests.tamper.made_archive import certify_again, edit_json, made

BARE = """
import sys


class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"docker", "torch", "pynvml", "transformers"}:
            raise ModuleNotFoundError(f"{name} is not installed here")


sys.meta_path.insert(0, Absent())
from harness.cli import main

main(sys.argv[1:])
"""


@pytest.fixture(scope="module")
def honest(tmp_path_factory):
    patch = pytest.MonkeyPatch()
    folder = tmp_path_factory.mktemp("verify")
    patch.setenv("XDG_CONFIG_HOME", str(folder / "config"))
    yield made(folder)
    patch.undo()


def bare(*arguments, home):
    """The command without network, engine, programs, home, and the packages that reach for any of them."""
    unshare = shutil.which("unshare")
    isolated = [unshare, "--net"] if unshare and os.geteuid() == 0 else []
    result = subprocess.run(
        [*isolated, sys.executable, "-c", BARE, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=300,
        cwd=home,
        stdin=subprocess.DEVNULL,
        env={"PATH": "/nonexistent", "HOME": str(home), "DOCKER_HOST": "tcp://127.0.0.1:1", "PYTHONPATH": str(ROOT)},
    )
    assert "Traceback" not in result.stderr, result.stderr
    return result


def test_it_needs_neither_engine_nor_torch_nor_network(honest, tmp_path):
    result = bare("verify", honest.archive, home=tmp_path)
    assert result.returncode == 0, result.stdout + result.stderr
    last = result.stdout.strip().splitlines()[-1]
    assert last.startswith("CONSISTENT: the archive says CERTIFIED, and that follows from its evidence. Signed by key ")
    assert "judged again from the evidence: word for word" in result.stdout
    assert "that the runs took place" in result.stdout


def test_a_tampered_archive_is_answered_there_with_exit_code_5(honest, tmp_path):
    data = bytearray(honest.archive.read_bytes())
    data[len(data) // 2] ^= 4
    changed = tmp_path / "changed.oci.tar"
    changed.write_bytes(data)
    result = bare("verify", changed, home=tmp_path)
    assert (result.returncode, result.stdout.strip().splitlines()[-1]) == (5, "TAMPERED")
    assert "remedy: " in result.stdout
    answer = json.loads(bare("verify", changed, "--json", home=tmp_path).stdout)
    assert (answer["word"], answer["exit_code"]) == ("TAMPERED", 5) and answer["problem"]


@pytest.mark.parametrize("option", [(), ("--json",)], ids=["text", "json"])
def test_the_exit_code_is_the_answer_though_nobody_reads_the_words(honest, tmp_path, option):
    changed = tmp_path / "changed.oci.tar"
    changed.write_bytes(honest.archive.read_bytes()[:-1])
    for archive, code in ((honest.archive, 0), (changed, 5)):
        reader, writer = os.pipe()
        os.close(reader)
        with os.fdopen(writer, "wb") as closed:
            command = [sys.executable, "-m", "harness", "verify", str(archive), *option]
            result = subprocess.run(command, stdout=closed, stderr=subprocess.PIPE, timeout=300, cwd=ROOT, check=False)
        assert result.returncode == code and b"rror" not in result.stderr, result.stderr


def test_what_is_no_archive_is_an_error_with_exit_code_2(tmp_path):
    (tmp_path / "text").write_text("no archive")
    for path in ("text", "nothing", "."):
        result = bare("verify", path, home=tmp_path)
        assert result.returncode == 2 and "remedy: " in result.stderr, path


def test_what_somebody_signed_sends_no_control_character_to_the_terminal(honest, tmp_path):
    def edit(folder):
        edit_json(folder / "manifest.json", lambda manifest: manifest.update(name="\x1b[2Jtiny"))

    result = bare("verify", honest.resigned(edit, derive=False), home=tmp_path)
    assert result.returncode == 5
    assert "\x1b" not in result.stdout + result.stderr


def key_made(project, tmp_path):
    environment = {"XDG_CONFIG_HOME": str(tmp_path / "config")}
    assert project.harness("key", "create", "tester", **environment).code == 0
    return environment


@pytest.mark.engine
def test_a_run_in_containers_is_archived_and_verified_elsewhere(certified_prefix, tmp_path):
    certified, answer, _ = certified_prefix
    assert answer.last_line == "VERDICT: CERTIFIED (the first 10 of 20 steps)", answer.out + answer.err
    project = Project(tmp_path / "project")
    shutil.copytree(certified.root, project.root, symlinks=True)
    environment = key_made(project, tmp_path)
    target = tmp_path / "plain.oci.tar"
    answer = project.harness("archive", "plain", "--output", str(target), **environment)
    assert answer.code == 0, answer.err
    result = bare("verify", target, home=tmp_path)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "CONSISTENT: the archive says CERTIFIED" in result.stdout
    assert "word for word" in result.stdout
    folder = project.latest("plain")
    answer = project.harness("verify", str(folder), **environment)
    assert (answer.code, answer.last_line.split(":")[0]) == (0, "CONSISTENT"), answer.out
    edit_json(folder / "verdict.json", lambda verdict: verdict.update(final_state_equal=False))
    certify_again(folder)
    answer = project.harness("verify", str(folder), **environment)
    assert (answer.code, answer.last_line) == (5, "TAMPERED"), answer.out


@pytest.mark.engine
@pytest.mark.slow
def test_runs_of_other_verdicts_are_verified_with_their_own_word(client, project, tmp_path):
    environment = key_made(project, tmp_path)
    project.experiment("forgetful", mutant("forgets_moments"))
    for name, word in (("forgetful", "DIVERGED"), ("tiny", "CERTIFIED")):
        answer = project.harness("certify", name, RUNNER="docker")
        assert answer.last_line == f"VERDICT: {word}", answer.out + answer.err
        target = tmp_path / f"{name}.oci.tar"
        assert project.harness("archive", name, "--output", str(target), **environment).code == 0
        result = bare("verify", target, home=tmp_path)
        assert result.returncode == 0, result.stdout + result.stderr
        assert f"CONSISTENT: the archive says {word}" in result.stdout
        assert "word for word" in result.stdout
