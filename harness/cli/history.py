"""`harness history` and `harness bisect`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from harness import errors
from harness.cli.group import cli, running_options, tell, the_store

if TYPE_CHECKING:
    from harness.documents.bisection import CommitBisection, LockBisection

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@cli.command()
@click.argument("experiment")
@click.option("--json", "as_json", is_flag=True, help="Print it as JSON.")
@click.pass_obj
def history(root: Path, experiment: str, as_json: bool) -> int:
    """List the past certificates of EXPERIMENT, oldest first, and what changed between them.

    Read are runs/EXPERIMENT/ and manifests/EXPERIMENT/. A number that changed though nothing did that it is known to
    depend on is marked with (!).
    """
    from harness.history.read import read_history
    from harness.report.history import print_history

    found = read_history(root, experiment, tell)
    if as_json:
        click.echo(found.write(), nl=False)
    else:
        print_history(found.to_json())
    return 0


@cli.command()
@click.argument("experiment")
@click.option("--good", metavar="COMMIT", help="A commit whose bits are right.")
@click.option("--bad", metavar="COMMIT", help="A later commit whose bits are not those.")
@click.option("--good-lock", type=_FILE, metavar="FILE", help="A lock with which the bits are right.")
@click.option("--bad-lock", type=_FILE, metavar="FILE", help="A lock with which they are not those.")
@click.option(
    "--steps", type=int, metavar="N", envvar="STEPS", show_envvar=True, help="Compare only the first N steps."
)
@running_options
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
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
    """Find the change that altered the bits of EXPERIMENT: a commit, or what two locks do not pin alike.

    Every trial is one straight training, held against the good side's ledger; commits and mixes of locks that cannot
    be built or run are stepped around. What was tried is kept in runs/EXPERIMENT/bisect-*/, so that the same command
    goes on after an interruption. Exit code 0 when the change was found, 2 when both sides give the same bits, 3 when
    the good side does not repeat itself or only a range could be told.
    """
    from harness.report.bisection import print_bisection
    from harness.report.console import Progress
    from harness.runs.request import Request
    from harness.workflow.bisect_commits import bisect_commits
    from harness.workflow.bisect_locks import bisect_locks

    request = Request(
        root=root,
        name=experiment,
        runner=running["runner"],
        engine=running["wanted"],
        gpu=running["gpu"],
        python=running["interpreter"],
        steps=steps,
    )
    _check_sides(good, bad, good_lock, bad_lock, running["interpreter"])
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
        print_bisection(found.to_json())
    return 0 if found.outcome == "found" else errors.EvidenceError.exit_code


def _check_sides(
    good: str | None, bad: str | None, good_lock: Path | None, bad_lock: Path | None, interpreter: Path | None
) -> None:
    """Two commits or two locks, and nothing of the other kind."""
    commits, locks = (good is not None, bad is not None), (good_lock is not None, bad_lock is not None)
    if not (all(commits) and not any(locks)) and not (all(locks) and not any(commits)):
        raise click.UsageError("give --good and --bad, or --good-lock and --bad-lock")
    if all(locks) and interpreter is not None:
        raise click.UsageError("--python is given: a given interpreter has the same packages whatever a lock says")
