"""Every operator of some steps, with digests of what goes into it and what comes out, for `harness diagnose`.

A dispatch mode sees what torch computes in the training's own thread and in its backward; what other threads and
other libraries compute shows as tensors that no operator made. Nothing is drawn and no bit moves.
Source of the mode: https://docs.pytorch.org/docs/stable/notes/extending.html#extending-torch-with-mode
"""

import itertools
import os
import sys
from collections.abc import Iterable, Iterator
from types import FrameType
from typing import Any

import torch
from _harness_recorder import digest, streams
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode

MAX_OPERATORS = 200_000
MAX_ARGUMENTS = 300  # characters
OWN_CODE = (os.path.dirname(torch.__file__) + os.sep, os.path.dirname(__file__) + os.sep, "<")
UNINITIALISED = frozenset("empty empty_like new_empty empty_strided new_empty_strided empty_permuted resize_".split())
OVERWRITING = frozenset(
    "copy_ fill_ zero_ normal_ uniform_ random_ bernoulli_ exponential_ geometric_ log_normal_ cauchy_".split()
)
PLAIN = (bool, int, float, complex, str, torch.dtype, torch.device, torch.layout, torch.memory_format, type(None))

Source = tuple[str, str | int]
"""Where a tensor comes from: a stream and its name there; or `op`, or `empty` for unfilled memory, and a place."""


class Operators(TorchDispatchMode):
    """Notes operators from the first forward of step `first_step` on; `take` gives those that are new."""

    def __init__(self, session: Any, first_step: int) -> None:
        super().__init__()
        self.session, self.first_step = session, first_step
        self.rows: list[dict] = []
        self.num_taken = 0
        self.modules: list[str] = []
        self.forward: dict[int, tuple[str, str]] = {}  # module and line of the operator that made an autograd node
        self.sources: dict[int, tuple[Any, Source]] = {}  # by storage; the reference keeps its address from reuse
        collect = session.collect
        self.module_names = {
            id(module): name for name, known in collect.named_modules if (module := known()) is not None
        }
        trainable, frozen = collect.weights()
        self.parameter_names = {id(parameter): name for name, parameter in (trainable | frozen).items()}
        attributes = {name: value for name, value in collect.attributes().items() if isinstance(value, torch.Tensor)}
        state = (("attribute", attributes), ("frozen", collect.frozen()), ("buffer", collect.buffer_tensors()))
        for stream, items in (
            *state,
            ("grad", collect.grads()),
            ("optim", collect.optim()),
            ("param", collect.params()),
        ):
            self.name(stream, items)

    def start(self) -> None:
        """Begin to see operators, and which module's forward they are part of."""
        modules = torch.nn.modules.module
        self.hooks = [
            modules.register_module_forward_pre_hook(lambda module, _: self.modules.append(self._name_of(module))),
            modules.register_module_forward_hook(self._forward_over, always_call=True),
        ]
        if hasattr(torch.compiler, "set_stance"):  # compiled code has no operators to see
            torch.compiler.set_stance("force_eager")
        self.__enter__()

    def stop(self) -> None:
        """See no more operators."""
        for hook in self.hooks:
            hook.remove()
        if hasattr(torch.compiler, "set_stance"):
            torch.compiler.set_stance("default")
        self.__exit__(None, None, None)

    def take(self, step: int) -> list[dict]:
        """Return the operators since the last call: those of a step, and of what came between it and the one before."""
        rows, self.rows = self.rows, []
        self.num_taken += len(rows)
        return [{"step": step, **row} for row in rows]

    def name(self, stream: str, items: streams.Items) -> None:
        """Give tensors the names that the ledger has for them."""
        for name, tensor in items.items():
            if isinstance(tensor, torch.Tensor):
                self._note_source(streams.plain(tensor), (stream, name))

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        kwargs = kwargs or {}
        if self.session.is_busy or not self.session.is_active or not self._is_noted(func, args, kwargs):
            return func(*args, **kwargs)
        row = self._safely(lambda: self._before(func, args, kwargs))
        result = func(*args, **kwargs)
        if row is not None:
            self._safely(lambda: self._after(row, func, args, kwargs, result))
        return result

    def _safely(self, work: Any) -> Any:
        try:
            return work()
        except Exception as error:
            self.session.fail(error)
            return None

    def _is_noted(self, func: Any, args: tuple, kwargs: dict) -> bool:
        """Say whether an operator computes something: views and profilers do not, and what is traced has no bits."""
        is_view = any(r.alias_info is not None and not r.alias_info.is_write for r in func._schema.returns)
        is_traced = any(tensor.device.type == "meta" for tensor in _tensors((args, kwargs)))
        is_profiling = func.namespace == "profiler"
        return not is_view and not is_traced and not is_profiling and self.num_taken < MAX_OPERATORS

    def _before(self, func: Any, args: tuple, kwargs: dict) -> dict:
        own_inputs = [value for _, value, is_read in _arguments(func, args, kwargs) if is_read]
        tensors = list(_tensors(own_inputs))
        module, line = self._place()
        return {
            "name": str(func),
            "phase": self._phase(),
            "module": module,
            "line": line,
            "arguments": _text(own_inputs),
            "inputs": [[*one, self._source_of(t)] for one, t in zip(_digests(tensors), tensors, strict=True)],
            "generator": self._generator(func, args, kwargs),
        }

    def _after(self, row: dict, func: Any, args: tuple, kwargs: dict, result: Any) -> None:
        if (generator := row.pop("generator")) is not None:
            name, one, before = generator
            if one.get_state().ne(before).any():  # else nothing was drawn: its state is no input
                (entry,) = _digests([before])
                row["inputs"].append([*entry, ("rng", name)])
        written = [value for is_written, value, _ in _arguments(func, args, kwargs) if is_written]
        unique = {id(tensor): tensor for tensor in _tensors((written, result))}
        place, is_empty = self.num_taken + len(self.rows), func._schema.name.partition("::")[2] in UNINITIALISED
        for tensor in unique.values():
            known = self._source_of(tensor)
            is_still_empty = known is not None and known[0] == "empty"
            if is_empty or not is_still_empty:
                self._note_source(tensor, ("empty" if is_empty else "op", place))
        row["outputs"] = [] if is_empty else [*_digests(list(unique.values())), *_results(result)]
        self.rows.append(row)

    def _phase(self) -> str:
        if self.session.is_in_backward:
            return "backward"
        step = self.session.step
        is_behind = step is not None and step.num_micro_batches > 0
        is_update = self.session.nested_steps or (is_behind and not torch.is_grad_enabled() and not self.modules)
        return "update" if is_update else "forward"

    def _forward_over(self, *_: Any) -> None:
        if self.modules:
            self.modules.pop()

    def _place(self) -> tuple[str, str]:
        """Return the module and the line that an operator belongs to; in the backward those of its forward."""
        node = torch._C._current_autograd_node() if self.session.is_in_backward else None
        if node is None:
            found = self.modules[-1] if self.modules else "", _line()
            self.forward.setdefault(torch.autograd._get_sequence_nr() - 1, found)
            return found
        variable = getattr(node, "variable", None)
        if variable is not None:
            return self.parameter_names.get(id(variable), ""), ""
        return self.forward.get(node._sequence_nr(), ("", ""))

    def _name_of(self, module: torch.nn.Module) -> str:
        return self.module_names.get(id(module)) or type(module).__name__

    def _generator(self, func: Any, args: tuple, kwargs: dict) -> tuple[str, Any, torch.Tensor] | None:
        """Return the generator that an operator may draw from, and its state."""
        if torch.Tag.nondeterministic_seeded not in func.tags:
            return None
        own = next((value for value in (*args, *kwargs.values()) if isinstance(value, torch.Generator)), None)
        if own is not None:
            known = {id(torch.default_generator): "torch"}
            return known.get(id(own), "a generator of the script's own"), own, own.get_state()
        device = next((tensor.device for tensor in _tensors((args, kwargs))), kwargs.get("device"))
        if device is None or torch.device(device).type == "cpu":
            return "torch", torch.default_generator, torch.default_generator.get_state()
        index = torch.device(device).index or 0
        one = torch.cuda.default_generators[index]
        return f"cuda:{index}", one, one.get_state()

    def _source_of(self, tensor: torch.Tensor) -> Source | None:
        known = self.sources.get(tensor.untyped_storage()._cdata) if digest.is_supported(tensor) else None
        return None if known is None else known[1]

    def _note_source(self, tensor: torch.Tensor, source: Source) -> None:
        if digest.is_supported(tensor):
            storage = StorageWeakRef(tensor.untyped_storage())
            self.sources[storage.cdata] = storage, source


def _tensors(value: Any) -> Iterator[torch.Tensor]:
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, list | tuple):
        yield from itertools.chain.from_iterable(map(_tensors, value))
    elif isinstance(value, dict):
        yield from _tensors(list(value.values()))


def _arguments(func: Any, args: tuple, kwargs: dict) -> Iterator[tuple[bool, Any, bool]]:
    """Yield (is it written, value, is it read) for each argument that was given."""
    overwrites = func._schema.name.partition("::")[2] in OVERWRITING
    for place, argument in enumerate(func._schema.arguments):
        if place < len(args) or argument.name in kwargs:
            value = args[place] if place < len(args) else kwargs[argument.name]
            is_written = argument.alias_info is not None and argument.alias_info.is_write
            yield is_written, value, not is_written or not (overwrites or argument.is_out)


def _digests(tensors: list[torch.Tensor]) -> list[list]:
    """Return [dtype, shape, digest] for each tensor; no digest for what has no bytes to read."""
    seen = {str(place): tensor for place, tensor in enumerate(tensors) if digest.is_supported(tensor)}
    found = digest.launch(seen).result()
    return [
        [str(tensor.dtype).removeprefix("torch."), list(tensor.shape), found[key].digest if key in found else None]
        for key, tensor in ((str(place), tensor) for place, tensor in enumerate(tensors))
    ]


def _results(result: Any) -> list[list]:
    """Return numbers that an operator gave to Python."""
    values = result if isinstance(result, list | tuple) else [result]
    return [["number", [], repr(value)] for value in values if isinstance(value, bool | int | float | complex)]


def _text(values: Iterable[Any]) -> str:
    def shown(value: Any) -> str:
        if isinstance(value, list | tuple):
            return f"[{', '.join(map(shown, value))}]"
        return repr(value) if isinstance(value, PLAIN) else "*" if isinstance(value, torch.Tensor) else "?"

    return ", ".join(map(shown, values))[:MAX_ARGUMENTS]


def _line() -> str:
    """Return the innermost line that is neither torch's nor the recorder's, as `train.py:41`."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and frame.f_code.co_filename.startswith(OWN_CODE):
        frame = frame.f_back
    if frame is None:
        return ""
    path = frame.f_code.co_filename.rpartition("site-packages/")[2].removeprefix(os.getcwd() + os.sep)
    return f"{os.path.basename(path) if path.startswith(os.sep) else path}:{frame.f_lineno}"
