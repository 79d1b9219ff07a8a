"""The checklist: what a pipeline owes (T, C, E, K) and what forbids a run (V), judged from findings and showings.

The first of these that applies decides an item:

1. a proven finding of severity veto that nobody allowed: *vetoed*
2. a proven finding of severity warning that nobody allowed: *warning*
3. a measurement that shows it: *holds*, or *does not apply*
4. a possible finding, or code that cannot be judged: *could not tell*
5. code that shows it: *holds*, or *does not apply*
6. a finding that somebody allowed with a reason: *warning*
7. *could not tell*
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import get_args

from pydantic import JsonValue

from harness.documents.verdict import ChecklistItem, ItemState, Review, ReviewFinding, Shown
from harness.review.finding import Finding, Item, Place, Showing, StaticReview
from harness.review.rules import Rule, Setting

ITEMS: tuple[Item, ...] = get_args(Item)
GROUPS = {"T": "Training", "C": "Checkpoints", "E": "Environment", "K": "Tracking", "V": "Vetoes"}
TITLES: Mapping[Item, str] = {
    "T1": "Every generator is seeded: random, numpy, torch, CUDA",
    "T2": "cuDNN's deterministic mode can be configured",
    "T3": "DataLoaders have a worker_init_fn and a seeded generator",
    "T4": "Mixed precision can be configured",
    "T5": "Gradients can be accumulated",
    "T6": "GPU memory is logged every epoch",
    "T7": "Loss, learning rate and metrics are logged every step and epoch",
    "C1": "A checkpoint holds model, optimizer, scheduler, scaler, RNG, sampler, epoch, loss, config and seed",
    "C2": "Checkpoints are named {exp}_epoch{N}_loss{L:.4f}.pt, one at each epoch's end",
    "C3": "The best and the latest checkpoint are separate files",
    "C4": "A resumed run gives the identical result",
    "C5": "A checkpoint was tested: loaded and trained on for an epoch, with the same losses",
    "E1": "Requirements are pinned with == (conda or pip)",
    "E2": "CUDA, cuDNN and driver versions are recorded",
    "E3": "Every run records its git commit",
    "E4": "The complete config is saved as an artifact of the run",
    "E5": "A Dockerfile reproduces the environment",
    "K1": "wandb or TensorBoard really logs",
    "K2": "The config is logged as an artifact",
    "K3": "Training and validation metrics are logged",
    "K4": "GPU utilisation is logged",
    "K5": "Checkpoint paths are logged",
    "V1": "Every source of randomness is seeded",
    "V2": "A checkpoint holds the complete state",
    "V3": "Every requirement is pinned",
    "V4": "GPU memory stays below 90 % of the budget, or a mitigation is on",
    "V5": "An interrupted run can be resumed",
}
_OF_RESUMES: frozenset[Item] = frozenset(("V2", "V5"))
_VARIED_BY_RUNS = ("REP113", "REP114")  # each training has its own copy of the code, host name and processes
_WEIGHTS_ONLY = "REP402"
_MAX_SHOWN = 20


def judge_checklist(
    static: StaticReview,
    rules: Mapping[str, Rule],
    severities: Mapping[str, Setting],
    *,
    findings: Iterable[Finding] = (),
    showings: Iterable[Showing] = (),
    is_resume_required: bool | None = None,
    measured: Mapping[str, JsonValue] | None = None,
) -> Review:
    """Judge every item.

    Args:
        static: what was read in the code.
        rules: by id; a finding of any other rule is a mistake of ours.
        severities: of the rules; findings of a rule that is off are left out.
        findings: those of the evidence.
        showings: those of the evidence.
        is_resume_required: if not, what only a resume needs (V2, V5) is a warning, and not demanded; None where no
            experiment says: then a training that saves weights only (REP402) is a warning.
        measured: what a probe measured, for the reports.

    Raises:
        KeyError: a finding of a rule that is not registered.
    """
    known = [one for one in (*static.findings, *findings) if severities[one.rule] != "off"]
    judge = _Judge(
        rules,
        severities,
        sorted(dict.fromkeys(known), key=_sort_key),
        tuple(dict.fromkeys((*static.showings, *showings))),
        is_resume_required,
    )
    told = [judge.finding(one) for one in judge.findings]
    return Review(
        checklist=tuple(judge.item(item) for item in ITEMS),
        findings=tuple(one for one in told if not one.allowed),
        allowed=tuple(one for one in told if one.allowed),
        unread=tuple(sorted(static.unread, key=lambda one: (one.path, one.reason))),
        vetoes=judge.vetoes(),
        weakened=judge.weakened(),
        measured=None if measured is None else dict(measured),
        num_files=static.num_files,
    )


def forbids_run(review: Review) -> bool:
    """Whether a veto keeps the trainings from taking place; what they vary themselves, they show better than it."""
    return bool(vetoes_of(review))


def vetoes_of(review: Review) -> tuple[ReviewFinding, ...]:
    """The findings that do."""
    proven = [one for one in review.findings if (one.severity, one.certainty) == ("veto", "proven")]
    return tuple(one for one in proven if one.rule not in _VARIED_BY_RUNS)


@dataclass(frozen=True, slots=True)
class _Judge:
    rules: Mapping[str, Rule]
    severities: Mapping[str, Setting]
    findings: Sequence[Finding]
    showings: Sequence[Showing]
    is_resume_required: bool | None

    def item(self, item: Item) -> ChecklistItem:
        own = [one for one in self.findings if item in self.rules[one.rule].items]
        said = [one for one in self.showings if one.item == item]

        def found(weight: str) -> list[Shown]:
            return [self.shown(one) for one in own if self.weight(one) == weight]

        def seen(state: str, *, measured: bool) -> list[Shown]:
            return [
                _shown(o.text, o.place, o.is_measured) for o in said if (o.state, o.is_measured) == (state, measured)
            ]

        candidates: tuple[tuple[ItemState, list[Shown]], ...] = (
            ("vetoed", found("veto")),
            ("warning", found("warning")),
            ("holds", seen("holds", measured=True)),
            ("does not apply", seen("does not apply", measured=True)),
            ("could not tell", found("possible") + seen("unknown", measured=False)),
            ("holds", seen("holds", measured=False)),
            ("does not apply", seen("does not apply", measured=False)),
            ("warning", found("allowed")),
            ("could not tell", seen("unknown", measured=True)),
            ("could not tell", [_shown("nothing that was read or measured shows it", None, False)]),
        )
        state, shown = next(one for one in candidates if one[1])
        if state == "could not tell" and item in _OF_RESUMES and self.is_resume_required is False:
            state, shown = "does not apply", [_shown("the experiment's policy does not require a resume", None, False)]
        return ChecklistItem(
            id=item,
            group=GROUPS[item[0]],
            title=TITLES[item],
            state=state,
            shown=tuple(shown[:_MAX_SHOWN]),
            rules=tuple(sorted({one.rule for one in own})),
        )

    def severity(self, rule: str) -> Setting:
        """A rule's severity here: what only a resume needs is a warning where nobody asks for one."""
        vetoed = {item for item in self.rules[rule].items if item.startswith("V")}
        is_excused = self.is_resume_required is False or (self.is_resume_required is None and rule == _WEIGHTS_ONLY)
        is_mild = self.severities[rule] == "veto" and bool(vetoed) and vetoed <= _OF_RESUMES and is_excused
        return "warning" if is_mild else self.severities[rule]

    def weight(self, finding: Finding) -> str:
        """`veto` and `warning` for what is proven, `possible`, `allowed`, or `note` for what decides nothing."""
        severity = self.severity(finding.rule)
        if severity not in ("veto", "warning"):
            return "note"
        if finding.allowed:
            return "allowed"
        return severity if finding.certainty == "proven" else "possible"

    def shown(self, finding: Finding) -> Shown:
        allowed = f" (allowed: {finding.allowed})" if finding.allowed else ""
        return _shown(f"{finding.rule} {finding.message}{allowed}", finding.place, finding.place is None)

    def finding(self, finding: Finding) -> ReviewFinding:
        rule, place = self.rules[finding.rule], finding.place
        return ReviewFinding(
            rule=rule.id,
            name=rule.name,
            title=rule.title,
            severity=self.severity(rule.id),
            certainty=finding.certainty,
            items=rule.items,
            path=place.path if place else None,
            line=place.line or None if place else None,
            column=place.column if place and place.line else None,
            message=finding.message,
            why=rule.why,
            fix=finding.fix or rule.fix,
            source=rule.source,
            thread=rule.thread,
            allowed=finding.allowed,
        )

    def vetoes(self) -> tuple[str, ...]:
        """Every finding that forbids the run, in words."""
        found = []
        for one in self.findings:
            if self.weight(one) == "veto":
                items = ", ".join(item for item in self.rules[one.rule].items if item.startswith("V"))
                where = f" ({one.place})" if one.place else ""
                found.append(f"{f'{items}: ' if items else ''}{one.rule} {one.message}{where}")
        return tuple(dict.fromkeys(found))

    def weakened(self) -> tuple[str, ...]:
        """Rules that pyproject.toml makes say less than they would: a reader of a certificate has to know."""
        order = ("off", "note", "warning", "veto")
        return tuple(
            f"{rule.id} ({rule.name}) is {self.severities[rule.id]} in pyproject.toml, by default {rule.severity}"
            for rule in self.rules.values()
            if order.index(self.severities[rule.id]) < order.index(rule.severity)
        )


def _shown(text: str, place: Place | None, measured: bool) -> Shown:
    line = place.line or None if place else None
    return Shown(text=text, path=place.path if place else None, line=line, measured=measured)


def _sort_key(finding: Finding) -> tuple[str, int, int, str, str]:
    place = finding.place or Place(path="")
    return place.path, place.line, place.column, finding.rule, finding.message
