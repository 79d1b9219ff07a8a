"""Init: from somebody's repository to an experiment that can be certified.

commands -> inputs -> lock -> trial -> experiment -> .gitignore, CI
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from harness.documents.inputs import Input
from harness.documents.names import NAME
from harness.documents.platform import USUAL
from harness.errors import HarnessError, UsageError
from harness.inputs.local import local_digest
from harness.packages.interpreter import probe
from harness.packages.resolver import write_lock
from harness.packages.venv import host_venv
from harness.report.console import Progress
from harness.review.commands import scripts_of
from harness.scaffold.base import dockerfile_on
from harness.scaffold.commands import LATEST, Commands, Sources, propose
from harness.scaffold.draft import Draft, LocalInput
from harness.scaffold.local_data import experiment_name, input_name, local_data, outside_data
from harness.scaffold.requirements import read_needs
from harness.scaffold.trial import context_of, try_resume, try_straight
from harness.system.git import Checkout, read_checkout
from harness.system.held import temporary_folder
from harness.system.project import EXPERIMENTS
from harness.system.store import Store, disk_errors

TRIAL_S = 180
Ask = Callable[[str, str], str]
"""Asks a person: the question and what is taken without an answer."""


@dataclass(slots=True)
class Made:
    """What init wrote, below the repository, and what it could not find out, in words."""

    experiment: str
    written: list[str] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)


def init(
    root: Path, given: tuple[str, ...], ask: Ask, store: Store, progress: Progress, *, python: Path | None = None
) -> Made:
    """Write an experiment for a repository, with its lock.

    Args:
        root: the top of a git repository.
        given: the command that trains, or a script; () to look for it.
        ask: asks a person.
        store: the cache.
        progress: told what is going on.
        python: the interpreter that trains today; None to look for one.

    Raises:
        UsageError: no training is found, or the experiment exists.
        HostError: git is missing.
    """
    checkout = read_checkout(root)
    commands = propose(root, given)
    draft = _drafted(root, commands, ask)
    made = Made(draft.name)
    sources = Sources(root)
    entries = [entry for path in _scripts(draft, root) if (entry := sources.entry(path)) is not None]
    modules = [module for entry in entries for module in entry.closure]
    draft.inputs = _inputs(root, local_data(root, (*draft.run, *(draft.resume or ())), modules))
    for one in draft.inputs:
        progress.note(f"{one.path} is in no commit: it becomes the input {one.name}")
    for path in outside_data(root, modules):
        made.unknown.append(f"how to pin {path}, outside of the repository: make it an input, which the command names")
    interpreter = python or _todays_python(root)
    _lock(root, draft, interpreter, sources.program.libraries(modules), made, store, progress)
    interpreter = interpreter or _locked_python(root, draft, made, store, progress)
    _trial(checkout, draft, commands, interpreter, made, progress)
    if not draft.outputs:
        draft.outputs = ("**/*.safetensors", "**/*.pt", "**/*.pth", "**/*.ckpt")
        made.unknown.append("which files the training leaves: `outputs` names every kind of weights")
    _write(root, draft, made)
    _surroundings(root, ask, made)
    return made


def _drafted(root: Path, commands: Commands, ask: Ask) -> Draft:
    others = f" ({', '.join(commands.others[:3])} would train too)" if commands.others else ""
    run = _words(ask(f"The command that trains{others}", shlex.join(commands.run)))
    proposed = "" if commands.resume is None else shlex.join(commands.resume)
    if commands.run != run:
        proposed = proposed.replace(shlex.join(commands.run), shlex.join(run))
    resume = _words(ask(f"The command that resumes ({commands.why}; `none` for none)", proposed or "none"))
    if not run:
        raise UsageError("no command that trains was given", "answer with one, or with Enter for what is proposed")
    image = ask("Train on `cpu` or `cuda`", "cuda" if shutil.which("nvidia-smi") else "cpu")
    if image not in ("cpu", "cuda"):
        raise UsageError(f"{image!r} is neither cpu nor cuda", "answer with one of the two")
    script = next((word for word in run if word.endswith(".py")), run[-1].replace(".", "/"))
    module = next((run[place + 1] for place, word in enumerate(run[:-1]) if word == "-m"), "")
    name = ask("A name for the experiment", experiment_name(module.replace(".", "/") or script))
    if not NAME.fullmatch(name):
        raise UsageError(f"{name!r} is no name for an experiment", "use lower-case letters, digits and dashes")
    if (root / EXPERIMENTS / f"{name}.yaml").exists():
        raise UsageError(f"{EXPERIMENTS / name}.yaml is there already", "edit it, remove it, or give another name")
    environment = {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    environment |= {"CUBLAS_WORKSPACE_CONFIG": ":4096:8"} if image == "cuda" else {}
    return Draft(
        name=name,
        command=shlex.join(run),
        image=image,
        run=run,
        resume=None if resume in ((), ("none",)) else resume,
        environment={**environment, **commands.environment},
    )


def _words(answer: str) -> tuple[str, ...]:
    try:
        return tuple(shlex.split(answer))
    except ValueError as error:
        raise UsageError(f"{answer!r} is no command: {error}", "close what is quoted") from error


def _scripts(draft: Draft, root: Path) -> tuple[str, ...]:
    return tuple(sorted(scripts_of(draft.run, root, draft.environment.get("PYTHONPATH", ""))))


def _inputs(root: Path, paths: tuple[str, ...]) -> tuple[LocalInput, ...]:
    found: list[LocalInput] = []
    for path in paths:
        name = input_name(path, [one.name for one in found])
        kind: Literal["file", "folder"] = "folder" if (root / path).is_dir() else "file"
        given = Input(name=name, kind=kind, reference=path, sha256="")
        digest = (local_digest(given, root) or "").removeprefix("sha256:")
        found.append(LocalInput(name=name, kind=kind, path=path, sha256=digest))
    return tuple(found)


def _todays_python(root: Path) -> Path | None:
    """The interpreter that a person would train with here: of the active environment, of the repository, of PATH."""
    named = [os.environ.get("VIRTUAL_ENV"), os.environ.get("CONDA_PREFIX"), str(root / ".venv"), str(root / "venv")]
    places = [Path(one) / "bin" / "python" for one in named if one]
    places += [Path(found) for name in ("python", "python3") if (found := shutil.which(name))]
    return next((path for path in places if path.exists() and _has_torch(path)), None)


def _locked_python(root: Path, draft: Draft, made: Made, store: Store, progress: Progress) -> Path | None:
    """An environment made from the lock, for who has none of their own here."""
    lock = root / "lockfiles" / f"{draft.image}.lock"
    if draft.image != "cpu" or not lock.is_file():
        return None
    try:
        return host_venv(lock, store, progress.note)
    except HarnessError as error:
        made.unknown.append(f"an environment for the trial: {error.problem}")
        return None


def _has_torch(python: Path) -> bool:
    code = "import importlib.util, sys; sys.exit(importlib.util.find_spec('torch') is None)"
    try:
        return subprocess.run([str(python), "-c", code], capture_output=True, timeout=60, check=False).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


def _trial(
    checkout: Checkout, draft: Draft, commands: Commands, python: Path | None, made: Made, progress: Progress
) -> None:
    """Train for a short time, and take over what that shows."""
    if python is None or not _has_torch(python):
        which = "no Python with torch was found" if python is None else f"{python} has no torch"
        made.unknown.append(f"steps, outputs and checkpoints: {which}, so nothing was tried (--python names one)")
        _without_trial(draft, made)
        return
    above = checkout.root / "runs"
    with disk_errors("making the trial's folder"):
        above.mkdir(exist_ok=True)
    with temporary_folder(".init-", above) as folder:
        Checkout(root=checkout.root, commit=checkout.commit, changed=("everything",)).export(folder / "code")
        wanted = draft.experiment(outputs=["**"], timeout_s=TRIAL_S, policy={"required": ["rerun"]})
        inputs = {one.name: checkout.root / one.path for one in draft.inputs}
        context = context_of(wanted, draft.name, folder, python, inputs, progress)
        progress.note(f"trial: `{draft.command}` on this host, for at most {TRIAL_S} s")
        trial, straight = try_straight(context)
        if trial.problem or straight is None:
            made.unknown.append(f"steps, outputs and checkpoints: the trial did not train: {trial.problem}")
            if "name resolution" in trial.problem:
                made.unknown.append(
                    "what it downloads: trainings have no network; fetch it once, and it becomes an input"
                )
            _without_trial(draft, made)
            return
        end = "to its end" if trial.is_finished else f"in {TRIAL_S} s"
        progress.note(f"trial: {trial.steps} steps {end}; it left {', '.join(trial.saved.outputs) or 'no weights'}")
        if not trial.is_finished:
            remedy = "let the command train less, or declare `steps` and certify with --steps 20"
            made.unknown.append(f"how many steps there are: at step {trial.steps} the time was over; {remedy}")
        _name_checkpoint(draft, trial.saved.latest, made)
        draft.learn(trial, uses_trainer=commands.uses_trainer)
        if draft.resume is not None:
            resumed = draft.experiment(outputs=["**"], timeout_s=TRIAL_S, interruptions="auto")
            context = context_of(resumed, draft.name, folder, python, inputs, progress)
            after, problem = try_resume(context, straight)
            _told_of_resume(after, problem, made, progress)


def _without_trial(draft: Draft, made: Made) -> None:
    _name_checkpoint(draft, "", made)


def _name_checkpoint(draft: Draft, glob: str, made: Made) -> None:
    """Put the glob of a checkpoint where a command wants its path; without one there is no resume."""
    if draft.resume is None or not any(LATEST in word for word in draft.resume):
        return
    if not glob:
        made.unknown.append(f"which files are checkpoints: replace GLOB in {LATEST} of `resume`")
    else:
        draft.resume = tuple(word.replace(LATEST, f"{{latest:{glob}}}") for word in draft.resume)


def _told_of_resume(after: int | None, problem: str, made: Made, progress: Progress) -> None:
    if problem:
        made.unknown.append(f"whether it resumes: {problem}")
    elif after == 0:
        made.unknown.append("how it resumes: killed after a checkpoint, this command began at step 0 again")
    else:
        progress.note(f"trial: killed, and resumed after step {after}")


def _write(root: Path, draft: Draft, made: Made) -> None:
    path = root / EXPERIMENTS / f"{draft.name}.yaml"
    with disk_errors("writing the experiment"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(draft.text, encoding="utf-8")
    made.written.append(str(path.relative_to(root)))


def _lock(
    root: Path,
    draft: Draft,
    python: Path | None,
    libraries: frozenset[str],
    made: Made,
    store: Store,
    progress: Progress,
) -> None:
    """Write `.in` from what the repository says that it needs, and the lock; those that are there stay."""
    source, target = (root / "lockfiles" / f"{draft.image}{end}" for end in (".in", ".lock"))
    if not source.exists():
        needs = read_needs(root, draft.image, _installed(python), libraries - sys.stdlib_module_names)
        made.unknown += [f"how to pin {text} of {needs.source}: an image takes wheels only" for text in needs.left_out]
        with disk_errors("writing the requirements"):
            source.parent.mkdir(parents=True, exist_ok=True)
            source.write_text(needs.text, encoding="utf-8")
        made.written.append(str(source.relative_to(root)))
        if needs.target != USUAL:
            _base(root, draft.image, needs.target.python, made)
    if target.exists():
        return
    progress.note(f"pinning {source.name} with hashes; the first time this fetches every package")
    try:
        write_lock(root, draft.image, store, progress.note)
        made.written.append(str(target.relative_to(root)))
    except HarnessError as error:
        remedy = f"correct lockfiles/{source.name}, then `harness lock {draft.image}`"
        made.unknown.append(f"the lock: {error.problem}; {remedy}")


def _base(root: Path, image: str, python: str, made: Made) -> None:
    """The base that comes with the package has the usual Python alone: write a Dockerfile on one with this."""
    file = root / "images" / image / "Dockerfile"
    if file.exists():
        return
    text = dockerfile_on(python, root)
    if text is None:
        remedy = f"with `FROM python:{python}-slim@sha256:...` (docs/guide/images.md), or train with --runner host"
        made.unknown.append(f"a base with Python {python}: write {file.relative_to(root)} {remedy}")
        return
    with disk_errors("writing the Dockerfile"):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    made.written.append(str(file.relative_to(root)))


def _installed(python: Path | None) -> Mapping[str, str]:
    if python is None:
        return {}
    try:
        return dict(probe(python).packages)
    except HarnessError:
        return {}


def _surroundings(root: Path, ask: Ask, made: Made) -> None:
    """`runs/` is nobody's source; a workflow for CI where somebody wants one."""
    ignored = root / ".gitignore"
    text = ignored.read_text(encoding="utf-8") if ignored.is_file() else ""
    if not {"/runs/", "/runs", "runs/", "runs"} & set(text.split()):
        with disk_errors("writing .gitignore"):
            ignored.write_text(f"{text.rstrip()}\n/runs/\n".lstrip(), encoding="utf-8")
        made.written.append(".gitignore")
    workflow = root / ".github" / "workflows" / "reproducibility.yml"
    if not workflow.exists() and ask("Write a workflow for GitHub Actions", "no").lower() in ("y", "yes"):
        with disk_errors("writing the workflow"):
            workflow.parent.mkdir(parents=True, exist_ok=True)
            workflow.write_text(_WORKFLOW.replace("EXPERIMENT", made.experiment), encoding="utf-8")
        made.written.append(str(workflow.relative_to(root)))


_WORKFLOW = """name: reproducibility
on:
  push: {branches: [main]}
  pull_request:
permissions: {contents: read}
jobs:
  certify:
    runs-on: ubuntu-24.04
    timeout-minutes: 120
    steps:
      - uses: actions/checkout@v4
        with: {fetch-depth: 0, persist-credentials: false}
      - uses: OWNER/repro-harness@v0   # pin it to a commit
        with: {experiment: EXPERIMENT}
"""
