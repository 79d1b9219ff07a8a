"""The experiment: what a human declares in `pipelines/experiments/<name>.yaml`, parsed into one frozen value.

Unknown keys, wrong types and contradictions are errors that name the key and, for a misspelt one, the nearest valid
key. Nothing here reads a file: the text comes in, the value comes out.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Callable, Sequence
from datetime import date
from typing import Annotated, Any, Literal

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StrictInt,
    StrictStr,
    ValidationError,
    model_validator,
)
from pydantic_core import ErrorDetails

from harness.documents.digest import Digest, canonical_json, sha256
from harness.documents.inputs import KINDS, LOCAL, Input, RepoType, check_input
from harness.documents.run import SIGNAL, Fault
from harness.documents.variants import StrictLoader, extended, overridden
from harness.errors import UsageError

MAX_BYTES = 1 << 20
GRACE_S, MAX_GRACE_S = 30, 3600
_OF_GPUS = ("CUDA_VISIBLE_DEVICES", "NVIDIA_VISIBLE_DEVICES", "NVIDIA_DRIVER_CAPABILITIES")
SECRET = re.compile(r"(^|_)(TOKEN|SECRET|PASSWORD|KEY|CREDENTIALS?)($|_)", re.IGNORECASE)

LATEST = re.compile(r"\{latest:([^{}]+)\}")
"""In `resume`: the path of the newest complete checkpoint that a glob below {output} matches."""

LIMITS = frozenset(("memory_gib", "timeout_s"))
"""Keys of which the default differs between versions; what one that was left out was, a manifest spells out."""

OUTPUT_GIB = 200.0

RequiredCheck = Literal["rerun", "resume", "rebuild"]
Count = Annotated[StrictInt, Field(ge=1, le=1 << 48)]
Gib = Annotated[float, Field(strict=True, gt=0, le=1 << 20)]


def _starts_a_program(words: tuple[str, ...]) -> tuple[str, ...]:
    if not words[0].strip():
        raise ValueError("its first word names no program")
    return words


Argv = Annotated[tuple[StrictStr, ...], Field(min_length=1), AfterValidator(_starts_a_program)]


class _Block(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Interruption(_Block):
    """One kill of the interrupted trajectory; the kinds are those of pipelines/README.md."""

    kind: Literal["micro_batch", "before_step", "after_step", "before_write", "in_write", "after_write", "signal"]
    step: Count = Field(description="Optimizer step, numbered from 1 over the whole training.")
    micro_batch: Count | None = Field(
        default=None, description="Micro-batch of that step, from 1 (`micro_batch`; `signal`: else after the update)."
    )
    byte: Count | None = Field(default=None, description="Bytes of the file that are written (`in_write`).")
    by: Literal["self", "outside"] = Field(default="self", description="SIGKILL by the process or by the engine.")
    rank: Annotated[StrictInt, Field(ge=0)] | None = Field(
        default=None,
        exclude_if=lambda rank: rank is None,
        description="Of the process that dies, in a distributed training; every rank dies by default.",
    )
    signal: Literal["SIGTERM", "SIGINT", "SIGUSR1"] | None = Field(
        default=None,
        exclude_if=lambda signal: signal is None,
        description="What every rank is sent (`signal`): it may save and end by itself.",
    )
    grace_s: Annotated[StrictInt, Field(ge=1, le=MAX_GRACE_S)] | None = Field(
        default=None,
        exclude_if=lambda seconds: seconds is None,
        description="Seconds after the signal at which what is left is killed (`signal`); 30 unless said.",
    )

    @model_validator(mode="before")
    @classmethod
    def _with_grace(cls, given: Any) -> Any:
        is_signal = isinstance(given, dict) and given.get("kind") == SIGNAL
        return {"grace_s": GRACE_S, **given} if is_signal else given

    @model_validator(mode="after")
    def _is_complete(self) -> Interruption:
        if self.kind != SIGNAL and (self.kind == "micro_batch") != (self.micro_batch is not None):
            raise ValueError("`micro_batch` goes with the kinds micro_batch and signal; the first needs it")
        if (self.kind == SIGNAL) != (self.signal is not None) or (self.kind != SIGNAL and self.grace_s is not None):
            raise ValueError(
                "`signal` (SIGTERM, SIGINT or SIGUSR1) and `grace_s` go with kind signal, which needs the first"
            )
        if self.kind == SIGNAL and (self.by == "outside" or self.rank is not None):
            raise ValueError("a signal is sent to every rank, at the exact point: `by` and `rank` do not go with it")
        if (self.kind == "in_write") != (self.byte is not None):
            raise ValueError("`byte` goes with kind in_write, and only with it")
        if self.kind == "in_write" and self.by == "outside":
            raise ValueError("a kill inside a write comes from the process itself: the kernel tears the file")
        return self

    @property
    def words(self) -> str:
        """How people are told of it: `in_write at step 12`."""
        return f"{self.signal or self.kind} at step {self.step}"

    @property
    def fault(self) -> Fault:
        """The fault that the recorder is given."""
        return Fault(
            kind=self.kind,
            step=self.step,
            micro_batch=self.micro_batch,
            byte=self.byte,
            by=self.by,
            rank=self.rank,
            signal=self.signal,
            grace_s=self.grace_s,
        )


class Policy(_Block):
    """What a certificate of this experiment must have shown."""

    required: tuple[RequiredCheck, ...] = Field(
        default=("rerun", "resume", "rebuild"), description="Checks that must hold."
    )
    rerun: Literal["second_run", "prefix"] = Field(
        default="second_run",
        description="How rerun is judged: by a second straight run, or by the steps before the first kill.",
    )
    volatile: tuple[StrictStr, ...] = Field(
        default=(), description="Keys of JSON documents (.json, .jsonl) that may differ; never a tensor, never a file."
    )

    @model_validator(mode="after")
    def _compares_trainings(self) -> Policy:
        if not {"rerun", "resume"} & set(self.required):
            raise ValueError("required: name rerun or resume: without one no training is compared with another")
        return self


class DeclaredInput(_Block):
    """One of `file`, `folder`, `pypi` and `deb` (with `version`), `hf` (with `revision`), `https`; guide/inputs.md."""

    file: StrictStr | None = Field(default=None, description="The path of a file: below the project, or absolute.")
    folder: StrictStr | None = Field(
        default=None,
        exclude_if=lambda folder: folder is None,
        description="The path of a folder: below the project, or absolute.",
    )
    pypi: StrictStr | None = Field(default=None, description="A Python package, of which the wheel's files are used.")
    deb: StrictStr | None = Field(default=None, description="A Debian package, of which the files are used.")
    hf: StrictStr | None = Field(default=None, description="A repository of the Hugging Face Hub: owner/name.")
    https: StrictStr | None = Field(default=None, description="The URL of a file, with https://.")
    version: StrictStr = Field(default="", description="The exact version of a package (`pypi`, `deb`).")
    revision: StrictStr | None = Field(default=None, description="The commit of a repository: 40 hex digits (`hf`).")
    files: Annotated[tuple[StrictStr, ...], Field(min_length=1)] | None = Field(
        default=None, description="Globs of the files that are used (`hf`); all by default."
    )
    repo_type: RepoType | None = Field(default=None, description="The kind of repository (`hf`); model by default.")
    sha256: StrictStr = Field(
        default="", description="Of the file, the wheel or the .deb; for `folder` and `hf` of what sha256sum prints."
    )

    @model_validator(mode="after")
    def _fits_together(self) -> DeclaredInput:
        kinds = [kind for kind in KINDS if getattr(self, kind) is not None]
        if len(kinds) != 1:
            raise ValueError(f"an input has exactly one of {', '.join(KINDS[:-1])} and {KINDS[-1]}")
        if not self.sha256 and kinds[0] not in LOCAL:
            raise ValueError("`sha256` is missing; docs/guide/inputs.md says where to take it from")
        if self.version and kinds[0] not in ("pypi", "deb"):
            raise ValueError("`version` goes with pypi and deb; hf has `revision`, the others have neither")
        of_hf = [key for key in ("revision", "files", "repo_type") if getattr(self, key) is not None]
        if of_hf and kinds[0] != "hf":
            raise ValueError(f"`{of_hf[0]}` goes with hf, and only with it")
        if kinds[0] == "hf" and self.revision is None:
            raise ValueError("hf needs `revision`, the 40 hex digits of a commit")
        return self

    def named(self, name: str) -> Input:
        """The input as the store takes it, checked.

        Raises:
            UsageError: a field is malformed.
        """
        kind = next(kind for kind in KINDS if getattr(self, kind) is not None)
        return check_input(
            Input(
                name=name,
                kind=kind,
                reference=getattr(self, kind),
                sha256=f"sha256:{self.sha256.removeprefix('sha256:')}" if self.sha256 else "",
                version=self.revision or self.version,
                patterns=self.files or (),
                repo_type=self.repo_type or "model",
            )
        )


class Experiment(_Block):
    """Everything that is declared about one experiment."""

    schema_: Literal[1] = Field(alias="schema", description="Version of this format.")
    extends: StrictStr | None = Field(
        default=None, exclude=True, description="An experiment of the same folder, of which this one is a variant."
    )
    description: StrictStr = ""
    image: StrictStr = Field(description="Name of a folder in images/ and of a lock in lockfiles/.")
    inputs: dict[StrictStr, DeclaredInput] = Field(default_factory=dict)
    prepare: Argv | None = Field(default=None, description="A conversion of inputs; done cold twice, and compared.")
    run: Argv = Field(description="Trains from nothing.")
    resume: Argv | None = Field(
        default=None,
        description="Continues from the newest complete checkpoint below {output}; where it wants the checkpoint's "
        "path, {latest:GLOB} is the newest complete file or folder below {output} that the glob matches.",
    )
    working_folder: Literal["code", "output"] = Field(
        default="code",
        description="Where the commands start: in the code, which is read-only, or in {output}, where all files of the "
        "code, and the inputs that are files of the project, lie at their paths: as in a checkout of one's own.",
    )
    probe: Argv | None = Field(
        default=None, description="Measures memory for `harness review --probe`, and writes {output}/probe.json."
    )
    config: dict[StrictStr, Any] = Field(default_factory=dict, description="Given to the commands as {config}.")
    steps: Count | None = Field(
        default=None, description="Optimizer steps of the whole training; left out, the straight run says how many."
    )
    outputs: tuple[StrictStr, ...] = Field(min_length=1, description="Globs below {output}: what is compared.")
    checkpoints: tuple[StrictStr, ...] = Field(default=(), description="Globs below {output}.")
    derived: tuple[StrictStr, ...] = Field(
        default=(),
        description="Globs below {output} of what is computed from the weights (averages, merged or half-precision "
        "exports): compared like outputs, although no recorded state holds their tensors.",
    )
    environment: dict[StrictStr, StrictStr] = Field(default_factory=dict, description="Set before Python starts.")
    gpus: Annotated[StrictInt, Field(ge=0, le=16)] = Field(default=0, description="GPUs that a process gets.")
    vram_budget_gib: Gib = 24.0
    memory_gib: Gib = Field(
        default_factory=lambda said: 48.0 if said.get("gpus") else 12.0,
        description="Main memory a process may have, beside that of its GPUs; 12 unless said, 48 with GPUs.",
    )
    timeout_s: Count = Field(
        default_factory=lambda said: 86_400 if said.get("gpus") else 7200,
        description="Seconds one process may run; 2 hours unless said, 24 hours with GPUs.",
    )
    output_gib: Gib = Field(
        default=OUTPUT_GIB,
        exclude_if=lambda gib: gib == OUTPUT_GIB,
        description="Disk that what one training writes may take, all its runs together; 200 unless said.",
    )
    interruptions: tuple[Interruption, ...] | Literal["auto"] = Field(
        default="auto",
        description="Where trainings are killed; `auto` chooses from the straight run: before the first checkpoint, "
        "inside a checkpoint's write, after an epoch's end, inside an accumulation window.",
    )
    policy: Policy = Policy()

    @model_validator(mode="after")
    def _is_consistent(self) -> Experiment:
        late = [kill for kill in self.kills if self.steps is not None and kill.step > self.steps]
        if late:
            raise ValueError(f"interruptions: step {late[0].step} is beyond the last step ({self.steps})")
        last = [kill for kill in self.kills if kill.kind == SIGNAL and kill.micro_batch is None]
        if any(kill.step == self.steps for kill in last):
            raise ValueError(f"interruptions: a signal after the last step ({self.steps}) interrupts nothing")
        if any(b.step < a.step for a, b in zip(self.kills, self.kills[1:], strict=False)):
            raise ValueError("interruptions: list them in the order of their steps")
        if self.is_killed and self.resume is None:
            raise ValueError(
                "resume: the command that continues is missing; without one, set policy: {required: [rerun]}"
            )
        if self._needs_kills and not self.interruptions:
            why = "required names resume" if "resume" in self.policy.required else "rerun is `prefix`"
            raise ValueError(f"interruptions: policy.{why}, so there must be at least one")
        latest = [glob for word in self.resume or () for glob in LATEST.findall(word)]
        for pattern in (*self.outputs, *self.checkpoints, *self.derived, *latest):
            if pattern.startswith("/") or ".." in pattern.split("/"):
                raise ValueError(f"outputs, checkpoints, derived, latest: {pattern!r} leaves the output folder")
        try:
            canonical_json(self.config)
        except (ValueError, TypeError):
            raise ValueError("config: it is no JSON") from None
        for key, value in self.environment.items():
            if not key or {"=", "\0"} & set(key) or "\0" in value:
                raise ValueError(f"environment: {key!r} cannot be set: a name is not empty and has no `=` and no NUL")
            if SECRET.search(key):
                raise ValueError(f"environment: {key} looks like a secret; secrets never reach a container")
            if key in _OF_GPUS:
                raise ValueError(f"environment: {key} is set from the key `gpus`, by the UUIDs that are chosen")
        return self

    @property
    def _needs_kills(self) -> bool:
        return "resume" in self.policy.required or self.policy.rerun == "prefix"

    @property
    def kills(self) -> tuple[Interruption, ...]:
        """The kills that are listed; none where they are chosen from the straight run."""
        return () if isinstance(self.interruptions, str) else self.interruptions

    @property
    def chooses_kills(self) -> bool:
        """Whether kills follow from the straight run: only where something needs them."""
        return self.interruptions == "auto" and self._needs_kills

    @property
    def is_killed(self) -> bool:
        """Whether a training is killed and resumed."""
        return bool(self.kills) or self.chooses_kills

    @property
    def digest(self) -> Digest:
        """The digest of what is declared; the description and the probe, which no run sees, do not count."""
        return sha256(canonical_json(self.model_dump(mode="json", by_alias=True, exclude={"description", "probe"})))

    def to_json(self) -> dict[str, Any]:
        """What is declared, with every default spelled out."""
        return self.model_dump(mode="json", by_alias=True)


def _nothing(_: str) -> None:
    return None


def parse_experiment(
    text: str, source: str, others: Callable[[str], str | None] = _nothing, overrides: Sequence[str] = ()
) -> Experiment:
    """Read an experiment's YAML.

    Args:
        text: of the file.
        source: its path, for errors.
        others: the text of another experiment of the same folder, by its name, for `extends`; None if there is none.
        overrides: what is set for one run, as `config.lr=0.001`.

    Raises:
        UsageError: naming the file, the key, what was found and what is expected.
    """
    folder, _, file = source.rpartition("/")

    def read(name: str) -> dict[str, Any]:
        if (other := others(name)) is None:
            raise UsageError(f"extends: there is no experiment {name}", "name one of the same folder")
        return _mapping(other, f"{folder}/{name}.yaml".lstrip("/"))

    document = _mapping(text, source)
    try:
        document = overridden(extended(document, file.partition(".")[0], read), overrides)
        _check_writable(document, "")
        experiment = Experiment.model_validate(document)
        for name, declared in experiment.inputs.items():
            declared.named(name)
    except ValidationError as error:
        raise _usage_error(error, f"{source} with --set {' '.join(overrides)}" if overrides else source) from error
    except UsageError as error:
        raise UsageError(f"{source}: {error.problem}", error.remedy) from error
    return experiment


def _check_writable(value: Any, path: str) -> None:
    """Refuse what YAML has and a command line, an environment and a JSON file have not.

    Raises:
        UsageError: naming the place.
    """
    if isinstance(value, dict):
        for key, inner in value.items():
            _check_writable(str(key) if isinstance(key, int) else key, f"{path} (a key)".lstrip())
            _check_writable(inner, f"{path}.{key}" if path else str(key))
        if len({type(key) for key in value}) > 1:
            raise UsageError(f"{path}: some of its keys are text and some are not".lstrip(": "), "put all into quotes")
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            _check_writable(inner, f"{path}.{number}")
    elif isinstance(value, str):
        if "\0" in value and not path.startswith("config."):
            raise UsageError(f"{path}: NUL ends a text wherever it is used: {value[:80]!a}", "leave it out")
        if not value.isascii() and value.encode("utf-8", "replace") != value.encode("utf-8", "surrogatepass"):
            raise UsageError(f"{path}: half of a character cannot be written: {value[:80]!a}", "write it whole")
    elif not isinstance(value, int | float | None) or value != value or value in (math.inf, -math.inf):
        shown = value if isinstance(value, date | float) else type(value).__name__
        raise UsageError(f"{path}: JSON has no such value ({shown})", "write a number, or text in quotes")


def _mapping(text: str, source: str) -> dict[str, Any]:
    if len(text) > MAX_BYTES:
        raise UsageError(f"{source} is larger than {MAX_BYTES} bytes", "an experiment is a page of YAML")
    try:
        document = yaml.load(text, Loader=StrictLoader)
    except yaml.YAMLError as error:
        raise UsageError(f"{source} is not valid YAML: {_yaml_problem(error)}", "correct that line") from error
    except (RecursionError, TypeError, ValueError) as error:
        problem = f"{source} cannot be read: {type(error).__name__}"
        raise UsageError(problem, "an experiment is a page of YAML") from error
    if not isinstance(document, dict):
        raise UsageError(f"{source} is not a mapping of keys", "see docs/guide/experiment.md")
    return document


def _yaml_problem(error: yaml.YAMLError) -> str:
    mark = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None) or str(error).splitlines()[0]
    return f"line {mark.line + 1}, column {mark.column + 1}: {problem}" if mark else str(problem)


def _usage_error(error: ValidationError, source: str) -> UsageError:
    """Pydantic's findings in our words: of each key at the top the first, for one mistake may have several."""
    # Where `gpus` is wrong, pydantic says so of the limits as well, whose defaults depend on it.
    rows = [row for row in error.errors(include_url=False) if row["type"] != "default_factory_not_called"]
    found = [_mistake(row) for row in {row["loc"][:1]: row for row in reversed(rows)}.values()][::-1]
    if len(found) == 1:
        (problem, remedy), *_ = found
        return UsageError(f"{source}: {problem}", remedy)
    lines = "".join(f"\n  {problem}: {remedy}" for problem, remedy in found)
    return UsageError(f"{source} has {len(found)} mistakes:{lines}", "correct the experiment")


def _mistake(row: ErrorDetails) -> tuple[str, str]:
    """Problem and remedy."""
    # A key that takes a list or a word has one error for each: of the list, whose name pydantic puts into the path.
    where = [part for part in row["loc"] if not str(part).startswith("tuple[")]
    path = ".".join(str(part) for part in where)
    if row["type"] == "extra_forbidden":
        block, key = tuple(where[:-1]), str(where[-1])
        valid = _keys_at(block)
        near = difflib.get_close_matches(key, valid, n=1, cutoff=0.5)
        remedy = f"did you mean `{near[0]}`?" if near else f"valid keys there: {', '.join(valid)}"
        return f"unknown key `{path}`", remedy
    if row["type"] == "missing":
        return f"the key `{path}` is missing", "see docs/guide/experiment.md"
    message = _SAID.get(row["type"]) or str(row["msg"]).removeprefix("Value error, ")
    return f"{path}: {message} (found {repr(row['input'])[:80]})" if path else message, "correct the experiment"


_SAID = {
    "tuple_type": "a list is expected, as [a, b]",
    "too_short": "it is empty",
    "string_type": 'text is expected: write it as "text"',
    "int_type": "a whole number is expected",
    "float_type": "a number is expected",
    "dict_type": "a mapping is expected, as {key: value}",
    "model_type": "a mapping is expected, as {key: value}",
}
"""Pydantic's words in those of YAML."""


def _keys_at(block: tuple[int | str, ...]) -> list[str]:
    models: dict[str, type[_Block]] = {"policy": Policy, "interruptions": Interruption, "inputs": DeclaredInput}
    model = models.get(str(block[0]), Experiment) if block else Experiment
    return sorted(field.alias or name for name, field in model.model_fields.items())
