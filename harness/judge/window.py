"""A checkpoint in the middle of an accumulation window: a resumed window has only the last micro-batches of the whole.

Of the straight run's step those are taken that the resumed run did too, so that equal ones have equal roots.
"""

from __future__ import annotations

from dataclasses import replace

from harness.documents.digest import Digest
from harness.errors import EvidenceError
from harness.evidence.ledger import StepRecord
from harness.evidence.tensor_digest import stream_root
from harness.evidence.trajectory import RunEvidence
from harness.judge.locate import ledger_of, record_at, state_tensors


def with_last_micro_batches(left: RunEvidence, right: RunEvidence) -> tuple[tuple[StepRecord, ...], list[str]]:
    """The straight run's steps, the one at which a resumed run began in the middle cut to what that run did of it.

    Args:
        left: the straight run.
        right: the resumed one.

    Returns:
        the steps, and in words what was left out.
    """
    steps, first = ledger_of(left).steps, next(iter(ledger_of(right).steps), None)
    whole = record_at(ledger_of(left), "step", first.step) if first is not None else None
    if first is None or not isinstance(whole, StepRecord) or not 0 < first.micro_batches < whole.micro_batches:
        return steps, []
    skipped = whole.micro_batches - first.micro_batches
    within, grad = whole.rng_within.get(str(skipped)), first.streams.get("grad")
    # Who was told to end may have saved where the straight run did not: the gradients are the whole window's then.
    if within is None and (grad is None or grad != whole.streams.get("grad")):
        return steps, []
    rng = within or first.streams.get("rng")
    try:
        roots = _roots_of_the_last(left, whole, skipped)
    except EvidenceError:
        return steps, []
    cut = replace(
        whole,
        micro_batches=first.micro_batches,
        loss=whole.loss[-first.micro_batches :] if len(whole.loss) == whole.micro_batches else first.loss,
        streams={**whole.streams, **roots, **({} if rng is None else {"rng": rng})},
    )
    note = (
        f"{right.name} began within step {first.step}: its {first.micro_batches} micro-batches are compared with the "
        f"last of the straight run's {whole.micro_batches}"
    )
    return tuple(cut if record.step == first.step else record for record in steps), [note]


def _roots_of_the_last(run: RunEvidence, record: StepRecord, skipped: int) -> dict[str, Digest]:
    """The roots of data and loss as a process would have written them that did not do the first micro-batches."""
    roots = {}
    for stream in ("data", "loss"):
        tensors = state_tensors(run, "step", record.step, stream)
        if tensors is None:
            continue
        kept, names = [], {}
        for name, entry in tensors.items():
            head, _, rest = name.partition(".")
            number = int(head) if stream == "data" else int(rest)
            if number > skipped:
                names[name] = (number, head, rest, entry)
        for place, (number, _, rest, entry) in enumerate(sorted(names.values(), key=lambda row: int(row[1])), start=1):
            own = f"{number - skipped}.{rest}" if stream == "data" else f"{place}.{number - skipped}"
            kept.append((own, entry.dtype, entry.shape, entry.digest))
        roots[stream] = stream_root(iter(kept))
    return roots
