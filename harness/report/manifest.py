"""What a manifest says: which processes trained, and what they ran on."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence

import yaml

from harness.documents.inputs import KINDS
from harness.documents.manifest import Manifest
from harness.report.curves import Curve
from harness.report.tables import Facts, Kind, Table, named, table
from harness.report.text import duration, leaves, line, safe, size


class ManifestView:
    """A manifest in the words of a report; all of it is empty for a run that ended before it wrote one.

    Attributes:
        manifest: the manifest itself, safe to show.
    """

    def __init__(self, manifest: Manifest | None, curves: Sequence[Curve], *, max_rows: int, max_chars: int) -> None:
        self._full, self._curves = manifest, curves
        self.manifest = safe(manifest, max_rows=max_rows, max_chars=max_chars)

    @property
    def seconds(self) -> float:
        """The stages' wall time together; 0 if none was recorded."""
        return sum(self.manifest.volatile.seconds.values()) if self.manifest else 0.0

    @property
    def took(self) -> str:
        """The same for a person."""
        return duration(self.seconds or None)

    @property
    def runs(self) -> Table:
        """One row a process that trained: how it ended, and what it reported to have used."""
        if not self.manifest or not self._full:
            return table("", {}, ())
        wall = {one.run: one.seconds for one in self.manifest.volatile.runs}
        reported = {f"{curve.trajectory}/{curve.run}": curve for curve in self._curves}
        rows = []
        for run in self.manifest.runs:
            name = f"{run.trajectory}/{run.number}"
            ended = f"killed ({run.killed_by})" if run.killed_by else "out of memory" if run.oom_killed else run.error
            facts = (f"{run.trajectory} {run.number}", run.mode, line(ended or "by itself"), str(run.exit_code))
            rows.append((*facts, duration(wall.get(name)), *usage(reported.get(name))))
        columns: dict[str, Kind] = {"Run": "key", "Command": "short", "Ended": "text", "Exit code": "number"}
        amounts = ("Wall time", "Steps", "Median step", "Slowest", "Recorder", "Memory", "GPU memory")
        return table("The runs", columns | dict.fromkeys(amounts, "amount"), rows, of=self._full.runs)

    @property
    def environment(self) -> tuple[tuple[str, Facts], ...]:
        """Groups of facts: machine, process, GPU, interpreter."""
        if not self.manifest:
            return ()
        given = self.manifest.environment
        groups = [("Machine", given.host.to_json()), ("Process", given.process), ("GPU", given.gpu.to_json())]
        groups.append(("Interpreter", given.interpreter.to_json() if given.interpreter else {}))
        named = {
            title: tuple((name.removeprefix("versions."), value) for name, value in leaves(group))
            for title, group in groups
        }
        named["GPU"] = named["GPU"] if given.gpu.uuids else (("", "none: this run used the CPU"),)
        return tuple((title, facts) for title, facts in named.items() if facts)

    @property
    def image(self) -> Facts:
        """The image's name and id, its locks and its rebuild."""
        if not self.manifest:
            return ()
        given = self.manifest.image
        facts = [("name", given.name or ""), ("id", given.id or ""), *sorted(given.locks.items())]
        rebuild = (given.model_extra or {}).get("rebuild")
        return named([*facts, *((f"rebuild {name}", value) for name, value in leaves(rebuild))])

    @property
    def inputs(self) -> Table:
        """One row an input, with what pins it."""
        rows = []
        for name, entry in sorted(self.manifest.inputs.items()) if self.manifest else ():
            sources = [(kind, getattr(entry, kind)) for kind in KINDS]
            reference = " ".join(f"{kind}:{line(value)}" for kind, value in sources if value)
            rows.append((name, reference, line(entry.version or entry.revision or ""), entry.sha256))
        return table("Inputs", {"Name": "key", "Reference": "code", "Version": "text", "sha256": "code"}, rows)

    @property
    def experiment(self) -> str:
        """The experiment as declared, in YAML."""
        experiment = self.manifest.experiment if self.manifest else {}
        return yaml.safe_dump(experiment, default_flow_style=None, allow_unicode=True, width=92) if experiment else ""


def usage(curve: Curve | None) -> tuple[str, ...]:
    """Steps, the median and the largest time of one, the recorder's share, memory, GPU memory; empty where unknown."""
    if curve is None or not curve.steps:
        return ("",) * 6
    timed = [value for value in curve.seconds if not math.isnan(value)]
    recorded = math.fsum(value for value in curve.recorder_seconds if not math.isnan(value))
    total = math.fsum(timed)
    return (
        f"{len(curve.steps):,}",
        _step_time(statistics.median(timed)) if timed else "",
        _step_time(max(timed)) if timed else "",
        f"{recorded / total:.0%}" if recorded and total > 0 else "",
        size(highest(curve.rss_bytes)),
        size(highest(curve.vram_bytes)),
    )


def highest(values: Iterable[int | None]) -> int | None:
    """The largest value that is known."""
    return max((value for value in values if value is not None), default=None)


def _step_time(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms" if 0 <= seconds < 1 else f"{seconds:.2f} s"
