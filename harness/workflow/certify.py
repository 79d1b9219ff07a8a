"""Certify: from the name of an experiment to a verdict and a certificate.

    code -> review -> engine -> image -> inputs -> prepare -> runs -> evidence -> judge -> write

A verdict is on disk from the moment a run id exists: first INCONCLUSIVE, in the end the one that was reached.
"""

from __future__ import annotations

import dataclasses
import secrets
from datetime import UTC, datetime

from harness.documents.experiment import Experiment
from harness.documents.scope import shortened
from harness.errors import HarnessError, UsageError
from harness.judge.verdict import judge
from harness.judge.verdict_inputs import VerdictInputs
from harness.report.console import Progress
from harness.runs.request import Request
from harness.system.deferred_signals import interruption_named
from harness.system.git import Checkout, read_checkout
from harness.system.project import read_experiment, remember_checkout
from harness.system.store import Store, disk_errors, point_latest
from harness.workflow.certify_session import CertifySession
from harness.workflow.results import Result


def certify(request: Request, store: Store, progress: Progress) -> Result:
    """From the name of an experiment to a verdict.

    Raises:
        HarnessError: nothing could be started, or it could not be ended. Once a run id exists, whatever happens is
            written as a verdict as well.
    """
    experiment = read_experiment(request.root, request.name, request.overrides)
    request = request.checked(experiment)
    checkout = read_checkout(request.root)
    check_clean(checkout, request)
    remember_checkout(store, request.root)
    session = _begin(request, experiment, checkout, store, progress)
    try:
        with interruption_named("start again"), store.in_use():
            return session.go()
    except HarnessError as error:
        session.give_up(error)
        raise


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
    request: Request, experiment: Experiment, checkout: Checkout, store: Store, progress: Progress
) -> CertifySession:
    scope = request.scope(experiment)
    trained = shortened(experiment, scope)
    run_id = f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{checkout.commit[:7]}-{secrets.token_hex(2)}"
    folder = request.root / "runs" / request.name / run_id
    with disk_errors("making the run's folder"):
        folder.mkdir(parents=True)
    case = VerdictInputs(
        experiment=request.name,
        run_id=run_id,
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
        run_id=run_id,
        scope=scope,
        is_rebuilt=True,
        case=case,
    )
    session.write_verdict(judge(dataclasses.replace(case, problems=("this certify has not finished",))))
    point_latest(folder)
    return session
