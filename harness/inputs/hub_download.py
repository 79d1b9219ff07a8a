"""The process that downloads from the hub; hub.py starts it, by this file's path.

huggingface_hub reads its settings when it is imported: a process of its own gets exactly those that it should have, and
what the library caches, logs or leaves behind ends with it. Nothing of the harness is imported here.

The request is one line of JSON on stdin, the answer a JSON file. The process ends when its stdin does, so that it never
outlives a harness that was killed.
"""

from __future__ import annotations

import errno
import json
import os
import re
import resource
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

from huggingface_hub import HfApi, snapshot_download
from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, RepositoryNotFoundError, RevisionNotFoundError
from huggingface_hub.hf_api import RepoFile
from huggingface_hub.utils import filter_repo_objects  # type: ignore[attr-defined]  # documented, not in __all__

_ATTEMPTS = 3
_NAME = re.compile(r"[^\x00-\x1f\x7f\\]+")
_LARGEST_RECORD = 64 << 20  # what the library itself may write: its copy of the list of files


class _RefusedError(Exception):
    """Something that the hub says cannot be taken."""

    def __init__(self, kind: str, detail: str) -> None:
        super().__init__(detail)
        self.kind = kind


class RepoRevision(TypedDict):
    """A repository at a commit, as huggingface_hub's functions name it."""

    repo_id: str
    revision: str
    repo_type: str


@dataclass(frozen=True, slots=True)
class Request:
    """What is downloaded: the files that fit `patterns`, all where there are none, into the folder `tree`."""

    repository: str
    revision: str
    repo_type: str
    patterns: list[str]
    endpoint: str | None
    tree: str
    answer: str
    max_files: int
    max_bytes: int

    @property
    def place(self) -> RepoRevision:
        return {"repo_id": self.repository, "revision": self.revision, "repo_type": self.repo_type}


def main() -> None:
    """Read the request, download, write the answer."""
    request = Request(**json.loads(sys.stdin.readline()))
    threading.Thread(target=_end_with_the_harness, daemon=True).start()
    answer = Path(request.answer)
    try:
        _download(request, answer.with_name("listed.json"))
        result = {"kind": "done", "detail": ""}
    except Exception as error:
        result = dict(zip(("kind", "detail"), _classified(error), strict=True))
    _write(answer, result)


def _end_with_the_harness() -> None:
    """Leave at once when nobody holds the other end of stdin any more.

    By the descriptor itself: a thread that waits inside `sys.stdin` holds a lock that the interpreter's end needs.
    """
    while os.read(0, 1024):
        pass
    os._exit(1)


def _download(request: Request, listed: Path) -> None:
    token = os.environ.get("HF_TOKEN") or False
    api = HfApi(endpoint=request.endpoint, token=token)
    found = _asked(api, request.place)
    if found != request.revision:
        raise _RefusedError("revision", f"it answers with the commit {found}")
    sizes = {file.path: file.size for file in _files(api, request.place, request.max_files)}
    patterns = request.patterns or None
    wanted = list(filter_repo_objects(sizes, allow_patterns=patterns))
    if not wanted:
        raise _RefusedError("nothing", ", ".join(sorted(sizes)[:5]) or "it is empty")
    total = sum(sizes[name] for name in wanted)
    _write(listed, {"num_files": len(wanted), "size_bytes": total})
    if total > request.max_bytes:
        raise _RefusedError("size", f"{total} bytes, {request.max_bytes} are allowed")
    # A server that sends more than it listed is stopped by the kernel.
    largest = max(_LARGEST_RECORD, *(sizes[name] for name in wanted))
    resource.setrlimit(resource.RLIMIT_FSIZE, (largest, largest))
    snapshot_download(
        **request.place, endpoint=request.endpoint, token=token, allow_patterns=patterns, local_dir=request.tree
    )


def _asked(api: HfApi, place: RepoRevision) -> str | None:
    """The commit that the hub has under this revision.

    Asked before anything else, for the library would try a hub that cannot be reached for half a minute.
    """
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            return api.repo_info(**place, timeout=15).sha
        except Exception as error:
            is_final = isinstance(error, HfHubHTTPError) and error.response.status_code < 500
            if is_final or attempt == _ATTEMPTS:
                raise
            time.sleep(0.5 * attempt)
    return None


def _files(api: HfApi, place: RepoRevision, max_files: int) -> Iterator[RepoFile]:
    for number, entry in enumerate(api.list_repo_tree(**place, recursive=True)):
        if number >= max_files:
            raise _RefusedError("size", f"more than {max_files} files and folders")
        if isinstance(entry, RepoFile):
            parts = entry.path.split("/")
            if not {"", ".", ".."}.isdisjoint(parts) or not _NAME.fullmatch(entry.path):
                raise _RefusedError("path", f"it holds a file with the path {entry.path!r}")
            if parts[:2] == [".cache", "huggingface"]:
                raise _RefusedError("path", f"the path {entry.path!r} is the library's own")
            if not isinstance(entry.size, int) or entry.size < 0:
                raise _RefusedError("size", f"{entry.path!r} has no size")
            yield entry


def _classified(error: BaseException) -> tuple[str, str]:
    """What kind of failure it was, for the harness to explain; the causes are searched too."""
    chain: list[BaseException] = []
    current: BaseException | None = error
    while current is not None and current not in chain:
        chain.append(current)
        current = current.__cause__ or current.__context__
    for link in chain:
        if kind := _kind(link):
            return kind, f"{type(link).__name__}: {link}"
    return "unknown", f"{type(error).__name__}: {error}"


def _kind(error: BaseException) -> str:
    for kinds, name in (
        (_RefusedError, getattr(error, "kind", "")),
        (GatedRepoError, "gated"),
        (RepositoryNotFoundError, "repository"),
        (RevisionNotFoundError, "revision"),
    ):
        if isinstance(error, kinds):
            return str(name)
    if isinstance(error, HfHubHTTPError):
        return "denied" if error.response.status_code in (401, 403) else "server"
    if type(error).__module__.split(".")[0].startswith("httpx") or isinstance(error, ConnectionError | TimeoutError):
        return "connection"
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return "disk"
    if isinstance(error, OSError) and error.errno == errno.EFBIG:
        return "size"
    return ""


def _write(path: Path, value: Mapping[str, object]) -> None:
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps(value), encoding="utf-8")
    temporary.replace(path)


if __name__ == "__main__":
    main()
