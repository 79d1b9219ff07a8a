"""`harness replay`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from harness import errors
from harness.cli.group import cli, running_options, the_store


@cli.command()
@click.argument("record", metavar="COMMIT|ARCHIVE|FOLDER")
@click.argument("experiment", required=False, metavar="[EXPERIMENT]")
@click.option(
    "--against",
    metavar="COMMIT",
    envvar="AGAINST",
    show_envvar=True,
    help="Train the code, the locks and the experiment of COMMIT instead: did that change alter the numbers?",
)
@click.option(
    "--steps", type=int, metavar="N", envvar="STEPS", show_envvar=True, help="Run and compare only the first N steps."
)
@click.option(
    "--preflight", "only_preflight", is_flag=True, envvar="PREFLIGHT", help="Only look whether everything can be had."
)
@click.option("--json", "as_json", is_flag=True, help="Print verdict.json (or the preflight) instead of the summary.")
@running_options
@click.pass_obj
def replay(
    root: Path,
    /,
    record: str,
    experiment: str | None,
    against: str | None,
    steps: int | None,
    only_preflight: bool,
    as_json: bool,
    **running: Any,
) -> int:
    """Train an archived experiment again, and hold it against its record: every step, every file, bit for bit.

    The record is the one of COMMIT in manifests/ or runs/, an ARCHIVE, or the FOLDER of a run; it is verified first.
    The code and the locks are those of that commit. Before anything is built it is looked whether everything can still
    be had; --preflight does only that, with exit code 6 where something cannot. Everything is left in
    runs/EXPERIMENT/<run id>/. Equal bits are CERTIFIED on any machine; other bits are DIVERGED on hardware of the same
    kind, and INCONCLUSIVE elsewhere.
    """
    from harness.report.console import Progress, print_summary
    from harness.runs.request import Request
    from harness.workflow import replay

    request = replay.ReplayRequest(
        running=Request(
            root=root,
            name="",
            runner=running["runner"],
            engine=running["wanted"],
            gpu=running["gpu"],
            python=running["interpreter"],
            steps=steps,
        ),
        record=record,
        experiment=experiment,
        against=against,
    )
    try:
        with Progress() as progress:
            if only_preflight:
                return _print_preflight(replay.look_ahead(request, the_store(), progress), as_json)
            result = replay.replay(request, the_store(), progress)
    except errors.TamperedError:
        if not as_json:
            click.echo("VERDICT: TAMPERED")
        raise
    if as_json:
        click.echo(json.dumps(result.verdict, indent=1, sort_keys=True))
    else:
        print_summary(result.verdict, result.manifest, result.documents)
    return result.exit_code


def _print_preflight(found: Any, as_json: bool) -> int:
    """What can be had and what cannot; exit code 6 unless everything can."""
    from harness.documents.preflight import preflight_lines

    if as_json:
        click.echo(json.dumps({"seconds": found.seconds, "needs": [need.to_json() for need in found.needs]}, indent=1))
    else:
        for line in preflight_lines(found):
            click.echo(line)
        size = f", {found.fetch_bytes / 1e6:,.0f} MB to be fetched" if found.fetch_bytes else ""
        unasked = "nothing is known to be gone, and not everything answered"
        open_end = "it cannot be replayed here as things are" if found.gone else unasked
        word = "everything can be had" if found.can_be_had else open_end
        click.echo(f"PREFLIGHT: {word}{size} ({found.seconds:.1f} s)")
    return 0 if found.can_be_had else errors.HostError.exit_code
