"""The end of a training's log, for messages."""

from __future__ import annotations

from pathlib import Path

_TAIL_BYTES = 8192


def last_lines(log: Path, count: int = 8) -> str:
    """The end of a log, indented, for an error message."""
    try:
        with log.open("rb") as stream:
            stream.seek(max(0, log.stat().st_size - _TAIL_BYTES))
            return end_of_log(stream.read(), count)
    except OSError:
        return ""


def end_of_log(data: bytes, count: int = 8) -> str:
    """The last lines of what a log ends with, indented and printable."""
    lines = data[-_TAIL_BYTES:].decode("utf-8", "replace").splitlines()
    printable = ("".join(c if c.isprintable() else "?" for c in line) for line in lines[-count:])
    return "\n".join("  | " + line[:300] for line in printable)
