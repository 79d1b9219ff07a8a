"""Standard output and error whose reader may go away: what a command decided stays decided, and so does its exit code.

Click ends a command with 1 at the first broken pipe, and 1 is a verdict here.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

from harness.errors import HostError


class _Stream:
    """A text stream; when its reader has gone, as behind `| head -1`, nobody is told any more.

    An answer that a file on a full disk has no room for is an error; progress that it has no room for is not.
    """

    def __init__(self, stream: TextIO, *, is_answer: bool) -> None:
        self._stream, self._is_answer = stream, is_answer

    def write(self, text: str) -> int:
        with self._until_it_breaks():
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with self._until_it_breaks():
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    @contextlib.contextmanager
    def _until_it_breaks(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            nobody = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nobody, self._stream.fileno())
            os.close(nobody)
            if self._is_answer and not isinstance(error, BrokenPipeError):
                problem = f"standard output cannot be written: {error.strerror}"
                raise HostError(problem, "make room where it goes") from error


def _nobody() -> TextIO:
    """In place of a stream that was closed from the start; for as long as the process lives, as a stream is."""
    return Path(os.devnull).open("w", encoding="utf-8")


@contextlib.contextmanager
def readers_may_leave() -> Iterator[None]:
    """Make it so for the commands inside.

    Raises:
        HostError: standard output cannot be written.
    """
    kept = sys.stdout, sys.stderr
    sys.stdout = _Stream(kept[0] or _nobody(), is_answer=True)
    sys.stderr = _Stream(kept[1] or _nobody(), is_answer=False)
    try:
        yield
    finally:
        sys.stdout, sys.stderr = kept
