"""Worker processes of a review: a file that kills or hangs one is told, and the others go on.

Each worker gets one task at a time and says which file it is about to read. Who dies or takes too long is replaced, and
the file it was reading is avoided from then on, also where others import it.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import harness
from harness.review.tasks import Answer, Tasks, with_deep_stack

LIMIT_S = 60.0  # for one task: the largest file that is read takes about 20 s
START_S = 120.0  # for a process to start and import the rules, on a machine that is busy
MEMORY_BYTES = 4 << 30  # of address space, each worker
_CHUNK = 1 << 20
_BOOT = "import sys; sys.path.append({folder!r}); from harness.review.worker import main; main()"

Task = tuple[str, tuple[str, ...]]
"""Its kind, and the paths it is about."""


@dataclass(slots=True, kw_only=True)
class Pool:
    """Does tasks on a tree in several processes, or in this one if there are none.

    Attributes:
        root: the tree.
        sources: digest by path, of every Python file.
        surroundings: digest by path, of what stands around the code.
        num_workers: processes; 0 does everything here.
        limit_s: for one task.
        memory_bytes: of address space for each process.
        known: ids of all rules.
        unread: why, by path.
    """

    root: Path
    sources: Mapping[str, str]
    surroundings: Mapping[str, str]
    num_workers: int
    limit_s: float = LIMIT_S
    memory_bytes: int = MEMORY_BYTES
    known: tuple[str, ...] = ()
    unread: dict[str, str] = field(default_factory=dict)
    _avoid: dict[str, str] = field(default_factory=dict)
    _workers: list[_Worker] = field(default_factory=list)
    _here: Tasks | None = None
    _setup: IO[bytes] | None = None

    def __enter__(self) -> Pool:
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self._workers:
            worker.end()
        self._workers.clear()
        if self._setup is not None:
            self._setup.close()

    def do(self, tasks: Sequence[Task], done: Callable[[int], None]) -> list[Answer | None]:
        """The answers, in the order of the tasks; None for one that could not be done.

        Args:
            tasks: neighbours go to the same worker, for what they import is kept there.
            done: told how many are done or being done.

        Raises:
            RuntimeError: a worker does not even start.
        """
        answers: list[Answer | None] = [None] * len(tasks)
        if self.num_workers == 0:
            self._here = self._here or Tasks(self.root, self.sources, self.surroundings)
            here = self._here
            here.known = self.known
            answers[:] = with_deep_stack(lambda: [here.do(kind, list(paths)) for kind, paths in tasks])
            for answer in answers:
                self._take_unread(answer)
            return answers
        waiting = deque(range(len(tasks)))
        with selectors.DefaultSelector() as selector:
            self.start(len(tasks))
            for worker in self._workers:
                selector.register(worker.stdout, selectors.EVENT_READ, worker)
            while waiting or any(worker.task is not None for worker in self._workers):
                self._hand_out(tasks, waiting)
                for key, _ in selector.select(self._patience()):
                    key.data.receive()
                self._collect(tasks, answers, waiting, selector)
                done(len(tasks) - len(waiting))
        return answers

    @property
    def setup(self) -> str:
        """The file that workers learn from what the tree is; a pipe would make each wait for the one before it."""
        if self._setup is None:
            self._setup = tempfile.NamedTemporaryFile(prefix="harness-review-")  # noqa: SIM115 - closed with the pool
            value = {
                "root": str(self.root),
                "sources": dict(self.sources),
                "surroundings": dict(self.surroundings),
                "memory_bytes": self.memory_bytes,
            }
            self._setup.write(json.dumps(value).encode())
            self._setup.flush()
        return self._setup.name

    def start(self, num_tasks: int) -> None:
        """Start the processes, none of them for nothing; they are ready when they say so."""
        while len(self._workers) < min(self.num_workers, num_tasks):
            self._workers.append(_Worker.start(self, is_last=len(self._workers) % 2 == 1))

    def _hand_out(self, tasks: Sequence[Task], waiting: deque[int]) -> None:
        """One worker takes from the front, the next from the back: each keeps to its own part of the tree."""
        for worker in self._workers:
            if worker.is_ready and worker.task is None and waiting:
                number = waiting.pop() if worker.is_last else waiting.popleft()
                worker.give(number, tasks[number], self)

    def _patience(self) -> float:
        """How long to wait for an answer: until the first worker is late."""
        now = time.monotonic()
        left = [worker.due - now for worker in self._workers if worker.is_busy]
        return max(0.01, min(left, default=0.01))

    def _collect(
        self,
        tasks: Sequence[Task],
        answers: list[Answer | None],
        waiting: deque[int],
        selector: selectors.BaseSelector,
    ) -> None:
        for place, worker in enumerate(self._workers):
            if worker.answer is not None and worker.task is not None:
                answers[worker.task] = worker.answer
                self._take_unread(worker.answer)
                worker.task, worker.answer = None, None
            is_late = worker.is_busy and time.monotonic() > worker.due
            if not (worker.is_gone or is_late):
                continue
            selector.unregister(worker.stdout)
            reason = worker.end(is_late=is_late)
            if worker.task is not None:
                paths = tasks[worker.task][1]
                culprits = paths if len(paths) > 1 else (worker.reading or paths[0],)
                self._avoid |= dict.fromkeys(culprits, reason)
                self.unread |= dict.fromkeys(culprits, reason)
                if paths[0] not in culprits:
                    waiting.appendleft(worker.task)  # it only imports the culprit: again, without it
            elif not worker.is_ready:
                raise RuntimeError(f"a process of the review does not start: {reason}\n{worker.errors()}")
            self._workers[place] = _Worker.start(self, is_last=worker.is_last)
            selector.register(self._workers[place].stdout, selectors.EVENT_READ, self._workers[place])

    def _take_unread(self, answer: Answer | None) -> None:
        for path, reason in (answer or {}).get("unread", ()):
            self.unread.setdefault(path, reason)


@dataclass(slots=True)
class _Worker:
    process: subprocess.Popen[bytes]
    stdout: IO[bytes]
    stderr: IO[bytes]
    is_last: bool
    limit_s: float
    is_ready: bool = False
    is_gone: bool = False
    since: float = field(default_factory=time.monotonic)
    task: int | None = None
    reading: str = ""
    answer: Answer | None = None
    rest: bytearray = field(default_factory=bytearray)

    @classmethod
    def start(cls, pool: Pool, *, is_last: bool) -> _Worker:
        folder = str(Path(harness.__file__).resolve().parents[1])
        stderr = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the worker
        options = ("-I", "-B") if sys.dont_write_bytecode else ("-I",)  # -I: nothing is imported from the cwd
        process = subprocess.Popen(
            [sys.executable, *options, "-c", _BOOT.format(folder=folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stderr,
            start_new_session=True,  # Ctrl-C ends the parent, which ends its workers
        )
        assert process.stdout is not None
        worker = cls(process, process.stdout, stderr, is_last, pool.limit_s)
        os.set_blocking(process.stdout.fileno(), False)
        worker.send({"setup": pool.setup})
        return worker

    @property
    def due(self) -> float:
        """When it has to have done what it owes, on the monotonic clock."""
        return self.since + (self.limit_s if self.is_ready else START_S)

    @property
    def is_busy(self) -> bool:
        """It owes something: its start, or an answer."""
        return not self.is_ready or self.task is not None

    def send(self, value: dict[str, Any]) -> None:
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(json.dumps(value).encode() + b"\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            self.is_gone = True

    def give(self, number: int, task: Task, pool: Pool) -> None:
        self.task, self.since, self.reading = number, time.monotonic(), ""
        known = pool.known if task[0] == "surroundings" else ()
        self.send({"kind": task[0], "paths": list(task[1]), "avoid": pool._avoid, "known": known})

    def receive(self) -> None:
        data = os.read(self.stdout.fileno(), _CHUNK)
        if not data:
            self.is_gone = True
            return
        self.rest += data
        if b"\n" in data:
            *lines, rest = self.rest.split(b"\n")
            self.rest = rest
            for line in lines:
                self.take(json.loads(line))

    def take(self, message: dict[str, Any]) -> None:
        if "reading" in message:
            self.reading = message["reading"]
        elif "answer" in message:
            self.answer = message["answer"]
        else:
            self.is_ready = True

    def end(self, *, is_late: bool = False) -> str:
        """End the process; returns why it had to end."""
        if self.process.poll() is None and (is_late or not self.is_gone):
            self.process.kill()
        status = self.process.wait()
        for stream in (self.process.stdin, self.stdout):
            if stream is not None:
                with contextlib.suppress(BrokenPipeError):
                    stream.close()
        if is_late:
            return f"not reviewed within {self.limit_s:g} s"
        if status < 0:
            return f"the process that read it was killed ({signal.Signals(-status).name})"
        return f"the process that read it ended ({status})"

    def errors(self) -> str:
        """The end of what it wrote to its standard error."""
        self.stderr.seek(0)
        return self.stderr.read().decode("utf-8", "replace")[-2000:]
