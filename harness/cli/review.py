"""`harness review`."""

from __future__ import annotations

import contextlib
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

import harness
from harness import errors
from harness.cli.group import cli, running_options, the_store
from harness.system.store import disk_errors

if TYPE_CHECKING:
    from harness.review.target import Reviewed


@cli.command()
@click.argument("target")
@click.option(
    "--probe",
    "is_probed",
    is_flag=True,
    envvar="PROBE",
    help="Also run the experiment's `probe` command and measure its GPU memory.",
)
@click.option(
    "--format",
    "kind",
    type=click.Choice(["table", "sarif", "junit", "github", "json"]),
    default="table",
    show_default=True,
    help="`github`: annotations for GitHub Actions.",
)
@click.option("--json", "kind", flag_value="json", help="As --format json.")
@click.option(
    "--output", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE", help="Write to FILE instead of stdout."
)
@running_options
@click.pass_obj
def review(root: Path, /, target: str, is_probed: bool, kind: str, output: Path | None, **running: Any) -> int:
    """Find what makes training code irreproducible, by reading it: seeds, checkpoints, pins, data order and more.

    TARGET is a Python file or a folder, anywhere, or an experiment's name (its scripts and all that they import, as
    they are in the working tree). Nothing is run, except with --probe: that runs the experiment's `probe` command as
    its trainings are run, and shows how much memory each variant takes; --runner, --engine, --gpu and --python are
    for it.

    Exit codes: 0 no veto, 2 no such target, 3 it cannot be read, 4 a proven problem forbids a run.
    """
    from harness.report.console import Progress
    from harness.review import target as review_target
    from harness.system import project

    store = the_store()
    with Progress() as progress:
        probe = None
        if is_probed:
            from harness.runs.request import Request
            from harness.workflow.probe import probe as run_probe

            request = Request(root=root, name=target, **running)
            project.remember_checkout(store, root)
            probe = run_probe(request, store, progress)
        found = review_target.review_target(root, target, store, progress.note, probe)
    _print_review(found, target, kind, output)
    return errors.VetoError.exit_code if found.review.vetoes else 0


def _print_review(found: Reviewed, name: str, kind: str, output: Path | None) -> None:
    """The review in one of its formats, on stdout or into a file."""
    from harness.report.annotations import render_annotations
    from harness.report.review import print_review
    from harness.report.sarif import render_sarif

    # Code scanning and annotations want paths as they are seen from the folder that the command was given in.
    here = Path.cwd()
    base = f"{found.root.relative_to(here)}/" if found.root != here and found.root.is_relative_to(here) else ""
    if kind == "table":
        with disk_errors("writing the review"), contextlib.ExitStack() as stack:
            stream = stack.enter_context(output.open("w", encoding="utf-8")) if output else sys.stdout
            print_review(found.review, name, stream=stream)
        return
    text = {
        "sarif": lambda: render_sarif(found.review, version=harness.__version__, base=base),
        "junit": lambda: _junit(found, name),
        "github": lambda: render_annotations(found.review, base=base),
        "json": lambda: json.dumps(found.review.to_json(), indent=1, sort_keys=True) + "\n",
    }[kind]()
    if output:
        with disk_errors("writing the review"):
            output.write_text(text, encoding="utf-8")
    else:
        click.echo(text, nl=False)


def _junit(found: Reviewed, name: str) -> str:
    from harness.report.junit import render_review_junit  # its template needs the extra

    return render_review_junit(found.review, name)
