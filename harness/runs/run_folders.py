"""The folders that runs and bisections left in checkouts, and which of the runs the archive names.

They are `runs/<experiment>/<run id>/` and `runs/<experiment>/bisect-<digest>/`.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from harness.documents.names import NAME
from harness.errors import UsageError
from harness.runs.garbage import KeptRun
from harness.system.disk_sizes import delete, walk
from harness.system.held import LOCK, is_held

_RUN_ID = re.compile(r"\d{8}T\d{6}Z-[0-9a-f]{7}-[0-9a-f]{4}")
_BISECTION = re.compile(r"bisect-[0-9a-f]{12}")
_REMOVED = ".removed-"
TEMPORARY = (".diagnose-", ".init-", ".probe-")
"""What the names of temporary folders below `runs/` begin with."""
_MAX_CITING = 64 << 20
RUN_REMEDY = "give a run's folder or id, an experiment's name for its latest run, a folder of manifests/, or an archive"


def run_folders(roots: Iterable[Path]) -> tuple[Path, ...]:
    """Every run's folder in these checkouts, sorted; folders that are links, or lie behind one, are none."""
    return tuple(path for path in _folders(roots) if _RUN_ID.fullmatch(path.name))


def runs_of(experiment: Path) -> tuple[Path, ...]:
    """The runs' folders in that of an experiment, `runs/<experiment>`, the newest last."""
    return tuple(path for path in entries(experiment) if _RUN_ID.fullmatch(path.name) and path.is_dir())


def bisections(roots: Iterable[Path]) -> tuple[Path, ...]:
    """Every bisection's folder in these checkouts, sorted; no links either."""
    return tuple(path for path in _folders(roots) if _BISECTION.fullmatch(path.name))


def written_at(path: Path) -> float:
    """When something in a folder was last written, as POSIX time in seconds; a bisection writes at every start."""
    return max((status.st_mtime for _, status in walk(path)), default=0.0)


def half_removed(roots: Iterable[Path]) -> tuple[Path, ...]:
    """What is left of folders whose removal was interrupted."""
    return tuple(path for path in _folders(roots) if path.name.startswith(_REMOVED))


def read_run(path: Path) -> KeptRun:
    """What there is to know of a run's folder to decide whether it stays."""
    verdict: Any = None
    with contextlib.suppress(OSError, ValueError):
        verdict = json.loads((path / "verdict.json").read_text(encoding="utf-8"))
    latest = path.parent / "latest"
    return KeptRun(
        checkout=str(path.parents[2]),
        experiment=path.parent.name,
        run_id=path.name,
        verdict=_word(verdict) if isinstance(verdict, dict) else "",
        is_finished=(path / "manifest.json").is_file(),
        is_latest=latest.is_symlink() and str(latest.readlink()) == path.name,
        written_at=written_at(path),
        is_held=is_held(path / LOCK),
    )


def _word(verdict: dict[str, Any]) -> str:
    """The verdict; that of a prefix or a replay is none of the experiment, so it must not take the place of one."""
    what = " (replay)" if verdict.get("kind") == "replay" else " (prefix)" if verdict.get("scope") else ""
    return str(verdict.get("verdict", "")) + what


def cited_runs(root: Path) -> Iterator[str]:
    """The run ids that names and contents of the files in a checkout's `manifests/` hold.

    Raises:
        UsageError: a file is too large to be looked through.
    """
    for folder, _, names in os.walk(root / "manifests"):
        for path in (Path(folder) / name for name in names):
            yield from _RUN_ID.findall(str(path.relative_to(root)))
            if not path.is_file():
                continue
            if path.stat().st_size > _MAX_CITING:
                raise UsageError(f"{path} is too large to see which runs it names", "keep it outside manifests/")
            yield from _RUN_ID.findall(path.read_bytes().decode("utf-8", "replace"))


def discard_run(path: Path) -> None:
    """Remove the folder of a run or a bisection; whatever interrupts this, no half of it keeps its name.

    Raises:
        OSError: something in it cannot be deleted.
    """
    if not path.name.startswith(_REMOVED):
        path = path.rename(path.with_name(_REMOVED + path.name))
    delete(path)


def _folders(roots: Iterable[Path]) -> Iterator[Path]:
    for root in sorted(roots):
        for experiment in entries(root / "runs"):
            for path in entries(experiment):
                name = path.name.removeprefix(_REMOVED)
                is_ours = _RUN_ID.fullmatch(name) or _BISECTION.fullmatch(name)
                if is_ours and stat.S_ISDIR(path.lstat().st_mode):
                    yield path


def entries(folder: Path) -> list[Path]:
    """What lies in a folder, sorted; nothing where there is no folder or only a link to one."""
    if folder.is_symlink() or not folder.is_dir():
        return []
    return sorted(folder.iterdir())


def find_run(root: Path, name: str) -> Path:
    """Where a run lies: an experiment's latest run, a path, or a run id; what is published, or archived, comes last.

    An experiment's name is meant before a folder of the same name here (`./tiny` is the folder).

    Raises:
        UsageError: there is no such run.
    """
    if NAME.fullmatch(name) and (root / "runs" / name / "latest").is_dir():
        return (root / "runs" / name / "latest").resolve()
    if os.path.lexists(name):
        return Path(name).resolve()
    for above in ("runs", "manifests"):
        if re.fullmatch(r"[0-9A-Za-z-]{1,64}", name):
            for found in sorted((root / above).glob(f"*/{name}")):
                return found
            if published := sorted((root / above / name).glob("*/verdict.json")):
                return published[-1].parent
    if NAME.fullmatch(name) and (archives := list((root / "runs" / name).glob(f"{name}-*.oci.tar"))):
        return max(archives)
    raise UsageError(f"there is no run {name!r}", RUN_REMEDY)
