"""The switches that numerics depend on: cuDNN's, deterministic algorithms, TF32, autotuning; and what they show."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import lru_cache
from itertools import islice

from harness.review.code.loops import (
    backward_calls,
    calls_named,
    is_conditional,
    is_test,
    site_of,
    text_of,
    training_module,
)
from harness.review.finding import Certainty, Finding, Showing
from harness.review.source.module import Module
from harness.review.source.program import Entry, Program

_TF32 = {
    "torch.backends.cuda.matmul.allow_tf32": (True,),
    "torch.backends.cudnn.allow_tf32": (True,),
    "torch.backends.fp32_precision": ("tf32",),
    "torch.backends.cuda.matmul.fp32_precision": ("tf32",),
    "torch.backends.cudnn.fp32_precision": ("tf32",),
    "torch.backends.cudnn.conv.fp32_precision": ("tf32",),
}
_TRAINERS = ("lightning.", "pytorch_lightning.", "lightning_fabric.")
_WORD = re.compile(r"[\w.-]+")
_GPU = re.compile(r"cuda|gpu|device_map|accelerat|lightning|deepspeed|fabric", re.IGNORECASE)
_ANY_DEVICE = re.compile(rf"{_GPU.pattern}|device|transformers|ignite|\.to\(|mps|xla|npu", re.IGNORECASE)
_AUTOCASTS = ("torch.autocast", "torch.amp.autocast", "torch.cuda.amp.autocast", "torch.cpu.amp.autocast")


def check_switches(program: Program, module: Module) -> Iterator[Finding]:
    """REP301, REP302, REP304 and REP305 on one file."""
    if is_test(module):
        return
    yield from _benchmark(program, module)
    yield from _warn_only(program, module)
    yield from _tf32(program, module)
    yield from _autotuning(program, module)


def assigned(program: Program, module: Module, last: str) -> Iterator[tuple[ast.Assign, str, object]]:
    """Assignments to an attribute of a library, `torch.backends.cudnn.benchmark = ...`: full name and constant."""
    for node in _assignments(module):
        for target in node.targets:
            if isinstance(target, ast.Attribute) and target.attr == last:
                scope = module.scope_at(node)
                base = program.resolver.resolve(target.value, scope)
                if base is not None and base.is_certain:
                    yield node, f"{base.name}.{last}", program.resolver.constant(node.value, scope)


@lru_cache(maxsize=4096)
def _assignments(module: Module) -> tuple[ast.Assign, ...]:
    return tuple(
        node
        for node in module.nodes
        if isinstance(node, ast.Assign) and any(isinstance(one, ast.Attribute) for one in node.targets)
    )


def _certainty(module: Module, node: ast.AST) -> Certainty:
    """Only what no branch can leave out is proven."""
    return "possible" if is_conditional(module, node) else "proven"


def _benchmark(program: Program, module: Module) -> Iterator[Finding]:
    if "benchmark" not in module.text:
        return
    for node, name, value in assigned(program, module, "benchmark"):
        if name == "torch.backends.cudnn.benchmark" and value is True:
            message = "torch.backends.cudnn.benchmark = True lets cuDNN choose its algorithms by measured time"
            yield Finding(rule="REP301", certainty=_certainty(module, node), place=module.place(node), message=message)
    for call in calls_named(module, {"Trainer", "flags"}):
        site = site_of(program, module, call)
        is_switch = site.name == "torch.backends.cudnn.flags" or site.name.startswith(_TRAINERS)
        if is_switch and site.constant(site.argument("benchmark")) is True:
            message = f"{site.name}(benchmark=True) lets cuDNN choose its algorithms by measured time"
            yield Finding(rule="REP301", certainty="proven", place=site.place, message=message)


def _warn_only(program: Program, module: Module) -> Iterator[Finding]:
    names = {"use_deterministic_algorithms", "set_deterministic_debug_mode", "enable_full_determinism", "Trainer"}
    for node in calls_named(module, names):
        site = site_of(program, module, node)
        what = ""
        if site.name == "torch.use_deterministic_algorithms":
            mode, warn_only = site.constant(site.argument("mode", 0)), site.constant(site.argument("warn_only"))
            if warn_only is True and mode is not False:
                what = "torch.use_deterministic_algorithms(..., warn_only=True)"
        elif site.name == "torch.set_deterministic_debug_mode":
            mode = site.constant(site.argument("debug_mode", 0))
            what = f"torch.set_deterministic_debug_mode({mode!r})" if mode in ("warn", 1) and mode is not True else ""
        elif site.name.startswith("transformers.") and site.method != "Trainer":
            if site.constant(site.argument("warn_only", 1)) is True:
                what = "enable_full_determinism(..., warn_only=True)"
        elif site.name.startswith(_TRAINERS) and site.constant(site.argument("deterministic")) == "warn":
            what = 'Trainer(deterministic="warn")'
        if what:
            message = f"{what} warns and goes on where an operator has no deterministic version"
            yield Finding(rule="REP302", certainty="proven", place=site.place, message=message)


def _tf32(program: Program, module: Module) -> Iterator[Finding]:
    """One finding for a file: the first switch, and how many more."""
    found: list[tuple[ast.AST, str]] = []
    for last in ("allow_tf32", "fp32_precision"):
        if last in module.text:
            for assignment, name, value in assigned(program, module, last):
                if value in _TF32.get(name, ()):
                    found.append((assignment, f"{name} = {value!r}"))
    for call in calls_named(module, {"set_float32_matmul_precision"}):
        site = site_of(program, module, call)
        value = site.constant(site.argument("precision", 0))
        if site.name == "torch.set_float32_matmul_precision" and value in ("high", "medium"):
            found.append((call, f'torch.set_float32_matmul_precision("{value}")'))
    if found:
        found.sort(key=lambda one: module.place(one[0]))
        node, what = found[0]
        more = f" (and {len(found) - 1} more in this file)" if len(found) > 1 else ""
        message = f"{what}{more} rounds the inputs of float32 products to 10 bits of mantissa, on GPUs that have TF32"
        yield Finding(rule="REP304", certainty=_certainty(module, node), place=module.place(node), message=message)


def _autotuning(program: Program, module: Module) -> Iterator[Finding]:
    if "autotune" not in module.text:
        return
    for call in calls_named(module, {"compile"}):
        site = site_of(program, module, call)
        mode = site.constant(site.argument("mode"))
        if site.name == "torch.compile" and isinstance(mode, str) and mode.startswith("max-autotune"):
            message = f'torch.compile(mode="{mode}") chooses kernels by measured time'
            yield Finding(rule="REP305", certainty=_certainty(module, call), place=site.place, message=message)
    for node, name, value in assigned(program, module, "max_autotune"):
        if name == "torch._inductor.config.max_autotune" and value is True:
            message = "torch._inductor.config.max_autotune = True chooses kernels by measured time"
            yield Finding(rule="REP305", certainty=_certainty(module, node), place=module.place(node), message=message)
    kernels = [(call, name) for call in calls_named(module, {"autotune"}) if (name := _kernel(program, module, call))]
    if kernels:
        more = f" (and {len(kernels) - 1} more kernels of this file)" if len(kernels) > 1 else ""
        more = more.replace("1 more kernels", "1 more kernel")
        message = f"which of its configurations the kernel {kernels[0][1]}{more} runs with is decided by measured time"
        yield Finding(rule="REP305", certainty="proven", place=module.place(kernels[0][0]), message=message)


def _kernel(program: Program, module: Module, call: ast.Call) -> str:
    """The kernel that `@triton.autotune(configs=[...])` stands above; "" where there is one configuration only."""
    site = site_of(program, module, call)
    if site.name != "triton.autotune":
        return ""
    configs, above = site.argument("configs", 0), module.parents.get(call)
    is_fixed = isinstance(configs, ast.List | ast.Tuple) and len(configs.elts) < 2
    return "" if is_fixed or not isinstance(above, ast.FunctionDef) else above.name


# ----------------------------------------------------------------------------- the program
def check_deterministic_mode(entry: Entry) -> Iterator[Finding]:
    """REP307: a loop with a backward pass, and nothing in the whole program that speaks of determinism."""
    module = training_module(entry)
    if module is None or not uses_gpu(entry) or any(speaks_of_determinism(one) for one in entry.closure):
        return
    node = backward_calls(module)[0]
    message = "this training never sets deterministic algorithms, nor cuDNN's deterministic mode"
    yield Finding(rule="REP307", certainty="proven", place=module.place(node), message=message)


@lru_cache(maxsize=8)
def uses_gpu(entry: Entry) -> bool:
    """Whether anything in a program speaks of a GPU, or of a library that brings it there."""
    return any(_mentions_gpu(module) for module in entry.closure)


@lru_cache(maxsize=4096)
def _mentions_gpu(module: Module) -> bool:
    return _GPU.search(module.text) is not None


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
    if "deterministic" not in module.text:
        return
    for node, name, value in assigned(program, module, "deterministic"):
        if name == "torch.backends.cudnn.deterministic" and value is not False:
            how = "is set from the configuration" if value is ... else "is set"
            yield Showing(item="T2", state="holds", text=f"cuDNN's deterministic mode {how}", place=module.place(node))
    for call in calls_named(module, {"use_deterministic_algorithms"}):
        site = site_of(program, module, call)
        value = site.constant(site.argument("mode", 0))
        if site.name == "torch.use_deterministic_algorithms" and value is not False:
            how = "are asked for as the configuration says" if value is ... else "are asked for"
            yield Showing(item="T2", state="holds", text=f"deterministic algorithms {how}", place=site.place)


@lru_cache(maxsize=4096)
def _shown_precision(program: Program, module: Module) -> tuple[Showing, ...]:
    shown: list[Showing] = []
    for call in calls_named(module, {"autocast", "Accelerator", "Fabric", "Trainer"}):
        site = site_of(program, module, call)
        names = ("dtype", "enabled") if site.name in _AUTOCASTS else ("mixed_precision", "precision")
        given = [site.argument(name) for name in names]
        if site.name.partition(".")[0] not in ("torch", "accelerate", "lightning", "pytorch_lightning"):
            continue
        if any(one is not None and site.constant(one) is ... for one in given):
            text = f"{site.name} takes the precision from the configuration"
            shown.append(Showing(item="T4", state="holds", text=text, place=site.place))
    return tuple(shown)


@lru_cache(maxsize=4096)
def _shown_accumulation(_: Program, module: Module) -> tuple[Showing, ...]:
    if "accum" not in module.text.lower():
        return ()
    shown: list[Showing] = []
    for node in module.nodes:
        found: ast.AST | None = None
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div | ast.Mod):
            is_loss = isinstance(node.op, ast.Mod) or "loss" in text_of(node.left).lower()
            found = node.right if is_loss else None
        elif isinstance(node, ast.For):
            found = node.iter
        elif isinstance(node, ast.keyword) and node.arg in ("gradient_accumulation_steps", "accumulate_grad_batches"):
            found = node
        if found is not None and "accum" in text_of(found).lower():
            text = f"gradients are accumulated: {text_of(found)[:80]}"
            shown.append(Showing(item="T5", state="holds", text=text, place=module.place(node)))
    return tuple(shown)
