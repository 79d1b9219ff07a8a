"""Plan: what a certify would do, and everything that would stop it, at once. Nothing is fetched, built or trained.

    experiment -> request -> code -> review -> GPU, engine, disk, packages, inputs -> interpreter -> commands -> times

The findings stand in the order in which a certify would come upon them.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from harness.documents.experiment import Experiment
from harness.documents.plan import Plan, PlanFinding, Stage
from harness.documents.preflight import PreflightRow
from harness.documents.scope import Prefix, shortened
from harness.errors import EvidenceError, HarnessError, VetoError
from harness.images.estimate import peak_disk_bytes
from harness.images.recipe import read_recipe
from harness.packages.interpreter import import_problem
from harness.packages.venv import host_python
from harness.replay.availability import LocalSources
from harness.replay.preflight import PreflightRequest, preflight
from harness.review.checklist import vetoes_of
from harness.review.command_files import command_findings
from harness.review.target import basis_of, reviewed_experiment, target_of_experiment
from harness.runs.plan import stages_of
from harness.runs.request import Request
from harness.system.git import read_checkout
from harness.system.held import temporary_folder
from harness.system.project import read_experiment
from harness.system.store import Store, disk_errors
from harness.workflow.certify import check_clean
from harness.workflow.certify_session import campaign_of

_FETCHED = ("base", "wheel", "input")
_ORDER = ("code", "gpu", "driver", "engine", "disk", *_FETCHED, "memory")


def plan(request: Request, store: Store) -> Plan:
    """What `certify` would do, and what would stop it."""
    asked = _Asked(request=request, store=store)
    experiment, scope = None, None
    with asked.told("experiment"):
        experiment = read_experiment(request.root, request.name, request.overrides)
    if experiment is not None:
        with asked.told("request"):
            asked.request = request.checked(experiment)
        with asked.told("request"):
            scope = request.scope(experiment)
        with temporary_folder() as scratch:
            asked.look(experiment, asked.code(scratch / "code"))
    runner = asked.request.runner
    return Plan(
        experiment=request.name,
        runner=runner if runner != "auto" else ("host" if request.engine == "none" else "docker"),
        scope=scope,
        overrides=request.overrides,
        stages=() if experiment is None else asked.stages(experiment, scope),
        findings=tuple(asked.findings),
        needs=asked.needs,
    )


@dataclass(slots=True, kw_only=True)
class _Asked:
    """One question on its way, with what was found so far."""

    request: Request
    store: Store
    findings: list[PlanFinding] = field(default_factory=list)
    needs: tuple[PreflightRow, ...] = ()

    @contextlib.contextmanager
    def told(self, about: str) -> Iterator[None]:
        """What ends a certify is one more finding."""
        try:
            with disk_errors("looking ahead"):
                yield
        except HarnessError as error:
            self.add(about, error.problem, error.remedy, error.exit_code)

    def add(self, about: str, problem: str, remedy: str, exit_code: int) -> None:
        self.findings.append(PlanFinding(about=about, problem=problem, remedy=remedy, exit_code=exit_code))

    def code(self, target: Path) -> Path:
        """The code as a certify would export it; where there is no commit, the working tree as it lies there."""
        with self.told("git"):
            checkout = read_checkout(self.request.root)
            with self.told("git"):
                check_clean(checkout, self.request)
            checkout.export(target)
            return target
        return self.request.root

    def look(self, experiment: Experiment, code: Path) -> None:
        """Everything that there is to look at."""
        with self.told("review"):
            self._review(experiment, code)
        with self.told("image"):
            local = LocalSources(store=self.store)
            question = PreflightRequest(request=self.request, code=code, experiment=experiment, local=local)
            self.needs = preflight(question).needs
        for need in sorted(self.needs, key=lambda need: _ORDER.index(need.kind)):
            self._need(need)
        if self.request.python is not None:
            with self.told("--python"):
                self._python(experiment, code, self.request.python)
        self.findings += command_findings(experiment, code)

    def _need(self, need: PreflightRow) -> None:
        is_offline = self.store.is_offline and need.state == "fetchable" and need.kind in _FETCHED
        detail = "it is not here, and this is offline" if is_offline else need.detail
        if need.state in ("gone", "unknown") or is_offline:
            problem = detail if need.kind in ("gpu", "memory") else f"{need.name}: {detail}"
            self.add(need.kind, problem, need.remedy, 0 if need.state == "unknown" else need.exit_code)

    def _review(self, experiment: Experiment, code: Path) -> None:
        basis = basis_of(experiment, target_of_experiment(experiment, code), self.store)
        review = reviewed_experiment(self.request.name, experiment, basis)
        for one in vetoes_of(review):
            place = f"{one.path}:{one.line}" if one.path else "the code"
            self.add("review", f"{place}: {one.rule} {one.message}", one.fix, VetoError.exit_code)

    def _python(self, experiment: Experiment, code: Path, python: Path) -> None:
        lock = code / "lockfiles" / f"{experiment.image}.lock"
        facts = host_python(lock, python, self.store, lambda _: None).facts
        if not facts.is_locked:
            self.add("--python", facts.sentence(), "nothing has to be done: the verdict says so", 0)
        if problem := import_problem(python, "torch"):
            remedy = "give the Python of the environment in which you train"
            self.add("--python", f"{python} cannot import torch: {problem}", remedy, EvidenceError.exit_code)

    def stages(self, experiment: Experiment, scope: Prefix | None) -> tuple[Stage, ...]:
        """What would run; nothing where the image is not known."""
        with contextlib.suppress(HarnessError):
            recipe = read_recipe(self.request.root, experiment.image)
            is_engine_up = any((need.kind, need.state) == ("engine", "present") for need in self.needs)
            is_built = any(need.name == f"image {recipe.name}" for need in self.needs)
            is_remembered = self.store.read_record("images", recipe.key) is not None
            trained = shortened(experiment, scope)
            planned = campaign_of(trained, with_controls=True, num_swept=self.request.sweep or 0)
            return stages_of(
                trained,
                trajectories=planned.trajectories,
                num_parallel=planned.num_parallel,
                is_image_cached=is_built if is_engine_up else is_remembered,
                fetch_bytes=sum(need.size_bytes for need in self.needs if need.kind in ("base", "wheel")),
                disk_bytes=peak_disk_bytes(recipe),
                num_swept=self.request.sweep or 0,
                measured=self.store.read_record("timings", self.request.name) or {},
                scope=scope,
                python=self.request.python,
                is_on_host=self.request.runner == "host" or self.request.engine == "none",
            )
        return ()
