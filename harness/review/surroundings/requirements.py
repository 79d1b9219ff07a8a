"""REP601 to REP603: requirements, environments and declarations that a training is installed from.

Formats: pip's requirements files (https://pip.pypa.io/en/stable/reference/requirements-file-format/), conda's
environment files and match specifications, `[project]` of pyproject.toml, Pipfile.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from packaging import requirements as pep508
from packaging.utils import canonicalize_name

from harness.documents.platform import USUAL, Target
from harness.documents.requirements import exact_version, logical_lines, without_hashes
from harness.review.finding import Finding, Place, Said, Showing, finding, holds
from harness.review.lock_rules import marker_holds

INSTALLERS = frozenset(("pip", "setuptools", "wheel", "uv", "pipx", "virtualenv", "conda", "mamba", "poetry", "pdm"))
"""What only installs the rest: it is no part of what trains."""

_COMMIT = re.compile(r"@[0-9a-f]{40}(?=$|[#&?])")
_OPTION = re.compile(r"\s--(?:config-settings?|global-option|install-option)[= ](\S+)")
_REMOTE = re.compile(r"(?:git|hg|svn|bzr)\+|(?:https?|ssh|git|ftp)(?:\+[a-z]+)?://", re.IGNORECASE)
_EGG = re.compile(r"[#&]egg=([A-Za-z0-9._-]+)")
_SPEC = re.compile(r"([A-Za-z0-9_.-]+::)?([A-Za-z0-9_.-]+)(?:\[[^\]]*\])?\s*(.*)")
_SHOWN = 3
_MAX_TEXT = 2000


@dataclass(frozen=True, slots=True, kw_only=True)
class Requirement:
    """One requirement as a file has it.

    Attributes:
        name: canonical, or what was written where it names nothing.
        text: as it is written, for a message.
        line: where.
        version: the one version that it is pinned to, "" if it is not.
        is_pinned: to a version, a commit, or a file with its hash.
        num_hashes: of files that may be installed for it.
        is_local: a path: the project's own code.
        marker: the environments that it is for, "" for all.
    """

    name: str
    text: str
    line: int
    version: str = ""
    is_pinned: bool = False
    num_hashes: int = 0
    is_local: bool = False
    marker: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RequirementsFile:
    """A parsed requirements file; `unclear` are lines that are no requirement, `includes` those of -r and -c."""

    path: str
    requirements: tuple[Requirement, ...]
    constraints: tuple[str, ...] = ()
    index_urls: tuple[tuple[int, str], ...] = ()
    unclear: tuple[int, ...] = ()


def parse_requirement(text: str, line: int) -> Requirement | None:
    """One requirement, as pip takes it on its command line or in a file; None if it is none."""
    spec, hashes = without_hashes(text)
    bare = _OPTION.sub("", f" {spec}").strip()
    if len(bare) > _MAX_TEXT:
        return None
    is_file = bare.endswith((".whl", ".tar.gz")) and "//" not in bare
    if is_file or bare.startswith((".", "/", "~", "file:")):
        return Requirement(name=bare, text=bare, line=line, is_local=True, num_hashes=len(hashes) if is_file else 0)
    if _REMOTE.match(bare):
        egg = _EGG.search(bare)
        return _of_url(canonicalize_name(egg[1]) if egg else bare, bare, bare, line)
    try:
        parsed = pep508.Requirement(bare)
    except (pep508.InvalidRequirement, RecursionError):
        return None
    name = canonicalize_name(parsed.name)
    if parsed.url:
        if not _REMOTE.match(parsed.url):
            return Requirement(name=name, text=bare, line=line, is_local=True)
        return _of_url(name, bare, parsed.url, line)
    version = exact_version(parsed)
    shown = re.split(r"\s*;", bare)[0]
    return Requirement(
        name=name,
        text=shown,
        line=line,
        version=version,
        is_pinned=bool(version),
        num_hashes=len(hashes),
        marker=str(parsed.marker or ""),
    )


def parse_requirements(text: str, path: str) -> RequirementsFile:
    """A requirements file, read as pip does as far as pins and hashes go."""
    found: list[Requirement | None] = []
    constraints: list[str] = []
    urls: list[tuple[int, str]] = []
    unclear: list[int] = []
    for number, line in logical_lines(text):
        option, _, value = line.replace("=", " ", 1).partition(" ") if line.startswith("--") else line.partition(" ")
        value = value.strip()
        if option in ("-c", "--constraint"):
            constraints.append(_beside(path, value))
        elif option in ("-i", "--index-url", "--extra-index-url"):
            urls.append((number, value))
        elif option in ("-e", "--editable"):
            found.append(parse_requirement(value, number))
        elif not line.startswith("-"):
            found.append(parse_requirement(line, number))
            unclear += [number] if found[-1] is None else []
    return RequirementsFile(
        path=path,
        requirements=_known(found),
        constraints=tuple(constraints),
        index_urls=tuple(urls),
        unclear=tuple(unclear),
    )


def parse_conda_spec(text: str, line: int) -> Requirement | None:
    """A conda match specification, `numpy=1.26.4=py311_0`; `=` counts as a pin, as `conda env export` writes it."""
    match = _SPEC.fullmatch(text.strip()) if len(text) <= _MAX_TEXT else None
    if match is None:
        return None
    name, rest = match[2].lower(), match[3].strip()
    version = re.fullmatch(r"={1,3}\s*([A-Za-z0-9_.!+-]+)(?:[= ].*)?|([0-9][A-Za-z0-9_.!+-]*)(?: .*)?", rest)
    pinned = (version[1] or version[2]) if version else ""
    return Requirement(name=name, text=text.strip(), line=line, version=pinned, is_pinned=bool(pinned))


def judge_pins(
    requirements: Sequence[Requirement], path: str, what: str, *, rule: str = "REP601", proven: bool = True
) -> Iterator[Finding]:
    """One finding for a file whose requirements are not all pinned, at the first that is not."""
    loose = [one for one in requirements if not one.is_pinned and not one.is_local]
    if loose:
        shown = ", ".join(one.text[:60] for one in loose[:_SHOWN])
        more = f" and {len(loose) - _SHOWN} more" if len(loose) > _SHOWN else ""
        every = len([one for one in requirements if not one.is_local])
        number = f"{len(loose)} of {every} {what}" if every > 1 else f"the one {what.removesuffix('s')}"
        verb = "are" if len(loose) > 1 else "is"
        yield finding(
            rule,
            Place(path=path, line=loose[0].line),
            f"{number} {verb} not pinned to one version: {shown}{more}",
            proven=proven,
        )


def judge_hashes(file: RequirementsFile, target: Target = USUAL) -> Iterator[Said]:
    """REP602 and REP603 on a file whose requirements are all pinned; E1 and V3 hold if pip takes it as it is."""
    pins = [one for one in file.requirements if not one.is_local]
    bare = [one for one in pins if one.version and not one.num_hashes]
    refused = [one for one in file.requirements if not one.num_hashes]
    if len(refused) == len(file.requirements):
        refused = []
    if bare or refused:
        first = (refused or bare)[0]
        number = f"{len(bare)} of {len(pins)} pins have no hash" if len(bare) > 1 else "a pin has no hash"
        if len(bare) == len(pins) > 1:
            number = f"none of {len(pins)} pins has a hash"
        message = f"{number}, so what is installed is not checked: {first.text[:60]}"
        if refused:
            message = f"{first.text[:60]} has no hash and others have one: pip refuses the whole file"
        yield finding("REP602", Place(path=file.path, line=first.line), message)
    several = [one for one in pins if one.num_hashes > 1]
    if several:
        first = several[0]
        message = (
            f"{len(several)} of {len(pins)} pins accept several files ({first.name} {first.version}: "
            f"{first.num_hashes} hashes); which one is installed depends on the machine"
        )
        yield finding("REP603", Place(path=file.path, line=first.line), message)
    split = split_by_markers(((one.name, one.version, one.marker) for one in pins), target)
    if refused or "" in split.values():
        name = next((name for name, version in split.items() if not version), "")
        what = f"{first.text[:60]} has no hash" if refused else f"which version of {name} it pins on {target}"
        text = f"pip would refuse {file.path}: {what}" if refused else f"{file.path} does not say {what}"
        yield Showing(item="V3", state="unknown", text=text, place=Place(path=file.path))
    elif pins:
        num_hashes = sum(one.num_hashes for one in pins)
        yield from shows_pins(file.path, len({one.name for one in pins}), num_hashes, split=split, target=target)


def split_by_markers(pins: Iterable[tuple[str, str, str]], target: Target) -> dict[str, str]:
    """The distributions that are pinned more than once, and each one's version on a target; "" if there is not one.

    Args:
        pins: name, version and marker.
        target: what images run.
    """
    versions: dict[str, dict[str, bool | None]] = {}
    for name, version, marker in pins:
        versions.setdefault(name, {})[version] = marker_holds(marker, target)
    several = {name: found for name, found in versions.items() if len(found) > 1}
    on_target = {name: [one for one, holds in found.items() if holds is not False] for name, found in several.items()}
    return {name: found[0] if len(found) == 1 else "none" if not found else "" for name, found in on_target.items()}


def shows_pins(
    path: str,
    num_pins: int,
    num_hashes: int,
    what: str = "pins",
    split: Mapping[str, str] | None = None,
    target: Target = USUAL,
) -> tuple[Showing, ...]:
    """E1 and V3 hold: a file pins everything."""
    text = f"{path} {what} {num_pins} distribution{'s' if num_pins > 1 else ''} with one version each"
    text += f" and {num_hashes} hash{'es' if num_hashes > 1 else ''}" if num_hashes else ", without hashes"
    if split:
        each = ", ".join(f"{name} {version or 'not told'}" for name, version in sorted(split.items())[:_SHOWN])
        more = f" and {len(split) - _SHOWN} more" if len(split) > _SHOWN else ""
        text += f"; split by environment markers, on {target}: {each}{more}"
    return tuple(holds(item, text, Place(path=path)) for item in ("E1", "V3"))


def constrained(file: RequirementsFile, files: Mapping[str, RequirementsFile]) -> RequirementsFile:
    """A file whose loose requirements count as pinned where a constraints file pins them."""
    pins = {one.name for path in file.constraints if path in files for one in files[path].requirements if one.is_pinned}
    if not pins:
        return file
    pinned = (
        replace(one, is_pinned=True, version="", num_hashes=0) if one.name in pins and not one.is_pinned else one
        for one in file.requirements
    )
    return replace(file, requirements=tuple(pinned))


def environment_requirements(document: Any, text: str) -> tuple[Requirement, ...] | None:
    """What a conda environment file installs, conda's and pip's; None if it is none."""
    if not isinstance(document, dict) or not isinstance(document.get("dependencies"), list):
        return None
    lines = text.splitlines()
    found: list[Requirement | None] = []
    for one in document["dependencies"]:
        if isinstance(one, str):
            found.append(parse_conda_spec(one, _line_of(one, lines)))
        elif isinstance(one, dict) and isinstance(one.get("pip"), list):
            by_pip = (line for line in one["pip"] if isinstance(line, str) and not line.strip().startswith("-"))
            found += [parse_requirement(line, _line_of(line, lines)) for line in by_pip]
    return tuple(one for one in _known(found) if one.is_pinned or one.name not in INSTALLERS)


def declared_requirements(document: Mapping[str, object], text: str) -> tuple[Requirement, ...]:
    """What an application's pyproject.toml declares; () for a library, whose ranges are right.

    Without a build system nothing is built of a project, so it is no library (PEP 518, and uv's "virtual" projects).
    """
    project = document.get("project")
    if "build-system" in document or not isinstance(project, dict):
        return ()
    lines = text.splitlines()
    declared = project.get("dependencies")
    texts = [one for one in declared if isinstance(one, str)] if isinstance(declared, list) else []
    found = [parse_requirement(one, _line_of(one, lines)) for one in texts]
    return _known(found)


def pipfile_requirements(document: Mapping[str, object], text: str) -> tuple[Requirement, ...]:
    """What a Pipfile installs."""
    packages = document.get("packages")
    lines = text.splitlines()
    found = []
    for name, value in packages.items() if isinstance(packages, dict) else ():
        version = value.get("version", "") if isinstance(value, dict) else value
        is_local = isinstance(value, dict) and "path" in value
        is_commit = isinstance(value, dict) and bool(re.fullmatch(r"[0-9a-f]{40}", str(value.get("ref", ""))))
        is_pinned = is_commit or bool(re.fullmatch(r"={2,3}\s*[^*\s]+", str(version)))
        text_ = f"{name} {version}".strip() if isinstance(version, str) else name
        line = next((n for n, one in enumerate(lines, 1) if re.match(rf"\s*[\"']?{re.escape(name)}[\"']?\s*=", one)), 1)
        found.append(Requirement(name=name, text=text_, line=line, is_pinned=is_pinned, is_local=is_local))
    return tuple(found)


def _known(found: Iterable[Requirement | None]) -> tuple[Requirement, ...]:
    return tuple(one for one in found if one is not None)


def _of_url(name: str, text: str, url: str, line: int) -> Requirement:
    is_checkout = bool(re.match(r"(git|hg|svn|bzr)\+", url)) or url.endswith(".git")
    has_hash = bool(re.search(r"[#&](sha256|sha384|sha512)=[0-9a-fA-F]{64,}", url))
    is_pinned = bool(_COMMIT.search(url)) if is_checkout else has_hash
    if not is_checkout and not has_hash and re.search(r"/[0-9a-f]{40}(\.|/)|-[0-9][^/]*\.(whl|tar\.gz|zip)", url):
        is_pinned = True  # a file of one version, or the archive of one commit: REP602's business at most
    return Requirement(name=name, text=text, line=line, is_pinned=is_pinned, num_hashes=int(has_hash))


def _beside(path: str, name: str) -> str:
    """A path that a file names from its own folder."""
    parts = path.split("/")[:-1]
    for part in name.split("/"):
        if part == "..":
            parts = parts[:-1]
        elif part not in ("", "."):
            parts.append(part)
    return "/".join(parts)


def _line_of(value: str, lines: Sequence[str]) -> int:
    """The line of a YAML or TOML file that an item of a list stands on."""
    numbered = list(enumerate(lines, 1))
    for number, line in numbered:
        if line.partition(" #")[0].strip().lstrip("-[").strip(" ,]\"'") == value.strip():
            return number
    return next((number for number, line in numbered if value in line), 1)
