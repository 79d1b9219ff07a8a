"""The group that every command is in, and what several commands share."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click

import harness
from harness.system.store import Store, open_store

_ROOT_HELP = "The project's checkout."


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(harness.__version__, prog_name="harness")
@click.option(
    "--root", type=click.Path(file_okay=False, path_type=Path), default=Path(), show_default="here", help=_ROOT_HELP
)
@click.pass_context
def cli(context: click.Context, root: Path) -> None:
    """Certify that a training gives the same bits when it is run again, and when it is killed and resumed.

    Exit codes: 0 certified, 1 diverged, 2 usage or configuration, 3 inconclusive, 4 vetoed, 5 tampered, 6 environment
    (no engine, no disk), 70 internal error, 130 interrupted (Ctrl-C, SIGTERM, SIGHUP). `make` flattens them to 2: read
    verdict.json there.
    """
    context.obj = root.resolve()


def the_store() -> Store:
    """The cache, as the environment names it."""
    return open_store(None, os.environ, tell)


def tell(text: str) -> None:
    """A line of progress, on stderr."""
    click.echo(f"  {text}", err=True)


RUNNING = (
    click.option(
        "--runner",
        type=click.Choice(["auto", "docker", "host"]),
        default="auto",
        envvar="RUNNER",
        show_envvar=True,
        help="`auto` takes containers, and the host with an announcement where no engine can be had.",
    ),
    click.option(
        "--engine",
        "wanted",
        type=click.Choice(["auto", "none"]),
        default="auto",
        envvar="ENGINE",
        show_envvar=True,
        help="`auto` uses the engine that answers or, as root on Debian or Ubuntu, installs docker.io and starts it.",
    ),
    click.option(
        "--gpu",
        metavar="UUID|INDEX,...",
        envvar="GPU",
        show_envvar=True,
        help="Which GPUs; else the least used are taken.",
    ),
    click.option(
        "--python",
        "interpreter",
        type=click.Path(path_type=Path),
        envvar="HARNESS_PYTHON",
        show_envvar=True,
        help="Train with this interpreter, on the host. How it differs from the image's lock stands in the verdict.",
    ),
)


def running_options(command: Any) -> Any:
    """The options of every command that starts processes as an experiment's runs are."""
    for option in reversed(RUNNING):
        command = option(command)
    return command
