"""What an experiment's commands name and is not there: placeholders that nothing fills, files that the code lacks."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path, PurePosixPath

from harness.documents.experiment import Experiment
from harness.documents.inputs import LOCAL
from harness.documents.plan import PlanFinding
from harness.errors import EvidenceError
from harness.review.commands import scripts_of
from harness.review.source.nodes import words

_PLACEHOLDER = re.compile(r"\{([A-Za-z_][\w./-]*)\}")
_FILES = words(".py .sh .yaml .yml .json .jsonl .toml .cfg .ini .txt .csv .tsv .parquet .safetensors .pt")
_FAILS = EvidenceError.exit_code


def command_findings(experiment: Experiment, code: Path) -> Iterator[PlanFinding]:
    """Each of them once; what is only unusual stops nothing.

    Args:
        experiment: with the commands.
        code: the folder of the exported code.
    """
    told = set()
    for key in ("prepare", "run", "resume", "probe"):
        command: Sequence[str] = getattr(experiment, key) or ()
        scripts = scripts_of(command, code, experiment.environment.get("PYTHONPATH", "")) if command else frozenset()
        for word in command:
            for found in (*_placeholders(word, experiment), *_files(word, experiment, code, scripts)):
                if found.problem not in told:
                    told.add(found.problem)
                    yield found.model_copy(update={"about": f"`{key}`"})


def _placeholders(word: str, experiment: Experiment) -> Iterator[PlanFinding]:
    known = {"config", "inputs", "output", "code", "recorder", *(f"inputs/{name}" for name in experiment.inputs)}
    for name in _PLACEHOLDER.findall(word):
        if name in known or (name == "prepared" and experiment.prepare):
            continue
        if name == "prepared":
            problem, remedy = "{prepared} is used, and there is no `prepare`", "add the command, or use {inputs}"
            yield PlanFinding(about="", problem=problem, remedy=remedy, exit_code=_FAILS)
            continue
        near = difflib.get_close_matches(name, [*known, "prepared"], n=1, cutoff=0.7)
        remedy = f"did you mean {{{near[0]}}}?" if near else "nothing has to be done if the program reads it itself"
        problem = f"{{{name}}} is no placeholder: the program gets it as it is"
        yield PlanFinding(about="", problem=problem, remedy=remedy, exit_code=_FAILS if near else 0)


def _files(word: str, experiment: Experiment, code: Path, scripts: Collection[str]) -> Iterator[PlanFinding]:
    """A relative path with the suffix of a file that is read, which is neither in the code nor beside its scripts.

    A command of which no script is there cannot start.
    """
    name = word.rpartition("=")[2]
    path = PurePosixPath(name)
    if path.suffix not in _FILES or path.is_absolute() or {"{", "*"} & set(name) or len(name.split()) > 1:
        return
    folders = (code, *(code / PurePosixPath(script).parent for script in scripts))
    if any(_is_there(folder / path) for folder in folders) or (
        experiment.working_folder == "output" and _is_input(path, experiment)
    ):
        return
    is_fatal = path.suffix in (".py", ".sh") and not scripts
    remedy = "commit it; a file that is too large for that is declared under `inputs`"
    yield PlanFinding(about="", problem=f"the code has no {name}", remedy=remedy, exit_code=_FAILS if is_fatal else 0)


def _is_there(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # no file can have so long a name
        return False


def _is_input(path: PurePosixPath, experiment: Experiment) -> bool:
    named = [value.named(name) for name, value in experiment.inputs.items()]
    places = {PurePosixPath(value.reference) for value in named if value.kind in LOCAL}
    return bool(places & {path, *path.parents})
