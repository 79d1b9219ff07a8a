"""One certify on its way, stage by stage, with what all its stages share."""

from __future__ import annotations

import contextlib
import dataclasses
import shutil
from dataclasses import dataclass

from harness.documents.digest import Digest, canonical_json, sha256
from harness.documents.experiment import Experiment
from harness.documents.scope import shortened
from harness.documents.verdict import ControlResult, Verdict
from harness.errors import HarnessError
from harness.evidence.content import Content
from harness.evidence.trajectory import SWEPT, TrajectoryEvidence
from harness.images.locks import export_lock
from harness.judge.kill_points import planned_kills
from harness.judge.manifest import Materials
from harness.judge.soundness import num_steps
from harness.judge.sweep import sweep_inputs
from harness.judge.verdict import judge
from harness.judge.verdict_inputs import Reviewer, VerdictInputs
from harness.review.checklist import forbids_run
from harness.review.evidence.basis import Basis
from harness.review.reviewer import reviewer_of
from harness.review.target import basis_of, target_of_experiment
from harness.runs import campaign, controls
from harness.runs.container import ContainerSandbox
from harness.runs.context import RunContext
from harness.runs.continuation import FOLDER, Continuation
from harness.runs.load_metrics import load_run_files
from harness.runs.runtime import Runtime
from harness.runs.variation import num_cores
from harness.system.sources import sources_digest
from harness.system.store import disk_errors, point_latest, write_json
from harness.workflow.results import Result, write_documents
from harness.workflow.training import Training


def campaign_of(experiment: Experiment, *, with_controls: bool, num_swept: int = 0) -> campaign.Campaign:
    """Which trajectories this machine runs for an experiment, and how many at once."""
    planned = campaign.plan_campaign(experiment, with_controls=with_controls, cores=num_cores(), num_swept=num_swept)
    # Runs side by side would share one GPU's memory, and what one of them takes is missing to the others.
    return dataclasses.replace(planned, num_parallel=1) if experiment.gpus else planned


def _what_runs_depend_on(ready: Runtime, materials: Materials) -> dict[str, str]:
    """What has to be the same for a finished training to be taken over, but for the experiment, in words."""
    host = {key: value for key, value in materials.host.items() if key != "gpus"}
    facts = {
        "commit": materials.commit,
        "code": str(materials.code),
        "recorder": str(materials.recorder),
        "version of the harness": str(sources_digest()),
        "runner": ready.sandbox.kind,
        "image": ready.image_id,
        "interpreter": dict(materials.interpreter or {}),
        "set of converted inputs": dict(materials.prepared),
        "machine": host,
        "set of GPUs": list(ready.gpus),
    }
    return {name: str(sha256(canonical_json(value))) for name, value in facts.items()}


@dataclass(slots=True, kw_only=True)
class CertifySession(Training):
    """One certify on its way; `case` is what the verdict will be made from, `basis` what the review read before."""

    case: VerdictInputs
    basis: Basis | None = None

    def go(self) -> Result:
        """Every stage; the table of contents of this program."""
        code, recorder = self.export_code()
        if (vetoed := self.review_code()) is not None:
            return self.write(vetoed, (), self.materials(code, recorder))
        ready = self.make_sandbox()
        self.write_bill()
        context, materials = self.set_up(ready, code, recorder)
        key = sha256(canonical_json([str(code), str(recorder), ready.image_id, str(self.experiment.digest)]))
        if self.scope is None:  # of a prefix, every step has to be seen while it is made
            kept = Continuation(self.folder, _what_runs_depend_on(ready, materials), self.note)
            context = dataclasses.replace(context, continuation=kept)
        cached = controls.read(self.store, key)
        records, planned = self.run(context, with_controls=cached is None)
        verdict, evidence = self.judge(records, planned, cached, key)
        return self.write(verdict, evidence, materials)

    def review_code(self) -> Verdict | None:
        """Read the code and what stands around it, before anything is built; the verdict if it forbids the run."""
        code = self.code
        target = target_of_experiment(self.experiment, code)
        with self.stage("review", ", ".join(target.entries or ()) or "no script: the commands name none"):
            self.basis = basis_of(self.experiment, target, self.store, self.note)
            self.case = dataclasses.replace(self.case, review=reviewer_of(self.basis))
        verdict = judge(self.case)
        return verdict if verdict.review is not None and forbids_run(verdict.review) else None

    def make_sandbox(self) -> Runtime:
        """The runtime, and what the verdict says about it."""
        ready = Training.make_sandbox(self)
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

    def write_bill(self) -> None:
        """The image's bill of materials, beside the verdict."""
        if self.case.runner == "docker":
            with disk_errors("writing the bill of materials"):
                bill = export_lock(self.code, self.experiment.image, "cyclonedx", self.store, self.note)
                (self.folder / "sbom.cdx.json").write_text(bill, encoding="utf-8")

    def run(self, context: RunContext, *, with_controls: bool) -> tuple[campaign.Records, campaign.Campaign]:
        num_swept = self.request.sweep or 0
        planned = campaign_of(context.experiment, with_controls=with_controls, num_swept=num_swept)
        if context.sandbox.is_serial:
            planned = dataclasses.replace(planned, num_parallel=1)
        swept = [f"{SWEPT}{number:03}" for number in range(1, num_swept + 1)]
        names = ", ".join((*planned.trajectories, *([f"{num_swept} swept"] if num_swept else [])))
        with self.stage("runs", f"{names}; {planned.num_parallel} side by side"):
            if (kept := context.continuation) is not None:
                there = (path.name for path in sorted(self.folder.glob(f"{SWEPT}*")))
                kept.clear((*campaign.TRAJECTORIES, *there), (*planned.trajectories, *swept))
            records = campaign.run_campaign(context, planned)
            self.case = dataclasses.replace(self.case, continued=() if kept is None else tuple(sorted(kept.taken)))
            return records, planned

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
            checks = controls.check_all(evidence, self.folder, planned, cached)
            straight = evidence.get(campaign.STRAIGHT)
            self.case = dataclasses.replace(
                self.case,
                steps=num_steps(self.case.steps, straight),
                interruptions=planned_kills(shortened(self.experiment, self.scope), straight, self.source.commit),
                sweep=sweep_inputs(straight, self.source.commit, self.request.sweep or 0, evidence),
                straight=straight,
                rerun=evidence.get(campaign.RERUN),
                resumed=evidence.get(campaign.RESUMED),
                controls=checks,
                log_ends=self.log_ends(records),
                stopped_at=self.monitor.found,
                review=self._reviewer(),
            )
            verdict = judge(self.case)
            if cached is None:
                controls.keep(self.store, key, checks)
        return verdict, tuple(evidence.values())

    def _reviewer(self) -> Reviewer | None:
        """What judges the checklist, with what the straight run wrote beside its declared files."""
        files = load_run_files(self.folder / campaign.STRAIGHT, campaign.STRAIGHT)
        return None if self.basis is None else reviewer_of(dataclasses.replace(self.basis, files=files))

    def write(self, verdict: Verdict, evidence: tuple[TrajectoryEvidence, ...], materials: Materials) -> Result:
        """Every document of a certify; `latest` points at it, and the times of a whole one are kept for plans."""
        shutil.rmtree(self.folder / FOLDER, ignore_errors=True)
        result = write_documents(self, self.case.runner, verdict.to_json(), evidence, materials)
        is_usual = not (self.request.overrides or self.request.sweep or self.case.continued)
        if result.exit_code == 0 and self.scope is None and is_usual:
            self.store.write_record("timings", self.request.name, self.seconds)
        point_latest(self.folder)
        return result

    def write_verdict(self, verdict: Verdict) -> None:
        write_json(self.folder / "verdict.json", verdict.to_json())

    def give_up(self, error: HarnessError) -> None:
        """An error after the run id exists is a verdict too: INCONCLUSIVE, with the error's exit code."""
        document = judge(dataclasses.replace(self.case, problems=(error.problem,))).to_json()
        with contextlib.suppress(OSError):
            write_json(self.folder / "verdict.json", {**document, "exit_code": error.exit_code})
