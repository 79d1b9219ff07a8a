"""Git, by its command: which commit this is, whether the tree is clean, and a clean export of the code."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from harness.errors import EnvironmentError_, UsageError

HASH = re.compile(r"[0-9a-f]{4,40}")
_UNSHALLOW = "run `git fetch --unshallow` (in GitHub Actions: actions/checkout with fetch-depth: 0)"


class Source(Protocol):
    """Where the code of a training comes from: `commit` has 40 hex digits; a dirty source is not just that commit."""

    @property
    def commit(self) -> str:
        """Of which the code is."""

    @property
    def is_dirty(self) -> bool:
        """Whether the code differs from the commit."""

    def export(self, target: Path) -> None:
        """Write the code to `target`, which is not there yet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkout:
    """A checkout: `commit` has 40 hex digits; `changed` lists up to 20 paths that differ from it."""

    root: Path
    commit: str
    changed: tuple[str, ...]

    @property
    def is_dirty(self) -> bool:
        """Whether the working tree differs from the commit."""
        return bool(self.changed)

    def export(self, target: Path) -> None:
        """Write the code to `target`: the commit's files, or, from a dirty tree, the working tree's."""
        if not self.is_dirty:
            export_commit(self.root, self.commit, target)
            return
        target.mkdir(parents=True)
        _copy_working_tree(self.root, target)


@dataclass(frozen=True, slots=True, kw_only=True)
class Commit:
    """Any commit of a repository, whatever is checked out; `commit` has 40 hex digits."""

    root: Path
    commit: str
    is_dirty: bool = False

    def export(self, target: Path) -> None:
        """Write the commit's files to `target`."""
        export_commit(self.root, self.commit, target)


@dataclass(frozen=True, slots=True, kw_only=True)
class Exported:
    """Code that lies in a folder already, and says which commit it is of: that of an archive, or of an export."""

    folder: Path
    commit: str
    is_dirty: bool = False

    def export(self, target: Path) -> None:
        """Copy the code to `target`, unless it is there."""
        if target != self.folder:
            shutil.copytree(self.folder, target, symlinks=True)


def read_checkout(root: Path) -> Checkout:
    """The state of the checkout at `root`.

    Raises:
        EnvironmentError_: there is no git command.
        UsageError: no repository, no commit, or a shallow clone, which cannot say which commit is whose child.
    """
    if shutil.which("git") is None:
        raise EnvironmentError_("there is no `git` command", "install git: every run records the commit it came from")
    inside = _git(root, "rev-parse", "--show-toplevel", check=False)
    if inside.returncode != 0:
        reason = inside.stderr.strip().splitlines()[0] if inside.stderr.strip() else "not a git repository"
        remedy = "a certificate names a commit: work in a clone, or run `git init && git add -A && git commit`"
        raise UsageError(f"{root.name}: {reason}", remedy)
    if Path(inside.stdout.strip()).resolve() != root.resolve():
        raise UsageError(f"{root.name} is not the top of its repository", f"run in {inside.stdout.strip()}")
    head = _git(root, "rev-parse", "--verify", "HEAD^{commit}", check=False)
    if head.returncode != 0:
        raise UsageError("this repository has no commit yet", "commit the code first: a certificate names a commit")
    if _git(root, "rev-parse", "--is-shallow-repository").stdout.strip() == "true":
        raise UsageError(
            "this clone is shallow: the certificate's commit could not be replayed from its history",
            _UNSHALLOW,
        )
    status = _git(root, "status", "--porcelain=v1", "-z", "--untracked-files=all").stdout
    changed = tuple(entry[3:] for entry in status.split("\0") if len(entry) > 3)[:20]
    return Checkout(root=root, commit=head.stdout.strip(), changed=changed)


def clean_commit(root: Path) -> str:
    """The commit that the files at `root` are those of, or "" where no commit is."""
    try:
        checkout = read_checkout(root)
    except (EnvironmentError_, UsageError):
        return ""
    return "" if checkout.is_dirty else checkout.commit


def export(source: Source, target: Path) -> None:
    """Write the code of a source to `target`, which is not there yet."""
    source.export(target)


def find_commit(root: Path, name: str) -> Commit:
    """The commit that a name means: the first digits of its hash, at least 4, or whatever git knows a commit by.

    Raises:
        UsageError: the repository has no such commit, or several begin with these digits.
        EnvironmentError_: there is no git command.
    """
    if shutil.which("git") is None:
        raise EnvironmentError_(
            "there is no `git` command", "install git, or replay from an archive, which has the code"
        )
    if not name or name.startswith("-"):
        raise UsageError(f"{name!r} names no commit", "give the first digits of its hash")
    found = _git(root, "rev-parse", "--verify", f"{name}^{{commit}}", check=False)
    if found.returncode == 0:
        return Commit(root=root, commit=found.stdout.strip())
    if "ambiguous" in found.stderr:
        raise UsageError(f"several objects of this repository begin with {name}", "give more digits of the hash")
    shallow = _git(root, "rev-parse", "--is-shallow-repository", check=False).stdout.strip() == "true"
    remedy = "fetch the branch that it is on (`git fetch --all --tags`), or replay from an archive, which has the code"
    raise UsageError(f"the repository {root.name} has no commit {name}", _UNSHALLOW if shallow else remedy)


def export_commit(root: Path, commit: str, target: Path) -> None:
    """Write the files of any commit to `target`, whatever is checked out.

    Raises:
        EnvironmentError_: git cannot read the commit, or the disk is full.
    """
    target.mkdir(parents=True)
    archive = target.with_suffix(".tar")
    try:
        _git(root, "archive", "--format=tar", "-o", str(archive), commit)
        with tarfile.open(archive) as tar:
            tar.extractall(target, filter="data")
    finally:
        archive.unlink(missing_ok=True)


def _copy_working_tree(root: Path, target: Path) -> None:
    names = _git(root, "ls-files", "-z", "--cached", "--others", "--exclude-standard").stdout
    for name in filter(None, names.split("\0")):
        source = root / name
        if source.is_file() and not source.is_symlink():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target / name)


def _git(root: Path, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    environment = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")}
    environment["LC_ALL"] = "C"
    result = subprocess.run(
        ["git", "-C", str(root), *arguments], capture_output=True, text=True, env=environment, check=False
    )
    if check and result.returncode != 0:
        raise EnvironmentError_(f"git {arguments[0]} failed: {result.stderr.strip()[:300]}", "look at the repository")
    return result
