"""What kind of program it is: does it train, is it a test, and what of it runs again and again while it trains."""

from __future__ import annotations

import ast
import re
from functools import lru_cache

from harness.review.source.execution import is_main_guard
from harness.review.source.module import Function, Module, Scope
from harness.review.source.nodes import last_name, nodes_within, receiver, words
from harness.review.source.program import Entry, Program, calls_by_name, calls_named

_TEST = re.compile(r"(^|/)(tests?|testing|test_utils)/|(^|/)(test_[^/]*|[^/]*_test|conftest)\.py$")
_BACKWARD = frozenset({"backward", "manual_backward", "backward_pass"})
_OPTIM = re.compile(r"optim|(^|_)opts?(_|$|\d)", re.IGNORECASE)
_OF_TOKENIZERS = words("BpeTrainer WordLevelTrainer WordPieceTrainer UnigramTrainer")
_BRANCH = (ast.If, ast.IfExp, ast.For, ast.AsyncFor, ast.While, ast.ExceptHandler, ast.BoolOp, ast.Match)


@lru_cache(maxsize=4096)
def is_test(module: Module) -> bool:
    """A test is no training program: what it loads and trains is thrown away."""
    return _TEST.search(module.path) is not None


@lru_cache(maxsize=32)
def near(entry: Entry, depth: int = 2) -> list[Module]:
    """The file that a program starts in, what it imports, and what that imports: not the depths of a library."""
    found = {entry.module.path: entry.module}
    newest = [entry.module]
    for _ in range(depth):
        newest = [one for module in newest for one in entry.program.imports(module) if one.path not in found]
        found.update((one.path, one) for one in newest)
    return [module for module in found.values() if not is_test(module)]


@lru_cache(maxsize=4096)
def backward_calls(module: Module) -> tuple[ast.Call, ...]:
    """`loss.backward()`, `accelerator.backward(loss)` and their like; not `torch.autograd.Function.backward`."""
    if "backward" not in module.text:
        return ()
    found = []
    for node in calls_named(module, _BACKWARD):
        around = module.scope_of_call[node].function
        is_own = around is not None and around.name.rpartition(".")[2] in ("backward", "_backward")
        if isinstance(node.func, ast.Attribute) and not is_own:
            found.append(node)
    return tuple(found)


@lru_cache(maxsize=4096)
def optimizer_steps(module: Module) -> tuple[ast.Call, ...]:
    """`optimizer.step()`, `scaler.step(optimizer)`."""
    if "step(" not in module.text:
        return ()
    return tuple(
        node
        for node in calls_named(module, {"step"})
        if _OPTIM.search(receiver(node)) or any(_OPTIM.search(last_name(one)) for one in node.args[:1])
    )


def is_optimizer(name: str) -> bool:
    """Whether a name is what people call an optimizer."""
    return _OPTIM.search(name) is not None


@lru_cache(maxsize=8)
def training_modules(entry: Entry) -> list[Module]:
    """The files in which a program steps an optimizer after a backward pass; [] if it has no loop of its own."""
    if is_test(entry.module):
        return []
    return [one for one in entry.closure if not is_test(one) and optimizer_steps(one) and backward_calls(one)]


def training_module(entry: Entry) -> Module | None:
    """The first of them."""
    return next(iter(training_modules(entry)), None)


@lru_cache(maxsize=8)
def own_modules(entry: Entry) -> list[Module]:
    """A program's own files: in the folder or package that it starts or trains in; the rest is a library's."""
    homes = tuple(_home(entry.program, module) for module in (entry.module, *training_modules(entry)[:1]))
    return [one for one in entry.closure if one.path.startswith(homes) and not is_test(one)]


def _home(program: Program, module: Module) -> str:
    """The folder of the outermost package that a file is in, or its own folder."""
    folder = module.path.rpartition("/")[0]
    while folder and f"{folder}/__init__.py" in program.paths:
        above = folder.rpartition("/")[0]
        if f"{above}/__init__.py".lstrip("/") not in program.paths:
            break
        folder = above
    return f"{folder}/" if folder else ""


@lru_cache(maxsize=8)
def trains(entry: Entry) -> bool:
    """Whether a program trains, in a loop of its own or by a framework's trainer."""
    if is_test(entry.module):
        return False
    return bool(training_modules(entry)) or any(_makes_trainer(one) for one in entry.closure)


@lru_cache(maxsize=4096)
def _makes_trainer(module: Module) -> bool:
    names = (name for name in calls_by_name(module) if name not in _OF_TOKENIZERS)
    return "rainer(" in module.text and any(name.endswith("Trainer") for name in names)


def is_conditional(module: Module, node: ast.AST) -> bool:
    """Whether a branch, a loop or a handler of its own function may leave a node out."""
    below = node
    for above in module.ancestors(node):
        if isinstance(above, Function | ast.Lambda):
            return False
        if isinstance(above, _BRANCH) and below is not getattr(above, "test", None) and not _is_guard(above):
            return True
        below = above
    return False


def _is_guard(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and is_main_guard(node)


def without_gradient(module: Module, node: ast.AST) -> bool:
    """Whether a node stands in `with torch.no_grad():` or in a function that is decorated so."""
    for above in module.ancestors(node):
        heads: list[ast.expr] = []
        if isinstance(above, ast.With | ast.AsyncWith):
            heads = [item.context_expr for item in above.items]
        elif isinstance(above, Function):
            heads = above.decorator_list
        if any(last_name(head) in ("no_grad", "inference_mode") for head in heads):
            return True
    return False


def training_loops(module: Module) -> tuple[ast.AST, ...]:
    """The outermost loops of a file that a backward pass or an optimizer's step stands in."""
    found: dict[ast.AST, None] = {}
    for node in (*backward_calls(module), *optimizer_steps(module)):
        loops = []
        for above in module.ancestors(node):
            if isinstance(above, Function | ast.Lambda):
                break
            if isinstance(above, ast.For | ast.AsyncFor | ast.While):
                loops.append(above)
        if loops:
            found.setdefault(loops[-1])
    return tuple(found)


def repeated(program: Program, module: Module) -> tuple[tuple[ast.AST, ...], frozenset[Scope]]:
    """The training loops of a file, and the functions of the tree that they call by name, also through others."""
    loops = training_loops(module)
    waiting: list[tuple[Module, ast.AST]] = [(module, loop) for loop in loops]
    seen: set[Scope] = set()
    while waiting and len(seen) < 400:
        at, body = waiting.pop()
        for node in nodes_within(body):
            if isinstance(node, ast.Call):
                target = program.resolver.definition(node.func, at.scope_of_call.get(node) or at.scope_at(node))
                if target is not None and target.kind == "function" and target not in seen:
                    seen.add(target)
                    waiting.append((target.module, target.node))
    return loops, frozenset(seen)
