"""What can be said of an engine without one: its absence, its remedy, and pid files that somebody else's kill left."""

import gc
import os
import signal
import time
import warnings

import pytest

from harness.errors import HostError
from harness.system import engine


def test_a_pid_file_of_another_program_is_removed(tmp_path):
    file = tmp_path / "docker.pid"
    file.write_text(str(os.getpid()))
    engine._drop_stale(file, "dockerd")
    assert not file.exists()


@pytest.mark.parametrize("content", ["", "x", "999999999"])
def test_a_pid_file_that_the_daemon_can_judge_itself_is_left(tmp_path, content):
    file = tmp_path / "docker.pid"
    file.write_text(content)
    engine._drop_stale(file, "dockerd")
    assert file.exists()


def test_a_pid_file_of_the_program_itself_is_left(tmp_path):
    file = tmp_path / "docker.pid"
    file.write_text(str(os.getpid()))
    with open(f"/proc/{os.getpid()}/comm") as name:
        engine._drop_stale(file, name.read().strip())
    assert file.exists()


# The Docker client leaves the socket that was refused to the garbage collector.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_no_engine_is_an_error_with_its_remedy(monkeypatch):
    monkeypatch.setenv("DOCKER_HOST", "unix:///nonexistent/docker.sock")
    with pytest.raises(HostError) as caught:
        engine.ensure("auto", print)
    assert caught.value.exit_code == 6
    assert "RUNNER=host" in caught.value.remedy
    del caught
    gc.collect()


def test_an_engine_that_is_not_wanted_is_not_looked_for():
    with pytest.raises(HostError, match="ENGINE=none"):
        engine.ensure("none", print)


def test_offline_no_engine_is_installed(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(engine, "can_install", lambda: True)
    monkeypatch.setattr(engine, "_install", None)

    def no_engine():
        raise HostError("no Docker Engine answers", "")

    monkeypatch.setattr(engine, "connect", no_engine)
    with pytest.raises(HostError, match="no Docker Engine answers"):
        engine.ensure("auto", print, is_offline=True)


def test_a_daemon_that_was_started_is_left_running_without_a_warning(tmp_path, monkeypatch):
    program, pid = tmp_path / "dockerd", tmp_path / "pid"
    program.write_text(f"#!/bin/sh\necho $$ > {pid}.part && mv {pid}.part {pid}\nexec sleep 60\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.setattr(engine, "_LOG", tmp_path / "log")
    monkeypatch.setattr(engine, "_PID_FILES", {})
    monkeypatch.setattr(engine.subprocess, "run", lambda *arguments, **options: None)
    monkeypatch.setattr(engine, "_answers", lambda seconds, daemon=None: daemon is not None)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        engine._start(print)
        gc.collect()
    while not pid.exists():
        time.sleep(0.01)
    os.kill(int(pid.read_text()), signal.SIGKILL)
    os.waitpid(int(pid.read_text()), 0)
    assert [str(one.message) for one in caught] == []
