"""`harness build` and `harness lock`."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from harness import errors
from harness.cli.group import cli, tell, the_store

if TYPE_CHECKING:
    from harness.review.lock_rules import Finding


@cli.command()
@click.argument("image")
@click.option("--check", is_flag=True, help="Build twice from nothing; the ids must be equal, else say what differs.")
@click.option(
    "--second-engine",
    "other",
    default="",
    metavar="ADDRESS",
    help="With --check: an engine that does the second build, as in DOCKER_HOST. Without it, root gets one started.",
)
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    metavar="FOLDER",
    help="Write the image as an OCI layout as well, for skopeo, podman and archives.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
@click.pass_obj
def build(root: Path, image: str, check: bool, other: str, output: Path | None, as_json: bool) -> int:
    """Build IMAGE (a folder in images/) from its lockfiles, without network.

    What an earlier build left is used, unless --check is given. Exit code 1 when two builds differ.
    """
    from harness.images import builder, oci
    from harness.report.build import print_build
    from harness.system import checkouts, engine, git

    if other and not check:
        raise click.UsageError("--second-engine goes with --check")
    store = the_store()
    with store.in_use():
        checkouts.remember_checkout(store, root)
        client = engine.ensure("auto", tell)
        result = builder.build(client, image, root, store, tell, check=check, other=other)
        if output:
            digest = oci.write_oci(client, result, git.clean_commit(root), output, store)
            tell(f"{output}: OCI layout, manifest {digest}")
    if as_json:
        click.echo(json.dumps(dataclasses.asdict(result), indent=1))
    else:
        print_build(result, is_check=check)
    is_identical = result.rebuild is not None and result.rebuild.is_identical
    return 0 if is_identical or not check else errors.EXIT_DIVERGED


@cli.command()
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option("--upgrade", is_flag=True, help="Resolve as of now, and take newer versions than are locked.")
@click.option("--check", is_flag=True, help="Change nothing; look whether images can be built of the locks.")
@click.option(
    "--export",
    "kind",
    type=click.Choice(["requirements", "conda", "cyclonedx"]),
    help="Print the lock for pip, for conda, or as a bill of materials. Changes nothing.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the findings of --check as JSON.")
@click.pass_obj
def lock(root: Path, names: tuple[str, ...], upgrade: bool, check: bool, kind: Any, as_json: bool) -> int:
    """Resolve lockfiles/NAME.in into lockfiles/NAME.lock, everything pinned, every file with its hashes.

    With --check, NAME may be left out: the locks of all images and bases are looked at then. Exit code 2 if something
    is wrong with one of them.
    """
    from harness.images import locks
    from harness.packages import resolver
    from harness.system import checkouts

    if sum((upgrade, check, kind is not None)) > 1 or (as_json and not check):
        raise click.UsageError("--upgrade, --check and --export exclude each other; --json goes with --check")
    if not check and (len(names) != 1 if kind else not names):
        raise click.UsageError("which lock? for example: harness lock cpu")
    store = the_store()
    with store.in_use():
        if kind:
            click.echo(locks.export_lock(root, names[0], kind, store, tell), nl=False)
        elif check:
            return _print_findings(locks.check_locks(root, names, store, tell), as_json)
        else:
            checkouts.remember_checkout(store, root)
            for name in names:
                click.echo(f"wrote {resolver.write_lock(root, name, store, tell, upgrade=upgrade)}")
    return 0


def _print_findings(findings: tuple[Finding, ...], as_json: bool) -> int:
    if as_json:
        click.echo(json.dumps([dataclasses.asdict(finding) for finding in findings], indent=1))
    else:
        for finding in findings:
            click.echo(f"{finding.id}  {finding.where}: {finding.problem}\n         remedy: {finding.remedy}")
        click.echo(f"{len(findings)} findings" if findings else "nothing is wrong with the locks")
    return errors.UsageError.exit_code if findings else 0
