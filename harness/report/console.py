"""The console: live progress on stderr while the workflow runs, the summary on stdout when it is over.

On a terminal rich draws; anywhere else lines are plain, few and without times, so that two logs can be compared.
"""

from __future__ import annotations

import dataclasses
import math
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, TextIO

from harness.documents.manifest import Manifest
from harness.documents.verdict import Verdict
from harness.report.kill_words import place_text
from harness.report.printer import STYLES, Printer, can_draw, rich_console
from harness.report.review import FindingView
from harness.report.tables import Cell, Kind, Table, table
from harness.report.text import clean, duration, few, line
from harness.report.view import View

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress as Bars
    from rich.progress import TaskID

_MAX_ROWS = 40
_MAX_CHARS = 600
_MAX_NAMED = 5
_MIN_INTERVAL_S = 1.0
_SHARES = 10
_LABEL_STYLES = {
    "environment": "bold yellow",
    "cause": "red",
    "problem": "yellow",
    "veto": "red",
    "repair": "green",
}
_PATCH_STYLES = {"+": "green", "-": "red", "@": "cyan"}


def print_summary(
    verdict: Verdict, manifest: Manifest | None, paths: Mapping[str, object], *, stream: TextIO | None = None
) -> None:
    """The verdict for a person, on stdout; the last line is `VERDICT: CERTIFIED` or another word.

    That of a prefix, or with something set for this run, says so behind it, so that nobody takes it for that of the
    experiment.
    """
    printer = Printer(stream)
    view = View(verdict, manifest, max_rows=_MAX_ROWS, max_chars=_MAX_CHARS)
    printer.line(f"{view.title}: {view.word}", f"bold {STYLES[view.word.tone]}")
    printer.line(line(view.verdict.summary))
    _print_divergence(printer, view)
    for one in _tables(view):
        printer.table(one)
    printer.line()
    printer.pairs([*_closing(view), *((clean(name), clean(str(path))) for name, path in paths.items())], _LABEL_STYLES)
    printer.line(f"VERDICT: {view.word}" + (f" ({view.scope})" if view.scope else ""))


def _print_divergence(printer: Printer, view: View) -> None:
    """What a person asks first: which state came back, which tensors differ, what to do."""
    found, cause = view.divergence, view.verdict.cause
    printer.table(found.state)
    if found.state_note:
        printer.line(found.state_note)
    printer.table(found.varied)
    printer.table(found.tensors)
    if cause is not None:
        printer.line()
        printer.pairs([("repair", cause.fix)], _LABEL_STYLES)
        for text in found.patch:
            printer.line(f"    {text}", _PATCH_STYLES.get(text[:1], ""))
        printer.pairs([("next", found.next), ("more", found.page)])


def _tables(view: View) -> Iterator[Table]:
    columns: dict[str, Kind] = {"Check": "key", "Verdict": "text", "Compared": "text", "How": "long"}
    rows: list[tuple[Cell, ...]] = [(one.title, one.state, one.compared, one.reason or one.how) for one in view.checks]
    yield table("Checks", columns, rows)
    if view.replay:
        yield view.replay.environment
        # Where there is a certificate, what could be fetched was fetched.
        yield view.replay.needs("gone", *(() if view.word.tone == "good" else ("unknown", "fetchable")))
    yield view.kills
    yield view.sweep
    yield dataclasses.replace(view.controls, title="Negative controls")
    if view.review:
        yield view.review.open_items


def _closing(view: View) -> Iterator[tuple[str, str]]:
    """(label, text) after the tables: where it differs and why, what went wrong, what was not checked."""
    verdict = view.verdict
    if view.replay:
        yield from view.replay.facts
        yield "preflight", view.replay.preflight
    yield "environment", _environment(view)
    if cause := verdict.cause:
        yield "cause", f"{cause.title} ({cause.kind})"
        yield from (("evidence", entry) for entry in cause.evidence)
        yield from (("ruled out", entry) for entry in cause.ruled_out)
        yield from (("it may be", entry) for entry in cause.candidates)
    if review := view.review:
        yield "review", review.sentence
        yield from (("veto", _finding(one)) for one in review.findings if one.tone == "bad")
        yield from (("allowed", _finding(one)) for one in review.allowed)
    yield from (("problem", problem) for problem in view.problems)
    yield from (("not checked", entry) for entry in view.not_checked)
    yield "compared", view.compared
    yield "sweep", view.sweep_sentence
    yield "varied", view.varied
    yield "commit", view.commit
    yield "took", view.ground.took


def _finding(one: FindingView) -> str:
    """A finding on one line, with what to do, or with the reason why it was allowed."""
    finding = one.finding
    more = f"allowed: {finding.allowed}" if finding.allowed else f"fix: {finding.fix}"
    return f"{one.place}: {finding.rule} {finding.message}; {more}"


def _environment(view: View) -> str:
    """How the packages differ from the lock, with the first of them by name."""
    named = [
        f"{kind} {name}" + (f" {before} -> {now}" if before and now else "")
        for kind, name, before, now in view.packages.rows
    ]
    return f"{view.packages_warning} ({few(named, _MAX_NAMED)})" if named else ""


class Progress:
    """What the workflow tells a person while it runs; a context manager, safe to call from several threads.

    On a terminal there is one bar per run, off one a line at the first and last step of a run and at each tenth in
    between, at most one a second.
    """

    def __init__(self, stream: TextIO | None = None, *, clock: Callable[[], float] = time.monotonic) -> None:
        """Write to `stream`, stderr if None; draw live where that is a terminal."""
        stream = stream or sys.stderr
        self._printer = Printer(stream)
        self._clock = clock
        self._lock = threading.RLock()
        self._tasks: dict[tuple[str, int], TaskID] = {}
        self._last: dict[tuple[str, int], tuple[int, float]] = {}
        self._bars: Bars | None = _bars(rich_console(stream)) if can_draw(stream) else None

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """End the live display; later calls still print."""
        with self._lock:
            for key in list(self._tasks):
                self._end_bar(key)

    def stage(self, name: str, detail: str = "") -> None:
        """A stage of the workflow begins."""
        self._line(f"{name}: {detail}" if detail else name, "bold")

    def done(self, stage: str, seconds: float) -> None:
        """A stage is over, after so many seconds."""
        self.close()
        took = duration(seconds)
        self._line(f"{stage}: done" + (f" in {took}" if took else ""), "green")

    def note(self, text: str) -> None:
        """Something worth knowing."""
        self._line(f"  {text}", "")

    def warn(self, text: str) -> None:
        """Something that a person should look at."""
        self._line(f"warning: {text}", "yellow")

    def kill(self, trajectory: str, run: int, kind: str, step: int | None) -> None:
        """A run was killed where it was to be."""
        where = place_text(kind, step)
        with self._lock:
            self._end_bar((trajectory, run))
            self._line(f"  {trajectory} run {run}: killed {where}", "red")

    def step(self, trajectory: str, run: int, step: int, total: int | None, loss: float | None) -> None:
        """A run completed an optimizer step; `total` is that of the whole training, None if it is not known."""
        shown_loss = "" if loss is None else f"loss {'NaN' if math.isnan(loss) else format(loss, '.4f')}"
        with self._lock:
            if self._bars is not None:
                self._advance((trajectory, run), step, total, shown_loss)
            elif self._is_due((trajectory, run), step, total):
                amount = f"{step}/{total}" if total else f"{step}"
                self._line(f"  {trajectory} run {run}: step {amount}  {shown_loss}".rstrip(), "")

    def _line(self, shown: str, style: str) -> None:
        shown = clean(shown.replace("\n", " "))
        with self._lock:
            if self._bars is None:
                self._printer.line(shown)
            else:
                from rich.text import Text

                self._bars.console.print(Text(shown, style=style))

    def _is_due(self, key: tuple[str, int], step: int, total: int | None) -> bool:
        """Whether a plain line is due: the first step, the last, or a new tenth and a second later."""
        now = self._clock()
        share = step * _SHARES // total if total and total > 0 else -1
        if key in self._last:
            last_share, last_time = self._last[key]
            is_new = share > last_share if share >= 0 else True
            if not (step == total and is_new) and not (is_new and now - last_time >= _MIN_INTERVAL_S):
                return False
        self._last[key] = (share, now)
        return True

    def _advance(self, key: tuple[str, int], step: int, total: int | None, loss: str) -> None:
        """Move a run's bar; a run that is complete leaves a line behind instead."""
        assert self._bars is not None
        if total and step >= total:
            self._end_bar(key)
            self._line(f"  {key[0]} run {key[1]}: step {step} of {total}  {loss}", "")
            return
        if key not in self._tasks:
            self._bars.start()
            self._tasks[key] = self._bars.add_task(clean(f"  {key[0]} run {key[1]}"), total=total, loss="")
        self._bars.update(self._tasks[key], completed=step, total=total, loss=loss)

    def _end_bar(self, key: tuple[str, int]) -> None:
        """Take a run's bar away; without bars the display ends, so that other output is not drawn over."""
        if self._bars is not None and key in self._tasks:
            self._bars.remove_task(self._tasks.pop(key))
            if not self._tasks:
                self._bars.stop()


def _bars(console: Console) -> Bars:
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bars

    return Bars(
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=32),
        MofNCompleteColumn(),
        TextColumn("{task.fields[loss]}", markup=False),
        TimeElapsedColumn(),
        console=console,
        transient=True,
        refresh_per_second=8,
    )
