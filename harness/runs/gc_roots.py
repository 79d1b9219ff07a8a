"""Roots of the cache: the checkouts on this machine that use it, and what each of them names."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from harness.documents.experiment import parse_experiment
from harness.documents.inputs import LISTED
from harness.documents.lockfile import Lockfile, parse_base_lock, parse_lock
from harness.errors import HostError, UsageError
from harness.images.base import base_key
from harness.images.recipe import Recipe, read_recipe
from harness.images.registry import registry_key
from harness.runs.garbage import References
from harness.runs.run_folders import cited_runs
from harness.system.project import KIND, checkout_key, image_names, read_text
from harness.system.store import Store

_EXPERIMENTS = Path("pipelines") / "experiments"
_LISTED = re.compile(rb"^([0-9a-f]{64})  ", re.MULTILINE)
_MAX_LISTING = 64 << 20


def known_checkouts(store: Store, root: Path) -> dict[str, Path]:
    """This checkout and those that used the cache and are still there, by the key of their record.

    Raises:
        UsageError: `root` is no checkout.
        HostError: a record cannot be read: which checkout it stands for is not known.
    """
    here = root.resolve()
    if not (here / "lockfiles").is_dir():
        raise UsageError(f"{here} is no checkout: it has no lockfiles/", "go to one, or name it with --root")
    found = {checkout_key(str(here)): here}
    for file in sorted((store.root / KIND).glob("*.json")):
        record = store.read_record(KIND, file.stem)
        if record is None or not isinstance(record.get("path"), str):
            problem = f"{file} cannot be read, so a checkout that uses the cache is not known"
            raise HostError(problem, "remove that file, then run any command of the harness in that checkout")
        if not _is_gone(Path(record["path"])):
            found[file.stem] = Path(record["path"])
    return found


def _is_gone(root: Path) -> bool:
    try:
        return not root.is_dir()
    except OSError:  # somebody else's folder, which may not be looked into
        return False


def references(checkouts: dict[str, Path], store: Store, here: Path) -> References:
    """What checkouts name, as their files stand now.

    Whatever another checkout than this one might name in a file that cannot be read is kept.

    Raises:
        UsageError: a lock, an experiment, an image's folder or an archive of this checkout is malformed; it is named.
    """
    found = References(checkouts=set(checkouts))
    unread: dict[str, set[str]] = {}
    for root in checkouts.values():
        for read, kinds in _PARTS.items():
            try:
                read(root, store, found)
            except (UsageError, OSError) as error:
                problem = f"{root}: {error.problem if isinstance(error, UsageError) else error}"
                if root == here.resolve():
                    remedy = "correct or remove it: nothing is collected while it is not known what this checkout needs"
                    raise UsageError(problem, remedy) from error
                unread.setdefault(" ".join(problem.split()), set()).update(kinds)
    for kind, keys, name, names in (
        ("bases", found.bases, "diff_id", found.layers),
        ("images", found.recipes, "tag", found.tags),
    ):
        records = [store.read_record(kind, key) or {} for key in keys]
        names.update(str(record[name]) for record in records if name in record)
    found.kept_kinds = {kind for kinds in unread.values() for kind in kinds}
    found.unread = [f"{problem}; kept for it: every {', '.join(sorted(kinds))}" for problem, kinds in unread.items()]
    return found


def _read_archives(root: Path, _: Store, found: References) -> None:
    found.cited.update(cited_runs(root))


def _read_locks(root: Path, _: Store, found: References) -> None:
    for path in _files(root / "lockfiles", "*.lock"):
        text = read_text(path, "correct or remove it")
        if path.name.startswith("base-"):
            base = parse_base_lock(text, f"lockfiles/{path.name}")
            found.blobs.update(_digits(package.sha256) for package in base.packages)
            found.bases.add(_digits(base_key(base)))
        else:
            lock = parse_lock(text, f"lockfiles/{path.name}")
            found.blobs.update(_wheels(lock))
            found.environments.add(_digits(lock.pins_digest))


def _wheels(lock: Lockfile) -> Iterator[str]:
    """Every file that a lock names, for whatever platform: the host's environment may take others than the image."""
    return (_digits(value) for pin in lock.pins for value in pin.hashes)


def _read_images(root: Path, _: Store, found: References) -> None:
    for name in image_names(root):
        # Without a lock nothing can have been built.
        if (root / "lockfiles" / f"{name}.lock").exists():
            recipe = read_recipe(root, name)
            found.recipes.add(_digits(recipe.key))
            found.bases.add(_digits(_base_key(recipe)))


def _base_key(recipe: Recipe) -> str:
    if recipe.base_lock:
        return base_key(recipe.base_lock)
    return registry_key(recipe.base)


def _read_experiments(root: Path, store: Store, found: References) -> None:
    texts = {path.stem: read_text(path, "correct or remove it") for path in _files(root / _EXPERIMENTS, "*.yaml")}
    for stem, text in texts.items():
        experiment = parse_experiment(text, str(_EXPERIMENTS / f"{stem}.yaml"), texts.get)
        found.experiments.add(stem)
        for name, declared in experiment.inputs.items():
            value = declared.named(name)
            found.inputs.add(_digits(value.sha256))
            found.blobs.add(_digits(value.sha256))
            if value.kind in LISTED:
                found.blobs.update(_listed(store.blob(value.sha256)))


def _listed(blob: Path) -> Iterator[str]:
    """The files of a folder, whose listing lies in the cache once it was fetched."""
    if not blob.is_file():
        return iter(())
    if blob.stat().st_size > _MAX_LISTING:
        raise UsageError(f"{blob} is too large for the listing of an input", "remove it")
    return (value.decode() for value in _LISTED.findall(blob.read_bytes()))


def _files(folder: Path, pattern: str) -> list[Path]:
    """What a folder has by a pattern; unlike `glob`, a folder that may not be listed is an error, and not empty."""
    return sorted(path for path in folder.iterdir() if path.match(pattern)) if folder.is_dir() else []


_Part = Callable[[Path, Store, References], None]
_PARTS: Mapping[_Part, tuple[str, ...]] = {
    _read_archives: ("run",),
    _read_locks: ("base", "blob", "environment", "image"),
    _read_images: ("base", "image", "image record", "rebuild record"),
    _read_experiments: ("blob", "input", "timings", "unpacked"),
}
"""What reads a part of a checkout, and the kinds of things that this part names."""


def _digits(digest: str) -> str:
    return digest.removeprefix("sha256:")
