"""Data and models of a repository that git does not have: what the code names by a path, and is there all the same."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from harness.documents.names import NAME
from harness.review.source.module import Module
from harness.system.git import run_git

_PATH = re.compile(r"[\w@.][\w@./+ -]{0,250}")
_ABSOLUTE = re.compile(r"/(?!(dev|proc|sys|etc|usr|bin|sbin|lib|opt|run)/)[\w.@+ -]+/[\w@./+ -]{1,250}")
_WORDS = re.compile(r"[^\s\"'`=,:\[\](){}]+")
_CONFIGURATION = (".yaml", ".yml", ".json", ".toml", ".cfg", ".ini", ".sh")
_MAX_BYTES = 1 << 20
_KEEPS_A_FOLDER = re.compile(r"(^|/)\.(git)?(keep|ignore|placeholder)$")
_OF_OUTPUT = re.compile(
    r"(^|/)(runs|outputs?|out|results?|checkpoints?|ckpts?|logs?|wandb|mlruns|lightning_logs|__pycache__|\.[^/]*)(/|$)"
)


def local_data(root: Path, words: Iterable[str], modules: Iterable[Module]) -> tuple[str, ...]:
    """Files and folders that a script reads and no commit has, as paths below the repository.

    What looks like the output of an earlier training, by its name, is not among them.

    Args:
        root: the repository.
        words: of the command.
        modules: what the command starts.
    """
    committed = {path for path in _lines(root, "ls-files", "-z") if not _KEEPS_A_FOLDER.search(path)}
    named = {text.rstrip("/") for text in _texts(root, words, modules, committed)}
    found = {
        path
        for path in named
        if path not in ("", ".")
        and ".." not in path.split("/")
        and not path.startswith("/")
        and not _OF_OUTPUT.search(path)
        and _has_content(root / path)
        and path not in committed
        and not any(one.startswith(f"{path}/") for one in committed)
    }
    return tuple(sorted(path for path in found if not any(path.startswith(f"{other}/") for other in found)))


def outside_data(root: Path, modules: Iterable[Module]) -> tuple[str, ...]:
    """What the code names by an absolute path that is there, outside of the repository; not what is the system's."""
    texts = {text for module in modules for text in _constants(module) if _ABSOLUTE.fullmatch(text)}
    return tuple(
        text
        for text in sorted(texts)
        if Path(text).exists() and not Path(text).resolve().is_relative_to(root.resolve())
    )


def _has_content(path: Path) -> bool:
    """A folder that only has a place in git, for data that are missing here, has none."""
    return path.is_file() or any(one.is_file() and not _KEEPS_A_FOLDER.search(one.name) for one in path.rglob("*"))


def input_name(path: str, taken: Iterable[str]) -> str:
    """A name for an input: the file's own, or a short one of its path where that is taken or is none."""
    own, whole = (re.sub(r"[^A-Za-z0-9_.-]", "-", one).lstrip("-.") or "data" for one in (Path(path).name, path))
    return own if own not in taken else whole


def experiment_name(script: str) -> str:
    """A name for an experiment, of its script's."""
    parts = [part for part in Path(script).with_suffix("").parts if part not in ("src", "scripts", "__main__")]
    name = re.sub(r"[^a-z0-9_-]", "-", "-".join(parts[-2:]).lower()).strip("-_")
    return name if NAME.fullmatch(name) else "training"


def _texts(root: Path, words: Iterable[str], modules: Iterable[Module], committed: set[str]) -> Iterator[str]:
    """Whatever may be a path: words of the command, texts of the code, values of committed configuration files."""
    yield from (part for word in words for part in word.split("="))
    for module in modules:
        yield from (text for text in _constants(module) if _PATH.fullmatch(text))
    for path in sorted(committed):
        file = root / path
        if path.endswith(_CONFIGURATION) and file.is_file() and file.stat().st_size <= _MAX_BYTES:
            yield from _WORDS.findall(file.read_text(encoding="utf-8", errors="replace"))


def _constants(module: Module) -> Iterator[str]:
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def _lines(root: Path, *arguments: str) -> Iterator[str]:
    done = run_git(root, *arguments)
    yield from filter(None, done.stdout.decode("utf-8", "surrogateescape").split("\0"))
