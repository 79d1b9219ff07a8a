"""What a program writes with `torch.save` and its like, and whether it is meant for going on."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

from harness.review.code.dictionaries import Dictionary
from harness.review.code.training import is_optimizer
from harness.review.source.execution import Site
from harness.review.source.module import Module
from harness.review.source.nodes import last_name, receiver
from harness.review.source.program import Entry, calls_named


@dataclass(frozen=True, slots=True)
class Save:
    """One call that writes an object, and what it writes."""

    site: Site
    saved: ast.expr


def saves_of(entry: Entry, module: Module) -> Iterator[Save]:
    """`torch.save(x, ...)`, `fabric.save(path, x)` and their like in a file; functions that only pass on, too."""
    passing = _passing_on(entry)
    for site in entry.program.calls(module, {"save", "dump", *passing}):
        owner = receiver(site.node).lower()
        saved = None
        if site.name in ("torch.save", "pickle.dump", "joblib.dump", "dill.dump") or owner in ("xm", "accelerator"):
            saved = site.argument("obj", 0)
        elif site.name == "torch.distributed.checkpoint.save":
            saved = site.argument("state_dict", 0)
        elif "fabric" in owner:
            saved = site.argument("state", 1)
        elif last_name(site.node.func) in passing and site.definition is not None:
            saved = site.argument("obj", 0)
        if saved is not None:
            yield Save(site, saved)


@lru_cache(maxsize=8)
def _passing_on(entry: Entry) -> frozenset[str]:
    """Names of functions of the tree that pass all on: `torch.save(*args, **kwargs)`."""
    found = set()
    for module in entry.closure:
        for node in calls_named(module, {"save"}) if "torch.save(*" in module.text else ():
            function = module.scope_of_call[node].function
            if node.args and isinstance(node.args[0], ast.Starred) and function is not None:
                found.add(function.name.rpartition(".")[2])
    return frozenset(found)


def holds_optimizer(saved: Dictionary) -> bool:
    """Whether a dictionary holds an optimizer's state: it is meant for going on."""
    for part in saved.parts:
        if isinstance(part.value, ast.Constant | ast.JoinedStr):
            continue
        states = [
            one for one in ast.walk(part.value) if isinstance(one, ast.Call) and last_name(one.func) == "state_dict"
        ]
        if any(is_optimizer(receiver(one)) for one in states):
            return True
        if is_optimizer(part.key) and (states or is_optimizer(last_name(part.value))):
            return True
    return False
