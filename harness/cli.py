"""The command line: declare arguments, call, present, exit code. Nothing is decided here."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import click

import harness
from harness import errors
from harness.host.store import Store, open_store

_ROOT_HELP = "The project's checkout."


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(harness.__version__, prog_name="harness")
@click.option(
    "--root", type=click.Path(file_okay=False, path_type=Path), default=Path(), show_default="here", help=_ROOT_HELP
)
@click.pass_context
def cli(context: click.Context, root: Path) -> None:
    """Certify that a training gives the same bits when it is run again, and when it is killed and resumed.

    Exit codes: 0 certified, 1 diverged, 2 usage or configuration, 3 inconclusive, 4 vetoed, 5 tampered, 6 environment
    (no engine, no disk), 70 internal error, 130 interrupted. `make` flattens them to 2: read verdict.json there.
    """
    context.obj = root.resolve()


def _store() -> Store:
    return open_store(None, os.environ)


@cli.command()
@click.argument("experiment")
@click.option(
    "--runner",
    type=click.Choice(["auto", "docker", "host"]),
    default="auto",
    envvar="RUNNER",
    show_envvar=True,
    help="`auto` takes containers, and the host with an announcement where no engine can be had.",
)
@click.option(
    "--engine",
    "wanted",
    type=click.Choice(["auto", "none"]),
    default="auto",
    envvar="ENGINE",
    show_envvar=True,
    help="`auto` uses the engine that answers or, as root on Debian or Ubuntu, installs docker.io and starts it.",
)
@click.option("--allow-dirty", is_flag=True, envvar="ALLOW_DIRTY", show_envvar=True, help="Certify uncommitted code.")
@click.option("--plan", "only_plan", is_flag=True, envvar="PLAN", help="Print what would run, with time and disk.")
@click.option("--json", "as_json", is_flag=True, help="Print verdict.json on stdout instead of the summary.")
@click.pass_obj
def certify(
    root: Path, experiment: str, runner: Any, wanted: Any, allow_dirty: bool, only_plan: bool, as_json: bool
) -> int:
    """Run EXPERIMENT straight, run it killed and resumed, compare everything bit for bit, and give a verdict.

    EXPERIMENT is a name in pipelines/experiments/. Everything is left in runs/EXPERIMENT/<run id>/:
    verdict.json, manifest.json, certificate.json, report.html, summary.md, junit.xml, and one folder per training.
    """
    from harness import workflow
    from harness.core.plan import render_plan
    from harness.report.console import Progress, print_summary

    request = workflow.Request(root=root, name=experiment, runner=runner, engine=wanted, allow_dirty=allow_dirty)
    if only_plan:
        click.echo(render_plan(workflow.plan(request, _store())))
        return 0
    with Progress() as progress:
        result = workflow.certify(request, _store(), progress)
    if as_json:
        click.echo(json.dumps(result.verdict, indent=1, sort_keys=True))
    else:
        print_summary(result.verdict, result.manifest, result.documents)
    return result.exit_code


@cli.command()
@click.argument("image")
@click.option("--check", is_flag=True, help="Build twice from nothing; the ids must be equal, else say what differs.")
@click.pass_obj
def build(root: Path, image: str, check: bool) -> int:
    """Build IMAGE (a folder in images/) from its lockfiles, without network."""
    from harness.host import builder, engine

    client = engine.ensure("auto", _tell)
    result = builder.build(client, image, root, _store(), _tell, check=check)
    stages = ", ".join(f"{name} {seconds:.1f} s" for name, seconds in result.seconds)
    click.echo(f"{result.tag} {result.image_id} {result.size_bytes / 1e6:,.0f} MB")
    click.echo(f"unchanged, already built ({stages})" if result.was_cached else stages)
    if not check:
        return 0
    record = result.rebuild
    for built in record.image_ids if record else ():
        click.echo(f"built from nothing: {built}")
    for difference in record.differences if record else ():
        click.echo(f"  differs: {difference.path}: {difference.how}")
    return 0 if record and record.is_identical else errors.EXIT_DIVERGED


@cli.command()
@click.argument("image")
@click.pass_obj
def lock(root: Path, image: str) -> int:
    """Resolve lockfiles/IMAGE.in into lockfiles/IMAGE.lock, every wheel with its hashes."""
    from harness.host.resolver import write_lock

    click.echo(f"wrote {write_lock(root, image, _store(), _tell)}")
    return 0


@cli.command()
@click.argument("a", type=click.Path(exists=True, path_type=Path))
@click.argument("b", type=click.Path(exists=True, path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print the comparison as JSON.")
def diff(a: Path, b: Path, as_json: bool) -> int:
    """Compare A and B bit for bit: two safetensors or .pt files, or two trajectory folders of a run.

    Tells which tensors differ, in how many elements, the largest distance in ULPs, and the first index. Exit code 0
    when everything is equal, 1 when something differs.
    """
    from harness.host.comparison import compare_paths
    from harness.report.difference import print_difference

    result = compare_paths(a, b)
    if as_json:
        click.echo(json.dumps(result.to_json(), indent=1, sort_keys=True))
    else:
        print_difference(result.to_json())
    return 0 if result.is_equal else errors.EXIT_DIVERGED


@cli.command()
@click.option("--json", "as_json", is_flag=True, help="Print the findings as JSON.")
@click.pass_obj
def doctor(root: Path, as_json: bool) -> int:
    """Look at what this machine can do, and say the remedy for the rest. Changes nothing."""
    import dataclasses

    from harness.host.doctor import examine

    findings = examine(root, _store().root)
    if as_json:
        click.echo(json.dumps([dataclasses.asdict(finding) for finding in findings], indent=1))
    else:
        for finding in findings:
            click.echo(f"{finding.level:<8} {finding.name:<10} {finding.found}")
            if finding.remedy:
                click.echo(f"{'':<19} remedy: {finding.remedy}")
    missing = any(finding.level == "missing" for finding in findings)
    return errors.EnvironmentError_.exit_code if missing else 0


def _tell(text: str) -> None:
    click.echo(f"  {text}", err=True)


def main(arguments: list[str] | None = None) -> None:
    """The only place that catches everything and the only one that exits."""
    try:
        code = cli.main(args=arguments, standalone_mode=False)
        sys.exit(code if isinstance(code, int) else 0)
    except errors.HarnessError as error:
        _fail(str(error), error.exit_code)
    except (KeyboardInterrupt, click.Abort):
        _fail("interrupted", errors.InterruptedError_.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except BrokenPipeError:
        sys.stdout = None
        sys.exit(0)
    except Exception as error:
        if os.environ.get("HARNESS_TRACEBACK"):
            raise
        where = error.__traceback__
        while where is not None and where.tb_next is not None:
            where = where.tb_next
        place = f"{Path(where.tb_frame.f_code.co_filename).name}:{where.tb_lineno}" if where else "?"
        problem = f"internal error: {type(error).__name__}: {error} ({place})"
        _fail(f"{problem}\n  remedy: report it with the output of HARNESS_TRACEBACK=1", errors.EXIT_INTERNAL)


def _fail(text: str, code: int) -> None:
    click.echo(f"error: {text}", err=True)
    sys.exit(code)


if __name__ == "__main__":
    main()
