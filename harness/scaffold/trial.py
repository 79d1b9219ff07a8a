"""A short training on this host, recorded: how many steps, what is saved, and whether it goes on after a kill."""

from __future__ import annotations

import dataclasses
import re
import threading
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from harness.documents.experiment import Experiment, Interruption
from harness.evidence.trajectory import RunEvidence, TrajectoryEvidence
from harness.judge.kill_points import choose_kills
from harness.judge.resume_step import SavedFiles
from harness.runs.context import RunContext
from harness.runs.host import HostSandbox
from harness.runs.load_evidence import load_trajectory
from harness.runs.logs import last_lines
from harness.runs.run_watch import Listener
from harness.runs.trajectory import run_interrupted, run_straight
from harness.system.sources import RECORDER

STRAIGHT, RESUMED = "straight", "resumed"
_NUMBER = re.compile(r"\d+([.]\d+)?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Saved:
    """What a training leaves that holds tensors.

    Attributes:
        outputs: paths that it wrote at its end; the newest checkpoints where it wrote nothing else then.
        checkpoints: globs of what it wrote on its way.
        latest: the glob of one checkpoint, a folder or a file, "" where there is none.
    """

    outputs: tuple[str, ...] = ()
    checkpoints: tuple[str, ...] = ()
    latest: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """What a straight run showed, and after which step its copy went on that was killed.

    Attributes:
        steps: optimizer steps; of a training that was ended before its end, so far.
        is_finished: whether it came to its end by itself.
        problem: why nothing was learned, with the end of its log; "" otherwise.
        kills: kill points that its steps and checkpoints suggest.
        resumed_after: the step that a killed and resumed training stood after; None where none was tried.
    """

    steps: int = 0
    is_finished: bool = False
    saved: Saved = Saved()
    problem: str = ""
    kills: tuple[Interruption, ...] = ()
    resumed_after: int | None = None
    resume_problem: str = ""


def try_straight(context: RunContext) -> tuple[Trial, TrajectoryEvidence | None]:
    """Train once, for as long as the experiment's time allows."""
    records = run_straight(context, STRAIGHT)
    evidence = load_trajectory(context.folder / STRAIGHT, STRAIGHT, records, ("**",))
    run = evidence.runs[0]
    log = last_lines(context.folder / STRAIGHT / "log-1.txt")
    if run.ledger is None or not run.ledger.steps:
        return Trial(problem=f"the recorder saw no optimizer step\n{log}"), None
    is_finished = run.ledger.end is not None and run.record.exit_code == 0
    if not is_finished and not (run.record.error or "").startswith("it ran longer"):
        return Trial(problem=f"it failed after step {run.ledger.last_step}\n{log}"), None
    trial = Trial(
        steps=run.ledger.last_step,
        is_finished=is_finished,
        saved=saved_by(evidence, run),
        kills=choose_kills(evidence, context.name).kills,
    )
    return trial, evidence


def try_resume(context: RunContext, straight: TrajectoryEvidence) -> tuple[int | None, str]:
    """Train again, kill it after its first checkpoint, and let it go on.

    Returns:
        The step that the resumed run stood after, and what went wrong.
    """
    run = straight.runs[0]
    last = run.ledger.last_step if run.ledger is not None else 0
    steps = [event.fields.get("step") for event in run.events if event.kind == "save_end"]
    # Where nobody saw a write, as with files that are written in memory first, most of the training has some by then.
    first = min((step for step in steps if isinstance(step, int) and 0 < step < last - 1), default=last * 2 // 3)
    kill = Interruption(kind="after_step", step=max(1, min(first + 1, last - 1)))
    experiment = context.experiment.model_copy(update={"interruptions": (kill,)})
    context = dataclasses.replace(context, experiment=experiment)
    records = run_interrupted(context, RESUMED)
    if len(records) < 2:
        return None, "it could not be killed where it was to be"
    resumed = load_trajectory(context.folder / RESUMED, RESUMED, records, ()).runs[-1]
    if resumed.ledger is None or (resumed.record.exit_code != 0 and resumed.record.error is None):
        return None, f"the resume failed\n{last_lines(context.folder / RESUMED / 'log-2.txt')}"
    return resumed.ledger.start.step, ""


def context_of(
    experiment: Experiment, name: str, folder: Path, python: Path, inputs: Mapping[str, Path], listener: Listener
) -> RunContext:
    """What the runs of a trial share; `folder` has the code as `code`."""
    (folder / "config.json").write_text("{}\n", encoding="utf-8")
    return RunContext(
        experiment=experiment,
        name=name,
        run_id="trial",
        commit="0" * 40,
        sandbox=HostSandbox(python),
        folder=folder,
        code=folder / "code",
        config=folder / "config.json",
        recorder=RECORDER,
        inputs=inputs,
        prepared=None,
        listener=listener,
        cancel=threading.Event(),
    )


def saved_by(evidence: TrajectoryEvidence, run: RunEvidence) -> Saved:
    """Which files with tensors a training left: those of its end, and the kinds that it writes again and again."""
    saves, last = SavedFiles((run,)), run.ledger.last_step if run.ledger is not None else 0
    files = [file.path for file in evidence.files if file.content is not None and file.content.tensors]
    steps = {path: saves.step_of({"path": path}) for path in files}
    early = {_glob(str(e.fields.get("path"))) for e in run.events if e.kind == "save_end" and _is_early(e.fields, last)}
    kinds = Counter(map(_glob, files))
    again = {
        path for path in files if _glob(path) in early or kinds[_glob(path)] > 1 or steps[path] not in (None, last)
    }
    outputs = [path for path in files if path not in again]
    checkpoints = sorted({_glob(path) for path in again})
    folders = Counter(glob.rpartition("/")[0] for glob in checkpoints)
    folder = next((one for one, _ in folders.most_common() if "*" in one.rpartition("/")[2]), "")
    latest = folder or next((glob for glob in checkpoints if "*" in glob), checkpoints[0] if checkpoints else "")
    return Saved(
        outputs=tuple(outputs or sorted(path for path in again if steps[path] == max(_known(steps), default=0))),
        checkpoints=tuple(checkpoints),
        latest=latest,
    )


def _known(steps: Mapping[str, int | None]) -> list[int]:
    return [step for step in steps.values() if step is not None]


def _is_early(fields: Mapping[str, object], last: int) -> bool:
    step = fields.get("step")
    return isinstance(step, int) and step < last


def _glob(path: str) -> str:
    """A path with `*` for its numbers: `checkpoint-40/model.pt` is one of `checkpoint-*/model.pt`."""
    *folders, name = path.split("/")
    stem, dot, suffix = name.rpartition(".")
    name = f"{_NUMBER.sub('*', stem)}.{suffix}" if dot else _NUMBER.sub("*", name)
    return "/".join([*(_NUMBER.sub("*", folder) for folder in folders), name])
