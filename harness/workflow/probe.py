"""Probe: what an experiment's probe measures in the sandbox of its runs."""

from __future__ import annotations

import tempfile
from pathlib import Path

from harness.errors import HostError
from harness.judge.verdict import VerdictInputs
from harness.report.console import Progress
from harness.review.evidence.vram import Probe
from harness.runs.request import Request as Request
from harness.system.experiments import read_experiment as read_experiment
from harness.system.git import read_checkout
from harness.system.store import Store, disk_errors
from harness.workflow.certify_session import CertifySession
from harness.workflow.run_probe import command_of, run_probe


def probe(request: Request, store: Store, progress: Progress) -> Probe:
    """What the experiment's probe measures in the sandbox of its runs; nothing is left behind.

    Raises:
        HarnessError: the experiment declares no probe, or it could not be run, or its file is malformed.
    """
    experiment = read_experiment(request.root, request.name)
    request = request.checked(experiment)
    command_of(experiment, request.name)
    checkout = read_checkout(request.root)
    # No oracle is asked, so no image has to be built twice.
    unasked = experiment.policy.model_copy(update={"required": ()})
    experiment = experiment.model_copy(update={"policy": unasked})
    above = request.root / "runs" / request.name
    with disk_errors("making the probe's folder"):
        above.mkdir(parents=True, exist_ok=True)
    runner = "docker" if request.runner == "auto" else request.runner
    case = VerdictInputs(
        experiment=request.name,
        run_id="probe",
        commit=checkout.commit,
        dirty=checkout.is_dirty,
        runner=runner,
        steps=experiment.steps,
    )
    with store.in_use(), tempfile.TemporaryDirectory(prefix=".probe-", dir=above, ignore_cleanup_errors=True) as name:
        attempt = CertifySession(request, experiment, checkout, store, progress, Path(name), case)
        code, _ = attempt.export_code()
        try:
            ready = attempt.make_sandbox()
        except HostError as error:
            if not experiment.gpus:
                raise
            attempt.warn(f"{error.problem}: the probe runs without a GPU, so it can only estimate")
            attempt.experiment = experiment.model_copy(update={"gpus": 0})
            ready = attempt.make_sandbox()
        setting = attempt.make_setting(ready.sandbox, attempt.fetch_inputs())
        setting, _ = attempt.prepare_inputs(setting, ready, code)
        with attempt.stage("probe", "the longest batch, for each variant"):
            return run_probe(setting)
