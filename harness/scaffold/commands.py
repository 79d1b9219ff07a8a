"""The commands that train and resume, proposed from a repository: from its README, and its scripts' options."""

from __future__ import annotations

import ast
import re
import shlex
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from harness.errors import UsageError
from harness.review.code.training import trains
from harness.review.commands import scripts_of
from harness.review.source.module import MAX_BYTES, Module, UnreadableError, read_module
from harness.review.source.nodes import last_name, text_constant, words
from harness.review.source.program import Entry, Program, absolute_imports, calls_named
from harness.review.source_tree import SourceTree, list_tree, read_listed

LATEST = "{latest:GLOB}"
"""Stands for a checkpoint's path until a trial has shown which files are checkpoints."""

_RESUMES = re.compile(
    r"--(no[-_])?(resume|restart|restore|continue|from[-_]checkpoint|ckpt|checkpoint|load)"
    r"([-_](from|path|training|last|ckpt|checkpoint|from[-_]checkpoint|checkpoint[-_]path))*"
)
_NEWEST = re.compile(  # a word that is typed, not prose: "path to latest checkpoint" wants a path
    r"[\"'`](last|latest|auto|true|True)[\"'`]|(?<!the )\b(last|latest|auto)\b(?=\s*([,)|:=]|or\b|$))"
)
_PLACEHOLDER = re.compile(r"(^|/)(path[/_-]to|your|my)\b|^\.\.\.$|^<[^>]*>$", re.IGNORECASE)
_RUNNERS = re.compile(r"(python[0-9.]*|torchrun|accelerate|deepspeed|bash|sh)$")
_PREFIXES = (["uv", "run"], ["poetry", "run"], ["pdm", "run"], ["pixi", "run"])
_NO_TRAINING = words("test eval evaluate predict validate generate infer export -h --help")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*=\S*")
_NUMBERS = re.compile(r"\d+([.]\d+)?")
_HIDDEN = re.compile(r"^(get_last_checkpoint|find_latest_checkpoint|latest_checkpoint|load_state)$")


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """An option of a script: `--resume`; what its declaration says of it."""

    name: str
    is_flag: bool
    text: str

    def words(self) -> tuple[str, ...]:
        """What is written behind the training's command for it to go on from its newest checkpoint."""
        if self.is_flag:
            return (self.name,)
        named = _NEWEST.search(self.text)
        return (self.name, (named[1] or named[2]) if named else LATEST)


@dataclass(frozen=True, slots=True, kw_only=True)
class Commands:
    """How a training begins and goes on.

    Attributes:
        run: the command's typed.
        resume: the typed of the one that continues; None where nothing tells that there is one.
        environment: variables that are set before it.
        why: how `resume` was found, in typed.
        others: scripts that train too, where nothing but their names chose among them.
        uses_trainer: the Trainer of transformers looks for the newest checkpoint by its name.
    """

    run: tuple[str, ...]
    resume: tuple[str, ...] | None
    environment: dict[str, str]
    why: str
    others: tuple[str, ...]
    uses_trainer: bool


class Sources:
    """A repository's Python files, read but not run."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.tree: SourceTree = list_tree(root.resolve())
        self.program = Program(sorted(self.tree.sources), self._read)

    def _read(self, path: str) -> Module | None:
        try:
            return read_module(path, read_listed(self.tree.root, path, self.tree.sources[path], MAX_BYTES))
        except (OSError, UnreadableError):
            return None

    def entry(self, path: str) -> Entry | None:
        """A script with everything it imports."""
        module = self.program.module(path)
        return None if module is None else self.program.entry(module)

    @cached_property
    def trainings(self) -> tuple[str, ...]:
        """The scripts that train, tests apart; where none shows that it does, those with such a name."""
        from harness.review.source.execution import is_script

        entries = {path: self.entry(path) for path in sorted(self.tree.own)}
        scripts = {path: one for path, one in entries.items() if one is not None and is_script(one.module)}
        found = [path for path, one in scripts.items() if trains(one)]
        found = found or [path for path in scripts if re.search(r"(^|/|_)train(_|er)?[^/]*$", path)]
        by_name = ["train" not in path and "tune" not in path for path in found]
        ordered = sorted(zip(by_name, (path.count("/") for path in found), found, strict=True))
        return tuple(path for _, _, path in ordered)


def propose(root: Path, given: tuple[str, ...] = ()) -> Commands:
    """The commands of a repository.

    Args:
        root: its top.
        given: the command that trains as somebody types it, or a script alone; () to look for it.

    Raises:
        UsageError: no script that trains is found, or the command starts none.
    """
    sources = Sources(root)
    shown = list(_shown_commands(sources))
    if given:
        typed, environment = _split([*(["python"] if given[0].endswith(".py") else []), *given], _console_scripts(root))
    else:
        first = next(((typed, env) for typed, env in shown if not _resume_words(typed)), None)
        if first is None and not sources.trainings:
            problem = "no script that trains was found: no README names one, and no file calls an optimizer"
            remedy = "name the command: harness init python path/to/train.py ..."
            if notebook := next((path for glob in ("*.ipynb", "*/*.ipynb") for path in sorted(root.glob(glob))), None):
                remedy = f"make a script of the notebook: jupyter nbconvert --to script {notebook.relative_to(root)}"
            raise UsageError(problem, remedy)
        typed, environment = first or (["python", sources.trainings[0]], {})
    scripts = _scripts(typed, environment, root)
    if not scripts:
        raise UsageError(
            f"`{shlex.join(typed)}` starts no Python file of {root}", "name a script: harness init train.py"
        )
    entries = [entry for path in scripts if (entry := sources.entry(path)) is not None]
    module = typed[typed.index("-m") + 1] if "-m" in typed[:-1] else ""
    if folders := sorted({one for entry in entries for one in _import_folders(entry, module)}):
        environment.setdefault("PYTHONPATH", ":".join(folders))
    resume, why = _resume(
        typed, scripts, entries, [one for one, before in shown if _scripts(one, before, root) == scripts]
    )
    names = {last_name(site.node.func) for entry in entries for site in entry.sites}
    libraries = sources.program.libraries(module for entry in entries for module in entry.closure)
    return Commands(
        run=tuple(typed),
        resume=None if resume is None else tuple(resume),
        environment=environment,
        why=why,
        others=() if given or shown else sources.trainings[1:],
        uses_trainer="transformers" in libraries
        and not {"lightning", "pytorch_lightning"} & libraries
        and any(name.endswith("Trainer") for name in names)
        and not any("{latest" in word for word in resume or ()),
    )


def _scripts(typed: list[str], environment: dict[str, str], root: Path) -> tuple[str, ...]:
    return tuple(sorted(scripts_of(typed, root, environment.get("PYTHONPATH", ""))))


def _import_folders(entry: Entry, module: str) -> Iterator[str]:
    """Where Python has to look besides the script's folder: packages that people install with `pip install -e .`."""
    own = "" if module else entry.module.path.rpartition("/")[0]
    found = [(module, entry.module.path)] if module else []
    for one in entry.closure:
        for name in absolute_imports(one):
            if (imported := entry.program.find(name, one)) is not None:
                found.append((name, imported.path))
    for name, path in found:
        bare = "/" + re.sub(r"(/__init__|/__main__)?[.]py$", "", path)
        below = "/" + name.replace(".", "/")
        if bare.endswith(below) and (folder := bare.removesuffix(below).strip("/")) != own:
            yield folder or "."


def _console_scripts(root: Path) -> dict[str, str]:
    """The modules behind the commands that an installed repository has, by the command's name."""
    file = root / "pyproject.toml"
    try:
        found = tomllib.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    except (OSError, ValueError):
        return {}
    named = {
        **found.get("tool", {}).get("poetry", {}).get("scripts", {}),
        **found.get("project", {}).get("scripts", {}),
    }
    return {name: target.partition(":")[0] for name, target in named.items() if isinstance(target, str)}


def _split(typed: list[str], consoles: Mapping[str, str]) -> tuple[list[str], dict[str, str]]:
    """A command without the variables before it and without the program that only picks an environment.

    A command that `pip install` of the repository makes becomes the module that it starts.
    """
    environment: dict[str, str] = {}
    while typed and _VARIABLE.fullmatch(typed[0]):
        name, _, value = typed.pop(0).partition("=")
        environment[name] = value
    for prefix in _PREFIXES:
        if typed[: len(prefix)] == prefix:
            typed = typed[len(prefix) :]
    if typed and re.fullmatch(r"python[0-9.]*", typed[0]):
        typed[0] = "python"
    if typed and typed[0] in consoles:
        typed = ["python", "-m", consoles[typed[0]], *typed[1:]]
    return typed, environment


def _shown_commands(sources: Sources) -> Iterator[tuple[list[str], dict[str, str]]]:
    """The commands of the README that start a script which trains, in their order."""
    consoles = _console_scripts(sources.root)
    for path in sorted(sources.root.glob("[Rr][Ee][Aa][Dd][Mm][Ee]*")):
        text = path.read_text(encoding="utf-8", errors="replace")[:MAX_BYTES].replace("\\\n", " ")
        for line in text.splitlines():
            try:
                typed, environment = _split(shlex.split(line.strip().removeprefix("$ "), comments=True), consoles)
            except ValueError:
                continue
            if len(typed) < 2 or not _RUNNERS.match(typed[0]) or _NO_TRAINING & set(typed) or "..." in typed:
                continue
            if set(_scripts(typed, environment, sources.root)) & set(sources.trainings):
                yield typed, environment


def _resume(
    typed: list[str], scripts: tuple[str, ...], entries: list[Entry], shown: list[list[str]]
) -> tuple[list[str] | None, str]:
    for one in sorted(shown, key=lambda one: one[: len(typed)] != typed):
        if more := _resume_words(one):
            return [*typed, *more], "the README says so"
    options = [option for entry in entries for option in _options(entry) if _RESUMES.fullmatch(option.name)]
    options.sort(key=lambda option: (not option.name.startswith("--resume"), len(option.name)))
    if options:
        return [*typed, *options[0].words()], f"{scripts[0]} has the option {options[0].name}"
    for entry in entries:
        if (hint := _resumes_by_itself(entry)) is not None:
            return list(typed), f"{scripts[0]} looks for its checkpoint itself ({hint})"
    return None, f"nothing in {', '.join(scripts)} loads a checkpoint"


def _resume_words(typed: list[str]) -> list[str]:
    """What makes a command one that resumes; a checkpoint's path becomes that of the newest."""
    for place, word in enumerate(typed):
        name, equals, value = word.partition("=")
        if _RESUMES.fullmatch(name):
            following = typed[place + 1 : place + 2] if not equals else [value]
            if not following or following[0].startswith("-"):
                return [word]
            newest = _pattern(following[0])
            return [f"{name}={newest}"] if equals else [name, newest]
    return []


def _pattern(value: str) -> str:
    """`outputs/checkpoint-15` stands for the newest of its kind; a word such as `last` for itself."""
    if _PLACEHOLDER.search(value):
        return LATEST
    if "/" not in value and not Path(value).suffix:
        return value
    shown = re.sub(r"<[^>]*>|\{[^}]*\}|\bN\b|\bX+\b", "*", value)
    return "{latest:" + re.sub(r"\*+", "*", _NUMBERS.sub("*", shown)).rstrip("/") + "}"


def _options(entry: Entry) -> Iterator[Option]:
    """Options that argparse, click and typer are told of, and those of transformers' own arguments."""
    for module in entry.closure:
        for call in calls_named(module, frozenset(("add_argument", "option", "Option", "add_option"))):
            names = [text for one in call.args if (text := text_constant(one)).startswith("--")]
            said = {keyword.arg: keyword.value for keyword in call.keywords}
            action = text_constant(said.get("action"))
            is_flag = action.startswith("store_") or "is_flag" in said
            text = f"{text_constant(said.get('help'))} {ast.unparse(said['choices']) if 'choices' in said else ''}"
            yield from (Option(name=name, is_flag=is_flag, text=text) for name in names[:1])
        if calls_named(module, frozenset(("HfArgumentParser",))):
            yield Option(name="--resume_from_checkpoint", is_flag=False, text="")


def _resumes_by_itself(entry: Entry) -> str | None:
    """What shows that a script goes on from what it finds: a look for the last checkpoint, a load where one exists."""
    for site in entry.sites:
        name = last_name(site.node.func)
        if _HIDDEN.match(name):
            return name
        for keyword in site.node.keywords:
            value = keyword.value
            is_setting = isinstance(value, ast.Call) and last_name(value.func) == "get"  # `cfg.get("ckpt_path")`
            is_none = isinstance(value, ast.Constant) and value.value is None
            if keyword.arg in ("resume_from_checkpoint", "ckpt_path") and not (is_none or is_setting):
                return f"{keyword.arg}={ast.unparse(value)[:60]}"
    names = {last_name(site.node.func) for site in entry.sites}
    return "load_state_dict" if {"load", "load_state_dict"} <= names else None
