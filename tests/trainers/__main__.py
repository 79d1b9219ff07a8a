"""Certify public training code as it is, and compare what is said of it with what is right: `make trainers`.

    HARNESS_PYTHON=/path/to/python python -m tests.trainers [NAME...]

trainers.yaml names each repository, its commit, the files that are wanted and what is right. They are fetched with git
for the purpose, and nothing of them is kept here; HARNESS_PYTHON has the packages that they import. Each is trained
once more without the recorder: its final files must be the same, and the median duration of a step stands beside a
recorded one's. Exit code 1: an answer was not right, or the recorder changed a bit.
"""

import dataclasses
import itertools
import json
import os
import re
import shlex
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import yaml

import harness
from harness.errors import HarnessError
from harness.report.printer import text_table
from tests import ROOT

HERE = Path(__file__).parent
COMMON = {
    "schema": 1,
    "image": "cpu",
    "environment": {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"},
    "policy": {"required": ["rerun", "resume"]},
}
HEADER = ("trainer", "verdict", "first difference", "cause", "right", "without recorder", "step, recorded / bare")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Trainer:
    """One row of trainers.yaml.

    `files` are paths in the repository, put below pipelines/trainers/NAME; `scripts` are ours, in scripts/: a few lines
    around a framework that has no script of its own. `replace` changes lines that insist on the network or on a GPU;
    `data` are functions of data.py, which write below pipelines/trainers/NAME. `right` is {verdict, first, cause}, and
    `why` says what in the code makes it so.
    """

    name: str
    repository: str = ""
    commit: str = ""
    files: tuple[str, ...] = ()
    scripts: tuple[str, ...] = ()
    replace: dict[str, dict[str, str]] = dataclasses.field(default_factory=dict)
    data: tuple[str, ...] = ()
    experiment: dict
    right: dict
    why: str

    def declared(self):
        """The experiment as it is written."""
        keys = COMMON | self.experiment
        return keys | {"resume": [*keys["run"], *keys.pop("resume_adds")]}


def main(names):
    if "HARNESS_PYTHON" not in os.environ:
        sys.exit("error: set HARNESS_PYTHON to the Python of an environment with torch and what the trainers import")
    python = Path(os.environ["HARNESS_PYTHON"]).absolute()
    table = yaml.safe_load((HERE / "trainers.yaml").read_text(encoding="utf-8"))
    unknown = set(names) - set(table)
    if unknown:
        sys.exit(f"error: no such trainer: {', '.join(sorted(unknown))}; there are {', '.join(table)}")
    trainers = [Trainer(name=name, **table[name]) for name in names or table]
    scratch = Path(tempfile.mkdtemp(prefix="trainers-"))
    checkout = make_checkout(trainers, python, scratch)
    rows = []
    for trainer in trainers:
        rows.append(certify(trainer, checkout, python))
        print(" | ".join(rows[-1]), file=sys.stderr)
    print(text_table(rows, HEADER))
    print(f"the runs are in {checkout}/runs")
    return 1 if any(row[4] != "yes" or row[5].startswith("differ") for row in rows) else 0


def make_checkout(trainers, python, scratch):
    """A clone of this repository's commit with the trainers' files, their data and their experiments, committed."""
    checkout = scratch / "checkout"
    git(scratch, "clone", "-q", ROOT, checkout)
    for trainer in trainers:
        folder = checkout / "pipelines" / "trainers" / trainer.name
        folder.mkdir(parents=True)
        for script in trainer.scripts:
            shutil.copy(HERE / "scripts" / script, folder)
        if trainer.files:
            fetch(trainer, scratch / trainer.repository.rpartition("/")[2], folder)
        for path, lines in trainer.replace.items():
            text = (folder / path).read_text(encoding="utf-8")
            for old, new in lines.items():
                assert old in text, f"{trainer.name}: {path} has no {old!r}"
                text = text.replace(old, new)
            (folder / path).write_text(text, encoding="utf-8")
        for function in trainer.data:
            shutil.copytree(make_data(function, python, scratch / "data"), folder, dirs_exist_ok=True)
        experiment = checkout / "pipelines" / "experiments" / f"{trainer.name}.yaml"
        experiment.write_text(yaml.safe_dump(trainer.declared(), sort_keys=False), encoding="utf-8")
    git(checkout, "add", "-A", "-f", "pipelines")
    git(checkout, "-c", "user.name=tester", "-c", "user.email=tester@example.org", "commit", "-qm", "trainers")
    return checkout


def make_data(function, python, folder):
    """A folder with what a function of data.py writes; made once."""
    made = folder / function
    if not made.is_dir():
        made.mkdir(parents=True)
        subprocess.run([python, HERE / "data.py", function], cwd=made, check=True)
    return made


def fetch(trainer, clone, folder):
    """The files of one commit; git fetches their contents alone."""
    if not clone.is_dir():
        git(clone.parent, "init", "-q", "--bare", clone)
        git(clone, "remote", "add", "origin", trainer.repository)
    git(clone, "fetch", "-q", "--depth=1", "--filter=blob:none", "origin", trainer.commit)
    for path in trainer.files:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        with (folder / path).open("wb") as file:
            subprocess.run(["git", "-C", clone, "show", f"{trainer.commit}:{path}"], check=True, stdout=file)


def git(folder, *arguments):
    subprocess.run(["git", "-C", folder, *arguments], check=True)


def certify(trainer, checkout, python):
    """One row of the table; its fifth cell is `yes`, or says what would have been right."""
    try:
        result = harness.certify(trainer.name, root=checkout, runner="host", python=python)
    except HarnessError as error:
        return trainer.name, f"error: {error.problem}", "", "", f"no: {shown(trainer.right)}", "", ""
    verdict = result.verdict
    first, cause = verdict.first_divergence, verdict.cause
    found = {
        "verdict": verdict.verdict,
        **({"first": f"{first.check}, step {first.step}, {first.stream}"} if first else {}),
        **({"cause": cause.kind} if cause else {}),
    }
    if verdict.verdict == "VETOED":
        found["first"] = re.search(r"REP\d+|$", " ".join(verdict.problems)).group()
    equal, ratio = compare_with_bare(trainer, checkout, python, result.folder / "straight")
    right = "yes" if found == trainer.right else f"no: {shown(trainer.right)}"
    if found != trainer.right:
        print(*verdict.problems, *(cause.evidence if cause else ()), result.folder, sep="\n    ", file=sys.stderr)
    return trainer.name, found["verdict"], found.get("first", "-"), found.get("cause", "-"), right, equal, ratio


def shown(right):
    return ", ".join(right.values())


def compare_with_bare(trainer, checkout, python, straight):
    """Train once without the recorder: whether the declared outputs hold the same tensors, and what a step takes."""
    if not straight.is_dir():
        return "-", "-"
    output, seconds = checkout.parent / "bare" / trainer.name, checkout.parent / f"{trainer.name}.seconds"
    output.mkdir(parents=True)
    command = [part.replace("{output}", str(output)) for part in trainer.experiment["run"]]
    environment = COMMON["environment"] | trainer.experiment.get("environment", {})
    bare = {
        **os.environ,
        **environment,
        "PATH": f"{python.parent}:{os.environ['PATH']}",
        "PYTHONPATH": str(HERE / "stopwatch"),
        "STOPWATCH": str(seconds),
    }
    done = subprocess.run(command, cwd=checkout, env=bare, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if done.returncode:
        return f"differ: {shlex.join(command)} ends with {done.returncode}: {done.stderr[-300:]}", "-"
    outputs = sorted(path for glob in trainer.experiment["outputs"] for path in output.glob(glob))
    try:
        differ = [p for p in outputs if not same_content(p, straight / "output" / p.relative_to(output))]
    except HarnessError as error:
        return f"differ: {error.problem}", "-"
    names = ", ".join(str(path.relative_to(output)) for path in differ)
    return f"differ: {names}" if differ else "equal", ratio_of(straight, seconds, trainer.experiment["steps"])


def same_content(path, recorded):
    """Whether two files are equal, as bytes or by their tensors; a path of the output in them may differ."""
    return path.read_bytes() == recorded.read_bytes() or not harness.diff(path, recorded).tensors


def ratio_of(straight, seconds, steps):
    """The median duration of a recorded step over that of a bare one."""
    progress = straight / "runs" / "1" / "progress.jsonl"
    if not progress.is_file() or not seconds.is_file():
        return "-"
    recorded = [json.loads(row)["seconds"] for row in progress.read_text().splitlines()][1:]
    ends = [float(line) for line in seconds.read_text().split()]
    ends = ends[:: max(1, len(ends) // steps)]  # of several optimizers, or of an optimizer that is called several times
    bare = [after - before for before, after in itertools.pairwise(ends)]
    if len(recorded) < 2 or len(bare) < 2:
        return "-"
    return f"{1000 * statistics.median(recorded):.1f} / {1000 * statistics.median(bare):.1f} ms"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
