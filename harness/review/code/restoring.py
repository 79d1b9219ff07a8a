"""Loading back: failures that are swallowed, what `torch.load` may unpickle, state that is saved and never read."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from harness.review.code.dictionaries import Dictionary
from harness.review.code.training import is_optimizer, is_test
from harness.review.finding import Finding, finding
from harness.review.source.execution import Site
from harness.review.source.module import Module
from harness.review.source.nodes import (
    and_more,
    last_name,
    listed,
    nodes_within,
    receiver,
    text_constant,
    text_of,
    words,
)
from harness.review.source.program import Entry, Program, calls_named

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


_KINDS = {
    "optimizer": re.compile(r"optim", re.IGNORECASE),
    "scheduler": re.compile(r"sched", re.IGNORECASE),
    "scaler": re.compile(r"scaler", re.IGNORECASE),
    "random": re.compile(r"rng|random", re.IGNORECASE),
}
_RESTORES = {
    **dict.fromkeys(("optimizer", "scheduler", "scaler"), frozenset({"load_state_dict"})),
    "random": frozenset({"set_rng_state", "set_rng_state_all", "setstate", "set_state"}),
}
_POSITION = re.compile(r"step|epoch|iter")
_LOADED = re.compile(r"ckpt|checkpoint|state|saved|resume|loaded|snapshot", re.IGNORECASE)


def never_restored(entry: Entry, saved: Dictionary, modules: list[Module]) -> Iterator[Finding]:
    """Parts whose key is read nowhere, in a program that reads other keys of the same checkpoint."""
    keys = {part.key: kind for part in saved.parts if (kind := _kind(part.key, part.words))}
    read = {key for module in modules for key in _keys_read(entry, module)}
    if not read & {part.key for part in saved.parts} or any(_loads_whole(entry, module) for module in modules):
        return
    mentioned = {key for module in modules for key in _mentions(module, saved)}
    forgotten = [key for key, kind in keys.items() if key not in mentioned and not _restores(modules, kind)]
    if forgotten:
        quoted = listed([f'"{key}"' for key in forgotten])
        verb = "is" if len(forgotten) == 1 else "are"
        others = listed([f'"{key}"' for key in sorted(read & {part.key for part in saved.parts})])
        message = f"{quoted} {verb} saved in this checkpoint and never read back; this program reads {others}"
        # A program that only looks at the weights of its best checkpoint may be resumed by another one.
        is_resuming = any(_POSITION.search(key) for key in read) or _restores(modules, "optimizer")
        yield finding("REP407", saved.place, message, proven=is_resuming)


def _kind(key: str, words: frozenset[str]) -> str:
    if words & {"getstate", "get_state", "get_rng_state", "get_rng_state_all"}:
        return "random"
    return next((kind for kind, pattern in _KINDS.items() if "state_dict" in words and pattern.search(key)), "")


def _keys_read(entry: Entry, module: Module) -> Iterator[str]:
    """`loaded["key"]`, `loaded.get("key")` where `loaded` comes from a load, or is called so."""
    for node in module.nodes:
        if isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Load):
            base, key = node.value, text_constant(node.slice)
        elif isinstance(node, ast.Call) and last_name(node.func) in ("get", "pop") and node.args:
            base, key = getattr(node.func, "value", node), text_constant(node.args[0])
        else:
            continue
        if key and _is_loaded(entry, base, module):
            yield key


def _is_loaded(entry: Entry, base: ast.expr, module: Module) -> bool:
    if isinstance(base, ast.Name | ast.Attribute) and _LOADED.search(last_name(base)):
        return True
    meaning = entry.program.resolver.resolve(base, module.scope_at(base))
    return meaning is not None and meaning.name.startswith("torch.load()")


def _mentions(module: Module, saved: Dictionary) -> Iterator[str]:
    """Every string of a file but the keys of the dictionary itself."""
    own = {id(key) for key in saved.node.keys} if isinstance(saved.node, ast.Dict) else set()
    for node in module.nodes:
        if (text := text_constant(node)) and id(node) not in own:
            above = module.parents[node]
            if not (isinstance(above, ast.Subscript) and isinstance(above.ctx, ast.Store)):
                yield text


def _restores(modules: list[Module], kind: str) -> bool:
    """Whether anything in the program loads a state of that kind, or a state of what cannot be told."""
    for module in modules:
        for node in calls_named(module, _RESTORES[kind]):
            name = receiver(node)
            is_unknown = isinstance(node.func, ast.Attribute) and not isinstance(
                node.func.value, ast.Name | ast.Attribute
            )
            if kind == "random" or is_unknown or not name or _KINDS[kind].search(name):
                return True
    return False


def _loads_whole(entry: Entry, module: Module) -> bool:
    """`fabric.load(path, state)` and loops over what was loaded put everything back without naming it."""
    for node in calls_named(module, {"load", "load_state", "load_checkpoint", "setattr", "load_raw"}):
        if last_name(node.func) != "load" or "fabric" in receiver(node).lower():
            return True
        if entry.program.site(module, node).name == "torch.distributed.checkpoint.load":
            return True
    loops = [node.func for node in calls_named(module, {"items", "values"})]
    return any(isinstance(one, ast.Attribute) and _is_loaded(entry, one.value, module) for one in loops)
