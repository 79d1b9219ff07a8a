"""Bisect over two locks: which changed pins altered the bits."""

from __future__ import annotations

from pathlib import Path

from harness.documents.bisection import Answer, LockBisection, TrialResult
from harness.documents.digest import sha256
from harness.history import commits
from harness.history.lock_changes import Fit
from harness.history.mixed_locks import LockPair, cost, read_fit, read_pair, write_mix
from harness.history.search import ddmin, in_order, interval, most_trials, next_state
from harness.report.console import Progress
from harness.runs.request import Request
from harness.system import git
from harness.system.project import read_experiment, read_text
from harness.system.store import Store
from harness.workflow.bisect import (
    Bisector,
    Candidate,
    check_bad,
    check_good,
    opened_bisection,
    write_result,
)

_MAX_NAMED = 4


def bisect_locks(request: Request, store: Store, progress: Progress, good: Path, bad: Path) -> LockBisection:
    """The smallest change from one lock to another that alters the bits of an experiment, with the code of HEAD.

    Returns:
        The result as `bisect.json` has it.

    Raises:
        UsageError: a lock is malformed, both pin the same, or both give the same bits.
        EvidenceError: the good lock does not repeat itself, or one of them cannot be trained.
    """
    checkout = git.read_checkout(request.root)
    if checkout.is_dirty:
        progress.warn(f"the code of commit {checkout.commit[:12]} is trained: uncommitted changes are ignored")
    question = {"kind": "locks", "commit": checkout.commit, "good": _digest(good), "bad": _digest(bad)}
    with opened_bisection(request, store, progress, question, checkout.commit) as bisector:
        source = bisector.trials.work("code")
        git.export_commit(request.root, checkout.commit, source / "code")
        pair = read_pair(good, bad, read_experiment(source / "code", request.name).image)
        _announce(pair, source / "code", store, progress)
        fit = read_fit(pair, source / "code", store, progress.note)
        search = _Search(bisector, pair, fit, source / "code", commits.tree_of(request.root, checkout.commit))
        search.ends()
        found = _conclude(search, search.smallest(), checkout.commit)
        bisector.trials.lighten(source)
        return found


class _Search:
    """The trials of mixes of two locks; each mix is asked for once."""

    def __init__(self, bisector: Bisector, pair: LockPair, fit: Fit, source: Path, tree: str) -> None:
        self.bisector, self.pair, self.fit = bisector, pair, fit
        self._source, self._tree = source, tree
        self.found: dict[frozenset[str], TrialResult] = {}

    def ends(self) -> None:
        """Train the good lock twice and the bad one once."""
        good = self._candidate(frozenset())
        self.bisector.train_reference(good)
        check_good(self.bisector, good)
        self.found[self.pair.names] = check_bad(self.bisector, self._candidate(self.pair.names))

    def ask(self, names: frozenset[str]) -> Answer:
        """The answer for a mix; one that is not consistent is not tried."""
        if not names:
            return "same"
        if names not in self.found:
            if problems := self.fit.problems(names):
                self.found[names] = TrialResult(answer="unresolved", reason=f"inconsistent: {problems[0]}")
            else:
                self.found[names] = self.bisector.ask(self._candidate(names))
        return self.found[names].answer

    def smallest(self) -> frozenset[str]:
        """The responsible changes: first along a line of consistent mixes, then within what that leaves."""
        closures = {name: self.fit.closure(name) for name in self.pair.names}
        states = in_order(closures)
        answers: dict[int, Answer] = {len(states): "different"}
        while (state := next_state(len(states), answers)) is not None:
            answers[state] = self.ask(states[state - 1])
            known = interval(len(states), answers)
            self.bisector.progress.note(f"{known.different - known.same} of {len(states)} groups of changes are left")
        known = interval(len(states), answers)
        earlier = states[known.same - 1] if known.same else frozenset()
        # What turned the answer may do so by itself, or only together with what was changed before.
        alone = frozenset().union(*(closures[name] for name in states[known.different - 1] - earlier))
        if self.ask(alone) == "different":
            return ddmin(alone, self.ask)
        return ddmin(states[known.different - 1], self.ask)

    def _candidate(self, names: frozenset[str]) -> Candidate:
        text = self.pair.text(names)
        return Candidate(
            label=self._label(names),
            name=f"mix-{sha256(','.join(sorted(names)).encode()).hex[:12]}",
            identity=(self._tree, str(sha256(text.encode()))),
            make=lambda code: write_mix(self.pair, names, self._source, code),
        )

    def _label(self, names: frozenset[str]) -> str:
        if not names:
            return "the good lock"
        if names == self.pair.names:
            return "the bad lock"
        changes = [str(change) for change in self.pair.changes if change.name in names]
        more = f" and {len(changes) - _MAX_NAMED} more" if len(changes) > _MAX_NAMED else ""
        return f"the good lock with {', '.join(changes[:_MAX_NAMED])}{more}"


def _announce(pair: LockPair, code: Path, store: Store, progress: Progress) -> None:
    """Say what the search may cost, before anything is fetched or built."""
    fetch, size = cost(pair, code, store)
    num = len(pair.changes)
    usual = most_trials(num) + 1
    progress.note(
        f"{num} pins differ; 3 trainings for the two ends, then about {usual} where one change is responsible (where "
        f"many act together at most {num * num + 3 * num}); each needs an image or environment of its own, about "
        f"{size / 1e9:.1f} GB, in all about {(usual + 2) * size / 1e9:.1f} GB; to be fetched: {fetch / 1e6:,.0f} MB"
    )


def _conclude(search: _Search, responsible: frozenset[str], commit: str) -> LockBisection:
    """What the trials say, and whether the answer could be taken further apart."""
    bisector, pair = search.bisector, search.pair
    named = [change for change in pair.changes if change.name in responsible]
    if len(named) > 1:
        tied = [change.name for change in named if search.fit.problems(responsible - {change.name})]
        if tied:
            bisector.note(f"cannot be tried separately, because their versions need each other: {', '.join(tied)}")
        else:
            bisector.note("only together do these changes alter the bits")
    unresolved = [names for names, result in search.found.items() if result.answer == "unresolved"]
    skipped = sum(1 for names in unresolved if search.fit.problems(names))
    whole = search.found.get(responsible)
    return write_result(
        bisector,
        LockBisection,
        commit=commit,
        image=pair.image,
        num_changes=len(pair.changes),
        changes=pair.changes,
        outcome="found" if not _could_be_smaller(search, responsible) else "range",
        responsible=tuple(named),
        num_inconsistent=skipped,
        num_unresolved=len(unresolved) - skipped,
        first_difference=whole.where if whole else None,
    )


def _could_be_smaller(search: _Search, responsible: frozenset[str]) -> bool:
    """Whether a consistent part of the answer, one change less, could not be built or run."""
    parts = (responsible - {name} for name in responsible)
    return any(
        part in search.found and search.found[part].answer == "unresolved" and not search.fit.problems(part)
        for part in parts
    )


def _digest(path: Path) -> str:
    return str(sha256(read_text(path, "give a lockfile, as `harness lock` writes it").encode()))
