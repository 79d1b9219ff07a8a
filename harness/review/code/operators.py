"""Operators without an order of additions, by name, and what to take instead; flash and fused attention.

The list is that of `torch.use_deterministic_algorithms`: what raises there when it is called on CUDA or differentiated
there, and what is replaced by a deterministic version where that mode is on. Methods of tensors are told by names that
nothing else has.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache

from harness.review.code.switches import speaks_of_determinism, uses_gpu
from harness.review.code.training import is_test, near, trains, without_gradient
from harness.review.finding import Finding, finding
from harness.review.source.execution import Site
from harness.review.source.module import Module
from harness.review.source.nodes import last_name, words
from harness.review.source.program import Entry, Program

Applies = Callable[[Site], bool]


@dataclass(frozen=True, slots=True)
class Operator:
    """One operator: when it applies, what of it has no order, and what to take instead."""

    what: str
    instead: str
    applies: Applies = lambda _: True


def _mode(*modes: str, position: int = 99) -> Applies:
    return lambda site: site.constant(site.argument("mode", position)) in modes


_LINEAR = ("linear", "bilinear", "bicubic", "trilinear")
_BACKWARD = "its backward pass on CUDA adds with atomics"
_POOL = Operator(_BACKWARD, "a pooling with fixed windows, or a mean over the dimensions for size 1")
_GRID = Operator(_BACKWARD, "sampling on the CPU, in the data's workers")
_UNPOOL = Operator("on CUDA it writes in the order in which threads arrive", "an interpolation with mode nearest")
_PAD = Operator(_BACKWARD, "constant padding")
_CTC = Operator(_BACKWARD, "the loss on the CPU")
_RESIZE = "mode nearest, or resizing in the data's workers"
_FUNCTIONS: dict[str, Operator] = {
    **dict.fromkeys((f"torch.nn.{name}" for name in words("AdaptiveAvgPool2d AdaptiveAvgPool3d AvgPool3d")), _POOL),
    **dict.fromkeys(
        (f"torch.nn.{name}" for name in words("AdaptiveMaxPool2d FractionalMaxPool2d FractionalMaxPool3d")), _POOL
    ),
    **dict.fromkeys(
        (f"torch.nn.functional.{name}" for name in words("adaptive_avg_pool2d adaptive_avg_pool3d avg_pool3d")), _POOL
    ),
    **dict.fromkeys((f"torch.nn.MaxUnpool{d}d" for d in "123"), _UNPOOL),
    **dict.fromkeys((f"torch.nn.{kind}Pad{d}d" for kind in ("Reflection", "Replication") for d in "123"), _PAD),
    "torch.nn.functional.pad": Operator(_BACKWARD, "constant padding", _mode("reflect", "replicate", position=2)),
    "torch.nn.CTCLoss": _CTC,
    "torch.nn.functional.ctc_loss": _CTC,
    "torch.nn.functional.grid_sample": _GRID,
    "torch.nn.functional.interpolate": Operator(_BACKWARD, _RESIZE, _mode(*_LINEAR, position=3)),
    "torch.nn.Upsample": Operator(_BACKWARD, _RESIZE, _mode(*_LINEAR, position=2)),
    "torch.nn.UpsamplingBilinear2d": Operator(_BACKWARD, _RESIZE),
    "torch.nn.EmbeddingBag": Operator(_BACKWARD, "mode mean or sum", _mode("max", position=5)),
    "torch.histc": Operator("on CUDA it counts with atomics", "torch.bucketize and torch.bincount on the CPU"),
    "torch.bincount": Operator(
        "on CUDA it adds the weights with atomics",
        "a product with a one-hot matrix",
        lambda site: site.argument("weights", 1) is not None,
    ),
}


def _meets(site: Site) -> bool:
    """Whether two additions can meet in one place: not where each row has one index, `index.unsqueeze(-1)`."""
    index = site.argument("index", 1)
    if isinstance(index, ast.Call) and isinstance(index.func, ast.Attribute) and index.func.attr == "unsqueeze":
        return [site.constant(one) for one in index.args] != [-1]
    return True


def _accumulates(site: Site) -> bool:
    return site.constant(site.argument("accumulate", 2)) is True


def _reduces(site: Site) -> bool:
    """`scatter_reduce` by a sum, a mean or a product; the largest and the smallest have no order to lose."""
    return site.constant(site.argument("reduce", 3)) in ("sum", "mean", "prod")


_ATOMICS = "on CUDA it adds floating-point numbers with atomics"
_ADD = "a product with a one-hot matrix, or a sorted segment sum"
_METHODS: dict[str, Operator] = {
    **dict.fromkeys(("index_add", "index_add_"), Operator(_ATOMICS, _ADD)),
    **dict.fromkeys(("scatter_add", "scatter_add_"), Operator(_ATOMICS, _ADD, _meets)),
    **dict.fromkeys(("scatter_reduce", "scatter_reduce_"), Operator(_ATOMICS, "a sorted segment sum", _reduces)),
    "index_put_": Operator(_ATOMICS, "a sorted segment sum", _accumulates),
}
_FLASH = words(
    "flash_attn_func flash_attn_varlen_func flash_attn_qkvpacked_func flash_attn_varlen_qkvpacked_func "
    "flash_attn_kvpacked_func flash_attn_varlen_kvpacked_func"
)


def check_operators(entry: Entry) -> Iterator[Finding]:
    """REP306 and REP308 in a program that trains, may run on a GPU, and asks nowhere for deterministic algorithms."""
    if not trains(entry):
        return
    modules = [module for module in entry.closure if not is_test(module)]
    for module in modules:
        yield from _flash(entry.program, module)
    if not any(_orders_attention(module) for module in modules):
        yield from (finding for module in modules for finding in _flash_by_name(entry.program, module))
    if not uses_gpu(entry) or any(speaks_of_determinism(module) for module in entry.closure):
        return
    for module in near(entry):
        yield from _operators(entry.program, module)


def _operators(program: Program, module: Module) -> Iterator[Finding]:
    """One finding for each operator of a file, at its first place."""
    seen: set[str] = set()
    names = {name.rpartition(".")[2] for name in _FUNCTIONS} | _METHODS.keys()
    for site in program.calls(module, names):
        name = last_name(site.node.func)
        operator = _FUNCTIONS.get(site.name) or _method(site, name)
        if operator is None or name in seen or without_gradient(module, site.node) or not operator.applies(site):
            continue
        if name[0].islower() and not _is_in_forward(site):
            continue
        seen.add(name)
        message = f"{name}: {operator.what}, and this program never asks for deterministic algorithms"
        fix = f"Call torch.use_deterministic_algorithms(True), or take {operator.instead}."
        yield finding("REP306", site.place, message, fix=fix, proven=False)


def _is_in_forward(site: Site) -> bool:
    """Whether a call stands where gradients are taken: in a method of a class with a `forward`, or in a loss."""
    name, owner = site.function, site.scope.enclosing_class
    return "loss" in name or "forward" in name or (owner is not None and "forward" in owner.bindings)


def _method(site: Site, name: str) -> Operator | None:
    """A method of a tensor, or torch's function of that name; not one that the tree or another library defines."""
    is_torch = site.meaning is None or site.name.startswith("torch.")
    return _METHODS.get(name) if is_torch and isinstance(site.node.func, ast.Attribute) else None


@lru_cache(maxsize=4096)
def _flash(program: Program, module: Module) -> tuple[Finding, ...]:
    """`flash_attn_func(...)` of the library itself without `deterministic=`: one finding for a file."""
    for site in program.calls(module, _FLASH) if "flash_attn" in module.text else ():
        if not site.name.startswith(("flash_attn.", "flash_attn_interface.")) or without_gradient(module, site.node):
            continue
        if site.is_open or site.argument("deterministic") is not None:
            continue
        message = (
            f"{last_name(site.node.func)} is called without deterministic=True: its backward pass adds with atomics"
        )
        return (finding("REP308", site.place, message, proven=site.is_certain),)
    return ()


@lru_cache(maxsize=4096)
def _orders_attention(module: Module) -> bool:
    """Whether a file speaks of what makes transformers pass deterministic=True on."""
    return "FLASH_ATTENTION_DETERMINISTIC" in module.text or "full_determinism" in module.text


@lru_cache(maxsize=4096)
def _flash_by_name(program: Program, module: Module) -> tuple[Finding, ...]:
    """`attn_implementation="flash_attention_2"`: one finding for a file."""
    for site in program.calls(module, {"from_pretrained", "from_config"}) if "flash_attention_" in module.text else ():
        value = site.constant(site.argument("attn_implementation"))
        if value in ("flash_attention_2", "flash_attention_3"):
            message = (
                f"{value} adds the gradient of the queries with atomics, and nothing in this program sets "
                "FLASH_ATTENTION_DETERMINISTIC"
            )
            return (finding("REP308", site.place, message, proven=False),)
    return ()
