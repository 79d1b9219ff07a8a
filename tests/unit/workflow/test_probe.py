"""A probe, run with real processes in the sandbox of the host: what it is given, and what is made of what it leaves."""

import json
import sys
import threading
from pathlib import Path

import pytest

from harness.documents.experiment import parse_experiment
from harness.errors import EvidenceError, Interrupted, UsageError
from harness.runs.context import RunContext
from harness.runs.host import HostSandbox
from harness.workflow.probe import run_probe

EXPERIMENT = """
schema: 1
image: cpu
run: [python, train.py]
resume: [python, train.py]
probe: [python, probe.py, "{config}", "{output}", "{recorder}"]
steps: 1
outputs: [x]
timeout_s: 60
environment: {COLOUR: green}
policy: {required: [rerun]}
"""
SIZES = '"peak_allocated_bytes": 5, "peak_reserved_bytes": 7'
WRITES = f"""
import json, os, sys
assert os.environ["COLOUR"] == "green" and "HARNESS_RUN_DIR" not in os.environ
assert "recorder" not in os.environ.get("PYTHONPATH", "") and sys.argv[3] == "{{recorder}}"
name = json.load(open(sys.argv[1]))["name"]
with open(sys.argv[2] + "/probe.json", "w") as file:
    file.write('{{"schema": 1, "device": "cpu", "gpu": null, "variants": [{{"name": "' + name + '", {SIZES}}}]}}')
"""


def context_of(tmp_path, code, text=EXPERIMENT):
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "probe.py").write_text(code)
    (tmp_path / "config.json").write_text(json.dumps({"name": "as configured"}))
    return RunContext(
        experiment=parse_experiment(text, "x.yaml"),
        name="x",
        run_id="id",
        commit="0" * 40,
        sandbox=HostSandbox(Path(sys.executable)),
        folder=tmp_path,
        code=tmp_path / "code",
        config=tmp_path / "config.json",
        recorder=tmp_path / "recorder",
        inputs={},
        prepared=None,
        listener=None,
        cancel=threading.Event(),
    )


def test_a_probe_is_run_without_the_recorder_and_its_file_is_read(tmp_path):
    probe = run_probe(context_of(tmp_path, WRITES))
    assert (probe.device, probe.configured.name, probe.configured.peak_reserved_bytes) == ("cpu", "as configured", 7)
    assert probe.configured.is_estimate, "what a CPU says of a GPU's memory is an estimate"


def test_an_experiment_without_a_probe_says_what_to_do(tmp_path):
    with pytest.raises(UsageError, match="declares no `probe`"):
        run_probe(context_of(tmp_path, WRITES, EXPERIMENT.replace("probe: ", "prepare: ")))


def test_a_probe_that_fails_shows_the_end_of_its_log(tmp_path):
    with pytest.raises(EvidenceError, match=r"(?s)exit code 3.*\| no GPU here"):
        run_probe(context_of(tmp_path, "import sys; print('no GPU here'); sys.exit(3)"))


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("pass", "is missing"),
        ("import os, sys; os.symlink('/etc/passwd', sys.argv[2] + '/probe.json')", "link"),
        ("import os, sys; os.mkfifo(sys.argv[2] + '/probe.json')", "no regular file"),
        ("import sys; open(sys.argv[2] + '/probe.json', 'w').write('[' * 100000)", "no JSON"),
        ("import sys; open(sys.argv[2] + '/probe.json', 'w').truncate(1 << 22)", "at most 1048576"),
        ("import sys; open(sys.argv[2] + '/probe.json', 'w').write('{\"schema\": 1}')", "device"),
    ],
)
def test_what_a_probe_leaves_is_not_trusted(tmp_path, code, words):
    with pytest.raises(EvidenceError, match=words):
        run_probe(context_of(tmp_path, code))


def test_ctrl_c_ends_a_probe(tmp_path):
    context = context_of(tmp_path, "import time; time.sleep(60)")
    threading.Timer(0.5, context.cancel.set).start()
    with pytest.raises(Interrupted):
        run_probe(context)
