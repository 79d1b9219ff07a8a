"""An attempt: one certify on its way, stage by stage, with what all its stages share."""

from __future__ import annotations

import contextlib
import dataclasses
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import harness
from harness.archive.crate import write_crate
from harness.archive.run_folder import list_evidence, note_left_out
from harness.documents import verdict as verdicts
from harness.documents.digest import Digest, canonical_json, sha256
from harness.documents.experiment import Experiment
from harness.documents.manifest import Manifest
from harness.documents.run import RunRecord
from harness.documents.scope import shortened
from harness.documents.verdict import ControlResult
from harness.errors import HarnessError
from harness.evidence.content import Content
from harness.evidence.trajectory import TrajectoryEvidence
from harness.images.locks import export_lock
from harness.inputs.fetch import fetch_input
from harness.judge.manifest import Materials, build_manifest
from harness.judge.verdict import Verdict, VerdictInputs, judge, verdict_to_json
from harness.report.console import Progress
from harness.report.documents import curves_of, write_reports
from harness.review.basis import Basis
from harness.review.review_tree import review_tree
from harness.review.target import basis_of, target_of_experiment
from harness.runs import campaign, controls
from harness.runs.certify_folder import point_latest, tree_digest, write_json
from harness.runs.container import ContainerSandbox
from harness.runs.divergence_monitor import DivergenceMonitor
from harness.runs.load_evidence import load_trajectory
from harness.runs.load_tracking import load_run_files
from harness.runs.preparation import last_lines, preparation_key, prepare
from harness.runs.request import Request as Request
from harness.runs.runtime import Runtime, RuntimeRequest, make_runtime
from harness.runs.sandbox import Sandbox, describe_exit
from harness.runs.trajectory import RunContext
from harness.signing.certificate import build_certificate
from harness.system import machine
from harness.system.git import Source
from harness.system.project import read_experiment as read_experiment
from harness.system.store import Store, disk_errors

SOURCES = Path(harness.__file__).resolve().parent
RECORDER = SOURCES / "recorder"
DOCUMENTS = (
    "report.html",
    "verdict.json",
    "manifest.json",
    "certificate.json",
    "summary.md",
    "junit.xml",
    "badge.svg",
    "macros.tex",
    "sbom.cdx.json",
    "ro-crate-metadata.json",
)


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


def campaign_of(experiment: Experiment, *, with_controls: bool) -> campaign.Campaign:
    """Which trajectories this machine runs for an experiment, and how many at once."""
    planned = campaign.plan_campaign(experiment, with_controls=with_controls, cores=campaign.cores())
    # Runs side by side would share one GPU's memory, and what one of them takes is missing to the others.
    return dataclasses.replace(planned, num_parallel=1) if experiment.gpus else planned


@dataclass(slots=True)
class CertifySession:
    """One certify on its way; the methods are called in the order in which they stand.

    Attributes:
        source: where the code comes from; image, locks, inputs and what is trained are all taken from it.
        tree: where the code lies once it is exported, if not in the run's own folder.
        is_rebuilt: whether the image is built twice where the experiment's policy requires it.
    """

    request: Request
    experiment: Experiment
    source: Source
    store: Store
    progress: Progress
    folder: Path
    case: VerdictInputs
    tree: Path | None = None
    is_rebuilt: bool = True
    started: datetime = field(default_factory=lambda: datetime.now(UTC))
    seconds: dict[str, float] = field(default_factory=dict)
    lookout: DivergenceMonitor = field(default_factory=lambda: DivergenceMonitor(campaign.STRAIGHT, campaign.RERUN))

    @property
    def code(self) -> Path:
        """Where the code lies once it is exported."""
        return self.folder / "code" if self.tree is None else self.tree

    def go(self) -> Result:
        """Every stage; the table of contents of this program."""
        code, recorder = self.export_code()
        if (vetoed := self.review_code()) is not None:
            return self.write(vetoed, (), self._untouched(code, recorder))
        ready = self.make_sandbox()
        self.write_bill()
        inputs = self.fetch_inputs()
        setting = self.make_setting(ready.sandbox, inputs)
        setting, prepared = self.prepare_inputs(setting, ready, code)
        key = sha256(canonical_json([str(code), str(recorder), ready.image_id, str(self.experiment.digest)]))
        cached = controls.read(self.store, key)
        records, planned = self.run(setting, with_controls=cached is None)
        verdict, evidence = self.judge(records, planned, cached, key)
        return self.write(verdict, evidence, self.materials(code, recorder, ready, prepared))

    def materials(self, code: Digest, recorder: Digest, ready: Runtime, prepared: Mapping[str, str]) -> Materials:
        """What went into the runs."""
        return Materials(
            commit=self.source.commit,
            is_dirty=self.source.is_dirty,
            code=code,
            recorder=recorder,
            image=ready.facts,
            prepared=prepared,
            host=machine.host_facts(),
            gpu=ready.gpu,
            interpreter=None if ready.environment is None else ready.environment.to_json(),
        )

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

    def make_sandbox(self) -> Runtime:
        """Containers of the built image, or a process of the host, with the GPUs that are asked for."""
        wish = RuntimeRequest(
            root=self.code,
            image=self.experiment.image,
            num_gpus=self.experiment.gpus,
            runner=self.request.runner,
            engine=self.request.engine,
            gpu=self.request.gpu,
            python=self.request.python,
            is_rebuild_required=self.is_rebuilt and "rebuild" in self.experiment.policy.required,
        )
        ready = make_runtime(wish, self.store, self)
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
                name: fetch_input(value.named(name), self.store, self._root_of(value.file), self.progress.note)
                for name, value in declared
            }

    def _root_of(self, file: str | None) -> Path:
        """What an input's path is below: the code, or, for a file that is not committed, the checkout."""
        return self.request.root if file is not None and not (self.code / file).is_file() else self.code

    def export_code(self) -> tuple[Digest, Digest]:
        """A clean export of the commit; the digests of the code and of the recorder."""
        state = ", with uncommitted changes" if self.source.is_dirty else ""
        with self.stage("code", f"commit {self.source.commit[:12]}{state}"), disk_errors("exporting the code"):
            self.source.export(self.code)
            (self.folder / "config.json").write_bytes(canonical_json(self.experiment.config) + b"\n")
            return tree_digest(self.code), tree_digest(RECORDER)

    def review_code(self) -> Verdict | None:
        """Read the code and what stands around it, before anything is built; the verdict if it forbids the run."""
        code = self.code
        target = target_of_experiment(self.experiment, code)
        with self.stage("review", ", ".join(target.entries) or "every file of the code"):
            static = review_tree(
                code, target.entries, store=self.store, progress=self.note, image=self.experiment.image
            )
            self.case = dataclasses.replace(self.case, review=basis_of(self.experiment, code, target, static))
        verdict = judge(self.case)
        return verdict if verdict.verdict == "VETOED" else None

    def _untouched(self, code: Digest, recorder: Digest) -> Materials:
        """The materials of a certify that ended before anything was built."""
        return Materials(
            commit=self.source.commit,
            is_dirty=self.source.is_dirty,
            code=code,
            recorder=recorder,
            image={"name": self.experiment.image, "id": None},
            prepared={},
            host=machine.host_facts(),
        )

    def write_bill(self) -> None:
        """The image's bill of materials, beside the verdict."""
        if self.case.runner == "docker":
            with disk_errors("writing the bill of materials"):
                bill = export_lock(self.code, self.experiment.image, "cyclonedx", self.store, self.note)
                (self.folder / "sbom.cdx.json").write_text(bill, encoding="utf-8")

    def make_setting(self, sandbox: Sandbox, inputs: Mapping[str, Path]) -> RunContext:
        """What all runs have in common."""
        return RunContext(
            experiment=shortened(self.experiment, self.case.scope),
            name=self.request.name,
            run_id=self.case.run_id,
            commit=self.source.commit,
            sandbox=sandbox,
            folder=self.folder,
            code=self.code,
            config=self.folder / "config.json",
            recorder=RECORDER,
            inputs=inputs,
            prepared=None,
            listener=self.progress,
            cancel=threading.Event(),
            scope=self.case.scope,
            lookout=None if self.case.scope is None else self.lookout,
        )

    def prepare_inputs(self, setting: RunContext, ready: Runtime, code: Digest) -> tuple[RunContext, dict[str, str]]:
        """The conversion of inputs, where one is declared."""
        if not self.experiment.prepare:
            return setting, {}
        with self.stage("prepare", "inputs are converted on two sides, cold, unless nothing changed"):
            key = preparation_key(setting, ready.image_id, code)
            tree, digests = prepare(setting, self.store, key)
        return dataclasses.replace(setting, prepared=tree), digests

    def run(self, setting: RunContext, *, with_controls: bool) -> tuple[campaign.Records, campaign.Campaign]:
        """Every trajectory."""
        planned = campaign_of(setting.experiment, with_controls=with_controls)
        with self.stage("runs", f"{', '.join(planned.trajectories)}; {planned.num_parallel} side by side"):
            return campaign.run_campaign(setting, planned), planned

    def judge(
        self,
        records: campaign.Records,
        planned: campaign.Campaign,
        cached: tuple[ControlResult, ...] | None,
        key: Digest,
    ) -> tuple[Verdict, tuple[TrajectoryEvidence, ...]]:
        """Read what was left behind, look at the controls, and decide."""
        with self.stage("judge", "bit for bit"):
            known: dict[tuple[str, Digest], Content] = {}
            evidence = {name: self.load(name, runs, known) for name, runs in records.items()}
            checks = controls.check_all(evidence, self.folder, self.experiment.policy.volatile, planned, cached)
            self.case = dataclasses.replace(
                self.case,
                straight=evidence.get(campaign.STRAIGHT),
                rerun=evidence.get(campaign.RERUN),
                resumed=evidence.get(campaign.RESUMED),
                controls=checks,
                problems=self.log_ends(records),
                stopped_at=self.lookout.found,
                review=self._with_files(),
            )
            verdict = judge(self.case)
            if cached is None:
                controls.keep(self.store, key, checks)
        return verdict, tuple(evidence.values())

    def _with_files(self) -> Basis | None:
        """What the review stands on, with what the straight run wrote beside its declared files."""
        files = load_run_files(self.folder / campaign.STRAIGHT, campaign.STRAIGHT)
        return self.case.review and dataclasses.replace(self.case.review, files=files)

    def load(
        self, name: str, runs: tuple[RunRecord, ...], known: dict[tuple[str, Digest], Content]
    ) -> TrajectoryEvidence:
        """What a trajectory left behind, read; `known` as `load_trajectory` has it."""
        declared = self.experiment
        return load_trajectory(
            self.folder / name, name, runs, declared.outputs, declared.checkpoints, declared.policy.volatile, known
        )

    def log_ends(self, records: campaign.Records) -> tuple[str, ...]:
        """The end of the log of every run that failed."""
        failed = [run for runs in records.values() for run in runs if run.exit_code != 0 and not run.is_planned_kill]
        return tuple(
            f"{run.trajectory}/{run.number} ended with {describe_exit(run.exit_code)}"
            f"{': ' + run.error if run.error else ''}\n"
            f"{last_lines(self.folder / run.trajectory / f'log-{run.number}.txt')}"
            for run in failed
        )

    def write(self, verdict: Verdict, evidence: tuple[TrajectoryEvidence, ...], materials: Materials) -> Result:
        """Every document of a certify; `latest` points at it, and the times of a whole one are kept for plans."""
        result = self.write_documents(verdict_to_json(verdict), evidence, materials)
        if result.exit_code == 0 and self.case.scope is None:
            self.store.write_record("timings", self.request.name, self.seconds)
        point_latest(self.folder)
        return result

    def write_documents(
        self, document: dict[str, Any], evidence: tuple[TrajectoryEvidence, ...], materials: Materials
    ) -> Result:
        """Manifest, verdict, reports, and last the certificate, which lists the digest of every file of the run."""
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
            review=document["review"],
            scope=self.case.scope,
            sources=tree_digest(SOURCES),
        )
        with disk_errors("writing the verdict"):
            write_json(self.folder / "manifest.json", manifest)
            write_json(self.folder / "verdict.json", document)
            write_reports(self.folder, document, manifest, curves_of(evidence))
            verdict = verdicts.Verdict.from_json(document, "verdict.json")
            documents = verdict, Manifest.from_json(manifest, "manifest.json")
            write_crate(self.folder, *documents)
            note_left_out(self.folder)
            digests = {name: str(digest) for name, digest in list_evidence(self.folder).items()}
            (self.folder / "certificate.json").write_bytes(build_certificate(*documents, digests))
        return Result(folder=self.folder, verdict=document, manifest=manifest)

    def write_verdict(self, verdict: Verdict) -> None:
        """Write verdict.json in one step."""
        write_json(self.folder / "verdict.json", verdict_to_json(verdict))

    def give_up(self, error: HarnessError) -> None:
        """An error after the run id exists is a verdict too: INCONCLUSIVE, with the error's exit code."""
        document = verdict_to_json(judge(dataclasses.replace(self.case, problems=(error.problem,))))
        with contextlib.suppress(OSError):
            write_json(self.folder / "verdict.json", {**document, "exit_code": error.exit_code})
