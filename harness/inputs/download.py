"""A file fetched over HTTPS: streamed, bounded, tried again and resumed. The caller verifies its sha256.

Nothing but https is spoken, also after a redirect, and no credential is sent: neither from `.netrc` nor from the URL.
Proxies and certificates are those that requests takes from the environment. A transfer that broke is resumed as
RFC 9110, section 14, describes it, if the server named a validator: `If-Range` keeps two versions from being mixed.
"""

from __future__ import annotations

import re
import shutil
import time
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urljoin, urlsplit

import requests
import urllib3

from harness import __version__
from harness.errors import HostError, UsageError
from harness.images.layer_tar import CHUNK
from harness.system.store import Progress

MAX_REDIRECTS = 10
_RESERVE_BYTES = 64 << 20  # of the disk, when a server does not say how much it will send
_TOLD_EVERY_S = 5.0
_CONTENT_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+)")
_LONGEST_PAUSE_S = 60.0
_ARCHIVE = "or set HARNESS_ARCHIVE to a folder that has the input"


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """How long a server is waited for.

    Attributes:
        connect_s: seconds until it must have accepted.
        read_s: seconds without a byte.
        window_s: within so many seconds at least `window_bytes` must come.
        pause_s: seconds before the second attempt; doubled before each further one.
        attempts: without any progress between them.
    """

    connect_s: float = 15.0
    read_s: float = 60.0
    window_s: float = 300.0
    window_bytes: int = 64 << 10
    pause_s: float = 1.0
    attempts: int = 5


@dataclass(slots=True)
class _Part:
    """What has come so far, and what the server said about the whole."""

    path: Path
    size: int = 0
    total: int | None = None
    validator: str | None = None

    def restart(self, total: int | None, validator: str | None) -> None:
        self.path.write_bytes(b"")
        self.size, self.total, self.validator = 0, total, validator


@dataclass(slots=True)
class _Meter:
    """Tells now and then how much has come."""

    what: str
    progress: Progress
    last: float = field(default_factory=time.monotonic)

    def at(self, part: _Part) -> None:
        if time.monotonic() - self.last < _TOLD_EVERY_S:
            return
        self.last = time.monotonic()
        of = f" of {part.total / 1e6:.0f} MB ({100 * part.size // part.total} %)" if part.total else " MB"
        self.progress(f"{self.what}: {part.size / 1e6:.0f}{of}")


class _BrokenError(Exception):
    """An attempt failed in a way that another one may not."""

    def __init__(self, reason: str, pause_s: float = 0.0) -> None:
        super().__init__(reason)
        self.pause_s = pause_s


def download(url: str, file: Path, what: str, progress: Progress, patience: RetryPolicy | None = None) -> None:
    """Fetch a URL to a file. After an error the file may hold a part: let it lie in a scratch folder.

    Raises:
        UsageError: it redirects to something that is not https, or in circles.
        HostError: the server cannot be reached or trusted, has no such file, wants a credential, sends
            too little, or more than the disk holds.
    """
    patience = patience or RetryPolicy()
    part = _Part(file)
    part.restart(None, None)
    meter = _Meter(what, progress)
    failures = 0
    with requests.Session() as session:
        session.auth = _without_credentials
        while True:
            before = part.size
            try:
                return _attempt(session, url, part, meter, patience)
            except _BrokenError as error:
                failures = 1 if part.size >= before + CHUNK else failures + 1
                if failures >= patience.attempts:
                    problem = f"{what}: {_host(url)} {error}; {failures} attempts in a row failed"
                    raise HostError(problem, f"check the network and try again, {_ARCHIVE}") from error
                progress(f"{what}: {_host(url)} {error}; trying again")
                pause = max(patience.pause_s * 2 ** (failures - 1), error.pause_s)
                time.sleep(min(pause, _LONGEST_PAUSE_S))


def _attempt(session: requests.Session, url: str, part: _Part, meter: _Meter, patience: RetryPolicy) -> None:
    headers = {"User-Agent": f"repro-harness/{__version__}", "Accept-Encoding": "identity"}
    if part.size and part.validator:
        headers |= {"Range": f"bytes={part.size}-", "If-Range": part.validator}
    with _answer(session, url, headers, patience) as response:
        _begin(response, part, meter.what, resumes="Range" in headers)
        limit = _bounded(part, meter.what)
        try:
            _receive(response, part, limit, meter, patience)
        except urllib3.exceptions.HTTPError as error:
            raise _BrokenError(f"broke off ({type(error).__name__})") from error
    if part.total is not None and part.size != part.total:
        raise _BrokenError(f"broke off after {part.size} of {part.total} bytes")


def _answer(session: requests.Session, url: str, headers: dict[str, str], patience: RetryPolicy) -> requests.Response:
    """The first answer that is no redirect; every address on the way is https and without a password."""
    timeout = (patience.connect_s, patience.read_s)
    for _ in range(MAX_REDIRECTS):
        try:
            response = session.get(url, headers=headers, stream=True, allow_redirects=False, timeout=timeout)
        except requests.RequestException as error:
            if "CERTIFICATE_VERIFY_FAILED" in str(error):
                remedy = "set REQUESTS_CA_BUNDLE to a file with the certificates that are trusted here"
                raise HostError(f"{_host(url)} has no certificate that is trusted", remedy) from error
            if isinstance(error, requests.ConnectionError | requests.Timeout):
                raise _BrokenError(f"does not answer ({type(error).__name__})") from error
            raise UsageError(f"{_host(url)} cannot be asked: {type(error).__name__}", "check the URL") from error
        if not response.is_redirect:
            return response
        response.close()
        target = urljoin(url, response.headers["Location"])
        if not target.startswith("https://") or "@" in urlsplit(target).netloc:
            problem = f"{_host(url)} redirects to {target.partition(':')[0]}://{_host(target)}"
            raise UsageError(f"{problem}, and only https without a password is followed", "give the file's own address")
        url = target
    raise UsageError(f"{_host(url)} redirects more than {MAX_REDIRECTS} times", "give the file's own address")


def _begin(response: requests.Response, part: _Part, what: str, *, resumes: bool) -> None:
    """Settle where the answer's bytes belong."""
    status = response.status_code
    if status == 206 and resumes:
        found = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
        if found and (int(found[1]), int(found[2])) == (part.size, part.total):
            return
        status = 416
    if status == 416 and resumes:
        part.restart(None, None)
        raise _BrokenError("cannot go on where it broke off")
    if status in (408, 429) or status >= 500:
        after = response.headers.get("Retry-After", "")
        raise _BrokenError(f"answers {status}", float(after) if after.isdecimal() and len(after) < 6 else 0.0)
    if status in (401, 403, 407):
        remedy = "no credential is ever sent; fetch the file yourself and declare it as `file:`"
        raise HostError(f"{what}: {_host(response.url)} answers {status}: access denied", remedy)
    if status != 200:
        problem = f"{what}: {_host(response.url)} answers {status}, not the file"
        raise HostError(problem, f"find out where the file is now, {_ARCHIVE}")
    length = response.headers.get("Content-Length", "")
    etag = response.headers.get("ETag", "")
    validator = etag if etag.startswith('"') else response.headers.get("Last-Modified")
    part.restart(int(length) if length.isdecimal() else None, validator if length.isdecimal() else None)


def _bounded(part: _Part, what: str) -> int:
    free = shutil.disk_usage(part.path.parent).free
    if part.total is None:
        return part.size + max(0, free - _RESERVE_BYTES)
    if part.total - part.size > free:
        problem = f"{what}: {part.total / 1e9:.1f} GB are announced, {free / 1e9:.1f} GB of the disk are free"
        raise HostError(problem, "free some disk space, or set HARNESS_CACHE to a larger disk")
    return part.total


def _receive(response: requests.Response, part: _Part, limit: int, meter: _Meter, patience: RetryPolicy) -> None:
    """Append the body as it was sent, without decoding it."""
    start, mark = time.monotonic(), part.size
    with part.path.open("ab") as output:
        while piece := response.raw.read1(CHUNK, decode_content=False):
            if part.size + len(piece) > limit:
                problem = f"{meter.what}: the server sends more than the {limit} bytes that there may be"
                raise HostError(problem, "free some disk space, or ask whoever runs the server")
            output.write(piece)
            part.size += len(piece)
            meter.at(part)
            if time.monotonic() - start > patience.window_s:
                if part.size - mark < patience.window_bytes:
                    raise _BrokenError(f"sent only {part.size - mark} bytes in {patience.window_s:.0f} s")
                start, mark = time.monotonic(), part.size


def _without_credentials(request: requests.PreparedRequest) -> requests.PreparedRequest:
    """What requests asks instead of `.netrc`."""
    return request


def _host(url: str) -> str:
    """The part of a URL that may stand in a message: a redirect's query can be a signature."""
    return urlsplit(url).netloc.rpartition("@")[2]
