"""One task of a review: a file by itself, the program that starts in a file, or what stands around the code.

A mistake in a rule does not end a review: it is told for the file, and what the other rules found is kept.
"""

from __future__ import annotations

import ast
import sys
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal, TypeVar

from harness.review.code import analysis
from harness.review.finding import Said
from harness.review.rules import RULES
from harness.review.source.execution import is_main_guard, is_script
from harness.review.source.module import MAX_BYTES, Module, UnreadableError, read_module
from harness.review.source.program import Program
from harness.review.source_tree import SourceTree, read_listed, reason_of
from harness.review.surroundings.surrounding_files import MAX_SURROUNDING_BYTES, decode_text
from harness.review.surroundings.tree import review_surroundings

_MAX_HELD_BYTES = 16 << 20  # of source whose modules are kept: about 40 times that in memory
_STACK_BYTES = 256 << 20
_RECURSION = 20_000  # frames: rules follow calls through functions, each with its own nesting
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Task:
    """What to do; the surroundings have no path, for they are judged together."""

    kind: Literal["module", "program", "surroundings"]
    path: str = ""


@dataclass(slots=True)
class Answer:
    """What a task found.

    Attributes:
        said: by the rules.
        unread: why a file could not be reviewed, by path.
        imports: of a module, the files of the tree that it imports; of a program, all that it reaches.
        is_script: a module that is made to be run.
        has_guard: by its `if __name__ == "__main__"`.
    """

    said: list[Said] = field(default_factory=list)
    unread: dict[str, str] = field(default_factory=dict)
    imports: tuple[str, ...] = ()
    is_script: bool = False
    has_guard: bool = False


@dataclass(slots=True)
class Reader:
    """Does tasks on a tree, one after the other, and keeps the modules that it read.

    Attributes:
        tree: its files.
        avoid: paths that are not to be read again, and why.
        announce: called with each path before it is read: whoever dies next died of it.
    """

    tree: SourceTree
    avoid: dict[str, str] = field(default_factory=dict)
    announce: Callable[[str], None] = field(default=lambda _: None)
    held_bytes: int = 0
    program: Program = field(init=False)
    _answer: Answer = field(default_factory=Answer)

    def __post_init__(self) -> None:
        self.program = Program(self.tree.sources, self.read)

    def do(self, task: Task) -> Answer:
        """A task's answer."""
        if self.held_bytes > _MAX_HELD_BYTES:
            self.program, self.held_bytes = Program(self.tree.sources, self.read), 0
        self._answer = Answer()
        if task.kind == "surroundings":
            self._surroundings()
        elif (module := self.program.module(task.path)) is None:
            self.read(task.path)  # it was read for another task, which told why
        elif task.kind == "module":
            self._module(module)
        else:
            self._program(module)
        return self._answer

    def read(self, path: str) -> Module | None:
        """A module, or None where it cannot be read; why is kept."""
        if path in self.avoid:
            self._answer.unread[path] = self.avoid[path]
            return None
        self.announce(path)
        try:
            data = read_listed(self.tree.root, path, self.tree.sources[path], MAX_BYTES)
            self.held_bytes += len(data)
            return read_module(path, data)
        except OSError as error:
            self._answer.unread[path] = reason_of(error)
        except UnreadableError as error:
            self._answer.unread[path] = str(error)
        except (RecursionError, MemoryError):
            self._answer.unread[path] = "nested too deeply to be read"
        return None

    def _module(self, module: Module) -> None:
        for check in analysis.MODULE_CHECKS:
            self._say(module, check, partial(check, self.program, module))
        imported = self._guarded([module.path], "imports", lambda: self.program.imports(module))
        self._answer.imports = tuple(one.path for one in imported or ())
        self._answer.is_script = is_script(module)
        self._answer.has_guard = any(isinstance(node, ast.If) and is_main_guard(node) for node in module.tree.body)

    def _program(self, module: Module) -> None:
        entry = self.program.entry(module)
        for check in analysis.ENTRY_CHECKS:
            self._say(module, check, partial(check, entry))
        closure = self._guarded([module.path], "closure", lambda: entry.closure)
        self._answer.imports = tuple(one.path for one in closure or ())

    def _surroundings(self) -> None:
        texts = {}
        for path, digest in sorted(self.tree.surroundings.items()):
            try:
                texts[path] = decode_text(read_listed(self.tree.root, path, digest, MAX_SURROUNDING_BYTES))
            except OSError as error:
                self._answer.unread[path] = reason_of(error)
            except UnreadableError as error:
                self._answer.unread[path] = str(error)
        found = self._guarded(texts, "review_surroundings", lambda: review_surroundings(texts, RULES))
        if found is not None:
            self._answer.said += found[0]
            self._answer.unread |= found[1]

    def _say(self, module: Module, check: Callable[..., Any], run: Callable[[], Iterable[Said]]) -> None:
        name = f"{check.__module__.rpartition('.')[2]}.{check.__name__}"
        self._answer.said += self._guarded([module.path], name, lambda: list(run())) or ()

    def _guarded(self, paths: Iterable[str], name: str, run: Callable[[], T]) -> T | None:
        try:
            return run()
        except Exception as error:
            problem = f"the check {name} failed on it ({type(error).__name__}): a bug of the harness, please report it"
            self._answer.unread |= dict.fromkeys(paths, problem)
            return None


def with_deep_stack(run: Callable[[], T]) -> T:
    """Call in a thread with a large stack, for rules recurse; what it raises is raised here."""
    found: list[T] = []
    raised: list[BaseException] = []

    def work() -> None:
        try:
            found.append(run())
        except BaseException as error:
            raised.append(error)

    stack_before, limit_before = threading.stack_size(_STACK_BYTES), sys.getrecursionlimit()
    sys.setrecursionlimit(_RECURSION)
    try:
        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        thread.join()
    finally:
        threading.stack_size(stack_before)
        sys.setrecursionlimit(limit_before)
    if raised:
        raise raised[0]
    return found[0]
