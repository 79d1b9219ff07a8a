"""Judged again: the evidence of a certify is read as if it had just been left, and must give the same verdict."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from harness.documents.digest import Digest, canonical_json
from harness.documents.document import REMEDY, read_json
from harness.documents.run import RunRecord
from harness.documents.verdict import ControlResult
from harness.errors import EvidenceError, TamperedError
from harness.evidence.content import Content
from harness.evidence.trajectory import RunEvidence, TrajectoryEvidence
from harness.judge.locate import state_tensors
from harness.judge.recorded import Record
from harness.judge.verdict import judge
from harness.review.evidence.basis import Basis
from harness.runs import controls
from harness.runs.campaign import CONTROL_OPTIM, RESUMED, plan_campaign
from harness.runs.load_evidence import load_trajectory
from harness.runs.preparation import end_of_log
from harness.runs.sandbox import describe_exit
from harness.system.files import Files
from harness.verify.rejudge import decisions, first_difference, verdict_inputs_of, with_recorded_review

EARLIER = controls.EARLIER
_MAX_LOG_BYTES = 1 << 40
_MAX_RECORD_BYTES = 8 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """Everything that the runs left, read again; `controls` are those that were made again or taken over."""

    trajectories: Mapping[str, TrajectoryEvidence]
    controls: tuple[ControlResult, ...]
    problems: tuple[str, ...]

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
            files.below(name), name, runs, experiment.outputs, experiment.checkpoints, experiment.policy.volatile, known
        )
        for name, runs in record.records.items()
    }
    checks: tuple[ControlResult, ...] = ()
    if "straight" in trajectories:
        planned = plan_campaign(record.trained, with_controls=True, cores=1)
        cited = [check for check in record.controls if check.detail.endswith(EARLIER)]
        cached = tuple(one.model_copy(update={"detail": one.detail.removesuffix(EARLIER)}) for one in cited)
        volatile = experiment.policy.volatile
        checks = controls.check_all(trajectories, files, volatile, planned, cached or None)
    return Evidence(trajectories=trajectories, controls=checks, problems=_log_ends(record, files))


def check_records(manifest: Mapping[str, Any], files: Files) -> int:
    """Hold what the host wrote down of each run against the manifest.

    Returns:
        How many of these files are here.

    Raises:
        TamperedError: one is malformed, or says something else.
    """
    num = 0
    for told, more in zip(manifest["runs"], manifest["volatile"]["runs"], strict=True):
        path = f"{told['trajectory']}/run-{told['number']}.json"
        if not files.exists(path):
            continue
        try:
            found = read_json(bytes(files.read(path, max_bytes=_MAX_RECORD_BYTES)), path)
        except EvidenceError as error:
            raise TamperedError(error.problem, REMEDY) from error
        if told["trajectory"] == CONTROL_OPTIM and told["number"] == 1 and found.get("trajectory") == RESUMED:
            found["trajectory"] = CONTROL_OPTIM  # its first run is a copy of what the interrupted training left
        volatile = found.pop("volatile", None)
        name = f"{told['trajectory']}/{told['number']}"
        more_found = {"run": name, "seconds": found.pop("seconds", None)}
        whole = {**more_found, **(volatile if isinstance(volatile, dict) else {})}
        different = first_difference(found, told, only_common=False) or first_difference(whole, more, only_common=False)
        if different:
            raise TamperedError(f"manifest.json and {path} disagree: {different}", REMEDY)
        num += 1
    return num


def check_copy(digests: Mapping[str, Digest]) -> None:
    """Hold the first run of the control that resumes against the interrupted training's, of which it is a copy.

    Args:
        digests: of the files of evidence, by name.

    Raises:
        TamperedError: it is no copy.
    """
    copy, original = (
        {name.removeprefix(start): digest for name, digest in digests.items() if name.startswith(start)}
        for start in (f"{CONTROL_OPTIM}/runs/1/", f"{RESUMED}/runs/1/")
    )
    if copy and copy != original:
        raise TamperedError(f"{CONTROL_OPTIM}/runs/1 is not a copy of {RESUMED}/runs/1", REMEDY)


def check_sidecars(evidence: Evidence) -> int:
    """Hold every line of the sidecars against the root that the ledger has for it, and against its canonical spelling.

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
                raise TamperedError(problem, REMEDY) from error
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
            raise TamperedError(f"{run.name}/tensors.jsonl, line {number}: it is not as a recorder writes it", REMEDY)


def check_verdict(
    record: Record, evidence: Evidence, verdict: Mapping[str, Any], review: Basis | None, *, is_same: bool
) -> None:
    """Judge the evidence, and hold the verdict against what comes of it.

    Args:
        record: the documents.
        evidence: read again.
        verdict: `verdict.json`.
        review: what the review stands on, read again; None takes the recorded one as testimony.
        is_same: whether the harness that judged is this one: then every word must be the same.

    Raises:
        TamperedError: the verdict does not follow from the evidence.
    """
    case = verdict_inputs_of(
        record, evidence.trajectories, controls=evidence.controls, problems=evidence.problems, review=review
    )
    found = judge(case).to_json()
    if review is None:
        found = with_recorded_review(found, verdict.get("review"))
    if different := first_difference(decisions(found), decisions(verdict), only_common=not is_same):
        problem = f"the verdict does not follow from the evidence: {different}"
        raise TamperedError(problem, REMEDY)
    if is_same and (different := first_difference(found, verdict, only_common=False)):
        problem = f"verdict.json is not what this harness writes of this evidence: {different}"
        raise TamperedError(problem, REMEDY)


def _log_ends(record: Record, files: Files) -> tuple[str, ...]:
    """The end of the log of every run that failed, in the words of a certify."""
    runs = [run for runs in record.records.values() for run in runs]
    return tuple(_log_end(run, files) for run in runs if run.exit_code != 0 and not run.is_planned_kill)


def _log_end(run: RunRecord, files: Files) -> str:
    try:
        log = files.read(f"{run.trajectory}/log-{run.number}.txt", max_bytes=_MAX_LOG_BYTES)
        end = end_of_log(bytes(log[-8192:]))
    except EvidenceError:
        end = ""
    error = f": {run.error}" if run.error else ""
    return f"{run.trajectory}/{run.number} ended with {describe_exit(run.exit_code)}{error}\n{end}"
