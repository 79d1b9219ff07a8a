"""Whoever ends a certify (a person, a CI service, a terminal that goes away) leaves no container and gets a verdict."""

import os
import signal
import subprocess
import sys
import time
import uuid

import pytest
import yaml

from harness.images.builder import build
from harness.system.store import open_store
from tests import ROOT

PLAIN = yaml.safe_load((ROOT / "pipelines" / "experiments" / "plain.yaml").read_text())
LABEL = "repro-harness.run"


@pytest.fixture
def long(client, shared_project, request):
    """A certify in whose containers processes sleep, and the containers that are its own."""
    sleeping = {getattr(request, "param", "run"): ["sleep", "300"]}
    shared_project.experiment("long", yaml.safe_dump({**PLAIN, **sleeping}))
    process = subprocess.Popen(
        [sys.executable, "-m", "harness", "--root", str(shared_project.root), "certify", "long"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # A shell that starts jobs in the background has SIGINT ignored, nohup SIGHUP, and that is inherited.
        preexec_fn=lambda: [signal.signal(number, signal.SIG_DFL) for number in (signal.SIGINT, signal.SIGHUP)],
    )

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
@pytest.mark.parametrize("long", ["prepare"], indirect=True)
def test_a_signal_ends_a_conversion_of_inputs_as_well(long):
    long[0].send_signal(signal.SIGTERM)
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


@pytest.mark.engine
def test_what_a_killed_harness_left_in_the_engine_goes_with_the_next_command(long, shared_project):
    process, containers, _ = long
    process.kill()
    process.communicate()
    assert containers(), "nobody is there to remove them"
    answer = shared_project.harness("build", "cpu")
    assert answer.code == 0 and "of a harness that was killed" in answer.err, answer.err
    assert containers() == []


JUST_CREATED = """
import signal, sys
from pathlib import Path
from harness.errors import Interrupted
from harness.system.deferred_signals import signals_as_ctrl_c
from harness.runs.container import ContainerSandbox
from harness.runs.sandbox import ProcessSpec, Mount

class StruckSandbox(ContainerSandbox):
    def _create(self, *arguments, **options):
        container = super()._create(*arguments, **options)
        signal.raise_signal(signal.SIGTERM)
        return container

folder = Path(sys.argv[2])
order = ProcessSpec(
    name=sys.argv[3], argv=("sleep", "60"), mounts={"code": Mount(source=folder, target="/code")},
    environment={}, memory_bytes=1 << 30, timeout_s=60, log=folder / "log.txt",
)
try:
    with signals_as_ctrl_c():
        StruckSandbox(sys.argv[1]).execute(order, lambda: False)
except Interrupted:
    print("interrupted")
"""


@pytest.mark.engine
def test_a_container_that_was_just_created_when_the_signal_came_is_removed(client, tmp_path):
    built = build(client, "cpu", ROOT, open_store(None, os.environ), print)
    name = f"just-created-{uuid.uuid4().hex}/x/1"
    command = [sys.executable, "-c", JUST_CREATED, built.engine_id, str(tmp_path), name]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert result.stdout == "interrupted\n", result.stderr
    assert client.api.containers(all=True, filters={"label": f"{LABEL}={name}"}) == []
