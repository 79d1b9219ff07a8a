"""`harness report`."""

from __future__ import annotations

from pathlib import Path

import click

from harness.cli.group import cli, json_option, print_json, tell


@cli.command()
@click.argument("run", metavar="RUN|ARCHIVE|FOLDER")
@click.option(
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    help="The folder to write to. Default: report-<run id> here.",
)
@json_option("what was written")
@click.pass_obj
def report(root: Path, run: str, output: Path | None, as_json: bool) -> int:
    """Write a run's reports again from its evidence: report.html, summary.md and the others.

    RUN is a run's folder or id, an experiment's name for its latest run, an archive, or a folder of manifests/. The
    verdict is taken as it stands (`harness verify` recomputes it), and equal evidence gives equal bytes.

    Exit codes: 0 written, 2 no such run, 3 a document is missing, 5 one is malformed.
    """
    from harness.workflow.report import report as rendered

    result = rendered(root, run, output, (lambda _: None) if as_json else tell)
    if as_json:
        print_json(result.to_json())
        return 0
    words = {True: "same bytes as before", False: "differs from before", None: "new"}
    for name, path in result.documents.items():
        click.echo(f"{path}  ({words[result.is_same[name]]})")
    return 0
