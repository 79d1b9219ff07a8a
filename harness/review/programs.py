"""A listed tree's review: every file by itself, then the programs that start in it, then what stands around them."""

from __future__ import annotations

from dataclasses import dataclass, field

from harness.documents.verdict import UnreadFile
from harness.review.code.analysis import settle
from harness.review.finding import Finding, Said, Showing, StaticReview
from harness.review.processes import Processes
from harness.review.rules import RULES
from harness.review.source.module import MAX_BYTES, Module, UnreadableError, read_module
from harness.review.source.program import Program
from harness.review.source_tree import SourceTree, read_listed
from harness.review.tasks import Answer, Task, with_deep_stack
from harness.system.store import Progress

_EVERY = 100  # tasks between two lines of progress


def review(
    tree: SourceTree, entries: tuple[str, ...] | None, *, progress: Progress, processes: Processes
) -> StaticReview:
    """Review a tree that was listed."""
    work = _Work(tree, processes, progress)
    if entries is not None:
        reported = tree.own & work.programs([path for path in entries if path in tree.sources]) | set(entries)
        work.modules(sorted(reported & tree.sources.keys()))
    else:
        reported = tree.own
        work.programs(sorted(work.modules(sorted(reported)) & reported))
    if tree.surroundings:
        work.do([Task("surroundings")], "surroundings")
    return _settled(tree, work, reported, entries)


@dataclass(slots=True)
class _Work:
    tree: SourceTree
    processes: Processes
    progress: Progress
    said: list[Said] = field(default_factory=list)

    def modules(self, paths: list[str]) -> set[str]:
        """Review every file by itself; returns the scripts that are programs, told by what imports them."""
        answers = self.do([Task("module", path) for path in paths], "files")
        imported = {one for answer in answers.values() for one in answer.imports}
        return {
            task.path
            for task, answer in answers.items()
            if answer.is_script and (answer.has_guard or self._stands_alone(task.path, imported))
        }

    def programs(self, paths: list[str]) -> set[str]:
        """Review the programs that start in these files; returns all files that they reach."""
        answers = self.do([Task("program", path) for path in paths], "programs")
        return {one for answer in answers.values() for one in answer.imports}

    def _stands_alone(self, path: str, imported: set[str]) -> bool:
        folder = path.rpartition("/")[0]
        package = f"{folder}/__init__.py" if folder else "__init__.py"
        return path not in imported and package not in self.tree.sources

    def do(self, tasks: list[Task], what: str) -> dict[Task, Answer]:
        told = 0

        def done(number: int) -> None:
            nonlocal told
            if number - told >= _EVERY:
                told = number
                self.progress(f"review: {number} of {len(tasks)} {what}")

        answers = self.processes.do(tasks, done)
        self.said += [one for answer in answers.values() for one in answer.said]
        return answers


def _settled(tree: SourceTree, work: _Work, reported: set[str], entries: tuple[str, ...] | None) -> StaticReview:
    """Findings where they are reported, with the allow comments of their files."""
    others = tree.sources.keys() - reported
    said = [one for one in work.said if one.place is None or one.place.path not in others]
    told = tree.unread if entries is not None else [*tree.unread, *tree.left_out]
    unread = {**{one.path: one.reason for one in told}, **work.processes.unread}
    commented = sorted(path for path in tree.allowing & reported if path not in work.processes.unread)

    def read(path: str) -> Module | None:
        try:
            return read_module(path, read_listed(tree.root, path, tree.sources[path], MAX_BYTES))
        except (OSError, UnreadableError) as error:
            unread[path] = str(error)
            return None

    program = Program(commented, read)
    settled = with_deep_stack(lambda: settle(program, said, commented, RULES))
    return StaticReview(
        findings=tuple(one for one in settled if isinstance(one, Finding)),
        showings=tuple(one for one in settled if isinstance(one, Showing)),
        unread=tuple(UnreadFile(path=path, reason=unread[path]) for path in sorted(unread)),
        num_files=len(reported) + len(tree.surroundings) if entries is not None else tree.num_files,
    )
