"""`harness certify`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from harness.cli.group import cli, json_option, offline_option, print_json, running_options, the_store


@cli.command()
@click.argument("experiment")
@running_options
@click.option(
    "--allow-dirty",
    is_flag=True,
    envvar="ALLOW_DIRTY",
    show_envvar=True,
    help="Certify uncommitted code; nobody can replay it.",
)
@click.option(
    "--steps",
    type=int,
    metavar="N",
    envvar="STEPS",
    show_envvar=True,
    help="Train only the first N steps of each run, with the full schedule, and stop at the first difference.",
)
@click.option(
    "--sweep",
    type=click.IntRange(1, 400),
    metavar="N",
    envvar="SWEEP",
    show_envvar=True,
    help="Kill N more trainings at random micro-batches and writes, one each; the verdict says what bound follows.",
)
@click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="KEY=VALUE",
    envvar="SET",
    show_envvar=True,
    help="Set a key of the experiment for this run, e.g. config.lr=0.001; the verdict says so. May be repeated.",
)
@click.option(
    "--continue",
    "continues",
    is_flag=True,
    envvar="CONTINUE",
    show_envvar=True,
    help="Go on with the newest certify of this experiment and commit that was cut off: what it has finished, and what "
    "is still as it was, is not trained again. Where there is none, a new one begins.",
)
@click.option(
    "--plan",
    "only_plan",
    is_flag=True,
    envvar="PLAN",
    help="Print what would run, how long it takes, what it needs, and all that would stop it. Runs nothing.",
)
@offline_option
@json_option("the verdict, or the plan,")
@click.pass_obj
def certify(
    root: Path,
    /,
    experiment: str,
    allow_dirty: bool,
    steps: int | None,
    sweep: int | None,
    overrides: tuple[str, ...],
    continues: bool,
    only_plan: bool,
    offline: Path | None,
    as_json: bool,
    **running: Any,
) -> int:
    """Find out whether an experiment is reproducible: train it twice, kill and resume it, and compare every bit.

    EXPERIMENT is a name in pipelines/experiments/ of a clean git checkout, or the path of the file there. Trainings run
    in containers, or on this host where there is no engine. The results are in runs/EXPERIMENT/<run id>/: verdict.json,
    manifest.json, certificate.json, report.html, summary.md, junit.xml, and one folder per training.

    Exit codes: 0 certified, 1 diverged, 2 usage, 3 inconclusive, 4 vetoed by the review, 6 this machine lacks
    something.
    """
    from harness.report.console import Progress, print_summary
    from harness.runs.request import Request
    from harness.workflow import certify

    asked: dict[str, Any] = {"allow_dirty": allow_dirty, "steps": steps, "overrides": overrides, "continues": continues}
    request = Request(root=root, name=experiment, sweep=sweep, **asked, **running)
    if only_plan:
        from harness.documents.plan import render_plan
        from harness.workflow.plan import plan

        planned = plan(request, the_store(offline))
        if as_json:
            print_json(planned.to_json())
        else:
            click.echo(render_plan(planned))
        return planned.exit_code
    with Progress() as progress:
        result = certify.certify(request, the_store(offline), progress)
    if as_json:
        click.echo((result.folder / "verdict.json").read_text(encoding="utf-8"), nl=False)
    else:
        print_summary(result.verdict, result.manifest, result.documents)
    return result.exit_code
