"""What `harness diagnose` found: the operator, or what goes into one, at which a step first differs."""

from __future__ import annotations

from typing import Literal, NamedTuple

from pydantic import Field

from harness.documents.document import Document, Model
from harness.documents.verdict import CheckName


class OutputTensor(NamedTuple):
    """A tensor that an operator made; one without bytes of its own has no digest."""

    dtype: str
    shape: tuple[int, ...]
    digest: str | None


class InputTensor(NamedTuple):
    """A tensor that an operator read.

    `source` is a stream and what the ledger calls it there; or `op` and the place, from 0, of the operator that wrote
    it last; or `empty` and that of the one that left its memory unfilled; None for what no operator made.
    """

    dtype: str
    shape: tuple[int, ...]
    digest: str | None
    source: tuple[str, str | int] | None


class Operator(Model):
    """One line of `operators.jsonl`: an operator as the recorder saw it. `arguments` are those that are no tensors."""

    step: int
    name: str
    phase: Literal["forward", "backward", "update"]
    module: str
    line: str
    arguments: str
    inputs: tuple[InputTensor, ...]
    outputs: tuple[OutputTensor, ...]


class OperatorRow(Model):
    """An operator near the first difference; `inputs` and `outputs` say whether they are equal in all executions.

    `place` counts from 1 in each step.
    """

    step: int
    place: int
    name: str
    phase: str
    module: str
    line: str
    inputs: bool
    outputs: bool


class Confirmation(Model):
    """What became of a cause that was tried out: what was changed in a copy, and what the step gave then."""

    outcome: Literal["confirmed", "refuted", "not tried"]
    detail: str


class OperatorDiagnosis(Document):
    """The first difference of a run, followed to an operator.

    Attributes:
        found: an operator that gives other bits from equal inputs; an input that no operator of the step made; another
            sequence of operators; or nothing: all executions were equal.
        operator: the first that differs, in execution order.
        cause: what the run's verdict says of it, where it knows.
        states: what goes into the step and differs, as `<stream> <name>`, the first that is read first.
        executions: how many executions were compared, `differ` of which are not like the others, with the Wilson 95 %
            interval of their share.
    """

    schema_: Literal[1] = Field(default=1, alias="schema")
    experiment: str
    run_id: str
    check: CheckName
    step: int
    stream: str
    found: Literal["operator", "input", "sequence", "nothing"]
    sentence: str
    cause: str = ""
    operator: OperatorRow | None = None
    nearby: tuple[OperatorRow, ...] = ()
    states: tuple[str, ...] = ()
    executions: int
    differ: int
    interval: tuple[float, float]
    fix: str
    source: str = ""
    notes: tuple[str, ...] = ()
    confirmations: tuple[Confirmation, ...] = ()

    @property
    def is_refuted(self) -> bool:
        """Whether changing what was named changed nothing."""
        return {one.outcome for one in self.confirmations} == {"refuted"}
