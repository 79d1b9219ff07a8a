"""What a repository needs, as `lockfiles/<image>.in` says it: read from its own files, versions kept."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from harness.documents.dockerfile import read_steps
from harness.documents.platform import SERIES, USUAL, Target
from harness.errors import UsageError
from harness.review.lock_rules import marker_holds
from harness.review.source.nodes import words
from harness.review.surroundings.requirements import environment_requirements, parse_requirements
from harness.system.project import read_text

_FILES = ("uv.lock", "poetry.lock", "requirements.txt", "pyproject.toml", "environment.yml", "environment.yaml")
_NOT_OF_AN_IMAGE = words("python pip cudatoolkit pytorch-cuda pytorch-mutex cuda cuda-toolkit mkl triton")
_OF_CONDA = {"pytorch": "torch", "pytorch-cpu": "torch", "pytorch-gpu": "torch"}
_BUILDS = ("torch", "torchvision", "torchaudio")  # PyTorch's index has a build of these for CPUs
_OF_IMPORTS = {"PIL": "pillow", "sklearn": "scikit-learn", "yaml": "pyyaml", "cv2": "opencv-python-headless"}
_PYTHON_IMAGE = re.compile(r"(?:[\w.:-]+/)*python:(3\.[0-9]+)")
STOCK_TORCH = "2.13.0"
"""What a CPU image gets where the repository asks for no version that differs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Needs:
    """The lines of an `.in` file, and what they are resolved for.

    `source` is the file that they were read from, `left_out` what is not among them.
    """

    lines: tuple[str, ...]
    source: str
    left_out: tuple[str, ...] = ()
    target: Target = USUAL

    @property
    def text(self) -> str:
        """The file: what is installed for a training, and pip, which installs it in the image."""
        head = f"# What {self.source} asks for; `harness lock` pins it with hashes."
        python = [] if self.target == USUAL else [f"# python {self.target.python}"]
        return "\n".join([head, *python, *self.lines, "pip", ""])


def read_needs(root: Path, image: str, installed: Mapping[str, str], imported: Iterable[str] = ()) -> Needs:
    """What a repository's files say that it needs.

    Args:
        root: its top.
        image: `cpu` takes PyTorch's builds for CPUs.
        installed: versions by distribution, of the interpreter that trains today; they choose PyTorch's build.
        imported: top-level modules that the script imports, for a repository without a file.

    Raises:
        UsageError: a file is malformed.
    """
    target = target_of(root)
    own: set[str] = {canonicalize_name(str(_toml(root / "pyproject.toml").get("project", {}).get("name", "")))}
    for name in _FILES:
        if (root / name).is_file() and (found := list(_read(root / name))):
            lines, left_out = _lines(found, image, installed, own, target)
            return Needs(lines=lines, source=name, left_out=left_out, target=target)
    names = sorted({_OF_IMPORTS.get(name, name) for name in imported})
    known = [f"{name}=={installed[name].partition('+')[0]}" if name in installed else name for name in names]
    lines, left_out = _lines(known, image, installed, own, target)
    return Needs(lines=lines, source="what the script imports", left_out=left_out, target=target)


def target_of(root: Path) -> Target:
    """The Python that a repository's files name, if images have it: its Dockerfile, its environment of conda.

    Else the usual one where `requires-python` allows that, or the first that it allows.

    Raises:
        UsageError: a file is malformed.
    """
    named = [python for _, python in python_images(root)]
    for name in ("environment.yml", "environment.yaml"):
        lines = _read(root / name) if (root / name).is_file() else ()
        named += [found[1] for line in lines if (found := re.fullmatch(r"python==(3\.[0-9]+)(?:\..*)?", line))]
    if known := [python for python in named if python in SERIES]:
        return Target(known[0])
    wanted = _toml(root / "pyproject.toml").get("project", {}).get("requires-python", "")
    try:
        allowed = SpecifierSet(str(wanted))
    except InvalidSpecifier:
        return USUAL
    # The last release of each: `>=3.12.2` means 3.12.
    return next((Target(one) for one in (USUAL.python, *SERIES) if allowed.contains(f"{one}.99")), USUAL)


def python_images(root: Path) -> tuple[tuple[str, str], ...]:
    """Official Python images that a repository's Dockerfile stands on, the last stage's first, and their series."""
    file = root / "Dockerfile"
    steps = read_steps(read_text(file, "correct it")) if file.is_file() else ()
    words = [word for step in steps if step.name == "FROM" for word in step.value.split()[:1]]
    return tuple((word, found[1]) for word in reversed(words) if (found := _PYTHON_IMAGE.match(word)))


def _read(path: Path) -> Iterator[str]:
    """Requirements as pip writes them."""
    if path.suffix in (".yml", ".yaml"):
        text = read_text(path, "correct it")
        try:
            found = environment_requirements(yaml.safe_load(text), text) or ()
        except yaml.YAMLError as error:
            raise UsageError(f"{path.name} is not valid YAML: {str(error)[:200]}", "correct it") from error
        for one in found:
            name = _OF_CONDA.get(one.name, one.name)
            yield f"{name}=={one.version}" if one.version else name if one.name != name else _pip(one.text)
    elif path.name in ("uv.lock", "poetry.lock"):
        for package in _toml(path).get("package", []):
            source = package.get("source", {})
            if isinstance(source, dict) and not {"virtual", "editable", "directory"} & set(source):
                yield f"{package['name']}=={package['version']}"
    elif path.name == "pyproject.toml":
        declared = _toml(path).get("project", {}).get("dependencies", [])
        yield from (one for one in declared if isinstance(one, str))
    else:
        for one in parse_requirements(read_text(path, "correct it"), path.name).requirements:
            yield f"{one.text}; {one.marker}" if one.marker and ";" not in one.text else one.text


def _pip(text: str) -> str:
    """A requirement of conda in pip's spelling: `numpy=1.26` is `numpy==1.26.*` there."""
    return re.sub(r"(?<![=<>!~])=(?!=)([^=*]+)\*?$", r"==\1.*", text.strip())


def _lines(
    texts: Iterable[str], image: str, installed: Mapping[str, str], own: set[str], target: Target
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    lines: dict[str, str] = {}
    left_out = []
    for text in texts:
        plain = text.split(" --")[0].split("#")[0].strip()
        try:
            one = Requirement(plain)
        except InvalidRequirement:
            left_out.append(plain)
            continue
        name = canonicalize_name(one.name)
        if marker_holds(str(one.marker or ""), target) is False:
            continue
        if one.url or name in _NOT_OF_AN_IMAGE or name.startswith("nvidia-"):
            left_out += [plain] if one.url else []
        elif name not in own:
            lines[name] = _of_build(one, image, installed) if name in _BUILDS else plain
    if image == "cpu" and "torch" not in lines:
        lines["torch"] = _of_build(Requirement("torch"), image, installed)
    return tuple(lines[name] for name in sorted(lines)), tuple(left_out)


def _of_build(one: Requirement, image: str, installed: Mapping[str, str]) -> str:
    """One of PyTorch's packages at one version: the one that is asked for, else that which is installed, else ours."""
    pinned = [spec.version for spec in one.specifier if spec.operator in ("==", "===") and "*" not in spec.version]
    usual = [STOCK_TORCH] if one.name == "torch" else []
    for version in [*pinned, *filter(None, [installed.get(one.name)]), *usual]:
        public = version.partition("+")[0]
        with_room = one.specifier.contains(public, prereleases=True)
        if with_room and _is_version(public):
            return f"{one.name}=={public}{'+cpu' if image == 'cpu' else ''}"
    return str(one)


def _is_version(text: str) -> bool:
    try:
        return bool(Version(text))
    except InvalidVersion:
        return False


def _toml(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        return tomllib.loads(read_text(path, "correct it"))
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{path.name} is not valid TOML: {str(error)[:200]}", "correct it") from error
