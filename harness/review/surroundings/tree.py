"""What stands around the code, judged together: requirements, environments, images, shell scripts, locks.

Ranges in a library's pyproject.toml or setup.py are right and no finding; nor is what only tests, documents or builds.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import yaml

from harness.documents.dockerfile import read_base
from harness.documents.lockfile import parse_base_lock, parse_lock
from harness.documents.platform import USUAL, Target
from harness.errors import UsageError
from harness.review.finding import Finding, Place, Said, Showing, finding, holds
from harness.review.lock_rules import lint_lock, marker_holds
from harness.review.source.allow import apply_allows, read_line_allows
from harness.review.surroundings.cuda_rules import review_image, review_versions
from harness.review.surroundings.dockerfiles import Recipe, pip_installs, read_recipe, review_recipe, review_script
from harness.review.surroundings.requirements import (
    RequirementsFile,
    constrained,
    declared_requirements,
    environment_requirements,
    judge_hashes,
    judge_pins,
    parse_requirements,
    pipfile_requirements,
    shows_pins,
    split_by_markers,
)
from harness.review.surroundings.surrounding_files import (
    is_dockerfile,
    is_environment,
    is_other_lock,
    is_own_lock,
    is_requirements,
    is_shell,
)

_LOCKS = ("Pipfile.lock", "uv.lock", "poetry.lock", "pdm.lock", "pixi.lock")
_MAX_YAML = 256 << 10
_MAX_SCRIPT = 256 << 10
_MAX_INSTALLS = 100
_MAX_LINE = 500
_MAX_BRACKETS = 500
_ASIDE = re.compile(
    r"(^|[-_./])(dev|devel|develop|development|test|tests|testing|docs?|documentation|lint|linting|style|quality|ci|cicd|"
    r"build|\.github|\.circleci|\.gitlab|\.devcontainer|\.ci|typing|format|benchmarks?|precommit|pre-commit)(?=[-_./]|$)",
    re.IGNORECASE,
)


@dataclass(slots=True)
class Surroundings:
    """The files, and what was said about them; `target` is what the project's own locks are for."""

    files: Mapping[str, str]
    target: Target = USUAL
    said: list[Said] = field(default_factory=list)
    unread: dict[str, str] = field(default_factory=dict)

    def of(self, kind: Callable[[str], bool]) -> list[str]:
        """The paths of a kind that matter to what trains, sorted."""
        return sorted(path for path in self.files if kind(path) and not _ASIDE.search(path))

    def short(self, kind: Callable[[str], bool]) -> Iterator[str]:
        """Those that a person may have written; that the others are too long is told."""
        for path in self.of(kind):
            size = len(self.files[path])
            if size <= _MAX_SCRIPT:
                yield path
            else:
                reason = f"{size / 1e6:.1f} MB: scripts of more than {_MAX_SCRIPT >> 10} KiB are not read"
                self.unread[path] = reason


def review_surroundings(files: Mapping[str, str], known: Container[str]) -> tuple[tuple[Said, ...], dict[str, str]]:
    """What the rules say about the files together, allow comments applied; and which could not be read, with why."""
    around = Surroundings(files)
    requirements = {
        path: parse_requirements(files[path], path) for path in around.of(is_requirements) if not is_own_lock(path)
    }
    for path in files:
        if _ASIDE.search(path) and not path.endswith((".py", ".toml", ".cfg")):
            around.unread[path] = "for development, tests or documents, by its name: not judged"
    for check in (_locks, _environments, _declarations, _recipes):
        check(around)
    for path in around.short(is_shell):
        around.said += review_script(files[path], path)
    _requirements(around, requirements)
    findings = [one for one in around.said if isinstance(one, Finding)]
    showings = [one for one in around.said if isinstance(one, Showing)]
    if any(one.rule in ("REP601", "REP606", "REP609") for one in findings):
        showings = [one for one in showings if one.item != "V3"]  # one file that pins all does not speak for the rest
    return (*_allowed(files, findings, known), *showings), around.unread


def _allowed(files: Mapping[str, str], findings: list[Finding], known: Container[str]) -> Iterator[Finding]:
    for path, text in sorted(files.items()):
        own = [one for one in findings if one.place is not None and one.place.path == path]
        if not path.endswith(".py"):
            yield from apply_allows(read_line_allows(path, text), own, known)


def _requirements(around: Surroundings, files: Mapping[str, RequirementsFile]) -> None:
    declared = _read_by_packaging(around.files)
    for path, file in files.items():
        if file.unclear:
            lines = ", ".join(str(line) for line in file.unclear[:5])
            around.unread[path] = f"line {lines}: no requirement, not judged"
        whole = constrained(file, files)
        if (
            not whole.requirements
            or path.endswith(".in")
            or path in declared
            or path.rpartition("/")[2].lower().startswith("constraint")
        ):
            continue
        on_target = [one for one in whole.requirements if marker_holds(one.marker, around.target) is not False]
        around.said += review_versions(on_target, whole.index_urls, path)
        if not _has_lock(path, around.files, files):
            around.said += judge_pins(whole.requirements, path, "requirements")
        if all(one.is_pinned or one.is_local for one in whole.requirements):
            around.said += judge_hashes(whole, around.target)


def _environments(around: Surroundings) -> None:
    for path in around.of(is_environment):
        text = around.files[path]
        document = _yaml(around, path, text)
        found = environment_requirements(document, text)
        if found is None:
            continue
        around.said += review_versions(found, (), path)
        if not _beside(path, ("conda-lock.yml", "pixi.lock"), around.files):
            around.said += judge_pins(found, path, "packages")
        if found and all(one.is_pinned or one.is_local for one in found):
            around.said += shows_pins(path, len(found), sum(one.num_hashes for one in found))


def _declarations(around: Surroundings) -> None:
    for path in around.of(lambda path: path.rpartition("/")[2] in ("pyproject.toml", "Pipfile")):
        text = around.files[path]
        try:
            document = tomllib.loads(text)
        except (tomllib.TOMLDecodeError, RecursionError) as error:
            around.unread[path] = f"no valid TOML: {str(error)[:100]}"
            continue
        if path.endswith("Pipfile"):
            found = pipfile_requirements(document, text)
        else:
            found = declared_requirements(document, text)
        if found and not _beside(path, _LOCKS, around.files) and not _beside_requirements(path, around.files):
            # A library has no Pipfile.
            around.said += judge_pins(found, path, "dependencies", proven=path.endswith("Pipfile"))


def _recipes(around: Surroundings) -> None:
    locks = frozenset(_stem(path) for path in around.files if is_own_lock(path))
    for path in around.short(is_dockerfile):
        recipe = read_recipe(around.files[path], path)
        wrong = [*review_recipe(recipe, locks), *review_image(recipe)]
        for installed in pip_installs(recipe.commands)[:_MAX_INSTALLS]:
            wrong += review_versions(installed.requirements, installed.index_urls, path)
        first: dict[str, Finding] = {}
        for one in wrong:
            first.setdefault(one.rule, one)
        around.said += first.values()
        if recipe.bases and not wrong:
            around.said.append(_shows_recipe(around, recipe))


def _shows_recipe(around: Surroundings, recipe: Recipe) -> Showing:
    """E5 holds: what the image stands on, and that its steps fetch nothing unpinned."""
    base = recipe.bases[0][1]
    text = f"{recipe.path} stands on {base}, and no step of it fetches anything that is not pinned"
    lock = next((path for path in around.files if is_own_lock(path) and _stem(path) == base), "")
    try:
        read_base(recipe.text, recipe.path)
        packages = parse_base_lock(around.files[lock], lock).packages if lock else ()
    except UsageError:
        packages = ()
    if packages:
        count = f"{len(packages)} Debian packages with a sha256 each"
        text = f"{recipe.path} stands on {lock}, {count}, and fetches nothing"
    return holds("E5", text, Place(path=recipe.path))


def _locks(around: Surroundings) -> None:
    targets = set()
    for path in around.of(is_own_lock):
        text = around.files[path]
        if _stem(path).startswith("base-"):
            _own(around, path, partial(parse_base_lock, text, path))
            continue
        lock = _own(around, path, partial(parse_lock, text, path))
        if lock is None:
            continue
        targets |= {lock.target} - {None}
        if _stem(path) != "harness":
            for one in lint_lock(lock, path):
                rule = "REP608" if one.id.startswith("CUDA") else "REP603"
                message = f"{one.where.removeprefix(f'{path}: ')}: {one.problem}" if one.where != path else one.problem
                around.said.append(finding(rule, Place(path=path), message))
        num_hashes = sum(len(pin.hashes) for pin in lock.pins)
        around.said += shows_pins(path, len(lock.pins), num_hashes)
    if len(targets) == 1:
        around.target = targets.pop()
    for path in around.of(is_other_lock):
        pins, num_hashes = _read_lock(around, path)
        if pins:
            split = split_by_markers(pins, around.target)
            around.said += shows_pins(
                path, len({name for name, _, _ in pins}), num_hashes, "locks", split, around.target
            )


def _own(around: Surroundings, path: str, read: Callable[[], Any]) -> Any:
    """A lock of this project's own layout, or None and a finding that says what is wrong with it."""
    try:
        return read()
    except UsageError as error:
        line = re.search(r", line ([0-9]+)", error.problem)
        place = Place(path=path, line=int(line[1]) if line else 0)
        message = error.problem.removeprefix(path).lstrip(":, ")
        around.said.append(finding("REP601", place, message, fix=error.remedy))
        return None


def _read_lock(around: Surroundings, path: str) -> tuple[list[tuple[str, str, str]], int]:
    """Name, version and marker of each distribution in a lock of another tool, and how many hashes; none if unknown."""
    text = around.files[path]
    try:
        if path.endswith("Pipfile.lock"):
            packages = json.loads(text).get("default", {})
            pins = [(name, str(one.get("version", "")), str(one.get("markers", ""))) for name, one in packages.items()]
            return pins, sum(len(one.get("hashes", ())) for one in packages.values())
        if path.endswith((".yml", "pixi.lock")):
            return [], 0
        locked = tomllib.loads(text).get("package", [])
        locked = [one for one in locked if not {"editable", "virtual", "directory"} & set(one.get("source", {}))]
        pins = [(str(one["name"]), str(one.get("version", "")), _marker_of(one)) for one in locked]
        files = [one for package in locked for one in (*package.get("wheels", ()), *package.get("files", ()))]
        files += [package["sdist"] for package in locked if "sdist" in package]
        return pins, sum("hash" in one for one in files)
    except (ValueError, AttributeError, TypeError, KeyError, RecursionError) as error:
        around.unread[path] = f"no valid lock: {str(error)[:100]}"
        return [], 0


def _marker_of(package: Mapping[str, Any]) -> str:
    """The marker of a package of uv.lock or poetry.lock: any of several."""
    given = package.get("resolution-markers") or package.get("markers") or ()
    return " or ".join(f"({one})" for one in ([given] if isinstance(given, str) else given) if isinstance(one, str))


def _yaml(around: Surroundings, path: str, text: str) -> Any:
    if len(text) > _MAX_YAML:
        around.unread[path] = f"{len(text) / 1e6:.1f} MB of YAML: more than {_MAX_YAML >> 10} KiB are not read"
        return None
    if sum(map(text.count, "[{")) > _MAX_BRACKETS:  # the parser takes time by their square
        around.unread[path] = "no environment: more brackets than any has"
        return None
    try:
        return yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        around.unread[path] = f"no valid YAML: {str(error).splitlines()[0][:100]}"
        return None


def _has_lock(path: str, files: Mapping[str, str], parsed: Mapping[str, RequirementsFile]) -> bool:
    """Whether something beside a requirements file pins what it asks for."""
    if _beside(path, ("uv.lock", "poetry.lock", "Pipfile.lock", "pdm.lock"), files):
        return True
    stem = re.sub(r"\.(txt|in)$", "", path)
    compiled = [parsed.get(f"{stem}{end}") for end in (".lock", ".lock.txt", "-lock.txt", "_lock.txt", "-frozen.txt")]
    pinned = [[one.is_pinned for one in file.requirements] for file in compiled if file is not None]
    return any(one and all(one) for one in pinned)


def _read_by_packaging(files: Mapping[str, str]) -> set[str]:
    """Requirements files that a library's metadata is made of: their ranges are right."""
    found = set()
    for path, text in files.items():
        folder, _, name = path.rpartition("/")
        if name in ("setup.py", "setup.cfg", "pyproject.toml"):
            short = "\n".join(line for line in text.splitlines() if len(line) <= _MAX_LINE)
            for mentioned in re.findall(r"[\w./-]*requirements?[\w./-]*\.(?:txt|in)", short):
                found.add(f"{folder}/{mentioned}".lstrip("/") if folder else mentioned.removeprefix("./"))
    return found


def _beside(path: str, names: Iterable[str], files: Mapping[str, str]) -> bool:
    folder = path.rpartition("/")[0]
    return any((f"{folder}/{name}" if folder else name) in files for name in names)


def _beside_requirements(path: str, files: Mapping[str, str]) -> bool:
    folder = path.rpartition("/")[0]
    return any(is_requirements(one) and one.rpartition("/")[0] == folder for one in files)


def _stem(path: str) -> str:
    return path.rpartition("/")[2].removesuffix(".lock")
