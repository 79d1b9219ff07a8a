"""The console: live progress on stderr while the workflow runs, the summary on stdout when it is over.

On a terminal rich draws; anywhere else lines are plain, few and without times, so that two logs can be compared.
"""

from __future__ import annotations

import math
import sys
import threading
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TextIO

from harness.report import sections, wording
from harness.report.fields import clean, document, duration, line, table, text, texts
from harness.report.replay import condensed, environment_rows, facts, preflight_rows, preflight_sentence
from harness.report.review import finding_rows, review_rows, review_sentence
from harness.report.text_table import can_draw, text_table

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress as Bars
    from rich.progress import TaskID

_COLOURS = {
    "CERTIFIED": "green",
    "DIVERGED": "red",
    "VETOED": "red",
    "TAMPERED": "red",
    "INCONCLUSIVE": "yellow",
    wording.NOT_CHECKED: "bright_black",
}
_MAX_ROWS = 40
_MAX_CHARS = 600
_MAX_SHOWN = 100
_MAX_NAMED = 5
_MIN_INTERVAL_S = 1.0
_SHARES = 10
_LABEL_STYLES = {
    "environment": "bold yellow",
    "differs": "red",
    "cause": "red",
    "problem": "yellow",
    "veto": "red",
    "fix": "green",
}
_Table = tuple[str, tuple[str, ...], list[tuple[str, ...]]]


def print_summary(
    verdict: dict[str, Any], manifest: dict[str, Any], paths: Mapping[str, object], *, stream: TextIO | None = None
) -> None:
    """The verdict for a person, on stdout; the last line is `VERDICT: CERTIFIED` or another word.

    That of a prefix has its extent behind it, so that nobody takes it for that of the experiment.

    Args:
        verdict: `verdict.json`, in whatever state it is.
        manifest: `manifest.json`.
        paths: what was written, name to path, such as `{"report": ".../report.html"}`.
        stream: where to write instead of stdout.
    """
    stream = stream or sys.stdout
    verdict, manifest = (
        document(condensed(value) if isinstance(value, dict) else {}, max_rows=_MAX_ROWS, max_chars=_MAX_CHARS)
        for value in (verdict, manifest)
    )
    word = wording.overall(verdict)
    tables = _tables(verdict)
    closing = _closing(verdict, manifest, paths)
    if can_draw(stream):
        _print_rich(_rich_console(stream), verdict, tables, closing)
    else:
        _print_plain(stream, verdict, tables, closing)
    scope = wording.scope_of(verdict)
    _write(stream, f"VERDICT: {word}" + (f" ({scope})" if scope else ""))
    stream.flush()


def _rich_console(stream: TextIO) -> Console:
    from rich.console import Console

    return Console(file=stream, highlight=False, markup=False, emoji=False)


def _write(stream: TextIO, shown: str) -> None:
    """One line, whatever the stream's encoding: what it cannot show is written as an escape."""
    encoding = getattr(stream, "encoding", None) or "utf-8"
    stream.write(shown.encode(encoding, "backslashreplace").decode(encoding) + "\n")


def _tables(verdict: dict[str, Any]) -> list[_Table]:
    """Title, header and rows of what is worth a table; tables without rows are left out."""
    oracles: list[tuple[str, ...]] = [
        (oracle.title, wording.words(oracle.verdict), oracle.compared, oracle.reason or oracle.how)
        for oracle in wording.oracle_texts(verdict)
    ]
    kills: list[tuple[str, ...]] = [
        (row["number"], row["place"], row["ending"], row["landed"], row["resumed"])
        for row in sections.interruptions(verdict)
    ]
    controls: list[tuple[str, ...]] = [
        (row["title"], row["outcome"], row["detail"]) for row in sections.controls(verdict)
    ]
    missing: list[tuple[str, ...]] = [
        (row["kind"], row["name"], row["state"], row["detail"], row["remedy"])
        for row in preflight_rows(verdict)
        if row["state"] == "gone" or (row["state"] != "present" and wording.overall(verdict) != "CERTIFIED")
    ]
    changed: list[tuple[str, ...]] = [*environment_rows(verdict)]
    found: list[_Table] = [
        ("Oracles", ("oracle", "verdict", "compared", "how"), oracles),
        ("What differs of the environment", ("", "archived", "today"), changed),
        ("Preflight", ("kind", "name", "state", "detail", "remedy"), missing),
        ("Interruptions", ("no.", "where", "how it ended", "as planned", "resumed"), kills),
        ("Controls", ("what was changed", "outcome", "detail"), controls),
        ("Review", ("item", "", "state", "shown by"), _open_items(verdict)),
    ]
    return [(title, header, rows) for title, header, rows in found if rows]


def _open_items(verdict: dict[str, Any]) -> list[tuple[str, ...]]:
    """The items of the checklist that neither hold nor do not apply; the reports have all."""
    rows = [row for row in review_rows(verdict.get("review")) if row["state"] not in ("holds", "does not apply")]
    shown = [(row, row["shown"][0] if row["shown"] else "") for row in rows]
    return [
        (row["id"], row["title"], row["state"], first if len(first) <= _MAX_SHOWN else f"{first[:_MAX_SHOWN]} ...")
        for row, first in shown
    ]


def _closing(verdict: dict[str, Any], manifest: dict[str, Any], paths: Mapping[str, object]) -> list[tuple[str, str]]:
    """(label, text) after the tables: where it differs and why, what kept it from a certificate, what was written."""
    cause = table(verdict.get("cause"))
    found = [*facts(verdict), ("preflight", preflight_sentence(verdict))]
    found += [("environment", _environment(verdict)), ("differs", wording.divergence_sentence(verdict))]
    if cause:
        name = line(cause.get("class"))
        found.append(("cause", line(cause.get("title")) + (f" ({name})" if name else "")))
        found += [("evidence", line(entry)) for entry in texts(cause.get("evidence"))]
        found += [("ruled out", line(entry)) for entry in texts(cause.get("ruled_out"))]
        found.append(("fix", line(cause.get("fix"))))
    found.append(("review", review_sentence(verdict.get("review"))))
    found += [("veto", _finding(one)) for one in finding_rows(verdict.get("review")) if one["tone"] == "bad"]
    found += [("allowed", _finding(one)) for one in finding_rows(verdict.get("review"), "allowed")]
    found += [("problem", line(problem)) for problem in texts(verdict.get("problems"))]
    found += [("not checked", line(entry)) for entry in texts(verdict.get("not_checked"))]
    found.append(("compared", wording.compared_text(verdict.get("compared"))))
    found.append(("commit", line(wording.commit_of(verdict))))
    found.append(("took", duration(sections.total_seconds(manifest) or None)))
    found += [(clean(str(name)), clean(str(path))) for name, path in paths.items()]
    return [(label, shown) for label, shown in found if shown]


def _finding(one: dict[str, Any]) -> str:
    """A finding on one line, with what to do, or with the reason why it was allowed."""
    more = f"allowed: {one['allowed']}" if one["allowed"] else f"fix: {one['fix']}"
    return f"{one['place']}: {one['rule']} {one['message']}; {more}"


def _environment(verdict: dict[str, Any]) -> str:
    """The difference to the lock, with the first of the packages by name."""
    found = wording.environment_rows(verdict)
    named = [f"{kind} {name}" + (f" {before} -> {now}" if before and now else "") for kind, name, before, now in found]
    more = f" and {len(named) - _MAX_NAMED} more" if len(named) > _MAX_NAMED else ""
    sentence = wording.environment_sentence(verdict)
    return f"{sentence} ({', '.join(named[:_MAX_NAMED])}{more})" if sentence else ""


def _print_plain(stream: TextIO, verdict: dict[str, Any], tables: list[_Table], closing: list[tuple[str, str]]) -> None:
    _write(stream, line(wording.summary_of(verdict)))
    for title, header, rows in tables:
        _write(stream, f"\n{title}")
        _write(stream, text_table(rows, header))
    _write(stream, "")
    width = max((len(label) for label, _ in closing), default=0)
    for label, shown in closing:
        _write(stream, f"{label:<{width}}  {shown}")


def _print_rich(
    console: Console, verdict: dict[str, Any], tables: list[_Table], closing: list[tuple[str, str]]
) -> None:
    from rich import box
    from rich.padding import Padding
    from rich.table import Table
    from rich.text import Text

    word = wording.overall(verdict)
    console.print()
    console.print(
        Text(f" {word} ", style=f"bold reverse {_COLOURS[word]}"), Text(wording.title_of(verdict), style="bold")
    )
    console.print(Padding(Text(text(wording.summary_of(verdict))), (1, 2)))
    for title, header, rows in tables:
        shown = Table(
            *header, title=title, title_justify="left", box=box.SIMPLE_HEAD, title_style="bold", pad_edge=False
        )
        for row in rows:
            shown.add_row(*(Text(cell, style=_cell_style(cell)) for cell in row))
        console.print(shown)
    grid = Table.grid(padding=(0, 2))
    for label, value in closing:
        style = _LABEL_STYLES.get(label, "")
        grid.add_row(Text(label, style="bright_black"), Text(value, style=style, overflow="fold"))
    console.print(grid)
    console.print()


def _cell_style(cell: str) -> str:
    if cell in {wording.words(word) for word in _COLOURS}:
        return _COLOURS[cell.replace(" ", "_").upper()]
    styles = {"did not land": "red", "did not fail": "red", "warning": "yellow", "could not tell": "yellow"}
    return styles.get(cell, "")


class Progress:
    """What the workflow tells a person while it runs; a context manager, safe to call from several threads.

    On a terminal there is one bar per run, off one a line at the first and last step of a run and at each tenth in
    between, at most one a second.
    """

    def __init__(
        self,
        stream: TextIO | None = None,
        *,
        is_live: bool | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Write to `stream` (stderr if None); draw live if `is_live`, or if None where the stream is a terminal."""
        self._stream = stream or sys.stderr
        self._clock = clock
        self._lock = threading.RLock()
        self._tasks: dict[tuple[str, int], TaskID] = {}
        self._last: dict[tuple[str, int], tuple[int, float]] = {}
        self._bars: Bars | None = None
        if can_draw(self._stream) if is_live is None else is_live:
            self._bars = _bars(_rich_console(self._stream))

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
        where = wording.place({"kind": kind, "step": step})
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
                _write(self._stream, shown)
                self._stream.flush()
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
