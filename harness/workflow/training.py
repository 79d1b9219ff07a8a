"""One training, from code that lies in a folder to its evidence: what a replay and a bisection are made of.

    engine -> image -> inputs -> prepare -> one straight run -> evidence

Image, locks, inputs and what is trained are those of that code, whichever commit is checked out; the recorder, the
sandbox and the reader of the evidence are those of this version. Nothing is compared and nothing is decided here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from harness.core.evidence import TrajectoryEvidence
from harness.core.experiment import Experiment
from harness.core.manifest import Materials
from harness.core.scope import Scope, shortened
from harness.core.soundness import gpu_problems, trajectory_problems
from harness.core.verdict import Case
from harness.host.git import Exported
from harness.host.request import Request as Request
from harness.host.request import read_experiment as read_experiment
from harness.host.runs.campaign import STRAIGHT
from harness.host.runs.runner import Ready
from harness.host.runs.trajectory import run_straight
from harness.host.store import Store, disk_errors
from harness.report.console import Progress
from harness.workflow.attempt import Attempt


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """A training that took place.

    Attributes:
        evidence: of the trajectory `straight`; it may be that of a training that failed, then `problems` say how.
        ready: the sandbox, with the id of the image.
        prepared: sha256 of each prepared file.
        materials: what went into it, for a manifest.
        problems: everything that was not as planned, in words; empty for a training that can be compared.
        seconds: what the stages took, by name.
    """

    evidence: TrajectoryEvidence
    ready: Ready
    prepared: Mapping[str, str]
    materials: Materials
    problems: tuple[str, ...]
    seconds: Mapping[str, float]


def train_once(
    request: Request,
    *,
    code: Path,
    commit: str,
    experiment: Experiment,
    folder: Path,
    store: Store,
    progress: Progress,
    scope: Scope | None = None,
) -> Trained:
    """Train once, from nothing to the end or to the end of a prefix.

    Args:
        request: how processes are started (runner, engine, GPUs, interpreter) and what the experiment is called; files
            that the code declares as inputs and does not have are looked for below its `root`.
        code: the exported tree, as `harness.host.git.export_commit` writes it: its image, its locks, its scripts.
        commit: what the processes are told that they run, 40 hex digits.
        experiment: what is trained, normally `read_experiment(code, request.name)`.
        folder: where everything is left: `straight/`, `config.json`; made if it is not there.
        store: the cache.
        progress: told of stages and steps.
        scope: only a prefix (`harness.core.scope.prefix_of`); None for the whole training.

    Raises:
        HarnessError: it could not be started, or Ctrl-C. A training that failed by itself is no error: see `problems`.
    """
    request = request.checked(experiment)
    with disk_errors("making the training's folder"):
        folder.mkdir(parents=True, exist_ok=True)
    case = Case(
        experiment=request.name,
        run_id=folder.name,
        commit=commit,
        dirty=False,
        runner="docker" if request.runner == "auto" else request.runner,
        steps=shortened(experiment, scope).steps,
        required=(),
        scope=scope,
    )
    source = Exported(folder=code, commit=commit)
    attempt = Attempt(request, experiment, source, store, progress, folder, case, tree=code, is_rebuilt=False)
    with store.in_use():
        return train(attempt)


def train(attempt: Attempt) -> Trained:
    """The stages of one training; the attempt knows everything afterwards that its verdict needs.

    Raises:
        HarnessError: it could not be started, or Ctrl-C.
    """
    code, recorder = attempt.export_code()
    ready = attempt.make_sandbox()
    setting = attempt.make_setting(ready.sandbox, attempt.fetch_inputs())
    setting, prepared = attempt.prepare_inputs(setting, ready, code)
    with attempt.stage("run", "one straight training" + (f", {setting.scope.text}" if setting.scope else "")):
        records = {STRAIGHT: run_straight(setting, STRAIGHT)}
    with attempt.stage("evidence", "the ledger and the declared files are read"):
        evidence = attempt.load(STRAIGHT, records[STRAIGHT], {})
    stop = None if setting.scope is None else setting.scope.stop
    found = trajectory_problems(evidence, steps=setting.experiment.steps, kills=(), stop=stop)
    return Trained(
        evidence=evidence,
        ready=ready,
        prepared=prepared,
        materials=attempt.materials(code, recorder, ready, prepared),
        problems=(*found, *gpu_problems(evidence, len(ready.gpus)), *attempt.log_ends(records)),
        seconds=attempt.seconds,
    )
