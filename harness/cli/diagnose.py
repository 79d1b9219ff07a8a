"""`harness diagnose`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from harness import errors
from harness.cli.group import cli, json_option, running_options, the_store


@cli.command()
@click.argument("run", metavar="RUN|EXPERIMENT")
@click.option(
    "--times",
    type=int,
    default=5,
    show_default=True,
    metavar="N",
    help="How often the step is executed beside the straight run.",
)
@click.option("--confirm", is_flag=True, help="Also try what is named in a copy: set that state, or turn on a switch.")
@running_options
@json_option("the result")
@click.pass_obj
def diagnose(root: Path, /, run: str, times: int, confirm: bool, as_json: bool, **running: Any) -> int:
    """Name the first operator that differs in a run that DIVERGED, or the state that goes into it.

    RUN is a run's folder or id, or an experiment's name for its latest run. Its first divergent step is executed again,
    in the straight run and several times as a rerun or after a resume, and every operator of it is digested. The run
    itself is not changed.

    Exit codes: 0 named, 2 nothing to diagnose, 3 the step did not differ again, was not reached, or what was named was
    refuted, 6 this machine lacks something.
    """
    from harness.report.console import Progress
    from harness.report.diagnosis import print_diagnosis
    from harness.runs.request import Request
    from harness.workflow.diagnose import diagnose as diagnosed

    with Progress() as progress:
        request = Request(root=root, name="", **running)
        found = diagnosed(request, run, the_store(), progress, times=times, is_confirmed=confirm)
    if as_json:
        click.echo(found.write(), nl=False)
    else:
        print_diagnosis(found)
    return 0 if found.found != "nothing" and not found.is_refuted else errors.EvidenceError.exit_code
