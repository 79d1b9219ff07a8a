"""The evidence of a run, read as if it had just been left, and compared with what the documents say of it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass

from harness.documents.digest import Digest, canonical_json
from harness.documents.document import REMEDY
from harness.documents.manifest import VolatileRun
from harness.documents.run import RunFacts, RunRecord
from harness.documents.verdict import ControlResult
from harness.errors import EvidenceError, TamperedError
from harness.evidence.content import Content
from harness.evidence.trajectory import RunEvidence, TrajectoryEvidence
from harness.judge.controls import check_ledger_digit, check_weights_moved
from harness.judge.locate import state_tensors
from harness.runs import controls
from harness.runs.campaign import CONTROL_OPTIM, RESUMED, plan_campaign
from harness.runs.load_evidence import load_trajectory
from harness.runs.logs import end_of_log
from harness.runs.sandbox import describe_exit
from harness.system.files import Files
from harness.verify.comparison import first_difference
from harness.verify.record import Record

EARLIER = controls.EARLIER
_MAX_LOG_BYTES = 1 << 40
_MAX_RECORD_BYTES = 8 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """Everything that the runs left, read again; `controls` are those that were made again or taken over."""

    trajectories: Mapping[str, TrajectoryEvidence]
    controls: tuple[ControlResult, ...]
    log_ends: Mapping[str, str]

    @property
    def num_steps(self) -> int:
        """Step records in all ledgers."""
        runs = [run for one in self.trajectories.values() for run in one.runs]
        return sum(len(run.ledger.steps) for run in runs if run.ledger is not None)

    @property
    def testimony(self) -> tuple[str, ...]:
        """Names of the controls that an earlier run made, of which nothing is here."""
        return tuple(check.name for check in self.controls if check.detail.endswith(EARLIER))


def read_evidence(record: Record, files: Files) -> Evidence:
    """Read all trajectories, make the controls again that need no runs, and judge those whose runs are here."""
    known: dict[tuple[str, Digest], Content] = {}
    experiment = record.experiment
    trajectories = {
        name: load_trajectory(
            files.below(name),
            name,
            runs,
            experiment.outputs,
            experiment.checkpoints,
            experiment.policy.volatile,
            known,
            experiment.derived,
        )
        for name, runs in record.runs.items()
    }
    checks: tuple[ControlResult, ...] = ()
    if "straight" in trajectories:
        planned = plan_campaign(record.trained, with_controls=True, cores=1)
        cited = [check for check in record.verdict.control.controls if check.detail.endswith(EARLIER)]
        cached = tuple(one.model_copy(update={"detail": one.detail.removesuffix(EARLIER)}) for one in cited)
        checks = controls.check_all(trajectories, files, planned, cached or None)
    return Evidence(trajectories=trajectories, controls=checks, log_ends=_log_ends(record, files))


def read_straight(record: Record, files: Files) -> tuple[TrajectoryEvidence, int]:
    """The one ledger of a published folder, compared with the manifest and with the controls that need no more.

    Returns:
        The trajectory, and its number of steps.

    Raises:
        TamperedError: it is another one, its chain is broken, or a control comes out otherwise.
    """
    straight = load_trajectory(files.below("straight"), "straight", record.runs["straight"], ())
    run = straight.runs[0] if straight.runs else None
    if run is None or run.ledger is None:
        raise _tampered(f"the straight ledger cannot be read: {run.problem if run else 'there was no run'}")
    if record.manifest.trajectories["straight"].ledgers != (str(run.ledger.head),):
        raise _tampered("the straight ledger is not the one that manifest.json names")
    known = {control.name: control.detected for control in record.verdict.control.controls}
    for control in (check_ledger_digit(straight), check_weights_moved(straight)):
        if known.get(control.name, control.detected) != control.detected:
            raise _tampered(f"verdict.json: the control {control.name} comes out otherwise: {control.detail}")
    return straight, len(run.ledger.steps)


def check_run_files(record: Record, files: Files) -> int:
    """Compare what the host wrote down of each run with the manifest.

    Returns:
        How many of these files are here.

    Raises:
        TamperedError: one is malformed, or says something else.
    """
    num = 0
    for told, more in zip(record.manifest.runs, record.manifest.volatile.runs, strict=True):
        path = f"{told.trajectory}/run-{told.number}.json"
        if not files.exists(path):
            continue
        try:
            found = RunRecord.load(bytes(files.read(path, max_bytes=_MAX_RECORD_BYTES)), path)
        except EvidenceError as error:
            raise _tampered(error.problem) from error
        if (told.trajectory, found.trajectory) == (CONTROL_OPTIM, RESUMED) and told.number < len(
            record.runs[CONTROL_OPTIM]
        ):
            found = found.model_copy(update={"trajectory": CONTROL_OPTIM})  # a copy of what was interrupted
        facts = {name: getattr(found, name) for name in RunFacts.model_fields}
        ours = RunFacts(**facts).to_json()
        row = VolatileRun(run=more.run, seconds=found.seconds, **found.volatile).to_json()
        different = first_difference(ours, told.to_json(), only_common=False)
        different = different or first_difference(row, more.to_json(), only_common=False)
        if different:
            raise _tampered(f"manifest.json and {path} disagree: {different}")
        num += 1
    return num


def check_copy(digests: Mapping[str, Digest]) -> None:
    """Check that the control that resumes does so from a copy of the interrupted training: all its runs but the last.

    Args:
        digests: of the files of evidence, by name.

    Raises:
        TamperedError: it is no copy.
    """
    numbers = {int(found[1]) for name in digests if (found := re.match(rf"{CONTROL_OPTIM}/runs/(\d+)/", name))}
    for number in sorted(numbers)[:-1] or sorted(numbers):
        copy, original = (
            {name.removeprefix(start): digest for name, digest in digests.items() if name.startswith(start)}
            for start in (f"{CONTROL_OPTIM}/runs/{number}/", f"{RESUMED}/runs/{number}/")
        )
        if copy != original:
            raise _tampered(f"{CONTROL_OPTIM}/runs/{number} is not a copy of {RESUMED}/runs/{number}")


def check_sidecars(evidence: Evidence) -> int:
    """Check that every line of the sidecars hashes to the root that the ledger has for it, in its canonical spelling.

    Returns:
        How many lines have a root.

    Raises:
        TamperedError: a line has tensors that are not those of the ledger, or more in it than is read.
    """
    num = 0
    for run in (run for one in evidence.trajectories.values() for run in one.runs):
        places = run.sidecar.index if run.sidecar is not None and run.ledger is not None else ()
        if places:
            _check_spelling(run)
        for at, step, stream in places:
            try:
                num += state_tensors(run, at, step, stream) is not None  # type: ignore[arg-type]  # one of the three
            except EvidenceError as error:
                problem = f"{run.name}/tensors.jsonl does not hash to what the ledger holds: {error.problem}"
                raise _tampered(problem) from error
    return num


def _check_spelling(run: RunEvidence) -> None:
    """A key that comes twice, or a space, would be passed over by who reads; the recorder writes canonical JSON."""
    assert run.sidecar is not None
    lines = bytes(run.sidecar.data).split(b"\n")
    for number, line in enumerate(lines[: -1 if run.sidecar.torn or not lines[-1] else None], 1):
        try:
            is_canonical = canonical_json(json.loads(line)) == line
        except (ValueError, RecursionError):
            is_canonical = False
        if not is_canonical:
            raise _tampered(f"{run.name}/tensors.jsonl, line {number}: it is not as a recorder writes it")


def _log_ends(record: Record, files: Files) -> dict[str, str]:
    """The end of the log of every run that failed, in the words of a certify."""
    runs = [run for runs in record.runs.values() for run in runs]
    failed = [run for run in runs if run.exit_code != 0 and not run.is_planned_kill]
    return {f"{run.trajectory}/{run.number}": _log_end(run, files) for run in failed}


def _log_end(run: RunRecord, files: Files) -> str:
    try:
        log = files.read(f"{run.trajectory}/log-{run.number}.txt", max_bytes=_MAX_LOG_BYTES)
        end = end_of_log(bytes(log[-8192:]))
    except EvidenceError:
        end = ""
    error = f": {run.error}" if run.error else ""
    return f"{run.trajectory}/{run.number} ended with {describe_exit(run)}{error}\n{end}"


def _tampered(problem: str) -> TamperedError:
    return TamperedError(problem, REMEDY)
