"""What a training needs in its checkpoint: the states that it uses, told by what the code does with them."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from harness.review.code.loops import (
    calls_named,
    is_test,
    last_name,
    receiver,
    repeated,
    site_of,
    text_of,
    without_gradient,
)
from harness.review.source.module import Module, Scope
from harness.review.source.program import Program, Site

_SCHEDULER = re.compile(r"sched", re.IGNORECASE)
_SCALERS = ("torch.cuda.amp.GradScaler", "torch.amp.GradScaler", "torch.cuda.amp.grad_scaler.GradScaler")
_PYTHON = frozenset(
    [
        "betavariate",
        "choice",
        "choices",
        "gauss",
        "normalvariate",
        "randint",
        "random",
        "randrange",
        "sample",
        "shuffle",
        "uniform",
    ]
)
_NUMPY = frozenset(
    [
        "choice",
        "normal",
        "permutation",
        "rand",
        "randint",
        "randn",
        "random",
        "random_sample",
        "shuffle",
        "uniform",
        "beta",
        "binomial",
    ]
)
_TORCH = frozenset(
    [
        "bernoulli",
        "multinomial",
        "normal",
        "rand",
        "rand_like",
        "randint",
        "randint_like",
        "randn",
        "randn_like",
        "randperm",
    ]
)
_DROPOUTS = frozenset(["Dropout", "Dropout1d", "Dropout2d", "Dropout3d", "AlphaDropout"])
_SEEDS = frozenset(["manual_seed", "seed", "seed_everything", "set_seed", "seed_all", "manual_seed_all"])
_BETWEEN_STEPS = frozenset(["forward", "__getitem__", "__iter__", "training_step"])
_STATES = {
    "torch": frozenset(["get_rng_state", "get_rng_state_all"]),
    "python": frozenset(["getstate"]),
    "numpy": frozenset(["get_state"]),
}


@dataclass(frozen=True, slots=True)
class Need:
    """One state that a training uses.

    Attributes:
        kind: scheduler, scaler, torch, python or numpy.
        text: what it is and where it is used, to name it as missing.
        words: what a key or a value that holds it is called.
        is_certain: it is used for sure; a dropout may be 0, a scaler switched off.
    """

    kind: str
    text: str
    words: re.Pattern[str]
    is_certain: bool

    def is_held_by(self, words: frozenset[str]) -> bool:
        """Whether a part with these words may hold it; random states by the calls that ask for them, where seen."""
        if self.kind in _STATES and any(words & calls for calls in _STATES.values()):
            return bool(words & _STATES[self.kind])
        return any(self.words.search(word) for word in words)


def needs_of(program: Program, training: Module, modules: Iterable[Module]) -> tuple[Need, ...]:
    """What the training in a file needs, besides model and optimizer.

    Args:
        program: the tree.
        training: the file with the loop.
        modules: the program's own files.
    """
    own = [module for module in modules if not is_test(module)]
    return (*_scheduler(own), *_scaler(program, own), *_random(program, training, own))


def saved_elsewhere(modules: Iterable[Module], need: Need) -> bool:
    """Whether anything in the program asks for such a state: it may be written into a file of its own."""
    for module in modules:
        if need.kind in _STATES:
            if calls_named(module, _STATES[need.kind]):
                return True
        elif any(need.words.search(receiver(node)) for node in calls_named(module, {"state_dict"})):
            return True
    return False


def _scheduler(modules: list[Module]) -> Iterator[Need]:
    """A schedule that is stepped without being told where it stands, and not caught up in a loop of its own."""
    for module in modules:
        steps = [node for node in calls_named(module, {"step"}) if _SCHEDULER.search(receiver(node))]
        if any(node.args or node.keywords for node in steps) or "last_epoch" in module.text:
            return
        if any(_is_catching_up(module, node) for node in steps):
            return
        if steps:
            name = text_of(steps[0].func)
            text = f"the schedule's state ({name} in line {steps[0].lineno} of {module.path})"
            yield Need("scheduler", text, _SCHEDULER, is_certain=True)
            return


def _is_catching_up(module: Module, node: ast.Call) -> bool:
    """`for _ in range(start): scheduler.step()`."""
    statement = module.parents[node]
    loop = module.parents.get(statement)
    return isinstance(loop, ast.For) and loop.body == [statement]


def _scaler(program: Program, modules: list[Module]) -> Iterator[Need]:
    for module in modules:
        for node in calls_named(module, {"GradScaler"}):
            site = site_of(program, module, node)
            enabled = site.constant(site.argument("enabled")) if site.argument("enabled") is not None else True
            if site.name in _SCALERS and enabled is not False:
                text = f"the gradient scaler's state (line {node.lineno} of {module.path})"
                is_certain = enabled is True and not _is_optional(module, node)
                yield Need("scaler", text, re.compile(r"scaler|^amp$", re.IGNORECASE), is_certain)
                return


def _is_optional(module: Module, node: ast.AST) -> bool:
    return any(isinstance(one, ast.If | ast.IfExp) for one in module.ancestors(node))


def _random(program: Program, training: Module, modules: list[Module]) -> Iterator[Need]:
    """Generators that the training draws from between its steps, unless it seeds them there, too."""
    loops, functions = repeated(program, training)
    spots = _Repeated(frozenset(loops), functions)
    if any(_seeds(program, module, node, spots) for module in modules for node in calls_named(module, _SEEDS)):
        return
    best: dict[str, tuple[Site, bool]] = {}
    for module in modules:
        for kind, site, is_sure in _draws(program, module, spots):
            is_certain = is_sure and (module is training or "torch.nn" in site.name or _is_loader(site))
            known = best.get(kind)
            if known is None or (is_certain and not known[1]):
                best[kind] = (site, is_certain)
    for kind, (site, is_certain) in sorted(best.items()):
        name = {"torch": "torch's", "python": "Python's", "numpy": "NumPy's"}[kind]
        text = f"{name} random state ({last_name(site.node.func)} in line {site.node.lineno} of {site.module.path})"
        yield Need(kind, text, re.compile(r"rng|random|generator|getstate|get_state", re.IGNORECASE), is_certain)


def _seeds(program: Program, module: Module, node: ast.Call, spots: _Repeated) -> bool:
    """Whether a generator that everybody shares is seeded between two steps; one of its own is no matter here."""
    return spots.holds(module, node) and "Generator" not in site_of(program, module, node).name


def _is_loader(site: Site) -> bool:
    return last_name(site.node.func) == "DataLoader"


@dataclass(frozen=True, slots=True)
class _Repeated:
    loops: frozenset[ast.AST]
    functions: frozenset[Scope]

    def holds(self, module: Module, node: ast.Call) -> bool:
        """Whether a call is made again and again while the training goes on."""
        around = module.scope_of_call[node].function
        if around is not None and (around in self.functions or around.name.rpartition(".")[2] in _BETWEEN_STEPS):
            return True
        return any(above in self.loops for above in module.ancestors(node))


def _draws(program: Program, module: Module, spots: _Repeated) -> Iterator[tuple[str, Site, bool]]:
    """Draws from a generator that everybody shares: which, where, and whether it surely draws."""
    for node in calls_named(module, _PYTHON | _NUMPY | _TORCH):
        if not spots.holds(module, node) or without_gradient(module, node):
            continue
        site = site_of(program, module, node)
        package, _, last = site.name.rpartition(".")
        if package == "random" and last in _PYTHON:
            yield "python", site, True
        elif package == "numpy.random" and last in _NUMPY:
            yield "numpy", site, True
        elif package == "torch" and last in _TORCH and site.argument("generator") is None and not site.is_open:
            yield "torch", site, True
    for node in calls_named(module, _DROPOUTS | {"dropout"}):
        site = site_of(program, module, node)
        share = site.constant(site.argument("p", 1 if last_name(node.func) == "dropout" else 0))
        if site.name.startswith("torch.nn.") and share != 0 and site.constant(site.argument("training")) is not False:
            yield "torch", site, isinstance(share, float) and site.name.startswith("torch.nn.Dropout")
    for node in calls_named(module, {"DataLoader"}):
        site = site_of(program, module, node)
        shuffle = site.constant(site.argument("shuffle", 2))
        is_shuffled = shuffle is True or (shuffle is ... and site.argument("shuffle", 2) is not None)
        if (
            site.name.startswith("torch.utils.data")
            and is_shuffled
            and site.argument("generator") is None
            and not site.is_open
        ):
            yield "torch", site, shuffle is True
