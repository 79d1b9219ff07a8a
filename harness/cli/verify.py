"""`harness verify`."""

from __future__ import annotations

import json
from pathlib import Path

import click

from harness.cli.group import cli, tell, the_store


@cli.command()
@click.argument("path", metavar="ARCHIVE|FOLDER|CERTIFICATE", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print what was checked as JSON.")
@click.pass_obj
def verify(root: Path, path: Path, as_json: bool) -> int:
    """Recompute everything that an archive says: every digest, every signature, and the verdict from the evidence.

    It takes an archive that `harness archive` wrote, the folder of a run, a folder of manifests/, or a
    certificate.intoto.jsonl, and needs no engine, GPU, torch or network.

    Exit code 0 and CONSISTENT when everything fits together: whatever the archive says, CERTIFIED or not, follows from
    what is in it. Exit code 5 and TAMPERED when something does not. Only `harness replay` trains again.
    """
    from harness.report.verification import print_verification
    from harness.workflow.verify import verify as verified

    result = verified(path, root, the_store(), (lambda _: None) if as_json else tell)
    if as_json:
        click.echo(json.dumps(result.to_json(), indent=1, sort_keys=True))
    else:
        print_verification(result.to_json())
    return result.exit_code
