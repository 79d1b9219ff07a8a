"""The operators of a step, read from what a training process left, which nobody has to trust."""

from __future__ import annotations

from pydantic import ValidationError

from harness.documents.diagnosis import Operator
from harness.errors import EvidenceError

MAX_FILE_BYTES = 1 << 30


def parse_operators(data: bytes, name: str) -> tuple[Operator, ...]:
    """The lines of an `operators.jsonl`; a torn last line of the killed process is dropped.

    Raises:
        EvidenceError: another line is not what the recorder writes.
    """
    lines = data.split(b"\n")[:-1]
    try:
        return tuple(map(Operator.model_validate_json, lines))
    except ValidationError as error:
        first = str(error.errors(include_url=False)[0]["msg"])[:120]
        raise EvidenceError(f"{name} has a line that is no operator: {first}", "diagnose the run again") from error
