"""Whether one thing that a training needs can be had: a package of the base, a wheel, an input.

What is here is found by its digest, in the cache, in a full archive, or in a folder that HARNESS_ARCHIVE names. Of
files in the cache only the size is looked at: their bytes are verified when they are used.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.documents.inputs import Input
from harness.documents.lockfile import BasePackage, Wheel
from harness.documents.preflight import ARCHIVE_REMEDY, Kind, PreflightRow, State
from harness.errors import HarnessError, UsageError
from harness.inputs.fetch import unpacked_tree
from harness.inputs.hub import endpoint_of, offline_switch
from harness.inputs.local import local_digest, mismatch
from harness.inputs.trees import listed
from harness.packages.debian import mirrors, pool_paths, pool_url
from harness.replay.package_sources import PackageSources, pip_sources
from harness.replay.web import NoAnswerError, Web, apts_web, certificates_of, host_of
from harness.system.store import Store

_DEBIAN_REMEDY = f"set HARNESS_DEBIAN_SNAPSHOT to a snapshot archive that has it; or {ARCHIVE_REMEDY}"
_ASK_AGAIN = f"check the network and ask again; or {ARCHIVE_REMEDY}"
_MAX_LISTING_BYTES = 128 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalSources:
    """Where things may lie on this machine.

    Attributes:
        store: the cache, with the folders of HARNESS_ARCHIVE.
        archived: the digests of the packages in the full archive that is replayed; empty without one.
    """

    store: Store
    archived: frozenset[str] = frozenset()

    def place_of(self, sha256: str, size_bytes: int | None = None) -> str:
        """Where a file is, in words; "" if it is nowhere here."""
        blob = self.store.blob(sha256)
        if blob.is_file() and (size_bytes is None or blob.stat().st_size == size_bytes):
            return "in the cache"
        if sha256 in self.archived:
            return "in the archive"
        folders = [folder for folder in self.store.archives if Store(folder).blob(sha256).is_file()]
        return f"in {folders[0]}" if folders else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mirrors:
    """Debian's mirrors as this machine knows them; `problem` says why there is none, `is_late` that it is not known."""

    places: tuple[str, ...]
    web: Web
    problem: str = ""
    is_late: bool = False

    def has(self, paths: Sequence[str], size_bytes: int | None) -> tuple[State, str]:
        """Whether a mirror has a package at one of some paths below it, and which, or who was asked."""
        unanswered = self.problem if self.is_late else ""
        for place in self.places:
            for path in paths:
                try:
                    size = self.web.size(pool_url(place, path))
                except (NoAnswerError, OSError, ValueError) as error:
                    unanswered = str(error)[:200]
                    break
                if size is not None and (size_bytes is None or size in (size_bytes, -1)):
                    return "fetchable", host_of(place)
        if unanswered:
            return "unknown", unanswered
        asked = ", ".join(dict.fromkeys(host_of(place) for place in self.places))
        return "gone", f"asked: {asked}" if asked else self.problem


LATE_MIRRORS = Mirrors(places=(), web=Web(), problem="apt did not answer in time", is_late=True)


def apt_mirrors(environment: Mapping[str, str]) -> Mirrors:
    """The mirrors to ask, and how apt asks them."""
    try:
        return Mirrors(places=mirrors(environment), web=apts_web(environment))
    except HarnessError as error:
        return Mirrors(places=(), web=Web(), problem=error.problem)


LATE_PIP = PackageSources(problem="pip did not answer in time")


def wheel_sources(environment: Mapping[str, str]) -> PackageSources:
    """The sources that pip has."""
    try:
        return pip_sources(environment)
    except (HarnessError, OSError) as error:
        return PackageSources(problem=str(error).partition("\n")[0])


def base_need(package: BasePackage, local: LocalSources, asked: Mirrors) -> PreflightRow:
    name = f"{package.name} {package.version}"
    if place := local.place_of(package.sha256, package.size_bytes):
        return PreflightRow(kind="base", name=name, state="present", detail=place)
    state, said = asked.has([package.pool_path], package.size_bytes)
    return _outside("base", name, state, said, _DEBIAN_REMEDY, package.size_bytes)


def wheel_need(name: str, version: str, wheel: Wheel, local: LocalSources, asked: PackageSources) -> PreflightRow:
    if place := local.place_of(wheel.sha256, wheel.size_bytes):
        return PreflightRow(kind="wheel", name=wheel.filename, state="present", detail=place)
    answer = asked.wheel(name, wheel.filename, wheel.sha256, version.partition("+")[2])
    return _outside("wheel", wheel.filename, answer.state, answer.said, ARCHIVE_REMEDY, wheel.size_bytes)


def local_need(value: Input, local: LocalSources, roots: Iterable[Path]) -> PreflightRow:
    """Whether a file or a folder lies where the experiment says, below one of some roots, or in the cache."""
    name = f"{value.name} ({value.reference})"
    wrong: UsageError | None = None
    for root in roots:
        try:
            found = local_digest(value, root)
        except UsageError as error:
            wrong, found = error, None
        except OSError as error:
            wrong, found = UsageError(f"it cannot be read: {error.strerror}", "see its permissions"), None
        if found is not None and found == value.sha256:
            size = 0 if local.place_of(value.sha256) else _size(root / value.reference)
            return PreflightRow(kind="input", name=name, state="present", detail="as it is pinned", size_bytes=size)
        if found is not None:
            pinned = f"not {value.sha256}" if value.sha256 else "and the experiment pins none"
            wrong = UsageError(f"its sha256 is {found}, {pinned}", mismatch(value, found).remedy)
    if wrong is not None:
        detail, code = wrong.problem, UsageError.exit_code
        return PreflightRow(kind="input", name=name, state="gone", detail=detail, remedy=wrong.remedy, exit_code=code)
    place = _place_of_files(value, local) if value.kind == "folder" else local.place_of(value.sha256)
    if place:
        return PreflightRow(kind="input", name=name, state="present", detail=place)
    remedy = "check the path in the experiment, or set HARNESS_ARCHIVE to a folder that has its blob"
    detail, code = f"no such {value.kind}", UsageError.exit_code
    return PreflightRow(kind="input", name=name, state="gone", detail=detail, remedy=remedy, exit_code=code)


def _size(path: Path) -> int:
    files = (path,) if path.is_file() else (one for one in path.rglob("*") if one.is_file())
    return sum(one.stat().st_size for one in files)


def input_need(
    value: Input, local: LocalSources, pip: PackageSources, apt: Mirrors, env: Mapping[str, str]
) -> PreflightRow:
    name = f"{value.name} ({value.reference} {value.version})".replace(" )", ")")
    if (place := local.place_of(value.sha256)) and value.kind != "hf":
        return PreflightRow(kind="input", name=name, state="present", detail=place)
    if unpacked_tree(value, local.store).is_dir():
        return PreflightRow(kind="input", name=name, state="present", detail="in the cache")
    if value.kind == "hf":
        return _repository(value, name, local, env)
    if value.kind == "deb":
        state, said = apt.has(pool_paths(value.reference, value.version), None)
        return _outside("input", name, state, said, _DEBIAN_REMEDY, 0)
    if value.kind == "pypi":
        # An experiment pins a wheel by its version and its sha256, not by its file's name.
        answer = pip.wheel(value.reference, "", value.sha256)
        return _outside("input", name, answer.state, answer.said, ARCHIVE_REMEDY, 0)
    state, said = _url_state(Web(certificates=certificates_of(env, None)), value.reference)
    return _outside("input", name, state, said, ARCHIVE_REMEDY, 0)


def _place_of_files(value: Input, local: LocalSources) -> str:
    """Where a folder's files are, in words: here are all of them or none, so that nobody starts with half an input."""
    listing = local.store.blob(value.sha256)
    if not listing.is_file() or listing.stat().st_size > _MAX_LISTING_BYTES:
        return "in the archive" if value.sha256 in local.archived else ""
    try:
        places = [local.place_of(digest) for digest, _ in listed(os.fsdecode(listing.read_bytes()))]
    except HarnessError:
        return ""
    return local.place_of(value.sha256) if all(places) else ""


def _repository(value: Input, name: str, local: LocalSources, environment: Mapping[str, str]) -> PreflightRow:
    if place := _place_of_files(value, local):
        return PreflightRow(kind="input", name=name, state="present", detail=place)
    if switch := offline_switch(environment):
        return _outside("input", name, "unknown", f"{switch} forbids asking the hub", f"unset {switch}", 0)
    try:
        endpoint = endpoint_of(environment) or _default_endpoint()
    except HarnessError as error:
        return _outside("input", name, "unknown", error.problem, error.remedy, 0)
    kind = "datasets" if value.repo_type == "dataset" else "models"
    web = Web(certificates=certificates_of(environment, None))
    state, said = _url_state(web, f"{endpoint}/api/{kind}/{value.reference}/revision/{value.version}")
    return _outside("input", name, state, said, ARCHIVE_REMEDY, 0)


def _default_endpoint() -> str:
    from huggingface_hub import constants  # slow to import, and asked for only where a repository is missing

    return str(constants.ENDPOINT)


def _url_state(web: Web, url: str) -> tuple[State, str]:
    try:
        return ("gone", f"asked: {host_of(url)}") if web.size(url) is None else ("fetchable", host_of(url))
    except (NoAnswerError, OSError, ValueError) as error:
        return "unknown", str(error)[:200]


def _outside(kind: Kind, name: str, state: State, said: str, remedy: str, size_bytes: int) -> PreflightRow:
    """A need by what a source outside said of it."""
    remedies = {"gone": remedy, "unknown": _ASK_AGAIN if remedy in (ARCHIVE_REMEDY, _DEBIAN_REMEDY) else remedy}
    size = size_bytes if state == "fetchable" else 0
    return PreflightRow(kind=kind, name=name, state=state, detail=said, remedy=remedies.get(state, ""), size_bytes=size)
