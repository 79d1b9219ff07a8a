"""Checkpoints as the code writes them: is everything in them that the training needs to go on as it was."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from harness.review.code.dictionaries import Dictionary, dictionaries_of
from harness.review.code.needs import Need, needs_of, saved_elsewhere
from harness.review.code.restoring import never_restored
from harness.review.code.training import is_optimizer, own_modules, training_loops, training_modules
from harness.review.code.written import Save, holds_optimizer, saves_of
from harness.review.finding import Finding, Showing, finding
from harness.review.source.execution import Site
from harness.review.source.module import Module
from harness.review.source.nodes import arguments_of, last_name, listed, receiver, text_of, words
from harness.review.source.program import Entry, calls_named

_RANDOM = re.compile(r"rng|random", re.IGNORECASE)
_LIBRARY_SAVES = words("save_state save_checkpoint register_for_checkpointing async_save")
_POSITION = re.compile(r"step|epoch|iter|batch|position|progress|sampler|loader|samples|tokens|count|index|idx|^i$|^n$")
_RECORDS = {
    "loss": re.compile(r"loss|metric|acc|best|score"),
    "config": re.compile(r"config|args|hparams|hyper|cfg|settings"),
    "seed": re.compile(r"seed"),
}


def check_checkpoints(entry: Entry) -> Iterator[Finding | Showing]:
    """REP401 and REP402, and REP407, for every training loop of a program's own code."""
    trainings = training_modules(entry)
    if not trainings:
        return
    own = own_modules(entry)
    if any(not _is_own(site, own) for module in own for site in entry.program.calls(module, _LIBRARY_SAVES)):
        return
    saves = tuple(save for module in own for save in saves_of(entry, module))
    found: dict[ast.AST, Dictionary] = {}
    for save in saves:
        for one in dictionaries_of(entry, save.saved, save.site.module):
            found.setdefault(one.node, one)
    for training in trainings:
        if training not in own:
            continue
        around = _around(entry, training, trainings, own)
        complete = [one for one in found.values() if one.module in around and holds_optimizer(one)]
        needs = needs_of(entry.program, training, around) if complete else ()
        for one in complete:
            yield from _judge(one, needs, own)
            yield from never_restored(entry, one, own)
        if not complete:
            yield from _weights_only(entry, training, (around, own), saves)


def _is_own(site: Site, own: list[Module]) -> bool:
    """Whether a call enters a function of the program's own files: `accelerator.save_state(...)` does not."""
    return site.definition is not None and site.definition.module in own


def _around(entry: Entry, training: Module, trainings: list[Module], own: list[Module]) -> list[Module]:
    """The files that a loop's checkpoints and draws stand in: its own, those it imports, not those of other loops."""
    if len(trainings) == 1:
        return own
    return [training, *(one for one in entry.program.imports(training) if one in own and one not in trainings)]


# ----------------------------------------------------------------------------- REP401
def _judge(saved: Dictionary, needs: tuple[Need, ...], own: list[Module]) -> Iterator[Finding | Showing]:
    words = {word for part in saved.parts for word in part.words}
    missing = [need for need in needs if not _is_held(need, saved) and not saved_elsewhere(own, need)]
    # A schedule counts its steps: who has its state knows the place.
    has_position = any(_POSITION.search(word.lower()) or "sched" in word.lower() for word in words) or any(
        _counters(part.module) & {last_name(node) for node in ast.walk(part.value)} for part in saved.parts
    )
    names = ", ".join(part.key for part in saved.parts)
    if saved.is_whole and (missing or not has_position):
        texts = [need.text for need in missing] + ([] if has_position else ["the step or the epoch"])
        is_proven = not has_position or any(need.is_certain for need in missing)
        message = f"this checkpoint ({names}) does not hold {listed(texts)}"
        yield finding("REP401", saved.place, message, proven=is_proven)
    elif saved.is_whole:
        # What draws inside of a library is not seen: without any random state it is left to the evidence.
        has_random = any(_RANDOM.search(word) for word in words)
        text = f"a checkpoint holds {names}" + ("" if has_random else "; no random state, and no draw was seen")
        yield Showing(item="V2", state="holds" if has_random else "unknown", text=text, place=saved.place)
        lacks = [name for name, pattern in _RECORDS.items() if not any(pattern.search(one.lower()) for one in words)]
        text = f"a checkpoint holds {names}" + (f"; nothing in it is called {_or(lacks)}" if lacks else "")
        yield Showing(item="C1", state="unknown" if lacks else "holds", text=text, place=saved.place)


def _counters(module: Module) -> set[str]:
    """The names of what a loop counts: its variable, and what is added to, whatever they are called."""
    loops = (node.target for node in module.nodes if isinstance(node, ast.For | ast.AugAssign))
    return {last_name(node) for target in loops for node in ast.walk(target)} - {""}


def _is_held(need: Need, saved: Dictionary) -> bool:
    return any(need.is_held_by(part.words) for part in saved.parts)


def _or(texts: list[str]) -> str:
    return listed(texts).replace(" and ", " or ")


# ----------------------------------------------------------------------------- REP402
_WEIGHTS = words("save_pretrained save_file save_model save_lora_weights save_safetensors")
_ANY_SAVE = re.compile(r"save|checkpoint|ckpt|snapshot|persist", re.IGNORECASE)
_OTHER_SAVES = re.compile(
    r"savefig|save_image|imsave|save_to_disk|save_config|savez|savetxt|checkpointing_enable|save_vocabulary|set_default"
    r"|load|gradient|log|metric|find|latest|last|get_|resume|prune|remove|delete|list|exists|path|dir|name|config|wrap"
    r"|saved_tensors|save_for_backward|card|image|plot|text|result|video|audio|json|csv|args|hook|should|need|is_|has_"
    r"|validat|from_pretrained"
)
_PICKLES = words("dump dumps")
_MODEL = re.compile(r"model|net|network", re.IGNORECASE)
_TEMPORARY = re.compile(r"te?mp_?dir|TemporaryDirectory|tempfile|/tmp/", re.IGNORECASE)
_OTHER_OWNERS = re.compile(r"parser|token|processor|image|img|fig|plt|writer|wandb|video|config|pipe", re.IGNORECASE)
_OTHER_LIBRARIES = ("numpy.", "torch.utils.checkpoint", "PIL.", "matplotlib.", "torchvision.", "datasets.", "peft.")


def _weights_only(
    entry: Entry, training: Module, files: tuple[list[Module], list[Module]], saves: tuple[Save, ...]
) -> Iterator[Finding]:
    around, own = files
    if not training_loops(training):
        return
    weights = [save.site for save in saves if save.site.module in around and _is_weights(entry, save)]
    for module in around:
        weights += entry.program.calls(module, _WEIGHTS)
    weights = [site for site in weights if not _TEMPORARY.search(text_of(site.node))]  # to measure them, mostly
    seen = {save.site.node for save in saves}
    if not weights or any(_may_save_optimizer(entry, module, seen, own) for module in around):
        return
    first = min(weights, key=lambda site: (site.module is not training, site.place))
    message = f"{text_of(first.node, 70)} saves weights, and nothing in this program saves the state of the optimizer"
    yield finding("REP402", first.place, message)


def _is_weights(entry: Entry, save: Save) -> bool:
    """`torch.save(model.state_dict(), ...)`, `torch.save(model, ...)`, `fabric.save(path, {"model": model})`."""
    node = save.saved
    if isinstance(node, ast.Call) and last_name(node.func) == "state_dict":
        return not is_optimizer(receiver(node))
    if isinstance(node, ast.Name | ast.Attribute) and _MODEL.fullmatch(last_name(node)):
        return True
    return any(_holds_weights(one) for one in dictionaries_of(entry, node, save.site.module))


def _holds_weights(saved: Dictionary) -> bool:
    if any(part.key in ("model", "state_dict", "model_state_dict") for part in saved.parts):
        return True
    values = [part.value for part in saved.parts]
    return any(isinstance(one, ast.Call) and last_name(one.func) == "state_dict" for one in values)


def _may_save_optimizer(entry: Entry, module: Module, seen: set[ast.Call], own: list[Module]) -> bool:
    """Whether anything in a file could write the optimizer's state: its state is read, or a save is not seen."""
    asked = calls_named(module, {"state_dict", "__getstate__"})
    if any(is_optimizer(receiver(node)) or _is_any_of_several(module, node) for node in asked):
        return True
    if any(_holds_optimizer_itself(node) for node in (module.nodes if "optim" in module.text else ())):
        return True
    for node in module.scope_of_call:
        name = last_name(node.func)
        gives_optimizer = any(is_optimizer(last_name(part)) for one in arguments_of(node) for part in ast.walk(one))
        if "state_dict" in name and gives_optimizer:  # get_state_dict(model, optimizer) of torch.distributed.checkpoint
            return True
        is_save = name in _PICKLES or (_ANY_SAVE.search(name) and not _OTHER_SAVES.search(name))
        if name in _WEIGHTS or not is_save:
            continue
        if gives_optimizer:
            return True
        if name in _PICKLES:
            continue
        site = entry.program.site(module, node)
        if node in seen or _OTHER_OWNERS.search(receiver(node)) or _is_own(site, own):
            continue
        if site.meaning is None or not site.name.startswith(_OTHER_LIBRARIES):
            return True
    return False


def _is_any_of_several(module: Module, node: ast.Call) -> bool:
    """`getattr(self, name).state_dict()`, `{name: one.state_dict() for name, one in parts.items()}`."""
    owner = node.func.value if isinstance(node.func, ast.Attribute) else None
    if isinstance(owner, ast.Call):
        return last_name(owner.func) == "getattr"
    loops = [one.generators for one in module.ancestors(node) if isinstance(one, ast.DictComp | ast.ListComp)]
    targets = [loop.target for one in loops for loop in one]
    targets += [one.target for one in module.ancestors(node) if isinstance(one, ast.For)]
    names = {last_name(name) for target in targets for name in ast.walk(target)}
    return isinstance(owner, ast.Name) and owner.id in names and not _MODEL.fullmatch(owner.id)


def _holds_optimizer_itself(node: ast.AST) -> bool:
    """`optimizer.state` that is read, `vars(optimizer)`, a dictionary with the optimizer in it."""
    if isinstance(node, ast.Attribute):
        return node.attr == "state" and isinstance(node.ctx, ast.Load) and is_optimizer(last_name(node.value))
    if isinstance(node, ast.Call):
        return last_name(node.func) == "vars" and any(is_optimizer(last_name(one)) for one in node.args)
    if isinstance(node, ast.Dict):
        return any(value is not None and is_optimizer(last_name(value)) for value in node.values)
    return False
