"""Files of a repository on the Hugging Face Hub, or on whatever `HF_ENDPOINT` names, at one commit.

huggingface_hub downloads, in a process of its own with settings of its own: no telemetry, no progress bars, no xet, no
login or cache of the user's. `HF_TOKEN` is given to that process and to nothing else, and over plain http only to this
machine. The caller verifies what came.
"""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from harness.documents.inputs import Input
from harness.errors import HarnessError, HostError, UsageError
from harness.inputs.trees import MAX_MEMBERS
from harness.system.store import Progress

MAX_BYTES = 1 << 40
STALLED_S = 300.0
_TOLD_EVERY_S = 5.0
_SCRIPT = Path(__file__).with_name("hub_download.py")
_ENDPOINT = re.compile(r"(https?)://(localhost|127\.0\.0\.1|\[::1\]|[^\s/@?#]+)(:\d+)?(/[^\s@?#]*)?", re.IGNORECASE)
_OF_THE_LIBRARY = re.compile(r"(?!HF_HUB_(ETAG|DOWNLOAD)_TIMEOUT$)(HF_|HUGGING|TRANSFORMERS_)")
_TRUE = frozenset({"1", "ON", "YES", "TRUE"})  # as huggingface_hub reads its switches
_SETTINGS = {
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "HF_HUB_DISABLE_UPDATE_CHECK": "1",
    "HF_HUB_DISABLE_IMPLICIT_TOKEN": "1",
    "HF_HUB_DISABLE_XET": "1",
    "DO_NOT_TRACK": "1",
}
_ARCHIVE = "or set HARNESS_ARCHIVE to a folder that has the input"


@dataclass(frozen=True, slots=True)
class _Failure:
    """What the process says about its end."""

    kind: str
    detail: str


def fetch_snapshot(
    value: Input, scratch: Path, environment: Mapping[str, str], progress: Progress, stalled_s: float = STALLED_S
) -> Path:
    """Download the files that an `hf` input names; give up after `stalled_s` seconds without a new byte.

    Returns:
        The folder of the files, below `scratch`, without anything of the library's.

    Raises:
        UsageError: there is no such repository, commit or file, or it holds what an input cannot hold.
        HostError: offline, no access, no answer, a full disk.
    """
    where = f"input {value.name!r}: {value.reference} at {value.version[:12]}"
    endpoint = endpoint_of(environment)
    switch = offline_switch(environment)
    if switch:
        remedy = f"fetch it once with {switch}=0 before the command, {_ARCHIVE}"
        raise HostError(f"{where} is not in the cache, and {switch} forbids fetching it", remedy)
    variables = _variables(environment, endpoint, scratch)
    if environment.get("HF_TOKEN") and "HF_TOKEN" not in variables:
        progress("HF_TOKEN is not sent: HF_ENDPOINT is not https")
    request = {
        "repository": value.reference,
        "revision": value.version,
        "repo_type": value.repo_type,
        "patterns": value.patterns,
        "endpoint": endpoint,
        "tree": str(scratch / "tree"),
        "answer": str(scratch / "answer.json"),
        "max_files": MAX_MEMBERS,
        "max_bytes": min(MAX_BYTES, shutil.disk_usage(scratch).free),
    }
    progress(f"fetching {value.reference}, commit {value.version[:12]}")
    failure = _run(request, variables, value.name, progress, stalled_s)
    if failure is not None:
        detail = _clean(failure.detail, environment)
        raise _explained(_Failure(failure.kind, detail), where, has_token="HF_TOKEN" in variables)
    tree = scratch / "tree"
    shutil.rmtree(tree / ".cache" / "huggingface", ignore_errors=True)
    with contextlib.suppress(OSError):
        (tree / ".cache").rmdir()  # it stays if the repository has something in it
    return tree


def offline_switch(environment: Mapping[str, str]) -> str | None:
    """The variable that forbids asking the hub, if one does."""
    return next((key for key in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE") if _is_on(environment, key)), None)


def endpoint_of(environment: Mapping[str, str]) -> str | None:
    """Where the hub is; None for the library's default.

    Raises:
        HostError: HF_ENDPOINT is not an address.
    """
    endpoint = environment.get("HF_ENDPOINT", "").strip().rstrip("/")
    if endpoint and not _ENDPOINT.fullmatch(endpoint):
        remedy = "set it to https://host, without a user name, a password or a query"
        raise HostError("HF_ENDPOINT is not the address of a hub", remedy)
    return endpoint or None


def _is_on(environment: Mapping[str, str], switch: str) -> bool:
    return environment.get(switch, "").upper() in _TRUE


def _variables(environment: Mapping[str, str], endpoint: str | None, scratch: Path) -> dict[str, str]:
    """The process's environment: nothing that would change what the library does but what is said here."""
    variables = {key: text for key, text in environment.items() if not _OF_THE_LIBRARY.match(key)}
    variables |= {**_SETTINGS, "HF_HOME": str(scratch / "home")}
    if bundle := environment.get("REQUESTS_CA_BUNDLE"):
        variables.setdefault("SSL_CERT_FILE", bundle)  # the library's HTTP client knows this name only
    if endpoint:
        variables["HF_ENDPOINT"] = endpoint
    found = _ENDPOINT.fullmatch(endpoint or "https://default")
    is_safe = found and (found[1].lower() == "https" or found[2] in ("localhost", "127.0.0.1", "[::1]"))
    if is_safe and environment.get("HF_TOKEN"):
        variables["HF_TOKEN"] = environment["HF_TOKEN"].strip()
    return variables


def _run(
    request: Mapping[str, object], variables: Mapping[str, str], name: str, progress: Progress, stalled_s: float
) -> _Failure | None:
    answer = Path(str(request["answer"]))
    log = answer.with_name("log.txt")
    with log.open("wb") as output:
        command = (sys.executable, "-P", str(_SCRIPT))  # -P: this folder's modules are not the process's
        process = subprocess.Popen(
            command, bufsize=0, stdin=subprocess.PIPE, stdout=output, stderr=output, env=variables
        )
        with process:
            try:
                assert process.stdin is not None
                with contextlib.suppress(BrokenPipeError):  # it died at its start; its log says why
                    process.stdin.write(json.dumps(request).encode() + b"\n")
                if not _watch(process, answer, Path(str(request["tree"])), name, progress, stalled_s):
                    return _Failure("connection", f"no new byte in {stalled_s:.0f} s")
            finally:
                process.kill()
    try:
        fields = json.loads(answer.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        last = log.read_bytes()[-1000:].decode(errors="replace").strip().splitlines()
        return _Failure("unknown", last[-1] if last else f"its process ended with {process.returncode}")
    return None if fields["kind"] == "done" else _Failure(fields["kind"], fields["detail"])


def _watch(
    process: subprocess.Popen[bytes], answer: Path, tree: Path, name: str, progress: Progress, stalled_s: float
) -> bool:
    """Wait for the end and tell how far it is; False if nothing moves any more."""
    size, moved = 0, time.monotonic()
    listed = answer.with_name("listed.json")
    while True:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(min(_TOLD_EVERY_S, stalled_s / 2))
            return True
        now = _size(tree)
        if now != size:
            size, moved = now, time.monotonic()
            total = json.loads(listed.read_text())["size_bytes"] if listed.is_file() else 0
            share = f" ({min(100, 100 * size // total)} %)" if total else ""
            progress(f"{name}: {size / 1e6:.0f} of {total / 1e6:.0f} MB{share}")
        elif time.monotonic() - moved > stalled_s:
            return False


def _size(folder: Path) -> int:
    """Bytes of the files below a folder that somebody else writes."""
    total = 0
    for path in folder.rglob("*"):
        with contextlib.suppress(OSError):
            total += path.lstat().st_size
    return total


def _clean(detail: str, environment: Mapping[str, str]) -> str:
    """A library's message without what must not be seen: the token, queries of signed addresses, control characters."""
    if token := environment.get("HF_TOKEN", "").strip():
        detail = detail.replace(token, "[HF_TOKEN]")
    detail = re.sub(r"\?[^\s'\"]*", "", " ".join(detail.split()))
    return "".join(character for character in detail if character.isprintable())[:300]


def _explained(failure: _Failure, where: str, *, has_token: bool) -> HarnessError:
    access = "HF_TOKEN is set: ask for access with its account" if has_token else "ask for access, and set HF_TOKEN"
    kind, detail = failure.kind, failure.detail
    if kind == "repository":
        return UsageError(f"{where}: there is no such repository, or it is private", f"check the name; if so, {access}")
    if kind == "revision":
        problem = f"{where}: the repository has no such commit ({detail})"
        return UsageError(problem, "take a commit from the repository's history")
    if kind == "nothing":
        return UsageError(f"{where}: no file fits the patterns; there are: {detail}", "correct `files`")
    if kind in ("path", "size"):
        return UsageError(f"{where} is refused: {detail}", "choose files with `files`, or free some disk space")
    if kind in ("gated", "denied"):
        return HostError(f"{where}: access is denied ({detail})", access)
    if kind == "disk":
        return HostError(f"{where}: {detail}", "free some disk space, or set HARNESS_CACHE to a larger disk")
    if kind in ("connection", "server"):
        problem = f"{where}: the hub cannot be reached or failed ({detail})"
        return HostError(problem, f"check the network and HF_ENDPOINT, and try again, {_ARCHIVE}")
    return HostError(f"{where} cannot be fetched: {detail}", f"try again, {_ARCHIVE}")
