"""The experiments of a checkout: which there are, and each read from its file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from harness.documents.names import NAME, check_experiment_name
from harness.errors import UsageError

if TYPE_CHECKING:
    from harness.documents.experiment import Experiment

EXPERIMENTS = Path("pipelines") / "experiments"


def read_experiment(root: Path, name: str) -> Experiment:
    """The experiment of that name.

    Raises:
        UsageError: there is none, or its file is wrong.
    """
    from harness.documents.experiment import parse_experiment

    known = tuple(sorted(path.stem for path in (root / EXPERIMENTS).glob("*.yaml")))
    path = root / EXPERIMENTS / f"{check_experiment_name(name, known)}.yaml"
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{EXPERIMENTS / path.name} cannot be read: {error}", "it must be UTF-8 text") from error
    return parse_experiment(text, str(EXPERIMENTS / path.name))


def is_experiment(root: Path, name: str) -> bool:
    """Whether an experiment is called so."""
    return NAME.fullmatch(name) is not None and (root / EXPERIMENTS / f"{name}.yaml").is_file()
