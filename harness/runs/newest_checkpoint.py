"""What a killed training can go on from: whether it has saved, and `{latest:GLOB}`, its newest complete checkpoint."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from harness.documents.experiment import LATEST
from harness.errors import EvidenceError, UsageError
from harness.evidence.ledger import Event, parse_events
from harness.system.safe_read import safe_read

_MAX_BYTES = 1 << 30
_NUMBERS = re.compile(r"(\d+)")


def has_saved(runs: Path) -> bool:
    """Whether a training has written a checkpoint to its end; what is saved before the first step is none."""
    return any(event.kind == "save_end" and event.fields.get("step") for event in _events(runs))


def with_newest(command: tuple[str, ...], folder: Path, seen_as: str) -> tuple[str, ...] | None:
    """The command with each `{latest:GLOB}` replaced by a path below {output}; None where nothing complete matches.

    Args:
        command: its words.
        folder: of the trajectory, with `output` and `runs`.
        seen_as: the path that `output` has for the training, to which its links lead.
    """
    if not any(LATEST.search(word) for word in command):
        return command
    torn = _torn(folder / "runs")
    newest: dict[str, str] = {}
    for glob in {found for word in command for found in LATEST.findall(word)}:
        path = _newest(folder / "output", glob, torn, seen_as)
        if path is None:
            return None
        newest[glob] = f"{{output}}/{path}"
    return tuple(LATEST.sub(lambda match: newest[match[1]], word) for word in command)


def check_globs(command: tuple[str, ...], folder: Path) -> None:
    """Refuse a `{latest:GLOB}` that nothing answers to of what a whole training left or has saved.

    Raises:
        UsageError: it names one; what was saved is told.
    """
    saved = {str(event.fields.get("path")) for event in _events(folder / "runs") if event.kind in ("save_end", "move")}
    names = {one for path in saved for one in (PurePosixPath(path), *PurePosixPath(path).parents)}
    for glob in {found for word in command for found in LATEST.findall(word)}:
        if not any((folder / "output").glob(glob)) and not any(name.match(glob) for name in names):
            told = f"it saved {', '.join(sorted(saved)[:4])}" if saved else "it saved nothing that was seen"
            raise UsageError(
                f"{{latest:{glob}}} matches nothing that the straight run left; {told}", "correct `resume`"
            )


def _newest(output: Path, glob: str, torn: frozenset[str], seen_as: str) -> str | None:
    """The last that was written, of those that no kill has torn and that lack no file that an earlier one has."""
    named = (output / glob, *output.glob(glob))  # glob does not find a link that leads nowhere outside of the run
    found = {path for one in named if (path := _followed(output, one, seen_as)) is not None}
    complete: list[Path] = []
    for path in sorted(found, key=lambda path: (_written(path), _natural(path.name))):
        names = _names(path)
        is_torn = any(_is_below(name, path.relative_to(output).as_posix()) for name in torn)
        if not is_torn and (not complete or names >= _names(complete[-1])):
            complete.append(path)
    return complete[-1].relative_to(output).as_posix() if complete else None


def _followed(output: Path, path: Path, seen_as: str) -> Path | None:
    """What a link such as `latest.pt` stands for; None for one that leads out of the output, or to a link."""
    if not path.is_symlink():
        return path if path.exists() else None
    target = os.path.normpath(Path(seen_as) / path.parent.relative_to(output) / path.readlink())
    if not _is_below(target, seen_as):
        return None
    found = output / Path(target).relative_to(seen_as)
    return found if found.exists() and found.resolve() == output.resolve() / found.relative_to(output) else None


def _torn(runs: Path) -> frozenset[str]:
    """The files, by their path below the output, whose last write did not come to its end."""
    open_: set[str] = set()
    for event in _events(runs):
        path = str(event.fields.get("path"))
        if event.kind == "save_begin":
            open_.add(path)
        elif event.kind == "save_end":
            open_.discard(path)
    return frozenset(open_)


def _events(runs: Path) -> Iterator[Event]:
    for number in sorted(int(path.name) for path in runs.iterdir() if path.name.isdigit()):
        for path in sorted((runs / str(number)).glob("events*.jsonl")):
            with contextlib.suppress(EvidenceError):  # it is judged elsewhere
                data = bytes(safe_read(runs / str(number), path.name, max_bytes=_MAX_BYTES))
                yield from parse_events(data, path.name, killed=True)


def _written(path: Path) -> int:
    """When the last file of a checkpoint was written, in ns."""
    times = [one.lstat().st_mtime_ns for one in (path, *path.rglob("*")) if not one.is_dir()]
    return max(times, default=0)


def _names(path: Path) -> frozenset[str]:
    return frozenset(one.relative_to(path).as_posix() for one in path.rglob("*")) if path.is_dir() else frozenset()


def _natural(name: str) -> list[tuple[int, str]]:
    """So that `checkpoint-10` comes after `checkpoint-9`."""
    return [(int(part), "") if part.isdigit() else (0, part) for part in _NUMBERS.split(name)]


def _is_below(name: str, folder: str) -> bool:
    return name == folder or name.startswith(f"{folder}/")
