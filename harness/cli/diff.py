"""`harness diff`."""

from __future__ import annotations

from pathlib import Path

import click

from harness import errors
from harness.cli.group import cli, json_option, print_json


@cli.command()
@click.argument("a", type=click.Path(exists=True, path_type=Path))
@click.argument("b", type=click.Path(exists=True, path_type=Path))
@json_option("the comparison")
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
        print_json(result.to_json())
    else:
        print_difference(result)
    return 0 if result.is_equal else errors.EXIT_DIVERGED
