"""The tables of a report: rows of plain texts, read off a verdict or a manifest."""

from __future__ import annotations

import json
from typing import Any

from harness.report import wording
from harness.report.fields import duration, flag, flat, integer, line, number, rows, short, size, table, text, texts

# How something that is true, false or not known is shown: words, tone.
_State = dict[bool | None, tuple[str, str]]
_LANDED: _State = {True: ("landed", "good"), False: ("did not land", "bad"), None: ("not known", "none")}
_CONTROL: _State = {True: ("failed, as it must", "good"), False: ("did not fail", "bad"), None: ("not known", "none")}
_FILE: _State = {True: ("equal", "good"), False: ("different", "bad"), None: ("not compared", "none")}


def interruptions(verdict: dict[str, Any]) -> list[dict[str, str]]:
    """One row per kill, in the verdict's order."""
    found = []
    for place, row in enumerate(rows(verdict.get("interruptions")), start=1):
        landed, tone = _LANDED[flag(row, "landed")]
        found.append({
            "number": str(place),
            "run": line(row.get("run")) or "?",
            "place": wording.place(row),
            "ending": wording.ending(row),
            "landed": landed,
            "tone": tone,
            "resumed": _resumed(row),
        })
    return found


def _resumed(row: dict[str, Any]) -> str:
    after = integer(row.get("resumed_after_step"))
    if after is None:
        return "not known"
    return f"after step {after}" if after else "from the start"


def restored(verdict: dict[str, Any]) -> list[dict[str, Any]]:
    """One row per resumed run: its live state against what its checkpoint holds."""
    found = []
    for row in rows(verdict.get("restored")):
        total, equal = integer(row.get("num_tensors")), integer(row.get("num_equal"))
        different = texts(row.get("different"))
        is_good = total is not None and total == equal and not different
        found.append({
            "run": line(row.get("run")) or "?",
            "after_step": line(row.get("after_step")) or "?",
            "file": line(row.get("file")),
            "in_file": line(row.get("num_in_file")),
            "equal": f"{equal if equal is not None else '?'} of {total if total is not None else '?'}",
            "tone": "good" if is_good else "bad" if different or equal is not None else "none",
            "different": different,
        })
    return found


def testimony(verdict: dict[str, Any]) -> dict[str, Any] | None:
    """What the host recomputed from disk against what the ledger says; None if it was not done."""
    found = table(verdict.get("testimony"))
    if not found:
        return None
    return {
        "on_disk": line(found.get("tensors_on_disk")) or "?",
        "found": line(found.get("found_in_ledger")) or "?",
        "missing": texts(found.get("missing")),
    }


def controls(verdict: dict[str, Any]) -> list[dict[str, str]]:
    """One row per control: what was changed, and whether the comparison failed as it must."""
    found = []
    for check in rows(table(verdict.get("control")).get("checks")):
        outcome, tone = _CONTROL[flag(check, "failed_as_it_must")]
        if line(check.get("name")) == "weights_moved" and tone == "good":
            outcome = "differ, as they must"
        title, detail = wording.control_title(check), text(check.get("detail"))
        found.append({"title": title, "detail": detail, "outcome": outcome, "tone": tone})
    return found


def files(verdict: dict[str, Any]) -> list[dict[str, str]]:
    """One row per output and checkpoint that was compared."""
    found = []
    for row in rows(verdict.get("files")):
        outcome, tone = _FILE[flag(row, "equal")]
        found.append({
            "path": line(row.get("path")) or "?",
            "role": line(row.get("role")),
            "tensors": line(row.get("num_tensors")),
            "content": line(row.get("content")),
            "short": short(row.get("content")),
            "outcome": outcome,
            "tone": tone,
        })
    return found


def runs(manifest: dict[str, Any]) -> list[dict[str, str]]:
    """One row per process that trained, controls included."""
    return [
        {
            "trajectory": line(row.get("trajectory")),
            "number": line(row.get("number")),
            "mode": line(row.get("mode")),
            "exit_code": line(row.get("exit_code")),
            "ended": _ended(row),
            "seconds": duration(row.get("seconds")),
        }
        for row in rows(manifest.get("runs"))
    ]


def total_seconds(manifest: dict[str, Any]) -> float:
    """The stages' wall time together; 0 if none was recorded."""
    return sum(number(value) or 0.0 for value in table(manifest, "volatile", "seconds").values())


def _ended(row: dict[str, Any]) -> str:
    if killed_by := line(row.get("killed_by")):
        return f"killed ({killed_by})"
    if row.get("oom_killed") is True:
        return "out of memory"
    return line(row.get("error")) or "by itself"


def environment(manifest: dict[str, Any]) -> list[tuple[str, list[tuple[str, str]]]]:
    """Groups of (key, value): host, process, GPU, in that order, then anything else that was recorded."""
    given = table(manifest.get("environment"))
    names = {"host": "Machine", "process": "Process", "gpu": "GPU", "interpreter": "Interpreter"}
    keys = [key for key in names if key in given] + [key for key in given if key not in names]
    groups = []
    for key in keys:
        value = given[key]
        if key == "gpu" and not value:
            groups.append(("GPU", [("", "none: this run used the CPU")]))
        elif leaves := flat(value):
            sized = [(name, size(_at(value, name)) if name.endswith("_bytes") else "") for name, _ in leaves]
            shown = [(name, in_units or leaf) for (name, in_units), (_, leaf) in zip(sized, leaves, strict=True)]
            groups.append((names.get(key, key), shown))
    return groups


def _at(value: Any, dotted: str) -> object:
    for key in dotted.split("."):
        value = value.get(key) if isinstance(value, dict) else None
    return value


def image(manifest: dict[str, Any]) -> dict[str, Any] | None:
    """The image's name and id, its locks and its rebuild; None if the manifest has none."""
    given = table(manifest.get("image"))
    if not given:
        return None
    return {
        "name": line(given.get("name")),
        "id": line(given.get("id")),
        "locks": flat(given.get("locks")),
        "rebuild": flat(given.get("rebuild")),
    }


def inputs(manifest: dict[str, Any]) -> list[dict[str, str]]:
    """One row per input, with what pins it."""
    return [
        {
            "name": line(name),
            "reference": line(table(entry).get("reference")),
            "version": line(table(entry).get("version")),
            "sha256": line(table(entry).get("sha256")),
        }
        for name, entry in table(manifest.get("inputs")).items()
    ]


def pretty(value: object) -> str:
    """A table as indented JSON; nothing for an empty one."""
    return json.dumps(value, indent=2, ensure_ascii=False, default=str) if isinstance(value, dict) and value else ""
