"""The review of a tree: its Python files, the programs that start in them, and what stands around them. Nothing is run.

Files are read in worker processes. What was found is kept in the cache under the digest of every file and of the
review's own source, so an unchanged tree is only read for its digests.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
import sys
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

import harness
from harness.errors import HostError, UsageError
from harness.review.finding import Place, Showing, StaticReview, holds
from harness.review.source_tree import SourceTree, list_tree
from harness.system.store import Progress, Store

_KIND = "reviews"
_RECORD = TypeAdapter(StaticReview)
_SOURCE = (".py", ".toml")
_MAX_RECORDS = 64
_FILES_A_WORKER = 24  # fewer files than that are read before another process has started


def review_tree(
    root: Path,
    entries: tuple[str, ...] | None = None,
    *,
    store: Store | None = None,
    progress: Progress | None = None,
    image: str = "",
    num_workers: int | None = None,
) -> StaticReview:
    """Review the code below a folder.

    Args:
        root: the folder; or one Python file, which is reviewed with what it imports from its own folder.
        entries: scripts below it, with `/`: only they, what they import and what stands beside them are reviewed. For
            None every file is, and programs start in the scripts that nothing else imports.
        store: where a review of an unchanged tree is kept; without one nothing is.
        progress: told what is going on.
        image: of an experiment in this project's layout: only that image's Dockerfile and locks are the surroundings.
        num_workers: processes; as many as there are processors unless said; 0 reads in this process.

    Raises:
        UsageError: `root` cannot be listed, or an entry is no Python file below it.
    """
    if root.is_file():
        root, entries = root.parent, (root.name,)
    tree = list_tree(root.resolve())
    if missing := [path for path in entries or () if not path.endswith(".py") or not _is_known(path, tree)]:
        raise UsageError(f"{missing[0]} is no Python file below {root}", "name a script of the tree")
    if image:
        tree.surroundings = {path: one for path, one in tree.surroundings.items() if _is_of_image(path, image)}
    elif entries is not None:
        folders = {path.rpartition("/")[0] for path in entries}
        beside = {path: one for path, one in tree.surroundings.items() if path.rpartition("/")[0] in folders}
        tree.surroundings = beside
    key = _key(tree, entries, image)
    if store is not None and (known := _kept(store, key)) is not None:
        return known
    review = _review(tree, entries, progress or _silent, _num_workers(tree) if num_workers is None else num_workers)
    if image and f"images/{image}/Dockerfile" not in tree.surroundings:
        review = dataclasses.replace(review, showings=(*review.showings, _stock_image(image)))
    if store is not None and not any("changed while" in one.reason for one in review.unread):
        with contextlib.suppress(HostError):  # a cache that cannot be written: it is reviewed again next time
            _keep(store, key, review)
    return review


def _review(tree: SourceTree, entries: tuple[str, ...] | None, progress: Progress, num_workers: int) -> StaticReview:
    from harness.review.processes import Processes
    from harness.review.programs import review

    with Processes(tree, num_workers) as processes:
        return review(tree, entries, progress=progress, processes=processes)


def _silent(_: str) -> None:
    """Tell nobody."""


def _num_workers(tree: SourceTree) -> int:
    """One for each processor, but none that would have next to nothing to do."""
    if not hasattr(os, "fork"):
        return 0
    num_processors = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(num_processors, len(tree.sources) // _FILES_A_WORKER))


def _is_known(path: str, tree: SourceTree) -> bool:
    return path in tree.sources or any(one.path == path for one in tree.unread)


def _is_of_image(path: str, image: str) -> bool:
    """In this project's layout; every base's lock, for the Dockerfile says which it stands on."""
    folder, _, name = path.rpartition("/")
    is_lock = name == f"{image}.lock" or (name.startswith("base-") and name.endswith(".lock"))
    return folder == f"images/{image}" or (folder == "lockfiles" and is_lock)


def _stock_image(image: str) -> Showing:
    """E5 holds for an image without a Dockerfile of its own: it has the one that comes with this package."""
    from harness.documents.lockfile import parse_base_lock  # for an unchanged tree nothing of this is imported
    from harness.system.project import STOCK

    base = next(STOCK.glob("base-*.lock"))
    packages = parse_base_lock(base.read_text(encoding="utf-8"), base.name).packages
    text = (
        f"the Dockerfile that comes with the harness stands on {base.name}, {len(packages)} Debian packages with a "
        "sha256 each, and fetches nothing"
    )
    return holds("E5", text, Place(path=f"lockfiles/{image}.lock"))


def _key(tree: SourceTree, entries: tuple[str, ...] | None, image: str) -> str:
    """The digest of all that a review depends on."""
    value = {
        "entries": None if entries is None else sorted(entries),
        "image": image,
        "own": sorted(tree.own),
        "sources": tree.sources,
        "surroundings": tree.surroundings,
        "unread": sorted([one.path, one.reason] for one in (*tree.unread, *tree.left_out)),
        "version": _version(),
    }
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def _version() -> str:
    """The digest of the review's own source, and the Python whose grammar it reads."""
    package = Path(harness.__file__).parent
    files = [file for room in ("review", "documents") for file in (package / room).rglob("*") if file.suffix in _SOURCE]
    digest = hashlib.sha256(repr(sys.version_info[:3]).encode())
    for file in sorted(files):
        digest.update(hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()


def _kept(store: Store, key: str) -> StaticReview | None:
    """A review that was kept; None where there is none, or it is damaged: it is only a cache."""
    try:
        return _RECORD.validate_python((store.read_record(_KIND, key) or {}).get("review"))
    except ValidationError:
        return None


def _keep(store: Store, key: str, review: StaticReview) -> None:
    """Keep a review, and the newest of the others only; another process may remove some at the same time."""
    store.write_record(_KIND, key, {"review": _RECORD.dump_python(review, mode="json")})
    used = []
    for record in store.folder(_KIND).glob("*.json"):
        with contextlib.suppress(OSError):
            used.append((record.stat().st_mtime_ns, record))
    for _, record in sorted(used)[:-_MAX_RECORDS]:
        record.unlink(missing_ok=True)
