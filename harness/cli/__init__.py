"""The command line: declare arguments, call, present, exit code. Nothing is decided here."""

from __future__ import annotations

import os
import sys
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
    key,
    machine,
    replay,
    report,
    review,
    verify,
)
from harness.cli.group import cli
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
        sys.exit(code if isinstance(code, int) else 0)
    except errors.HarnessError as error:
        _fail(str(error), error.exit_code)
    except (KeyboardInterrupt, click.Abort):
        _fail("interrupted", errors.Interrupted.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except Exception as error:
        if os.environ.get("HARNESS_TRACEBACK"):
            raise
        if isinstance(error, ModuleNotFoundError) and error.name and not error.name.startswith("harness"):
            problem = f"this needs {error.name}, which is not installed"
            _fail(f"{problem}\n  remedy: {errors.INSTALL}", errors.HostError.exit_code)
        where = error.__traceback__
        while where is not None and where.tb_next is not None:
            where = where.tb_next
        place = f"{Path(where.tb_frame.f_code.co_filename).name}:{where.tb_lineno}" if where else "?"
        problem = f"internal error: {type(error).__name__}: {error} ({place})"
        _fail(f"{problem}\n  remedy: report it with the output of HARNESS_TRACEBACK=1", errors.EXIT_INTERNAL)


def _fail(text: str, code: int) -> None:
    click.echo(f"error: {text}", err=True)
    sys.exit(code)
