"""Git, by its command: which commit this is, whether the tree is clean, and a clean export of the code."""

from __future__ import annotations

import os
import posixpath
import re
import shutil
import subprocess
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from harness.errors import HostError, UsageError

HASH = re.compile(r"[0-9a-f]{4,40}")
_RESULTS = "runs/"  # what a certify writes there is no change of the code, whether or not .gitignore says so
_TIMEOUT_S = 600
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
        return bool(self.changed)

    def export(self, target: Path) -> None:
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
        export_commit(self.root, self.commit, target)


@dataclass(frozen=True, slots=True, kw_only=True)
class Exported:
    """Code that lies in a folder already, and says which commit it is of: that of an archive, or of an export."""

    folder: Path
    commit: str
    is_dirty: bool = False

    def export(self, target: Path) -> None:
        if target != self.folder:
            shutil.copytree(self.folder, target, symlinks=True)


def read_checkout(root: Path) -> Checkout:
    """The state of the checkout at `root`.

    Raises:
        HostError: there is no git command.
        UsageError: no repository, no commit, or a shallow clone, which cannot say which commit is whose child.
    """
    inside = run_git(root, "rev-parse", "--show-toplevel")
    if inside.returncode != 0:
        remedy = "a certificate names a commit: work in a clone, or run `git init && git add -A && git commit`"
        if b"dubious ownership" in inside.stderr:
            remedy = f"the checkout is somebody else's: git config --global --add safe.directory {root}"
        raise UsageError(f"{root.name}: {_complaint(inside)}", remedy)
    top = Path(_text(inside))
    if top.resolve() != root.resolve():
        raise UsageError(f"{root.name} is not the top of its repository", f"run in {top}")
    head = run_git(root, "rev-parse", "--verify", "HEAD^{commit}")
    if head.returncode != 0:
        raise UsageError("this repository has no commit yet", "commit the code first: a certificate names a commit")
    if _is_shallow(root):
        raise UsageError(
            "this clone is shallow: the certificate's commit could not be replayed from its history",
            _UNSHALLOW,
        )
    status = _checked(root, "status", "--porcelain=v1", "-z", "--untracked-files=all", "--no-renames")
    changed = [entry[3:] for entry in status.split("\0") if entry and not entry.startswith(f"?? {_RESULTS}")]
    return Checkout(root=root, commit=_text(head), changed=tuple(changed[:20]))


def clean_commit(root: Path) -> str:
    """The commit that the files at `root` are those of, or "" where no commit is."""
    try:
        checkout = read_checkout(root)
    except (HostError, UsageError):
        return ""
    return "" if checkout.is_dirty else checkout.commit


def find_commit(root: Path, name: str) -> Commit:
    """The commit that a name means: the first digits of its hash, at least 4, or whatever git knows a commit by.

    Raises:
        UsageError: the repository has no such commit, or several begin with these digits.
        HostError: there is no git command.
    """
    if not name or name.startswith("-"):
        raise UsageError(f"{name!r} names no commit", "give the first digits of its hash")
    found = run_git(root, "rev-parse", "--verify", f"{name}^{{commit}}")
    if found.returncode == 0:
        return Commit(root=root, commit=_text(found))
    if b"ambiguous" in found.stderr:
        raise UsageError(f"several objects of this repository begin with {name}", "give more digits of the hash")
    inside = run_git(root, "rev-parse", "--git-dir")
    if inside.returncode != 0:
        problem = f"{root.name}: {_complaint(inside)}: nothing is known of commit {name}"
        raise UsageError(problem, "work in a clone, or replay from an archive, which has the code")
    remedy = "fetch the branch that it is on (`git fetch --all --tags`), or replay from an archive, which has the code"
    raise UsageError(f"the repository {root.name} has no commit {name}", _UNSHALLOW if _is_shallow(root) else remedy)


def export_commit(root: Path, commit: str, target: Path) -> None:
    """Write the files of any commit to `target`, whatever is checked out.

    Raises:
        HostError: git cannot read the commit, or the disk is full.
        UsageError: the commit has a link that leaves its tree.
    """
    target.mkdir(parents=True)
    archive = target.with_suffix(".tar")
    try:
        _checked(root, "archive", "--format=tar", "-o", str(archive), commit)
        with tarfile.open(archive) as tar:
            if leaving := next(filter(_leaves_its_tree, tar), None):
                where = f"its link {leaving.name} leads to {leaving.linkname}"
                raise UsageError(
                    f"commit {commit[:12]} cannot be exported: {where}",
                    "let the repository have links into itself only",
                )
            # Python 3.11.2, which is Debian 12's, has no filters yet.
            tar.extraction_filter = getattr(tarfile, "data_filter", lambda member, _: member)
            tar.extractall(target)
    finally:
        archive.unlink(missing_ok=True)


def _leaves_its_tree(member: tarfile.TarInfo) -> bool:
    place = posixpath.normpath(posixpath.join(posixpath.dirname(member.name), member.linkname))
    return member.issym() and (posixpath.isabs(place) or place.split("/")[0] == "..")


def _copy_working_tree(root: Path, target: Path) -> None:
    names = _checked(root, "ls-files", "-z", "--cached", "--others", "--exclude-standard", f"--exclude=/{_RESULTS}")
    for name in filter(None, names.split("\0")):
        source = root / name
        if source.is_file() and not source.is_symlink():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target / name)


def run_git(root: Path, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    """What git answers, whether or not it succeeds; the caller's `GIT_*` variables do not reach it.

    Raises:
        HostError: there is no git command, or it does not answer.
    """
    environment = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")}
    environment |= {"LC_ALL": "C", "GIT_TERMINAL_PROMPT": "0"}
    command = ["git", "-C", str(root), "-c", "core.quotePath=false", *arguments]
    try:
        return subprocess.run(command, capture_output=True, env=environment, check=False, timeout=_TIMEOUT_S)
    except FileNotFoundError as error:
        remedy = "install git: every run records the commit it came from (an archive is replayed without it)"
        raise HostError("there is no `git` command", remedy) from error
    except subprocess.TimeoutExpired as error:
        raise HostError(f"git {arguments[0]} takes more than {_TIMEOUT_S} s", "look at it") from error


def _checked(root: Path, *arguments: str) -> str:
    """What git writes; names of files are decoded as Python's own functions decode them."""
    done = run_git(root, *arguments)
    if done.returncode != 0:
        said = done.stderr.decode("utf-8", "replace").strip()[:300]
        raise HostError(f"git {arguments[0]} failed: {said}", "look at the repository")
    return os.fsdecode(done.stdout)


def _text(done: subprocess.CompletedProcess[bytes]) -> str:
    return os.fsdecode(done.stdout).strip()


def _complaint(done: subprocess.CompletedProcess[bytes]) -> str:
    """The first line of what git says of a folder that it does not take for a repository."""
    lines = done.stderr.decode("utf-8", "replace").strip().splitlines()
    return lines[0] if lines else "not a git repository"


def _is_shallow(root: Path) -> bool:
    return _text(run_git(root, "rev-parse", "--is-shallow-repository")) == "true"
