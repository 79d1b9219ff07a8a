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
_WORDS = re.compile(r"[^\s\"'`=,:\[\](){}]+")
_CONFIGURATION = (".yaml", ".yml", ".json", ".toml", ".cfg", ".ini", ".sh")
_MAX_BYTES = 1 << 20
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
    committed = set(_lines(root, "ls-files", "-z"))
    named = {text.rstrip("/") for text in _texts(root, words, modules, committed)}
    found = {
        path
        for path in named
        if path not in ("", ".")
        and ".." not in path.split("/")
        and not path.startswith("/")
        and not _OF_OUTPUT.search(path)
        and (root / path).exists()
        and path not in committed
        and not any(one.startswith(f"{path}/") for one in committed)
    }
    return tuple(sorted(path for path in found if not any(path.startswith(f"{other}/") for other in found)))


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
        for node in ast.walk(module.tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and _PATH.fullmatch(node.value):
                yield node.value
    for path in sorted(committed):
        file = root / path
        if path.endswith(_CONFIGURATION) and file.is_file() and file.stat().st_size <= _MAX_BYTES:
            yield from _WORDS.findall(file.read_text(encoding="utf-8", errors="replace"))


def _lines(root: Path, *arguments: str) -> Iterator[str]:
    done = run_git(root, *arguments)
    yield from filter(None, done.stdout.decode("utf-8", "surrogateescape").split("\0"))
