"""One task of a review: a file by itself, the program that starts in a file, or what stands around the code.

A task is done in a worker process (`worker.py`) or in this one. A mistake in a rule ends neither: it is told for
the file, and what the other rules found is kept.
"""

from __future__ import annotations

import ast
import sys
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from harness.review.code import analysis
from harness.review.saved import said_to_json
from harness.review.source.module import MAX_BYTES, Module, UnreadableError, read_module
from harness.review.source.program import Program, is_main_guard, is_script
from harness.review.source_tree import read_listed, reason_of
from harness.review.surroundings.surrounding_files import MAX_SURROUNDING_BYTES, decode_text
from harness.review.surroundings.tree import review_surroundings

_MAX_HELD_BYTES = 16 << 20  # of source whose modules are kept: about 40 times that in memory
_STACK_BYTES = 256 << 20
_RECURSION = 20_000  # frames: rules follow calls through functions, each with its own nesting

Answer = dict[str, Any]


@dataclass(slots=True)
class Tasks:
    """Does tasks on a tree, one after the other, and keeps the modules that it read.

    Attributes:
        root: the tree.
        sources: digest by path, of every Python file.
        surroundings: digest by path, of what stands around the code.
        known: ids of all rules, for the allow comments of surroundings.
        avoid: paths that killed a worker, and what is said about each.
        announce: called with each path before it is read: whoever dies next died of it.
    """

    root: Path
    sources: Mapping[str, str]
    surroundings: Mapping[str, str] = field(default_factory=dict)
    known: tuple[str, ...] = ()
    avoid: Mapping[str, str] = field(default_factory=dict)
    announce: Callable[[str], None] = field(default=lambda _: None)
    unread: dict[str, str] = field(default_factory=dict)
    held_bytes: int = 0
    program: Program = field(init=False)

    def __post_init__(self) -> None:
        self.program = Program(self.sources, self.read)

    def do(self, kind: str, paths: list[str]) -> Answer:
        """A task's answer: what was `said`, what stayed `unread`, and what the kind adds.

        Args:
            kind: `module`, `entry` or `surroundings`.
            paths: one file; those of the surroundings together.
        """
        if self.held_bytes > _MAX_HELD_BYTES:
            self.program, self.held_bytes = Program(self.sources, self.read), 0
        self.unread = {}
        answer: Answer = {"said": []}
        if kind == "surroundings":
            self._surroundings(paths, answer)
        elif (module := self.program.module(paths[0])) is not None:
            (self._module if kind == "module" else self._entry)(module, answer)
        else:
            self.read(paths[0])  # it was read for another task, which told why
        return {**answer, "unread": sorted(self.unread.items())}

    def read(self, path: str) -> Module | None:
        """A module, or None where it cannot be read; why is kept."""
        if path in self.avoid:
            self.unread[path] = self.avoid[path]
            return None
        self.announce(path)
        try:
            data = read_listed(self.root, path, self.sources[path], MAX_BYTES)
            self.held_bytes += len(data)
            return read_module(path, data)
        except OSError as error:
            self.unread[path] = reason_of(error)
        except UnreadableError as error:
            self.unread[path] = str(error)
        except (RecursionError, MemoryError):
            self.unread[path] = "nested too deeply to be read"
        return None

    def _module(self, module: Module, answer: Answer) -> None:
        for check in analysis.MODULE_CHECKS:
            self._say(module, check, partial(check, self.program, module), answer)
        imports = self._guarded(module, "imports", lambda: [one.path for one in self.program.imports(module)])
        answer["imports"] = imports or []
        answer["is_script"] = is_script(module)
        answer["has_guard"] = any(isinstance(node, ast.If) and is_main_guard(node) for node in module.tree.body)

    def _entry(self, module: Module, answer: Answer) -> None:
        entry = self.program.entry(module)
        for check in analysis.ENTRY_CHECKS:
            self._say(module, check, partial(check, entry), answer)
        answer["closure"] = self._guarded(module, "closure", lambda: [one.path for one in entry.closure]) or []

    def _surroundings(self, paths: list[str], answer: Answer) -> None:
        texts = {}
        for path in paths:
            self.announce(path)
            try:
                data = read_listed(self.root, path, self.surroundings[path], MAX_SURROUNDING_BYTES)
                texts[path] = decode_text(data)
            except OSError as error:
                self.unread[path] = reason_of(error)
            except UnreadableError as error:
                self.unread[path] = str(error)
        said, unread = review_surroundings(texts, self.known)
        answer["said"] = [said_to_json(one) for one in said]
        self.unread |= unread

    def _say(self, module: Module, check: Any, run: Callable[[], Iterable[Any]], answer: Answer) -> None:
        said = self._guarded(module, f"{check.__module__.rpartition('.')[2]}.{check.__name__}", lambda: list(run()))
        answer["said"] += [said_to_json(one) for one in said or ()]

    def _guarded(self, module: Module, name: str, run: Callable[[], Any]) -> Any:
        try:
            return run()
        except Exception as error:
            self.unread[module.path] = _failed(name, type(error).__name__)
            return None


def _failed(name: str, error: str) -> str:
    return f"the check {name} failed on it ({error}): a mistake of the harness, please report it"


def with_deep_stack(run: Callable[[], Any]) -> Any:
    """Call in a thread with a large stack, for rules recurse; what it raises is raised here."""
    outcome: list[Any] = []

    def work() -> None:
        try:
            outcome.extend((True, run()))
        except BaseException as error:
            outcome.extend((False, error))

    stack_before, limit_before = threading.stack_size(_STACK_BYTES), sys.getrecursionlimit()
    sys.setrecursionlimit(_RECURSION)
    try:
        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        thread.join()
    finally:
        threading.stack_size(stack_before)
        sys.setrecursionlimit(limit_before)
    if not outcome[0]:
        raise outcome[1]
    return outcome[1]
