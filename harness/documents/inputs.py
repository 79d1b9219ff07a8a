"""Inputs: what an experiment is given, each pinned with a sha256."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Literal, get_args

from harness.errors import UsageError

Kind = Literal["file", "folder", "pypi", "deb", "hf", "https"]
RepoType = Literal["model", "dataset"]
KINDS: tuple[Kind, ...] = get_args(Kind)
LOCAL = frozenset[Kind](("file", "folder"))
"""What lies on this machine, by its path."""
LISTED = frozenset[Kind](("folder", "hf"))
"""Folders whose sha256 is that of the text which `sha256sum` prints for their files, sorted by path."""
MAX_PATTERNS = 100
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
_SHA256 = re.compile(r"sha256:[0-9a-f]{64}")
_REFERENCE: dict[str, re.Pattern[str]] = {
    "pypi": re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?"),
    "deb": re.compile(r"[a-z0-9][a-z0-9+.-]+"),
    "hf": re.compile(r"(\w|\w[\w.-]{0,94}\w)/(\w|\w[\w.-]{0,94}\w)", re.ASCII),
}
_VERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9.+:~!_-]*")
_COMMIT = re.compile(r"[0-9a-f]{40}")
_PATTERN = re.compile(r"[^\x00-\x1f\x7f\\]{1,256}")
_URL = re.compile(r"https://(?:[A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\])(?::(\d{1,5}))?/[!$-;=?-\[\]_a-z~%]{0,2000}")
_SECRET = re.compile(
    r"[?&][^=&]*(token|secret|passw|signature|credential|api_?key)[^=&]*=|[?&](sig|key|auth)=", re.IGNORECASE
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Input:
    """One input: `/inputs/<name>` in a container.

    `reference` is a path below the project's root, or an absolute one (`file`, `folder`), the name of a package
    (`pypi`, `deb`), of which the unpacked tree is the input, a repository `owner/name` (`hf`), of which the files are
    the input, or a URL (`https`). `sha256` is that of the file, the wheel or the `.deb`, or of a list of files:
    `sha256:<hex>`; empty for what lies here and is not pinned yet. `version` is the exact version of a package, the
    commit of a repository, and empty otherwise. `patterns` choose files of a repository; none means all of them.
    """

    name: str
    kind: Kind
    reference: str
    sha256: str
    version: str = ""
    patterns: tuple[str, ...] = ()
    repo_type: RepoType = "model"


def check_input(value: Input) -> Input:
    """The input itself, when every field is well formed.

    Raises:
        UsageError: naming the field, what was found and what is expected.
    """
    where = f"input {value.name!r}"
    if not _NAME.fullmatch(value.name):
        raise UsageError(f"{where}: no such name for an input", "use letters, digits, dots, dashes and underscores")
    if value.kind not in KINDS:
        raise UsageError(f"{where}: unknown kind {value.kind!r}", f"use one of {', '.join(KINDS)}")
    if not _SHA256.fullmatch(value.sha256) and (value.sha256 or value.kind not in LOCAL):
        raise UsageError(f"{where}: sha256 is {value.sha256!r}", "write sha256:<64 hex digits> of the file")
    if value.kind != "hf" and (value.patterns or value.repo_type != "model"):
        raise UsageError(f"{where}: only a repository has patterns and a type", "give them with hf, and only with it")
    if value.kind in LOCAL:
        _check_path(value, where)
    elif value.kind == "https":
        _check_url(value, where)
    elif value.kind == "hf":
        _check_repository(value, where)
    else:
        _check_package(value, where)
    return value


def _check_path(value: Input, where: str) -> None:
    if not value.reference or ".." in PurePosixPath(value.reference).parts or "\0" in value.reference or value.version:
        problem = f"{where}: {value.reference!r} is neither a path below the project nor an absolute one"
        raise UsageError(problem, "give a path without `..`, and no version")


def _check_package(value: Input, where: str) -> None:
    if not _REFERENCE[value.kind].fullmatch(value.reference):
        raise UsageError(f"{where}: {value.reference!r} is not a package name", "give the name of a package")
    if not _VERSION.fullmatch(value.version):
        raise UsageError(f"{where}: {value.version!r} is not an exact version", f"pin {value.reference} to one version")


def _check_url(value: Input, where: str) -> None:
    """Refuse what is no plain https URL; one that may hold a credential is not repeated in the message."""
    url = value.reference
    if "@" in url.partition("://")[2].partition("/")[0] or _SECRET.search(url):
        problem = f"{where}: its URL holds a credential, which would end up in every manifest"
        raise UsageError(problem, "use an address that needs none, or fetch the file yourself and declare it as file:")
    if not url.startswith("https://"):
        raise UsageError(f"{where}: {url!r} is not an https URL", "only https:// is fetched")
    if "#" in url:
        raise UsageError(f"{where}: {url!r} has a fragment, which no server is ever sent", "leave out # and the rest")
    found = _URL.fullmatch(url)
    if not found or not 1 <= int(found[1] or 443) <= 65535:
        problem = f"{where}: {url!r} is not the URL of a file"
        raise UsageError(problem, "write https://host/path with other characters percent-encoded")
    if value.version:
        raise UsageError(f"{where}: a URL has no version", "its sha256 says exactly which file is meant")


def _check_repository(value: Input, where: str) -> None:
    if not _REFERENCE["hf"].fullmatch(value.reference) or ".." in value.reference or "--" in value.reference:
        raise UsageError(f"{where}: {value.reference!r} is not a repository", "give it as owner/name")
    if not _COMMIT.fullmatch(value.version):
        problem = f"{where}: revision {value.version!r} is not a commit; a branch or a tag can move"
        remedy = "give all 40 hex digits: they stand in the repository's history on the hub, and in what "
        raise UsageError(problem, remedy + "`git ls-remote <address of the repository> main` prints")
    if value.repo_type not in get_args(RepoType):
        raise UsageError(f"{where}: unknown repo_type {value.repo_type!r}", "use model or dataset")
    if len(value.patterns) > MAX_PATTERNS:
        raise UsageError(f"{where}: {len(value.patterns)} patterns", f"at most {MAX_PATTERNS} are allowed")
    for pattern in value.patterns:
        if not _PATTERN.fullmatch(pattern) or pattern.startswith("/") or ".." in pattern.split("/"):
            raise UsageError(f"{where}: files: {pattern[:80]!r} is not a pattern", 'give globs such as "*.json"')
