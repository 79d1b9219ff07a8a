"""`harness replay`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from harness import errors
from harness.cli.group import cli, json_option, print_json, running_options, the_store

if TYPE_CHECKING:
    from harness.documents.preflight import Preflight


@cli.command()
@click.argument("record", metavar="COMMIT|ARCHIVE|FOLDER")
@click.argument("experiment", required=False, metavar="[EXPERIMENT]")
@click.option(
    "--against",
    metavar="COMMIT",
    envvar="AGAINST",
    show_envvar=True,
    help="Train COMMIT's code, locks and experiment instead: did the change alter the numbers?",
)
@click.option(
    "--steps", type=int, metavar="N", envvar="STEPS", show_envvar=True, help="Train and compare only the first N steps."
)
@click.option(
    "--preflight",
    "only_preflight",
    is_flag=True,
    envvar="PREFLIGHT",
    help="Only check that everything needed is still available. Exit code 6 if not.",
)
@json_option("the verdict, or the preflight,")
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
    """Train an old experiment again and compare every step and every file with its record, bit for bit.

    Name the record by its COMMIT (from manifests/ or runs/), or give an ARCHIVE or the FOLDER of a run. It is verified
    first. Code and locks are those of that commit. Before anything is built, the harness checks that every package and
    input is still available. The results are in runs/EXPERIMENT/<run id>/. Equal bits are CERTIFIED on any machine;
    different bits are DIVERGED on hardware of the same kind, and INCONCLUSIVE on other hardware.

    Exit codes: 0 certified, 1 diverged, 2 usage, 3 inconclusive, 5 the record was tampered with, 6 something is no
    longer available.
    """
    from harness.report.console import Progress, print_summary
    from harness.runs.request import Request
    from harness.workflow import replay

    request = replay.ReplayRequest(
        running=Request(root=root, name="", steps=steps, **running),
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
        click.echo((result.folder / "verdict.json").read_text(encoding="utf-8"), nl=False)
    else:
        print_summary(result.verdict, result.manifest, result.documents)
    return result.exit_code


def _print_preflight(found: Preflight, as_json: bool) -> int:
    """What is available and what is not; exit code 6 unless everything is."""
    from harness.documents.preflight import preflight_lines

    if as_json:
        print_json({"seconds": found.seconds, "needs": [need.to_json() for need in found.needs]})
    else:
        for line in preflight_lines(found):
            click.echo(line)
        size = f", {found.fetch_bytes / 1e6:,.0f} MB to download" if found.fetch_bytes else ""
        click.echo(f"PREFLIGHT: {_preflight_word(found)}{size} ({found.seconds:.1f} s)")
    return 0 if found.can_be_had else errors.HostError.exit_code


def _preflight_word(found: Preflight) -> str:
    if found.can_be_had:
        return "everything needed is available"
    if found.gone:
        return "it cannot be replayed here: something is no longer available"
    return "nothing is known to be missing, but not every source answered"
