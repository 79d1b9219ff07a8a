"""The command line: declare arguments, call, present, exit code. Nothing is decided here."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

import harness
from harness import errors
from harness.host.store import Store, open_store

if TYPE_CHECKING:
    from harness.core.lint import Finding
    from harness.host.review.target import Reviewed

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


_RUNNING = (
    click.option(
        "--runner",
        type=click.Choice(["auto", "docker", "host"]),
        default="auto",
        envvar="RUNNER",
        show_envvar=True,
        help="`auto` takes containers, and the host with an announcement where no engine can be had.",
    ),
    click.option(
        "--engine",
        "wanted",
        type=click.Choice(["auto", "none"]),
        default="auto",
        envvar="ENGINE",
        show_envvar=True,
        help="`auto` uses the engine that answers or, as root on Debian or Ubuntu, installs docker.io and starts it.",
    ),
    click.option(
        "--gpu",
        metavar="UUID|INDEX,...",
        envvar="GPU",
        show_envvar=True,
        help="Which GPUs; else the least used are taken.",
    ),
    click.option(
        "--python",
        "interpreter",
        type=click.Path(path_type=Path),
        envvar="HARNESS_PYTHON",
        show_envvar=True,
        help="Train with this interpreter, on the host. How it differs from the image's lock stands in the verdict.",
    ),
)


def _running(command: Any) -> Any:
    """The options of every command that starts processes as an experiment's runs are."""
    for option in reversed(_RUNNING):
        command = option(command)
    return command


@cli.command()
@click.argument("experiment")
@_running
@click.option("--allow-dirty", is_flag=True, envvar="ALLOW_DIRTY", show_envvar=True, help="Certify uncommitted code.")
@click.option(
    "--steps",
    type=int,
    metavar="N",
    envvar="STEPS",
    show_envvar=True,
    help="Run only the first N steps of every training, with the whole schedule, and stop at the first difference.",
)
@click.option("--plan", "only_plan", is_flag=True, envvar="PLAN", help="Print what would run, with time and disk.")
@click.option("--json", "as_json", is_flag=True, help="Print verdict.json on stdout instead of the summary.")
@click.pass_obj
def certify(
    root: Path,
    experiment: str,
    runner: Any,
    wanted: Any,
    gpu: str | None,
    interpreter: Path | None,
    allow_dirty: bool,
    steps: int | None,
    only_plan: bool,
    as_json: bool,
) -> int:
    """Run EXPERIMENT straight, run it killed and resumed, compare everything bit for bit, and give a verdict.

    EXPERIMENT is a name in pipelines/experiments/. Everything is left in runs/EXPERIMENT/<run id>/:
    verdict.json, manifest.json, certificate.json, report.html, summary.md, junit.xml, and one folder per training.
    """
    from harness import workflow
    from harness.core.plan import render_plan
    from harness.report.console import Progress, print_summary

    request = workflow.Request(
        root=root,
        name=experiment,
        runner=runner,
        engine=wanted,
        allow_dirty=allow_dirty,
        gpu=gpu,
        python=interpreter,
        steps=steps,
    )
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
@click.argument("target")
@click.option("--probe", "is_probed", is_flag=True, envvar="PROBE", help="Measure the experiment's memory as well.")
@click.option(
    "--format",
    "kind",
    type=click.Choice(["table", "sarif", "junit", "github", "json"]),
    default="table",
    show_default=True,
    help="`github` are annotations for GitHub Actions.",
)
@click.option(
    "--output", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE", help="Write there, not on stdout."
)
@_running
@click.pass_obj
def review(root: Path, /, target: str, is_probed: bool, kind: str, output: Path | None, **running: Any) -> int:
    """Read TARGET's code and hold it against the checklist. Nothing of it is run, but for --probe.

    TARGET is an experiment's name (its scripts and all they import, as they stand in the working tree), or the path of
    a Python file or a folder, anywhere. Exit code 4 if something proven forbids a run, else 0. --probe runs the
    experiment's `probe` command in the sandbox of its runs, and tells what each way to save memory would give;
    --runner, --engine, --gpu and --python are for it.
    """
    from harness.host import checkouts
    from harness.host.review import target as review_target
    from harness.report.console import Progress

    store = _store()
    with Progress() as progress:
        probe = None
        if is_probed:
            from harness import workflow

            request = workflow.Request(
                root=root,
                name=target,
                runner=running["runner"],
                engine=running["wanted"],
                gpu=running["gpu"],
                python=running["interpreter"],
            )
            checkouts.remember_checkout(store, root)
            probe = workflow.probe(request, store, progress)
        found = review_target.review_target(root, target, store, progress.note, probe)
    _print_review(found, target, kind, output)
    return errors.VetoError.exit_code if found.review.vetoes else 0


def _print_review(found: Reviewed, name: str, kind: str, output: Path | None) -> None:
    """The review in one of its formats, on stdout or into a file."""
    from harness.core.review.checklist import review_to_json
    from harness.report.annotations import render_annotations
    from harness.report.junit import render_review_junit
    from harness.report.review import print_review
    from harness.report.sarif import render_sarif

    document = review_to_json(found.review)
    # Code scanning and annotations want paths as they are seen from the folder that the command was given in.
    here = Path.cwd()
    base = f"{found.root.relative_to(here)}/" if found.root != here and found.root.is_relative_to(here) else ""
    if kind == "table":
        with output.open("w", encoding="utf-8") if output else contextlib.nullcontext(sys.stdout) as stream:
            print_review(document, name, stream=stream)
        return
    text = {
        "sarif": lambda: render_sarif(document, version=harness.__version__, base=base),
        "junit": lambda: render_review_junit(document, name),
        "github": lambda: render_annotations(document, base=base),
        "json": lambda: json.dumps(document, indent=1, sort_keys=True) + "\n",
    }[kind]()
    if output:
        output.write_text(text, encoding="utf-8")
    else:
        click.echo(text, nl=False)


@cli.command()
@click.argument("image")
@click.option("--check", is_flag=True, help="Build twice from nothing; the ids must be equal, else say what differs.")
@click.option(
    "--second-engine",
    "other",
    default="",
    metavar="ADDRESS",
    help="With --check: an engine that does the second build, as in DOCKER_HOST. Without it, root gets one started.",
)
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    metavar="FOLDER",
    help="Write the image as an OCI layout as well, for skopeo, podman and archives.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
@click.pass_obj
def build(root: Path, image: str, check: bool, other: str, output: Path | None, as_json: bool) -> int:
    """Build IMAGE (a folder in images/) from its lockfiles, without network.

    What an earlier build left is used, unless --check is given. Exit code 1 when two builds differ.
    """
    from harness.host import checkouts, engine, git
    from harness.host.images import builder, oci
    from harness.report.build import print_build

    if other and not check:
        raise click.UsageError("--second-engine goes with --check")
    store = _store()
    with store.in_use():
        checkouts.remember_checkout(store, root)
        client = engine.ensure("auto", _tell)
        result = builder.build(client, image, root, store, _tell, check=check, other=other)
        if output:
            digest = oci.write_oci(client, result, git.clean_commit(root), output, store)
            _tell(f"{output}: OCI layout, manifest {digest}")
    if as_json:
        click.echo(json.dumps(dataclasses.asdict(result), indent=1))
    else:
        print_build(result, is_check=check)
    is_identical = result.rebuild is not None and result.rebuild.is_identical
    return 0 if is_identical or not check else errors.EXIT_DIVERGED


@cli.command()
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option("--upgrade", is_flag=True, help="Resolve as of now, and take newer versions than are locked.")
@click.option("--check", is_flag=True, help="Change nothing; look whether images can be built of the locks.")
@click.option(
    "--export",
    "kind",
    type=click.Choice(["requirements", "conda", "cyclonedx"]),
    help="Print the lock for pip, for conda, or as a bill of materials. Changes nothing.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the findings of --check as JSON.")
@click.pass_obj
def lock(root: Path, names: tuple[str, ...], upgrade: bool, check: bool, kind: Any, as_json: bool) -> int:
    """Resolve lockfiles/NAME.in into lockfiles/NAME.lock, everything pinned, every file with its hashes.

    With --check, NAME may be left out: the locks of all images and bases are looked at then. Exit code 2 if something
    is wrong with one of them.
    """
    from harness.host import checkouts
    from harness.host.packages import locks, resolver

    if sum((upgrade, check, kind is not None)) > 1 or (as_json and not check):
        raise click.UsageError("--upgrade, --check and --export exclude each other; --json goes with --check")
    if not check and (len(names) != 1 if kind else not names):
        raise click.UsageError("which lock? for example: harness lock cpu")
    store = _store()
    with store.in_use():
        if kind:
            click.echo(locks.export_lock(root, names[0], kind, store, _tell), nl=False)
        elif check:
            return _print_findings(locks.check_locks(root, names, store, _tell), as_json)
        else:
            checkouts.remember_checkout(store, root)
            for name in names:
                click.echo(f"wrote {resolver.write_lock(root, name, store, _tell, upgrade=upgrade)}")
    return 0


def _print_findings(findings: tuple[Finding, ...], as_json: bool) -> int:
    if as_json:
        click.echo(json.dumps([dataclasses.asdict(finding) for finding in findings], indent=1))
    else:
        for finding in findings:
            click.echo(f"{finding.id}  {finding.where}: {finding.problem}\n         remedy: {finding.remedy}")
        click.echo(f"{len(findings)} findings" if findings else "nothing is wrong with the locks")
    return errors.UsageError.exit_code if findings else 0


@cli.command()
@click.argument("a", type=click.Path(exists=True, path_type=Path))
@click.argument("b", type=click.Path(exists=True, path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print the comparison as JSON.")
def diff(a: Path, b: Path, as_json: bool) -> int:
    """Compare A and B bit for bit: two safetensors or .pt files, or two trajectory folders of a run.

    Tells which tensors differ, in how many elements, the largest distance in ULPs, and the first index. Exit code 0
    when everything is equal, 1 when something differs.
    """
    from harness.host.runs.comparison import compare_paths
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


@cli.command()
@click.option("--dry-run", is_flag=True, envvar="DRY_RUN", show_envvar=True, help="Only list what would go.")
@click.option("--json", "as_json", is_flag=True, help="Print what goes as JSON.")
@click.pass_obj
def gc(root: Path, dry_run: bool, as_json: bool) -> int:
    """Free images, caches and runs that no checkout on this machine refers to.

    Referred to is what the locks, images and experiments name of every checkout that used the cache and still exists.
    Of its runs, each experiment keeps the newest, the newest that was certified, and those that a file in manifests/
    names. Prepared inputs and controls cannot be attributed to a checkout: they go when they were not used for 30 days.
    An image that a container is made from stays. Nothing goes while another command works with the cache.
    """
    from harness.host import engine
    from harness.host.garbage import collect

    try:
        client = engine.connect()
    except errors.EnvironmentError_:
        client = None
    result = collect(root, _store(), client, _tell, dry_run=dry_run)
    if as_json:
        items = [dataclasses.asdict(item) for item in result.items]
        summary = {"dry_run": dry_run, "size_bytes": result.size_bytes, "notes": result.notes, "items": items}
        click.echo(json.dumps(summary, indent=1))
        return 0
    for item in result.items:
        click.echo(f"{item.kind:<15} {item.size_bytes / 1e6:>9,.1f} MB  {item.name}")
    for note in result.notes:
        click.echo(f"note: {note}")
    click.echo(f"{'would free' if dry_run else 'freed'} {result.size_bytes / 1e6:,.1f} MB ({len(result.items)} things)")
    return 0


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
