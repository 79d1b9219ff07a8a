"""What `certify --plan` answers: what a certify would do, and all that a person should know before it."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, computed_field

from harness.documents.document import Document, Model
from harness.documents.preflight import Preflight, PreflightRow, preflight_lines
from harness.documents.scope import Prefix


class Stage(Model):
    """One stage. `seconds` is what it took here the last time, or None where it was never measured here."""

    name: str
    detail: str
    seconds: float | None
    disk_bytes: int | None = None


class PlanFinding(Model):
    """Something that is not as it should be.

    `exit_code` is what a certify would end with for it; 0 where it would not be stopped.
    """

    about: str
    problem: str
    remedy: str
    exit_code: int


class Plan(Document):
    """The stages in their order, and the findings as a certify would come upon them.

    `needs` says of everything that is used whether it can be had.
    """

    schema_: Literal[1] = Field(default=1, alias="schema")
    experiment: str
    runner: str
    scope: Prefix | None = None
    overrides: tuple[str, ...] = ()
    stages: tuple[Stage, ...] = ()
    findings: tuple[PlanFinding, ...] = ()
    needs: tuple[PreflightRow, ...] = ()

    @computed_field  # type: ignore[prop-decorator]
    @property
    def exit_code(self) -> int:
        """0 where nothing would stop a certify; else what it would end with."""
        return next((one.exit_code for one in self.findings if one.exit_code), 0)

    @computed_field  # type: ignore[prop-decorator]
    @property
    def seconds(self) -> float | None:
        """What all stages took together, or None if one was never measured."""
        known = [stage.seconds for stage in self.stages]
        return None if any(value is None for value in known) else sum(value for value in known if value is not None)


def render_plan(plan: Plan) -> str:
    """The plan as plain text."""
    lines = [f"certify {plan.experiment} with the {plan.runner} runner would:"] if plan.stages else []
    for stage in plan.stages:
        time = f"{stage.seconds:.0f} s" if stage.seconds is not None else "not measured here yet"
        disk = f", {stage.disk_bytes / 1e9:.1f} GB of disk" if stage.disk_bytes else ""
        lines.append(f"  {stage.name:<8} {stage.detail}  [{time}{disk}]")
    if plan.stages:
        total = plan.seconds
        lines.append(f"  together {total:.0f} s" if total is not None else "  time is known once it ran here")
    there = tuple(need for need in plan.needs if need.state in ("present", "fetchable"))
    lines += ["", *preflight_lines(Preflight(needs=there))] if there else []
    for is_stopping in (True, False):
        for one in plan.findings:
            if bool(one.exit_code) is is_stopping:
                lines += ["", f"{'stops it' if is_stopping else 'note'}: {one.about}: {one.problem}"]
                lines += [f"  remedy: {one.remedy}"] if one.remedy else []
    num = sum(1 for one in plan.findings if one.exit_code)
    things = "1 thing stops" if num == 1 else f"{num} things stop"
    lines += [
        "",
        f"{things} this certify (it would end with {plan.exit_code})." if num else "Nothing stops this certify.",
    ]
    return "\n".join(lines)
