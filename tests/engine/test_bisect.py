"""Bisect, on the host runner: eight commits of which one altered the bits, and two locks of which one pin did."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest

from harness.documents.lockfile import Pin, Wheel, render_pins, render_wheels
from harness.packages.pip import download
from harness.system.project import read_lock
from harness.system.store import file_digest, open_store
from tests import ROOT
from tests.project import copy_project

TRAIN = "pipelines/plain/train.py"
BATCH = "generator=draw)"
EXPERIMENT = """schema: 1
image: cpu
run: [python, pipelines/plain/train.py, --config, "{config}", --output, "{output}"]
resume: [python, pipelines/plain/train.py, --config, "{config}", --output, "{output}", --resume]
config: {seed: 5, steps: 6, lr: 0.01, batch_size: 8, accumulation: 2, save_every: 3}
steps: 6
outputs: [model.safetensors]
checkpoints: ["checkpoints/*.pt"]
environment: {OMP_NUM_THREADS: "1", ATEN_CPU_CAPABILITY: avx2}
policy: {required: [rerun], rerun: second_run}
"""


class Line:
    """A project with a line of commits that a test writes."""

    def __init__(self, root):
        self.project = copy_project(root)
        (root / "pipelines" / "experiments" / "line.yaml").write_text(EXPERIMENT)
        self.commits = []
        self.commit("the experiment")

    @property
    def script(self):
        return self.project.root / TRAIN

    def commit(self, message, **changes):
        for path, text in changes.items():
            (self.project.root / path).write_text(text)
        self.project.commit(message)
        command = ["git", "-C", str(self.project.root), "rev-parse", "HEAD"]
        done = subprocess.run(command, capture_output=True, text=True)
        self.commits.append(done.stdout.strip())

    def edit(self, message, old, new):
        text = self.script.read_text()
        assert old in text
        self.script.write_text(text.replace(old, new))
        self.commit(message)

    def bisect(self, *arguments, **environment):
        answer = self.project.harness("bisect", "line", *arguments, "--json", RUNNER="host", **environment)
        return answer, json.loads(answer.out)


@pytest.fixture(scope="module")
def line(tmp_path_factory):
    """Eight commits; the fifth alters the numbers from step 4 on, the third does not train at all."""
    line = Line(tmp_path_factory.mktemp("line") / "project")
    line.edit("1 a comment", "step, newest = 0", "# where to begin\nstep, newest = 0")
    line.commit("2 words", **{"README.md": "words\n"})
    line.edit("3 does not train", "import torch\n", "import torch_of_another_name\nimport torch\n")
    line.edit("4 trains again", "import torch_of_another_name\n", "")
    line.edit("5 other data", BATCH, f"{BATCH} * (1.000001 if step == 3 else 1)")
    line.commit("6 more words", **{"CHANGELOG.md": "words\n"})
    line.edit("7 another comment", "# where to begin", "# where a training begins")
    line.commit("8 the end", **{"README.md": "more words\n"})
    return line


def test_the_commit_that_altered_the_numbers_is_found_among_eight(line):
    answer, found = line.bisect("--good", line.commits[0], "--bad", "HEAD")
    assert answer.code == 0, answer.err
    assert found["outcome"] == "found" and found["num_changes"] == 8
    assert found["first_bad"]["subject"] == "5 other data" and found["first_bad"]["commit"] == line.commits[5]
    assert found["last_good"] == line.commits[4]
    assert found["files"] == [{"path": TRAIN, "added": 1, "removed": 1}]
    first = found["first_difference"]
    assert (first["phase"], first["step"], first["stream"]) == ("step", 4, "data")
    # The good one again, the bad one, and then fewer than the seven commits in between.
    assert found["num_trials"] <= 2 + 4
    answers = {row["label"].partition(" ")[2]: row["answer"] for row in found["trials"]}
    assert answers["4 trains again"] == "same" and answers["5 other data"] == "different"


def test_the_same_question_again_trains_nothing(line):
    first, _ = line.bisect("--good", line.commits[0], "--bad", "HEAD")
    again, found = line.bisect("--good", line.commits[0], "--bad", "HEAD")
    assert (first.code, again.code, found["num_trials"], len(found["trials"])) == (0, 0, 0, 4)
    assert found["first_bad"]["subject"] == "5 other data"
    assert found["reference"]["source"].startswith("trained in an earlier start")


@pytest.mark.slow
def test_a_commit_that_does_not_train_is_stepped_around_and_the_answer_is_a_range(line):
    line.edit("9 does not train", "import torch\n", "import torch_of_another_name\nimport torch\n")
    line.edit("10 trains, other data", f"{BATCH} *", f"{BATCH} * 1.5 *")
    line.edit("11 trains", "import torch_of_another_name\n", "")
    answer, found = line.bisect("--good", line.commits[8], "--bad", "HEAD", "--steps", "1")
    assert answer.code == 3 and found["outcome"] == "range", answer.err
    assert [one["subject"] for one in found["candidates"]] == [
        "9 does not train",
        "10 trains, other data",
        "11 trains",
    ]
    answer, _ = line.bisect("--good", line.commits[8], "--bad", line.commits[9], "--steps", "1")
    assert answer.code == 3 and "cannot be trained" in answer.err and "torch_of_another_name" in answer.err


@pytest.mark.slow
def test_ends_that_give_the_same_bits_are_a_wrong_question(line):
    answer, found = line.bisect("--good", line.commits[5], "--bad", line.commits[7], "--steps", "2")
    assert answer.code == 2 and found["exit_code"] == 2
    assert "the same bits in all 2 steps" in answer.err


def test_ends_in_the_wrong_order_are_told(line):
    answer, _ = line.bisect("--good", "HEAD", "--bad", line.commits[0])
    assert answer.code == 2 and "exchange --good and --bad" in answer.err


@pytest.mark.slow
def test_a_good_side_that_does_not_repeat_itself_is_told(line, tmp_path):
    root = tmp_path / "unseeded"
    shutil.copytree(line.project.root, root, symlinks=True, ignore=shutil.ignore_patterns("runs"))
    other = Line.__new__(Line)
    other.project, other.commits = type(line.project)(root), []
    other.edit("unseeded", 'torch.manual_seed(config["seed"])', "torch.seed()")
    other.commit("words", **{"README.md": "w\n"})
    answer, _ = other.bisect("--good", other.commits[0], "--bad", "HEAD", "--steps", "2")
    assert answer.code == 3 and "does not repeat itself" in answer.err


OLD = {"h11": "0.14.0", "httpcore": "1.0.7", "idna": "3.4"}
SMALL = (
    "certifi",
    "filelock",
    "fsspec",
    "h11",
    "httpcore",
    "idna",
    "jinja2",
    "markupsafe",
    "mpmath",
    "networkx",
    "numpy",
    "pip",
    "safetensors",
    "setuptools",
    "sympy",
    "torch",
    "typing-extensions",
)


def lock_text(pins):
    target = "# target: cp311-linux-x86_64\n"
    return target + render_pins(tuple(pins)) + render_wheels({pin.name: pin.wheel for pin in pins})


def older(name, version, folder):
    """The pin of another version, as the index that pip is configured with has it."""
    target = folder / name
    target.mkdir()
    download([f"{name}=={version}"], target)
    (path,) = target.glob("*.whl")
    digest = file_digest(path)
    wheel = Wheel(filename=path.name, size_bytes=path.stat().st_size, sha256=digest)
    return Pin(name=name, version=version, hashes=(digest,), wheel=wheel)


@pytest.fixture
def own_cache(tmp_path):
    """A cache that is gone afterwards, with its gigabytes of environments; wheels are copied from the real one."""
    real, own = open_store(None, os.environ).root, tmp_path / "cache"
    yield {"HARNESS_CACHE": str(own), "HARNESS_ARCHIVE": str(real)}
    shutil.rmtree(own, ignore_errors=True)


@pytest.mark.slow
def test_of_two_locks_the_one_pin_that_alters_the_numbers_is_found(tmp_path, own_cache):
    pins = [pin for pin in read_lock(ROOT / "lockfiles" / "cpu.lock").pins if pin.name in SMALL]
    assert {pin.name for pin in pins} >= {"torch", *OLD}
    good = [older(pin.name, OLD[pin.name], tmp_path) if pin.name in OLD else pin for pin in pins]
    line = Line(tmp_path / "project")
    root = line.project.root
    (tmp_path / "good.lock").write_text(lock_text(good))
    (tmp_path / "bad.lock").write_text(lock_text(pins))
    (root / "lockfiles" / "small.lock").write_text(lock_text(pins))
    (root / "pipelines" / "experiments" / "line.yaml").write_text(EXPERIMENT.replace("image: cpu", "image: small"))
    # As a tokenizer does: the tables of a package decide what the data are.
    line.edit("its data depend on a package", "import torch\n", "import idna.idnadata\nimport torch\n")
    num = 'len(idna.idnadata.codepoint_classes["PVALID"])'
    line.edit("and are scaled by it", BATCH, f"{BATCH} * (1 + {num} / 1e6)")
    locks = ["--good-lock", str(tmp_path / "good.lock"), "--bad-lock", str(tmp_path / "bad.lock")]
    answer, found = line.bisect(*locks, "--steps", "2", **own_cache)
    assert answer.code == 0, answer.err
    new = {pin.name: pin.version for pin in pins}
    assert found["responsible"] == [{"name": "idna", "before": "3.4", "after": new["idna"]}]
    assert found["outcome"] == "found" and found["num_changes"] == 3
    assert (found["first_difference"]["step"], found["first_difference"]["stream"]) == (1, "data")
    assert "3 pins differ" in answer.err and "to be fetched" in answer.err
    again, found = line.bisect(*locks, "--steps", "2", **own_cache)
    assert again.code == 0 and found["num_trials"] == 0


@pytest.mark.slow
def test_an_interrupted_search_goes_on_where_it_was(line):
    arguments = ["bisect", "line", "--good", line.commits[1], "--bad", line.commits[7], "--steps", "5"]
    command = [sys.executable, "-m", "harness", "--root", str(line.project.root), *arguments]
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        env={**os.environ, "RUNNER": "host"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
        text=True,
    )
    end = time.monotonic() + 300
    above = line.project.root / "runs" / "line"
    before = set(above.glob("bisect-*/trials/*.json"))
    while not set(above.glob("bisect-*/trials/*.json")) - before and process.poll() is None:
        assert time.monotonic() < end
        time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130 and "interrupted" in said, said
    answer, found = line.bisect(*arguments[2:])
    assert answer.code == 0 and found["first_bad"]["subject"] == "5 other data", answer.err
    assert found["reference"]["source"].startswith("trained in an earlier start")
    assert found["trials"][0]["folder"] is None, "the trial that was finished is not made again"
    assert found["num_trials"] == len(found["trials"]) - 1


@pytest.mark.slow
def test_a_trial_is_trained_with_the_runner_of_the_reference_or_not_at_all(line):
    # Without --runner it trains on the host where no engine answers: that must not change from one start to the next.
    nowhere = {"RUNNER": "auto", "DOCKER_HOST": "unix:///nowhere/docker.sock"}
    arguments = ["bisect", "line", "--good", line.commits[0], "--bad", line.commits[4], "--steps", "4"]
    before = set((line.project.root / "runs" / "line").glob("bisect-*"))
    answer = line.project.harness(*arguments, **nowhere)
    assert answer.code == 2 and "the same bits in all 4 steps" in answer.err, answer.err
    (folder,) = set((line.project.root / "runs" / "line").glob("bisect-*")) - before
    kept = json.loads((folder / "reference" / "reference.json").read_text())
    assert kept["runner"] == "host"
    (folder / "reference" / "reference.json").write_text(json.dumps({**kept, "runner": "docker"}))
    shutil.rmtree(folder / "trials")
    answer = line.project.harness(*arguments, **nowhere)
    assert answer.code == 3 and "cannot be trained: no Docker Engine answers" in answer.err, answer.err


@pytest.mark.slow
def test_a_record_of_the_good_commit_serves_until_it_is_not_repeated_today(tmp_path):
    line, machine = Line(tmp_path / "project"), tmp_path / "machine"
    machine.write_text("1.0")
    # What it reads stands for a machine that computes differently: no commit knows of it.
    line.edit("depends on the machine", BATCH, f'{BATCH} * float(open("{machine}").read())')
    answer = line.project.harness("certify", "line", RUNNER="host")
    assert answer.code == 0, answer.out + answer.err
    record = line.project.latest("line")
    line.edit("more dropout", "nn.Dropout(0.1)", "nn.Dropout(0.2)")
    ends = ["--good", line.commits[1], "--bad", "HEAD"]
    answer, found = line.bisect(*ends, "--steps", "2")
    assert answer.code == 0 and found["first_bad"]["subject"] == "more dropout", answer.err
    assert found["reference"] == {"source": f"runs/line/{record.name}", "steps": 6} and found["notes"] == []
    (line.project.root / "pipelines" / "experiments" / "line.yaml").unlink()
    line.commit("there is no such experiment any more")
    answer, _ = line.bisect("--good", line.commits[1], "--bad", "HEAD", "--steps", "1")
    assert answer.code == 3 and "cannot be trained: there is no experiment" in answer.err
    assert "could not be repeated" not in answer.err, "the record is not to blame"
    ends[3] = line.commits[2]
    machine.write_text("1.5")
    answer, found = line.bisect(*ends, "--steps", "3")
    assert answer.code == 0 and found["first_bad"]["subject"] == "more dropout", answer.err
    assert found["reference"]["source"] == "trained now"
    assert len(found["notes"]) == 1 and "could not be repeated today" in found["notes"][0]
