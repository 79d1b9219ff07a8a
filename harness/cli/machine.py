"""`harness doctor`, `harness fetch` and `harness gc`."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

import click

from harness import errors
from harness.cli.group import cli, json_option, offline_option, print_json, python_option, tell, the_store

if TYPE_CHECKING:
    from harness.workflow.gpu_check.report import Row


@cli.command()
@json_option("the findings")
@click.option(
    "--gpu",
    is_flag=False,
    flag_value="",
    metavar="[UUID|INDEX]",
    help="Certify, replay and measure on a GPU instead, for about 10 minutes; for a checkout of the harness. Writes "
    "docs/gpu-results/MODEL.json.",
)
@click.option("--check", "checks", multiple=True, envvar="CHECKS", help="With --gpu: make only this check. Repeatable.")
@python_option("With --gpu: train with this interpreter; without, with one that is made from lockfiles/cuda.lock.")
@offline_option
@click.pass_obj
def doctor(
    root: Path, as_json: bool, gpu: str | None, checks: tuple[str, ...], python: Path | None, offline: Path | None
) -> int:
    """Check what this machine has and what it lacks, with a remedy for each. Without --gpu nothing is changed.

    Exit codes: 0 nothing necessary is missing, 6 something is, or with --gpu a check failed.
    """
    from harness.workflow.doctor import examine

    if gpu is not None:
        from harness.report.console import Progress
        from harness.workflow.gpu_check.report import check_gpu

        with Progress() as progress:
            done = check_gpu(root, the_store(offline), progress, python=python, wanted=gpu or None, names=checks)
        return _print_checks(*done, as_json=as_json)
    findings = examine(root, the_store().root)
    if as_json:
        print_json([dataclasses.asdict(finding) for finding in findings])
    else:
        for finding in findings:
            click.echo(f"{finding.level:<8} {finding.name:<10} {finding.found}")
            if finding.remedy:
                click.echo(f"{'':<19} remedy: {finding.remedy}")
    missing = any(finding.level == "missing" for finding in findings)
    return errors.HostError.exit_code if missing else 0


def _print_checks(path: Path, rows: tuple[Row, ...], *, as_json: bool) -> int:
    from harness.report.printer import text_table

    if as_json:
        click.echo(path.read_text(encoding="utf-8"), nl=False)
    else:
        shown = [(row.name, row.outcome, f"{row.seconds:.0f} s", row.said.partition("\n")[0]) for row in rows]
        click.echo(text_table(shown, ("check", "", "", ""), (None, None, None, 90)))
        click.echo(f"results: {path}")
    return errors.HostError.exit_code if any(row.outcome == "failed" for row in rows) else 0


@cli.command()
@click.argument("experiment")
@click.option(
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    required=True,
    metavar="DIR",
    help="The folder, made if it is not there. Several experiments may share it.",
)
@click.pass_obj
def fetch(root: Path, experiment: str, output: Path) -> int:
    """Bring everything an experiment needs into a folder, for a machine without a network.

    Debian packages, wheels and inputs are written to DIR, each under its sha256. There, `harness certify --offline DIR`
    needs nothing else but the checkout.

    Exit codes: 0 done, 2 usage, 6 something cannot be fetched.
    """
    from harness.workflow.fetch import fetch as bring

    store = the_store()
    with store.in_use():
        fetched = bring(root, experiment, output, store, tell)
    click.echo(f"{output}: {fetched.num_files} files, {fetched.size_bytes / 1e6:,.0f} MB")
    click.echo(f"without a network: harness certify {experiment} --offline {output}")
    return 0


@cli.command()
@click.option("--dry-run", is_flag=True, envvar="DRY_RUN", show_envvar=True, help="Only list what would be removed.")
@json_option("the list")
@click.pass_obj
def gc(root: Path, dry_run: bool, as_json: bool) -> int:
    """Free disk space: remove images, cached files and runs that no checkout on this machine needs.

    Kept is what the locks, images and experiments of every checkout that used the cache still name. Of its runs, an
    experiment keeps the newest, the newest certified one, and those that manifests/ names. Prepared inputs and negative
    controls are removed when they were not used for 30 days. Images that containers use stay. What a harness that was
    killed left goes, too: its containers, running or not, and its temporary folders. Nothing is removed while another
    command uses the cache. Where a file of another checkout cannot be read, a note says which, and everything
    that it could name is kept.

    Exit codes: 0 done, 2 a lock or an experiment of this checkout is malformed (nothing was removed), 6 the cache is in
    use, or something could not be removed.
    """
    from harness.system import engine
    from harness.workflow.gc import collect

    try:
        client = engine.connect()
    except errors.HostError:
        client = None
    result = collect(root, the_store(), client, tell, dry_run=dry_run)
    if as_json:
        items = [dataclasses.asdict(item) for item in result.items]
        summary = {"dry_run": dry_run, "size_bytes": result.size_bytes, "notes": result.notes, "items": items}
        print_json(summary)
        return 0
    for item in result.items:
        click.echo(f"{item.kind:<15} {item.size_bytes / 1e6:>9,.1f} MB  {item.name}")
    for note in result.notes:
        click.echo(f"note: {note}")
    click.echo(f"{'would free' if dry_run else 'freed'} {result.size_bytes / 1e6:,.1f} MB ({len(result.items)} items)")
    return 0
