"""REP608: CUDA, its driver and torch that do not go together."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from harness.documents.cuda import MIN_LINUX_DRIVER, torch_label_cuda
from harness.documents.lockfile import Lockfile, Pin
from harness.review.finding import Finding, Place, finding
from harness.review.lock_rules import lint_lock
from harness.review.surroundings.dockerfiles import Recipe, apt_packages, commands_of, pip_installs, substituted
from harness.review.surroundings.requirements import Requirement
from harness.review.surroundings.shell import Command

_LABEL = re.compile(r"/(cu[0-9]{3})\b")
_BASE = re.compile(r"(?:^|/)(?:nvidia/)?cuda:([0-9]+\.[0-9]+)")
_DRIVER = re.compile(r"(?:nvidia-driver|libnvidia-compute|cuda-drivers|nvidia-headless)-([0-9]{3})\b")
_CONDA_CUDA = frozenset(("pytorch-cuda", "cudatoolkit", "cuda-toolkit", "cuda-runtime", "cuda-version"))
_WITH_TORCH = {"torchvision": (0, 15), "torchaudio": (2, 0)}
"""The minor versions of torchvision and torchaudio that were built for torch 2.0; each goes up with torch's
(https://github.com/pytorch/vision#installation, https://docs.pytorch.org/audio/stable/installation.html)."""
_LAST_PAIRED = 8  # torch 2.8: torchaudio's own releases go on by another count


def review_versions(
    requirements: Sequence[Requirement], urls: Sequence[tuple[int, str]], path: str
) -> Iterator[Finding]:
    """What is wrong among the requirements of one file or step."""
    by_name = {one.name: one for one in requirements if one.version}
    problems = [*_parts(by_name), *_pairs(by_name), *_index(by_name, urls), *_conda(by_name)]
    if problems:
        line, message = problems[0]
        yield finding("REP608", Place(path=path, line=line), message)


def review_image(recipe: Recipe) -> Iterator[Finding]:
    """What is wrong between a Dockerfile's base, torch's build and the driver in it."""
    stage, found = "", list[tuple[int, str]]()
    bases = dict(recipe.bases)
    stages: dict[str, str] = {}
    settings = [step.value for step in recipe.steps if step.name in ("ARG", "ENV")]
    variables = {name: value for setting in settings for name, value in _pairs_of(setting)}
    for step in recipe.steps:
        if step.name == "FROM":
            image = bases[step.line]
            base = _BASE.search(image)
            stage = base[1] if base else stages.get(image.lower(), "")
            words = step.value.split()
            stages[words[-1].lower() if len(words) > 2 else ""] = stage
        elif step.name == "RUN" and stage:
            found += _against(stage, commands_of(step), variables)
    if found:
        line, message = found[0]
        yield finding("REP608", Place(path=recipe.path, line=line), message)


def _against(cuda: str, commands: Sequence[Command], variables: dict[str, str]) -> Iterator[tuple[int, str]]:
    """What steps install for another CUDA than the base's, given as `12.4`."""
    major = cuda.partition(".")[0]
    for installed in pip_installs(commands):
        torch = next((one for one in installed.requirements if one.name == "torch"), None)
        if torch is None:
            continue
        labels = [torch_label_cuda(substituted(torch.version or torch.text, variables))]
        labels += [_cuda_of(substituted(url, variables)) for _, url in installed.index_urls]
        label = next((one for one in labels if one), "")
        if label and label.partition(".")[0] != major:
            yield torch.line, f"torch is built for CUDA {label}, and the image is CUDA {cuda}"
    for word in apt_packages(commands):
        driver = _DRIVER.match(word.text)
        least = MIN_LINUX_DRIVER.get(int(major), "")
        if driver and least and int(driver[1]) < int(least.partition(".")[0]):
            yield word.line, f"CUDA {cuda} needs driver {least} or newer, and {word.text} is installed"


def _parts(by_name: dict[str, Requirement]) -> Iterator[tuple[int, str]]:
    """CUDA's parts among themselves and against torch's label, as the lint of our own locks tells them."""
    pins = tuple(Pin(name=one.name, version=one.version, hashes=()) for one in by_name.values())
    for wrong in lint_lock(Lockfile(pins=pins, digest=""), ""):
        if wrong.id in ("CUDA001", "CUDA002", "CUDA003"):
            named = [one for one in by_name.values() if one.name == "torch" or one.name.startswith("nvidia-")]
            yield min(one.line for one in named), wrong.problem


def _pairs(by_name: dict[str, Requirement]) -> Iterator[tuple[int, str]]:
    """Versions of torchvision and torchaudio against torch: each release asks for exactly one minor version of it."""
    torch = by_name.get("torch")
    version = re.match(r"2\.([0-9]+)", torch.version) if torch else None
    if torch is None or version is None or int(version[1]) > _LAST_PAIRED:
        return
    for name, (major, first) in _WITH_TORCH.items():
        other = by_name.get(name)
        found = re.match(r"([0-9]+)\.([0-9]+)", other.version) if other else None
        if other is None or found is None:
            continue
        wanted = (major, first + int(version[1]))
        if (int(found[1]), int(found[2])) != wanted:
            message = f"torch {torch.version} goes with {name} {wanted[0]}.{wanted[1]}, and {other.version} is pinned"
            yield other.line, message


def _index(by_name: dict[str, Requirement], urls: Sequence[tuple[int, str]]) -> Iterator[tuple[int, str]]:
    torch = by_name.get("torch")
    label = torch_label_cuda(torch.version) if torch else ""
    offered = [one for one in (_cuda_of(url) for _, url in urls) if one]
    if torch is not None and label and offered and label not in offered:
        message = f"torch {torch.version} is built for CUDA {label}, the index named here is for CUDA {offered[0]}"
        yield torch.line, message


def _conda(by_name: dict[str, Requirement]) -> Iterator[tuple[int, str]]:
    """The CUDA packages of conda among themselves, and against torch's label."""
    known = [(one.name, one.version, one.line) for one in by_name.values() if one.name in _CONDA_CUDA]
    torch = by_name.get("torch")
    if known and torch is not None and torch_label_cuda(torch.version):
        known.append(("torch", torch_label_cuda(torch.version), torch.line))
    for name, version, line in known[1:]:
        if version.partition(".")[0] != known[0][1].partition(".")[0]:
            yield line, f"{known[0][0]} is CUDA {known[0][1]}, and {name} is for CUDA {version}"


def _cuda_of(url: str) -> str:
    found = _LABEL.search(url)
    return torch_label_cuda(f"0+{found[1]}") if found else ""


def _pairs_of(value: str) -> list[tuple[str, str]]:
    return [(name, text.strip("\"'")) for name, text in re.findall(r"\b(\w+)=(\"[^\"]*\"|'[^']*'|\S*)", value)]
