"""State that a program saves and never reads back."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from harness.review.code.dictionaries import Dictionary
from harness.review.finding import Finding, finding
from harness.review.source.module import Module
from harness.review.source.nodes import last_name, listed, receiver, text_constant
from harness.review.source.program import Entry, calls_named

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
