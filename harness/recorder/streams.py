"""What each stream consists of: named tensors and named JSON values, collected from the live objects.

Collecting reads and never writes: no generator is drawn from, no state is created, no lazy object initialised. What
has no bytes to read (a quantized tensor, an unknown object) is left out and named in `Collector.not_seen`.
"""

import itertools
import sys
from array import array
from collections.abc import Mapping
from typing import Any
from weakref import ReferenceType, WeakSet, ref

import torch
from _harness_recorder import digest
from _harness_recorder.ledger import canonical

Items = dict[str, digest.Value]
_FUNCTIONS = torch._C._functorch
MAX_ATTRIBUTES = 4000
MAX_ATTRIBUTE_ENTRIES = 16
MAX_ATTRIBUTE_BYTES = 64 << 20


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
        self.built: dict[int, ReferenceType] = {}  # every module with parameters, in the order of construction
        self.parents: dict[int, ReferenceType] = {}
        self.parameters: list[tuple[str, dict, str]] = []  # (name, the module's own dictionary, key)
        self.buffers: list[tuple[str, dict, str]] = []
        self.named_modules: list[tuple[str, ReferenceType]] = []  # kept by the training alone
        self.optimizers: list[ReferenceType] = []
        self.schedulers: list[ReferenceType] = []
        self.untouched: dict[str, bytes | None] = {}
        self.not_seen: set[str] = set()
        self._called: set[int] = set()  # ids of the modules that took part in the last step
        self._held: list = []  # the optimizers that did
        self._inner: WeakSet = WeakSet()  # those that step inside another one's step

    def baseline(self, name: str, state: bytes | None) -> None:
        """Remember a generator's state at its import: one that nobody seeds or draws from says nothing."""
        self.untouched.setdefault(name, state)

    def add_built(self, module: torch.nn.Module, child: torch.nn.Module | None = None) -> None:
        """Take note of a module that got a parameter or a child."""
        known = self.built.get(id(module))
        if known is None or known() is not module:
            self.built.pop(id(module), None)  # another one had this id
            self.parents.pop(id(module), None)
            self.built[id(module)] = ref(module)
        if child is not None:
            self.parents[id(child)] = ref(module)

    def add_module(self, module: torch.nn.Module) -> None:
        """Name the tensors of an outermost module after its own names for them."""
        self.modules = self._ordered([*self.modules, module])
        self.called(module)
        self.refresh()

    def called(self, module: torch.nn.Module) -> None:
        """Take note that a module takes part in this step."""
        self._called.add(id(module))

    def release(self) -> None:
        """Let go of models and optimizers of the past, for a resume that begins here does not have them.

        Kept until here is what took part in the last step: at the end of the process it is read once more. From here on
        counts what the training itself still keeps, and of models those that are called or have an optimizer.
        """
        known = [(ref(module), id(module) in self._called) for module in self.modules]
        num, self.modules, self._held, self._called = len(known), [], [], set()
        alive = [(module, is_called) for one, is_called in known if (module := one()) is not None]
        self.modules = [module for module, is_called in alive if is_called or self._is_trained(module)]
        if len(self.modules) != num:
            self.refresh()

    def _is_trained(self, module: torch.nn.Module) -> bool:
        owned = {id(p) for _, optimizer in self.live_optimizers() for g in optimizer.param_groups for p in g["params"]}
        return any(id(parameter) in owned for parameter in module.parameters())

    def _ordered(self, modules: list) -> list:
        """Return what an optimizer has first, wholes before their parts, in the order of construction.

        Copies are never seen to be constructed.
        """
        order = {number: place for place, number in enumerate(self.built)}
        parts = {id(part) for module in modules for part in itertools.islice(module.modules(), 1, None)}
        return sorted(modules, key=lambda m: (not self._is_trained(m), id(m) in parts, order.get(id(m), -1)))

    def add_first(self, module: torch.nn.Module | None) -> None:
        """Name the tensors of a module that is called first, and of all others that an optimizer has parameters of.

        Which one is called first may be another one after a resume (two networks that take turns), so with several
        they are numbered in the order of construction.
        """
        if module is not None:
            self.add_module(module)
        known = {id(own[key]) for _, own, key in self.parameters}
        owned = {id(p) for _, optimizer in self.live_optimizers() for g in optimizer.param_groups for p in g["params"]}
        built = [found for known_module in list(self.built.values()) if (found := known_module()) is not None]
        missing = owned - known
        roots = [self._root(m) for m in built if any(id(p) in missing for p in m.parameters(recurse=False))]
        inside = {id(m) for one in roots for m in one.modules()}
        called = [m for m in self.modules if id(m) not in inside]
        unique = {id(m): m for m in (*called, *roots)}
        self.modules = self._ordered(list(unique.values()))
        self.refresh()

    def holds(self, module: torch.nn.Module) -> bool:
        """Say whether a module is one of those that were called, or has one in it."""
        inside = {id(one) for one in module.modules()}
        return any(id(known) in inside for known in self.modules)

    def is_known(self, module: torch.nn.Module) -> bool:
        """Say whether a module that is called need not be added: it was, or it has no tensors of its own to name."""
        if any(module is known for known in self.modules):
            return True
        return next(module.parameters(), None) is None and next(module.buffers(), None) is None

    def _root(self, module: torch.nn.Module) -> torch.nn.Module:
        """Return the outermost module that a module still is a part of."""
        for _ in range(1000):
            known = self.parents.get(id(module))
            parent = known() if known is not None else None
            if parent is None or all(child is not module for child in parent.children()):
                return module
            module = parent
        return module

    def refresh(self) -> None:
        """Walk the modules again: parameters can be replaced (a load that assigns, an adapter that is added)."""
        self.parameters, self.buffers, self.named_modules, seen = [], [], [], set()
        with_parameters = [root for root in self.modules if next(root.parameters(), None) is not None]
        others = [root for root in self.modules if all(root is not one for one in with_parameters)]
        for number, root in enumerate((*with_parameters, *others), 1):
            prefix = "" if number == 1 else f"{type(root).__name__}#{number}."
            for path, module in root.named_modules():
                self.named_modules.append((prefix + path, ref(module)))
                for own, target in ((module._parameters, self.parameters), (module._buffers, self.buffers)):
                    for key, tensor in own.items():
                        if tensor is not None and id(tensor) not in seen:
                            seen.add(id(tensor))
                            name = prefix + (f"{path}.{key}" if path else key)
                            target.append((name, own, key))

    def add_optimizer(self, optimizer: Any) -> None:
        """Take note of an optimizer, in the order of construction."""
        if all(known() is not optimizer for known in self.optimizers):
            self.optimizers = [known for known in self.optimizers if known() is not None] + [ref(optimizer)]

    def add_scheduler(self, scheduler: Any) -> None:
        """Take note of a learning-rate scheduler, in the order of construction."""
        self.schedulers.append(ref(scheduler))

    def hold(self, optimizer: Any) -> None:
        """Keep an optimizer that has stepped alive until the next step: the process may end here."""
        if all(held is not optimizer for held in self._held):
            self._held.append(optimizer)

    def add_inner(self, optimizer: Any) -> None:
        """Take note of an optimizer that another one wraps: no round of steps waits for it."""
        self.hold(optimizer)
        self._inner.add(optimizer)

    def awaited(self) -> list:
        """Return the optimizers that a round of steps waits for: none that is wrapped or that a newer one replaced."""
        outer = [optimizer for _, optimizer in self.live_optimizers() if optimizer not in self._inner]
        owner = {id(p): optimizer for optimizer in outer for group in optimizer.param_groups for p in group["params"]}
        return [o for o in outer if all(owner[id(p)] is o for group in o.param_groups for p in group["params"])]

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
            prefix = _prefix(number)
            for group in optimizer.param_groups:
                for parameter in group["params"]:
                    state = optimizer.state.get(parameter)
                    if state:
                        self._add(items, prefix + names[id(parameter)], state)
        return items

    def moments(self) -> dict[str, torch.Tensor]:
        """Return the floating-point tensors of the optimizers' state that hold something and that an update reads.

        That is what is as large as the largest of its parameter's state, unless it lies in a list: of a history the
        oldest may be dropped unread, and scalars (`step`, a step length) may be computed anew.
        """
        _, names = self._named()
        moments = {}
        for number, optimizer in self.live_optimizers():
            for parameter, state in optimizer.state.items():
                found = {k: plain(v) for k, v in state.items() if isinstance(v, torch.Tensor) and v.is_floating_point()}
                largest = max((value.numel() for value in found.values()), default=0)
                for key, value in found.items():
                    if key != "step" and value.numel() == largest and bool((value != 0).any()):
                        moments[f"{_prefix(number)}{names.get(id(parameter), '')}.{key}"] = value
        return moments

    def without_optimizer(self, optimizer: Any) -> list[str]:
        """Return the parameters that have gradients and no optimizer, if none of this one's own has a gradient."""
        if any(p.grad is not None for group in optimizer.param_groups for p in group["params"]):
            return []
        owned = {id(p) for _, known in self.live_optimizers() for group in known.param_groups for p in group["params"]}
        named = self._named()[0].items()
        return sorted(name for name, p in named if p.grad is not None and id(p) not in owned)

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
                    if key not in ("params", "initial_lr") and is_numeric(value):
                        self._add(items, f"optimizer{number}.{g}.{key}", value)
        live = (known() for known in self.schedulers)
        for number, scheduler in enumerate(s for s in live if s is not None):
            for key, value in vars(scheduler).items():
                if (not key.startswith("_") or key == "_last_lr") and is_numeric(value):
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

    def attributes(self) -> dict[str, Any]:
        """Return the numbers and tensors that modules hold beside parameters and buffers: counters, rates, queues."""
        found: dict[str, Any] = {}
        for path, known in self.named_modules:
            module = known()
            for key, value in list(vars(module).items()) if module is not None else ():
                if key != "training" and len(found) < MAX_ATTRIBUTES:
                    found |= _leaves(f"{path}.{key}" if path else key, value)
        return found

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
            if torch.nn.parameter.is_lazy(value):  # without a shape until the first forward
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


def _prefix(number: int) -> str:
    return f"optimizer{number}/" if number else ""


def _leaves(name: str, value: Any) -> dict[str, Any]:
    """Return an attribute's numbers (floats as hex) and tensors; of a sequence the first, whatever else it holds."""
    inner = {name: value}
    if isinstance(value, list | tuple):
        inner = {f"{name}.{key}": one for key, one in enumerate(value[:MAX_ATTRIBUTE_ENTRIES])}
    return {key: scalar(one) for key, one in inner.items() if isinstance(one, int | float) or _is_small(one)}


def _is_small(value: Any) -> bool:
    is_plain = isinstance(value, torch.Tensor) and not value.requires_grad and digest.is_supported(value)
    return is_plain and value.nbytes <= MAX_ATTRIBUTE_BYTES


def is_numeric(value: Any) -> bool:
    """Say whether a value is a number, a tensor, or a sequence of them."""
    if isinstance(value, list | tuple):
        return all(is_numeric(inner) for inner in value)
    return isinstance(value, int | float | torch.Tensor) and not isinstance(value, bool)
