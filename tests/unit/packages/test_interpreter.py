"""A given interpreter is asked in a process of its own: real environments, and programs that are no Python."""

import os
import sys
import time
from pathlib import Path

import pytest

from harness.documents.environment import ChangedPackage
from harness.documents.lockfile import parse_lock
from harness.errors import HostError, UsageError
from harness.packages import interpreter as module
from harness.packages.interpreter import probe
from harness.packages.venv import host_python, venv_folder
from harness.system.store import Store

HASH = "--hash=sha256:" + "ab" * 32


def program(path, text):
    path.write_text(text)
    path.chmod(0o755)
    return path


def made_venv(folder, **packages):
    """An environment without pip, in which packages are there by their metadata only."""
    import venv

    venv.create(folder, with_pip=False, symlinks=True)
    site = next((folder / "lib").glob("python3.*")) / "site-packages"
    for name, version in packages.items():
        add(site, name, version)
    return folder / "bin" / "python"


def add(site, name, version):
    info = site / f"{name}-{version}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")


def refused(path, *words, **options):
    with pytest.raises(UsageError) as caught:
        probe(path, **options)
    assert caught.value.exit_code == 2 and caught.value.remedy
    assert all(word in str(caught.value) for word in words), str(caught.value)


def test_this_interpreter_says_what_it_is_and_has():
    found = probe(Path(sys.executable))
    assert found.version == "{}.{}.{}".format(*sys.version_info)
    assert found.series == "{}.{}".format(*sys.version_info)
    assert found.prefix == sys.prefix
    assert found.platform.startswith("linux-")
    assert dict(found.packages)["pytest"] == pytest.__version__


def test_the_packages_are_those_of_the_environment_whose_link_was_given(tmp_path):
    python = made_venv(tmp_path / "venv", Some_Package="1.2")
    assert python.is_symlink()
    found = probe(python)
    assert found.packages == (("some-package", "1.2"),)
    assert found.prefix == str(tmp_path / "venv")


def test_the_callers_pythonpath_and_user_site_are_not_seen(tmp_path, monkeypatch):
    python = made_venv(tmp_path / "venv")
    add(tmp_path, "leaked", "1.0")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert probe(python).packages == ()


def test_what_a_site_customisation_prints_does_not_disturb_the_answer(tmp_path):
    python = made_venv(tmp_path / "venv", a="1")
    site = next((tmp_path / "venv" / "lib").glob("python3.*")) / "site-packages"
    (site / "noise.pth").write_text("import sys; sys.stdout.write('repro-harness-interpreter:{}\\n no newline')\n")
    assert probe(python).packages == (("a", "1"),)


def test_broken_metadata_is_left_out(tmp_path):
    python = made_venv(tmp_path / "venv", a="1")
    site = next((tmp_path / "venv" / "lib").glob("python3.*")) / "site-packages"
    (site / "broken-1.0.dist-info").mkdir()
    (site / "nameless-1.0.dist-info").mkdir()
    (site / "nameless-1.0.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\n")
    assert probe(python).packages == (("a", "1"),)


def test_a_path_that_is_not_there_a_folder_and_a_file_that_cannot_be_executed_are_refused(tmp_path):
    refused(tmp_path / "nothing", "there is no such file")
    refused(tmp_path, "it is a folder")
    text = tmp_path / "text"
    text.write_text("print()")
    text.chmod(0o644)
    refused(text, "cannot be executed")


def test_a_broken_link_is_refused(tmp_path):
    (tmp_path / "python").symlink_to(tmp_path / "gone")
    refused(tmp_path / "python", "there is no such file")


def test_an_executable_that_the_system_cannot_start_is_refused(tmp_path):
    refused(program(tmp_path / "python", "#!/nonexistent/interpreter\n"), "cannot be started")
    refused(program(tmp_path / "binary", "\x7fELF nothing"), "cannot be started")


@pytest.mark.parametrize(
    "body",
    [
        "echo hello",
        "exit 1",
        "printf '\\377\\376\\000'",
        "echo 'repro-harness-interpreter:not json'",
        "echo 'repro-harness-interpreter:[1, 2]'",
        "head -c 100000 /dev/zero | tr '\\0' '['",
    ],
)
def test_a_program_that_prints_garbage_is_no_python(tmp_path, body):
    refused(program(tmp_path / "python", f"#!/bin/sh\n{body}\n"), "it is not a Python")


@pytest.mark.parametrize(
    "answer",
    [
        "{}",
        '{"version": "3.11", "prefix": "/", "markers": {}, "packages": []}',
        '{"version": [3, 11, true], "prefix": "/", "markers": {}, "packages": []}',
        '{"version": [3, 11, 1], "prefix": "/", "markers": {"a": 1}, "packages": []}',
        '{"version": [3, 11, 1], "prefix": "/", "markers": {}, "packages": [["a"]]}',
        '{"version": [3, 11, 1], "prefix": "/", "markers": {}, "packages": [["a", 1]]}',
    ],
)
def test_an_answer_of_another_form_is_refused(tmp_path, answer):
    refused(
        program(tmp_path / "python", f"#!/bin/sh\necho 'repro-harness-interpreter:{answer}'\n"), "not that of a Python"
    )


def test_an_old_python_is_named_with_its_version(tmp_path):
    answer = '{"version": [3, 6, 9], "prefix": "/usr", "markers": {}, "packages": []}'
    python = program(tmp_path / "python3.6", f"#!/bin/sh\necho 'repro-harness-interpreter:{answer}'\n")
    refused(python, "Python 3.6.9 is too old", "3.10")


def test_the_probe_is_written_in_a_syntax_that_old_pythons_have():
    import ast

    ast.parse(module._PROBE, feature_version=(3, 4))


def test_a_program_that_hangs_is_given_up_and_ended_with_its_children(tmp_path):
    mark = tmp_path / "late"
    python = program(tmp_path / "python", f"#!/bin/sh\n(sleep 3; touch {mark}) &\nsleep 60\n")
    started = time.monotonic()
    refused(python, "did not answer within 1 s", timeout_s=1)
    assert time.monotonic() - started < 3
    time.sleep(3.2 - (time.monotonic() - started))
    assert not mark.exists()


def test_a_program_that_ends_and_leaves_a_child_with_its_output_does_not_hold_the_probe(tmp_path):
    started = time.monotonic()
    refused(program(tmp_path / "python", "#!/bin/sh\nsleep 60 &\necho done\n"), "it is not a Python", timeout_s=20)
    assert time.monotonic() - started < 10


def test_a_program_that_writes_without_end_is_given_up(tmp_path):
    started = time.monotonic()
    refused(program(tmp_path / "python", "#!/bin/sh\nexec yes\n"), "wrote more than", timeout_s=20)
    assert time.monotonic() - started < 10


# --- against a lock ---------------------------------------------------------------------------------------------------


@pytest.fixture
def lock_path(tmp_path):
    path = tmp_path / "test.lock"
    path.write_text(f"# target: cp{sys.version_info[0]}{sys.version_info[1]}-linux-x86_64\na==1.0 {HASH}\n")
    return path


def test_a_given_interpreter_is_compared_with_the_lock(tmp_path, lock_path):
    python = made_venv(tmp_path / "venv", a="2.0")
    found = host_python(lock_path, python, Store(tmp_path / "cache"), print)
    assert found.path == python and found.facts.kind == "given" and found.facts.lock == "test.lock"
    assert found.facts.difference.changed == (ChangedPackage(name="a", locked="1.0", found="2.0"),)
    assert str(tmp_path) not in str(found.facts.to_json()), "somebody's paths do not go into a certificate"


def test_a_relative_path_works(tmp_path, lock_path, monkeypatch):
    made_venv(tmp_path / "venv", a="1.0")
    monkeypatch.chdir(tmp_path)
    found = host_python(lock_path, Path("venv/bin/python"), Store(tmp_path / "cache"), print)
    assert found.path.is_absolute() and found.facts.is_locked


def test_the_environment_made_from_the_lock_must_still_be_it(tmp_path, lock_path):
    store = Store(tmp_path / "cache")
    folder = venv_folder(parse_lock(lock_path.read_text(), "test.lock"), store)
    made_venv(folder, a="1.0")
    (folder / "complete").touch()
    facts = host_python(lock_path, None, store, print).facts
    assert facts.is_locked and facts.kind == "lock"
    add(next((folder / "lib").glob("python3.*")) / "site-packages", "sneaked-in", "1.0")
    with pytest.raises(HostError, match=r"was changed: 1 added \(sneaked-in 1\.0\)") as caught:
        host_python(lock_path, None, store, print)
    assert str(folder) in caught.value.remedy and os.path.isdir(folder)
