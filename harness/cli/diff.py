"""`harness diff`."""

from __future__ import annotations

import json
from pathlib import Path

import click

from harness import errors
from harness.cli.group import cli


@cli.command()
@click.argument("a", type=click.Path(exists=True, path_type=Path))
@click.argument("b", type=click.Path(exists=True, path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print the comparison as JSON.")
def diff(a: Path, b: Path, as_json: bool) -> int:
    """Compare two checkpoints or two runs bit for bit, and show what differs.

    A and B are two safetensors or .pt files, or two trajectory folders of a run, such as runs/tiny/latest/straight and
    runs/tiny/latest/resumed. For each tensor that differs: in how many elements, the largest distance in ULPs, and the
    first index. Nothing is unpickled.

    Exit codes: 0 equal, 1 different, 2 usage, 3 a file cannot be read.
    """
    from harness import api
    from harness.report.results import print_difference

    result = api.diff(a, b)
    if as_json:
        click.echo(json.dumps(result.to_json(), indent=1, sort_keys=True))
    else:
        print_difference(result)
    return 0 if result.is_equal else errors.EXIT_DIVERGED
