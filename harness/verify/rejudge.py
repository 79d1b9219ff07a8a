"""Judging again: the case of a finished certify, put together from its record and its evidence, and the comparison.

Nothing is taken from a document that the evidence shows. What no evidence can show (which images came out of builds,
which GPUs were asked for, controls that an earlier run made) is testimony of whoever signed, and is listed as such.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from harness.documents.certificate import Predicate
from harness.documents.document import REMEDY
from harness.documents.verdict import EXIT_CODES, ControlResult
from harness.errors import TamperedError
from harness.evidence.trajectory import TrajectoryEvidence
from harness.judge.recorded import Record
from harness.judge.verdict_inputs import VerdictInputs
from harness.review.evidence.basis import Basis
from harness.review.reviewer import reviewer_of

_VETO = "vetoed"


def verdict_inputs_of(
    record: Record,
    evidence: Mapping[str, TrajectoryEvidence],
    *,
    controls: Iterable[ControlResult],
    problems: Iterable[str],
    review: Basis | None,
) -> VerdictInputs:
    """The case, as the certify had it before it was judged.

    Args:
        record: the documents.
        evidence: the trajectories, read again.
        controls: those that were made again, and those that are testimony.
        problems: the ends of the logs of runs that failed.
        review: what the review stands on, read again; None leaves the review out.
    """
    experiment = record.trained
    required = experiment.policy.required
    return VerdictInputs(
        experiment=record.name,
        run_id=record.run_id,
        commit=record.commit,
        dirty=record.dirty,
        runner=record.runner,
        steps=experiment.steps,
        # Without a container there is no image to build again.
        required=tuple(name for name in required if name != "rebuild" or record.runner == "docker"),
        rerun_mode=experiment.policy.rerun,
        straight=evidence.get("straight"),
        rerun=evidence.get("rerun"),
        resumed=evidence.get("resumed"),
        interruptions=tuple(kill.fault for kill in experiment.interruptions),
        controls=tuple(controls),
        rebuild=record.rebuild,
        gpus=record.gpus,
        environment=record.environment,
        problems=tuple(problems),
        review=None if review is None else reviewer_of(review),
        scope=record.scope,
        stopped_at=record.stopped_at,
    )


def decisions(verdict: Mapping[str, Any]) -> dict[str, Any]:
    """What a verdict decides, without the words that another version of this program may choose differently.

    Args:
        verdict: `verdict.json`.

    Raises:
        TamperedError: a key is missing, or of another kind.
    """
    try:
        cause, first = verdict["cause"], verdict["first_divergence"]
        places = ("check", "trajectory", "run", "step", "micro_batch", "stream", "tensor")
        asked = ("verdict", "required", "compared", "resumes", "image_ids")
        return {
            "verdict": verdict["verdict"],
            "exit_code": verdict["exit_code"],
            "checks": {
                name: {key: oracle[key] for key in asked if key in oracle} for name, oracle in verdict["checks"].items()
            },
            "interruptions": verdict["interruptions"],
            "compared": verdict["compared"],
            "first_divergence": None if first is None else {key: first[key] for key in places},
            "final_state_equal": verdict["final_state_equal"],
            "cause": None if cause is None else cause["class"],
            "controls": {control["name"]: control["detected"] for control in verdict["control"]["controls"]},
            "restored": verdict["restored"],
            "testimony": verdict["testimony"],
            "files": verdict["files"],
        }
    except (KeyError, TypeError, AttributeError) as error:
        raise _tampered(f"verdict.json lacks or garbles a decision ({error})") from error


def first_difference(found: Any, told: Any, *, only_common: bool, path: str = "") -> str | None:
    """Where two JSON values differ first, as `key.key[place]: <told> instead of <found>`; None where they do not.

    Args:
        found: what was computed again.
        told: what the document says.
        only_common: leave out the keys that one side alone has: another version of this program wrote them.
        path: of the values, for the answer.
    """
    if isinstance(found, Mapping) and isinstance(told, Mapping):
        both = found.keys() & told.keys() if only_common else found.keys() | told.keys()
        for key in sorted(both):
            at = f"{path}.{key}" if path else str(key)
            if key not in found or key not in told:
                return f"{at} {'should not be there' if key not in found else 'is missing'}"
            if different := first_difference(found[key], told[key], only_common=only_common, path=at):
                return different
        return None
    if isinstance(found, list | tuple) and isinstance(told, list | tuple):
        if len(found) != len(told):
            return f"{path} has {len(told)} entries instead of {len(found)}"
        pairs = enumerate(zip(found, told, strict=True))
        every = (first_difference(a, b, only_common=only_common, path=f"{path}[{n}]") for n, (a, b) in pairs)
        return next((one for one in every if one), None)
    if _text(found) != _text(told):
        return f"{path} is {_text(told)[:90]} instead of {_text(found)[:90]}"
    return None


def contradiction_in(predicate: Predicate) -> str | None:
    """What a certificate says against its own word; None for nothing. It is all that can be judged without evidence."""
    word = predicate.verdict
    if word != "CERTIFIED":
        return None
    checklist = predicate.review.checklist if predicate.review else {}
    against = [
        *(f"check {name}" for name, check in predicate.checks.items() if check.required and check.verdict != word),
        *(f"control {control.name}" for control in predicate.controls if not control.detected),
        *(f"review {item}" for item, state in checklist.items() if state == _VETO),
        *(f"problem: {text[:80]}" for text in predicate.problems),
    ]
    return f"it says {word}, and otherwise of {against[0]}" if against else None


def with_recorded_review(found: Mapping[str, Any], review: Any) -> dict[str, Any]:
    """A verdict that was judged without a review, with what the recorded review adds to it.

    A later version's rules may find more or less in the same code, so the review of another version is testimony.

    Args:
        found: the verdict document, judged without a review.
        review: `review` of the recorded verdict, or None.

    Raises:
        TamperedError: the recorded review is malformed.
    """
    outcome = found["verdict"]
    if isinstance(review, Mapping) and outcome in ("CERTIFIED", "INCONCLUSIVE"):
        try:
            vetoes, rows = list(review["vetoes"]), list(review["checklist"])
            undecided = [row["id"] for row in rows if row["id"].startswith("V") and row["state"] == "could not tell"]
        except (KeyError, TypeError, AttributeError) as error:
            raise _tampered(f"verdict.json: the review is malformed ({error})") from error
        outcome = "VETOED" if vetoes else "INCONCLUSIVE" if undecided else outcome
    return {**found, "verdict": outcome, "exit_code": EXIT_CODES[outcome]}


def _text(value: Any) -> str:
    """One spelling of a JSON value: NaN equals itself, 1 is not 1.0, True is not 1."""
    return json.dumps(value, sort_keys=True)


def _tampered(problem: str) -> TamperedError:
    return TamperedError(problem, REMEDY)
