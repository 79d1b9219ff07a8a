"""macros.tex: the figures of a verdict as LaTeX macros, so that a paper quotes them instead of copying them.

Every text is escaped and plain ASCII: what LaTeX would take as a command, or set as another character, is spelled out.
A value that is not known is `n/a`. A second file that is read in replaces the first one's macros.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

from harness.documents.manifest import Manifest
from harness.documents.verdict import Verdict
from harness.report.curves import Curve
from harness.report.manifest import highest
from harness.report.templates import environment
from harness.report.text import leaves, line, short, size
from harness.report.view import View

PREFIX = "Repro"
ABSENT = "n/a"
_MAX_ROWS = 100_000  # they are counted
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
_ENVIRONMENT = (
    *("Image", "ImageShort", "ImageName", "Cpu", "Gpu", "Threads", "System"),
    *("Python", "Torch", "Seed", "Took", "Harness"),
)
# Two of these in a row become one character: `--` a dash, `''` a quotation mark, `,,` one in T1.
_LIGATURES = "-',"


def render_macros(verdict: Verdict, manifest: Manifest | None, curves: Sequence[Curve] = ()) -> str:
    r"""`\ReproVerdict`, `\ReproCommit` and the others, one a line, always the same names in the same order."""
    template = environment(escaped).get_template("macros.tex")
    return template.render(macros=macros(verdict, manifest, curves), absent=ABSENT)


def escaped(text: str) -> str:
    """A text as one line that LaTeX sets as it reads, whatever the font encoding; ASCII only."""
    found: list[str] = []
    previous = ""
    for char in line(text):
        if char == previous and char in _LIGATURES:
            found.append("{}")
        found.append(_SPECIAL.get(char) or (char if " " <= char <= "~" else f"[U+{ord(char):04X}]"))
        previous = char
    return "".join(found)


def macros(verdict: Verdict, manifest: Manifest | None, curves: Sequence[Curve] = ()) -> dict[str, str]:
    """Name without its prefix -> value, not yet escaped; empty where nothing is known."""
    view = View(verdict, manifest, max_rows=_MAX_ROWS, max_chars=_MAX_CHARS)
    return _identity(view) | _compared(view) | _training(curves) | _environment(view)


def _identity(view: View) -> dict[str, str]:
    verdict = view.verdict
    words = {check.title: check.state.words for check in view.checks}
    return {
        "Verdict": verdict.verdict,
        "Summary": verdict.summary,
        "Experiment": verdict.experiment,
        "Scope": view.scope or "the whole training",
        "RunId": verdict.run_id,
        "Date": view.manifest.volatile.finished[:10] if view.manifest else "",
        "Commit": verdict.commit,
        "CommitShort": verdict.commit[:7],
        "Dirty": "with uncommitted changes" if verdict.dirty else "clean",
        **{name: words.get(name, "") for name in ("Rerun", "Resume", "Rebuild", "Replay")},
    }


def _compared(view: View) -> dict[str, str]:
    """What was trained and compared; a number is grouped by thousands."""
    verdict, compared = view.verdict, view.verdict.compared
    steps = verdict.scope.steps if verdict.scope else view.manifest.experiment.get("steps") if view.manifest else None
    landed = [kill for kill in verdict.interruptions if kill.landed]
    states = [item.state for item in verdict.review.checklist] if verdict.review else []
    return {
        "Steps": f"{steps:,}" if isinstance(steps, int) else "",
        "ComparedSteps": f"{compared.steps:,}",
        "Tensors": f"{compared.tensors:,}",
        "Bytes": f"{compared.bytes:,}",
        "Size": size(compared.bytes),
        "Files": f"{compared.files:,}",
        "Kills": str(len(landed)),
        "KillSteps": ", ".join(str(kill.step) for kill in landed),
        "ItemsHeld": f"{states.count('holds')} of {len(states)}" if states else "",
        "NotChecked": str(len(verdict.not_checked)),
    }


def _training(curves: Sequence[Curve]) -> dict[str, str]:
    """What the straight run reported of itself."""
    curve = next((one for one in curves if one.trajectory == "straight" and one.steps), None)
    seconds = [value for value in curve.seconds if not math.isnan(value)] if curve else []
    return {
        "LossFirst": _loss(curve.losses[0]) if curve else "",
        "LossFinal": _loss(curve.losses[-1]) if curve else "",
        "StepTime": f"{statistics.median(seconds):.3g} s" if seconds else "",
        "PeakMemory": size(highest(curve.rss_bytes)) if curve else "",
        "PeakGpuMemory": size(highest(curve.vram_bytes)) if curve else "",
    }


def _loss(value: float) -> str:
    """Four decimals, or four digits where these would be zeros or far too many; nothing where it is not finite."""
    if not math.isfinite(value):
        return ""
    return f"{value:.4f}" if value == 0 or 1e-2 <= abs(value) < 1e6 else f"{value:.4g}"


def _environment(view: View) -> dict[str, str]:
    """What it ran on."""
    manifest = view.manifest
    if manifest is None:
        return dict.fromkeys(_ENVIRONMENT, "")
    image, host, process = manifest.image, manifest.environment.host, manifest.environment.process
    known = dict(leaves(process))
    config = dict(leaves(manifest.experiment.get("config")))
    names = {gpu.uuid: gpu.name for gpu in host.gpus}
    gpus = dict.fromkeys(names.get(uuid) or uuid for uuid in manifest.environment.gpu.uuids)
    values = (
        *(image.id or "", short(image.id), image.name or ""),
        *(host.cpu, ", ".join(gpus) or "none", known.get("threads", ""), host.system),
        *(known.get("versions.python", ""), known.get("versions.torch", "")),
        *(config.get("seed", ""), view.ground.took, manifest.harness.version),
    )
    return dict(zip(_ENVIRONMENT, values, strict=True))
