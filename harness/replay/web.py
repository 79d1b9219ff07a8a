"""Asking servers whether they have something: short questions, many at once, with this machine's certificates.

Nothing is downloaded but small pages. Who does not answer in time is not waited for: that is an answer too.
"""

from __future__ import annotations

import functools
import os
import re
import shutil
import ssl
import subprocess
import time
import urllib.parse
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import requests
import urllib3
from requests.adapters import HTTPAdapter

from harness import __version__

TIMEOUT_S = (2.0, 3.0)
MAX_PAGE_BYTES = 32 << 20
_CHUNK = 1 << 16
NUM_CONNECTIONS = 12
"""At most, to one server; each looks up its name, and a resolver drops what comes in bursts."""
_BUNDLES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE")
_APT = re.compile(r'^Acquire::(https?)::(Proxy|CaInfo) "([^"]+)";$', re.MULTILINE)


class NoAnswerError(Exception):
    """A server could not be asked, or did not answer; the text says which and why, without credentials."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Web:
    """How servers are asked.

    Attributes:
        certificates: a file with those that are trusted; None takes those of the library.
        proxies: by scheme; empty leaves it to the environment.
        trusted_hosts: whose certificates are not looked at, as pip is configured.
    """

    certificates: str | None = None
    proxies: Mapping[str, str] = field(default_factory=dict)
    trusted_hosts: tuple[str, ...] = ()

    def size(self, url: str) -> int | None:
        """The size of what lies at a URL, in bytes; -1 if the server does not say, None if there is nothing.

        Raises:
            NoAnswerError: nobody knows.
        """
        if url.startswith("file:"):
            path = file_path(url)
            return path.stat().st_size if path.is_file() else None
        answer = self._ask("HEAD", url, {"Accept-Encoding": "identity"})
        if answer.status_code in (403, 405, 501):  # some servers answer no HEAD
            answer = self._ask("GET", url, {"Range": "bytes=0-0", "Accept-Encoding": "identity"})
        with answer:
            if answer.status_code in (404, 410):
                return None
            if answer.status_code not in (200, 206):
                raise NoAnswerError(f"{host_of(url)} answers {answer.status_code}")
            whole = answer.headers.get("Content-Range", "").rpartition("/")[2]
            length = whole if answer.status_code == 206 else answer.headers.get("Content-Length", "")
            return int(length) if length.isdecimal() else -1

    def page(self, url: str, accept: str) -> tuple[str, str, str] | None:
        """A small page: its text, its media type and its address after redirects; None if there is none.

        Raises:
            NoAnswerError: nobody knows.
        """
        if url.startswith("file:"):
            path = file_path(url)
            path = path / "index.html" if path.is_dir() else path
            if not path.is_file():
                return None
            return path.read_text(encoding="utf-8", errors="replace"), "text/html", url
        with self._ask("GET", url, {"Accept": accept}) as answer:
            if answer.status_code in (404, 410):
                return None
            if answer.status_code != 200:
                raise NoAnswerError(f"{host_of(url)} answers {answer.status_code}")
            data, began = bytearray(), time.monotonic()
            try:
                for chunk in answer.iter_content(_CHUNK):
                    data += chunk
                    if time.monotonic() - began > sum(TIMEOUT_S):
                        raise NoAnswerError(f"{host_of(url)} sends too slowly")
                    if len(data) > MAX_PAGE_BYTES:
                        raise NoAnswerError(f"{host_of(url)} sends a page of more than {MAX_PAGE_BYTES >> 20} MiB")
            except requests.RequestException as error:
                raise NoAnswerError(f"{host_of(url)} broke off ({type(error).__name__})") from error
            kind = answer.headers.get("Content-Type", "").partition(";")[0].strip().lower()
            return data.decode("utf-8", "replace"), kind, str(answer.url)

    def _ask(self, method: str, url: str, headers: Mapping[str, str]) -> requests.Response:
        host = urllib.parse.urlsplit(url).hostname or ""
        port = urllib.parse.urlsplit(url).netloc.rpartition("@")[2]
        is_checked = not {host, port} & set(self.trusted_hosts)
        if not is_checked:
            urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)  # pip was told to trust that host
        try:
            return _session().request(
                method,
                url,
                headers={"User-Agent": f"repro-harness/{__version__}", **headers},
                timeout=TIMEOUT_S,
                allow_redirects=True,
                stream=method != "HEAD",  # what is not read to its end takes its connection with it
                proxies=dict(self.proxies) or None,
                verify=(self.certificates or True) if is_checked else False,
            )
        except (requests.RequestException, ValueError, OSError) as error:
            raise NoAnswerError(f"{host_of(url)} does not answer ({type(error).__name__})") from error


@functools.cache
def _session() -> requests.Session:
    """One session for all threads: its pools hand out each connection to one of them at a time."""
    session = requests.Session()
    for scheme in ("https://", "http://"):
        session.mount(scheme, HTTPAdapter(pool_maxsize=NUM_CONNECTIONS))
    return session


def file_path(url: str) -> Path:
    return Path(urllib.request.url2pathname(urllib.parse.urlsplit(url).path))


def host_of(url: str) -> str:
    """A source as messages may name it: without a user's name, a password or a query."""
    parts = urllib.parse.urlsplit(url)
    return parts.path if parts.scheme == "file" else parts.netloc.rpartition("@")[2]


def certificates_of(environment: Mapping[str, str], configured: str | None) -> str | None:
    """The file with the certificates that this machine trusts: pip's own setting, the environment's, the system's."""
    named = [configured, *(environment.get(name) for name in _BUNDLES), ssl.get_default_verify_paths().cafile]
    return next((path for path in named if path and Path(path).exists()), None)


def apts_web(environment: Mapping[str, str]) -> Web:
    """How apt asks: by its own proxies and certificates where it names some."""
    found: dict[tuple[str, str], str] = {}
    if shutil.which("apt-config"):
        done = subprocess.run(
            ("apt-config", "dump"),
            capture_output=True,
            text=True,
            check=False,
            timeout=10,
            stdin=subprocess.DEVNULL,
            env={**os.environ, "LC_ALL": "C"},
        )
        found = {(scheme, key): value for scheme, key, value in _APT.findall(done.stdout)}
    proxies = {scheme: value for (scheme, key), value in found.items() if key == "Proxy" and value != "DIRECT"}
    return Web(certificates=certificates_of(environment, found.get(("https", "CaInfo"))), proxies=proxies)
