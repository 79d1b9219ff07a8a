"""One training, from code that lies in a folder to its evidence: what a replay and a bisection are made of.

    engine -> image -> inputs -> prepare -> one straight run -> evidence

Image, locks, inputs and what is trained are those of that code, whichever commit is checked out; the recorder, the
sandbox and the reader of the evidence are those of this version. Nothing is compared and nothing is decided here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from harness.evidence.trajectory import TrajectoryEvidence
from harness.judge.manifest import Materials
from harness.judge.soundness import gpu_problems, trajectory_problems
from harness.runs.campaign import STRAIGHT
from harness.runs.request import Request as Request
from harness.runs.runtime import Runtime
from harness.runs.trajectory import run_straight
from harness.system.project import read_experiment as read_experiment
from harness.workflow.certify_session import CertifySession


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
    ready: Runtime
    prepared: Mapping[str, str]
    materials: Materials
    problems: tuple[str, ...]
    seconds: Mapping[str, float]


def train(attempt: CertifySession) -> Trained:
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
