"""The tables of a report: rows of plain texts, read off a verdict or a manifest."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Sequence
from typing import Any

from harness.report import wording
from harness.report.curves import Curve
from harness.report.fields import duration, flag, flat, integer, line, number, rows, short, size, table, text, texts

_LINE = 92
# How something that is true, false or not known is shown: words, tone.
_State = dict[bool | None, tuple[str, str]]
_LANDED: _State = {True: ("landed", "good"), False: ("did not land", "bad"), None: ("not known", "none")}
_CONTROL: _State = {True: ("failed, as it must", "good"), False: ("did not fail", "bad"), None: ("not known", "none")}
_FILE: _State = {True: ("equal", "good"), False: ("different", "bad"), None: ("not compared", "none")}


def amounts(verdict: dict[str, Any]) -> list[tuple[str, ...]]:
    """How much each question compared, and all together: (question, steps, tensors, bytes, files, outcome)."""
    found: list[tuple[str, ...]] = []
    oracles = table(verdict.get("checks"))
    for oracle in wording.oracle_texts(verdict):
        given = table(oracles.get(oracle.key))
        ids = texts(given.get("image_ids"))
        files = f"{len(ids)} image ids" if ids else _amount(table(given.get("compared")).get("files"))
        found.append((oracle.title, *_counted(given.get("compared")), files, wording.words(oracle.verdict)))
    whole = verdict.get("compared")
    return [*found, ("Together", *_counted(whole), _amount(table(whole).get("files")), "")]


def _counted(compared: object) -> tuple[str, str, str]:
    given = table(compared)
    return (_amount(given.get("steps")), _amount(given.get("tensors")), size(given.get("bytes") or None) or "none")


def _amount(value: object) -> str:
    found = integer(value)
    return f"{found:,}" if found else "none"


def interruptions(verdict: dict[str, Any]) -> list[dict[str, str]]:
    """One row per kill, in the verdict's order; nothing where none of those planned had its turn."""
    if not any(map(wording.came, rows(verdict.get("interruptions")))):
        return []
    found = []
    for place, row in enumerate(rows(verdict.get("interruptions")), start=1):
        landed, tone = _LANDED[flag(row, "landed")] if wording.came(row) else ("had no turn", "none")
        found.append(
            {
                "number": str(place),
                "run": line(row.get("run")) or "?",
                "place": wording.place(row),
                "ending": wording.ending(row),
                "landed": landed,
                "tone": tone,
                "resumed": _resumed(row),
            }
        )
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
        found.append(
            {
                "run": line(row.get("run")) or "?",
                "after_step": line(row.get("after_step")) or "?",
                "file": line(row.get("file")),
                "in_file": line(row.get("num_in_file")),
                "equal": f"{equal if equal is not None else '?'} of {total if total is not None else '?'}",
                "tone": "good" if is_good else "bad" if different or equal is not None else "none",
                "different": different,
            }
        )
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
    for check in rows(table(verdict.get("control")).get("controls")):
        outcome, tone = _CONTROL[flag(check, "detected")]
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
        found.append(
            {
                "path": line(row.get("path")) or "?",
                "role": line(row.get("role")),
                "tensors": line(row.get("num_tensors")),
                "content": line(row.get("content")),
                "short": short(row.get("content")),
                "outcome": outcome,
                "tone": tone,
            }
        )
    return found


def runs(manifest: dict[str, Any], curves: Sequence[Curve] = ()) -> list[dict[str, str]]:
    """One row per process that trained, controls included: how it ended, and what it reported to have used."""
    wall = {line(row.get("run")): row.get("seconds") for row in rows(table(manifest.get("volatile")).get("runs"))}
    reported = {f"{curve.trajectory}/{curve.run}": curve for curve in curves}
    found = []
    for row in rows(manifest.get("runs")):
        name = f"{line(row.get('trajectory'))}/{line(row.get('number'))}"
        found.append(
            {
                "trajectory": line(row.get("trajectory")),
                "number": line(row.get("number")),
                "mode": line(row.get("mode")),
                "exit_code": line(row.get("exit_code")),
                "ended": _ended(row),
                "seconds": duration(row.get("seconds", wall.get(name))),
                **_usage(reported.get(name)),
            }
        )
    return found


def _usage(curve: Curve | None) -> dict[str, str]:
    """Steps, the median time of one and the recorder's share of it, and the highest memory; empty where unknown."""
    timed = [value for value in curve.seconds if not math.isnan(value)] if curve else []
    recorded = [value for value in curve.recorder_seconds if not math.isnan(value)] if curve else []
    memory = [value for value in curve.rss_bytes if value is not None] if curve else []
    on_gpu = [value for value in curve.vram_bytes if value is not None] if curve else []
    total = math.fsum(timed)
    return {
        "steps": f"{len(curve.steps):,}" if curve and curve.steps else "",
        "step_time": _step_time(statistics.median(timed)) if timed else "",
        "slowest": _step_time(max(timed)) if timed else "",
        "recorder": f"{math.fsum(recorded) / total:.0%}" if recorded and total > 0 else "",
        "memory": size(max(memory)) if memory else "",
        "gpu_memory": size(max(on_gpu)) if on_gpu else "",
    }


def _step_time(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms" if 0 <= seconds < 1 else f"{seconds:.2f} s"


def took(manifest: dict[str, Any]) -> str:
    """All stages together, for a person; empty if no time was recorded."""
    return duration(total_seconds(manifest) or None)


def gpus(manifest: dict[str, Any]) -> list[str]:
    """The models of the GPUs that the runs were given; their UUIDs where the machine did not name them."""
    inventory = rows(table(manifest, "environment", "host").get("gpus"))
    names = {line(row.get("uuid")): line(row.get("name")) for row in inventory}
    return [names.get(uuid) or uuid for uuid in texts(table(manifest, "environment", "gpu").get("uuids"))]


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
            groups.append((names.get(key, key), [_fact(name, leaf, _at(value, name)) for name, leaf in leaves]))
    return groups


def _fact(name: str, leaf: str, value: object) -> tuple[str, str]:
    """A fact under its short name: a package by its own, sizes in their units."""
    if name.endswith("_bytes") and size(value):
        return name.removesuffix("_bytes"), size(value)
    return name.removeprefix("versions."), leaf


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
            "reference": _reference(table(entry)),
            "version": line(table(entry).get("version")) or line(table(entry).get("revision")),
            "sha256": line(table(entry).get("sha256")),
        }
        for name, entry in table(manifest.get("inputs")).items()
    ]


def _reference(entry: dict[str, Any]) -> str:
    """Where an input comes from: `deb:wordnet-base`."""
    kinds = [f"{kind}:{line(entry[kind])}" for kind in ("file", "pypi", "deb", "hf", "https") if line(entry.get(kind))]
    return line(entry.get("reference")) or " ".join(kinds)


def pretty(value: object) -> str:
    """A table as JSON, indented where it does not fit on a line; nothing for an empty one."""
    return _pretty(value, 0, 0) if isinstance(value, dict) and value else ""


def _pretty(value: object, indent: int, used: int) -> str:
    """The value as JSON; `used` are the columns that its key takes before it."""
    plain = json.dumps(value, ensure_ascii=False, default=str)
    is_short = indent + used + len(plain) <= _LINE and indent > 0
    is_flat = isinstance(value, list) and not any(isinstance(entry, dict | list) for entry in value)
    if not isinstance(value, dict | list) or is_short or is_flat or not value:
        return plain
    inner = indent + 2
    if isinstance(value, dict):
        named = [(json.dumps(str(key), ensure_ascii=False), entry) for key, entry in value.items()]
        parts = [f"{key}: {_pretty(entry, inner, len(key) + 2)}" for key, entry in named]
    else:
        parts = [_pretty(entry, inner, 0) for entry in value]
    opening, closing = "{}" if isinstance(value, dict) else "[]"
    return f"{opening}\n{' ' * inner}" + f",\n{' ' * inner}".join(parts) + f"\n{' ' * indent}{closing}"
