"""Switches that numerics depend on: cuDNN, deterministic algorithms, TF32, autotuning (REP301, 302, 304, 305, 307)."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import lru_cache
from itertools import islice

from harness.review.code.training import backward_calls, is_conditional, is_test, training_module
from harness.review.finding import Finding, Showing, finding, holds
from harness.review.source.execution import Site
from harness.review.source.module import Module
from harness.review.source.nodes import and_more, text_of
from harness.review.source.program import Entry, Program

_TF32 = {
    "torch.backends.cuda.matmul.allow_tf32": True,
    "torch.backends.cudnn.allow_tf32": True,
    "torch.backends.fp32_precision": "tf32",
    "torch.backends.cuda.matmul.fp32_precision": "tf32",
    "torch.backends.cudnn.fp32_precision": "tf32",
    "torch.backends.cudnn.conv.fp32_precision": "tf32",
}
_TIMED = {  # what is chosen by measured time, where it is set to True
    "torch.backends.cudnn.benchmark": ("REP301", "lets cuDNN choose its algorithms"),
    "torch._inductor.config.max_autotune": ("REP305", "chooses kernels"),
}
_WARNS = {"use_deterministic_algorithms", "set_deterministic_debug_mode", "enable_full_determinism", "Trainer"}
_TRAINERS = ("lightning.", "pytorch_lightning.", "lightning_fabric.")
_WORD = re.compile(r"[\w.-]+")
_GPU = re.compile(r"cuda|gpu|device_map|accelerat|lightning|deepspeed|fabric", re.IGNORECASE)
_ANY_DEVICE = re.compile(rf"{_GPU.pattern}|device|transformers|ignite|\.to\(|mps|xla|npu", re.IGNORECASE)
_AUTOCASTS = ("torch.autocast", "torch.amp.autocast", "torch.cuda.amp.autocast", "torch.cpu.amp.autocast")


def check_switches(program: Program, module: Module) -> Iterator[Finding]:
    """REP301, REP302, REP304 and REP305 on one file."""
    if is_test(module):
        return
    for node, name, value in _assigned(program, module, ("benchmark", "max_autotune")):
        if name in _TIMED and value is True:
            rule, does = _TIMED[name]
            yield _unless_left_out(rule, module, node, f"{name} = True {does} by measured time")
    for site in program.calls(module, {"Trainer", "flags"}):
        is_switch = site.name == "torch.backends.cudnn.flags" or site.name.startswith(_TRAINERS)
        if is_switch and site.constant(site.argument("benchmark")) is True:
            message = f"{site.name}(benchmark=True) lets cuDNN choose its algorithms by measured time"
            yield finding("REP301", site.place, message)
    for site in program.calls(module, _WARNS):
        if what := _warning(site):
            message = f"{what} warns and goes on where an operator has no deterministic version"
            yield finding("REP302", site.place, message)
    yield from _tf32(program, module)
    yield from _autotuning(program, module)


def _unless_left_out(rule: str, module: Module, node: ast.AST, message: str) -> Finding:
    """Only what no branch can leave out is proven."""
    return finding(rule, module.place(node), message, proven=not is_conditional(module, node))


def _assigned(
    program: Program, module: Module, attributes: tuple[str, ...]
) -> Iterator[tuple[ast.Assign, str, object]]:
    """Assignments to attributes of a library, `torch.backends.cudnn.benchmark = ...`: full name and constant."""
    for node in _assignments(module) if any(one in module.text for one in attributes) else ():
        for target in node.targets:
            if isinstance(target, ast.Attribute) and target.attr in attributes:
                scope = module.scope_at(node)
                base = program.resolver.resolve(target.value, scope)
                if base is not None and base.is_certain:
                    yield node, f"{base.name}.{target.attr}", program.resolver.constant(node.value, scope)


@lru_cache(maxsize=4096)
def _assignments(module: Module) -> tuple[ast.Assign, ...]:
    return tuple(node for node in module.nodes if isinstance(node, ast.Assign))


def _warning(site: Site) -> str:
    """The call that makes deterministic algorithms only warn, in words; "" for any other."""
    if site.name == "torch.use_deterministic_algorithms":
        is_off = site.constant(site.argument("mode", 0)) is False
        if site.constant(site.argument("warn_only")) is True and not is_off:
            return "torch.use_deterministic_algorithms(..., warn_only=True)"
    elif site.name == "torch.set_deterministic_debug_mode":
        mode = site.constant(site.argument("debug_mode", 0))
        if mode in ("warn", 1) and mode is not True:
            return f"torch.set_deterministic_debug_mode({mode!r})"
    elif site.name.startswith("transformers.") and site.method != "Trainer":
        if site.constant(site.argument("warn_only", 1)) is True:
            return "enable_full_determinism(..., warn_only=True)"
    elif site.name.startswith(_TRAINERS) and site.constant(site.argument("deterministic")) == "warn":
        return 'Trainer(deterministic="warn")'
    return ""


def _tf32(program: Program, module: Module) -> Iterator[Finding]:
    """One finding for a file: the first switch, and how many more."""
    found: list[tuple[ast.AST, str]] = []
    for assignment, name, value in _assigned(program, module, ("allow_tf32", "fp32_precision")):
        if name in _TF32 and value == _TF32[name]:
            found.append((assignment, f"{name} = {value!r}"))
    for site in program.calls(module, {"set_float32_matmul_precision"}):
        value = site.constant(site.argument("precision", 0))
        if site.name == "torch.set_float32_matmul_precision" and value in ("high", "medium"):
            found.append((site.node, f'torch.set_float32_matmul_precision("{value}")'))
    if found:
        node, what = min(found, key=lambda one: module.place(one[0]))
        does = "rounds the inputs of float32 products to 10 bits of mantissa, on GPUs that have TF32"
        yield _unless_left_out("REP304", module, node, f"{what}{and_more(len(found))} {does}")


def _autotuning(program: Program, module: Module) -> Iterator[Finding]:
    if "autotune" not in module.text:
        return
    for site in program.calls(module, {"compile"}):
        mode = site.constant(site.argument("mode"))
        if site.name == "torch.compile" and isinstance(mode, str) and mode.startswith("max-autotune"):
            message = f'torch.compile(mode="{mode}") chooses kernels by measured time'
            yield _unless_left_out("REP305", module, site.node, message)
    kernels = [(site, name) for site in program.calls(module, {"autotune"}) if (name := _kernel(site))]
    if kernels:
        site, name = kernels[0]
        more = and_more(len(kernels), f"more kernel{'s' if len(kernels) > 2 else ''} of this file")
        message = f"which of its configurations the kernel {name}{more} runs with is decided by measured time"
        yield finding("REP305", site.place, message)


def _kernel(site: Site) -> str:
    """The kernel that `@triton.autotune(configs=[...])` stands above; "" where there is one configuration only."""
    configs, above = site.argument("configs", 0), site.module.parents.get(site.node)
    is_fixed = isinstance(configs, ast.List | ast.Tuple) and len(configs.elts) < 2
    is_kernel = site.name == "triton.autotune" and not is_fixed
    return above.name if is_kernel and isinstance(above, ast.FunctionDef) else ""


# ----------------------------------------------------------------------------- the program
def check_deterministic_mode(entry: Entry) -> Iterator[Finding]:
    """REP307: a loop with a backward pass, and nothing in the whole program that speaks of determinism."""
    module = training_module(entry)
    if module is None or not uses_gpu(entry) or any(speaks_of_determinism(one) for one in entry.closure):
        return
    message = "this training never sets deterministic algorithms, nor cuDNN's deterministic mode"
    yield finding("REP307", module.place(backward_calls(module)[0]), message)


@lru_cache(maxsize=8)
def uses_gpu(entry: Entry) -> bool:
    """Whether anything in a program speaks of a GPU, or of a library that brings it there."""
    return any(_GPU.search(module.text) for module in entry.closure)


@lru_cache(maxsize=4096)
def speaks_of_determinism(module: Module) -> bool:
    """Whether a name, an attribute, an argument or a key of a file speaks of it; comments and sentences do not."""
    if "determinis" not in module.text.lower():
        return False
    for node in module.nodes:
        if isinstance(node, ast.Constant):
            words = node.value if isinstance(node.value, str) and _WORD.fullmatch(node.value) else ""
        else:
            words = " ".join(str(getattr(node, part, "")) for part in ("id", "attr", "arg", "name"))
        if "determinis" in words.lower():
            return True
    return False


def check_shown_switches(entry: Entry) -> Iterator[Showing]:
    """T2, T4 and T5 in a program that trains with a loop of its own: where each is set, and by what."""
    training = training_module(entry)
    if training is None:
        return
    modules = [training, *(one for one in entry.closure if one is not training and not is_test(one))]
    if not any(_ANY_DEVICE.search(module.text) for module in entry.closure):
        yield Showing(item="T2", state="does not apply", text="nothing in this program brings it onto a GPU")
    yield from (one for module in modules for one in _shown_determinism(entry.program, module))
    for item in (_shown_precision, _shown_accumulation):
        yield from islice((one for module in modules for one in item(entry.program, module)), 2)


def _shown_determinism(program: Program, module: Module) -> Iterator[Showing]:
    for node, name, value in _assigned(program, module, ("deterministic",)):
        if name == "torch.backends.cudnn.deterministic" and value is not False:
            how = "is set from the configuration" if value is ... else "is set"
            yield holds("T2", f"cuDNN's deterministic mode {how}", module.place(node))
    for site in program.calls(module, {"use_deterministic_algorithms"}):
        value = site.constant(site.argument("mode", 0))
        if site.name == "torch.use_deterministic_algorithms" and value is not False:
            how = "are asked for as the configuration says" if value is ... else "are asked for"
            yield holds("T2", f"deterministic algorithms {how}", site.place)


@lru_cache(maxsize=4096)
def _shown_precision(program: Program, module: Module) -> tuple[Showing, ...]:
    shown: list[Showing] = []
    for site in program.calls(module, {"autocast", "Accelerator", "Fabric", "Trainer"}):
        names = ("dtype", "enabled") if site.name in _AUTOCASTS else ("mixed_precision", "precision")
        given = [site.argument(name) for name in names]
        is_known = site.name.partition(".")[0] in ("torch", "accelerate", "lightning", "pytorch_lightning")
        if is_known and any(one is not None and site.constant(one) is ... for one in given):
            shown.append(holds("T4", f"{site.name} takes the precision from the configuration", site.place))
    return tuple(shown)


@lru_cache(maxsize=4096)
def _shown_accumulation(_: Program, module: Module) -> tuple[Showing, ...]:
    shown: list[Showing] = []
    for node in module.nodes if "accum" in module.text.lower() else ():
        found: ast.AST | None = None
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div | ast.Mod):
            is_loss = isinstance(node.op, ast.Mod) or "loss" in text_of(node.left).lower()
            found = node.right if is_loss else None
        elif isinstance(node, ast.For):
            found = node.iter
        elif isinstance(node, ast.keyword) and node.arg in ("gradient_accumulation_steps", "accumulate_grad_batches"):
            found = node
        if found is not None and "accum" in text_of(found).lower():
            shown.append(holds("T5", f"gradients are accumulated: {text_of(found)[:80]}", module.place(node)))
    return tuple(shown)
