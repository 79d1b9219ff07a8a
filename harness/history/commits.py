"""The history of a repository, by git's command: lines of commits, what they changed, and files as they were.

Names of commits come from people and from documents: each is resolved first, and nothing that begins with `-` reaches
git as an option. A commit that is not there is an answer, not an error, wherever a document named it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from harness.documents.bisection import LineCommit
from harness.documents.history import FileChange
from harness.errors import UsageError
from harness.system.git import run_git

_HASH = re.compile(r"[0-9a-f]{40}")
_MAX_SUBJECT = 120


@dataclass(frozen=True, slots=True, kw_only=True)
class Log:
    """The commits that one commit has and another has not; at most some subjects, the newest first."""

    num_commits: int
    subjects: tuple[str, ...]
    is_backwards: bool


def has_commit(root: Path, commit: str) -> bool:
    """Whether a repository has this commit (40 hex digits)."""
    if not _HASH.fullmatch(commit):
        return False
    return git(root, "cat-file", "-e", f"{commit}^{{commit}}") is not None


def line_between(root: Path, good: str, bad: str) -> tuple[LineCommit, ...]:
    """The commits after `good` up to `bad`, oldest first, each the first parent of the next.

    Raises:
        UsageError: `good` is not on the line of first parents that `bad` ends.
    """
    text = git(root, "log", "--first-parent", "--reverse", "--format=%H%x00%P%x00%s", f"{good}..{bad}", "--")
    rows = [line.split("\0") for line in (text or b"").decode("utf-8", "replace").splitlines()]
    found = tuple(
        LineCommit(commit=row[0], subject=row[2][:_MAX_SUBJECT], num_parents=len(row[1].split()))
        for row in rows
        if len(row) == 3
    )
    parent = rows[0][1].split(" ")[0] if rows and len(rows[0]) == 3 else ""
    if found and found[-1].commit == bad and parent == good:
        return found
    if is_ancestor(root, good, bad):
        problem = f"{good[:12]} came into {bad[:12]} by a merge: it is not on the line of first parents"
        remedy = f"give {parent[:12] or 'its merge base'} or a later commit of that line as the good one"
        raise UsageError(problem, remedy)
    swapped = is_ancestor(root, bad, good)
    remedy = "exchange --good and --bad" if swapped else "give a good commit that the bad one descends from"
    raise UsageError(f"the good commit {good[:12]} is no ancestor of the bad one {bad[:12]}", remedy)


def tree_of(root: Path, commit: str) -> str:
    """The hash of a commit's tree, "" if it is not there."""
    return (git(root, "rev-parse", f"{commit}^{{tree}}") or b"").decode("ascii").strip()


def is_ancestor(root: Path, older: str, newer: str) -> bool:
    """Whether the history of one commit has another."""
    return git(root, "merge-base", "--is-ancestor", older, newer) is not None


def changed_files(root: Path, before: str, after: str) -> tuple[FileChange, ...] | None:
    """Every file that two commits do not have alike, by path; None if one of them is not there."""
    text = git(root, "diff", "--numstat", "-z", "--no-renames", "--no-ext-diff", "--no-textconv", before, after, "--")
    if text is None:
        return None
    found = []
    for entry in text.decode("utf-8", "backslashreplace").split("\0"):
        added, _, rest = entry.partition("\t")
        removed, _, path = rest.partition("\t")
        if path:
            counts = (int(added), int(removed)) if added.isdigit() and removed.isdigit() else (None, None)
            found.append(FileChange(path=path, added=counts[0], removed=counts[1]))
    return tuple(sorted(found, key=lambda change: change.path))


def read_log(root: Path, before: str, after: str, max_subjects: int) -> Log:
    """What lies between two commits that are there."""
    count = git(root, "rev-list", "--count", f"{before}..{after}", "--")
    shown = git(root, "log", f"-n{max_subjects}", "--format=%h %s", f"{before}..{after}", "--")
    lines = (shown or b"").decode("utf-8", "replace").splitlines()
    return Log(
        num_commits=int(count) if count else 0,
        subjects=tuple(line[:_MAX_SUBJECT] for line in lines),
        is_backwards=before != after and not is_ancestor(root, before, after),
    )


def file_at(root: Path, commit: str, path: str, max_bytes: int) -> bytes | None:
    """A file as a commit has it; None if it has none, or a larger one."""
    name = f"{commit}:{path}"
    size = git(root, "cat-file", "-s", name)
    if size is None or int(size) > max_bytes:
        return None
    return git(root, "cat-file", "blob", name)


@dataclass(frozen=True, slots=True, kw_only=True)
class Use:
    """What an experiment is known to use.

    Attributes:
        experiments: its own name, and those of the experiments that it extends.
        image: its name.
        base: the name of the image's base.
        entries: the files that its commands name.
    """

    experiments: tuple[str, ...]
    image: str
    base: str
    entries: tuple[str, ...]


def seen_by(paths: Iterable[str], use: Use) -> frozenset[str]:
    """Which of some paths an experiment is likely to depend on. A guess: a program may read any file of the tree.

    They are the experiment's own file and those that it extends, its image's folder and what all images share, its two
    locks, and what lies in the folders at the top that its commands name files of; of these not the recorder and other
    experiments.
    """
    image = use.image
    own = {f"pipelines/experiments/{name}.yaml" for name in use.experiments}
    own |= {f"lockfiles/{image}.lock", f"lockfiles/{use.base}.lock"}
    names = set(use.entries)
    tops = {name.partition("/")[0] + "/" for name in names if "/" in name}
    return frozenset(
        path
        for path in paths
        if path in own
        or path in names
        or path.startswith(f"images/{image}/")
        or (path.startswith("images/") and path.count("/") == 1)
        or (
            (any(path.startswith(top) for top in tops) or ("/" not in path and path.endswith(".py")))
            and not path.startswith(("pipelines/experiments/", "pipelines/recorder/"))
            and not path.endswith(".md")
        )
    )


def git(root: Path, *arguments: str) -> bytes | None:
    """What git writes; None if it fails.

    Raises:
        HostError: there is no git command, or it does not answer.
    """
    done = run_git(root, *arguments)
    return done.stdout if done.returncode == 0 else None
