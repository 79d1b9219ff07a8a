"""The command line: declare arguments, call, present, exit code. Nothing is decided here."""

from __future__ import annotations

import os
import signal
import sys
from itertools import takewhile
from pathlib import Path

import click

from harness import errors
from harness.cli import (
    archive,
    certify,
    diagnose,
    diff,
    extract,
    history,
    images,
    init,
    key,
    machine,
    replay,
    report,
    review,
    verify,
)
from harness.cli.group import cli, print_json
from harness.cli.streams import readers_may_leave
from harness.system.deferred_signals import signals_as_ctrl_c

__all__ = [
    "archive",
    "certify",
    "cli",
    "diagnose",
    "diff",
    "extract",
    "history",
    "images",
    "init",
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
    with readers_may_leave():
        _main(arguments)


def _main(arguments: list[str] | None) -> None:
    try:
        with signals_as_ctrl_c():
            code = cli.main(args=arguments, standalone_mode=False)
            sys.stdout.flush()
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        code = error.exit_code
    except (Exception, KeyboardInterrupt) as error:
        problem, remedy, code = _failure(error)
        if code == errors.EXIT_INTERNAL and os.environ.get("HARNESS_TRACEBACK"):
            raise
        click.echo(f"error: {problem}" + (f"\n  remedy: {remedy}" if remedy else ""), err=True)
        if "--json" in takewhile(lambda one: one != "--", sys.argv[1:] if arguments is None else arguments):
            print_json({"error": problem, "remedy": remedy or None, "exit_code": code})
    sys.exit(code if isinstance(code, int) else 0)


def _missing_of_linux(error: BaseException) -> str:
    """What this system's Python lacks, "" where that is not what went wrong."""
    if isinstance(error, ModuleNotFoundError) and error.name in ("fcntl", "resource"):
        return error.name
    if isinstance(error, AttributeError) and error.obj in (os, signal):
        return f"{error.obj.__name__}.{error.name}"
    return ""


def _failure(error: BaseException) -> tuple[str, str, int]:
    """What went wrong, what helps, and the exit code."""
    if missing := _missing_of_linux(error):
        remedy = "use a machine with Linux; docs/guide/machines.md says which commands run everywhere"
        return f"this command needs Linux: there is no {missing} here", remedy, errors.HostError.exit_code
    if isinstance(error, ModuleNotFoundError):
        error = errors.not_installed(error)
    if isinstance(error, errors.HarnessError):
        return error.problem, error.remedy, error.exit_code
    if isinstance(error, KeyboardInterrupt | click.Abort):
        return "interrupted", "", errors.Interrupted.exit_code
    if isinstance(error, click.ClickException):
        context = getattr(error, "ctx", None)
        return error.format_message(), f"see {context.command_path} --help" if context else "", error.exit_code
    where = error.__traceback__
    while where is not None and where.tb_next is not None:
        where = where.tb_next
    place = f"{Path(where.tb_frame.f_code.co_filename).name}:{where.tb_lineno}" if where else "?"
    problem = f"internal error: {type(error).__name__}: {error} ({place})"
    return problem, "report it with the output of HARNESS_TRACEBACK=1", errors.EXIT_INTERNAL
