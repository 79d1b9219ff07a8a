"""A process that reads code for a review: JSON lines in, JSON lines out. It dies alone.

in   {"setup": path of a JSON file}, then one {"kind", "paths", "avoid", "known"} after the other
out  {"ready": true}; {"reading": path} before each file; {"answer": {...}} after each task
"""

from __future__ import annotations

import gc
import json
import resource
import sys
from pathlib import Path
from typing import Any, BinaryIO

from harness.review.tasks import Tasks, with_deep_stack


def main() -> None:
    """Serve until the input ends."""
    source, sink = sys.stdin.buffer, sys.stdout.buffer
    setup = json.loads(Path(json.loads(source.readline())["setup"]).read_bytes())
    resource.setrlimit(resource.RLIMIT_AS, (setup["memory_bytes"],) * 2)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    tasks = Tasks(
        root=Path(setup["root"]),
        sources=setup["sources"],
        surroundings=setup["surroundings"],
        announce=lambda path: _write(sink, {"reading": path}),
    )
    gc.disable()  # syntax trees are millions of objects without garbage; what is dropped is collected between tasks
    _write(sink, {"ready": True})
    with_deep_stack(lambda: _serve(tasks, source, sink))


def _serve(tasks: Tasks, source: BinaryIO, sink: BinaryIO) -> None:
    while line := source.readline():
        task = json.loads(line)
        held = tasks.held_bytes
        tasks.avoid, tasks.known = task["avoid"], tuple(task["known"])
        answer = tasks.do(task["kind"], task["paths"])
        if tasks.held_bytes < held:
            gc.collect()
        _write(sink, {"answer": answer})


def _write(sink: BinaryIO, value: dict[str, Any]) -> None:
    sink.write(json.dumps(value).encode() + b"\n")
    sink.flush()


if __name__ == "__main__":
    main()
