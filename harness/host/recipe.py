"""Recipes: everything an image is made from, read from the project and digested into the image's key."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from harness.core.image import base_name, check_name, image_key
from harness.core.layer import Entry, canonical
from harness.core.lockfile import BaseLock, Lockfile, parse_base_lock, parse_lock, render_pins
from harness.errors import UsageError
from harness.host.base import BASE_VERSION

BUILDER_VERSION = b"1"
REWRITER_VERSION = b"1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """Everything that an image is made from, read and checked; `files` are those of `images/<name>/`."""

    name: str
    lock: Lockfile
    base_name: str
    base_lock: BaseLock
    files: tuple[Entry, ...]
    key: str


def read_recipe(root: Path, name: str) -> Recipe:
    """Read what an image is made from.

    Raises:
        UsageError: a file is missing or malformed.
    """
    folder = root / "images" / check_name(name)
    dockerfile = _text(folder / "Dockerfile", f"an image {name!r} needs images/{name}/Dockerfile")
    lock_text = _text(root / "lockfiles" / f"{name}.lock", f"write it with `harness lock {name}`")
    base = base_name(dockerfile, f"images/{name}/Dockerfile")
    base_text = _text(root / "lockfiles" / f"{base}.lock", f"write it with `harness lock {base}`")
    paths = [path for path in sorted(folder.rglob("*")) if path.is_file() and "__pycache__" not in path.parts]
    if links := [path for path in paths if path.is_symlink()]:
        raise UsageError(f"{links[0]} is a link", "put the file itself into the image's folder")
    files = tuple(_context_entry(path, str(path.relative_to(folder))) for path in paths)
    materials = {f"context/{entry.path} {entry.mode:o}": Path(entry.archive).read_bytes() for entry in files}
    materials |= {"lock": lock_text.encode(), "base lock": base_text.encode()}
    materials |= {"builder": BUILDER_VERSION, "rewriter": REWRITER_VERSION, "base": BASE_VERSION}
    return Recipe(
        name=name,
        lock=parse_lock(lock_text, f"{name}.lock"),
        base_name=base,
        base_lock=parse_base_lock(base_text, f"{base}.lock"),
        files=files,
        key=image_key(materials),
    )


def build_context(recipe: Recipe, wheels: tuple[Path, ...], folder: Path) -> tuple[Entry, ...]:
    """The build context: the image's own files, the lock as pip reads it, and the wheels."""
    requirements = folder / "requirements.lock"
    requirements.write_text(render_pins(recipe.lock.pins), encoding="utf-8")
    entries = [*recipe.files, _context_entry(requirements, requirements.name)]
    entries.append(Entry(path="wheels", kind="dir", mode=0o755))
    entries += [_context_entry(wheel, f"wheels/{wheel.name}") for wheel in wheels]
    return canonical(entries)


def _context_entry(path: Path, name: str) -> Entry:
    """A file of the context; of its mode only whether it can be executed counts."""
    status = path.stat()
    mode = 0o755 if status.st_mode & 0o100 else 0o644
    return Entry(path=name, kind="file", mode=mode, size=status.st_size, archive=str(path))


def _text(path: Path, remedy: str) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise UsageError(f"{path} cannot be read", remedy) from error
