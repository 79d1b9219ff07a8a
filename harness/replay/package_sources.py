"""Where wheels come from on this machine, asked one by one whether they still have one.

The sources are those that pip is configured with, read from pip itself; behind them stands PyTorch's own index for
builds with a local version. An index is asked as the Simple Repository API describes it (PEP 503, PEP 691): the page of
one project, with the names of its files and their hashes.
"""

from __future__ import annotations

import ast
import json
import os
import posixpath
import re
import subprocess
import sys
import urllib.parse
from collections.abc import Mapping
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from typing import Literal

from packaging.utils import canonicalize_name

from harness.documents.lockfile import LABEL_INDEX
from harness.documents.preflight import State
from harness.errors import HostError
from harness.replay.web import NoAnswerError, Web, certificates_of, file_path, host_of

Has = Literal["yes", "no", "another", "unknown"]
ACCEPT = "application/vnd.pypi.simple.v1+json, application/vnd.pypi.simple.v1+html;q=0.2, text/html;q=0.1"
_JSON = "application/vnd.pypi.simple.v1+json"
_TIMEOUT_S = 30
_DEFAULT_INDEX = re.compile(r"--index-url <url>.*\(default (\S+)\)")
_SECTIONS = ("global.", "download.", ":env:.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a source says of one file: it has it, has none of that name, has another one of that name, or no answer."""

    has: Has
    said: str

    @property
    def state(self) -> State:
        """What that means for whoever needs the file."""
        return "fetchable" if self.has == "yes" else "unknown" if self.has == "unknown" else "gone"


@dataclass(frozen=True, slots=True, kw_only=True)
class PackageSources:
    """Indexes (URLs of their Simple API) and links to look for files in, in the order in which they are asked.

    `problem` says why they are not known; then nobody is asked.
    """

    indexes: tuple[str, ...] = ()
    find_links: tuple[str, ...] = ()
    web: Web = field(default_factory=Web)
    problem: str = ""

    def wheel(self, name: str, filename: str, sha256: str, label: str = "") -> Answer:
        """Whether any source has a wheel, those on this machine asked first.

        `filename` is "" where only the digest is known, `label` the local version label, or "".
        """
        if self.problem:
            return Answer(has="unknown", said=self.problem)
        places = [*((link, True) for link in self.find_links), *((index, False) for index in self.indexes)]
        places.sort(key=lambda place: not _is_local(place[0]))
        if label:
            places.append((f"{LABEL_INDEX}{label}", False))
        answers = []
        for place, is_link in places:
            answer = self._ask(place, name, filename, sha256, is_link=is_link)
            if answer.has == "yes":
                return answer
            answers.append(answer)
        for has in ("another", "unknown"):
            found = [answer for answer in answers if answer.has == has]
            if found:
                return found[0]
        asked = ", ".join(dict.fromkeys(host_of(place) or place for place, _ in places)) or "nowhere: pip has no source"
        return Answer(has="no", said=f"asked: {asked}")

    def _ask(self, place: str, name: str, filename: str, sha256: str, *, is_link: bool) -> Answer:
        shown = host_of(place) or place
        try:
            if is_link and filename and (folder := _folder(place)) is not None:
                return Answer(has="yes" if (folder / filename).is_file() else "no", said=shown)
            place = place if "://" in place else Path(place).absolute().as_uri()
            url = place if is_link else f"{place.rstrip('/')}/{canonicalize_name(name)}/"
            page = self.web.page(url, ACCEPT)
            rows = [] if page is None else files_of(*page, filename)
        except (NoAnswerError, OSError, ValueError) as error:
            return Answer(has="unknown", said=str(error)[:200])
        for found, digest, target in rows:
            is_it = found == filename if filename else digest == sha256
            if is_it and (not target.startswith("file:") or file_path(target).is_file()):
                is_other = digest and digest != sha256
                said = f"{shown} has another file of that name ({digest[:19]} ...)" if is_other else shown
                return Answer(has="another" if is_other else "yes", said=said)
        return Answer(has="no", said=shown)


def files_of(text: str, kind: str, address: str, wanted: str = "") -> list[tuple[str, str, str]]:
    """The files that a page names: filename, `sha256:<hex>` or "", and URL.

    `kind` is the page's media type. With `wanted`, only files of this name: pages of thousands of files are common.

    Raises:
        ValueError: it is JSON that is none of an index.
    """
    if kind == _JSON:
        return _files_of_json(text, address, wanted)
    if wanted and wanted not in text and urllib.parse.quote(wanted) not in text:
        return []
    reader = _Anchors()
    reader.feed(text)
    base = urllib.parse.urljoin(address, reader.base) if reader.base else address
    rows = []
    for link in reader.links:
        try:
            url, fragment = urllib.parse.urldefrag(urllib.parse.urljoin(base, link))
            filename = urllib.parse.unquote(posixpath.basename(urllib.parse.urlsplit(url).path))
        except ValueError:
            continue
        algorithm, _, digits = fragment.partition("=")
        rows.append((filename, f"sha256:{digits}" if algorithm == "sha256" else "", url))
    return rows


def pip_sources(environment: Mapping[str, str]) -> PackageSources:
    """The sources that pip is configured with here.

    Raises:
        HostError: pip cannot be asked.
    """
    settings: dict[str, str] = {}
    try:
        for line in _pip("config", "list").splitlines():
            key, _, value = line.partition("=")
            if settings.setdefault(key, ast.literal_eval(value)) != ast.literal_eval(value):
                settings[key] = _pip("config", "get", key)  # several files set it; pip knows which of them counts
        found = sources_of(settings, "", environment)
        if "" not in found.indexes:
            return found
        # Only pip's help names its default index; --help shows what is configured, so nothing must be.
        default = _DEFAULT_INDEX.search(_pip("download", "--help", PIP_CONFIG_FILE=os.devnull))
        return sources_of(settings, default[1] if default else "", environment)
    except (OSError, ValueError, SyntaxError, subprocess.SubprocessError) as error:
        said = str(getattr(error, "stderr", "") or error).strip().splitlines()[-1:] or ["it says nothing"]
        problem = f"pip's configuration cannot be read: {said[0][:200]}"
        raise HostError(problem, "run `pip config list`") from error


def _pip(*arguments: str, **environment: str) -> str:
    """What a command of pip's prints, on lines as long as they are."""
    return subprocess.run(
        (sys.executable, "-m", "pip", *arguments),
        capture_output=True,
        text=True,
        check=True,
        timeout=_TIMEOUT_S,
        stdin=subprocess.DEVNULL,
        env={**os.environ, "COLUMNS": "1000", "PIP_DISABLE_PIP_VERSION_CHECK": "1", **environment},
    ).stdout


def sources_of(settings: Mapping[str, str], default: str, environment: Mapping[str, str]) -> PackageSources:
    """The sources that pip's settings name, by the precedence that pip gives them: files, then the environment."""

    def setting(key: str) -> str:
        found = [settings[section + key] for section in _SECTIONS if section + key in settings]
        return found[-1] if found else ""

    is_without = setting("no-index").lower() in ("1", "true", "yes", "on")
    indexes = () if is_without else (setting("index-url") or default, *setting("extra-index-url").split())
    proxy = setting("proxy")
    web = Web(
        certificates=certificates_of(environment, setting("cert") or None),
        proxies={"http": proxy, "https": proxy} if proxy else {},
        trusted_hosts=tuple(setting("trusted-host").split()),
    )
    return PackageSources(
        indexes=tuple(dict.fromkeys(indexes)), find_links=tuple(dict.fromkeys(setting("find-links").split())), web=web
    )


def _files_of_json(text: str, address: str, wanted: str) -> list[tuple[str, str, str]]:
    try:
        rows = json.loads(text)["files"]
        found = []
        for row in rows:
            if wanted and row["filename"] != wanted:
                continue
            digits = row.get("hashes", {}).get("sha256", "")
            url = urllib.parse.urljoin(address, row["url"])
            found.append((str(row["filename"]), f"sha256:{digits}" if digits else "", url))
    except (TypeError, KeyError, AttributeError, RecursionError) as error:
        raise ValueError(f"{host_of(address)} answers with a page that is none of an index") from error
    return found


class _Anchors(HTMLParser):
    """The links of a page, and its base."""

    def __init__(self) -> None:
        super().__init__()
        self.links: list[str] = []
        self.base = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        target = dict(attrs).get("href")
        if target and tag == "a":
            self.links.append(target)
        elif target and tag == "base" and not self.base:
            self.base = target


def _is_local(place: str) -> bool:
    return place.startswith("file:") or "://" not in place


def _folder(place: str) -> Path | None:
    """The folder that a find-links entry names; None for a page."""
    path = file_path(place) if place.startswith("file:") else None if "://" in place else Path(place)
    return path if path is not None and path.is_dir() else None
