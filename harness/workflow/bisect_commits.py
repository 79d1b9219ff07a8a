"""Bisect over commits: which commit of a line altered the bits."""

from __future__ import annotations

from pathlib import Path

from harness.documents.bisection import CommitBisection, CommitName, LineCommit, TrialResult
from harness.errors import EvidenceError, HarnessError, UsageError
from harness.history import commits
from harness.history.read import find_record, known_use
from harness.history.search import interval, most_trials, next_state
from harness.history.trial_folder import load_straight
from harness.report.console import Progress
from harness.runs.request import Request
from harness.runs.runtime import Runner
from harness.system import git
from harness.system.project import read_experiment
from harness.system.sources import recorder_digest
from harness.system.store import Store
from harness.workflow.bisect import (
    Bisector,
    Candidate,
    answers_of,
    check_bad,
    check_good,
    opened_bisection,
    write_result,
)

_MAX_FILES = 40


def bisect_commits(request: Request, store: Store, progress: Progress, good: str, bad: str) -> CommitBisection:
    """The first commit of the line from `good` to `bad` that altered the bits of an experiment.

    Returns:
        What `bisect.json` holds; `outcome` is `range` where commits could not be tried.

    Raises:
        UsageError: no such commits, no line between them, or both give the same bits.
        EvidenceError: the good commit does not repeat itself, or an end cannot be trained.
    """
    root = request.root
    first, last = (git.find_commit(root, name).commit for name in (good, bad))
    if first == last:
        raise UsageError(f"--good and --bad are the same commit {first[:12]}", "give two commits")
    line = commits.line_between(root, first, last)
    question = {"kind": "commits", "good": first, "bad": last}
    with opened_bisection(request, store, progress, question, first) as bisector:
        landmarks = _landmarks(root, request.name, first, line)
        progress.note(
            f"{len(line)} commits, {len(landmarks)} of them change files that {request.name} is known to use; about "
            f"{most_trials(max(1, len(landmarks))) + 1} trials after the two ends, each one training"
        )
        ends = _candidate(root, LineCommit(commit=first, subject="good", num_parents=1)), _candidate(root, line[-1])
        found = {len(line): _premises(bisector, *ends)}
        while (state := next_state(len(line), answers_of(found), landmarks)) is not None:
            known = interval(len(line), answers_of(found))
            progress.note(f"{known.different - known.same} of {len(line)} commits are left")
            found[state] = bisector.ask(_candidate(root, line[state - 1]))
        return _conclude(bisector, line, found, first, last)


def _premises(bisector: Bisector, good: Candidate, bad: Candidate) -> TrialResult:
    """Find a reference and check both ends. A record that is not repeated today gives way to a training of today."""
    record = find_record(
        bisector.request.root, bisector.request.name, bisector.commit, bisector.request.runner, recorder_digest()
    )
    if record is None or not _use_record(bisector, record):
        bisector.train_reference(good)
        check_good(bisector, good)
        return check_bad(bisector, bad)
    try:
        check_good(bisector, good)
    except EvidenceError as error:
        bisector.note(f"the recorded run {record.name} could not be repeated today: {error.problem}")
        bisector.rows.clear()
        bisector.train_reference(good)
        check_good(bisector, good)
    return check_bad(bisector, bad)


def _use_record(bisector: Bisector, folder: Path) -> bool:
    """Take a record for the reference; False where it is too short or cannot be read."""
    try:
        with_code = bisector.trials.work("good")
        git.export_commit(bisector.request.root, bisector.commit, with_code / "code")
        evidence = load_straight(folder, read_experiment(with_code / "code", bisector.request.name))
        ledger = evidence.runs[0].ledger
        if ledger is None or (bisector.request.steps or 0) > ledger.last_step:
            return False
        if bisector.request.steps is None and ledger.end is None:
            return False
        # `auto` looks for records of containers, as find_record does.
        runner: Runner = "host" if bisector.request.runner == "host" else "docker"
        bisector.set_reference(evidence, str(folder.relative_to(bisector.request.root)), runner)
    except HarnessError:
        return False
    finally:
        bisector.trials.lighten(bisector.trials.folder / "good")
    return True


def _candidate(root: Path, commit: LineCommit) -> Candidate:
    return Candidate(
        label=f"{commit.commit[:12]} {commit.subject}",
        name=commit.commit[:12],
        identity=(commits.tree_of(root, commit.commit),),
        make=lambda code: git.export_commit(root, commit.commit, code),
    )


def _landmarks(root: Path, name: str, good: str, line: tuple[LineCommit, ...]) -> frozenset[int]:
    """The states whose own commit changes something that the experiment is known to use at one of the two ends."""
    uses = [known_use(root, commit, name) for commit in (good, line[-1].commit)]
    found, before = set(), good
    for state, commit in enumerate(line, start=1):
        paths = [change.path for change in commits.changed_files(root, before, commit.commit) or ()]
        if any(use is None or commits.seen_by(paths, use) for use in uses):
            found.add(state)
        before = commit.commit
    return frozenset(found)


def _conclude(
    bisector: Bisector, line: tuple[LineCommit, ...], found: dict[int, TrialResult], good: str, bad: str
) -> CommitBisection:
    """What the trials say."""
    known = interval(len(line), answers_of(found))
    culprit = line[known.different - 1]
    before = line[known.same - 1].commit if known.same else good
    if culprit.num_parents > 1:
        bisector.note(
            f"{culprit.commit[:12]} is a merge: bisect its other line as well, from the merge base to its second parent"
        )
    changed = commits.changed_files(bisector.request.root, before, culprit.commit) or ()
    return write_result(
        bisector,
        CommitBisection,
        good=good,
        bad=bad,
        num_changes=len(line),
        outcome="found" if known.is_exact else "range",
        last_good=before,
        first_bad=culprit,
        candidates=tuple(
            CommitName(commit=commit.commit, subject=commit.subject) for commit in line[known.same : known.different]
        ),
        files=changed[:_MAX_FILES],
        num_files=len(changed),
        first_difference=found[known.different].where,
    )
