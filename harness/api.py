"""The harness for Python programs: what the commands of the same names do, as functions with typed results.

    import harness

    result = harness.certify("tiny", root="my-checkout", runner="host", progress=print)
    assert result.verdict.verdict == "CERTIFIED"

Nothing is printed. A run that is not reproducible is a result; what could not be done or decided is an exception of
`harness.errors`, with a problem, a remedy and the exit code that the command would have given. Importing this module is
cheap: each function imports what it needs. `harness.verify` and `harness.review` are rooms as well, so a type checker
sees the functions only here.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Literal, cast, get_args

if TYPE_CHECKING:
    from typing import TextIO

    from harness.judge.elementwise import FileDiff
    from harness.review.target import Reviewed
    from harness.runs.compare_paths import FolderDiff
    from harness.system.store import Store
    from harness.verify.verification import Verification
    from harness.workflow.results import Result

Progress = Callable[[str], object]


def certify(
    name: str,
    *,
    root: str | Path = ".",
    runner: Literal["auto", "docker", "host"] = "auto",
    engine: Literal["auto", "none"] = "auto",
    gpu: str | None = None,
    python: str | Path | None = None,
    steps: int | None = None,
    overrides: Iterable[str] = (),
    allow_dirty: bool = False,
    progress: Progress | None = None,
) -> Result:
    """Train an experiment straight, again, and with kills and resumes; compare everything bit for bit; give a verdict.

    Args:
        name: of the experiment, in `pipelines/experiments/` below `root`.
        root: the project's checkout.
        runner: `docker`, `host`, or `auto` for containers where an engine can be had.
        engine: `none` never uses or installs an engine.
        gpu: which GPUs, by UUID or index, separated by commas; by default the least used.
        python: train with this interpreter, on the host.
        steps: train only so many steps of each run.
        overrides: what is set in the experiment for this run, such as `config.lr=0.001`.
        allow_dirty: certify uncommitted code.
        progress: called with each line of progress.

    Returns:
        The run's folder, its verdict and its manifest.

    Raises:
        HarnessError: nothing could be started, or it could not be ended.
    """
    from harness.errors import UsageError, not_installed

    try:
        from harness.report.console import Progress as Console
        from harness.runs.request import Request
        from harness.runs.runtime import Runner
        from harness.system.engine import Wanted
        from harness.workflow.certify import certify as certified
    except ModuleNotFoundError as error:
        raise not_installed(error) from error

    for option, value, choices in (("runner", runner, get_args(Runner)), ("engine", engine, get_args(Wanted))):
        if value not in choices:
            raise UsageError(f"{option} is {value!r}", f"it is one of {', '.join(choices)}")
    if isinstance(overrides, str):
        raise UsageError(f"overrides is {overrides!r}", "give a list, such as ['config.lr=0.001']")
    for option, given, kind in (("name", name, str), ("gpu", gpu, str), ("steps", steps, int)):
        if given is not None and type(given) is not kind:
            raise UsageError(f"{option} is {given!r}", f"give a value of type {kind.__name__}")
    request = Request(
        root=_path(root).resolve(),
        name=name,
        runner=runner,
        engine=engine,
        gpu=gpu,
        python=None if python is None else _path(python),
        steps=steps,
        overrides=tuple(overrides),
        allow_dirty=allow_dirty,
    )
    with Console(cast("TextIO", _Lines(progress))) as console:
        return certified(request, _store(progress), console)


def verify(path: str | Path, *, root: str | Path = ".", progress: Progress | None = None) -> Verification:
    """Recompute every digest, signature and verdict of an archive, a run's folder, a manifest or a certificate.

    Args:
        path: what is verified; nothing of it is trusted or run.
        root: a checkout whose `manifests/keys` may name the key that signed.
        progress: called with each line of progress.

    Returns:
        `word` is CONSISTENT, PARTIAL (another version wrote it) or TAMPERED; `checks` says what was recomputed,
        `not_checked` what was not.

    Raises:
        UsageError: there is nothing that could be verified.
    """
    from harness.workflow.verify import verify as verified

    return verified(_path(path), _path(root).resolve(), _store(progress), _Lines(progress).tell)


def diff(a: str | Path, b: str | Path) -> FileDiff | FolderDiff:
    """Compare two safetensors or .pt files element by element, or two trajectory folders step by step.

    Raises:
        UsageError: one is a file and the other a folder, or a folder is no trajectory.
        EvidenceError: something cannot be read.
    """
    from harness.runs.compare_paths import compare_paths

    return compare_paths(_path(a), _path(b))


def review(path: str | Path, *, root: str | Path = ".", progress: Progress | None = None) -> Reviewed:
    """Check training code against the checklist without running it.

    Args:
        path: a Python file, a folder, or the name of an experiment below `root`.
        root: the project's checkout.
        progress: called with each line of progress.

    Raises:
        UsageError: there is no such target, or its pyproject.toml is malformed.
    """
    from harness.review.target import review_target

    return review_target(_path(root).resolve(), str(_path(path)), _store(progress), _Lines(progress).tell)


def make_callable(room: ModuleType, function: Callable[..., object]) -> None:
    """Let a room be called as the function of its name.

    Source: https://docs.python.org/3/reference/datamodel.html#customizing-module-attribute-access
    """

    class Room(ModuleType):
        def __call__(self, *arguments: object, **options: object) -> object:
            return function(*arguments, **options)

    room.__class__ = Room


class _Lines:
    """A stream whose lines go to a function."""

    def __init__(self, progress: Progress | None) -> None:
        self._progress = progress

    def tell(self, text: str) -> None:
        if self._progress is not None:
            self._progress(text)

    def write(self, text: str) -> None:
        self.tell(text.rstrip("\n"))

    def flush(self) -> None:
        pass

    def isatty(self) -> bool:
        return False


def _path(given: str | Path) -> Path:
    """A path that a file system can have.

    Raises:
        UsageError: it has a NUL, or is of another type.
    """
    from harness.errors import UsageError

    try:
        path = Path(given)
    except TypeError as error:
        raise UsageError(f"{given!r} is no path", "give a string or a pathlib.Path") from error
    if "\0" in str(path):
        raise UsageError(f"{str(path)!r} is no path: it holds a NUL", "give the path of a file or folder")
    return path


def _store(progress: Progress | None) -> Store:
    from harness.system.store import open_store

    return open_store(None, os.environ, _Lines(progress).tell)
