"""The command line: declare arguments, call, present, exit code. Nothing is decided here."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

from harness import errors
from harness.cli import certify, comparing, images, machine, review
from harness.cli.group import cli

__all__ = ["certify", "cli", "comparing", "images", "machine", "main", "review"]


def main(arguments: list[str] | None = None) -> None:
    """The only place that catches everything and the only one that exits."""
    try:
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


def _fail(text: str, code: int) -> None:
    click.echo(f"error: {text}", err=True)
    sys.exit(code)
