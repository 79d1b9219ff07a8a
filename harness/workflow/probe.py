"""Probe: an experiment's `probe` command, run in the sandbox of its trainings; what it leaves is never unpickled."""

from __future__ import annotations

from harness.documents.experiment import Experiment
from harness.errors import EvidenceError, HostError, UsageError
from harness.report.console import Progress
from harness.review.evidence.vram import MAX_PROBE_BYTES, Probe, parse_probe
from harness.runs.context import RunContext
from harness.runs.logs import last_lines
from harness.runs.request import Request
from harness.runs.sandbox import Mount, ProcessSpec, describe_exit, hand_over
from harness.runs.variation import AS_IT_IS
from harness.system.git import read_checkout
from harness.system.held import temporary_folder
from harness.system.project import read_experiment
from harness.system.safe_read import safe_read
from harness.system.store import Store, disk_errors
from harness.workflow.training import Training

FILE = "probe.json"


def probe(request: Request, store: Store, progress: Progress) -> Probe:
    """What the experiment's probe measures in the sandbox of its runs; nothing is left behind.

    Raises:
        HarnessError: the experiment declares no probe, or it could not be run, or its file is malformed.
    """
    experiment = read_experiment(request.root, request.name)
    request = request.checked(experiment)
    command_of(experiment, request.name)
    above = request.root / "runs" / request.name
    with disk_errors("making the probe's folder"):
        above.mkdir(parents=True, exist_ok=True)
    with store.in_use(), temporary_folder(".probe-", above) as folder:
        training = Training(
            request=request,
            experiment=experiment,
            source=read_checkout(request.root),
            store=store,
            progress=progress,
            folder=folder,
            run_id="probe",
        )
        code, recorder = training.export_code()
        try:
            ready = training.make_sandbox()
        except HostError as error:
            if not experiment.gpus:
                raise
            training.warn(f"{error.problem}: the probe runs without a GPU and can only estimate")
            training.experiment = experiment.model_copy(update={"gpus": 0})
            ready = training.make_sandbox()
        context, _ = training.set_up(ready, code, recorder)
        with training.stage("probe", "the longest batch, for each variant"):
            return run_probe(context)


def command_of(experiment: Experiment, name: str) -> tuple[str, ...]:
    """The probe's command.

    Raises:
        UsageError: the experiment declares none.
    """
    if not experiment.probe:
        problem = f"{name} declares no `probe` command"
        raise UsageError(problem, "add one to the experiment (docs/guide/review.md), or leave --probe out")
    return experiment.probe


def run_probe(context: RunContext) -> Probe:
    """Run the probe as a run would be, without the recorder, and read its file.

    Raises:
        UsageError: the experiment declares no probe.
        EvidenceError: the command failed, or its file is missing or malformed.
        Interrupted: Ctrl-C.
    """
    command = command_of(context.experiment, context.name)
    folder = context.folder / "probe"
    output = folder / "output"
    output.mkdir(parents=True)
    hand_over(context.sandbox, output)
    mounts = {key: mount for key, mount in context.mounts().items() if key != "recorder"}
    spec = ProcessSpec(
        name=f"{context.run_id}/probe",
        argv=command,
        mounts={**mounts, "output": Mount(source=output, target="/out/output", is_writable=True)},
        environment=context.environment(AS_IT_IS),
        memory_bytes=int(context.experiment.memory_gib * (1 << 30)),
        timeout_s=context.experiment.timeout_s,
        log=folder / "log.txt",
    )
    outcome = context.sandbox.execute(spec, lambda: _check_cancel(context))
    if outcome.error is not None or outcome.exit_code != 0:
        why = outcome.error or f"exit code {describe_exit(outcome)}"
        raise EvidenceError(f"the probe failed: {why}\n{last_lines(spec.log)}", "run it by itself to see more")
    return parse_probe(bytes(safe_read(output, FILE, max_bytes=MAX_PROBE_BYTES)), FILE)


def _check_cancel(context: RunContext) -> bool:
    context.cancel_if_asked()
    return False
