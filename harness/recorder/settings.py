"""Settings: what a training computes under, noted in the events whenever it changes. The diagnosis alone reads it."""

from collections.abc import Callable
from typing import Any
from weakref import ReferenceType

from _harness_recorder.ledger import RunFolder

MAX_CHANGES = 1000  # a setting that changes in every step says no more with each
MAX_NAMES = 20


class Settings:
    """Knows what was noted last."""

    def __init__(self, run: RunFolder) -> None:
        self.run, self.num_changes = run, 0
        self.known: dict[str, Any] = {}
        self.clip: dict[str, Any] | None = None  # of the open step
        self.attributes: dict[str, Any] | None = None  # None until they were looked at

    def note(self, step: int, **values: Any) -> None:
        """Write an event for each setting that is not what it was; None is one that is not used."""
        for name, value in values.items():
            if self.known.get(name) != value and self.num_changes < MAX_CHANGES:
                self.known[name] = value
                self.num_changes += 1
                self.run.event("setting", name=name, value=value, step=step)

    def note_attributes(self, step: int, values: dict[str, Any]) -> None:
        """Write down what modules hold beside parameters and buffers, as far as it is not what it was."""
        known = self.attributes or {}
        changed = {name: value for name, value in values.items() if known.get(name) != value}
        self.attributes = values
        self.run.event("attributes", step=step, values=changed)

    def clipped(self, function: str, limit: Any) -> None:
        """Take note of how the open step's gradients are clipped."""
        self.clip = {"function": function, "limit": float(limit).hex() if isinstance(limit, int | float) else None}

    def step_over(self, step: int) -> None:
        """Note how a step's gradients were clipped, if they were."""
        self.note(step, clip=self.clip)
        self.clip = None


def evaluating(named_modules: list[tuple[str, ReferenceType]]) -> dict[str, Any] | None:
    """Return which modules are in evaluation mode: how many, and the first names; "" is a whole model."""
    alive = ((name, module) for name, known in named_modules if (module := known()) is not None)
    names = [name for name, module in alive if not module.training]
    return {"num": len(names), "of": len(named_modules), "names": names[:MAX_NAMES]} if names else None


def switches(torch: Any) -> dict[str, Any]:
    """Return torch's switches that choose kernels or precision; None for one that cannot be read."""
    readers: dict[str, Callable[[], Any]] = {
        "deterministic_algorithms": torch.are_deterministic_algorithms_enabled,
        "cudnn_deterministic": torch._C._get_cudnn_deterministic,
        "cudnn_benchmark": torch._C._get_cudnn_benchmark,
        "float32_matmul_precision": torch.get_float32_matmul_precision,
        "mkldnn": torch._C._get_mkldnn_enabled,
        "threads": torch.get_num_threads,
        "default_dtype": lambda: str(torch.get_default_dtype()),
    }
    found = {name: _read(reader) for name, reader in readers.items()}
    for device in ("cpu", "cuda"):
        is_enabled = torch.is_autocast_enabled(device)
        found[f"autocast_{device}"] = str(torch.get_autocast_dtype(device)) if is_enabled else None
    return found


def _read(reader: Callable[[], Any]) -> Any:
    try:
        return reader()
    except (AttributeError, RuntimeError):  # torch refuses the old way of asking once the new way was used
        return None
