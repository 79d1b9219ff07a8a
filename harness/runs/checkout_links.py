"""A checkout in the output folder: links to the code and to inputs, for scripts that are started where they write.

Most scripts are started in their repository, read `data/train.jsonl` there and write `checkpoints/` beside it. The code
is the training's own copy and read-only, so such a script is started in its output folder, in which every file of the
code is a link. After each run the links are taken away again: what stays is what the training wrote.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath

from harness.runs.context import RunContext


@contextlib.contextmanager
def checkout_in(output: Path, context: RunContext) -> Iterator[None]:
    """Links below `output` for as long as a run takes."""
    made = _make(output, _targets(context))
    try:
        yield
    finally:
        for path in made.links:
            if path.is_symlink():
                path.unlink()
        for folder in reversed(made.folders):
            with contextlib.suppress(OSError):  # the training wrote into it
                folder.rmdir()


class _Made:
    """What was made, so that nothing else is taken away."""

    def __init__(self) -> None:
        self.links: list[Path] = []
        self.folders: list[Path] = []


def _targets(context: RunContext) -> Mapping[str, str]:
    """Where a training sees each file of the code, and each input that lies in the project, by its path there.

    An input that is a folder stands for what the code has of it.
    """
    mounts = context.mounts()
    code = context.sandbox.path(mounts["code"])
    files = (path for path in context.code.rglob("*") if not path.is_dir() or path.is_symlink())
    paths = [path.relative_to(context.code).as_posix() for path in files]
    found = {path: f"{code}/{path}" for path in paths}
    for name, declared in context.experiment.inputs.items():
        place = PurePosixPath(declared.file or declared.folder or "/")
        if not place.is_absolute():
            found = {path: target for path, target in found.items() if place not in PurePosixPath(path).parents}
            found[str(place)] = context.sandbox.path(mounts[f"inputs/{name}"])
    return found


def _make(output: Path, targets: Mapping[str, str]) -> _Made:
    """What is there already was written by an earlier run, and stays."""
    made = _Made()
    for path, target in sorted(targets.items()):
        link = output / path
        with contextlib.suppress(FileExistsError, NotADirectoryError):
            for folder in reversed(link.relative_to(output).parents[:-1]):
                if not (output / folder).exists():
                    (output / folder).mkdir()
                    made.folders.append(output / folder)
            link.symlink_to(target)
            made.links.append(link)
    return made
