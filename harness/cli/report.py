"""`harness report`."""

from __future__ import annotations

import json
from pathlib import Path

import click

from harness.cli.group import cli, tell


@cli.command()
@click.argument("run", metavar="RUN|ARCHIVE|FOLDER")
@click.option("--output", type=click.Path(file_okay=False, path_type=Path), help="Where to; else report-<run id> here.")
@click.option("--json", "as_json", is_flag=True, help="Print what was written as JSON.")
@click.pass_obj
def report(root: Path, run: str, output: Path | None, as_json: bool) -> int:
    """Render a run's documents again from its evidence: report.html, summary.md, junit.xml, badge.svg, macros.tex.

    RUN is a run's folder or id, or an experiment's name for its latest run; an archive and a folder of manifests/ will
    do as well. Nothing is judged again (`harness verify` does that), and equal evidence gives equal bytes.
    """
    from harness.workflow.report import report as rendered

    result = rendered(root, run, output, (lambda _: None) if as_json else tell)
    if as_json:
        click.echo(json.dumps(result.to_json(), indent=1, sort_keys=True))
        return 0
    words = {True: "as before", False: "not as before", None: "new"}
    for name, path in result.documents.items():
        click.echo(f"{path}  ({words[result.is_same[name]]})")
    return 0
