"""From a bench to docs/gpu-results/<model>.json: the checks one after the other, written down after each of them."""

from __future__ import annotations

import os
import re
import time
import traceback
from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import harness
from harness.documents.gpu import choose_gpus
from harness.errors import HarnessError, HostError, UsageError
from harness.packages.venv import host_python
from harness.report.console import Progress
from harness.system import gpu, machine
from harness.system.git import clean_commit
from harness.system.store import Store, write_json
from harness.workflow.gpu_check.bench import Bench, make_bench, read_base
from harness.workflow.gpu_check.checks import CHECKS, Found, SkippedError

RESULTS = Path("docs") / "gpu-results"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One check's answer; `said` is what is wrong or missing."""

    name: str
    outcome: Literal["ok", "failed", "skipped"]
    said: str
    figures: dict[str, Any]
    seconds: float


def check_gpu(
    root: Path, store: Store, progress: Progress, *, python: Path | None, wanted: str | None, names: Collection[str]
) -> tuple[Path, tuple[Row, ...]]:
    """Make the checks on one GPU; where the results were written, and the rows.

    Args:
        root: the harness's checkout.
        store: the cache.
        progress: told of each check.
        python: the interpreter that has torch; made from the CUDA image's lock if None.
        wanted: which GPU, by UUID or index; the least used if None.
        names: of the checks to make; all if empty.

    Raises:
        HostError: there is no GPU here.
        UsageError: a name is none of a check, or `root` is no checkout of the harness.
    """
    if unknown := sorted(set(names) - set(CHECKS)):
        raise UsageError(f"there is no check {unknown[0]!r}", f"there are {', '.join(CHECKS)}")
    found = gpu.inventory()
    if found.problem:
        raise HostError(f"there is no GPU to check: {found.problem}", found.remedy)
    read_base(root)
    (uuid,) = choose_gpus(1, found.gpus, os.environ, wanted).uuids
    path = host_python(root / "lockfiles" / "cuda.lock", python, store, progress.note).path
    work = root / "runs" / "gpu-check"
    progress.stage("bench", f"experiments in {work}, trained with {path}")
    bench = make_bench(
        Bench(root=root, work=work, store=store, progress=progress, python=path, device="cuda", gpu=uuid)
    )
    for change in bench.changes:
        progress.warn(change)
    (model,) = (one.name for one in found.gpus if one.uuid == uuid)
    results = root / RESULTS / f"{re.sub(r'[^A-Za-z0-9]+', '-', model).strip('-')}.json"
    facts = {
        "schema": 1,
        "model": model,
        "gpu": uuid,
        "driver": found.driver,
        "harness": harness.__version__,
        "commit": clean_commit(root),
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "host": machine.host_facts(),
        "changes": list(bench.changes),
    }
    return results, run_checks(bench, names, lambda rows: _write(results, facts, rows))


def run_checks(bench: Bench, names: Collection[str], keep: Callable[[tuple[Row, ...]], None]) -> tuple[Row, ...]:
    """Make the checks that are named, or all; none of them ends the others, and `keep` is called after each."""
    rows: tuple[Row, ...] = ()
    for name, check in CHECKS.items():
        if names and name not in names:
            continue
        bench.progress.stage(name, (check.__doc__ or "").splitlines()[0])
        began = time.monotonic()
        outcome, found = _made(check, bench)
        seconds = round(time.monotonic() - began, 1)
        row = Row(name=name, outcome=outcome, said=found.problem, figures=dict(found.figures), seconds=seconds)
        rows = (*rows, row)
        keep(rows)
        if found.problem:
            bench.progress.warn(f"{name} {outcome}: {found.problem}")
        bench.progress.done(name, seconds)
    return rows


def _made(check: Callable[[Bench], Found], bench: Bench) -> tuple[Literal["ok", "failed", "skipped"], Found]:
    try:
        found = check(bench)
    except SkippedError as missing:
        return "skipped", Found(problem=str(missing))
    except HarnessError as error:
        return "failed", Found(problem=f"{error.problem}; {error.remedy}")
    except Exception as error:  # what no machine has run yet may be wrong in any way, and the others still count
        traceback.print_exc()
        return "failed", Found(problem=f"{type(error).__name__}: {error}")
    return "failed" if found.problem else "ok", found


def _write(path: Path, facts: dict[str, object], rows: tuple[Row, ...]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    checks = [{name: getattr(row, name) for name in Row.__slots__} for row in rows]
    write_json(path, {**facts, "checks": checks})
