"""What each stream consists of: named tensors and named JSON values, collected from the live objects.

Collecting reads and never writes: no generator is drawn from, no state is created, no lazy object initialised. What
has no bytes to read (a quantized tensor, an unknown object) is left out and named in `Collector.not_seen`.
"""

import sys
from array import array
from collections.abc import Mapping
from typing import Any
from weakref import ReferenceType, ref

import torch
from _harness_recorder import digest
from _harness_recorder.ledger import canonical

Items = dict[str, digest.Value]
_FUNCTIONS = torch._C._functorch


def python_state() -> bytes | None:
    """Return the state of Python's global generator as canonical JSON, or None if `random` was never imported."""
    module = sys.modules.get("random")
    if module is None:
        return None
    version, words, gauss = module.getstate()
    return _json([version, array("I", words).tobytes().hex(), gauss])


def numpy_state() -> bytes | None:
    """Return the state of numpy's legacy global generator as canonical JSON, or None if it was never imported."""
    module = sys.modules.get("numpy.random")
    if module is None or not hasattr(module, "get_state"):
        return None
    name, key, position, has_gauss, gauss = module.get_state()
    return _json([name, key.tobytes().hex(), int(position), int(has_gauss), float(gauss).hex()])


def _json(value: Any) -> bytes:
    return canonical(value).encode("ascii")


def scalar(value: Any) -> Any:
    """Return a scalar as something that canonical JSON can hold exactly; floats as hex."""
    return value.hex() if isinstance(value, float) else value


def plain(tensor: torch.Tensor) -> torch.Tensor:
    """Return what has the bytes: of a sharded tensor this rank's part, of one that torch.func transforms its value."""
    while _FUNCTIONS.is_functorch_wrapped_tensor(tensor):
        tensor = _FUNCTIONS.get_unwrapped(tensor)
    local = getattr(tensor, "_local_tensor", None)
    return local if isinstance(local, torch.Tensor) else tensor


class Collector:
    """Names the parameters, buffers and optimizer state of a process, and collects them."""

    def __init__(self) -> None:
        self.modules: list = []
        self.parameters: list[tuple[str, dict, str]] = []  # (name, the module's own dictionary, key)
        self.buffers: list[tuple[str, dict, str]] = []
        self.optimizers: list[ReferenceType] = []
        self.schedulers: list[ReferenceType] = []
        self.untouched: dict[str, bytes | None] = {}
        self.not_seen: set[str] = set()
        self._held: list = []

    def baseline(self, name: str, state: bytes | None) -> None:
        """Remember a generator's state at its import: one that nobody seeds or draws from says nothing."""
        self.untouched.setdefault(name, state)

    def add_module(self, module: torch.nn.Module) -> None:
        """Name the tensors of an outermost module after its own names for them."""
        self.modules.append(module)
        self.refresh()

    def refresh(self) -> None:
        """Walk the modules again: parameters can be replaced (a load that assigns, an adapter that is added)."""
        self.parameters, self.buffers, seen = [], [], set()
        for number, root in enumerate(self.modules, 1):
            prefix = "" if number == 1 else f"{type(root).__name__}#{number}."
            for path, module in root.named_modules():
                for own, target in ((module._parameters, self.parameters), (module._buffers, self.buffers)):
                    for key, tensor in own.items():
                        if tensor is not None and id(tensor) not in seen:
                            seen.add(id(tensor))
                            name = prefix + (f"{path}.{key}" if path else key)
                            target.append((name, own, key))

    def add_optimizer(self, optimizer: Any) -> None:
        """Take note of an optimizer, in the order of construction."""
        if all(known() is not optimizer for known in self.optimizers):
            self.optimizers.append(ref(optimizer))

    def add_scheduler(self, scheduler: Any) -> None:
        """Take note of a learning-rate scheduler, in the order of construction."""
        self.schedulers.append(ref(scheduler))

    def hold(self, optimizer: Any) -> None:
        """Keep an optimizer that has stepped alive until the end of the process, when its state is read once more."""
        if all(held is not optimizer for held in self._held):
            self._held.append(optimizer)

    def live_optimizers(self) -> list[tuple[int, Any]]:
        """Return (number, optimizer), numbered in the order of construction."""
        live = (known() for known in self.optimizers)
        return list(enumerate(optimizer for optimizer in live if optimizer is not None))

    def _named(self) -> tuple[dict[str, torch.Tensor], dict[int, str]]:
        """Return all parameters by name, and the names by identity, those that only an optimizer knows included."""
        by_name = {name: own[key] for name, own, key in self.parameters if own.get(key) is not None}
        names = {id(parameter): name for name, parameter in by_name.items()}
        for number, optimizer in self.live_optimizers():
            for g, group in enumerate(optimizer.param_groups):
                for i, parameter in enumerate(group["params"]):
                    if id(parameter) not in names:
                        names[id(parameter)] = name = f"optimizer{number}.{g}.{i}"
                        by_name[name] = parameter
        return by_name, names

    def weights(self) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
        """Return the trainable parameters (a gradient is wanted, or an optimizer has them) and the frozen ones."""
        by_name, names = self._named()
        owned = {
            names[id(p)] for _, optimizer in self.live_optimizers() for g in optimizer.param_groups for p in g["params"]
        }
        trainable: dict[str, torch.Tensor] = {}
        frozen: dict[str, torch.Tensor] = {}
        for name, parameter in by_name.items():
            (trainable if parameter.requires_grad or name in owned else frozen)[name] = parameter
        return trainable, frozen

    def params(self) -> Items:
        return self._tensors(self.weights()[0])

    def frozen(self) -> Items:
        return self._tensors(self.weights()[1])

    def buffer_tensors(self) -> Items:
        return self._tensors({name: own[key] for name, own, key in self.buffers if own.get(key) is not None})

    def grads(self, only: Any = None, scale: Any = None) -> Items:
        """Return the gradients of the trainable parameters, or of one optimizer's.

        Args:
            only: an optimizer whose parameters are meant; all trainable ones if None.
            scale: a scalar tensor to divide them by, for an optimizer that unscales in its own kernel.
        """
        by_name, names = self._named()
        if only is None:
            chosen = by_name
        else:
            chosen = {names[id(p)]: p for group in only.param_groups for p in group["params"]}
        grads = {name: p.grad for name, p in chosen.items() if p.grad is not None}
        if scale is not None:
            with torch.no_grad():
                inverse = scale.double().reciprocal().float()
                grads = {name: grad * inverse.to(grad.device) for name, grad in grads.items()}
        return self._tensors(grads)

    def optim(self) -> Items:
        """Return the optimizers' state: `<parameter>.<key>`, from the second optimizer on with its number before it."""
        _, names = self._named()
        items: Items = {}
        for number, optimizer in self.live_optimizers():
            prefix = f"optimizer{number}/" if number else ""
            for group in optimizer.param_groups:
                for parameter in group["params"]:
                    state = optimizer.state.get(parameter)
                    if state:
                        self._add(items, prefix + names[id(parameter)], state)
        return items

    def moments(self) -> Items:
        """Return the floating-point tensors of the optimizers' state that hold something, but for their `step`."""
        return {
            name: value
            for name, value in self.optim().items()
            if isinstance(value, torch.Tensor)
            and value.is_floating_point()
            and not name.endswith(".step")
            and bool((value != 0).any())
        }

    def optimizer_step(self) -> int:
        """Return the largest `step` in any optimizer's own state, 0 if there is none."""
        largest = 0
        for _, optimizer in self.live_optimizers():
            for state in list(optimizer.state.values()):
                step = state.get("step") if isinstance(state, Mapping) else None
                if isinstance(step, int | float) or (isinstance(step, torch.Tensor) and step.numel() == 1):
                    largest = max(largest, int(step))
        return largest

    def rates(self) -> list[float]:
        """Return the learning rates as applied, one for each parameter group."""
        return [rate for _, optimizer in self.live_optimizers() for rate in self.rates_of(optimizer)]

    def rates_of(self, optimizer: Any) -> list[float]:
        """Return one optimizer's learning rates."""
        return [float(group["lr"]) for group in optimizer.param_groups if "lr" in group]

    def lr(self) -> Items:
        """Return the groups' numbers (learning rate, betas, weight decay ...) and the schedulers' public state.

        Private attributes of a scheduler count calls, not progress, and `initial_lr` is the scheduler's own note.
        """
        items: Items = {}
        for number, optimizer in self.live_optimizers():
            for g, group in enumerate(optimizer.param_groups):
                for key, value in group.items():
                    if key not in ("params", "initial_lr") and _is_numeric(value):
                        self._add(items, f"optimizer{number}.{g}.{key}", value)
        live = (known() for known in self.schedulers)
        for number, scheduler in enumerate(s for s in live if s is not None):
            for key, value in vars(scheduler).items():
                if (not key.startswith("_") or key == "_last_lr") and _is_numeric(value):
                    self._add(items, f"scheduler{number}.{key}", value)
        return items

    def rng(self) -> Items:
        """Return the states of the global generators: torch's, CUDA's if in use, Python's and numpy's if touched."""
        items: Items = {"torch": torch.default_generator.get_state()}
        for name, state in (("python", python_state()), ("numpy", numpy_state())):
            if state is not None and state != self.untouched.get(name):
                items[name] = state
        if torch.cuda.is_initialized():
            for index, generator in enumerate(torch.cuda.default_generators):
                items[f"cuda:{index}"] = generator.get_state()
        return items

    def inputs(self, args: tuple, kwargs: dict) -> Items:
        """Return the leaves of what a module was given that need no gradient."""
        items: Items = {}
        for key, value in (*enumerate(args), *kwargs.items()):
            self._add(items, str(key), value)
        return items

    def _tensors(self, named: dict[str, torch.Tensor]) -> Items:
        items: Items = {}
        for name, tensor in named.items():
            self._add(items, name, tensor, is_graph_wanted=True)
        return items

    def _add(self, items: Items, name: str, value: Any, is_graph_wanted: bool = False) -> None:
        """Add a value's leaves under `name`: mappings and sequences are walked, unknown objects are not seen."""
        if isinstance(value, torch.Tensor):
            if value.requires_grad and not is_graph_wanted:
                return
            value = plain(value)
            if digest.is_supported(value):
                items[name] = value
            elif value.layout is torch.sparse_coo:
                items[f"{name}.indices"], items[f"{name}.values"] = value._indices(), value._values()
            else:
                self.not_seen.add(name)
        elif isinstance(value, bool | int | float | str):
            items[name] = _json(scalar(value))
        elif isinstance(value, Mapping):
            for key, inner in value.items():
                self._add(items, f"{name}.{key}", inner, is_graph_wanted)
        elif isinstance(value, list | tuple):
            if len(value) > 8 and all(isinstance(inner, bool | int | float | str) for inner in value):
                items[name] = _json([scalar(inner) for inner in value])
                return
            for key, inner in enumerate(value):
                self._add(items, f"{name}.{key}", inner, is_graph_wanted)
        elif type(value).__module__ == "numpy" and hasattr(value, "__array_interface__"):
            self._add(items, name, torch.as_tensor(value))
        elif value is not None:
            self.not_seen.add(f"{name} ({type(value).__name__})")


def _is_numeric(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return all(_is_numeric(inner) for inner in value)
    return isinstance(value, int | float | torch.Tensor) and not isinstance(value, bool)
