"""The host's sandbox, with real processes: exit codes, kills from outside, time-outs, and what the process sees."""

import sys
import threading
import time
from pathlib import Path

from harness.host.sandbox import HostSandbox, Order, Place, describe_exit


def order(tmp_path, code, **changes):
    (tmp_path / "code").mkdir(exist_ok=True)
    (tmp_path / "code" / "job.py").write_text(code)
    fields = {
        "name": "run/straight/1",
        "argv": ("python", "job.py", "{output}"),
        "places": {
            "code": Place(outside=tmp_path / "code", inside="/code"),
            "output": Place(outside=tmp_path, inside="/out/output", is_writable=True),
        },
        "environment": {"GREETING": "hello"},
        "memory_bytes": 1 << 30,
        "timeout_s": 60,
        "log": tmp_path / "log.txt",
    }
    return Order(**{**fields, **changes})


def run(tmp_path, code, watch=lambda: False, **changes):
    return HostSandbox(Path(sys.executable)).execute(order(tmp_path, code, **changes), watch)


def test_places_environment_and_log_reach_the_process(tmp_path):
    outcome = run(tmp_path, "import os, sys; print(os.environ['GREETING'], sys.argv[1], os.getcwd())")
    assert outcome.exit_code == 0
    assert (tmp_path / "log.txt").read_text().split() == ["hello", str(tmp_path), str(tmp_path / "code")]


def test_secrets_of_the_caller_do_not_reach_the_process(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    run(tmp_path, "import os; print(os.environ)")
    assert "hf_secret" not in (tmp_path / "log.txt").read_text()


def test_a_process_that_kills_itself_has_the_code_of_its_signal(tmp_path):
    outcome = run(tmp_path, "import os; os.kill(os.getpid(), 9)")
    assert (outcome.exit_code, outcome.was_killed_outside) == (137, False)
    assert describe_exit(outcome.exit_code) == "SIGKILL (137)"


def test_a_kill_from_outside_ends_the_whole_group(tmp_path):
    code = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'import time; time.sleep(60)'])"
    started = time.monotonic()
    outcome = run(tmp_path, code, watch=lambda: time.monotonic() - started > 1)
    assert (outcome.exit_code, outcome.was_killed_outside) == (137, True)


def test_a_process_that_runs_too_long_says_so(tmp_path):
    outcome = run(tmp_path, "import time; time.sleep(60)", timeout_s=1)
    assert outcome.error == "it ran longer than timeout_s: 1"


def test_an_exception_of_the_watcher_ends_the_process(tmp_path):
    class Stop(Exception):
        pass

    def watch():
        raise Stop

    done = threading.Event()
    try:
        run(tmp_path, f"import time; time.sleep(5); open({str(tmp_path / 'late')!r}, 'w')", watch=watch)
    except Stop:
        done.set()
    assert done.is_set()
    time.sleep(0.2)
    assert not (tmp_path / "late").exists()
