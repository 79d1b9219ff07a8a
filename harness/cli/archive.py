"""`harness archive`."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

import click

from harness.cli.group import cli, tell, the_store


@cli.command()
@click.argument("run", metavar="RUN")
@click.option("--full", "is_full", is_flag=True, help="Also the image, wheels, Debian packages and inputs.")
@click.option(
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    help="The file; else <experiment>-<run id>.oci.tar beside the run's folder.",
)
@click.option("--key", metavar="NAME|PEM", help="The key that signs: its name, or a PEM file.")
@click.option("--manifest", "is_published", is_flag=True, help="Write what a repository keeps into manifests/.")
@click.pass_obj
def archive(root: Path, run: str, is_full: bool, output: Path | None, key: str | None, is_published: bool) -> int:
    """Write RUN as one signed file that anybody can verify offline: `harness verify FILE`.

    RUN is a run's folder, its id, or the name of an experiment, of which the latest is taken. The same run and key give
    the same bytes. With --full the file holds all that is needed to run again without a network.
    """
    from harness.archive.full import gather_full
    from harness.archive.run_folder import read_finished
    from harness.archive.writing import archive_name, check_target, publish, write_archive
    from harness.signing.keys import load_signer
    from harness.workflow.recorded_run import find_run

    folder = find_run(root, run)
    signer = load_signer(key)
    if is_published:
        if is_full or output:
            raise click.UsageError("--manifest goes with neither --full nor --output")
        click.echo(publish(folder, root / "manifests", signer))
        return 0
    finished = read_finished(folder)
    target = output or folder.parent / archive_name(finished)
    check_target(target, folder)
    with contextlib.ExitStack() as stack:
        store = the_store() if is_full else None
        if store is not None:
            stack.enter_context(store.in_use())
        full = stack.enter_context(gather_full(folder, finished.manifest, store, tell)) if store else None
        result = write_archive(folder, target, signer, full=full, progress=tell)
    tell(f"{result.num_files} files of evidence, {result.num_packages} packages and inputs, signed by {result.key_id}")
    click.echo(json.dumps({"archive": str(result.path), "sha256": result.digest, "size_bytes": result.size_bytes}))
    return 0
