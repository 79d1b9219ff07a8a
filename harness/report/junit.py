"""junit.xml: one test suite a check, one for the negative controls, one for the verdict, so that CI shows what failed.

DIVERGED is a failure, INCONCLUSIVE an error (nothing was decided), NOT_CHECKED is skipped.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from markupsafe import Markup

from harness.documents.manifest import Manifest
from harness.documents.verdict import Review, Verdict
from harness.report.check_view import CheckView
from harness.report.replay_view import ReplayView
from harness.report.review import ReviewView
from harness.report.tables import Cell, State, Tone
from harness.report.templates import environment
from harness.report.text import clean, line, safe
from harness.report.view import View

Outcome = Literal["", "failure", "error", "skipped"]
_OUTCOMES: Mapping[Tone, Outcome] = {"good": "", "bad": "failure", "unsure": "error", "none": "skipped"}
# Where a difference decides nothing.
_UNDECIDED: Mapping[Tone, Outcome] = {**_OUTCOMES, "bad": "error"}
_ITEMS: Mapping[str, Outcome] = {"vetoed": "failure", "could not tell": "skipped", "does not apply": "skipped"}
_NEEDS: Mapping[str, Outcome] = {"gone": "error", "unknown": "skipped"}


@dataclass(frozen=True, slots=True)
class Case:
    """One test case; `outcome` is empty for one that passed, `kind` is the type of a failure."""

    name: str
    outcome: Outcome
    message: str
    details: str = ""
    kind: str = ""

    @property
    def type(self) -> str:
        """What failed, in one word."""
        return self.kind or ("DIVERGED" if self.outcome == "failure" else "INCONCLUSIVE")


Suite = tuple[str, list[Case]]


def render_junit(verdict: Verdict, manifest: Manifest | None) -> str:
    """The XML of a verdict."""
    view = View(verdict, manifest)
    return _render(f"harness {verdict.kind} {view.title}", view.title, view.ground.seconds, list(_suites(view)))


def render_review_junit(review: Review, name: str) -> str:
    """The XML of a review by itself: one suite a group of the checklist."""
    name = line(clean(name))
    return _render(f"harness review {name}", name or "review", 0.0, _review_suites(ReviewView(safe(review))))


def _render(title: str, prefix: str, seconds: float, suites: Sequence[Suite]) -> str:
    every = [case for _, cases in suites for case in cases]
    template = environment().get_template("junit.xml")
    return template.render(title=title, prefix=prefix, seconds=seconds, suites=suites, cases=every, counts=_counts)


def _counts(cases: Sequence[Case]) -> Markup:
    found = Counter(case.outcome for case in cases)
    named = {"failures": found["failure"], "errors": found["error"], "skipped": found["skipped"]}
    return Markup("".join(f' {key}="{amount}"' for key, amount in {"tests": len(cases), **named}.items()))


def _suites(view: View) -> Iterator[Suite]:
    for check in view.checks:
        yield check.name, [_check_case(view, check), *(_resume_cases(view, check) if check.name == "resume" else ())]
    if view.replay and view.replay.preflight:
        yield "preflight", _preflight_cases(view.replay)
    if view.controls.rows:
        yield (
            "controls",
            [
                _case(f"{title}: detected", _UNDECIDED, outcome, str(detail or outcome))
                for title, outcome, detail in view.controls.rows
            ],
        )
    if view.review:
        yield from _review_suites(view.review)
    kind = "VETOED" if view.word.words == "VETOED" else ""
    problems = "\n".join(view.problems)
    name, outcome = f"{view.title} is certified", _OUTCOMES[view.word.tone]
    yield "verdict", [Case(name, outcome, view.verdict.summary, problems, kind)]


def _case(name: str, outcomes: Mapping[Tone, Outcome], state: Cell, message: str, details: str = "") -> Case:
    return Case(name, outcomes[state.tone] if isinstance(state, State) else "", message, details)


def _check_case(view: View, check: CheckView) -> Case:
    message = check.reason or f"{check.state.words}, compared: {check.compared}"
    first = view.verdict.first_divergence
    is_found_here = check.state.tone == "bad" and first is not None and first.check == check.name
    return _case(check.question, _OUTCOMES, check.state, message, _divergence(view) if is_found_here else "")


def _divergence(view: View) -> str:
    """The first difference, the cause and the fix as lines."""
    lines = [view.divergence.sentence]
    if cause := view.verdict.cause:
        lines.append(f"cause: {line(cause.title)}")
        lines += [f"evidence: {entry}" for entry in cause.evidence]
        lines += [f"ruled out: {entry}" for entry in cause.ruled_out]
        lines += [f"it may be: {entry}" for entry in cause.candidates]
        lines += [f"fix: {line(cause.fix)}", *view.divergence.patch]
    return "\n".join(lines)


def _resume_cases(view: View, check: CheckView) -> list[Case]:
    """Kills as planned, states that came back, files that are equal.

    A difference is a failure only where the check says DIVERGED: elsewhere nobody knows what it comes from.
    """
    outcomes = _OUTCOMES if check.state.words == "DIVERGED" else _UNDECIDED
    cases = [
        _case(f"kill {number}: {where}", _OUTCOMES, state, str(ending))
        for number, _, where, ending, state, _ in view.kills.rows
    ]
    cases += [
        _case(
            f"run {run} has the state of its checkpoint", outcomes, equal, f"{equal} tensors are equal", str(different)
        )
        for run, _, _, equal, _, different in view.restored.rows
    ]
    return cases + [
        _case(f"{path} is equal", outcomes, state, f"{state} {content}")
        for path, _, _, state, content in view.files.rows
    ]


def _preflight_cases(replay: ReplayView) -> list[Case]:
    """What a replay needs and this machine has not; what is gone is an error, for nothing could be decided."""
    return [Case("What the replay needs", "", replay.preflight)] + [
        Case(
            f"{kind} {name} can be had",
            _NEEDS.get(str(state), ""),
            f"{state}: {detail}",
            f"remedy: {remedy}" if remedy else "",
        )
        for kind, name, state, detail, remedy in replay.needs("gone", "unknown", "fetchable").rows
    ]


def _review_suites(review: ReviewView) -> list[Suite]:
    """One suite a group of the checklist; what could not be told is skipped: it decides nothing by itself."""
    by_item: dict[str, list[str]] = {}
    for one in review.findings:
        lines = [one.headline, *(f"{label}: {text}" for label, text in one.facts)]
        for item in one.finding.items:
            by_item.setdefault(item, []).append("\n".join(lines))
    suites: list[Suite] = []
    for group in review.groups():
        cases = [
            Case(
                f"{item} {title}",
                _ITEMS.get(str(state), ""),
                f"{state}: {shown}",
                "\n\n".join(by_item.get(str(item), ())) if str(state) == "vetoed" else "",
                "VETOED",
            )
            for item, title, state, shown in group.rows
        ]
        suites.append((f"review.{group.title.lower()}", cases))
    if beside := [one for one in review.findings if one.tone == "bad" and not one.finding.items]:
        suites.append(
            ("review.findings", [Case(one.headline, "failure", one.finding.why, kind="VETOED") for one in beside])
        )
    if review.unread:
        unread = [Case(line(path), "skipped", f"not read: {why}") for path, why in review.unread]
        suites.append(("review.unread", unread))
    return suites
