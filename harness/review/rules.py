"""All rules of the review by their ids, as rules.toml has them, and the severities that a project gives them."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Literal, get_args

from pydantic import TypeAdapter

from harness.documents.document import Model
from harness.errors import UsageError
from harness.review.finding import Item, Severity

Setting = Literal["veto", "warning", "note", "off"]
MAX_SETTINGS_BYTES = 1 << 20


class Rule(Model):
    """One rule. Its page is docs/rules/<id>.md: why, example, fix, official source, a public thread.

    Attributes:
        id: `REP101`; never used again for something else.
        name: in words with hyphens, `unseeded-numpy`.
        severity: unless pyproject.toml says otherwise.
        items: of the checklist that a finding speaks about; a veto names one of V1 to V5, but for REP901.
        title: one line.
        why: one or two sentences.
        fix: what to do, in general.
        source: URL of the official documentation or paper.
        thread: URL of a public thread where it hit somebody.
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

    @property
    def can_veto(self) -> bool:
        """Whether it speaks about one of V1 to V5, or forbids by itself."""
        return self.severity == "veto" or any(item.startswith("V") for item in self.items)


def _read() -> dict[str, Rule]:
    tables = tomllib.loads((Path(__file__).parent / "rules.toml").read_text(encoding="utf-8"))
    rows = [{"id": key, **table} for key, table in sorted(tables.items())]
    return {rule.id: rule for rule in TypeAdapter(list[Rule]).validate_python(rows, strict=False)}


RULES: Mapping[str, Rule] = _read()


def parse_severities(text: str, source: str) -> dict[str, str]:
    """The table `[tool.harness.review.severity]` of a pyproject.toml; empty where there is none.

    Raises:
        UsageError: it is no TOML, an unknown key stands beside the table, or something in it is no string.
    """
    try:
        table: object = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise UsageError(f"{source} is no valid TOML: {str(error)[:200]}", "correct that line") from error
    for key in ("tool", "harness", "review"):
        table = table.get(key, {}) if isinstance(table, dict) else {}
    if not isinstance(table, dict):
        raise UsageError(f"{source}: tool.harness.review is no table", "write [tool.harness.review.severity]")
    if unknown := sorted(table.keys() - {"severity"}):
        raise UsageError(f"{source}: unknown key tool.harness.review.{unknown[0]}", "the only one is `severity`")
    severity = table.get("severity", {})
    if not isinstance(severity, dict) or not all(isinstance(value, str) for value in severity.values()):
        problem = f"{source}: tool.harness.review.severity is no table of strings"
        raise UsageError(problem, 'write REP103 = "warning"')
    return dict(severity)


def severities_of(rules: Mapping[str, Rule], wanted: Mapping[str, str]) -> dict[str, Setting]:
    """The severity of every rule, as `[tool.harness.review.severity]` of pyproject.toml changes it.

    Raises:
        UsageError: an unknown rule or severity.
    """
    by_name = {rule.name: rule.id for rule in rules.values()}
    severities: dict[str, Setting] = {rule.id: rule.severity for rule in rules.values()}
    for key, value in wanted.items():
        rule = rules.get(by_name.get(key, key))
        if rule is None:
            raise UsageError(f"pyproject.toml sets the severity of {key}, and no rule is called so", "see docs/rules/")
        setting = next((one for one in get_args(Setting) if one == value), None)
        if setting is None:
            raise UsageError(f"pyproject.toml gives {key} the severity {value!r}", "use veto, warning, note or off")
        if setting == "veto" and not rule.can_veto:
            raise UsageError(f"pyproject.toml lets {key} veto, and it speaks about none of V1 to V5", "use warning")
        severities[rule.id] = setting
    return severities
