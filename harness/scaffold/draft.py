"""The draft of an experiment: what was found out so far, and the YAML that a person goes on editing."""

from __future__ import annotations

import json
from dataclasses import dataclass, field

from harness.documents.experiment import Experiment, Interruption
from harness.scaffold.trial import Trial

SCHEMA = "https://raw.githubusercontent.com/OWNER/repro-harness/v0/docs/schemas/experiment.schema.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalInput:
    """A file or folder that no commit has; `kind` is `file` or `folder`, `path` is below the repository."""

    name: str
    kind: str
    path: str
    sha256: str


@dataclass(slots=True, kw_only=True)
class Draft:
    """An experiment on its way.

    Attributes:
        command: as somebody types it, for the description.
        kills: kill points that are listed; empty leaves them to the straight run.
        notes: comments, by the key that they stand above.
    """

    name: str
    command: str
    image: str
    run: tuple[str, ...]
    resume: tuple[str, ...] | None
    environment: dict[str, str]
    inputs: tuple[LocalInput, ...] = ()
    outputs: tuple[str, ...] = ()
    checkpoints: tuple[str, ...] = ()
    steps: int | None = None
    kills: tuple[Interruption, ...] = ()
    notes: dict[str, str] = field(default_factory=dict)

    def learn(self, trial: Trial, *, uses_trainer: bool) -> None:
        """Take over what a straight run has shown."""
        self.steps = trial.steps if trial.is_finished else None
        self.outputs, self.checkpoints = trial.saved.outputs, trial.saved.checkpoints
        if self.resume is not None and uses_trainer:
            self.kills = tuple(kill for kill in trial.kills if kill.kind != "in_write")
            self.notes["interruptions"] = (
                "No kill lies inside a checkpoint's write: the Trainer of transformers goes by a folder's name, and "
                "loads a torn one. `auto` would show that."
            )

    @property
    def document(self) -> dict[str, object]:
        """The experiment's keys, in the order in which they are written; without what has its default."""
        found: dict[str, object] = {
            "schema": 1,
            "description": f"What `{self.command}` trains.",
            "image": self.image,
            **({"gpus": 1} if self.image == "cuda" else {}),
            "working_folder": "output",
            "run": list(self.run),
        }
        if self.inputs:
            found["inputs"] = {one.name: {one.kind: one.path, "sha256": one.sha256} for one in self.inputs}
        if self.resume is not None:
            found["resume"] = list(self.resume)
        if self.steps is not None:
            found["steps"] = self.steps
        found["outputs"] = list(self.outputs)
        if self.checkpoints:
            found["checkpoints"] = list(self.checkpoints)
        found["environment"] = dict(self.environment)
        if self.kills:
            found["interruptions"] = [kill.model_dump(mode="json", exclude_defaults=True) for kill in self.kills]
        if self.resume is None:
            found["policy"] = {"required": ["rerun", "rebuild"]}
        return found

    def experiment(self, **changes: object) -> Experiment:
        """The same as a value."""
        return Experiment.model_validate({**self.document, **changes})

    @property
    def text(self) -> str:
        """The YAML file. Values are written as JSON, which YAML reads; nothing has to be quoted by rules of its own."""
        comments = {
            "working_folder": "Starts where it writes, with the files of the commit around it, as in a checkout.",
            "resume": "Goes on from the newest checkpoint below {output}.",
            "outputs": "What is compared at the end, below {output}.",
            "checkpoints": "What a resume reads; compared as well.",
            "environment": "Set before Python starts. Threads change the order of sums, and so the bits.",
            "policy": "Nothing that resumes was found. With a `resume` command, leave this out.",
            **self.notes,
        }
        lines = [f"# yaml-language-server: $schema={SCHEMA}"]
        for key, value in self.document.items():
            lines += [f"# {part}" for part in comments.get(key, "").splitlines()]
            lines += _entry(key, value)
        if self.resume is not None and not self.kills:
            lines += ["# interruptions: auto, the default, chooses the kill points from the straight run."]
        return "\n".join(lines) + "\n"


def _entry(key: str, value: object) -> list[str]:
    if isinstance(value, dict) and key == "inputs":
        return [f"{key}:", *(f"  {json.dumps(name)}: {_flow(one)}" for name, one in value.items())]
    if key == "interruptions" and isinstance(value, list):
        return [f"{key}:", *(f"  - {_flow(one)}" for one in value)]
    return [f"{key}: {_flow(value)}"]


def _flow(value: object) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {json.dumps(one)}" for key, one in value.items()) + "}"
    return json.dumps(value, ensure_ascii=False)
