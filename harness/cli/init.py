"""`harness init`."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

import click

from harness.cli.group import cli, print_json, python_option, the_store
from harness.errors import UsageError


@cli.command(context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
@click.option("--yes", is_flag=True, help="Ask nothing: take every proposal.")
@click.option("--check", is_flag=True, help="List everything that is still missing for the experiments here.")
@python_option("The Python that trains today, for the trial. Default: the active environment's.")
@click.option("--json", "as_json", is_flag=True, help="Print what was written and what was not found out as JSON.")
@click.pass_obj
def init(root: Path, /, command: tuple[str, ...], yes: bool, check: bool, python: Path | None, as_json: bool) -> int:
    """Write an experiment for your repository, with its lock, and learn from a short trial what it trains.

    COMMAND is the command that trains, as you type it (`harness init python train.py --epochs 3`), or a script alone.
    Without one, the README and the code are looked at. Nothing of yours is changed but .gitignore, which gets /runs/.

    Exit codes: 0 written, 2 usage. With --check: that of the first experiment that would be stopped.

    Written: pipelines/experiments/NAME.yaml, lockfiles/cpu.in and cpu.lock (or cuda), from your requirements. Then
    commit them, and `harness certify NAME`.
    """
    from harness.report.console import Progress
    from harness.system.project import EXPERIMENTS
    from harness.workflow import init as workflow

    if behind := {"--yes"} & set(command):
        problem = f"{min(behind)} stands behind the command, which gets all words that follow it"
        raise UsageError(problem, f"write it before: harness init {min(behind)} {command[0]}")
    if not yes and not check and not sys.stdin.isatty():
        raise UsageError("there is no terminal to ask questions on", "use --yes, which takes every proposal")

    def ask(question: str, default: str) -> str:
        if yes:
            click.echo(f"  {question}: {default}", err=True)
            return default
        return str(click.prompt(f"  {question}", default=default, err=True))

    if check:
        return _check(root, python, as_json=as_json)
    progress = Progress()
    made = workflow.init(root, command, ask, the_store(), progress, python=python)
    if as_json:
        print_json(dataclasses.asdict(made))
        return 0
    for path in made.written:
        click.echo(f"wrote {path}")
    for text in made.unknown:
        click.echo(f"not found out: {text}")
    if made.unknown:
        file = f"{EXPERIMENTS / made.experiment}.yaml"
        click.echo(f"first settle what was not found out: edit {file}, or remove it and run init again")
    click.echo(f"next: git add -A && git commit -m 'an experiment' && harness certify {made.experiment}")
    return 0


def _check(root: Path, python: Path | None, *, as_json: bool) -> int:
    """What `certify --plan` finds of every experiment; the exit code of the first that would be stopped."""
    from harness.documents.plan import render_plan
    from harness.runs.request import Request
    from harness.system.project import EXPERIMENTS
    from harness.workflow.plan import plan

    names = sorted(path.stem for path in (root / EXPERIMENTS).glob("*.yaml"))
    if not names:
        raise UsageError(f"there is no experiment in {root / EXPERIMENTS}", "write one: harness init SCRIPT")
    plans = [plan(Request(root=root, name=name, python=python), the_store()) for name in names]
    if as_json:
        print_json([one.to_json() for one in plans])
    else:
        click.echo("\n\n".join(render_plan(one) for one in plans))
    return next((one.exit_code for one in plans if one.exit_code), 0)
