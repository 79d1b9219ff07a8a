"""Certify: from the name of an experiment to a verdict and a certificate.

    code -> review -> engine -> image -> inputs -> prepare -> runs -> evidence -> judge -> write

A verdict is on disk from the moment a run id exists: first INCONCLUSIVE, in the end the one that was reached.
"""

from __future__ import annotations

import dataclasses
import secrets
from datetime import UTC, datetime
from pathlib import Path

from harness.documents.experiment import Experiment
from harness.documents.scope import Prefix, shortened
from harness.errors import HarnessError, UsageError
from harness.judge.verdict import judge
from harness.judge.verdict_inputs import VerdictInputs
from harness.report.console import Progress
from harness.runs.continuation import cut_off, num_finished, remove_remains
from harness.runs.request import Request
from harness.system.deferred_signals import interruption_named
from harness.system.git import Checkout, read_checkout
from harness.system.held import LOCK, held
from harness.system.project import read_experiment, remember_checkout
from harness.system.store import Store, disk_errors, point_latest
from harness.workflow.certify_session import CertifySession
from harness.workflow.results import Result

_CONTINUE = "--continue (CONTINUE=1) goes on with it"
_AGAIN = "start again; with --continue (CONTINUE=1) no finished training is repeated"


def certify(request: Request, store: Store, progress: Progress) -> Result:
    """From the name of an experiment to a verdict.

    Raises:
        HarnessError: nothing could be started, or it could not be ended. Once a run id exists, whatever happens is
            written as a verdict as well.
    """
    experiment = read_experiment(request.root, request.name, request.overrides)
    request = request.checked(experiment)
    scope = request.scope(experiment)  # refused before anything is made
    checkout = read_checkout(request.root)
    check_clean(checkout, request)
    remember_checkout(store, request.root)
    folder = _folder(request, checkout, progress)
    with held(folder / LOCK, _refuse_second):
        remove_remains(folder)
        session = _begin(request, experiment, scope, checkout, store, progress, folder)
        try:
            with interruption_named(_AGAIN), store.in_use():
                return session.go()
        except HarnessError as error:
            session.give_up(error)
            raise


def _folder(request: Request, checkout: Checkout, progress: Progress) -> Path:
    """The folder of a new run, or of the one that is continued."""
    above = request.root / "runs" / request.name
    found = cut_off(above, checkout.commit)
    if found is not None and request.continues:
        return found
    if found is not None:
        progress.note(f"{found.name} was cut off with {num_finished(found)} trainings finished: {_CONTINUE}")
    elif request.continues:
        progress.note(f"no certify of {request.name} at this commit was cut off with a training finished: a new one")
    folder = above / f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{checkout.commit[:7]}-{secrets.token_hex(2)}"
    with disk_errors("making the run's folder"):
        folder.mkdir(mode=0o700, parents=True)  # nobody else is to read a training, or what it left
    return folder


def _refuse_second() -> None:
    raise UsageError("another process goes on with this certify", "let it end, or certify without --continue")


def check_clean(checkout: Checkout, request: Request) -> None:
    """Refuse uncommitted changes, unless they are asked for.

    Raises:
        UsageError: there are some.
    """
    if checkout.is_dirty and not request.allow_dirty:
        shown = ", ".join(checkout.changed[:3]) + (" ..." if len(checkout.changed) > 3 else "")
        raise UsageError(
            f"the working tree has uncommitted changes ({shown})",
            "commit them, or use --allow-dirty (ALLOW_DIRTY=1): the certificate then says that nobody can replay it",
        )


def _begin(
    request: Request,
    experiment: Experiment,
    scope: Prefix | None,
    checkout: Checkout,
    store: Store,
    progress: Progress,
    folder: Path,
) -> CertifySession:
    trained = shortened(experiment, scope)
    case = VerdictInputs(
        experiment=request.name,
        run_id=folder.name,
        commit=checkout.commit,
        dirty=checkout.is_dirty,
        runner="docker" if request.runner == "auto" else request.runner,
        steps=trained.steps or 0,
        required=experiment.policy.required,
        rerun_mode=experiment.policy.rerun,
        interruptions=tuple(kill.fault for kill in trained.kills),
        scope=scope,
        overrides=request.overrides,
        declares_checkpoints=bool(experiment.checkpoints),
    )
    session = CertifySession(
        request=request,
        experiment=experiment,
        source=checkout,
        store=store,
        progress=progress,
        folder=folder,
        run_id=folder.name,
        scope=scope,
        is_rebuilt=True,
        case=case,
    )
    session.write_verdict(judge(dataclasses.replace(case, problems=("this certify has not finished",))))
    point_latest(folder)
    return session
