"""Dockerfiles: their steps, which base one stands on, and the refusal of steps that reach for a network.

A build has no network inside its steps; but `FROM name`, `COPY --from=image` and `ADD https://...` are fetched by the
engine itself, outside of them, and what they bring is not in any lock. They are refused before anything is built.
Reference: https://docs.docker.com/reference/dockerfile/
"""

from __future__ import annotations

import io
import re
from dataclasses import dataclass

from dockerfile_parse import DockerfileParser

from harness.errors import UsageError

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")
_REPOSITORY = re.compile(r"[a-z0-9]+([._:/-]+[a-z0-9]+)*(:[A-Za-z0-9_][A-Za-z0-9._-]{0,127})?")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_PINNED = re.compile(r"[^\s=]+@sha256:[0-9a-f]{64}(?!\S)")
_REMOTE = re.compile(r"([a-z][a-z0-9+.-]*://|git@)", re.IGNORECASE)
_BACKTICK = re.compile(r"\s*#\s*escape\s*=\s*`\s*$", re.IGNORECASE)
_TAKES_DOCUMENTS = re.compile(r"\s*(RUN|COPY|ADD)\s", re.IGNORECASE)
_HEREDOC = re.compile(r"<<-?\s*(['\"]?)([A-Za-z_][A-Za-z0-9_]*)\1")
_PIN = "begin it with `FROM image@sha256:digest`, or with `ARG BASE=<name of a base lock>` and `FROM ${BASE}`"


@dataclass(frozen=True, slots=True)
class BaseReference:
    """What an image stands on: a base lock's name, or a registry's repository with the digest of the image there."""

    name: str
    digest: str = ""

    @property
    def pull(self) -> str:
        """What an engine pulls: `repository@sha256:...`."""
        return f"{self.name}@{self.digest}"


@dataclass(frozen=True, slots=True)
class Step:
    """An instruction: its name in capitals, its value on one line, and the physical lines that it takes.

    The lines are those of the instruction and of its here-documents, without comments; continued ones end with a
    backslash, whatever the file's escape character is.
    """

    name: str
    value: str
    lines: tuple[tuple[int, str], ...]

    @property
    def line(self) -> int:
        """Where it begins."""
        return self.lines[0][0]


def read_steps(text: str) -> tuple[Step, ...]:
    """The instructions of anybody's Dockerfile, in order; what is none is left out."""
    physical = text.splitlines()
    lines: dict[int, str] = {}  # of instructions
    bodies: dict[int, list[tuple[int, str]]] = {}  # of here-documents, by the line above them
    directive = physical[0] if physical and _BACKTICK.match(physical[0]) else "#"
    escape = "\\" if directive == "#" else "`"
    takes_documents, goes_on, opened, until = False, False, 0, list[str]()
    for number, line in enumerate(physical, 1):
        if until:
            bodies[opened].append((number, line))
            if line.strip() == until[0]:
                until.pop(0)
        elif line.strip() and not line.lstrip().startswith("#"):
            takes_documents = takes_documents if goes_on else _TAKES_DOCUMENTS.match(line) is not None
            goes_on = line.rstrip().endswith(escape)
            until = [match[2] for match in _HEREDOC.finditer(line)] if takes_documents and not goes_on else []
            opened, lines[number], bodies[number] = number, line, []
    # The parser knows neither here-documents nor blank lines between continued ones: it gets comments for them.
    plain = "\n".join([directive, *(lines.get(number, "#") for number in range(1, len(physical) + 1)), "", ""])
    steps = []
    for row in DockerfileParser(fileobj=io.BytesIO(plain.encode("utf-8", "replace"))).structure:
        own = [(number, lines[number]) for number in range(row["startline"], row["endline"] + 1) if number in lines]
        if own and row["instruction"].isalpha():
            *first, last = own
            whole = [(number, f"{line.rstrip().removesuffix(escape)}\\") for number, line in first]
            steps.append(Step(row["instruction"], row["value"].strip(), (*whole, last, *bodies[last[0]])))
    return tuple(steps)


def read_base(text: str, source: str) -> BaseReference:
    """The base that a Dockerfile stands on, once nothing in it reaches for a network.

    Args:
        text: the Dockerfile.
        source: what to call it in an error, normally its path.

    Raises:
        UsageError: it names no base, one without a digest, or has a step that would fetch something.
    """
    base: BaseReference | None = None
    stages: list[str] = []
    for step in read_steps(text):
        where, name, value = f"{source}, line {step.line}", step.name, step.value
        if name == "ARG" and not stages and value.startswith("BASE="):
            base = parse_base(value.removeprefix("BASE=").strip("\"'"), where)
        elif name == "FROM":
            if pinned := _PINNED.search(value):
                named = parse_base(pinned[0], where)
                if base not in (None, named):
                    raise UsageError(f"{where}: FROM {named.pull} is a second base", "let all stages stand on one")
                base = named
            stages.append(_stage(value, stages, where))
        elif name == "ADD" and any(_REMOTE.match(word) for word in value.split()):
            raise UsageError(f"{where}: ADD fetches {value.split()[0]}", "an image gets its files from its locks only")
        elif name == "COPY":
            _check_copy(value, stages, where)
    if base is None or not stages:
        raise UsageError(f"{source} does not say which base it stands on", _PIN)
    return base


def stand_on_argument(text: str) -> str:
    """The same Dockerfile with `${BASE}` for the image that it names by its digest: an engine would pull that again."""
    stages = [step for step in read_steps(text) if step.name == "FROM"]
    lines = text.splitlines(keepends=True)
    for number, _ in (line for step in stages for line in step.lines):
        lines[number - 1] = _PINNED.sub("${BASE}", lines[number - 1])
    if "".join(lines) != text:
        lines.insert(stages[0].line - 1, "ARG BASE\n")
    return "".join(lines)


def parse_base(value: str, where: str) -> BaseReference:
    """Read the value of `ARG BASE=`.

    Raises:
        UsageError: it is neither the name of a lock nor an image with its digest.
    """
    if _NAME.fullmatch(value):
        return BaseReference(value)
    name, _, digest = value.partition("@")
    if not _REPOSITORY.fullmatch(name):
        raise UsageError(f"{where}: {value!r} names no base", _PIN)
    if not _DIGEST.fullmatch(digest):
        problem = f"{where}: the base {value} has no digest; what a tag points at can change"
        remedy = f"pin it as {name}@sha256:<64 hex digits>; `skopeo inspect docker://{name}` prints the digest"
        raise UsageError(problem, remedy)
    repository, colon, tag = name.rpartition(":")
    return BaseReference(repository if colon and "/" not in tag else name, digest)


def _stage(value: str, stages: list[str], where: str) -> str:
    """The name of a stage, "" where it has none; it stands on the base, on an earlier stage, or on nothing."""
    words = [word for word in value.split() if not word.startswith("--")]
    if not words or (
        not _PINNED.fullmatch(words[0])
        and words[0] not in ("${BASE}", "$BASE", "scratch")
        and words[0].lower() not in stages
    ):
        problem = f"{where}: FROM {value} is not pinned by this project"
        raise UsageError(problem, _PIN)
    return words[2].lower() if len(words) == 3 else ""


def _check_copy(value: str, stages: list[str], where: str) -> None:
    for word in value.split():
        if word.startswith("--from="):
            origin = word.removeprefix("--from=").lower()
            if origin not in stages and not (origin.isdecimal() and int(origin) < len(stages) - 1):
                raise UsageError(f"{where}: COPY takes files from the image {origin}", "copy from a stage of this file")
