"""Which step of the whole training a process starts after: found by content in what earlier runs recorded."""

import json
from pathlib import Path


def _records(path: Path) -> list[dict]:
    """Return a ledger's records up to the first line that is not whole (a killed process tears its last one)."""
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


def earlier_states(folder: Path, number: int) -> list[tuple[int, str, str]]:
    """Return (step, param root, optim root) of every state in earlier runs: newest run first, then the last step.

    Two states of the same content (a skipped step, a learning rate of zero) leave the later step the likelier one.
    """
    runs = sorted(
        (int(run.name) for run in folder.parent.iterdir() if run.name.isdigit() and int(run.name) < number),
        reverse=True,
    )
    states = []
    for run in runs:
        found = set()
        for ledger in sorted((folder.parent / str(run)).glob("ledger*.jsonl")):
            for record in _records(ledger):
                streams = record.get("streams", {})
                if record.get("kind") in ("start", "step") and {"param", "optim"} <= streams.keys():
                    found.add((record["step"], streams["param"], streams["optim"]))
        states += sorted(found, reverse=True)
    return states


def find_step(states: list[tuple[int, str, str]], param: str, optim: str, optimizer_step: int) -> tuple[int, str]:
    """Return the step that a state stands after, and how it was found: content, optimizer, param or fresh."""
    for step, earlier_param, earlier_optim in states:
        if (earlier_param, earlier_optim) == (param, optim):
            return step, "content"
    if optimizer_step > 0:
        return optimizer_step, "optimizer"
    for step, earlier_param, _ in states:
        if earlier_param == param:
            return step, "param"
    return 0, "fresh"
