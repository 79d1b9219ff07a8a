"""A checkout in the output folder: the code and links to inputs, for scripts that are started where they write.

Most scripts are started in their repository, read `data/train.jsonl` there, write `checkpoints/` beside it or beside
themselves, and write over results that are committed. So such a script is started in its output folder, which has
copies of the code's files. What is as it was after a run is taken away again: what stays is what the training wrote.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath

from harness.runs.context import RunContext
from harness.system.store import disk_errors

_State = tuple[int, ...]


@contextlib.contextmanager
def checkout_in(output: Path, context: RunContext) -> Iterator[None]:
    """A checkout below `output` for as long as a run takes."""
    made = _Made()
    try:
        with disk_errors("copying the code to where a script starts"):
            _make(output, context, made)
        yield
    finally:
        for path, state in made.files.items():
            if _state(path) == state:
                path.unlink()
        for folder in reversed(made.folders):
            with contextlib.suppress(OSError):  # the training wrote into it
                folder.rmdir()


class _Made:
    """What was made, so that nothing else is taken away."""

    def __init__(self) -> None:
        self.files: dict[Path, _State] = {}
        self.folders: list[Path] = []


def _make(output: Path, context: RunContext, made: _Made) -> None:
    """What is there already was written by an earlier run, and stays."""
    links = _inputs(context)
    files = (path for path in context.code.rglob("*") if not path.is_dir() or path.is_symlink())
    code = {PurePosixPath(path.relative_to(context.code)): path for path in files}
    given = {path: source for path, source in code.items() if not links.keys() & path.parents}
    for path in sorted({*given, *links}):
        with contextlib.suppress(FileExistsError, NotADirectoryError):
            for folder in reversed(path.parents[:-1]):
                if not (output / folder).is_dir() or (output / folder).is_symlink():
                    (output / folder).mkdir()
                    made.folders.append(output / folder)
            if path in links or given[path].is_symlink():
                (output / path).symlink_to(links.get(path) or given[path].readlink())
            elif _state(output / path) is None:
                shutil.copy2(given[path], output / path)
            else:
                continue
            made.files[output / path] = _state(output / path) or ()


def _inputs(context: RunContext) -> Mapping[PurePosixPath, str]:
    """Where a training sees each input that lies in the project; one that is a folder stands for what the code has."""
    mounts = context.mounts()
    declared = {name: one.file or one.folder or "/" for name, one in context.experiment.inputs.items()}
    return {
        PurePosixPath(place): context.sandbox.path(mounts[f"inputs/{name}"])
        for name, place in declared.items()
        if not PurePosixPath(place).is_absolute()
    }


def _state(path: Path) -> _State | None:
    """By which one sees that a file was written or replaced; None where there is none."""
    try:
        status = path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    return status.st_ino, status.st_size, status.st_mtime_ns
