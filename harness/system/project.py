"""The files of a project, its locks and experiments, and the record of the checkouts that use the cache."""

from __future__ import annotations

import contextlib
import re
from pathlib import Path
from typing import TYPE_CHECKING

from harness.documents.lockfile import Lockfile, digest_of, parse_lock
from harness.documents.names import NAME, check_experiment_name
from harness.errors import UsageError
from harness.system.sources import SOURCES
from harness.system.store import Store

if TYPE_CHECKING:
    from harness.documents.experiment import Experiment

EXPERIMENTS = Path("pipelines") / "experiments"
STOCK = SOURCES / "images" / "stock"
"""What every project has without writing it: a Dockerfile, the lock of its base, and what a Dockerfile runs."""
_STOCK_IMAGES = frozenset({"cpu", "cuda"})
_IMAGE_OF = re.compile(r"^image:\s*[\"']?([a-z0-9._-]+)", re.MULTILINE)
KIND = "checkouts"


def read_text(path: Path, remedy: str) -> str:
    """A file that a person wrote, in UTF-8.

    Raises:
        UsageError: it does not exist or cannot be read.
    """
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise UsageError(f"there is no file {path}", remedy) from error
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}", remedy) from error
    except ValueError as error:
        raise UsageError(f"{path} cannot be read: it is not UTF-8 text", remedy) from error


def read_lock(path: Path) -> Lockfile:
    """Read a wheel lock from a file.

    Raises:
        UsageError: it does not exist or is malformed.
    """
    return parse_lock(read_text(path, f"write it with `harness lock {path.stem}`"), path.name)


def read_experiment(root: Path, name: str, overrides: tuple[str, ...] = ()) -> Experiment:
    """The experiment of that name, with what is set for one run.

    Raises:
        UsageError: there is none, its file or one that it extends is wrong, or something else than it has is set.
    """
    from harness.documents.experiment import parse_experiment

    known = {path.stem: path for path in sorted((root / EXPERIMENTS).glob("*.yaml"))}
    check_experiment_name(name, tuple(known))

    def text(name: str) -> str | None:
        return read_text(known[name], "it must be UTF-8 text") if name in known else None

    return parse_experiment(text(name) or "", str(EXPERIMENTS / f"{name}.yaml"), text, overrides)


def experiment_name(root: Path, given: str) -> str:
    """The name that is given, or that of the experiment whose file is given by its path: from here, or below `root`."""
    path = Path(given)
    if path.suffix == ".yaml" and any(
        (above / path).resolve().parent == (root / EXPERIMENTS).resolve() for above in (Path(), root)
    ):
        return path.stem
    return given


def is_experiment(root: Path, name: str) -> bool:
    return NAME.fullmatch(name) is not None and (root / EXPERIMENTS / f"{name}.yaml").is_file()


def image_file(root: Path, path: str) -> Path:
    """Where a file of an image lies: `images/<name>/Dockerfile` or `lockfiles/<base>.lock`, the project's or ours."""
    own = root / path
    stock = STOCK / own.name
    return own if own.exists() or not stock.is_file() else stock


def image_names(root: Path) -> tuple[str, ...]:
    """The images of a project: those with a folder, and those that experiments name and that have a lock."""
    names = set(_STOCK_IMAGES)
    for path in (root / EXPERIMENTS).glob("*.yaml"):
        with contextlib.suppress(OSError, ValueError):
            names |= set(_IMAGE_OF.findall(path.read_text(encoding="utf-8")))
    locks = root / "lockfiles"
    locked = {name for name in names if any((locks / f"{name}{end}").is_file() for end in (".in", ".lock"))}
    return tuple(sorted(locked | {path.name for path in root.glob("images/*/")}))


def remember_checkout(store: Store, root: Path) -> None:
    path = str(root.resolve())
    if (store.read_record(KIND, checkout_key(path)) or {}).get("path") != path:
        store.write_record(KIND, checkout_key(path), {"path": path})


def checkout_key(path: str) -> str:
    """The name of a checkout's record: hex digits."""
    return digest_of(path.encode(errors="surrogateescape")).removeprefix("sha256:")
