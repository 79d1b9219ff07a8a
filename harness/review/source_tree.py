"""The files of a tree that is reviewed: found, read once for their digests, and what is left out told.

No link is followed and nothing but regular files is opened; nothing of the tree is imported or run.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path

from harness.documents.verdict import UnreadFile
from harness.errors import UsageError
from harness.review.source.module import MAX_BYTES
from harness.review.source.nodes import and_more
from harness.review.surroundings.surrounding_files import MAX_SURROUNDING_BYTES, is_surrounding
from harness.system.safe_read import NO_LINK, READ

MAX_FILES = 20_000
_MAX_TOLD = 50  # of one kind: more are told as a number
_GENERATED = frozenset(("runs", "outputs", "wandb", "mlruns", "lightning_logs", "checkpoints", "logs"))
_NEVER = frozenset((".git", ".hg", ".svn", "__pycache__"))  # nobody's source
_INSTALLED = frozenset(
    ("site-packages", "dist-packages", "node_modules", ".venv", "venv", ".tox", ".nox", ".eggs", ".conda", ".pixi")
)
_OF_OTHERS = frozenset(("vendor", "vendored", "_vendor", "third_party", "third-party", "thirdparty", "3rdparty"))
_BUILT = frozenset(("build", "dist", "_build"))
_TESTS = frozenset(("test", "tests", "testing"))
_TEST_FILES = ("test_*.py", "*_test.py", "conftest.py")
_PRINTABLE = re.compile(r"[^\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]+")


_LEFT_OUT = {  # one, and several
    "notebooks": ("notebook", "notebooks"),
    "installed": ("folder of installed packages", "folders of installed packages"),
    "generated": ("folder that .gitignore leaves out", "folders that .gitignore leaves out"),
    "surplus": (f"file beyond the first {MAX_FILES}", f"files beyond the first {MAX_FILES}"),
}


class ChangedError(OSError):
    """A file is no longer what it was when the tree was listed."""


@dataclass(slots=True)
class SourceTree:
    """What is below a folder.

    Attributes:
        root: the folder.
        sources: digest of every Python file that can be read, by path below the root with `/`.
        own: those of them that are reported on: neither tests nor somebody else's.
        surroundings: digest of requirements, Dockerfiles and their like, by path.
        allowing: paths whose text may hold an allow comment.
        unread: what could not be read.
        left_out: what was not meant to be read, told with its number.
        num_files: Python files and surroundings, whether they could be read or not.
    """

    root: Path
    sources: dict[str, str] = field(default_factory=dict)
    own: set[str] = field(default_factory=set)
    surroundings: dict[str, str] = field(default_factory=dict)
    allowing: set[str] = field(default_factory=set)
    unread: list[UnreadFile] = field(default_factory=list)
    left_out: list[UnreadFile] = field(default_factory=list)
    num_files: int = 0


def list_tree(root: Path) -> SourceTree:
    """Walk a folder and read its Python files and surroundings once.

    Raises:
        UsageError: it is no folder, or cannot be listed.
    """
    tree, counts = SourceTree(root), _Counts()
    try:
        os.scandir(root).close()
    except OSError as error:
        raise UsageError(f"{root} cannot be reviewed: {error.strerror}", "name a folder or a Python file") from error
    for path, entry in _walk(tree, counts):
        if tree.num_files >= MAX_FILES:
            counts.add("surplus", path)
        elif path.endswith(".py"):
            _add_source(tree, path, entry)
            if is_surrounding(path) and path in tree.own:
                tree.surroundings[path] = tree.sources[path]
        elif is_surrounding(path):
            _add_surrounding(tree, path, entry)
        elif path.endswith(".ipynb"):
            counts.add("notebooks", path)
    tree.unread += counts.faults()
    tree.left_out += counts.left_out(tree)
    return tree


def read_file(root: Path, path: str, limit_bytes: int) -> tuple[bytes, int]:
    """The first bytes of a regular file, up to a limit, and its size; no link is followed, nothing can block.

    Raises:
        OSError: it is no regular file, or cannot be read.
    """
    descriptor = os.open(root / path, READ | NO_LINK)
    with open(descriptor, "rb") as stream:  # noqa: PTH123
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise ChangedError("it is no regular file any more")
        data = stream.read(limit_bytes + 1)
        return data, max(status.st_size, len(data))


def read_listed(root: Path, path: str, digest: str, limit_bytes: int) -> bytes:
    """The bytes of a file of the tree, which must be those that were listed.

    Raises:
        OSError: it is gone, cannot be read, or is another one.
    """
    data, _ = read_file(root, path, limit_bytes)
    if _digest(data) != digest:
        raise ChangedError("it changed while it was reviewed")
    return data


def reason_of(error: OSError) -> str:
    """Why a file could not be read, in words."""
    if isinstance(error, ChangedError):
        return str(error)
    return f"cannot be read: {error.strerror or error}"


def shown(path: str) -> str:
    """A path that can be printed: what is no printable text is escaped."""
    if _PRINTABLE.fullmatch(path):
        return path
    return path.encode("unicode_escape", "backslashreplace").decode("ascii")


@dataclass(slots=True)
class _Counts:
    """Paths of the same kind, told together."""

    found: dict[str, list[str]] = field(default_factory=dict)

    def add(self, kind: str, path: str) -> None:
        self.found.setdefault(kind, []).append(path)

    def left_out(self, tree: SourceTree) -> Iterator[UnreadFile]:
        """Tests, others' files, notebooks, installed packages ...: one line for each kind."""
        tests = sum(1 for path in tree.sources if path not in tree.own and not _is_of_others(path))
        others = len(tree.sources) - len(tree.own) - tests
        for number, path, what in (
            (tests, "tests", "test file" if tests == 1 else "test files"),
            (others, "vendored", "file of others or built" if others == 1 else "files of others or built"),
        ):
            if number:
                them = "it" if number == 1 else "them"
                reason = f"{number} {what}: read where something imports {them}, not reported on"
                yield UnreadFile(path=path, reason=reason)
        for kind, (one, several) in _LEFT_OUT.items():
            if paths := self.found.get(kind, []):
                reason = f"{len(paths)} {several if len(paths) > 1 else one}{and_more(len(paths), 'more')}: not read"
                yield UnreadFile(path=shown(paths[0]), reason=reason)

    def faults(self) -> Iterator[UnreadFile]:
        """What stands in the way of reading: each path, up to a number."""
        for reason in sorted(self.found.keys() - _LEFT_OUT.keys()):
            paths = self.found[reason]
            for path in paths[:_MAX_TOLD]:
                yield UnreadFile(path=shown(path), reason=reason)
            if len(paths) > _MAX_TOLD:
                yield UnreadFile(path="...", reason=f"{len(paths) - _MAX_TOLD} more: {reason}")


def _walk(tree: SourceTree, counts: _Counts) -> Iterator[tuple[str, os.DirEntry[str]]]:
    """Every entry that may be a file of interest, in the order of the paths."""
    waiting, ignored = [""], _ignored(tree.root)
    while waiting:
        folder = waiting.pop()
        try:
            with os.scandir(tree.root / folder) as found:
                entries = sorted(found, key=lambda entry: entry.name)
        except OSError as error:
            counts.add(reason_of(error), folder)
            continue
        folders = []
        for entry in entries:
            path = f"{folder}{entry.name}"
            if entry.is_symlink():
                _tell_link(tree, entry, path, counts)
            elif not entry.is_dir(follow_symlinks=False):
                yield path, entry
            elif _PRINTABLE.fullmatch(path) is None:
                counts.add("its name cannot be printed: not read", path)
            elif path in ignored:
                counts.add("generated", path)
            elif _is_installed(entry):
                counts.add("installed", path)
            elif entry.name not in _NEVER:
                folders.append(f"{path}/")
        waiting += reversed(folders)


def _ignored(root: Path) -> frozenset[str]:
    """Folders at the top that hold what runs leave behind: by their names, if .gitignore names them too."""
    try:
        data, _ = read_file(root, ".gitignore", MAX_BYTES)
    except OSError:
        return frozenset()
    lines = (line.strip().strip("/") for line in data.decode("utf-8", "replace").splitlines())
    return _GENERATED.intersection(lines)


def _is_installed(entry: os.DirEntry[str]) -> bool:
    if entry.name in _INSTALLED:
        return True
    return any(os.path.lexists(f"{entry.path}/{mark}") for mark in ("pyvenv.cfg", "conda-meta"))


def _tell_link(tree: SourceTree, entry: os.DirEntry[str], path: str, counts: _Counts) -> None:
    """Links are not followed. What lies in the tree is found by its own name; other links are told."""
    try:
        target = Path(entry.path).resolve(strict=True)
    except (OSError, RuntimeError):
        if path.endswith(".py") or is_surrounding(path):
            counts.add("a link that leads nowhere", path)
        return
    matters = path.endswith(".py") or is_surrounding(path) or target.is_dir()
    if matters and not target.is_relative_to(tree.root.resolve()):
        counts.add("a link out of the tree: not followed", path)


def _add_source(tree: SourceTree, path: str, entry: os.DirEntry[str]) -> None:
    tree.num_files += 1
    data = _data(tree, path, entry, MAX_BYTES)
    if data is None:
        return
    tree.sources[path] = _digest(data)
    if not (_is_test(path) or _is_of_others(path)):
        tree.own.add(path)
    if b"harness:" in data or b"\0" in data[:4]:
        tree.allowing.add(path)


def _add_surrounding(tree: SourceTree, path: str, entry: os.DirEntry[str]) -> None:
    if _is_test(path) or _is_of_others(path):
        return
    tree.num_files += 1
    data = _data(tree, path, entry, MAX_SURROUNDING_BYTES)
    if data is not None:
        tree.surroundings[path] = _digest(data)


def _data(tree: SourceTree, path: str, entry: os.DirEntry[str], limit_bytes: int) -> bytes | None:
    """A file's bytes, or None where it is told why not."""
    reason = ""
    try:
        if _PRINTABLE.fullmatch(path) is None:
            reason = "its name cannot be printed: not read"
        elif not entry.is_file(follow_symlinks=False):
            reason = "no regular file: not opened"
        else:
            data, size_bytes = read_file(tree.root, path, limit_bytes)
            if size_bytes <= limit_bytes:
                return data
            reason = f"{size_bytes / 1e6:.1f} MB: more than {limit_bytes >> 20} MiB are not read"
    except OSError as error:
        reason = reason_of(error)
    tree.unread.append(UnreadFile(path=shown(path), reason=reason))
    return None


def _is_test(path: str) -> bool:
    *folders, name = path.split("/")
    return not _TESTS.isdisjoint(folders) or any(fnmatch(name, pattern) for pattern in _TEST_FILES)


def _is_of_others(path: str) -> bool:
    return not (_OF_OTHERS | _BUILT).isdisjoint(path.split("/")[:-1])


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
