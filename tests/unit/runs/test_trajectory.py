"""Trajectories on the host, with real processes: what a run is given, what is kept, what ends it early."""

import json
import os
import shutil
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from harness.documents.experiment import Interruption, parse_experiment
from harness.documents.run import RunRecord
from harness.errors import EvidenceError, Interrupted
from harness.judge.checks import no_match
from harness.runs import campaign, host, run_watch
from harness.runs.campaign import CONTROL_OPTIM, RESUMED, plan_campaign, run_campaign
from harness.runs.context import RunContext
from harness.runs.host import HostSandbox
from harness.runs.load_evidence import load_trajectory
from harness.runs.trajectory import copy_trajectory, process_spec, run_interrupted, run_straight
from harness.runs.workspace import workspace
from tests.made.synthetic import chain

EXPERIMENT = """
schema: 1
image: cpu
run: [python, job.py, "{output}"]
resume: [python, job.py, "{output}", --resume]
steps: 4
outputs: ["*.txt"]
interruptions: [{kind: after_step, step: 2}, {kind: after_step, step: 3, by: outside}]
environment: {COLOUR: green}
policy: {required: [rerun, resume]}
"""
WRITES = "import os, sys; open(sys.argv[1] + '/' + os.path.basename(os.environ['HARNESS_RUN_DIR']) + '.txt', 'w')"
DIES = (
    WRITES
    + """
import json, time
for fault in json.loads(os.environ['HARNESS_FAULTS']):
    if fault['by'] == 'self':
        os.kill(os.getpid(), 9)
    with open(os.environ['HARNESS_RUN_DIR'] + '/events.jsonl', 'w') as events:
        events.write(json.dumps({'kind': 'fault', 'fault': fault, 'waiting': True}) + chr(10))
    time.sleep(60)
"""
)


LAUNCHED = (
    WRITES
    + """
import json, time
with open(os.environ['HARNESS_RUN_DIR'] + '/events.jsonl', 'w', buffering=1) as events:
    for fault in json.loads(os.environ['HARNESS_FAULTS']):
        waits = fault['by'] == 'outside'
        events.write(json.dumps({'kind': 'fault', 'fault': fault, 'waiting': waits}) + chr(10))
        time.sleep(60) if waits else os.kill(os.getpid(), 9)
    events.write('{"kind": "exit"}' + chr(10))
"""
)


class Listener:
    def __init__(self):
        self.told = []

    def step(self, *what):
        self.told.append(("step", *what))

    def note(self, text):
        self.told.append(("note", text))

    def kill(self, *what):
        self.told.append(("kill", *what))


def context_of(tmp_path, code):
    (tmp_path / "code").mkdir()
    (tmp_path / "recorder").mkdir()
    (tmp_path / "code" / "job.py").write_text(code)
    (tmp_path / "config.json").write_text("{}")
    return RunContext(
        experiment=parse_experiment(EXPERIMENT, "x.yaml"),
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
        listener=Listener(),
        cancel=threading.Event(),
    )


def test_two_sides_that_look_for_their_inputs_at_the_same_time_both_find_them(tmp_path):
    context = replace(context_of(tmp_path, DIES), inputs={f"i{number}": tmp_path / "code" for number in range(300)})
    both = threading.Barrier(2)

    def found(_):
        both.wait()
        return len(context.mounts())

    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(found, range(2))) == [304, 304]


def test_a_trajectory_is_killed_and_resumed_in_order_and_each_record_is_kept(tmp_path):
    context = context_of(tmp_path, DIES)
    records = run_interrupted(context, "resumed")
    assert [(r.mode, r.exit_code, r.killed_by) for r in records] == [
        ("run", 137, "self"),
        ("resume", 137, "outside"),
        ("resume", 0, None),
    ]
    assert RunRecord.load((tmp_path / "resumed" / "run-2.json").read_bytes(), "run-2.json") == records[1]
    assert sorted(path.name for path in (tmp_path / "resumed" / "output").iterdir()) == ["1.txt", "2.txt", "3.txt"]
    assert [told for told in context.listener.told if told[0] == "kill"] == [
        ("kill", "resumed", 1, "after_step", 2),
        ("kill", "resumed", 2, "after_step", 3),
    ]


@pytest.mark.parametrize("left", ["", "c.pt", "saved"])
def test_before_there_is_a_checkpoint_a_killed_training_begins_again(tmp_path, left):
    """What is saved by other means than torch's is known by its name, and what is not declared by having been saved."""
    context = context_of(tmp_path, "pass")
    context = replace(context, experiment=context.experiment.model_copy(update={"checkpoints": ("*.pt",)}))
    (tmp_path / "resumed" / "output").mkdir(parents=True)
    (tmp_path / "resumed" / "runs" / "1").mkdir(parents=True)
    if left == "c.pt":
        (tmp_path / "resumed" / "output" / left).touch()
    if left == "saved":
        (tmp_path / "resumed" / "runs" / "1" / "events.jsonl").write_bytes(SAVED)
    argv = process_spec(context, tmp_path / "resumed", 2, "resume", ()).argv
    assert argv == (context.experiment.resume if left else context.experiment.run)


@pytest.mark.parametrize(
    "script", ['python job.py "$@"', 'set -e; python job.py "$@"; echo over', 'exec python job.py "$@"']
)
def test_the_end_of_the_recorded_process_counts_and_not_that_of_its_launcher(tmp_path, script):
    """A shell script ends with 0, 1 or 137 when the training in it is killed, or goes on with something else."""
    context = context_of(tmp_path, LAUNCHED)
    (tmp_path / "code" / "run.sh").write_text(script + "\n")
    argv = ("bash", "run.sh", "{output}")
    context = replace(context, experiment=context.experiment.model_copy(update={"run": argv, "resume": argv}))
    records = run_interrupted(context, "resumed")
    assert [(record.killed_by, record.is_planned_kill) for record in records] == [
        ("self", True),
        ("outside", True),
        (None, False),
    ]
    assert records[2].exit_code == 0


def test_what_follows_the_training_in_a_script_is_ended_with_it(tmp_path):
    context = context_of(tmp_path, LAUNCHED)
    (tmp_path / "code" / "run.sh").write_text("python job.py $1; sleep 8; touch $1/evaluated\n")
    argv = ("bash", "run.sh", "{output}")
    context = replace(context, experiment=context.experiment.model_copy(update={"run": argv, "resume": argv}))
    records = run_interrupted(context, "resumed")[:1]
    assert records[0].is_planned_kill
    assert records[0].seconds < 8


ANSWERS = (
    WRITES
    + """
import json, signal, sys, time
way, again = sys.argv[2], os.path.exists(sys.argv[1] + '/begun')
open(sys.argv[1] + '/begun', 'w')
with open(os.environ['HARNESS_RUN_DIR'] + f'/events{"-2" * again}.jsonl', 'w', buffering=1) as events:
    for fault in json.loads(os.environ['HARNESS_FAULTS']):
        told = {'kind': 'fault', 'fault': fault, 'waiting': False, 'handled': way != 'dies'}
        events.write(json.dumps(told) + chr(10))
        if way == 'dies':
            os.kill(os.getpid(), signal.SIGTERM)
        events.write('{"kind": "save_begin"}' + chr(10))
        time.sleep(60 if way == 'hangs' or again else 0)
    events.write('{"kind": "exit"}' + chr(10))
sys.exit(7)
"""
)


@pytest.mark.parametrize(
    ("way", "script", "killed_by", "codes"),
    [
        ("ends", 'exec python job.py "$@"', "itself", {7}),
        ("dies", 'exec python job.py "$@"', "self", {143, 137}),
        ("hangs", 'exec python job.py "$@"', "outside", {137}),
        ("ends", 'python job.py "$@"; sleep 60', "itself", {137}),  # what follows in a script is ended
        ("dies", 'python job.py "$@"; sleep 60', "self", {137}),
        ("ends", 'until python job.py "$@"; do sleep 1; done', "outside", {137}),  # so is what is started again
    ],
)
def test_a_training_that_is_told_to_end_has_its_time_of_grace(tmp_path, monkeypatch, way, script, killed_by, codes):
    monkeypatch.setattr(run_watch, "LAUNCHER_WAIT_S", 20.0 if "until" in script else 1.0)
    context = context_of(tmp_path, ANSWERS)
    (tmp_path / "code" / "run.sh").write_text(script + "\n")
    kill = Interruption(kind="signal", signal="SIGTERM", step=2, grace_s=2 if way == "hangs" else 40)
    changes = {"run": ("bash", "run.sh", "{output}", way), "interruptions": (kill,)}
    context = replace(context, experiment=context.experiment.model_copy(update=changes))
    first, *_ = run_interrupted(context, "resumed")
    assert (first.killed_by, first.is_planned_kill, first.exit_code in codes) == (killed_by, True, True), first
    assert first.seconds < 30


def test_a_run_that_does_not_die_as_planned_ends_the_trajectory(tmp_path):
    records = run_interrupted(context_of(tmp_path, WRITES), "resumed")
    assert [record.exit_code for record in records] == [0]


def test_progress_is_told_and_what_is_no_progress_is_skipped(tmp_path):
    code = """
import os, json
with open(os.environ['HARNESS_RUN_DIR'] + '/progress.jsonl', 'w') as rows:
    rows.write('{"step": 1, "loss": 2.5}' + chr(10) + 'rubbish' + chr(10) + '[1]' + chr(10) + '{"step": "a"}' + chr(10))
    rows.write('{"step": 2, "loss": 1.5}' + chr(10) + '{"step": 3, "lo')
"""
    context = context_of(tmp_path, code)
    run_straight(context, "straight")
    assert context.listener.told == [("step", "straight", 1, 1, 4, 2.5), ("step", "straight", 1, 2, 4, 1.5)]


def test_events_that_are_a_pipe_or_a_link_do_not_stop_the_watcher(tmp_path):
    code = (
        "import os; d = os.environ['HARNESS_RUN_DIR']; os.mkfifo(d + '/events.jsonl'); "
        "os.symlink('/etc/passwd', d + '/progress.jsonl')"
    )
    context = context_of(tmp_path, code)
    assert run_straight(context, "straight")[0].exit_code == 0
    assert context.listener.told == []


def test_cancelling_ends_a_run_and_says_interrupted(tmp_path):
    context = context_of(tmp_path, "import time; time.sleep(60)")
    threading.Timer(0.5, context.cancel.set).start()
    with pytest.raises(Interrupted):
        run_campaign(context, plan_campaign(context.experiment, with_controls=False, cores=2))


def test_a_pipe_in_the_output_folder_is_an_error_of_the_evidence(tmp_path):
    context = context_of(tmp_path, WRITES)
    run_straight(context, RESUMED)
    os.mkfifo(tmp_path / RESUMED / "output" / "pipe")
    with pytest.raises(EvidenceError, match="cannot be copied"):
        copy_trajectory(context, RESUMED, CONTROL_OPTIM)


def test_a_training_that_no_kill_can_interrupt_is_trained_once(tmp_path, monkeypatch):
    """One of a single step, for instance: there is nothing to resume, and no control that resumes."""
    monkeypatch.setattr(campaign, "early_problems", lambda *_: ())
    context = context_of(tmp_path, WRITES)
    context = replace(context, experiment=context.experiment.model_copy(update={"interruptions": "auto"}))
    assert [*run_campaign(context, plan_campaign(context.experiment, with_controls=True, cores=2))] == ["straight"]
    assert ("note", "no kill: a training goes on after one where it has two steps at least") in context.listener.told


SAVED = chain([{"kind": "save_end", "path": "a.pt", "step": 1}])
SAVES = f"import os; open(os.environ['HARNESS_RUN_DIR'] + '/events-other.jsonl', 'wb').write({SAVED!r})\n"


@pytest.mark.parametrize(("saves", "num_copies"), [(SAVES, 1), ("", 2)])
def test_the_control_resumes_from_what_the_first_kill_left_that_left_a_checkpoint(
    tmp_path, monkeypatch, saves, num_copies
):
    monkeypatch.setattr(campaign, "early_problems", lambda *_: ())  # nothing records these jobs
    context = context_of(tmp_path, saves + DIES)
    records = run_campaign(context, plan_campaign(context.experiment, with_controls=True, cores=2))
    *copies, last = records[CONTROL_OPTIM]
    assert [one.trajectory for one in copies] == [CONTROL_OPTIM] * num_copies and last.mode == "resume"
    assert [fault.kind for fault in last.faults] == ["flip_optim", "stop"]
    assert json.loads((tmp_path / CONTROL_OPTIM / f"run-{last.number}.json").read_text())["number"] == num_copies + 1


STARTED_IN_OUTPUT = """
import os, pathlib
assert pathlib.Path("data/train.txt").read_text() == pathlib.Path("given.txt").read_text() == "words"
beside = pathlib.Path(__file__).resolve().parent
(beside / "beside.txt").write_text("z")
with open("results.json", "a") as results:  # which is committed
    results.write("1")
os.makedirs("data/cache", exist_ok=True)
pathlib.Path("data/cache/new.txt").write_text("x")
pathlib.Path("job.txt").write_text("y")
"""


def test_a_script_that_starts_where_it_writes_finds_the_checkout_there_and_leaves_only_what_it_wrote(tmp_path):
    context = context_of(tmp_path, STARTED_IN_OUTPUT)
    (tmp_path / "code" / "data").mkdir()
    (tmp_path / "code" / "empty" / "below").mkdir(parents=True)
    (tmp_path / "code" / "empty" / "below" / "x").write_text("")
    (tmp_path / "code" / "empty" / "link").symlink_to("below/x")
    (tmp_path / "code" / "results.json").write_text("0")
    for path in (tmp_path / "code" / "data" / "train.txt", tmp_path / "words"):
        path.write_text("words")
    given = {"file": "given.txt", "sha256": "0" * 64}
    text = EXPERIMENT.replace('job.py, "{output}"]', "job.py]") + f"working_folder: output\ninputs: {{words: {given}}}"
    experiment = parse_experiment(text, "x.yaml")
    context = replace(context, experiment=experiment, inputs={"words": tmp_path / "words"})
    for _ in range(2):  # the second one finds what the first one wrote
        (record,) = run_straight(context, "straight")
        assert (record.exit_code, record.error) == (0, None), (tmp_path / "straight" / "log-1.txt").read_text()
        shutil.rmtree(tmp_path / "straight" / "runs")
    output = tmp_path / "straight" / "output"
    assert (output / "results.json").read_text() == "011"
    assert sorted(str(path.relative_to(output)) for path in output.rglob("*")) == [
        "beside.txt",
        "data",
        "data/cache",
        "data/cache/new.txt",
        "job.txt",
        "results.json",
    ]


def test_a_straight_run_that_fails_ends_the_others_at_once(tmp_path):
    code = "import os, sys, time; sys.exit(3) if os.environ['HARNESS_FAULTS'] == '[]' else time.sleep(60)"
    context = context_of(tmp_path, code)
    started = time.monotonic()
    records = run_campaign(context, plan_campaign(context.experiment, with_controls=True, cores=2))
    assert time.monotonic() - started < 20
    assert {name: [record.exit_code for record in runs] for name, runs in records.items()} == {"straight": [3]}


def test_code_is_not_copied_in_the_second_in_which_that_of_the_straight_training_was(tmp_path):
    context = context_of(tmp_path, "")
    with workspace(context, "straight") as one, workspace(context, "rerun") as two:
        copies = [own.context.code / "job.py" for own in (one, two)]
        seconds = [(int(copy.stat().st_ctime), int(copy.stat().st_mtime)) for copy in copies]
    assert seconds[0][0] != seconds[1][0] and seconds[0][1] != seconds[1][1]


RECORDED = """
import hashlib, json, os, sys, time
own, head = os.environ["HARNESS_RUN_DIR"], hashlib.sha256(b"").hexdigest()

def write(name, head, **row):
    text = json.dumps(row, sort_keys=True, separators=(",", ":"))
    head = hashlib.sha256((head + text).encode()).hexdigest()
    with open(f"{own}/{name}.jsonl", "a") as file:
        file.write(json.dumps({**row, "chain": head}, sort_keys=True, separators=(",", ":")) + chr(10))
    return head

write("events", head, kind="save_end", path="weights.bin", step=4, seconds=0)
open(sys.argv[1] + "/weights.bin", "w")
if os.environ["HARNESS_VARY"].find("null") < 0:
    time.sleep(60)
"""


def test_outputs_that_match_nothing_are_told_by_the_straight_run_alone(tmp_path):
    context = context_of(tmp_path, RECORDED)
    started = time.monotonic()
    records = run_campaign(context, plan_campaign(context.experiment, with_controls=False, cores=2))
    assert time.monotonic() - started < 40
    assert list(records) == ["straight"]


def test_what_was_saved_is_named_where_globs_match_nothing(tmp_path):
    context = context_of(tmp_path, RECORDED)
    records = run_straight(context, "straight")
    declared = ("*.txt",), ("*.bin",), ("*.pt",)
    found = [
        no_match(load_trajectory(tmp_path / "straight", "straight", records, *globs), declares_checkpoints=True)
        for globs in ((declared[0],), (declared[1],), (declared[1], declared[2]))
    ]
    assert found == [
        ("straight: no file matches the declared outputs: there is nothing to compare; it saved weights.bin",),
        (),
        (),
    ]


CHANGES = WRITES + "; open('cache.json', 'w').write('1'); open('job.py', 'a').write('# more')"


def test_code_that_a_run_changes_is_named_and_its_own_copy_alone(tmp_path):
    context = context_of(tmp_path, CHANGES)
    (record,) = run_straight(context, "straight")
    assert "its code or inputs changed while it ran: code/cache.json was added, code/job.py was changed" in record.error
    assert sorted(path.name for path in (tmp_path / "code").iterdir()) == ["job.py"]
    assert not (tmp_path / ".work").exists()


FACTS = """
import json, os, socket, sys
status = os.stat(__file__)
facts = {"inode": status.st_ino, "written": int(status.st_mtime), "changed": int(status.st_ctime), "pid": os.getpid(),
         "hash": hash("word"), "zone": os.environ["TZ"], "host": socket.gethostname(), "argv": sys.argv,
         "folder": os.getcwd(), "inputs": os.stat("/proc/self/cwd").st_ino}
json.dump(facts, open(sys.argv[1] + "/facts.txt", "w"))
"""


@pytest.mark.parametrize("has_namespaces", [True, False])
def test_two_trainings_share_their_paths_and_nothing_incidental(tmp_path, monkeypatch, has_namespaces):
    if not has_namespaces:
        monkeypatch.setattr(host, "namespaces", lambda: ())
    elif not host.namespaces():
        pytest.skip("no namespaces here")
    context = context_of(tmp_path, FACTS)
    found = []
    for name in ("straight", "rerun"):
        time.sleep(1)  # a training takes longer
        (record,) = run_straight(context, name)
        assert record.error is None and record.exit_code == 0, (tmp_path / name / "log-1.txt").read_text()
        found.append(json.loads((tmp_path / name / "output" / "facts.txt").read_text()))
    one, two = found
    assert (one["argv"], one["folder"]) == (two["argv"], two["folder"])
    same = {key for key in one if one[key] == two[key]} - {"argv", "folder"}
    assert same <= (set() if has_namespaces else {"host"})
    assert record.settings["incidental"]["hash seed"] != "0"
    assert not (tmp_path / ".work").exists(), "nothing of it stays"
