"""Tasks in several processes: a file that kills or hangs the one that reads it is told, and the others go on.

A process is a fork, so it begins with everything imported and nothing of the reviewed tree can get into its imports.
Where one dies, `concurrent.futures` gives up all of them and does not say whose fault it was: the tasks that were not
answered are done again, the first of them alone, and who then dies again died of the file it had announced.
"""

from __future__ import annotations

import contextlib
import gc
import mmap
import multiprocessing
import signal
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from itertools import chain

from harness.review.source_tree import SourceTree
from harness.review.tasks import Answer, Reader, Task, with_deep_stack

LIMIT_S = 60.0  # for one task: the largest file that is read takes about 20 s
MEMORY_BYTES = 4 << 30  # of address space, each process
_BATCH = 16  # neighbouring tasks go to one process, which keeps what they import
_IDLE_LIMITS = 10  # a process whose parent was killed ends after so many limits
_LOST = (BrokenProcessPool, MemoryError, RuntimeError)  # the last where there is no memory for a thread
_reader: Reader | None = None  # of a process of the pool


class Processes:
    """Does tasks on a tree in several processes, or in this one if there are none.

    Attributes:
        tree: its files.
        num_workers: processes; 0 does everything here.
        limit_s: for one task.
        memory_bytes: of address space for each process.
        unread: why a file could not be reviewed, by path.
    """

    def __init__(
        self, tree: SourceTree, num_workers: int, limit_s: float = LIMIT_S, memory_bytes: int = MEMORY_BYTES
    ) -> None:
        self.tree, self.num_workers = tree, num_workers
        self.limit_s, self.memory_bytes = limit_s, memory_bytes
        self.unread: dict[str, str] = {}
        self._reading = mmap.mmap(-1, 1 << 16)  # shared: the path that was read last
        self._reader = Reader(tree, announce=self._announce)
        self._pool: ProcessPoolExecutor | None = None

    def __enter__(self) -> Processes:
        return self

    def __exit__(self, *_: object) -> None:
        self._end()
        self._reading.close()

    def do(self, tasks: Sequence[Task], done: Callable[[int], None]) -> dict[Task, Answer]:
        """The answers; none for a task that could not be done."""
        answers: dict[Task, Answer] = {}
        if self.num_workers == 0:
            answers = dict(zip(tasks, with_deep_stack(lambda: [self._reader.do(one) for one in tasks]), strict=True))
        waiting = [tasks[first : first + _BATCH] for first in range(0, len(tasks), _BATCH)] if self.num_workers else []
        while waiting:
            try:
                for batch, found in zip(
                    waiting, self._started().map(partial(_answers, self.limit_s), waiting), strict=True
                ):
                    answers |= zip(batch, found, strict=True)
                    done(len(answers))
                waiting = []
            except _LOST:
                self._end()
                left = [batch for batch in waiting if batch[0] not in answers]
                answers |= {task: self._alone(task) for task in chain(*left[: self.num_workers])}
                waiting = left[self.num_workers :]
        for answer in answers.values():
            self.unread = answer.unread | self.unread
        return answers

    def _alone(self, task: Task) -> Answer:
        """A task's answer by a process of its own, without the files that others died of."""
        while True:
            started = time.monotonic()
            try:
                with self._executor(1) as executor:
                    return executor.submit(_answers, self.limit_s, [task]).result()[0]
            except _LOST:
                is_late = time.monotonic() - started >= self.limit_s
                reason = f"not reviewed within {self.limit_s:g} s" if is_late else "the process that read it died"
                self._reading.seek(0)
                culprit = self._reading.readline().decode().rstrip("\n") or task.path
                culprits = [culprit] if task.path else self.tree.surroundings
                self._reader.avoid |= dict.fromkeys(culprits, reason)
                if task.path in ("", culprit):
                    return Answer(unread=dict.fromkeys(culprits, reason))

    def _started(self) -> ProcessPoolExecutor:
        self._pool = self._pool or self._executor(self.num_workers)
        return self._pool

    def _executor(self, num_workers: int) -> ProcessPoolExecutor:
        arguments = (self._reader, self.memory_bytes)
        context = multiprocessing.get_context("fork")
        return ProcessPoolExecutor(num_workers, mp_context=context, initializer=_begin, initargs=arguments)

    def _end(self) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
            self._pool = None

    def _announce(self, path: str) -> None:
        self._reading.seek(0)
        self._reading.write(path.encode() + b"\n")


def _begin(reader: Reader, memory_bytes: int) -> None:
    """Prepare a process of the pool: signals end it, memory is bounded, garbage is not looked for."""
    global _reader
    _reader = reader
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGALRM):
        signal.signal(number, signal.SIG_DFL)
    import resource  # there is none where there is no fork

    with contextlib.suppress(ValueError):  # macOS knows no limit of address space
        resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    gc.disable()  # syntax trees are millions of objects without garbage; what is dropped is collected between tasks


def _answers(limit_s: float, tasks: Sequence[Task]) -> list[Answer]:
    """The answers of a process of the pool; a task that takes too long ends the process."""
    assert _reader is not None
    found = []
    for task in tasks:
        held = _reader.held_bytes
        signal.setitimer(signal.ITIMER_REAL, limit_s)
        found.append(with_deep_stack(partial(_reader.do, task)))
        if _reader.held_bytes < held:
            gc.collect()
    signal.setitimer(signal.ITIMER_REAL, _IDLE_LIMITS * limit_s)
    return found
