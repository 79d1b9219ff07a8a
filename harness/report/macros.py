"""macros.tex: the figures of a verdict as LaTeX macros, so that a paper quotes them instead of copying them.

Every text is escaped and plain ASCII: what LaTeX would take as a command, or set as another character, is spelled out.
A value that is not known is `n/a`. A second file that is read in replaces the first one's macros.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from typing import Any

from harness.report import sections, wording
from harness.report.curves import Curve
from harness.report.fields import document, integer, line, rows, short, size, table, texts

PREFIX = "Repro"
ABSENT = "n/a"
_MAX_CHARS = 600
_SPECIAL = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "$": r"\$",
    "&": r"\&",
    "#": r"\#",
    "%": r"\%",
    "_": r"\_",
    "^": r"\textasciicircum{}",
    "~": r"\textasciitilde{}",
    # In the font encoding OT1 these three would be set as other characters, and a grave accent begins a quotation.
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\char34{}",
    "`": r"\`{}",
}
# Two of these in a row become one character: `--` a dash, `''` a quotation mark, `,,` one in T1.
_LIGATURES = "-',"


def render_macros(verdict: dict[str, Any], manifest: dict[str, Any], curves: Sequence[Curve] = ()) -> str:
    r"""`\ReproVerdict`, `\ReproCommit` and the others, one a line, always the same names in the same order."""
    verdict, manifest = (document(value, max_chars=_MAX_CHARS) for value in (verdict, manifest))
    lines = [
        "% Made from verdict.json and manifest.json by the harness; docs/guide/report.md lists the macros.",
        r"% \input this file. In a group ({\input{a/macros} ...}) several runs can be quoted side by side.",
    ]
    for name, value in macros(verdict, manifest, curves).items():
        command = rf"\{PREFIX}{name}"
        lines.append(rf"\providecommand{{{command}}}{{}}\renewcommand{{{command}}}{{{escaped(value) or ABSENT}}}")
    return "\n".join(lines) + "\n"


def escaped(value: object) -> str:
    """Any value as one line that LaTeX sets as it reads, whatever the font encoding; ASCII only."""
    found: list[str] = []
    previous = ""
    for char in line(value):
        if char == previous and char in _LIGATURES:
            found.append("{}")
        found.append(_SPECIAL.get(char) or (char if " " <= char <= "~" else f"[U+{ord(char):04X}]"))
        previous = char
    return "".join(found)


def macros(verdict: dict[str, Any], manifest: dict[str, Any], curves: Sequence[Curve]) -> dict[str, str]:
    """Name without its prefix -> value, not yet escaped; empty where nothing is known."""
    return _identity(verdict, manifest) | _amounts(verdict, manifest) | _training(curves) | _ground(manifest)


def _identity(verdict: dict[str, Any], manifest: dict[str, Any]) -> dict[str, str]:
    commit = line(verdict.get("commit"))
    oracles = table(verdict.get("checks"))
    words = {oracle.key: oracle.verdict.replace("_", " ") for oracle in wording.oracle_texts(verdict)}
    return {
        "Verdict": wording.overall(verdict),
        "Summary": wording.summary_of(verdict),
        "Experiment": line(verdict.get("experiment")),
        "Scope": wording.scope_of(verdict) or "the whole training",
        "RunId": line(verdict.get("run_id")),
        "Date": line(table(manifest.get("volatile")).get("finished"))[:10],
        "Commit": commit,
        "CommitShort": commit[:7],
        "Dirty": "with uncommitted changes" if verdict.get("dirty") is True else "clean",
        **{key.capitalize(): words[key] if key in oracles else "" for key in ("rerun", "resume", "rebuild")},
        "Replay": words.get("replay", ""),
    }


def _amounts(verdict: dict[str, Any], manifest: dict[str, Any]) -> dict[str, str]:
    """What was trained and compared; a number is grouped by thousands."""
    compared = table(verdict.get("compared"))
    scope, whole = table(verdict.get("scope")), table(manifest.get("experiment")).get("steps")
    landed = [row for row in rows(verdict.get("interruptions")) if row.get("landed") is True]
    checklist = [line(row.get("state")) for row in rows(table(verdict.get("review")).get("checklist"))]
    return {
        "Steps": _grouped(scope.get("steps", whole)),
        "ComparedSteps": _grouped(compared.get("steps")),
        "Tensors": _grouped(compared.get("tensors")),
        "Bytes": _grouped(compared.get("bytes")),
        "Size": size(compared.get("bytes")),
        "Files": _grouped(compared.get("files")),
        "Kills": str(len(landed)) if "interruptions" in verdict else "",
        "KillSteps": ", ".join(line(row.get("step")) for row in landed),
        "ItemsHeld": f"{checklist.count('holds')} of {len(checklist)}" if checklist else "",
        "NotChecked": str(len(texts(verdict.get("not_checked")))) if "not_checked" in verdict else "",
    }


def _training(curves: Sequence[Curve]) -> dict[str, str]:
    """What the straight run reported of itself."""
    curve = next((one for one in curves if one.trajectory == "straight" and one.steps), None)
    losses = (math.nan,) if curve is None else curve.losses
    seconds = [] if curve is None else [value for value in curve.seconds if not math.isnan(value)]
    memory = [value for value in curve.rss_bytes if value is not None] if curve else []
    on_gpu = [value for value in curve.vram_bytes if value is not None] if curve else []
    return {
        "LossFirst": _loss(losses[0]),
        "LossFinal": _loss(losses[-1]),
        "StepTime": f"{statistics.median(seconds):.3g} s" if seconds else "",
        "PeakMemory": size(max(memory)) if memory else "",
        "PeakGpuMemory": size(max(on_gpu)) if on_gpu else "",
    }


def _loss(value: float) -> str:
    """Four decimals, or four digits where these would be zeros or far too many; nothing where it is not finite."""
    if not math.isfinite(value):
        return ""
    return f"{value:.4f}" if value == 0 or 1e-2 <= abs(value) < 1e6 else f"{value:.4g}"


def _ground(manifest: dict[str, Any]) -> dict[str, str]:
    """What it ran on."""
    image, environment = table(manifest.get("image")), table(manifest.get("environment"))
    host, process = table(environment.get("host")), table(environment.get("process"))
    versions = table(process.get("versions"))
    gpus = sections.gpus(manifest)
    return {
        "Image": line(image.get("id")),
        "ImageShort": short(image.get("id")),
        "ImageName": line(image.get("name")),
        "Cpu": line(host.get("cpu")),
        "Gpu": ", ".join(dict.fromkeys(gpus)) or ("none" if environment else ""),
        "Threads": line(process.get("threads")),
        "System": line(host.get("system")),
        "Python": line(versions.get("python")),
        "Torch": line(versions.get("torch")),
        "Seed": line(table(manifest, "experiment", "config").get("seed")),
        "Took": sections.took(manifest),
        "Harness": line(table(manifest.get("harness")).get("version")),
    }


def _grouped(value: object) -> str:
    amount = integer(value)
    return "" if amount is None else f"{amount:,}"
