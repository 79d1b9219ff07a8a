"""The conversion of inputs: done cold on two sides, compared file by file, and kept for as long as nothing changes."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
from pathlib import Path

from harness.documents.digest import Digest, canonical_json, sha256
from harness.errors import EvidenceError
from harness.runs.context import RunContext
from harness.runs.logs import last_lines
from harness.runs.sandbox import Mount, Outcome, ProcessSpec, describe_exit, hand_over
from harness.runs.variation import AS_IT_IS, variation_of
from harness.system.deferred_signals import Pool, wait_for
from harness.system.disk_sizes import Quota, delete
from harness.system.store import Store, disk_errors, file_digest

_TIMEOUT_S = 3600


def prepare(context: RunContext, store: Store, key: Digest) -> tuple[Path, dict[str, str]]:
    """The prepared folder and the sha256 of each of its files; the second side is made only when the cache has none.

    Args:
        context: the experiment and where it runs.
        store: the cache.
        key: the digest of everything that the conversion depends on.

    Raises:
        EvidenceError: the command failed, or the two sides differ.
        HostError: the disk is full.
    """
    kept = store.folder("prepared") / key.hex
    marker = kept / "files.json"
    if marker.is_file():
        os.utime(marker)  # what was not used for long is collected
        known = dict(json.loads(marker.read_text()))
        if _digests(kept / "tree") == known:  # else somebody changed it: it is made again
            return kept / "tree", known
    workspace = context.folder / "prepare"
    with Pool(2) as pool:
        try:
            sides = [pool.submit(_convert, context, workspace / side) for side in ("1", "2")]
            wait_for(sides)
        except KeyboardInterrupt:
            context.cancel.set()
            raise
        digests = [side.result() for side in sides]
    if digests[0] != digests[1]:
        differing = sorted(set(digests[0].items()) ^ set(digests[1].items()))
        names = ", ".join(sorted({name for name, _ in differing})[:5])
        raise EvidenceError(
            f"the conversion of the inputs gave different files on its two sides: {names}",
            "make `prepare` deterministic (seeds, sorted listings, one thread); both sides are in the run's folder",
        )
    return _keep(workspace, kept, digests[0]), digests[0]


def preparation_key(context: RunContext, image_id: str, code: Digest) -> Digest:
    """The digest of what a conversion depends on: inputs, code, image, command, configuration, environment."""
    experiment = context.experiment
    declared = experiment.to_json()
    parts = {name: declared[name] for name in ("inputs", "prepare", "config", "environment")}
    return sha256(canonical_json({**parts, "image": image_id, "code": str(code), "sandbox": context.sandbox.kind}))


def _keep(workspace: Path, kept: Path, digests: dict[str, str]) -> Path:
    partial = kept.with_name(f".{kept.name}.{os.getpid()}")
    try:
        with disk_errors("keeping the prepared inputs"):
            partial.mkdir(parents=True)
            shutil.move(workspace / "1" / "output", partial / "tree")
            (partial / "files.json").write_text(json.dumps(digests, indent=1, sort_keys=True) + "\n")
            shutil.rmtree(kept, ignore_errors=True)
            partial.rename(kept)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    shutil.rmtree(workspace, ignore_errors=True)
    return kept / "tree"


def _convert(context: RunContext, folder: Path) -> dict[str, str]:
    output = folder / "output"
    output.mkdir(parents=True)
    hand_over(context.sandbox, output)
    mounts = context.mounts()
    mounts["prepared"] = Mount(source=output, target="/prepared", is_writable=True)
    mounts["output"] = mounts["prepared"]
    variation = AS_IT_IS if folder.name == "1" else variation_of("prepare", 2)
    spec = ProcessSpec(
        name=f"{context.run_id}/prepare/{folder.name}",
        argv=context.experiment.prepare or (),
        mounts={key: mount for key, mount in mounts.items() if key not in {"recorder", "output"}},
        environment=context.environment(variation),
        memory_bytes=int(context.experiment.memory_gib * (1 << 30)),
        timeout_s=_TIMEOUT_S,
        log=folder / "log.txt",
        host_name=variation.host_name,
        num_processes_before=variation.num_processes_before,
    )
    quota = Quota((folder,), context.experiment.output_gib)
    outcome = context.sandbox.execute(spec, lambda: _check_cancel(context) or quota.is_over())
    if quota.is_over(now=True):
        delete(output)
        outcome = dataclasses.replace(outcome, error=quota.excess)
    _check(outcome, spec.log)
    digests = _digests(output)
    if digests is None:
        raise EvidenceError("`prepare` left something that is no file, such as a link", "let it write regular files")
    if not digests:
        raise EvidenceError("`prepare` wrote no file", "it must write below {prepared}")
    return digests


def _digests(folder: Path) -> dict[str, str] | None:
    """The sha256 of every file below a folder; None where it holds what is no file, such as a link."""
    found = sorted(path for path in folder.rglob("*") if path.is_symlink() or not path.is_dir())
    if any(path.is_symlink() or not path.is_file() for path in found):
        return None
    return {str(path.relative_to(folder)): file_digest(path) for path in found}


def _check_cancel(context: RunContext) -> bool:
    context.cancel_if_asked()
    return False


def _check(outcome: Outcome, log: Path) -> None:
    if outcome.error is None and outcome.exit_code == 0:
        return
    why = outcome.error or f"exit code {describe_exit(outcome)}"
    raise EvidenceError(f"`prepare` failed: {why}\n{last_lines(log)}", "the whole log is in the run's folder, prepare/")
