"""The checklist: what a pipeline owes (T, C, E, K) and what forbids a run (V), judged from findings and showings.

The order in which an item is decided, the first that applies:

1. a proven finding of severity veto that nobody allowed: *vetoed*
2. a proven finding of severity warning that nobody allowed: *warning*
3. a measurement that shows it: *holds*, or *does not apply*
4. a possible finding, or a look at the code that could not tell: *could not tell*
5. code that shows it: *holds*, or *does not apply*
6. a finding that somebody allowed with a reason: *warning*
7. *could not tell*
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from harness.review.finding import Finding, Item, Place, Severity, Showing, StaticReview, Unread
from harness.review.rule import Rule

State = Literal["holds", "vetoed", "warning", "does not apply", "could not tell"]
ITEMS: tuple[Item, ...] = get_args(Item)
GROUPS = {"T": "Training", "C": "Checkpoints", "E": "Environment", "K": "Tracking", "V": "Vetoes"}
TITLES: Mapping[Item, str] = {
    "T1": "Seeds for random, numpy, torch, cuda",
    "T2": "cuDNN deterministic mode configurable",
    "T3": "DataLoader with worker_init_fn and a seeded generator",
    "T4": "Mixed precision configurable",
    "T5": "Gradient accumulation",
    "T6": "VRAM monitored and logged every epoch",
    "T7": "Loss, learning rate and metrics logged every step and epoch",
    "C1": "Model, optimizer, epoch, loss, config, seed, and scheduler, scaler, RNG, sampler",
    "C2": "Named {exp}_epoch{N}_loss{L:.4f}.pt at each epoch's end",
    "C3": "Best and latest kept apart",
    "C4": "Resume gives the identical result",
    "C5": "A checkpoint is tested: load it, continue one epoch, loss consistent",
    "E1": "Requirements pinned with == (conda or pip)",
    "E2": "CUDA, cuDNN and driver versions recorded",
    "E3": "Git commit recorded in every run",
    "E4": "The complete config saved as an artifact of the run",
    "E5": "A Dockerfile that reproduces it all",
    "K1": "wandb or tensorboard really logging",
    "K2": "Config logged as an artifact",
    "K3": "Training and validation metrics",
    "K4": "GPU utilisation logged",
    "K5": "Checkpoint paths logged",
    "V1": "A source of randomness without a seed",
    "V2": "A checkpoint without the complete state",
    "V3": "An unpinned requirement",
    "V4": "VRAM above 90 % of the budget without a mitigation",
    "V5": "A run that cannot be resumed",
}
_MAX_SHOWN = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """Why an item is in its state: a sentence, and the place or the fact that it was measured."""

    text: str
    place: Place | None = None
    is_measured: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ItemState:
    """One line of the checklist; `rules` are those of the findings that speak about it, allowed ones too."""

    item: Item
    state: State
    shown: tuple[Shown, ...]
    rules: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Review:
    """A checklist and what it was judged from, all sorted.

    Attributes:
        findings: those of every severity, allowed ones too.
        severities: of the rules, as pyproject.toml has them; None is off.
        measured: what `--probe` measured, as its JSON value, or None.
    """

    checklist: tuple[ItemState, ...]
    findings: tuple[Finding, ...]
    unread: tuple[Unread, ...]
    num_files: int
    rules: Mapping[str, Rule]
    severities: Mapping[str, Severity | None]
    measured: Mapping[str, Any] | None = None

    @property
    def vetoes(self) -> tuple[str, ...]:
        """Every finding that forbids the run, in words; empty if none does."""
        proven = [finding for finding in self.findings if _weight(finding, self.severities) == "veto"]
        return tuple(dict.fromkeys(_veto(finding, self.rules[finding.rule]) for finding in proven))

    @property
    def weakened(self) -> tuple[str, ...]:
        """Rules that pyproject.toml makes say less than they would, in words: a reader of a certificate has to know."""
        told = [(rule, self.severities[rule.id] or "off") for rule in self.rules.values()]
        order = ("off", "note", "warning", "veto")
        return tuple(
            f"{rule.id} ({rule.name}) is {severity} in pyproject.toml, by default {rule.severity}"
            for rule, severity in told
            if order.index(severity) < order.index(rule.severity)
        )

    @property
    def undecided(self) -> tuple[str, ...]:
        """What could not be told of V1 to V5, in words: each blocks a certificate."""
        found = [one for one in self.checklist if one.item.startswith("V") and one.state == "could not tell"]
        return tuple(f"{one.item} ({_lower(TITLES[one.item])}) could not be told: {_why(one)}" for one in found)


def judge_checklist(
    static: StaticReview,
    rules: Mapping[str, Rule],
    severities: Mapping[str, Severity | None],
    *,
    findings: Iterable[Finding] = (),
    showings: Iterable[Showing] = (),
    measured: Mapping[str, Any] | None = None,
) -> Review:
    """Judge every item.

    Args:
        static: what was read in the code.
        rules: by id; a finding of any other rule is a mistake of ours.
        severities: of the rules; findings of a rule that is off are left out.
        findings: those of the evidence.
        showings: those of the evidence.
        measured: what a probe measured, for the reports.

    Raises:
        KeyError: a finding of a rule that is not registered.
    """
    known = [one for one in (*static.findings, *findings) if severities[one.rule] is not None]
    every = tuple(sorted(dict.fromkeys(known), key=_finding_key))
    shown = tuple(dict.fromkeys((*static.showings, *showings)))
    return Review(
        checklist=tuple(_judge(item, every, shown, rules, severities) for item in ITEMS),
        findings=every,
        unread=tuple(sorted(static.unread, key=lambda one: (one.path, one.reason))),
        num_files=static.num_files,
        rules=rules,
        severities=severities,
        measured=measured,
    )


def review_to_json(review: Review) -> dict[str, Any]:
    """The review as verdict.json and `--format json` have it."""
    findings = [_finding_json(one, review) for one in review.findings]
    return {
        "checklist": [_item_json(one) for one in review.checklist],
        "findings": [finding for finding in findings if not finding["allowed"]],
        "allowed": [finding for finding in findings if finding["allowed"]],
        "unread": [{"path": one.path, "reason": one.reason} for one in review.unread],
        "num_files": review.num_files,
        "vetoes": list(review.vetoes),
        "weakened": list(review.weakened),
        "measured": None if review.measured is None else dict(review.measured),
    }


def _judge(
    item: Item,
    findings: tuple[Finding, ...],
    showings: tuple[Showing, ...],
    rules: Mapping[str, Rule],
    severities: Mapping[str, Severity | None],
) -> ItemState:
    own = [one for one in findings if item in rules[one.rule].items]
    said = [one for one in showings if one.item == item]
    by_weight = {
        weight: [one for one in own if _weight(one, severities) == weight]
        for weight in ("veto", "warning", "possible", "allowed")
    }
    measured = {state: [o for o in said if o.is_measured and o.state == state] for state in _STATES}
    read = {state: [o for o in said if not o.is_measured and o.state == state] for state in _STATES}
    candidates: list[tuple[State, list[Finding], list[Showing]]] = [
        ("vetoed", by_weight["veto"], []),
        ("warning", by_weight["warning"], []),
        ("holds", [], measured["holds"]),
        ("does not apply", [], measured["does not apply"]),
        ("could not tell", by_weight["possible"], read["unknown"]),
        ("holds", [], read["holds"]),
        ("does not apply", [], read["does not apply"]),
        ("warning", by_weight["allowed"], []),
        ("could not tell", [], measured["unknown"]),
    ]
    state, found, shown = next(((s, f, t) for s, f, t in candidates if f or t), ("could not tell", [], []))
    lines = [_of_finding(one, rules[one.rule]) for one in found]
    lines += [Shown(text=one.text, place=one.place, is_measured=one.is_measured) for one in shown]
    lines = lines or [Shown(text="nothing that was read or measured shows it")]
    return ItemState(
        item=item, state=state, shown=tuple(lines[:_MAX_SHOWN]), rules=tuple(sorted({one.rule for one in own}))
    )


_STATES = ("holds", "does not apply", "unknown")


def _weight(finding: Finding, severities: Mapping[str, Severity | None]) -> str:
    """`veto` and `warning` for what is proven, `possible`, `allowed`, or `note` for what decides nothing."""
    severity = severities[finding.rule]
    if severity not in ("veto", "warning"):
        return "note"
    if finding.allowed:
        return "allowed"
    return severity if finding.certainty == "proven" else "possible"


def _of_finding(finding: Finding, rule: Rule) -> Shown:
    allowed = f" (allowed: {finding.allowed})" if finding.allowed else ""
    return Shown(text=f"{rule.id} {finding.message}{allowed}", place=finding.place, is_measured=finding.place is None)


def _veto(finding: Finding, rule: Rule) -> str:
    items = ", ".join(item for item in rule.items if item.startswith("V"))
    where = f" ({finding.place})" if finding.place else ""
    return f"{items}: {rule.id} {finding.message}{where}"


def _why(one: ItemState) -> str:
    first = one.shown[0]
    more = f" (and {len(one.shown) - 1} more)" if len(one.shown) > 1 else ""
    return f"{first.text}{f' ({first.place})' if first.place else ''}{more}"


def _lower(text: str) -> str:
    return text if text[1:2].isupper() else text[:1].lower() + text[1:]


def _finding_key(finding: Finding) -> tuple[str, int, int, str, str]:
    place = finding.place or Place(path="")
    return place.path, place.line, place.column, finding.rule, finding.message


def _item_json(one: ItemState) -> dict[str, Any]:
    return {
        "id": one.item,
        "group": GROUPS[one.item[0]],
        "title": TITLES[one.item],
        "state": one.state,
        "shown": [{"text": s.text, **_place_json(s.place), "measured": s.is_measured} for s in one.shown],
        "rules": list(one.rules),
    }


def _finding_json(finding: Finding, review: Review) -> dict[str, Any]:
    rule = review.rules[finding.rule]
    return {
        "rule": rule.id,
        "name": rule.name,
        "title": rule.title,
        "severity": review.severities[rule.id],
        "certainty": finding.certainty,
        "items": list(rule.items),
        **_place_json(finding.place),
        "column": finding.place.column if finding.place and finding.place.line else None,
        "message": finding.message,
        "why": rule.why,
        "fix": finding.fix or rule.fix,
        "source": rule.source,
        "thread": rule.thread,
        "allowed": finding.allowed,
    }


def _place_json(place: Place | None) -> dict[str, Any]:
    return {"path": place.path if place else None, "line": place.line or None if place else None}
