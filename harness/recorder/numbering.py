"""Which step of the whole training a process starts after: what it read, what it holds, what its optimizer counted.

The host finds the same again from the evidence (`harness/judge/resume_step.py`).
"""

import json
from pathlib import Path
from typing import NamedTuple


class State(NamedTuple):
    """The trained state at one moment of an earlier run: after `step` steps."""

    step: int
    param: str
    optim: str


class Earlier:
    """What the earlier runs of a trajectory recorded.

    Attributes:
        states: newest run first, in each the last step first.
    """

    def __init__(self, folder: Path, number: int) -> None:
        self.states: list[State] = []
        self._by_path: dict[str, int] = {}
        self._by_file: dict[str, set[int]] = {}
        self.runs = [folder.parent / str(n) for n in range(1, number) if (folder.parent / str(n)).is_dir()]
        for run in self.runs:
            events = [event for path in sorted(run.glob("events*.jsonl")) for event in _records(path)]
            for event in events:
                self._follow(event)
            found = {state for path in run.glob("ledger*.jsonl") for state in _states(_records(path))}
            found |= {
                State(event["step"], event["streams"]["param"], event["streams"]["optim"])
                for event in events
                if "streams" in event
            }
            self.states = sorted(found, reverse=True) + self.states

    def _follow(self, event: dict) -> None:
        """Keep up with which file was written after which step, by its path and by what renaming leaves as it is."""
        kind, path = event.get("kind"), str(event.get("path"))
        if kind == "save_end":
            self._by_path[path] = event["step"]
            self._by_file.setdefault(event.get("file", ""), set()).add(event["step"])
        elif kind == "move":
            source = event["source"]
            for known, step in list(self._by_path.items()):
                if known == source or known.startswith(f"{source}/"):
                    self._by_path[path + known[len(source) :]] = step
                    if known == source and "file" in event:
                        self._by_file.setdefault(event["file"], set()).add(step)

    def step_of(self, place: dict) -> int | None:
        """Return the step after which a file was written; None for a file that no earlier run wrote."""
        by_path = self._by_path.get(str(place.get("path")))
        steps = self._by_file.get(place.get("file") or "-", set())
        return max(steps) if steps and by_path not in steps else by_path

    def find(self, param: str, optim: str, read: list[int], counter: int) -> tuple[int, str]:
        """Return the step that a state stands after, and what told it.

        Args:
            param: the root of the trainable parameters.
            optim: the root of the optimizers' state.
            read: after which steps the files were written that this process read, in the order of reading.
            counter: the optimizers' own count of steps; 0 if they keep none.
        """
        content = [state.step for state in self.states if (state.param, state.optim) == (param, optim)]
        if any(read):  # whoever read a checkpoint does not start over, even if nothing of it came back
            content = [step for step in content if step > 0]
        for step in (*reversed(read), counter):
            if step in content:
                return step, "content"
        if content:
            return content[0], "content"
        if read:
            return counter if counter in read else read[-1], "file"
        if counter > 0 and self.runs:
            return counter, "optimizer"
        for state in self.states:
            if state.param == param:
                return state.step, "param"
        return 0, "fresh"


def _states(records: list[dict]) -> list[State]:
    """Return the states after each step, and those before a next one where they had moved."""
    states = []
    after: dict[str, str] = {}
    for record in records:
        if record.get("kind") not in ("start", "step"):
            continue
        moved = record.get("before", {})
        for step, streams in (
            (record["step"] - 1, {**after, **moved} if moved else {}),
            (record["step"], record["streams"]),
        ):
            if {"param", "optim"} <= streams.keys():
                states.append(State(step, streams["param"], streams["optim"]))
        after = record["streams"]
    return states


def _records(path: Path) -> list[dict]:
    """Return a file's records up to the first line that is not whole (a killed process tears its last one)."""
    records = []
    for line in path.read_bytes().split(b"\n"):
        try:
            record = json.loads(line)
        except ValueError:
            break
        if not isinstance(record, dict):
            break
        records.append(record)
    return records


def moved_names(earlier: Earlier, step: int, stream: str) -> set[str]:
    """Return the names of a stream's tensors that were other ones after a step than after the one before it."""
    seen: dict[int, dict] = {}
    for path in (path for run in earlier.runs for path in run.glob("tensors*.jsonl")):
        for line in _records(path):
            if line.get("stream") == stream and line.get("at") in ("start", "step"):
                seen[line["step"]] = line["tensors"]
    last, previous = seen.get(step, {}), seen.get(step - 1, {})
    return {name for name, entry in last.items() if previous.get(name) != entry}
