"""Certifies whose runs were made up, byte by byte as a recorder would write them, and judged and written for real.

Only the processes are missing: the trainings are those of tests/made/synthetic.py. Everything else (reading the
evidence, controls, judging, manifest, reports, certificate) is the workflow's own.
"""

from __future__ import annotations

import dataclasses
import io
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from harness.documents.run import Fault, RunRecord
from harness.documents.scope import shortened
from harness.documents.verdict import ControlResult
from harness.judge.manifest import environment_of
from harness.judge.tier import tier_of
from harness.judge.verdict import judge
from harness.judge.verdict_inputs import ReplayInputs, VerdictInputs
from harness.replay.archived import RecordLocation, keep_copy, open_record
from harness.report.console import Progress
from harness.runs.controls import check_all
from harness.runs.request import Request
from harness.system.git import Exported
from harness.system.project import read_experiment
from harness.system.store import Store
from harness.workflow.certify_session import CertifySession, campaign_of
from harness.workflow.results import write_documents
from tests.made.synthetic import KILL, Files, Process, Quirks, State, canonical, chain, record_of, restore, start_state

NAME = "small"
SOUND = Quirks()
STEPS = 8
COMMIT = "c" * 40
RUN_ID = "20260101T000000Z-ccccccc-0001"
EXPERIMENT = """\
schema: 1
description: plain arithmetic
image: cpu
run: [python, train.py, --config, "{config}", --output, "{output}"]
resume: [python, train.py, --config, "{config}", --output, "{output}", --resume]
config: {seed: 17}
steps: 8
outputs: [adapter.safetensors, metrics.jsonl]
checkpoints: ["checkpoints/*.safetensors"]
interruptions: [{kind: micro_batch, step: 6, micro_batch: 1}]
policy: {required: [rerun, resume], volatile: [seconds]}
"""


@dataclass(frozen=True)
class Plan:
    """What happened in the made-up runs.

    Attributes:
        straight, rerun, resumed: what is wrong with the processes of each training.
        steps: of a prefix; None for all.
        exit_code: of the straight run.
        has_review: whether the code is reviewed.
        training: the script.
        has_controls: whether the controls had runs of their own in this certify.
        cites_controls: whether those of an earlier certify of the same code are cited.
        has_tensors: whether the recorder wrote the digests of single tensors.
        only: the trajectories that take place; all that the experiment asks for by default.
        more: further files of the code, path and text.
        overrides: what was set in the experiment for this run.
    """

    straight: Quirks = SOUND
    rerun: Quirks = SOUND
    resumed: Quirks = SOUND
    steps: int | None = None
    exit_code: int = 0
    has_review: bool = False
    training: str = "print('plain arithmetic')\n"
    has_controls: bool = True
    cites_controls: bool = False
    has_tensors: bool = True
    only: tuple[str, ...] = ()
    name: str = NAME
    run_id: str = RUN_ID
    experiment: str = EXPERIMENT
    more: tuple[tuple[str, str], ...] = ()
    overrides: tuple[str, ...] = ()


WHOLE = Plan()


def make_run(root: Path, plan: Plan = WHOLE) -> Path:
    """A finished certify below `root`; returns the run's folder."""
    project = write_project(root, plan)
    session = begin(project, plan)
    with session.store.in_use():
        code, recorder = session.export_code()
        vetoed = session.review_code() if plan.has_review else None
        asked = tuple(name for name in session.experiment.policy.required if name != "rebuild")
        session.case = dataclasses.replace(session.case, runner="host", required=asked)
        materials = session.materials(code, recorder)
        if vetoed is not None:
            return session.write(judge(session.case), (), materials).folder
        records = run_all(session, plan)
        for path in () if plan.has_tensors else sorted(session.folder.glob("*/runs/*/tensors.jsonl")):
            path.unlink()
        planned = campaign_of(shortened(session.experiment, session.case.scope), with_controls=plan.has_controls)
        cited = tuple(ControlResult(name=name, detected=True, detail="found") for name in ("flip_param", "flip_optim"))
        verdict, evidence = session.judge(records, planned, cited if plan.cites_controls else None, code)
        return session.write(verdict, evidence, materials).folder


def write_project(root: Path, plan: Plan) -> Path:
    """The code of the experiment."""
    project = root / "project"
    write(project / "pipelines" / "experiments" / f"{plan.name}.yaml", plan.experiment)
    write(project / "train.py", plan.training)
    write(project / "lockfiles" / "cpu.lock", "# nothing is locked\n")
    for path, text in plan.more:
        write(project / path, text)
    return project


def make_replay(root: Path, recorded: Path, plan: Plan = WHOLE) -> Path:
    """A finished replay of a record (a run's folder, a published one, an archive); returns its folder."""
    project = write_project(root, plan)
    session = begin(project, plan)
    place = RecordLocation(path=recorded, shown="the record")
    with session.store.in_use(), open_record(place, project, session.store, lambda _: None) as record:
        code, recorder = session.export_code()
        session.case = dataclasses.replace(session.case, runner="host", required=())
        records = straight(session.folder, "straight", plan.straight, None, exit_code=plan.exit_code)
        evidence = session.load("straight", records, {})
        materials = session.materials(code, recorder)
        today = environment_of(materials, (evidence,))
        planned = campaign_of(session.experiment, with_controls=False)
        checks = check_all({"straight": evidence}, session.folder, planned, ())
        archived = record.recorded.manifest.environment.to_json()
        case = dataclasses.replace(
            session.case,
            required=("replay",),
            interruptions=(),
            straight=evidence,
            controls=checks,
            log_ends=session.log_ends({"straight": records}),
            replay=ReplayInputs(training=record.recorded, recorder=str(recorder), tier=tier_of(archived, today, {}, 0)),
        )
        keep_copy(record, session.folder / "record")
        return write_documents(session, "host", judge(case).to_json(), (evidence,), materials).folder


def begin(project: Path, plan: Plan) -> CertifySession:
    request = Request(root=project, name=plan.name, runner="host", steps=plan.steps, overrides=plan.overrides)
    experiment = read_experiment(project, plan.name, plan.overrides)
    scope = request.scope(experiment)
    trained = shortened(experiment, scope)
    folder = project / "runs" / plan.name / plan.run_id
    folder.mkdir(parents=True)
    case = VerdictInputs(
        experiment=plan.name,
        run_id=plan.run_id,
        commit=COMMIT,
        dirty=False,
        runner="host",
        steps=trained.steps,
        rerun_mode=experiment.policy.rerun,
        interruptions=tuple(kill.fault for kill in trained.kills),
        scope=scope,
        overrides=plan.overrides,
    )
    clean = project.parent / "clean"
    shutil.copytree(project, clean, ignore=shutil.ignore_patterns("runs"))
    progress = Progress(io.StringIO())
    store = Store(project.parent / "cache")
    return CertifySession(
        request=request,
        experiment=experiment,
        source=Exported(folder=clean, commit=COMMIT),
        store=store,
        progress=progress,
        folder=folder,
        run_id=plan.run_id,
        scope=scope,
        case=case,
    )


def run_all(session: CertifySession, plan: Plan) -> dict[str, tuple[RunRecord, ...]]:
    """Every trajectory's folder, as the runner leaves it."""
    stop = Fault(kind="stop", step=plan.steps) if plan.steps else None
    works: dict[str, Callable[[Path], tuple[RunRecord, ...]]] = {
        "straight": lambda at: straight(at, "straight", plan.straight, stop, exit_code=plan.exit_code),
        "resumed": lambda at: interrupted(at, "resumed", plan.resumed, stop),
        "rerun": lambda at: straight(at, "rerun", plan.rerun, stop),
    }
    if plan.has_controls:
        flip = Fault(kind="flip_param", step=2)
        last = Fault(kind="stop", step=3)
        quirks = dataclasses.replace(plan.straight, flip_param=2)
        works["control-param"] = lambda at: straight(at, "control-param", quirks, last, faults=(flip, last))
        works["control-optim"] = lambda at: interrupted(
            at, "control-optim", Quirks(flip_optim=True), Fault(kind="stop", step=7), is_copy=True
        )
    if plan.exit_code:
        works = {"straight": works["straight"]}
    if plan.only:
        works = {name: work for name, work in works.items() if name in plan.only}
    return {name: work(session.folder) for name, work in works.items()}


def straight(
    folder: Path, name: str, quirks: Quirks, stop: Fault | None, *, exit_code: int = 0, faults: tuple[Fault, ...] = ()
) -> tuple[RunRecord, ...]:
    files = Files()
    process = Process(files, quirks)
    process.train(start_state(quirks), stop)
    record = record_of(name, 1, stop, settings={})
    if exit_code:
        record = record.model_copy(update={"exit_code": exit_code})
    if faults:
        record = record.model_copy(update={"faults": faults})
    write_run(folder / name, record, process)
    write_files(folder / name, files)
    return (record,)


def interrupted(
    folder: Path, name: str, quirks: Quirks, stop: Fault | None, *, is_copy: bool = False
) -> tuple[RunRecord, ...]:
    files = Files()
    first = Process(files)
    first.train(State(), KILL)
    killed = record_of(name, 1, KILL)
    write_run(folder / name, killed, first, shown="resumed" if is_copy else name)
    second = Process(files, quirks, [first.ledger])
    second.train(restore(files, quirks), stop)
    resumed = record_of(name, 2, stop)
    if is_copy:
        resumed = resumed.model_copy(update={"faults": (Fault(kind="flip_optim", step=6), stop)})
    write_run(folder / name, resumed, second)
    write_files(folder / name, files)
    return killed, resumed


def write_run(folder: Path, record: RunRecord, process: Process, shown: str | None = None) -> None:
    own = folder / "runs" / str(record.number)
    own.mkdir(parents=True)
    (own / "ledger.jsonl").write_bytes(chain(process.ledger))
    (own / "events.jsonl").write_bytes(chain(process.events))
    (own / "tensors.jsonl").write_bytes(b"".join(canonical(line) + b"\n" for line in process.sidecar))
    rows = [{"step": row["step"], "loss": 1.5} for row in process.ledger if row["kind"] == "step"]
    (own / "progress.jsonl").write_bytes(b"".join(canonical(row) + b"\n" for row in rows))
    told = record.model_copy(update={"trajectory": shown or record.trajectory})
    write(folder / f"run-{record.number}.json", told.write().decode())
    write(folder / f"log-{record.number}.txt", f"step 1\nended \x1b[31m{record.exit_code}\n")


def write_files(folder: Path, files: Files) -> None:
    (folder / "output").mkdir(exist_ok=True)
    for path, data in files.files.items():
        if isinstance(data, bytes):
            target = folder / "output" / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(data)


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
