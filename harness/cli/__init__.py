"""The command line: declare arguments, call, present, exit code. Nothing is decided here."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

import click

from harness import errors
from harness.cli import archive, certify, comparing, history, images, key, machine, replay, report, review, verify
from harness.cli.group import cli

__all__ = [
    "archive",
    "certify",
    "cli",
    "comparing",
    "history",
    "images",
    "key",
    "machine",
    "main",
    "replay",
    "report",
    "review",
    "verify",
]


def main(arguments: list[str] | None = None) -> None:
    """The only place that catches everything and the only one that exits.

    SIGTERM and SIGHUP take the way of Ctrl-C, and its exit code: containers go, the verdict is INCONCLUSIVE, 130.
    """
    try:
        with _signals_are_ctrl_c():
            code = cli.main(args=arguments, standalone_mode=False)
        sys.exit(code if isinstance(code, int) else 0)
    except errors.HarnessError as error:
        _fail(str(error), error.exit_code)
    except (KeyboardInterrupt, click.Abort):
        _fail("interrupted", errors.InterruptedError_.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except BrokenPipeError:
        sys.stdout = None
        sys.exit(0)
    except Exception as error:
        if os.environ.get("HARNESS_TRACEBACK"):
            raise
        where = error.__traceback__
        while where is not None and where.tb_next is not None:
            where = where.tb_next
        place = f"{Path(where.tb_frame.f_code.co_filename).name}:{where.tb_lineno}" if where else "?"
        problem = f"internal error: {type(error).__name__}: {error} ({place})"
        _fail(f"{problem}\n  remedy: report it with the output of HARNESS_TRACEBACK=1", errors.EXIT_INTERNAL)


@contextlib.contextmanager
def _signals_are_ctrl_c() -> Iterator[None]:
    """Raise KeyboardInterrupt at the first SIGINT, SIGTERM or SIGHUP, so that what has begun is cleaned up.

    GitHub's runner sends SIGINT and, 7.5 s later, SIGTERM (docs.github.com, "Workflow cancellation reference"): while
    the clean-up is on, the second is not to break it off. A second Ctrl-C is a person who insists, and does. What was
    ignored from the start (`nohup`, a shell's background jobs) stays ignored.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    has_begun = False

    def end(number: int, _frame: FrameType | None) -> None:
        nonlocal has_begun
        if number == signal.SIGINT or not has_begun:
            has_begun = True
            raise KeyboardInterrupt

    asked = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    kept = {number: signal.getsignal(number) for number in asked}
    heard = [number for number in asked if kept[number] is not signal.SIG_IGN]
    for number in heard:
        signal.signal(number, end)
    try:
        yield
    finally:
        for number in heard:
            # What comes now finds nothing to clean up; until the process has ended it must not hide the answer.
            signal.signal(number, signal.SIG_IGN if has_begun else kept[number])


def _fail(text: str, code: int) -> None:
    with contextlib.suppress(OSError):  # after SIGHUP there may be no terminal to tell it to
        click.echo(f"error: {text}", err=True)
    sys.exit(code)
