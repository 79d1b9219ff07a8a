"""The rules' register: stable ids, severities, what each says about the checklist, and where to read more."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from harness.errors import UsageError
from harness.review.finding import Item, Severity


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One rule. Its page is docs/rules/<id>.md: why, example, fix, official source, a public thread.

    Attributes:
        id: `REP101`; never used again for something else.
        name: in words with hyphens, `unseeded-numpy`.
        severity: unless pyproject.toml says otherwise.
        items: of the checklist that a finding speaks about; a veto names one of V1 to V5.
        title: one line.
        why: one or two sentences.
        fix: what to do, in general.
        source: URL of the official documentation or paper.
        thread: URL of a public thread where it bit somebody, or "" where none is known.
    """

    id: str
    name: str
    severity: Severity
    items: tuple[Item, ...]
    title: str
    why: str
    fix: str
    source: str
    thread: str = ""


def register(rules: Iterable[Rule]) -> dict[str, Rule]:
    """Rules by id, sorted.

    Raises:
        ValueError: two rules have one id or one name, or a veto names no veto of the checklist.
    """
    found: dict[str, Rule] = {}
    names: set[str] = set()
    for rule in sorted(rules, key=lambda rule: rule.id):
        if rule.id in found or rule.name in names:
            raise ValueError(f"two rules are called {rule.id} or {rule.name}")
        if rule.severity == "veto" and not any(item.startswith("V") for item in rule.items):
            raise ValueError(f"{rule.id} vetoes, and names none of V1 to V5")
        found[rule.id] = rule
        names.add(rule.name)
    return found


def with_severities(rules: dict[str, Rule], wanted: dict[str, str]) -> dict[str, Severity | None]:
    """The severity of every rule, as `[tool.harness.review.severity]` of pyproject.toml changes it; None is off.

    Raises:
        UsageError: an unknown rule or severity.
    """
    by_name = {rule.name: rule.id for rule in rules.values()}
    severities: dict[str, Severity | None] = {rule.id: rule.severity for rule in rules.values()}
    for key, value in wanted.items():
        rule = by_name.get(key, key)
        if rule not in rules:
            raise UsageError(f"pyproject.toml sets the severity of {key}, and no rule is called so", "see docs/rules/")
        if value not in ("veto", "warning", "note", "off"):
            raise UsageError(f"pyproject.toml gives {key} the severity {value!r}", "use veto, warning, note or off")
        if value == "veto" and not any(item.startswith("V") for item in rules[rule].items):
            raise UsageError(f"pyproject.toml lets {key} veto, and it speaks about none of V1 to V5", "use warning")
        severities[rule] = None if value == "off" else value  # type: ignore[assignment]
    return severities
