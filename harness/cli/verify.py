"""`harness verify`."""

from __future__ import annotations

import json
from pathlib import Path

import click

from harness.cli.group import cli, tell


@cli.command()
@click.argument("path", metavar="ARCHIVE|FOLDER|CERTIFICATE", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print what was checked as JSON.")
@click.pass_obj
def verify(root: Path, path: Path, as_json: bool) -> int:
    """Check somebody's archive: recompute every digest, every signature, and the verdict from its evidence.

    Give an archive that `harness archive` wrote, the folder of a run, a folder of manifests/, or a
    certificate.intoto.jsonl. No engine, GPU, torch or network is needed, and nothing is trained: for that use
    `harness replay`.

    Exit codes: 0 and CONSISTENT if what it says, CERTIFIED or not, follows from what is in it; 3 and PARTIAL if it does
    and another version wrote it, whose review and words are not made again; 5 and TAMPERED if it does not; 2 if there
    is nothing to verify.
    """
    from harness import api
    from harness.report.results import print_verification

    result = api.verify(path, root=root, progress=None if as_json else tell)
    if as_json:
        click.echo(json.dumps(result.to_json(), indent=1, sort_keys=True))
    else:
        print_verification(result)
    return result.exit_code
