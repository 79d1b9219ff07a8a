"""Whoever ends a certify (a person, a CI service, a terminal that goes away) leaves no container and gets a verdict."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
PLAIN = yaml.safe_load((ROOT / "pipelines" / "experiments" / "plain.yaml").read_text())
LABEL = "repro-harness.run"


@pytest.fixture
def long(client, shared_project):
    """A certify in whose containers processes sleep, and the containers that are its own."""
    shared_project.experiment("long", yaml.safe_dump({**PLAIN, "run": ["sleep", "300"]}))
    process = subprocess.Popen(
        [sys.executable, "-m", "harness", "--root", str(shared_project.root), "certify", "long"],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
        # A shell that starts jobs in the background has SIGINT ignored, and that is inherited.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip

    def containers():
        known = {path.name for path in (shared_project.root / "runs" / "long").glob("*")}
        # One at a time: a listing asks for each one again, and fails when one of somebody else's has just gone.
        rows = client.api.containers(all=True, filters={"label": LABEL})
        return [row["Id"] for row in rows if row["Labels"][LABEL].partition("/")[0] in known]

    deadline = time.monotonic() + 120
    while not containers() and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.1)
    assert containers(), process.communicate()[1] if process.poll() is not None else "no container came up"
    yield process, containers, lambda: shared_project.verdict("long")
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def assert_it_ends_cleanly(long, within_s=10):
    """As after Ctrl-C. GitHub's runner gives ten seconds before it kills."""
    process, containers, verdict = long
    began = time.monotonic()
    _, err = process.communicate(timeout=60)
    assert time.monotonic() - began < within_s
    assert process.returncode == 130, err
    assert "Traceback" not in err and "error: interrupted" in err
    assert containers() == []
    assert (verdict()["verdict"], verdict()["exit_code"]) == ("INCONCLUSIVE", 130)


@pytest.mark.engine
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_to_the_harness_alone_is_ctrl_c(long, number):
    long[0].send_signal(number)
    assert_it_ends_cleanly(long)


@pytest.mark.engine
def test_a_sigterm_while_an_interrupt_is_cleaned_up_breaks_nothing_off(long):
    # What GitHub's runner does when a run is cancelled, but as often as can be, so that every line is hit by one.
    long[0].send_signal(signal.SIGINT)
    deadline = time.monotonic() + 30
    while long[0].poll() is None and time.monotonic() < deadline:
        long[0].send_signal(signal.SIGTERM)
        long[0].send_signal(signal.SIGHUP)
        time.sleep(0.001)
    assert_it_ends_cleanly(long)


def in_a_process(program, ignored=()):
    """What a program prints that is started with some signals ignored, and the others not."""
    def prepare():
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN if number in ignored else signal.SIG_DFL)

    result = subprocess.run(
        [sys.executable, "-c", f"import signal\nfrom harness import cli\n{program}"], cwd=ROOT, capture_output=True,
        text=True, timeout=60, check=False, preexec_fn=prepare,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    return result.stdout


CLEANING_UP = """
with cli._signals_are_ctrl_c():
    try:
        signal.raise_signal(signal.{first})
    except KeyboardInterrupt:
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGHUP)
        print("cleaned up")
        try:
            signal.raise_signal(signal.SIGINT)
        except KeyboardInterrupt:
            print("somebody insists")
"""


@pytest.mark.parametrize("first", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_while_it_cleans_up_only_ctrl_c_is_heard_again(first):
    assert in_a_process(CLEANING_UP.format(first=first)) == "cleaned up\nsomebody insists\n"


def test_a_certify_behind_nohup_does_not_end_with_the_terminal():
    program = "with cli._signals_are_ctrl_c():\n    signal.raise_signal(signal.SIGHUP)\n    print('still here')"
    assert in_a_process(program, ignored=(signal.SIGHUP,)) == "still here\n"
