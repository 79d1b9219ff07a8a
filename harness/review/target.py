"""What is to be reviewed: a folder, the scripts that it begins with, and what the project says about severities."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from harness.documents.verdict import Review
from harness.errors import EvidenceError, HarnessError, UsageError
from harness.review.checklist import judge_checklist
from harness.review.commands import scripts_of
from harness.review.finding import Item, Showing, StaticReview
from harness.review.review_tree import review_tree
from harness.review.rules import MAX_SETTINGS_BYTES, RULES, parse_severities, severities_of
from harness.system.project import EXPERIMENTS, is_experiment, read_experiment
from harness.system.safe_read import safe_read
from harness.system.store import Progress, Store

if TYPE_CHECKING:
    from harness.documents.experiment import Experiment
    from harness.review.evidence.basis import Basis
    from harness.review.evidence.vram import Probe

_SETTINGS = "pyproject.toml"


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A folder and scripts below it, None for every file; what its pyproject.toml says of severities.

    Attributes:
        unknown: an experiment's commands of which no script could be told.
    """

    root: Path
    entries: tuple[str, ...] | None
    severities: dict[str, str]
    unknown: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Reviewed:
    """A review, and the folder that its paths are below."""

    root: Path
    review: Review


def review_target(root: Path, name: str, store: Store, progress: Progress, probe: Probe | None = None) -> Reviewed:
    """The checklist of an experiment of the working tree, by its name, or of any file or folder, by its path.

    Raises:
        UsageError: there is no such target, nothing in it to review, or pyproject.toml is malformed.
        EvidenceError: every script that is named cannot be read.
    """
    if not is_experiment(root, name):
        if not Path(name).exists():
            known = tuple(sorted(path.stem for path in (root / EXPERIMENTS).glob("*.yaml")))
            problem = f"{name[:200]} is neither a path nor an experiment"
            raise UsageError(problem, f"there are the experiments {', '.join(known) or '(none)'}; or give a path")
        target = target_of(Path(name))
        static = review_tree(target.root, target.entries, store=store, progress=progress)
        _require_something_read(name, target, static)
        severities = severities_of(RULES, target.severities)
        return Reviewed(root=target.root, review=judge_checklist(static, RULES, severities))
    experiment = read_experiment(root, name)
    basis = basis_of(experiment, target_of_experiment(experiment, root), store, progress)
    basis = dataclasses.replace(basis, probe=probe)
    return Reviewed(root=root, review=reviewed_experiment(name, experiment, basis))


def reviewed_experiment(name: str, experiment: Experiment, basis: Basis) -> Review:
    """The checklist of an experiment of which nothing has run yet."""
    from harness.judge.verdict import judge
    from harness.judge.verdict_inputs import VerdictInputs
    from harness.review.reviewer import reviewer_of

    case = VerdictInputs(
        experiment=name,
        run_id="",
        commit="",
        dirty=False,
        runner="",
        steps=experiment.steps or 0,
        review=reviewer_of(basis),
    )
    review = judge(case).review
    assert review is not None  # inputs with a reviewer have one
    return review


def _require_something_read(name: str, target: Target, static: StaticReview) -> None:
    """No answer is not a good one: a script that could not be read, or a folder with nothing to read, has none."""
    reasons = {one.path: one.reason for one in static.unread}
    if not static.num_files:
        raise UsageError(f"{name} has nothing to review", "name a Python script, or a folder that holds training code")
    if target.entries and all(entry in reasons for entry in target.entries):
        first = target.entries[0]
        raise EvidenceError(f"{first} cannot be reviewed: {reasons[first]}", "mend the file, or name another")


def target_of(path: Path) -> Target:
    """The file or folder at a path.

    Raises:
        UsageError: nothing is there, or pyproject.toml is malformed.
    """
    if not path.exists():
        raise UsageError(f"there is no {path}", "give an experiment's name, a file or a folder")
    path = path.resolve()
    if path.is_dir():
        return Target(root=path, entries=None, severities=_nearest_severities(path))
    if path.suffix == ".ipynb":
        remedy = f"make a script of it (`jupyter nbconvert --to script {path.name}`) and review that"
        raise UsageError(f"{path.name} is a notebook, and notebooks are not reviewed", remedy)
    if path.suffix != ".py":
        raise UsageError(f"{path.name} is no Python script", "name a .py file, or a folder that holds training code")
    return Target(root=path.parent, entries=(path.name,), severities=_nearest_severities(path.parent))


def target_of_experiment(experiment: Experiment, code: Path) -> Target:
    """The scripts that an experiment's commands begin with, in a folder of code.

    Raises:
        UsageError: pyproject.toml is malformed.
    """
    entries, unknown = scripts_of_experiment(experiment, code)
    return Target(root=code, entries=entries, severities=read_severities(code), unknown=unknown)


def scripts_of_experiment(experiment: Experiment, code: Path) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The Python files below `code` that the commands start, sorted; and the trainings' commands that name none."""
    path = experiment.environment.get("PYTHONPATH", "")
    found: set[str] = set()
    unknown = []
    for command in (experiment.run, experiment.resume or (), experiment.prepare or (), experiment.probe or ()):
        scripts = scripts_of(command, code, path)
        found |= scripts
        if not scripts and command and command in (experiment.run, experiment.resume):
            unknown.append(" ".join(command))
    return tuple(sorted(found)), tuple(dict.fromkeys(unknown))


def basis_of(
    experiment: Experiment, target: Target, store: Store | None = None, progress: Progress | None = None
) -> Basis:
    """What the review of an experiment stands on before anything has run: only what its commands reach is read.

    Raises:
        UsageError: the code cannot be listed.
    """
    from harness.review.evidence.basis import Basis

    static = review_tree(target.root, target.entries, store=store, progress=progress, image=experiment.image)
    items: tuple[Item, ...] = ("V1", "V2", "V5")
    texts = [f"no script of this code could be told from the command `{one[:200]}`" for one in target.unknown]
    unknown = [Showing(item=item, state="unknown", text=text) for item in items for text in texts]
    return Basis(
        static=dataclasses.replace(static, showings=(*static.showings, *unknown)),
        severities=target.severities,
        config=experiment.config,
        num_gpus=experiment.gpus,
        vram_budget_gib=experiment.vram_budget_gib,
        lock=_lock_text(target.root, experiment.image),
        is_resume_required="resume" in experiment.policy.required,
    )


def read_severities(folder: Path) -> dict[str, str]:
    """What the pyproject.toml of a folder says; nothing where there is none.

    Raises:
        UsageError: it cannot be read, or is malformed.
    """
    if not (folder / _SETTINGS).exists():
        return {}
    try:
        data = bytes(safe_read(folder, _SETTINGS, max_bytes=MAX_SETTINGS_BYTES))
        return parse_severities(data.decode("utf-8"), _SETTINGS)
    except (EvidenceError, UnicodeDecodeError) as error:
        shown = error.problem if isinstance(error, EvidenceError) else str(error)
        raise UsageError(f"{_SETTINGS} cannot be read: {shown}", "it must be a UTF-8 file of at most 1 MiB") from error


def _nearest_severities(folder: Path) -> dict[str, str]:
    """Those of the nearest pyproject.toml, no higher than the top of a repository."""
    for parent in (folder, *folder.parents):
        if (parent / _SETTINGS).is_file():
            return read_severities(parent)
        if (parent / ".git").exists():
            break
    return {}


def _lock_text(code: Path, image: str) -> str:
    """What the image's lock pins, in words; "" for one that is wrong: whoever builds from it says so."""
    from harness.system.project import read_lock

    name = f"lockfiles/{image}.lock"
    try:
        pins = read_lock(code / name).pins
    except HarnessError:
        return ""
    return f"{name} pins {len(pins)} distributions with == and their hashes" if pins else ""
