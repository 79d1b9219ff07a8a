"""`harness build` and `harness lock`."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from harness import errors
from harness.cli.group import cli, json_option, print_json, tell, the_store

if TYPE_CHECKING:
    from harness.review.lock_rules import Finding


@cli.command()
@click.argument("image")
@click.option("--check", is_flag=True, help="Build twice from nothing and compare the image ids; show what differs.")
@click.option(
    "--second-engine",
    "other",
    default="",
    metavar="ADDRESS",
    help="With --check: the engine for the second build, as in DOCKER_HOST. Default: as root, one is started.",
)
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    metavar="FOLDER",
    help="Also write the image as an OCI layout, for skopeo, podman and archives.",
)
@json_option("the result")
@click.pass_obj
def build(root: Path, image: str, check: bool, other: str, output: Path | None, as_json: bool) -> int:
    """Build a container image from its lockfiles, without network.

    IMAGE is a folder in images/. An earlier build is reused, except with --check. You need a container engine.

    Exit codes: 0 built, 1 two builds differ, 2 usage, 6 there is no engine, or a package is not available.
    """
    from harness.images import builder, oci
    from harness.images.recipe import read_recipe
    from harness.report.results import print_build
    from harness.system import engine, git, project

    if other and not check:
        raise click.UsageError("--second-engine needs --check")
    store = the_store()
    with store.in_use():
        project.remember_checkout(store, root)
        read_recipe(root, image)  # what is wrong with it is said before an engine is started for it
        client = engine.ensure("auto", tell)
        result = builder.build(client, image, root, store, tell, check=check, other=other)
        if output:
            digest = oci.write_oci(client, result, git.clean_commit(root), output, store)
            tell(f"{output}: OCI layout, manifest {digest}")
    if as_json:
        print_json(result.to_json())
    else:
        print_build(result, is_check=check)
    is_identical = result.rebuild is not None and result.rebuild.is_identical
    return 0 if is_identical or not check else errors.EXIT_DIVERGED


@cli.command()
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option("--upgrade", is_flag=True, help="Resolve again as of now, and take newer versions.")
@click.option("--check", is_flag=True, help="Change nothing; check that images can be built from the locks.")
@click.option(
    "--export",
    "kind",
    type=click.Choice(["requirements", "conda", "cyclonedx"]),
    help="Print the lock for pip, for conda, or as a bill of materials. Changes nothing.",
)
@json_option("the findings of --check")
@click.pass_obj
def lock(root: Path, names: tuple[str, ...], upgrade: bool, check: bool, kind: Any, as_json: bool) -> int:
    """Pin everything that lockfiles/NAME.in asks for, with hashes, in lockfiles/NAME.lock.

    With --check, NAME may be left out: then the locks of all images and bases are checked.

    Exit codes: 0 written or nothing wrong, 2 usage, or something is wrong with a lock, 6 a package source does not
    answer.
    """
    from harness.images import locks
    from harness.packages import resolver
    from harness.system import project

    if sum((upgrade, check, kind is not None)) > 1 or (as_json and not check):
        raise click.UsageError("give only one of --upgrade, --check and --export; --json needs --check")
    if not check and (len(names) != 1 if kind else not names):
        raise click.UsageError("name a lock, for example: harness lock cpu")
    store = the_store()
    with store.in_use():
        if kind:
            click.echo(locks.export_lock(root, names[0], kind, store, tell), nl=False)
        elif check:
            return _print_findings(locks.check_locks(root, names, store, tell), as_json)
        else:
            project.remember_checkout(store, root)
            for name in names:
                click.echo(f"wrote {resolver.write_lock(root, name, store, tell, upgrade=upgrade)}")
    return 0


def _print_findings(findings: tuple[Finding, ...], as_json: bool) -> int:
    if as_json:
        print_json([dataclasses.asdict(finding) for finding in findings])
    else:
        for finding in findings:
            click.echo(f"{finding.id}  {finding.where}: {finding.problem}\n         remedy: {finding.remedy}")
        click.echo(f"{len(findings)} findings" if findings else "the locks are fine")
    return errors.UsageError.exit_code if findings else 0
