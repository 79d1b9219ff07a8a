"""A listed tree's review: every file by itself, then the programs that start in it, then what stands around them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from harness.review.code.analysis import settle
from harness.review.finding import Finding, Showing, StaticReview, Unread
from harness.review.pool import Pool, Task
from harness.review.saved import said_from_json
from harness.review.source.module import MAX_BYTES, Module, UnreadableError, read_module
from harness.review.source.program import Program
from harness.review.source_tree import SourceTree, read_listed
from harness.review.tasks import Answer, with_deep_stack
from harness.system.store import Progress

Said = Finding | Showing
_EVERY = 100  # tasks between two lines of progress


def review(tree: SourceTree, entries: tuple[str, ...], *, progress: Progress, pool: Pool) -> StaticReview:
    """Review a tree that was listed.

    Args:
        tree: its files.
        entries: scripts to start from; () finds them.
        progress: told how far it is.
        pool: what does the work.
    """
    pool.start(len(tree.own))
    from harness.review.rules import RULES

    pool.known = tuple(RULES)
    work = _Work(tree, pool, progress)
    if entries:
        work.entries([path for path in entries if path in tree.sources])
        reported = tree.own & work.closure | set(entries)
        work.modules(sorted(reported & tree.sources.keys()))
    else:
        reported = tree.own
        work.modules(sorted(reported))
        work.entries(sorted(work.scripts & reported))
    work.surroundings()
    return _settled(tree, work, reported, entries)


@dataclass(slots=True)
class _Work:
    tree: SourceTree
    pool: Pool
    progress: Progress
    said: list[Said] = field(default_factory=list)
    closure: set[str] = field(default_factory=set)
    scripts: set[str] = field(default_factory=set)

    def modules(self, paths: list[str]) -> None:
        """Every file by itself; what it imports tells which scripts are programs."""
        answers = self._do([("module", (path,)) for path in paths], "files")
        known = dict(zip(paths, answers, strict=True))
        imported = {one for answer in answers if answer for one in answer.get("imports", ())}
        for path, answer in known.items():
            if answer and answer.get("is_script") and (answer["has_guard"] or self._stands_alone(path, imported)):
                self.scripts.add(path)

    def entries(self, paths: list[str]) -> None:
        """The programs that start in these files."""
        for answer in self._do([("entry", (path,)) for path in paths], "programs"):
            self.closure.update((answer or {}).get("closure", ()))

    def surroundings(self) -> None:
        """What stands around the code, all of it together."""
        paths = tuple(sorted(self.tree.surroundings))
        if paths:
            self._do([("surroundings", paths)], "surroundings")

    def _stands_alone(self, path: str, imported: set[str]) -> bool:
        folder = path.rpartition("/")[0]
        package = f"{folder}/__init__.py" if folder else "__init__.py"
        return path not in imported and package not in self.tree.sources

    def _do(self, tasks: list[Task], what: str) -> list[Answer | None]:
        told = 0

        def done(number: int) -> None:
            nonlocal told
            if number - told >= _EVERY:
                told = number
                self.progress(f"review: {number} of {len(tasks)} {what}")

        answers = self.pool.do(tasks, done)
        self.said += [said_from_json(one) for answer in answers if answer for one in answer["said"]]
        return answers


def _settled(tree: SourceTree, work: _Work, reported: set[str], entries: tuple[str, ...]) -> StaticReview:
    """Findings where they are reported, with the allow comments of their files."""
    others = tree.sources.keys() - reported
    said = [one for one in work.said if one.place is None or one.place.path not in others]
    told = tree.unread if entries else [*tree.unread, *tree.left_out]
    unread = {**{one.path: one.reason for one in told}, **work.pool.unread}
    commented = sorted(path for path in tree.allowing & reported if path not in work.pool.unread)

    def read(path: str) -> Module | None:
        try:
            return read_module(path, read_listed(tree.root, path, tree.sources[path], MAX_BYTES))
        except (OSError, UnreadableError) as error:
            unread[path] = str(error)
            return None

    program = Program(commented, read)
    settled: Iterable[Said] = with_deep_stack(lambda: settle(program, said, commented, work.pool.known))
    settled = tuple(settled)
    return StaticReview(
        findings=tuple(one for one in settled if isinstance(one, Finding)),
        showings=tuple(one for one in settled if isinstance(one, Showing)),
        unread=tuple(Unread(path=path, reason=unread[path]) for path in sorted(unread)),
        num_files=len(reported) + len(tree.surroundings) if entries else tree.num_files,
    )
