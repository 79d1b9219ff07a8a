"""What the benchmark trains: ordinary trainings (bases/), real bugs planted in them (*.yaml), and clean configurations.

A mutant replaces exact text of a base's script, so that what is wrong can be read beside what is right. Nothing here
reaches the harness: it is given a checkout in which the training is called `training`, whatever was done to it.
"""

import subprocess
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from tests import ROOT

HERE = Path(__file__).parent
_COMMAND = ["python", "training/train.py", "--config", "{config}", "--output", "{output}"]
_ENVIRONMENT = {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}


@dataclass(frozen=True)
class Right:
    """What a right answer names; a mutant may have more than one right name for a thing.

    Attributes:
        verdict: words of which the verdict must be one.
        check: `rerun` or `resume`; what else differs does not matter.
        step: steps of which the first divergence must name one; empty if the mutant has none to name.
        stream: streams of which the first divergence must name one.
        cause: classes that say what is wrong; `any` is every class but `unknown` and those that are `partly` right.
        words: a regular expression that the cause's own words must match as well; "" if the class says all.
        partly: classes that send the reader to the right place without saying what is wrong there.
    """

    verdict: tuple[str, ...] = ("DIVERGED",)
    check: str = ""
    step: tuple[int, ...] = ()
    stream: tuple[str, ...] = ()
    cause: tuple[str, ...] = ()
    words: str = ""
    partly: tuple[str, ...] = ()


@dataclass(frozen=True)
class Mutant:
    """A training with one bug, or, with nothing replaced, one that must be certified."""

    id: str
    group: str
    title: str
    base: str
    source: str = ""
    replace: tuple[tuple[str, str], ...] = ()
    right: Right = field(default_factory=Right)
    experiment: dict[str, Any] = field(default_factory=dict)

    @property
    def is_clean(self) -> bool:
        return self.group == "clean"

    @cached_property
    def script(self) -> str:
        """The base's script with the bug in it.

        Raises:
            ValueError: a text that is replaced is not there exactly once.
        """
        text = (HERE / "bases" / f"{self.base}.py").read_text(encoding="utf-8")
        for old, new in self.replace:
            if text.count(old) != 1:
                raise ValueError(f"{self.id}: {old!r} is {text.count(old)} times in {self.base}.py")
            line = text[text.rfind("\n", 0, text.index(old)) + 1 :]
            indent = line[: len(line) - len(line.lstrip())]
            text = text.replace(old, new.rstrip("\n").replace("\n", "\n" + indent))
        return text

    @property
    def declared(self) -> str:
        """The experiment's YAML: the base's, with what the mutant changes."""
        base = yaml.safe_load((HERE / "bases" / f"{self.base}.yaml").read_text(encoding="utf-8"))
        own = dict(self.experiment)
        policy = {"required": ["rerun", "resume"], **own.pop("policy", {})}
        config = {**base.pop("config"), **own.pop("config", {})}
        environment = {**_ENVIRONMENT, **own.pop("environment", {})}
        common = {"schema": 1, "image": "cpu", "run": _COMMAND, "resume": [*_COMMAND, "--resume"], "timeout_s": 300}
        declared = {**common, **base, "config": config, "environment": environment, "policy": policy, **own}
        return yaml.safe_dump(declared, sort_keys=False)

    def checkout(self, folder: Path) -> None:
        """Write a repository of its own: the training, its experiment, and the image it declares."""
        files = {
            "training/train.py": self.script,
            "pipelines/experiments/training.yaml": self.declared,
            ".gitignore": "/runs/\n",
        }
        for source in (ROOT / "lockfiles").iterdir():
            if source.is_file() and "__pycache__" not in source.parts:
                files[source.relative_to(ROOT).as_posix()] = source.read_text(encoding="utf-8")
        for name, text in files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(text, encoding="utf-8")
        git = ["git", "-C", str(folder), "-c", "user.name=tester", "-c", "user.email=tester@example.org"]
        for command in (["init", "-q"], ["add", "-A"], ["commit", "-q", "-m", "training"]):
            subprocess.run([*git, *command], check=True)


def read_catalogue() -> dict[str, Mutant]:
    """Every mutant and every clean control, by id, in the order of the files."""
    mutants: dict[str, Mutant] = {}
    for path in sorted(HERE.glob("*.yaml")):
        for name, entry in yaml.safe_load(path.read_text(encoding="utf-8")).items():
            if name in mutants:
                raise ValueError(f"{path.name}: {name} is there twice")
            mutants[name] = _mutant(name, "clean" if path.stem == "clean" else name[0], entry)
    return mutants


def _mutant(name: str, group: str, entry: dict[str, Any]) -> Mutant:
    entry = dict(entry)
    pairs = tuple((pair["old"], pair.get("new") or "") for pair in entry.pop("replace", ()))
    right = entry.pop("right", {"verdict": "CERTIFIED"} if group == "clean" else {})
    listed = {key: value if key in ("check", "words") else _listed(value) for key, value in right.items()}
    own = {key: entry.pop(key) for key in list(entry) if key not in ("title", "base", "source")}
    return Mutant(id=name, group=group, replace=pairs, right=Right(**listed), experiment=own, **entry)


def _listed(value: Any) -> tuple[Any, ...]:
    return tuple(value) if isinstance(value, list) else (value,)
