"""The Python scripts that a command starts: itself, or through a shell script or a Makefile. Nothing is run.

What cannot be followed (a program of its own, a name that the shell computes) gives no script.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path, PurePosixPath

from harness.errors import EvidenceError
from harness.review.source.nodes import words
from harness.review.surroundings.shell import read_commands
from harness.system.safe_read import safe_read

_MAX_BYTES = 1 << 20
_MAX_DEPTH = 8
_PYTHON = re.compile(r"(python|pypy)[0-9.]*|torchrun|accelerate|deepspeed|ipython")
_SHELLS = words("sh bash dash zsh ksh source .")
_MAKES = words("make gmake")
_WRAPPERS = words(  # start what comes behind them
    "env time nohup exec sudo nice ionice timeout stdbuf numactl taskset srun mpirun xvfb-run setsid uv poetry pdm "
    "conda mamba micromamba pixi pipenv singularity apptainer"
)
_WITH_VALUE = re.compile(r"[-+]\w*[oO]|--(rc|init-)file")  # options of shells
_COMPUTED = re.compile(
    r"^\$(\{[^}]*\}|\(.*\)|\w+)(/|$)"
)  # "$HERE/train.py", "$(dirname "$0")": the script's own folder
_RULE = re.compile(r"^([^\s#:=][^:=\n]*):(?!=)([^\n]*)((?:\n\t[^\n]*)*)", re.MULTILINE)
_SETTING = re.compile(r"^(\w+)\s*[:?]?=\s*(.*)$", re.MULTILINE)


def scripts_of(command: Sequence[str], code: Path, python_path: str = "") -> frozenset[str]:
    """The Python files below `code` that a command starts, or none where that cannot be told.

    Args:
        command: its words; it is started in `code`.
        code: the folder of the code.
        python_path: folders below `code` in which modules are looked for as well, as `PYTHONPATH` has them.
    """
    follower = _Follower(code, ("", *(f"{one}/" for one in python_path.split(":") if one), "src/"))
    follower.follow(list(command), "", 0)
    return frozenset(follower.found)


@dataclass(slots=True)
class _Follower:
    code: Path
    roots: tuple[str, ...]
    found: set[str] = field(default_factory=set)
    seen: set[str] = field(default_factory=set)
    own: str = ""  # the folder of the shell script that is followed

    def follow(self, given: list[str], folder: str, depth: int) -> None:
        """Follow one command that is started in a folder below the code: ``, `scripts/`."""
        given, folder = self._elsewhere(given, folder)
        named = set(self._python(given, folder))
        self.found |= named
        if named or not given or depth > _MAX_DEPTH:
            return
        for place in range(len(given)) if _program(given[0]) in _WRAPPERS else (0,):
            name, rest = _program(given[place]), given[place + 1 :]
            if name in _MAKES:
                self._make(rest, folder, depth)
            elif name in _SHELLS:
                self._shell(rest, folder, depth)
            elif not self._script(given[place], folder, depth):
                continue
            return

    def _elsewhere(self, given: list[str], folder: str) -> tuple[list[str], str]:
        """`env -C folder command`: the command, and the folder that it is started in."""
        for place, (word, after) in enumerate(pairwise(given) if given and _program(given[0]) == "env" else ()):
            if word in ("-C", "--chdir"):
                return given[place + 2 :], self._folder(after, folder)
            if after.startswith("--chdir="):
                return given[place + 2 :], self._folder(after.removeprefix("--chdir="), folder)
        return given, folder

    def _python(self, given: list[str], folder: str) -> Iterator[str]:
        """Scripts by path, `-m module`, and a folder with a `__main__.py` behind the name of a Python."""
        for before, word in pairwise(["", *given]):
            names = [word] if word.endswith(".py") else []
            if before in ("-m", "--module"):
                below = word.replace(".", "/")
                names = [f"{root}{below}{end}" for root in self.roots for end in (".py", "/__main__.py")]
            elif _PYTHON.fullmatch(_program(before)) and not word.startswith("-"):
                names.append(f"{word}/__main__.py")
            yield from (path for name in names if (path := self._file(name, folder)))

    def _shell(self, given: list[str], folder: str, depth: int) -> None:
        """`bash -c "commands"`, `bash run.sh`."""
        for place, (before, word) in enumerate(pairwise(["", *given])):
            if re.fullmatch(r"-[a-z]*c", word) and place + 1 < len(given):
                self._commands(given[place + 1].splitlines(), folder, depth)
                return
            if not word.startswith(("-", "+")) and not _WITH_VALUE.fullmatch(before):
                self._script(word, folder, depth)
                return

    def _script(self, name: str, folder: str, depth: int) -> bool:
        """Follow a shell script; False where it is none."""
        path = self._file(name, folder)
        text = self._text(path) if path else None
        if text is None:
            return False
        before, self.own = self.own, path[: -len(_program(path))]
        self._commands(text.splitlines(), folder, depth)
        self.own = before
        return True

    def _commands(self, lines: Iterable[str], folder: str, depth: int) -> None:
        for command in read_commands(enumerate(lines, 1)):
            given = [word.text for word in command.words]
            if given[0] == "cd" and len(given) > 1:
                folder = self._folder(given[1], folder)
            else:
                self.follow(given, folder, depth + 1)

    def _make(self, given: list[str], folder: str, depth: int) -> None:
        """The recipes of the targets that `make` is asked for, and of what they need first."""
        options = {option: value for option, value in pairwise(given) if option in ("-C", "-f")}
        folder = self._folder(options["-C"], folder) if "-C" in options else folder
        names = [options["-f"]] if "-f" in options else ["GNUmakefile", "makefile", "Makefile"]
        path = next((path for name in names if (path := self._file(name, folder))), "")
        text = (self._text(path) if path else None) or ""
        settings = dict(_SETTING.findall(text)) | dict(word.split("=", 1) for word in given if "=" in word)
        text = re.sub(r"\$[({](\w+)[)}]", lambda match: settings.get(match[1], match[0]), text.replace("\\\n", " "))
        rules = [(rule[1].split(), rule[2].partition("#")[0].split(), rule[3]) for rule in _RULE.finditer(text)]
        asked = [word for word in given if not word.startswith("-") and "=" not in word]
        waiting = [word for word in asked if word not in options.values()]
        waiting = waiting or [names[0] for names, _, _ in rules if not names[0].startswith(".")][:1]
        done: set[str] = set()
        while waiting:
            target = waiting.pop()
            for names, needed, recipe in rules if target not in done else ():
                if target in names:
                    waiting += needed
                    self._commands((line.strip().lstrip("@-+") for line in recipe.splitlines()), folder, depth)
            done.add(target)

    def _file(self, name: str, folder: str) -> str:
        """The path below the code of a file that is named from a folder, or ""."""
        bare = _COMPUTED.sub("", name)
        for start in dict.fromkeys((self.own, folder, "") if bare != name else (folder, "")):
            path = _normal(start + bare)
            if path and (self.code / path).is_file() and not (self.code / path).is_symlink():
                return path
        return ""

    def _folder(self, name: str, folder: str) -> str:
        bare = _COMPUTED.sub("", name)
        path = _normal((folder if bare == name else self.own) + bare)
        return f"{path}/" if path and (self.code / path).is_dir() else ""

    def _text(self, path: str) -> str | None:
        """A file's text, the first time that it is asked for."""
        if path in self.seen:
            return None
        self.seen.add(path)
        try:
            return bytes(safe_read(self.code, path, max_bytes=_MAX_BYTES)).decode("utf-8", "replace")
        except EvidenceError:
            return None


def _program(word: str) -> str:
    return word.rpartition("/")[2]


def _normal(path: str) -> str:
    """A relative path without `.` and `..`; "" for the top, and for one that leads out."""
    parts: list[str] = []
    for part in PurePosixPath(path).parts:
        if part == "/" or (part == ".." and not parts):
            return ""
        parts = parts[:-1] if part == ".." else [*parts, part]
    return "/".join(parts)
