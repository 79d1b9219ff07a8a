"""`harness history` and `harness bisect`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from harness import errors
from harness.cli.group import cli, json_option, running_options, tell, the_store

if TYPE_CHECKING:
    from harness.documents.bisection import CommitBisection, LockBisection

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@cli.command()
@click.argument("experiment")
@json_option("the history")
@click.pass_obj
def history(root: Path, experiment: str, as_json: bool) -> int:
    """Show the past runs of an experiment side by side: when the numbers changed, and what changed with them.

    It reads runs/EXPERIMENT/ and manifests/EXPERIMENT/, the oldest run first. Numbers that changed although nothing
    they are known to depend on did are marked with (!).

    Exit codes: 0 shown, 2 there is no run of that experiment.
    """
    from harness.history.read import read_history
    from harness.report.history import print_history

    found = read_history(root, experiment, tell)
    if as_json:
        click.echo(found.write(), nl=False)
    else:
        print_history(found)
    return 0


@cli.command()
@click.argument("experiment")
@click.option("--good", metavar="COMMIT", help="A commit that gives the right bits.")
@click.option("--bad", metavar="COMMIT", help="A later commit that gives different bits.")
@click.option("--good-lock", type=_FILE, metavar="FILE", help="A lockfile that gives the right bits.")
@click.option("--bad-lock", type=_FILE, metavar="FILE", help="A lockfile that gives different bits.")
@click.option(
    "--steps", type=int, metavar="N", envvar="STEPS", show_envvar=True, help="Compare only the first N steps."
)
@running_options
@json_option("the result")
@click.pass_obj
def bisect(
    root: Path,
    /,
    experiment: str,
    good: str | None,
    bad: str | None,
    good_lock: Path | None,
    bad_lock: Path | None,
    steps: int | None,
    as_json: bool,
    **running: Any,
) -> int:
    """Find the commit, or the package upgrade, that changed an experiment's numbers.

    Give two commits (--good and --bad) or two lockfiles (--good-lock and --bad-lock). Each trial is one training,
    compared with the good side bit for bit; commits and mixes of locks that cannot be built or run are skipped. Trials
    are kept in runs/EXPERIMENT/bisect-*/, so after an interruption the same command continues.

    Exit codes: 0 the change was found, 2 both sides give the same bits, 3 the good side does not repeat itself, or only
    a range could be found.
    """
    from harness.report.console import Progress
    from harness.report.history import print_bisection
    from harness.runs.request import Request
    from harness.workflow.bisect_commits import bisect_commits
    from harness.workflow.bisect_locks import bisect_locks

    request = Request(root=root, name=experiment, steps=steps, **running)
    _check_sides(good, bad, good_lock, bad_lock, running["python"])
    with Progress() as progress:
        found: CommitBisection | LockBisection
        if good is not None and bad is not None:
            found = bisect_commits(request, the_store(), progress, good, bad)
        else:
            assert good_lock is not None and bad_lock is not None
            found = bisect_locks(request, the_store(), progress, good_lock, bad_lock)
    if as_json:
        click.echo(found.write(), nl=False)
    else:
        print_bisection(found)
    return 0 if found.outcome == "found" else errors.EvidenceError.exit_code


def _check_sides(
    good: str | None, bad: str | None, good_lock: Path | None, bad_lock: Path | None, interpreter: Path | None
) -> None:
    """Two commits or two locks, and nothing of the other kind."""
    commits, locks = (good is not None, bad is not None), (good_lock is not None, bad_lock is not None)
    if not (all(commits) and not any(locks)) and not (all(locks) and not any(commits)):
        raise click.UsageError("give --good and --bad, or --good-lock and --bad-lock")
    if all(locks) and interpreter is not None:
        raise click.UsageError(
            "--python cannot be used with two locks: that interpreter has the same packages for both"
        )
