"""Recipes: everything an image is made from, read from the project and digested into the image's key."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from harness.documents.dockerfile import BaseReference, read_base, stand_on_argument
from harness.documents.lockfile import BaseLock, Lockfile, parse_base_lock, parse_lock, render_pins
from harness.documents.names import check_image_name, no_such
from harness.errors import UsageError
from harness.images.base import BASE_VERSION
from harness.images.image import image_key
from harness.images.layer import Entry, canonical
from harness.system.project import STOCK, image_file, image_names, read_text

BUILDER_VERSION = b"2"
REWRITER_VERSION = b"3"


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """Everything that an image is made from, read and checked.

    `base_lock` is None where the base is an image of a registry. `files` are those of `images/<name>/`, or the
    Dockerfile that comes with the package, and what every image's context has: `images/*.py`, the project's and ours.
    """

    name: str
    lock: Lockfile
    base: BaseReference
    base_lock: BaseLock | None
    files: tuple[Entry, ...]
    key: str

    @property
    def base_bytes(self) -> int:
        """What has to be fetched for the base when nothing is cached, as far as its lock can tell."""
        return self.base_lock.size_bytes if self.base_lock else 0

    @property
    def labels(self) -> dict[str, str]:
        """What the image says of itself: its locks and its base. The commit is not among them: many give one image."""
        labels = {"org.opencontainers.image.base.name": self.base.name, "repro-harness.lock": self.lock.digest}
        if self.base_lock:
            return {**labels, "repro-harness.base-lock": self.base_lock.digest}
        return {**labels, "org.opencontainers.image.base.digest": self.base.digest}


def read_recipe(root: Path, name: str) -> Recipe:
    """Read what an image is made from.

    Raises:
        UsageError: a file is missing or malformed.
    """
    lock_file = root / "lockfiles" / f"{check_image_name(name)}.lock"
    folder = root / "images" / name
    if not folder.is_dir() and not lock_file.is_file() and not lock_file.with_suffix(".in").is_file():
        raise no_such("image", name, image_names(root), "locks in lockfiles/, folders in images/")
    own = folder if folder.is_dir() else STOCK
    dockerfile = read_text(own / "Dockerfile", f"an image {name!r} needs images/{name}/Dockerfile")
    lock_text = read_text(lock_file, f"write it with `harness lock {name}`")
    base = read_base(dockerfile, f"images/{name}/Dockerfile")
    base_file = image_file(root, f"lockfiles/{base.name}.lock")
    base_text = "" if base.digest else read_text(base_file, f"write it with `harness lock {base.name}`")
    common = {entry.path: entry for entry in (*_files(STOCK, "*.py"), *_files(root / "images", "*.py"))}
    files = (*_files(own, "*" if own == folder else "Dockerfile"), *common.values())
    materials = {f"context/{entry.path} {entry.mode:o}": Path(entry.archive).read_bytes() for entry in files}
    materials |= {"lock": lock_text.encode(), "base": f"{base.name}@{base.digest} {base_text}".encode()}
    materials |= {"builder": BUILDER_VERSION, "rewriter": REWRITER_VERSION, "base version": BASE_VERSION}
    return Recipe(
        name=name,
        lock=parse_lock(lock_text, f"{name}.lock"),
        base=base,
        base_lock=parse_base_lock(base_text, f"{base.name}.lock") if base_text else None,
        files=files,
        key=image_key(materials),
    )


def build_context(recipe: Recipe, wheels: tuple[Path, ...], folder: Path) -> tuple[Entry, ...]:
    """The build context: the image's own files, the lock as pip reads it, and the wheels in the lock's order."""
    requirements = folder / "requirements.lock"
    pins = [pin for pin in recipe.lock.pins if pin.wheel]
    chosen = (dataclasses.replace(pin, hashes=(pin.wheel.sha256,), marker="") for pin in pins if pin.wheel)
    requirements.write_text(render_pins(tuple(chosen)), encoding="utf-8")
    entries = [*map(partial(_standing, folder=folder), recipe.files), _context_entry(requirements, requirements.name)]
    entries.append(Entry(path="wheels", kind="dir", mode=0o755))
    named = zip(recipe.lock.wheels, wheels, strict=True)
    entries += [_context_entry(path, f"wheels/{wheel.filename}") for wheel, path in named]
    return canonical(entries)


def _standing(entry: Entry, folder: Path) -> Entry:
    """A file of the context; of the Dockerfile a copy that stands on the argument BASE, if it does not by itself."""
    if entry.path != "Dockerfile":
        return entry
    text = Path(entry.archive).read_text(encoding="utf-8")
    copy = folder / "Dockerfile"
    copy.write_text(stand_on_argument(text), encoding="utf-8")
    return entry if copy.read_text(encoding="utf-8") == text else _context_entry(copy, entry.path)


def _files(folder: Path, pattern: str) -> tuple[Entry, ...]:
    """The files of a folder, `*` for all below it, as members of a context."""
    found = sorted(folder.rglob("*") if pattern == "*" else folder.glob(pattern))
    paths = [path for path in found if path.is_file() and "__pycache__" not in path.parts]
    if links := [path for path in paths if path.is_symlink()]:
        raise UsageError(f"{links[0]} is a link", "put the file itself into the image's folder")
    return tuple(_context_entry(path, str(path.relative_to(folder))) for path in paths)


def _context_entry(path: Path, name: str) -> Entry:
    """A file of the context; of its mode only whether it can be executed counts."""
    status = path.stat()
    mode = 0o755 if status.st_mode & 0o100 else 0o644
    return Entry(path=name, kind="file", mode=mode, size=status.st_size, archive=str(path))
