"""`harness extract`."""

from __future__ import annotations

from pathlib import Path

import click

from harness.cli.group import cli, json_option, print_json, tell


@cli.command()
@click.argument("path", metavar="ARCHIVE", type=click.Path(path_type=Path))
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="The folder to write, which is not there yet. Default: here, called as the archive is.",
)
@json_option("what was written")
@click.pass_obj
def extract(root: Path, path: Path, output: Path | None, as_json: bool) -> int:
    """Take the files of an archive out, under their names: report, verdict, ledgers, checkpoints, code.

    Form, digests and signature are checked first, and nothing is written outside of the folder. Nothing is judged: that
    is `harness verify`, of the archive or of the folder. Image, packages and inputs of a full archive stay in it, where
    `harness replay` finds them.

    Exit codes: 0 written, 2 no archive or the folder is there, 5 the archive was changed, 6 no room or no permission.
    """
    from harness.workflow.extract import extract as extracted

    result = extracted(path, output, root, (lambda _: None) if as_json else tell)
    if as_json:
        print_json(result.to_json())
        return 0
    if result.not_archived:
        tell(f"not in the archive, as they are no files: {', '.join(result.not_archived[:3])}, …")
    tell(f"signed by {result.signer.name or 'a key that nobody here knows'} (key {result.signer.key_id})")
    tell(f"open {result.folder / 'report.html'}; to check the verdict: harness verify {result.folder}")
    click.echo(result.folder)
    return 0
