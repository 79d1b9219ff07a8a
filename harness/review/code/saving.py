"""How checkpoints are written: whole or not at all, under which names; and what goes on from them."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import lru_cache

from harness.review.code.dictionaries import callers, dictionaries_of
from harness.review.code.training import is_optimizer, near, own_modules, training_modules, trains
from harness.review.code.written import Save, holds_optimizer, saves_of
from harness.review.finding import Finding, Showing, finding, holds
from harness.review.source.module import Module, Scope
from harness.review.source.nodes import and_more, last_name, nodes_within, receiver, text_of
from harness.review.source.program import Entry, calls_named

_TEMPORARY = re.compile(r"tmp|temp|partial|BytesIO|buffer|stream|\bbio?\b|atomic", re.IGNORECASE)
_MOVES = frozenset({"replace", "rename", "renames", "move"})
_EPOCH_NAME = re.compile(r"_epoch\{\}.*_loss\{:\.4f\}")
_FILE = r"[\w-]*\.(pt|pth|ckpt|bin|safetensors|tar)\b"
_BEST, _LATEST = re.compile(rf"\bbest{_FILE}"), re.compile(rf"\b(latest|last){_FILE}")


def check_saving(entry: Entry) -> Iterator[Finding | Showing]:
    """REP404, and what shows C2, C3 and V5, in a program with a training loop of its own."""
    trainings = training_modules(entry)
    if not trainings:
        yield from _shown_trainer(entry)
        return
    own = own_modules(entry)
    for module in own:
        yield from _torn(entry, module, trainings)
    yield from _shown_names(own)
    yield from _shown_resume(entry, own)


def _torn(entry: Entry, module: Module, trainings: list[Module]) -> Iterator[Finding]:
    """One finding for a file: the first save of a state under its final name."""
    torn = [
        save
        for save in saves_of(entry, module)
        if _is_torn(entry, save) and _is_reached(entry, save.site.scope, trainings, 0)
    ]
    if torn:
        text = text_of(torn[0].site.node, 70)
        message = (
            f"{text}{and_more(len(torn))} writes under the final name: a run killed meanwhile leaves a torn file there"
        )
        yield finding("REP404", torn[0].site.place, message)


def _is_torn(entry: Entry, save: Save) -> bool:
    site = save.site
    target = site.argument("f", 1)
    # fabric.save writes a temporary file by itself; what passes on to torch.save (written.py) does not.
    is_torch = site.name == "torch.save" or site.definition is not None
    if not is_torch or target is None or _TEMPORARY.search(text_of(target)):
        return False
    if not _is_state(entry, save):
        return False
    function = site.scope.function
    if function is None:
        return not _moves(site.module.tree)
    return not _is_moved(entry, function, 0)


def _is_reached(entry: Entry, scope: Scope, trainings: list[Module], depth: int) -> bool:
    """Whether a place is in a file that trains, or in a function that such a file calls by its name."""
    if scope.module in trainings:
        return True
    function = scope.function
    return (
        function is not None
        and depth < 3
        and any(_is_reached(entry, site.scope, trainings, depth + 1) for site in callers(entry, function))
    )


def _is_state(entry: Entry, save: Save) -> bool:
    """A state to go on from: it holds an optimizer's; weights and data can be made again."""
    node = save.saved
    if isinstance(node, ast.Call) and last_name(node.func) == "state_dict" and is_optimizer(receiver(node)):
        return True
    return any(holds_optimizer(one) for one in dictionaries_of(entry, node, save.site.module))


def _is_moved(entry: Entry, function: Scope, depth: int) -> bool:
    """Whether a function, or one that calls it, renames a file or speaks of a temporary one."""
    if _moves(function.node):
        return True
    for site in callers(entry, function) if depth < 3 else ():
        around = site.scope.function
        if around is None and _moves(site.module.tree):
            return True
        if around is not None and around is not function and _is_moved(entry, around, depth + 1):
            return True
    return False


@lru_cache(maxsize=4096)
def _moves(body: ast.AST) -> bool:
    for node in nodes_within(body):
        if isinstance(node, ast.Call) and last_name(node.func) in _MOVES and isinstance(node.func, ast.Attribute):
            is_text = last_name(node.func) == "replace" and len(node.args) > 1 and receiver(node) != "os"
            if not is_text:
                return True
        if isinstance(node, ast.Call | ast.Name) and re.search(r"tmp|temp_|atomic", last_name(node), re.IGNORECASE):
            return True
    return False


# ----------------------------------------------------------------------------- what the code shows
def _shown_names(own: list[Module]) -> Iterator[Showing]:
    found: dict[str, tuple[Module, ast.AST, str]] = {}
    for module in own:
        for name, node, text in _names(module):
            found.setdefault(name, (module, node, text))
    if "epoch" in found:
        module, node, text = found["epoch"]
        yield holds("C2", f"checkpoints are named {text}", module.place(node))
    if "best" in found and "latest" in found:
        module, node, text = found["best"]
        message = f"{text} and {found['latest'][2]} are kept apart"
        yield holds("C3", message, module.place(node))


@lru_cache(maxsize=4096)
def _names(module: Module) -> tuple[tuple[str, ast.AST, str], ...]:
    """Names of checkpoints in a file: `epoch`, `best`, `latest`, where it stands and what it says."""
    if not any(word in module.text for word in ("_epoch", "best", "latest", "last")):
        return ()
    found: list[tuple[str, ast.AST, str]] = []
    for node in module.nodes:
        if isinstance(node, ast.JoinedStr) and _EPOCH_NAME.search(_pattern(node)):
            found.append(("epoch", node, text_of(node)))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and len(node.value) < 200:
            for name, pattern in (("best", _BEST), ("latest", _LATEST)):
                if match := pattern.search(node.value):
                    found.append((name, node, match[0]))
    return tuple(found)


def _pattern(node: ast.JoinedStr) -> str:
    """An f-string with `{}` for each value, and the format where there is one."""
    parts = []
    for one in node.values:
        if isinstance(one, ast.Constant):
            parts.append(str(one.value))
        elif isinstance(one, ast.FormattedValue):
            form = one.format_spec
            given = form.values if isinstance(form, ast.JoinedStr) else []
            spec = "".join(str(part.value) for part in given if isinstance(part, ast.Constant))
            parts.append(f"{{:{spec}}}" if spec else "{}")
    return "".join(parts)


def _shown_trainer(entry: Entry) -> Iterator[Showing]:
    """V5: a framework's trainer that is told where to go on."""
    for module in near(entry) if trains(entry) else ():
        for node in calls_named(module, {"train", "fit"}):
            for one in node.keywords:
                if one.arg in ("resume_from_checkpoint", "ckpt_path"):
                    text = f"{text_of(node.func)}({one.arg}=...) goes on from a checkpoint of the trainer's own"
                    yield holds("V5", text, module.place(node))
                    return


def _shown_resume(entry: Entry, own: list[Module]) -> Iterator[Showing]:
    """V5: where an optimizer's state is loaded back."""
    for module in own:
        for site in entry.program.calls(module, {"load_state_dict", "load_state", "load"}):
            name, owner = last_name(site.node.func), receiver(site.node)
            is_optimizers = name == "load_state_dict" and is_optimizer(owner)
            is_library = name == "load_state" and site.name.startswith("accelerate.")
            if is_optimizers or is_library or (name == "load" and "fabric" in owner.lower()):
                text = f"{text_of(site.node.func)}(...) puts the optimizer's state back"
                yield holds("V5", text, site.place)
                return
