"""`harness verify`."""

from __future__ import annotations

from pathlib import Path

import click

from harness.cli.group import cli, json_option, print_json, tell


@cli.command()
@click.argument("path", metavar="ARCHIVE|FOLDER|CERTIFICATE|EXPERIMENT", type=click.Path(path_type=Path))
@click.option(
    "--require",
    type=click.Choice(["CERTIFIED", "DIVERGED", "INCONCLUSIVE", "VETOED"]),
    help="End with 1 if it says another verdict.",
)
@click.option(
    "--signed-by",
    metavar="KEY",
    help="End with 1 if another key signed it. KEY is a key you trust, a key.json, or a key id.",
)
@json_option("what was checked")
@click.pass_obj
def verify(root: Path, path: Path, require: str | None, signed_by: str | None, as_json: bool) -> int:
    """Check somebody's archive: recompute every digest, every signature, and the verdict from its evidence.

    Give an archive that `harness archive` wrote, the folder of a run, a folder of manifests/, a
    certificate.intoto.jsonl, or an experiment's name for its newest run. No engine, GPU, torch or network is needed,
    and nothing is trained: for that use `harness replay`. A script asks for what it needs, and reads the exit code or
    the last line:

    \b
      harness verify FILE --require CERTIFIED --signed-by lab

    Exit codes: 0 and CONSISTENT if what it says, CERTIFIED or not, follows from what is in it; 1 and REFUSED if so, and
    it is not what --require or --signed-by ask for; 3 and PARTIAL if it follows and another version wrote it, whose
    review and words are not made again; 5 and TAMPERED if it does not follow; 2 if there is nothing to verify.
    """  # noqa: D301
    from harness import api
    from harness.report.results import print_verification
    from harness.signing.known_keys import key_id_of

    key_id = key_id_of(signed_by) if signed_by else None
    result = api.verify(path, root=root, progress=None if as_json else tell).held_to(require, key_id)
    if as_json:
        print_json(result.to_json())
    else:
        print_verification(result)
    return result.exit_code
