"""junit.xml: one test suite per oracle, one for the controls, one for the verdict, so that CI shows what failed.

DIVERGED is a failure, INCONCLUSIVE an error (nothing was decided), NOT_CHECKED is skipped.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET  # only written here, never parsed
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from harness.report import sections, wording
from harness.report.fields import bounded, document, line, table, texts
from harness.report.replay import condensed, preflight_rows, preflight_sentence
from harness.report.review import finding_rows, review_groups, unread_rows

_OUTCOMES = {
    "CERTIFIED": "",
    "DIVERGED": "failure",
    "VETOED": "failure",
    "TAMPERED": "failure",
    "INCONCLUSIVE": "error",
    wording.NOT_CHECKED: "skipped",
}


@dataclass(frozen=True, slots=True)
class _Case:
    """One test case; `outcome` is empty, `failure`, `error` or `skipped`; `type` is that of a failure."""

    name: str
    outcome: str
    message: str
    details: str = ""
    type: str = ""


def render_junit(verdict: dict[str, Any], manifest: dict[str, Any]) -> str:
    """The XML of any verdict; every text in it is escaped and has only characters that XML allows."""
    verdict = condensed(verdict) if isinstance(verdict, dict) else {}
    verdict, manifest = (document(value) for value in (verdict, manifest))
    experiment = wording.title_of(verdict)
    title = f"harness {wording.kind_of(verdict)} {experiment}"
    return _document(title, experiment, sections.total_seconds(manifest), _suites(verdict))


def render_review_junit(review: dict[str, Any], name: str) -> str:
    """The XML of a review by itself: one suite for each group of the checklist."""
    shown = bounded(review) if isinstance(review, dict) else {}
    return _document(f"harness review {line(name)}", line(name) or "review", 0.0, iter(_review_suites(shown)))


def _document(title: str, experiment: str, seconds: float, suites: Iterator[tuple[str, list[_Case]]]) -> str:
    root = ET.Element("testsuites", {"name": title, "time": f"{seconds:.3f}"})
    totals = {"tests": 0, "failures": 0, "errors": 0, "skipped": 0}
    for name, cases in suites:
        suite = ET.SubElement(root, "testsuite", {"name": f"{experiment}.{name}"})
        counts = _fill(suite, f"{experiment}.{name}", cases)
        for key, amount in counts.items():
            suite.set(key, str(amount))
            totals[key] += amount
        suite.set("time", "0")
    for key, amount in totals.items():
        root.set(key, str(amount))
    ET.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ET.tostring(root, encoding="unicode") + "\n"


def _fill(suite: ET.Element, class_name: str, cases: list[_Case]) -> dict[str, int]:
    counts = {"tests": len(cases), "failures": 0, "errors": 0, "skipped": 0}
    plural = {"failure": "failures", "error": "errors", "skipped": "skipped"}
    for case in cases:
        element = ET.SubElement(suite, "testcase", {"classname": class_name, "name": case.name, "time": "0"})
        if case.outcome:
            counts[plural[case.outcome]] += 1
            child = ET.SubElement(element, case.outcome, {"message": case.message})
            if case.outcome != "skipped":
                child.set("type", case.type or ("DIVERGED" if case.outcome == "failure" else "INCONCLUSIVE"))
            child.text = case.details or None
        elif case.message:
            ET.SubElement(element, "system-out").text = case.message
    return counts


def _suites(verdict: dict[str, Any]) -> Iterator[tuple[str, list[_Case]]]:
    for oracle in wording.oracle_texts(verdict):
        cases = [_oracle_case(verdict, oracle)]
        if oracle.key == "resume":
            cases += _resume_cases(verdict, oracle)
        yield oracle.key, cases
    if preflight := _preflight_cases(verdict):
        yield "preflight", preflight
    if controls := _control_cases(verdict):
        yield "controls", controls
    if review := table(verdict.get("review")):
        yield from _review_suites(review)
    yield "verdict", [_verdict_case(verdict)]


def _oracle_case(verdict: dict[str, Any], oracle: wording.CheckText) -> _Case:
    name = oracle.question or oracle.title
    outcome = _OUTCOMES[oracle.verdict]
    message = oracle.reason or f"{wording.words(oracle.verdict)}, compared: {oracle.compared}"
    is_guilty = line(table(verdict.get("first_divergence")).get("check")) == oracle.key
    return _Case(name, outcome, message, _divergence(verdict) if outcome == "failure" and is_guilty else "")


def _divergence(verdict: dict[str, Any]) -> str:
    """The first divergence, the cause and the fix as lines."""
    cause = table(verdict.get("cause"))
    lines = [wording.divergence_sentence(verdict)]
    lines += [f"{label}: {value}" for label, value in wording.divergence_rows(verdict)]
    if cause:
        lines.append(f"cause: {line(cause.get('title')) or line(cause.get('class'))}")
        lines += [f"evidence: {entry}" for entry in texts(cause.get("evidence"))]
        lines += [f"ruled out: {entry}" for entry in texts(cause.get("ruled_out"))]
        lines.append(f"fix: {line(cause.get('fix'))}")
    return "\n".join(entry for entry in lines if entry)


def _resume_cases(verdict: dict[str, Any], oracle: wording.CheckText) -> list[_Case]:
    """Kills that landed, states that came back, files that are equal.

    A difference is a failure only where the oracle says DIVERGED: elsewhere nobody knows whose fault it is.
    """
    outcomes = {"good": "", "bad": "failure" if oracle.verdict == "DIVERGED" else "error", "none": "skipped"}
    cases = []
    for row in sections.interruptions(verdict):
        # A kill that missed decided nothing: an error, not a failure.
        outcome = {"good": "", "bad": "error", "none": "skipped"}[row["tone"]]
        cases.append(_Case(f"kill {row['number']} lands {row['place']}", outcome, row["ending"]))
    for row in sections.restored(verdict):
        message = f"{row['equal']} tensors equal"
        details = "\n".join(row["different"])
        name = f"run {row['run']} has the state of its checkpoint"
        cases.append(_Case(name, outcomes[row["tone"]], message, details))
    for row in sections.files(verdict):
        cases.append(_Case(f"{row['path']} is equal", outcomes[row["tone"]], f"{row['outcome']} {row['content']}"))
    return cases


def _control_cases(verdict: dict[str, Any]) -> list[_Case]:
    outcomes = {"good": "", "bad": "error", "none": "skipped"}
    return [
        _Case(f"{row['title']}: seen", outcomes[row["tone"]], row["detail"] or row["outcome"])
        for row in sections.controls(verdict)
    ]


def _preflight_cases(verdict: dict[str, Any]) -> list[_Case]:
    """What a replay needs and this machine has not; what is gone is an error, for nothing could be decided."""
    outcomes = {"gone": "error", "unknown": "skipped"}
    sentence = preflight_sentence(verdict)
    cases = [_Case("What the replay needs", "", sentence)] if sentence else []
    return cases + [
        _Case(
            f"{row['kind']} {row['name']} can be had",
            outcomes.get(row["state"], ""),
            f"{row['state']}: {row['detail']}",
            f"remedy: {row['remedy']}" if row["remedy"] else "",
        )
        for row in preflight_rows(verdict)
        if row["state"] != "present"
    ]


def _review_suites(review: dict[str, Any]) -> list[tuple[str, list[_Case]]]:
    """One suite for each group of the checklist; what could not be told is skipped: it decides nothing by itself."""
    outcomes = {"vetoed": "failure", "could not tell": "skipped", "does not apply": "skipped"}
    by_rule: dict[str, list[str]] = {}
    for one in finding_rows(review):
        text = f"{one['place']}: {one['rule']} {one['message']}\nwhy: {one['why']}\nfix: {one['fix']}"
        for item in one["items"].split(", "):
            by_rule.setdefault(item, []).append(f"{text}\nsource: {one['source']}")
    suites = []
    for group, items in review_groups(review):
        cases = [
            _Case(
                f"{row['id']} {row['title']}",
                outcomes.get(row["state"], ""),
                f"{row['state']}: {'; '.join(row['shown'])}",
                "\n\n".join(by_rule.get(row["id"], ())) if row["state"] == "vetoed" else "",
                "VETOED",
            )
            for row in items
        ]
        suites.append((f"review.{group.lower()}", cases))
    if unread := unread_rows(review):
        suites.append(("review.unread", [_Case(line(path), "skipped", f"not read: {why}") for path, why in unread]))
    return suites


def _verdict_case(verdict: dict[str, Any]) -> _Case:
    word = wording.overall(verdict)
    details = "\n".join(texts(verdict.get("problems")))
    name = f"{wording.title_of(verdict)} is certified"
    return _Case(name, _OUTCOMES[word], wording.summary_of(verdict), details, "VETOED" if word == "VETOED" else "")
