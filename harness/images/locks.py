"""The project's locks, checked and exported in the formats of other tools."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from harness.documents.lockfile import BaseLock, Lockfile, parse_base_lock
from harness.documents.names import check_image_name
from harness.errors import UsageError
from harness.images.image import BuildRecord
from harness.images.recipe import read_recipe
from harness.packages.lock_export import python_version, to_conda, to_requirements
from harness.packages.metadata import licences_of, requirements_of
from harness.packages.wheels import absent_wheels
from harness.review.lock_rules import Finding, lint_lock, on_base, unmet
from harness.system.project import image_names, read_lock, read_text
from harness.system.store import Progress, Store

Export = Literal["requirements", "conda", "cyclonedx"]
_MALFORMED = "LOCK000"


def lock_names(root: Path) -> tuple[str, ...]:
    """The locks that a check looks at by default: those of images, and those of bases."""
    images = image_names(root)
    bases = (path.stem for path in (root / "lockfiles").glob("base-*.lock"))
    return tuple(sorted({*images, *bases}))


def check_locks(root: Path, names: tuple[str, ...], store: Store, progress: Progress) -> tuple[Finding, ...]:
    """What is wrong with locks.

    The lock of an image is linted, and compared with what its wheels say they need where these are in the cache. Of any
    other it is checked that it can be read, with everything pinned and hashed.

    Raises:
        UsageError: there is none.
    """
    found: dict[str, Finding] = {}
    names = names or lock_names(root)
    if not names:
        raise UsageError(f"there is no lock in {root}", "give the checkout: harness --root FOLDER lock --check")
    for name in names:
        for finding in _check(root, check_image_name(name), store, progress):
            # A base that is malformed shows in every image that stands on it; once is enough.
            found.setdefault(finding.problem if finding.id == _MALFORMED else str(finding), finding)
    return tuple(found.values())


def export_lock(root: Path, name: str, kind: Export, store: Store, progress: Progress) -> str:
    """A lock as requirements, as a conda environment, or as a bill of materials.

    The bill names licences where the cache has the wheels, and the image's id where the image was built.

    Raises:
        UsageError: the lock is missing or malformed, or cannot be written in this form.
    """
    lock = read_lock(root / "lockfiles" / f"{check_image_name(name)}.lock")
    if kind == "requirements":
        return to_requirements(lock, name)
    recipe = read_recipe(root, name) if name in image_names(root) else None
    base_lock = recipe.base_lock if recipe else None
    if kind == "conda":
        return to_conda(lock, base_lock, name)
    from harness.images.sbom import sbom

    if recipe is None:
        raise UsageError(f"{name} is no image: no experiment names it", "name an image")
    is_here = not absent_wheels(lock, store)
    if not is_here:
        progress("not all wheels are in the cache, so their licences are left out")
    licences = licences_of(lock, store) if is_here else {}
    record = store.read("images", recipe.key, BuildRecord)
    base_image = recipe.base.pull if recipe.base.digest else ""
    return sbom(name, lock, base_lock, record.image_id if record else None, licences, base_image)


def _check(root: Path, name: str, store: Store, progress: Progress) -> Iterator[Finding]:
    source = f"{name}.lock"
    try:
        if name.startswith("base-"):
            parse_base_lock(read_text(root / "lockfiles" / source, f"write it with `harness lock {name}`"), source)
            return
        lock = read_lock(root / "lockfiles" / source)
        if name not in image_names(root):
            return
        yield from lint_lock(lock, source)
        recipe = read_recipe(root, name)
        if wrong := on_base(lock, python_version(recipe.base_lock), recipe.base.name, source):
            yield from wrong
            return
        if absent_wheels(lock, store):
            progress(f"{source}: not all wheels are in the cache, so whether they fit together was not checked")
        else:
            yield from fit(lock, recipe.base_lock, store, source)
    except UsageError as error:
        yield Finding(id=_MALFORMED, where=source, problem=error.problem, remedy=error.remedy)


def fit(lock: Lockfile, base_lock: BaseLock | None, store: Store, source: str) -> tuple[Finding, ...]:
    """What the wheels of a lock, which are in the store, need and do not find in it, with the Python of this base.

    Raises:
        HostError: a wheel is not in the store.
        UsageError: a wheel is torn or another distribution than the lock says.
    """
    return unmet(requirements_of(lock, store), lock, source, python_version(base_lock))


def refuse(findings: tuple[Finding, ...]) -> None:
    """Build nothing of a lock that has findings.

    Raises:
        UsageError: it has.
    """
    if findings:
        listed = "\n  ".join(f"{finding.where}: {finding.problem}" for finding in findings[:8])
        raise UsageError(f"the lock does not fit:\n  {listed}", findings[0].remedy)
