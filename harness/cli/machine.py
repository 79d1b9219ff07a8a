"""`harness doctor` and `harness gc`."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from harness import errors
from harness.cli.group import cli, tell, the_store

if TYPE_CHECKING:
    pass


@cli.command()
@click.option("--json", "as_json", is_flag=True, help="Print the findings as JSON.")
@click.pass_obj
def doctor(root: Path, as_json: bool) -> int:
    """Look at what this machine can do, and say the remedy for the rest. Changes nothing."""
    from harness.workflow.doctor import examine

    findings = examine(root, the_store().root)
    if as_json:
        click.echo(json.dumps([dataclasses.asdict(finding) for finding in findings], indent=1))
    else:
        for finding in findings:
            click.echo(f"{finding.level:<8} {finding.name:<10} {finding.found}")
            if finding.remedy:
                click.echo(f"{'':<19} remedy: {finding.remedy}")
    missing = any(finding.level == "missing" for finding in findings)
    return errors.HostError.exit_code if missing else 0


@cli.command()
@click.option("--dry-run", is_flag=True, envvar="DRY_RUN", show_envvar=True, help="Only list what would go.")
@click.option("--json", "as_json", is_flag=True, help="Print what goes as JSON.")
@click.pass_obj
def gc(root: Path, dry_run: bool, as_json: bool) -> int:
    """Free images, caches and runs that no checkout on this machine refers to.

    Referred to is what the locks, images and experiments name of every checkout that used the cache and still exists.
    Of its runs, each experiment keeps the newest, the newest that was certified, and those that a file in manifests/
    names. Prepared inputs and controls cannot be attributed to a checkout: they go when they were not used for 30 days.
    An image that a container is made from stays. Nothing goes while another command works with the cache.
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
        click.echo(json.dumps(summary, indent=1))
        return 0
    for item in result.items:
        click.echo(f"{item.kind:<15} {item.size_bytes / 1e6:>9,.1f} MB  {item.name}")
    for note in result.notes:
        click.echo(f"note: {note}")
    click.echo(f"{'would free' if dry_run else 'freed'} {result.size_bytes / 1e6:,.1f} MB ({len(result.items)} things)")
    return 0
