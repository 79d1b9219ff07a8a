"""Loading back: failures that are swallowed on the way, and what `torch.load` may unpickle."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from harness.review.code.training import is_optimizer, is_test
from harness.review.finding import Finding, finding
from harness.review.source.execution import Site
from harness.review.source.module import Module
from harness.review.source.nodes import and_more, last_name, nodes_within, receiver, text_of, words
from harness.review.source.program import Program

_RANDOM = frozenset({"set_rng_state", "set_rng_state_all", "setstate"})
_HELPERS = re.compile(
    r"(save|load|restore|set)_(rng|random)(_|$)|_rng_states?$|(save|load|restore)_(optimizer|scheduler|scaler)(s?$|_)"
)
_WHOLE = frozenset({"load_state", "load_checkpoint", "restore_checkpoint"})
_PARTS = re.compile(r"optim|sched|scaler", re.IGNORECASE)
_EXPECTED = words("AttributeError FileNotFoundError ImportError ModuleNotFoundError NotImplementedError StopIteration")
_QUIET = words("debug error exception info log print print_exc print_rank_0 warn warning write")


def check_restoring(program: Program, module: Module) -> Iterator[Finding]:
    """REP403, REP405, REP406 and REP408 on one file."""
    if is_test(module):
        return
    yield from _pickles(program, module)
    if "except" in module.text and ("load" in module.text or "state" in module.text):
        for node in module.nodes:
            if isinstance(node, ast.Try) and node.handlers:
                yield from _swallowed(program, module, node)


def _pickles(program: Program, module: Module) -> Iterator[Finding]:
    unsaid: list[Site] = []
    for site in program.calls(module, {"load"}):
        if site.name != "torch.load" or site.is_open:
            continue
        given = site.argument("weights_only")
        if given is None and site.argument("pickle_module", 2) is None:
            unsaid.append(site)
        elif site.constant(given) is False and given is not None:
            message = f"torch.load({_file(site)}, weights_only=False) unpickles whatever the file says"
            yield finding("REP405", site.place, message)
    if unsaid:
        message = f"torch.load({_file(unsaid[0])}){and_more(len(unsaid))} leaves weights_only to the version of torch"
        yield finding("REP406", unsaid[0].place, message)


def _file(site: Site) -> str:
    given = site.argument("f", 0)
    return "..." if given is None else text_of(given, 50)


def _swallowed(program: Program, module: Module, node: ast.Try) -> Iterator[Finding]:
    handler = next((one for one in node.handlers if _swallows(one)), None)
    if handler is None:
        return
    calls = [one for statement in node.body for one in nodes_within(statement) if isinstance(one, ast.Call)]
    for call in sorted(calls, key=lambda one: (one.lineno, one.col_offset)):
        state, rule = _restored(program, module, call)
        if state and _own_try(module, call) is node:
            caught = "a bare except" if handler.type is None else f"except {text_of(handler.type)}"
            message = f"if {state} fails, {caught} on line {handler.lineno} swallows it and the run goes on"
            yield finding(rule, module.place(call), message)
            return


def _own_try(module: Module, node: ast.AST) -> ast.Try | None:
    """The innermost try whose body a node stands in: an inner one may have caught it already."""
    below = node
    for above in module.ancestors(node):
        if isinstance(above, ast.Try) and below in above.body:
            return above
        below = above
    return None


def _swallows(handler: ast.ExceptHandler) -> bool:
    """Whether a handler of what is not expected only says something, or nothing, and goes on."""
    types = handler.type.elts if isinstance(handler.type, ast.Tuple) else [handler.type] if handler.type else []
    if types and all(last_name(one) in _EXPECTED for one in types):
        return False
    return all(_is_quiet(statement) for statement in handler.body)


def _is_quiet(statement: ast.stmt) -> bool:
    if isinstance(statement, ast.Pass | ast.Continue):
        return True
    if isinstance(statement, ast.Expr):
        value = statement.value
        return isinstance(value, ast.Constant) or (isinstance(value, ast.Call) and last_name(value.func) in _QUIET)
    if isinstance(statement, ast.If):
        return all(_is_quiet(one) for one in (*statement.body, *statement.orelse))
    return False


def _restored(program: Program, module: Module, node: ast.Call) -> tuple[str, str]:
    """What a call saves or restores, in words, and the rule that speaks of it; ("", "") if it does neither."""
    name, owner = last_name(node.func), receiver(node)
    if name == "load_state_dict" and isinstance(node.func, ast.Attribute):
        is_part = bool(_PARTS.search(owner)) or is_optimizer(owner)
        return f"{text_of(node.func)}(...)", "REP403" if is_part else "REP408"
    if name in _RANDOM or _HELPERS.search(name):
        return f"{text_of(node.func)}(...)", "REP403"
    if name == "set_state" and program.site(module, node).name == "numpy.random.set_state":
        return "numpy.random.set_state(...)", "REP403"
    if name in _WHOLE or (name == "load" and "fabric" in owner.lower()):
        return f"{text_of(node.func)}(...)", "REP408"
    return "", ""
