"""The whole flow, readable from top to bottom: experiment, image, inputs, runs, evidence, verdict, certificate.

    plan -> engine -> image -> inputs -> code -> prepare -> runs -> evidence -> judge -> write

Only this module calls both `host` (effects) and `report` (presenters). A verdict stands on disk from the moment a run
id exists: first INCONCLUSIVE, at the end the one that was reached.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import secrets
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import harness
from harness.core.certificate import build_certificate
from harness.core.content import Content
from harness.core.control import ControlCheck
from harness.core.digest import Digest, canonical_json, sha256
from harness.core.evidence import TrajectoryEvidence
from harness.core.experiment import Experiment, check_name, parse_experiment
from harness.core.manifest import Materials, build_manifest
from harness.core.plan import Plan, make_plan
from harness.core.run import RunRecord
from harness.core.verdict import Case, Verdict, judge, verdict_to_json
from harness.errors import HarnessError, InterruptedError_, UsageError
from harness.host import campaign, controls, doctor, engine
from harness.host.checkouts import remember_checkout
from harness.host.container import ContainerSandbox
from harness.host.estimate import peak_disk_bytes
from harness.host.evidence import load_trajectory
from harness.host.git import Checkout, export, read_checkout
from harness.host.inputs import materialise
from harness.host.locks import export_lock
from harness.host.preparation import last_lines, preparation_key, prepare
from harness.host.recipe import read_recipe
from harness.host.runner import Ready, Runner, Wish, make_ready
from harness.host.sandbox import Sandbox, describe_exit
from harness.host.store import Store, disk_errors, file_digest, write_atomically
from harness.host.trajectory import Setting
from harness.report.console import Progress
from harness.report.documents import curves_of, write_reports

RECORDER = Path(harness.__file__).resolve().parent.parent / "pipelines" / "recorder"
DOCUMENTS = (
    "report.html",
    "verdict.json",
    "manifest.json",
    "certificate.json",
    "summary.md",
    "junit.xml",
    "sbom.cdx.json",
)
EXPERIMENTS = Path("pipelines") / "experiments"


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What somebody asked for.

    Attributes:
        root: the project's checkout.
        name: of the experiment.
        runner: `auto` takes containers where an engine can be had, and says when it does not.
        engine: `none` refuses to use or install one.
        allow_dirty: certify an uncommitted tree; the certificate says that it cannot be replayed.
        gpu: which GPUs, by UUID or NVML index, separated by commas; None leaves the choice to the harness.
        python: an interpreter to train with, on the host; it is compared with the image's lock.
    """

    root: Path
    name: str
    runner: Runner = "auto"
    engine: engine.Wanted = "auto"
    allow_dirty: bool = False
    gpu: str | None = None
    python: Path | None = None

    def checked(self, experiment: Experiment) -> Request:
        """The same request with the runner that it implies.

        Raises:
            UsageError: it contradicts itself or the experiment.
        """
        if self.gpu is not None and experiment.gpus == 0:
            raise UsageError(f"--gpu is given, and {self.name} asks for no GPU", "set its key `gpus`, or leave it out")
        if self.python is None:
            return self
        if self.runner == "docker":
            problem = "--python is given, and RUNNER=docker: a container has the image's own interpreter"
            raise UsageError(problem, "leave one of the two out (--python, or HARNESS_PYTHON)")
        return dataclasses.replace(self, runner="host")


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What came of it: the run's folder and its documents."""

    folder: Path
    verdict: dict[str, Any]
    manifest: dict[str, Any]

    @property
    def exit_code(self) -> int:
        """The verdict's exit code."""
        return int(self.verdict["exit_code"])

    @property
    def documents(self) -> dict[str, Path]:
        """What a person may want to open, by name."""
        found = {name.partition(".")[0]: self.folder / name for name in DOCUMENTS}
        return {name: path for name, path in found.items() if path.is_file()}


def read_experiment(root: Path, name: str) -> Experiment:
    """The experiment of that name.

    Raises:
        UsageError: there is none, or its file is wrong.
    """
    known = tuple(sorted(path.stem for path in (root / EXPERIMENTS).glob("*.yaml")))
    path = root / EXPERIMENTS / f"{check_name(name, known)}.yaml"
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{EXPERIMENTS / path.name} cannot be read: {error}", "it must be UTF-8 text") from error
    return parse_experiment(text, str(EXPERIMENTS / path.name))


def plan(request: Request, store: Store) -> Plan:
    """What `certify` would do; nothing is run, fetched or started."""
    experiment = read_experiment(request.root, request.name)
    request = request.checked(experiment)
    recipe = read_recipe(request.root, experiment.image)
    runner = request.runner if request.runner != "auto" else ("host" if request.engine == "none" else "docker")
    planned = _campaign(experiment, with_controls=True)
    return make_plan(
        name=request.name,
        experiment=experiment,
        runner=runner,
        trajectories=planned.trajectories,
        num_parallel=planned.num_parallel,
        is_image_cached=store.read_record("images", recipe.key) is not None,
        fetch_bytes=recipe.lock.wheels_bytes + recipe.base_bytes,
        disk_bytes=peak_disk_bytes(recipe),
        measured=store.read_record("timings", request.name) or {},
    )


def certify(request: Request, store: Store, progress: Progress) -> Result:
    """From the name of an experiment to a verdict.

    Raises:
        HarnessError: nothing could be started, or it could not be ended. Once a run id exists, whatever happens is
            written as a verdict as well.
    """
    experiment = read_experiment(request.root, request.name)
    request = request.checked(experiment)
    checkout = read_checkout(request.root)
    if checkout.is_dirty and not request.allow_dirty:
        raise UsageError(
            f"the working tree has uncommitted changes ({', '.join(checkout.changed[:3])} ...)",
            "commit them, or give --allow-dirty (ALLOW_DIRTY=1): the certificate then says it cannot be replayed",
        )
    remember_checkout(store, request.root)
    attempt = _begin(request, experiment, checkout, store, progress)
    try:
        with store.in_use():
            return attempt.go()
    except (HarnessError, KeyboardInterrupt) as failure:
        error = failure if isinstance(failure, HarnessError) else InterruptedError_("interrupted", "start again")
        attempt.give_up(error)
        raise error from failure


def _campaign(experiment: Experiment, *, with_controls: bool) -> campaign.Campaign:
    planned = campaign.plan_campaign(experiment, with_controls=with_controls, cores=campaign.cores())
    # Runs side by side would share one GPU's memory, and what one of them takes is missing to the others.
    return dataclasses.replace(planned, num_parallel=1) if experiment.gpus else planned


def _begin(request: Request, experiment: Experiment, checkout: Checkout, store: Store, progress: Progress) -> _Attempt:
    run_id = f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{checkout.commit[:7]}-{secrets.token_hex(2)}"
    folder = request.root / "runs" / request.name / run_id
    with disk_errors("making the run's folder"):
        folder.mkdir(parents=True)
    case = Case(
        experiment=request.name,
        run_id=run_id,
        commit=checkout.commit,
        dirty=checkout.is_dirty,
        runner="docker" if request.runner == "auto" else request.runner,
        steps=experiment.steps,
        required=experiment.policy.required,
        rerun_mode=experiment.policy.rerun,
        interruptions=tuple(kill.fault for kill in experiment.interruptions),
    )
    attempt = _Attempt(request, experiment, checkout, store, progress, folder, case)
    attempt.write_verdict(judge(dataclasses.replace(case, problems=("this certify has not ended",))))
    _point_latest(folder)
    return attempt


@dataclass(slots=True)
class _Attempt:
    """One certify on its way; the methods are called in the order in which they stand."""

    request: Request
    experiment: Experiment
    checkout: Checkout
    store: Store
    progress: Progress
    folder: Path
    case: Case
    started: datetime = field(default_factory=lambda: datetime.now(UTC))
    seconds: dict[str, float] = field(default_factory=dict)

    def go(self) -> Result:
        """Every stage; the table of contents of this program."""
        ready = self.make_sandbox()
        inputs = self.fetch_inputs()
        code, recorder = self.export_code()
        setting = self.make_setting(ready.sandbox, inputs)
        setting, prepared = self.prepare_inputs(setting, ready, code)
        key = sha256(canonical_json([str(code), str(recorder), ready.image_id, str(self.experiment.digest)]))
        cached = controls.read(self.store, key)
        records, planned = self.run(setting, with_controls=cached is None)
        materials = Materials(
            commit=self.checkout.commit,
            is_dirty=self.checkout.is_dirty,
            code=code,
            recorder=recorder,
            image=ready.facts,
            prepared=prepared,
            host=doctor.host_facts(),
            gpu=ready.gpu,
            interpreter=None if ready.environment is None else ready.environment.to_json(),
        )
        verdict, evidence = self.judge(records, planned, cached, key)
        return self.write(verdict, evidence, materials)

    @contextlib.contextmanager
    def stage(self, name: str, detail: str) -> Iterator[None]:
        """Tell of a stage and take its time in seconds."""
        self.progress.stage(name, detail)
        began = time.monotonic()
        yield
        self.seconds[name] = round(time.monotonic() - began, 3)
        self.progress.done(name, self.seconds[name])

    def note(self, text: str) -> None:
        """Something worth knowing."""
        self.progress.note(text)

    def warn(self, text: str) -> None:
        """Something that a person should look at."""
        self.progress.warn(text)

    def make_sandbox(self) -> Ready:
        """Containers of the built image, or a process of the host, with the GPUs that are asked for."""
        wish = Wish(
            root=self.request.root,
            image=self.experiment.image,
            num_gpus=self.experiment.gpus,
            runner=self.request.runner,
            engine=self.request.engine,
            gpu=self.request.gpu,
            python=self.request.python,
            is_rebuild_required="rebuild" in self.experiment.policy.required,
        )
        ready = make_ready(wish, self.store, self)
        # Without a container there is no image to build again; the verdict lists that under what was not checked.
        required = tuple(n for n in self.case.required if n != "rebuild" or ready.sandbox.kind == ContainerSandbox.kind)
        self.case = dataclasses.replace(
            self.case,
            runner=ready.sandbox.kind,
            required=required,
            rebuild=ready.rebuild,
            gpus=ready.gpus,
            environment=ready.environment,
        )
        return ready

    def fetch_inputs(self) -> dict[str, Path]:
        """Every input, fetched and verified."""
        declared = sorted(self.experiment.inputs.items())
        with self.stage("inputs", ", ".join(name for name, _ in declared) or "none"):
            return {
                name: materialise(value.named(name), self.store, self.request.root, self.progress.note)
                for name, value in declared
            }

    def export_code(self) -> tuple[Digest, Digest]:
        """A clean export of the commit; the digests of the code and of the recorder."""
        state = ", with uncommitted changes" if self.checkout.is_dirty else ""
        with self.stage("code", f"commit {self.checkout.commit[:12]}{state}"), disk_errors("exporting the code"):
            export(self.checkout, self.folder / "code")
            (self.folder / "config.json").write_bytes(canonical_json(self.experiment.config) + b"\n")
            if self.case.runner == "docker":
                bill = export_lock(self.folder / "code", self.experiment.image, "cyclonedx", self.store, self.note)
                (self.folder / "sbom.cdx.json").write_text(bill, encoding="utf-8")
            return _tree_digest(self.folder / "code"), _tree_digest(RECORDER)

    def make_setting(self, sandbox: Sandbox, inputs: Mapping[str, Path]) -> Setting:
        """What all runs have in common."""
        return Setting(
            experiment=self.experiment,
            name=self.request.name,
            run_id=self.case.run_id,
            commit=self.checkout.commit,
            sandbox=sandbox,
            folder=self.folder,
            code=self.folder / "code",
            config=self.folder / "config.json",
            recorder=RECORDER,
            inputs=inputs,
            prepared=None,
            listener=self.progress,
            cancel=threading.Event(),
        )

    def prepare_inputs(self, setting: Setting, ready: Ready, code: Digest) -> tuple[Setting, dict[str, str]]:
        """The conversion of inputs, where one is declared."""
        if not self.experiment.prepare:
            return setting, {}
        with self.stage("prepare", "inputs are converted on two sides, cold, unless nothing changed"):
            key = preparation_key(setting, ready.image_id, code)
            tree, digests = prepare(setting, self.store, key)
        return dataclasses.replace(setting, prepared=tree), digests

    def run(self, setting: Setting, *, with_controls: bool) -> tuple[campaign.Records, campaign.Campaign]:
        """Every trajectory."""
        planned = _campaign(self.experiment, with_controls=with_controls)
        with self.stage("runs", f"{', '.join(planned.trajectories)}; {planned.num_parallel} side by side"):
            return campaign.run_campaign(setting, planned), planned

    def judge(
        self,
        records: campaign.Records,
        planned: campaign.Campaign,
        cached: tuple[ControlCheck, ...] | None,
        key: Digest,
    ) -> tuple[Verdict, tuple[TrajectoryEvidence, ...]]:
        """Read what was left behind, look at the controls, and decide."""
        with self.stage("judge", "bit for bit"):
            known: dict[tuple[str, Digest], Content] = {}
            evidence = {name: self._load(name, runs, known) for name, runs in records.items()}
            checks = controls.check_all(evidence, self.folder, self.experiment.policy.volatile, planned, cached)
            self.case = dataclasses.replace(
                self.case,
                straight=evidence.get(campaign.STRAIGHT),
                rerun=evidence.get(campaign.RERUN),
                resumed=evidence.get(campaign.RESUMED),
                controls=checks,
                problems=self._log_ends(records),
            )
            verdict = judge(self.case)
            if cached is None:
                controls.keep(self.store, key, checks)
        return verdict, tuple(evidence.values())

    def _load(
        self, name: str, runs: tuple[RunRecord, ...], known: dict[tuple[str, Digest], Content]
    ) -> TrajectoryEvidence:
        declared = self.experiment
        return load_trajectory(
            self.folder / name, name, runs, declared.outputs, declared.checkpoints, declared.policy.volatile, known
        )

    def _log_ends(self, records: campaign.Records) -> tuple[str, ...]:
        """The end of the log of every run that failed."""
        failed = [run for runs in records.values() for run in runs if run.exit_code != 0 and not run.is_planned_kill]
        return tuple(
            f"{run.trajectory}/{run.number} ended with {describe_exit(run.exit_code)}"
            f"{': ' + run.error if run.error else ''}\n"
            f"{last_lines(self.folder / run.trajectory / f'log-{run.number}.txt')}"
            for run in failed
        )

    def write(self, verdict: Verdict, evidence: tuple[TrajectoryEvidence, ...], materials: Materials) -> Result:
        """Manifest, verdict, certificate and reports."""
        finished = datetime.now(UTC)
        volatile = {
            "started": self.started.isoformat(timespec="seconds"),
            "finished": finished.isoformat(timespec="seconds"),
            "seconds": self.seconds,
            **({"interpreter": str(self.request.python)} if self.request.python else {}),
        }
        manifest = build_manifest(
            name=self.request.name,
            run_id=self.case.run_id,
            runner=self.case.runner,
            version=harness.__version__,
            experiment=self.experiment,
            materials=materials,
            trajectories=evidence,
            volatile=volatile,
        )
        document = verdict_to_json(verdict)
        with disk_errors("writing the verdict"):
            _write_json(self.folder / "manifest.json", manifest)
            self.write_verdict(verdict)
            certificate = build_certificate(
                verdict=document, manifest=manifest, digests=self._digests(), finished=finished
            )
            (self.folder / "certificate.json").write_bytes(certificate)
            write_reports(self.folder, document, manifest, curves_of(evidence))
        if document["exit_code"] == 0:
            self.store.write_record("timings", self.request.name, self.seconds)
        _point_latest(self.folder)
        return Result(folder=self.folder, verdict=document, manifest=manifest)

    def _digests(self) -> dict[str, str]:
        return {name: file_digest(self.folder / name) for name in ("manifest.json", "verdict.json")}

    def write_verdict(self, verdict: Verdict) -> None:
        """Write verdict.json in one step."""
        _write_json(self.folder / "verdict.json", verdict_to_json(verdict))

    def give_up(self, error: HarnessError) -> None:
        """An error after the run id exists is a verdict too: INCONCLUSIVE, with the error's exit code."""
        document = verdict_to_json(judge(dataclasses.replace(self.case, problems=(error.problem,))))
        with contextlib.suppress(OSError):
            _write_json(self.folder / "verdict.json", {**document, "exit_code": error.exit_code})


def _write_json(path: Path, value: Mapping[str, Any]) -> None:
    write_atomically(path, json.dumps(value, indent=1, sort_keys=True) + "\n")


def _point_latest(folder: Path) -> None:
    """`latest` points at the newest run."""
    link, temporary = folder.parent / "latest", folder.parent / f".latest.{os.getpid()}"
    with disk_errors("pointing `latest` at this run"):
        temporary.unlink(missing_ok=True)
        temporary.symlink_to(folder.name)
        temporary.replace(link)


def _tree_digest(folder: Path) -> Digest:
    """sha256 over the sorted relative paths and contents of the files below a folder."""
    names = sorted(
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.is_file() and not path.is_symlink() and "__pycache__" not in path.parts
    )
    return sha256(canonical_json({name: file_digest(folder / name) for name in names}))
