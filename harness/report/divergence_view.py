"""A divergence in the words of a report: where, saved against restored, the first tensors, the layers, the repair."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

from harness.documents.divergence import Divergence, LayerRow, Share, StateRow, TensorDifference
from harness.documents.verdict import FirstDivergence, Verdict
from harness.evidence.ledger import STREAMS
from harness.report.tables import Cell, Kind, State, Table, Tone, table
from harness.report.text import line, short

_SIDES = {"rerun": ("Straight", "Rerun"), "resume": ("Straight", "Resumed"), "replay": ("Archived", "Today")}
_STEPS = {None: "no step", 0: "0, the start"}
_OPEN = ("unknown", "nondeterministic_operator")
_PAGES = "docs/causes"


@dataclass(frozen=True, slots=True)
class LayerView:
    """One row of the map of modules and steps: of each step the share that differs in per cent, and all in words."""

    module: str
    shares: tuple[int, ...]
    note: str


class DivergenceView:
    """What a verdict says of a divergence, in the order in which a person asks: where, what state, which tensors, what
    to do. Every part may be empty: an older verdict has less.
    """

    def __init__(self, verdict: Verdict) -> None:
        """`verdict` is safe to show."""
        self._verdict = verdict
        self._found = verdict.divergence or Divergence()

    @property
    def _first(self) -> FirstDivergence | None:
        return self._verdict.first_divergence

    @property
    def sentence(self) -> str:
        """Where the bits first differ; empty if they do not, or nobody knows where."""
        found = self._first
        if found is None:
            return ""
        micro_batch = "" if found.micro_batch is None else f", micro-batch {found.micro_batch}"
        parts = [f"at step {found.step}{micro_batch}", f"in stream {line(found.stream)}"]
        parts += [f"tensor {line(found.tensor)}"] if found.tensor else []
        parts += [f"operator {line(found.operator)}"] if found.operator else []
        parts.append(f"in run {found.run} of the {line(found.trajectory)} trajectory")
        return f"The bits first differ {', '.join(parts)}"

    @property
    def state(self) -> Table:
        """Saved against restored, one row a piece of state."""
        found = self._found.state
        rows = [_state_row(row) for row in found.rows] if found is not None else []
        columns: dict[str, Kind] = {
            "State": "key",
            "In the file": "text",
            "Live": "text",
            "Set or loaded by": "long",
            "As after step": "text",
        }
        title = ""
        if found is not None:
            read = f"read {line(found.read)} and " if found.read else ""
            title = f"Saved against restored: run {found.run} {read}went on after step {found.after_step}"
        return table(title, columns, rows)

    @property
    def state_note(self) -> str:
        """What the columns of the table of state mean; empty where there is none."""
        found = self._found.state
        if found is None:
            return ""
        if found.file is None:
            file = "No checkpoint was left that could be looked into."
        elif found.file_step == found.after_step:
            file = f"The file is {line(found.file)}."
        else:
            file = f"The checkpoint of step {found.after_step} is gone; the file is {line(found.file)}, written after "
            file += f"step {found.file_step} and compared with the state then."
        return f"Live is what the process held before its first step, and after which step the straight run did. {file}"

    @property
    def varied(self) -> Table:
        """For a rerun: what was another in it, and what stayed."""
        facts = self._verdict.varied if self._first is not None and self._first.check == "rerun" else ()
        rows = [(line(one.name), "another" if one.varied else "the same", line(one.straight)) for one in facts]
        columns: dict[str, Kind] = {"What": "key", "In the rerun": "text", "In the straight run": "text"}
        return table("What was varied, and what stayed", columns, rows)

    @property
    def tensors(self) -> Table:
        """The first tensors that differ; of an older verdict the first one."""
        first, found = self._first, self._found
        if first is None:
            return table("", {}, [])
        shown = found.tensors or (_only(first),)
        rows = [(line(one.name), _kind(one), short(one.straight), short(one.other), _apart(one.apart)) for one in shown]
        one, two = _SIDES.get(first.check, ("Straight", "Other"))
        columns: dict[str, Kind] = {"Name": "key", "Type": "text", one: "code", two: "code", "Apart": "amount"}
        amount = f"{found.share.num:,} of {found.share.of:,} entries differ" if found.share.of else "What differs"
        more = f"; the first {len(shown)}" if found.share.num > len(shown) else ""
        return table(f"{amount} in {line(first.stream)} at step {first.step}{more}", columns, rows)

    @property
    def layers(self) -> tuple[LayerView, ...]:
        """The map of modules and steps, row by row; empty where no tensor of a module differs."""
        found = self._found.layers
        rows = found.rows if found is not None and found.steps else ()
        start = f"{self.layers_of}." if self.layers_of else ""
        names = (line(row.module).replace(start, "") if start else line(row.module) for row in rows)
        return tuple(_layer_view(self.layer_steps, row, name) for row, name in zip(rows, names, strict=True))

    @property
    def layers_of(self) -> str:
        """What the names of all these modules begin with."""
        found = self._found.layers
        names = [line(row.module).split(".")[:-1] for row in found.rows] if found is not None else []
        common = itertools.takewhile(lambda parts: len(set(parts)) == 1, zip(*names, strict=False))
        return ".".join(parts[0] for parts in common) if len(names) > 1 else ""

    @property
    def layer_steps(self) -> tuple[int, ...]:
        """The steps of that map."""
        return self._found.layers.steps if self._found.layers is not None else ()

    @property
    def patch(self) -> tuple[str, ...]:
        """The repair's lines, as a unified diff."""
        cause = self._verdict.cause
        return tuple(cause.patch.splitlines()) if cause is not None else ()

    @property
    def page(self) -> str:
        """Where the cause is explained."""
        cause = self._verdict.cause
        return f"{_PAGES}/{line(cause.kind)}.md" if cause is not None else ""

    @property
    def next(self) -> str:
        """What to run where the evidence names no operator, or no cause; empty where that would tell nothing more."""
        cause, first = self._verdict.cause, self._first
        if first is None or cause is None or cause.kind not in _OPEN:
            return ""
        if first.check == "replay" or first.stream not in STREAMS:
            return ""
        name = line(self._verdict.experiment)
        return f"harness diagnose {name} executes step {first.step} again and names the first operator that differs"


def _state_row(row: StateRow) -> tuple[Cell, ...]:
    is_right = row.live is None or row.live.is_whole
    in_file = _share(row.in_file, ("yes", "no"), "none" if is_right else "bad")
    live = _share(row.live, ("equal", "another"), "bad")
    step: Cell = "" if row.live is None else _STEPS.get(row.after_step) or str(row.after_step)
    if not is_right:
        step = State(str(step), "bad")
    return line(row.piece), in_file, live, ", ".join(row.calls) or "not seen", step


def _layer_view(steps: tuple[int, ...], row: LayerRow, name: str) -> LayerView:
    """A share is rounded up: what differs at all is not drawn as equal."""
    shares = tuple(min(max(math.ceil(100 * num / max(row.num_tensors, 1)), 0), 100) for num in row.different)
    first = next((step for step, num in zip(steps, row.different, strict=False) if num), None)
    most = f"up to {max(row.different, default=0):,} of {row.num_tensors:,}"
    return LayerView(name, shares, "same bits" if first is None else f"from step {first:,}, {most}")


def _share(share: Share | None, one: tuple[str, str], wrong: Tone) -> State:
    if share is None:
        return State("not known", "unsure")
    words = f"{share.num:,} of {share.of:,}" if share.of > 1 else one[not share.num]
    return State(words, "good" if share.is_whole else wrong)


def _only(first: FirstDivergence) -> TensorDifference:
    return TensorDifference(
        name=first.tensor or first.stream, dtype="", shape=(), straight=first.left, other=first.right
    )


def _kind(one: TensorDifference) -> str:
    return f"{one.dtype} {'x'.join(map(str, one.shape))}".strip().replace("json", "number")


def _apart(distance: float | None) -> str:
    return "" if distance is None else f"{distance:.3g}"
