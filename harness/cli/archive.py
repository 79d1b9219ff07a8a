"""`harness archive`."""

from __future__ import annotations

import contextlib
from pathlib import Path

import click

from harness.cli.group import cli, json_option, print_json, tell, the_store


@cli.command()
@click.argument("run", metavar="RUN")
@click.option("--full", "is_full", is_flag=True, help="Include the image, wheels, Debian packages and inputs.")
@click.option(
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Where to write it; an older archive there is replaced, any other file is not. "
    "Default: <experiment>-<run id>.oci.tar beside the run's folder.",
)
@click.option("--key", metavar="NAME|PEM", help="Sign with this key: its name, or a PEM file.")
@click.option(
    "--manifest",
    "is_published",
    is_flag=True,
    help="Write the small, signed record that you commit, into manifests/, instead of an archive.",
)
@json_option("where it was written, its sha256 and its size")
@click.pass_obj
def archive(
    root: Path, run: str, is_full: bool, output: Path | None, key: str | None, is_published: bool, as_json: bool
) -> int:
    """Pack a run into one signed file that anybody can verify offline with `harness verify FILE`.

    RUN is a run's folder or id, or an experiment's name for its latest run. You need a key: `harness key create NAME`.
    The same run and key give the same bytes. With --full the file holds all that is needed to train again without a
    network.

    Exit codes: 0 written, 2 no such run or no key, 5 the run's files were changed after it finished.
    """
    from harness.archive.full import gather_full
    from harness.archive.run_folder import read_finished
    from harness.archive.writing import archive_name, check_target, publish, write_archive
    from harness.runs.run_folders import find_run
    from harness.signing.keys import load_signer

    folder = find_run(root, run)
    signer = load_signer(key)
    if is_published:
        if is_full or output:
            raise click.UsageError("--manifest cannot be combined with --full or --output")
        published = publish(folder, root / "manifests", signer)
        if as_json:
            print_json({"folder": str(published)})
        else:
            click.echo(published)
        return 0
    finished = read_finished(folder)
    target = output or folder.parent / archive_name(finished)
    check_target(target, folder)
    if target.exists():
        tell(f"{target} is replaced")
    with contextlib.ExitStack() as stack:
        store = the_store() if is_full else None
        if store is not None:
            stack.enter_context(store.in_use())
        full = stack.enter_context(gather_full(folder, finished.manifest, store, tell)) if store else None
        result = write_archive(folder, target, signer, full=full, progress=tell)
    tell(f"{result.num_files} files of evidence, {result.num_packages} packages and inputs, signed by {result.key_id}")
    if as_json:
        print_json({"archive": str(result.path), "sha256": result.digest, "size_bytes": result.size_bytes})
    else:
        tell(result.digest)
        click.echo(result.path)
    return 0
