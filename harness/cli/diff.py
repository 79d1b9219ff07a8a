"""`harness diff`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from harness import errors
from harness.cli.group import cli

if TYPE_CHECKING:
    pass


@cli.command()
@click.argument("a", type=click.Path(exists=True, path_type=Path))
@click.argument("b", type=click.Path(exists=True, path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print the comparison as JSON.")
def diff(a: Path, b: Path, as_json: bool) -> int:
    """Compare A and B bit for bit: two safetensors or .pt files, or two trajectory folders of a run.

    Tells which tensors differ, in how many elements, the largest distance in ULPs, and the first index. Exit code 0
    when everything is equal, 1 when something differs.
    """
    from harness.report.difference import print_difference
    from harness.runs.diff_folders import compare_paths

    result = compare_paths(a, b)
    if as_json:
        click.echo(json.dumps(result.to_json(), indent=1, sort_keys=True))
    else:
        print_difference(result.to_json())
    return 0 if result.is_equal else errors.EXIT_DIVERGED
