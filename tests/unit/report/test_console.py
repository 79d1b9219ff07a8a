from __future__ import annotations

import io
import math

import pytest

from harness.documents.manifest import Manifest
from harness.documents.verdict import Verdict
from harness.report.console import Progress, print_summary
from tests.made import hostile
from tests.made import report_data as data


class Terminal(io.StringIO):
    """A stream that says it is a terminal, and keeps what was written."""

    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def summary(verdict: Verdict, manifest: Manifest | None = None, stream: io.StringIO | None = None) -> str:
    stream = stream or io.StringIO()
    print_summary(verdict, manifest, {"report": "runs/tiny/report.html"}, stream=stream)
    return stream.getvalue()


@pytest.mark.parametrize("make", [io.StringIO, Terminal])
@pytest.mark.parametrize(
    ("verdict", "last"),
    [
        (data.CERTIFIED, "VERDICT: CERTIFIED"),
        (data.DIVERGED, "VERDICT: DIVERGED"),
        (data.INCONCLUSIVE, "VERDICT: INCONCLUSIVE"),
        (data.CERTIFIED | {"verdict": "VETOED"}, "VERDICT: VETOED"),
    ],
)
def test_the_last_line_is_the_verdict_alone(make: type, verdict: dict, last: str) -> None:
    assert summary(data.verdict(verdict), data.manifest(), make()).splitlines()[-1] == last


def test_off_a_terminal_the_summary_is_plain() -> None:
    shown = summary(data.verdict(data.DIVERGED), data.manifest())
    assert "\x1b" not in shown
    first = ("12 of 40 entries differ", "repair  Save torch.get_rng_state()", "Checks")
    assert sorted(first, key=shown.index) == list(first)
    assert "more  docs/causes/rng_not_restored.md" in shown
    assert "runs/tiny/report.html" in shown
    assert "━" not in shown


def test_by_default_the_summary_goes_to_stdout(capsys: pytest.CaptureFixture[str]) -> None:
    print_summary(data.verdict(), data.manifest(), {})
    captured = capsys.readouterr()
    assert captured.out.endswith("VERDICT: CERTIFIED\n")
    assert captured.err == ""


@pytest.mark.parametrize("attack", hostile.ATTACKS)
@pytest.mark.parametrize("make", [io.StringIO, Terminal])
def test_hostile_texts_cannot_forge_a_verdict_or_steer_the_terminal(make: type, attack: str) -> None:
    forged = attack + "\nVERDICT: CERTIFIED\n\x1b[2J\x1b]0;x\x07"
    verdict = hostile.with_texts(data.verdict(data.DIVERGED), forged)
    shown = summary(verdict, hostile.with_texts(data.manifest(), forged), make())
    shown.encode()
    assert "\x1b[2J" not in shown
    assert "\x1b]" not in shown
    assert "\x00" not in shown
    assert shown.splitlines()[-1] == "VERDICT: DIVERGED"
    if make is io.StringIO:
        assert [line for line in shown.splitlines() if line.startswith("VERDICT")] == ["VERDICT: DIVERGED"]


def test_a_stream_that_knows_only_ascii_gets_escapes() -> None:
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="ascii")
    print_summary(data.verdict(summary="gl\u00fcck"), None, {}, stream=stream)
    assert b"gl\\xfcck" in raw.getvalue()


def test_plain_progress_has_the_time_of_a_stage_and_no_escape() -> None:
    stream = io.StringIO()
    with Progress(stream, clock=Clock()) as progress:
        progress.stage("straight", "24 steps")
        progress.step("straight", 1, 1, 24, 3.25)
        progress.kill("resumed", 1, "after_step", 9)
        progress.note("the image is cached")
        progress.warn("the tree is dirty\x1b[31m")
        progress.done("straight", 41.23)
    assert stream.getvalue().splitlines() == [
        "straight: 24 steps",
        "  straight run 1: step 1/24  loss 3.2500",
        "  resumed run 1: killed right after step 9",
        "  the image is cached",
        "warning: the tree is dirty\\x1b[31m",
        "straight: done in 41 s",
    ]


def test_plain_progress_is_at_most_a_line_per_tenth() -> None:
    stream, clock = io.StringIO(), Clock()
    progress = Progress(stream, clock=clock)
    for step in range(1, 1001):
        clock.now += 5
        progress.step("straight", 1, step, 1000, 1.0)
    lines = stream.getvalue().splitlines()
    assert len(lines) == 11
    assert lines[-1] == "  straight run 1: step 1000/1000  loss 1.0000"


def test_plain_progress_is_at_most_a_line_a_second_but_never_misses_the_last_step() -> None:
    stream, clock = io.StringIO(), Clock()
    progress = Progress(stream, clock=clock)
    for step in range(1, 101):
        clock.now += 0.001
        progress.step("straight", 1, step, 100, math.nan)
    assert [line.split()[4] for line in stream.getvalue().splitlines()] == ["1/100", "100/100"]


def test_each_run_is_throttled_by_itself() -> None:
    stream = io.StringIO()
    progress = Progress(stream, clock=Clock())
    for run in (1, 2):
        progress.step("resumed", run, 3, None, None)
        progress.step("resumed", run, 4, None, None)
    assert stream.getvalue().splitlines() == ["  resumed run 1: step 3", "  resumed run 2: step 3"]


def test_on_a_terminal_a_run_has_a_bar_and_leaves_a_line() -> None:
    stream = Terminal()
    with Progress(stream) as progress:
        progress.stage("straight")
        for step in range(1, 25):
            progress.step("straight", 1, step, 24, 3.0)
        progress.done("straight", 41.2)
    shown = stream.getvalue()
    assert "straight run 1: step 24 of 24  loss 3.0000" in shown
    assert "straight: done in 41 s" in shown
    assert shown.count("\x1b[?25l") == shown.count("\x1b[?25h")


def test_the_display_ends_when_its_last_run_was_killed() -> None:
    stream = Terminal()
    progress = Progress(stream)
    progress.step("resumed", 1, 3, 24, 3.0)
    progress.kill("resumed", 1, "micro_batch", 4)
    shown = stream.getvalue()
    assert shown.count("\x1b[?25l") == shown.count("\x1b[?25h") == 1
    assert "killed in the middle of step 4" in shown


def test_by_default_progress_goes_to_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    Progress().note("hello")
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "  hello\n")
