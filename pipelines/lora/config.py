"""The configuration of one training: what may stand in it, its defaults, and how it is checked.

A configuration is the `config:` block of an experiment, handed over as a JSON file. It is read into frozen
dataclasses; an unknown key, a wrong type or an impossible value is an error that names the key.
"""

from __future__ import annotations

import dataclasses
import difflib
import json
import types
import typing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

EXIT_USAGE = 2


class PipelineError(Exception):
    """Something the person who started the pipeline can put right: the problem, and the remedy."""

    def __init__(self, problem: str, remedy: str) -> None:
        super().__init__(problem)
        self.problem = problem
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.problem}\n  remedy: {self.remedy}"


@dataclass(frozen=True, slots=True, kw_only=True)
class DataConfig:
    """Which pairs are prepared, and how much of them an epoch sees.

    `prompt` holds the places `{word}` and `{part}`. A pair longer than `max_length` tokens is left out when the
    data are prepared; nothing is cut off in training. `pairs_per_epoch` pairs, drawn from all `train_pairs`
    without replacement, are called an epoch; null means all of them. `batching` says which of them go together
    (batching.py); packed, a row takes up to `pack_length` tokens, null means `max_length`.
    """

    input: str
    train_pairs: int
    validation_pairs: int
    max_length: int
    prompt: str = "Define: {word} ({part})\n"
    pairs_per_epoch: int | None = None
    batching: str = "shuffled"
    pack_length: int | None = None
    num_workers: int = 0

    @property
    def row_length(self) -> int:
        """Tokens that a packed row takes at most."""
        return self.max_length if self.pack_length is None else self.pack_length


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelConfig:
    """The frozen model under the adapter: `random` (a small Llama with seeded weights) or `gguf` (converted once).

    The sizes below are those of a random model and are ignored for a converted one.
    """

    source: str
    name: str
    input: str | None = None
    attention: str = "sdpa"
    hidden_size: int = 192
    intermediate_size: int = 512
    num_layers: int = 3
    num_heads: int = 4
    num_kv_heads: int = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class LoraSettings:
    """Low-rank adaptation (Hu et al. 2021, arXiv:2106.09685): W x + alpha/r * B A x, with A: [r, in], B: [out, r]."""

    r: int
    alpha: int
    dropout: float
    target_modules: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingConfig:
    """The training itself. `accumulation` micro-batches form one window, a window makes one optimizer step.

    Each validation takes the first `validation_pairs` of the prepared ones; null means all of them.
    `precision`: bf16 and fp16 are autocast, the trained weights stay float32. fp16 comes with a loss scaler and is
    made for CUDA; a CPU computes the same training slowly. `gradient_checkpointing` computes activations again in
    the backward pass instead of keeping them. `fused` takes AdamW's fused kernel: on a CPU the other one takes square
    roots from oneMKL, and their last bit depends on the processor (docs/guide/portability.md). A training ends early
    once `patience` validations (one at each epoch's end) in a row have not lowered the loss by more than `min_delta`,
    in nats; null means never. The schedule does not know of that: it is laid over all epochs.
    """

    epochs: int
    micro_batch_size: int
    accumulation: int
    learning_rate: float
    warmup_steps: int = 0
    schedule: str = "linear"
    weight_decay: float = 0.0
    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8
    max_grad_norm: float = 1.0
    precision: str = "fp32"
    device: str = "cpu"
    gradient_checkpointing: bool = False
    fused: bool = False
    patience: int | None = None
    min_delta: float = 0.0
    save_every: int = 10
    validation_batch_size: int = 8
    validation_pairs: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DeterminismConfig:
    """The switches that `determinism.set_determinism` sets; the reason for each stands there."""

    threads: int = 1
    deterministic_algorithms: bool = True
    fill_uninitialized_memory: bool = True
    cudnn_deterministic: bool = True
    cudnn_benchmark: bool = False
    mkldnn_deterministic: bool = True
    tf32: bool = False
    reduced_precision_sums: bool = False
    fixed_hash_seed: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class TrackingConfig:
    """Which trackers write besides metrics.jsonl (trackers.py); none changes a bit of the training."""

    tensorboard: bool = True
    wandb: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """One training, completely: the same configuration, code, inputs and machine give the same bits."""

    experiment: str
    seed: int
    data: DataConfig
    model: ModelConfig
    lora: LoraSettings
    training: TrainingConfig
    determinism: DeterminismConfig = field(default_factory=DeterminismConfig)
    tracking: TrackingConfig = field(default_factory=TrackingConfig)

    def as_dict(self) -> dict[str, Any]:
        """Return nested plain values (dict, list, str, int, float, bool, None), defaults included."""
        return dict(json.loads(json.dumps(dataclasses.asdict(self))))


CHOICES: dict[str, tuple[str, ...]] = {
    "data.batching": ("shuffled", "bucketed", "packed"),
    "model.source": ("random", "gguf"),
    "model.attention": ("sdpa", "eager"),
    "training.schedule": ("linear", "cosine", "constant"),
    "training.precision": ("fp32", "bf16", "fp16"),
    "training.device": ("cpu", "cuda"),
}
AT_LEAST: dict[str, float] = {
    "seed": 0,
    "data.train_pairs": 1,
    "data.validation_pairs": 1,
    "data.max_length": 2,
    "data.pairs_per_epoch": 1,
    "data.num_workers": 0,
    "lora.r": 1,
    "lora.alpha": 1,
    "lora.dropout": 0,
    "training.epochs": 0,
    "training.micro_batch_size": 1,
    "training.accumulation": 1,
    "training.learning_rate": 0,
    "training.warmup_steps": 0,
    "training.weight_decay": 0,
    "training.max_grad_norm": 0,
    "training.save_every": 1,
    "training.validation_batch_size": 1,
    "training.validation_pairs": 1,
    "training.patience": 1,
    "training.min_delta": 0,
    "determinism.threads": 1,
    "model.hidden_size": 1,
    "model.intermediate_size": 1,
    "model.num_layers": 1,
    "model.num_heads": 1,
    "model.num_kv_heads": 1,
}


def load_config(path: Path) -> Config:
    """Read a configuration from a JSON file.

    Raises:
        PipelineError: the file cannot be read, is no JSON, or does not hold a valid configuration.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise PipelineError(f"cannot read the configuration {path}: {error.strerror}", "check --config") from error
    except ValueError as error:
        raise PipelineError(f"{path} is no valid JSON: {error}", "write the configuration as JSON") from error
    return parse_config(document)


def parse_config(document: object) -> Config:
    """Turn untrusted nested plain values into a checked configuration.

    Raises:
        PipelineError: an unknown or missing key, a wrong type, or a value that is not allowed.
    """
    config: Config = _parse(Config, document, "")
    for key, smallest in AT_LEAST.items():
        value = _look_up(config, key)
        if value is not None and not value >= smallest:  # `not >=` also catches NaN
            raise PipelineError(f"{key} is {value}, the smallest value is {smallest}", f"raise {key}")
    for key, choices in CHOICES.items():
        value = _look_up(config, key)
        if value not in choices:
            raise PipelineError(f"{key} is {value!r}", f"choose one of: {', '.join(choices)}")
    if not config.lora.dropout < 1:
        raise PipelineError(f"lora.dropout is {config.lora.dropout}", "choose a value from 0 up to, not including, 1")
    if config.data.row_length < config.data.max_length:
        raise PipelineError(
            f"data.pack_length is {config.data.pack_length}, but a pair may have data.max_length = "
            f"{config.data.max_length} tokens",
            "raise data.pack_length: a pair is never cut",
        )
    if not config.lora.target_modules:
        raise PipelineError("lora.target_modules is empty", "name the linear modules that get an adapter")
    if config.experiment in ("", ".", "..") or "/" in config.experiment:
        raise PipelineError(f"experiment is {config.experiment!r}", "choose a name that can be part of a file name")
    if config.model.source == "gguf" and config.model.input is None:
        raise PipelineError("model.source is gguf but model.input is missing", "name the input that holds the file")
    return config


def _look_up(config: Config, key: str) -> Any:
    value: Any = config
    for part in key.split("."):
        value = getattr(value, part)
    return value


def _parse(kind: Any, value: object, key: str) -> Any:
    """Read `value` as `kind`: a dataclass, a plain type, an optional one, or a tuple of strings."""
    if dataclasses.is_dataclass(kind):
        return _parse_section(kind, value, key)
    if isinstance(kind, types.UnionType):
        inner = next(k for k in typing.get_args(kind) if k is not types.NoneType)
        return None if value is None else _parse(inner, value, key)
    if typing.get_origin(kind) is tuple:
        if isinstance(value, list) and all(isinstance(item, str) for item in value):
            return tuple(value)
        raise PipelineError(f"{key} is {value!r}", "write a list of strings")
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if type(value) is not kind:
        hint = " (YAML reads 1e-3 as text: write 1.0e-3)" if kind is float and isinstance(value, str) else ""
        raise PipelineError(f"{key} is {value!r}, expected {kind.__name__}{hint}", f"correct the type of {key}")
    return value


def _parse_section(kind: Any, value: object, key: str) -> Any:
    where = key or "the configuration"
    if not isinstance(value, dict):
        raise PipelineError(f"{where} is {type(value).__name__}, expected a mapping", "see pipelines/lora/config.py")
    hints = typing.get_type_hints(kind)
    fields = {item.name: item for item in dataclasses.fields(kind)}
    prefix = f"{key}." if key else ""
    for name in value:
        if name not in fields:
            near = difflib.get_close_matches(str(name), fields, n=1, cutoff=0)
            raise PipelineError(f"unknown configuration key {prefix}{name}", f"did you mean {prefix}{near[0]}?")
    parsed = {name: _parse(hints[name], item, prefix + name) for name, item in value.items()}
    for name, item in fields.items():
        no_default = item.default is dataclasses.MISSING and item.default_factory is dataclasses.MISSING
        if name not in parsed and no_default:
            raise PipelineError(f"missing configuration key {prefix}{name}", f"add it to {where}")
    return kind(**parsed)
