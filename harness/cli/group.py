"""The group that every command is in, and what several commands share."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

import harness
from harness.system.store import Store, open_store

_ROOT_HELP = "The checkout of your project."


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(harness.__version__, prog_name="harness")
@click.option(
    "--root",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    default=Path(),
    show_default="here",
    help=_ROOT_HELP,
)
@click.pass_context
def cli(context: click.Context, root: Path) -> None:
    """Find out whether a training gives the same bits when it is run again, and when it is killed and resumed.

    Start with `harness doctor`, `harness review PATH` and `harness certify EXPERIMENT`.

    Exit codes: 0 certified, 1 diverged, 2 wrong usage or configuration, 3 inconclusive, 4 vetoed, 5 tampered, 6 this
    machine lacks something (an engine, disk space), 70 internal error, 130 interrupted (Ctrl-C, SIGTERM, SIGHUP). Under
    `make` every failure is 2: read verdict.json there.

    With --json, stdout holds one JSON value; where a command fails, its `error`, `remedy` and `exit_code`.
    """
    context.obj = root.resolve()


def the_store(offline: Path | None = None) -> Store:
    """The cache: HARNESS_CACHE, or its usual place; `offline` is a folder that `harness fetch` wrote."""
    return open_store(None, os.environ, tell, offline=offline)


def json_option(what: str) -> Callable[[Any], Any]:
    """`--json`: one JSON value on stdout, whatever happens; where nothing can be answered, `main` prints the error."""
    return click.option("--json", "as_json", is_flag=True, help=f"Print {what} as JSON.")


def print_json(value: object) -> None:
    """The answer of a command to `--json`."""
    click.echo(json.dumps(value, indent=1, sort_keys=True))


def tell(text: str) -> None:
    """A line of progress, on stderr."""
    click.echo(f"  {text}", err=True)


offline_option = click.option(
    "--offline",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    metavar="DIR",
    envvar="OFFLINE",
    show_envvar=True,
    help="Fetch nothing: take what is needed from a folder that `harness fetch` wrote, and from the cache.",
)


class _Interpreter(click.Path):
    """A program by its path, or by a name that PATH has, as in a shell: `python3.12`."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        is_name = "/" not in str(value) and not Path(value).exists()
        return super().convert(shutil.which(value) or value if is_name else value, param, ctx)


def python_option(text: str) -> Callable[[Any], Any]:
    """`--python`; `text` is its help."""
    kind = _Interpreter(path_type=Path)
    return click.option("--python", type=kind, envvar="HARNESS_PYTHON", show_envvar=True, help=text)


RUNNING = (
    click.option(
        "--runner",
        type=click.Choice(["auto", "docker", "host"]),
        default="auto",
        envvar="RUNNER",
        show_envvar=True,
        help="`auto` trains in containers, or on this host, saying so, where there is no container engine.",
    ),
    click.option(
        "--engine",
        type=click.Choice(["auto", "none"]),
        default="auto",
        envvar="ENGINE",
        show_envvar=True,
        help="`auto` uses the running engine; as root on Debian or Ubuntu it can install docker.io and start it.",
    ),
    click.option(
        "--gpu",
        metavar="UUID|INDEX,...",
        envvar="GPU",
        show_envvar=True,
        help="Which GPUs to use. Default: the least used.",
    ),
    python_option("Train on this host with this interpreter. The verdict lists how it differs from the lockfile."),
)


def running_options(command: Any) -> Any:
    for option in reversed(RUNNING):
        command = option(command)
    return command
