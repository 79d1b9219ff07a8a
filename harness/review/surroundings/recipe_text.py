"""A Dockerfile as a review reads it: its steps with their lines, and the shell commands of RUN.

Reference: https://docs.docker.com/reference/dockerfile/ - line continuations, comments, here-documents, the exec form.
`harness/documents/dockerfile.py` reads this project's own strictly; here anybody's is read, so nothing is an error.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

from harness.review.surroundings.shell import Command, Word, read_commands

_ESCAPE = re.compile(r"#\s*escape\s*=\s*([`\\])\s*$", re.IGNORECASE)
_HEREDOC = re.compile(r"<<-?\s*(['\"]?)([A-Za-z_][A-Za-z0-9_]*)\1")
_VARIABLE = re.compile(r"\$(?:\{(\w+)(?:(:?[-+])([^{}]*))?\}|(\w+))")


@dataclass(frozen=True, slots=True)
class Step:
    """An instruction: its name in capitals, its value on one line, and the physical lines that it takes."""

    name: str
    value: str
    lines: tuple[tuple[int, str], ...]

    @property
    def line(self) -> int:
        """Where it begins."""
        return self.lines[0][0]

    @property
    def commands(self) -> tuple[Command, ...]:
        """What a RUN runs."""
        first, *rest = self.lines
        text = re.sub(r"^\s*\S+\s+(--\S+\s+)*", "", first[1])
        if text.lstrip().startswith("["):
            return self._exec_form()
        if _HEREDOC.match(text.strip()):
            return read_commands(rest[:-1] if len(rest) > 1 else rest)
        return tuple(command for command in read_commands(((first[0], text), *rest)))

    def _exec_form(self) -> tuple[Command, ...]:
        try:
            words = json.loads(self.value)
        except ValueError:
            return ()
        if not isinstance(words, list) or not words or not all(isinstance(word, str) for word in words):
            return ()
        if len(words) == 3 and words[0].rpartition("/")[2] in ("sh", "bash") and words[1].endswith("c"):
            return read_commands(((self.line, words[2]),))
        return (Command(tuple(Word(word, self.line) for word in words), "\n", 0),)


def read_steps(text: str) -> tuple[Step, ...]:
    """The instructions of a Dockerfile, in order; what is none is left out."""
    steps: list[Step] = []
    escape, held, until = "\\", list[tuple[int, str]](), list[str]()
    for number, line in enumerate(text.splitlines(), 1):
        if number == 1 and (found := _ESCAPE.match(line)):
            escape = found[1]
        if until:
            held.append((number, line))
            if line.strip() == until[0]:
                until.pop(0)
        elif line.lstrip().startswith("#") or (held and not line.strip()):
            continue  # both may stand between continued lines
        elif line.strip():
            held.append((number, _continued(line, escape) if line.rstrip().endswith(escape) else line))
            if line.rstrip().endswith(escape):
                continue
            until = [match[2] for match in _HEREDOC.finditer(line)] if _takes_heredocs(held) else []
        if held and not until:
            steps += _step(held)
            held = []
    steps += _step(held)
    return tuple(steps)


def substituted(value: str, variables: dict[str, str]) -> str:
    """A value with `$NAME`, `${NAME}` and `${NAME:-default}` replaced where they are known."""

    def one(match: re.Match[str]) -> str:
        name = match[1] or match[4]
        known = variables.get(name)
        if match[2] in ("+", ":+"):
            return match[3] if known else ""
        if match[2] in ("-", ":-") and not known:
            return str(match[3])
        return match[0] if known is None else known

    return _VARIABLE.sub(one, value)


def _continued(line: str, escape: str) -> str:
    """A line that goes on, ending as a shell's does."""
    return line.rstrip().removesuffix(escape) + "\\"


def _takes_heredocs(held: list[tuple[int, str]]) -> bool:
    return held[0][1].split(None, 1)[0].upper() in ("RUN", "COPY", "ADD")


def _step(held: list[tuple[int, str]]) -> list[Step]:
    if not held:
        return []
    joined = " ".join(line.removesuffix("\\").strip() for _, line in held)
    name, _, value = joined.partition(" ")
    return [Step(name.upper(), value.strip(), tuple(held))] if name.isalpha() else []
