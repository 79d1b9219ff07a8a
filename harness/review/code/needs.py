"""What a training needs in its checkpoint: the states that it uses, told by what the code does with them."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from harness.review.code.draws import NUMPY_DRAWS, PYTHON_DRAWS, TORCH_DRAWS
from harness.review.code.training import is_test, repeated, without_gradient
from harness.review.source.execution import Site
from harness.review.source.module import Module, Scope
from harness.review.source.nodes import last_name, receiver, text_of, words
from harness.review.source.program import Program, calls_named

_SCHEDULER = re.compile(r"sched", re.IGNORECASE)
_SCALERS = ("torch.cuda.amp.GradScaler", "torch.amp.GradScaler", "torch.cuda.amp.grad_scaler.GradScaler")
_DROPOUTS = words("Dropout Dropout1d Dropout2d Dropout3d AlphaDropout")
_SEEDS = words("manual_seed seed seed_everything set_seed seed_all manual_seed_all")
_BETWEEN_STEPS = words("forward __getitem__ __iter__ training_step")
_IN_WORKERS = words("__getitem__ __getitems__ __iter__")
_STATES = {
    "torch": words("get_rng_state get_rng_state_all"),
    "python": words("getstate"),
    "numpy": words("get_state"),
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
    """What the training in a file needs, besides model and optimizer."""
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
            text = f"the schedule's state ({name} on line {steps[0].lineno} of {module.path})"
            yield Need("scheduler", text, _SCHEDULER, is_certain=True)
            return


def _is_catching_up(module: Module, node: ast.Call) -> bool:
    """`for _ in range(start): scheduler.step()`."""
    statement = module.parents[node]
    loop = module.parents.get(statement)
    return isinstance(loop, ast.For) and loop.body == [statement]


def _scaler(program: Program, modules: list[Module]) -> Iterator[Need]:
    for module in modules:
        for site in program.calls(module, {"GradScaler"}):
            enabled = site.constant(site.argument("enabled")) if site.argument("enabled") is not None else True
            if site.name in _SCALERS and enabled is not False:
                text = f"the gradient scaler's state (line {site.node.lineno} of {module.path})"
                is_optional = any(isinstance(one, ast.If | ast.IfExp) for one in module.ancestors(site.node))
                is_certain = enabled is True and not is_optional
                yield Need("scaler", text, re.compile(r"scaler|^amp$", re.IGNORECASE), is_certain)
                return


def _random(program: Program, training: Module, modules: list[Module]) -> Iterator[Need]:
    """Generators that the training draws from between its steps, unless it seeds them there, too."""
    loops, functions = repeated(program, training)
    spots = _Repeated(frozenset(loops), functions)
    seeds = (site for module in modules for site in program.calls(module, _SEEDS) if spots.holds(site))
    if any("Generator" not in site.name for site in seeds):  # one of its own is no matter here
        return
    best: dict[str, tuple[Site, bool]] = {}
    # What a worker draws comes from its own generators, which begin anew with each iterator.
    loaders = (site for module in modules for site in program.calls(module, {"DataLoader"}))
    in_workers = _IN_WORKERS if any(map(_may_have_workers, loaders)) else frozenset()
    for module in modules:
        for kind, site, is_sure in _draws(program, module, spots):
            if site.function in in_workers:
                continue
            is_certain = is_sure and (
                module is training or "torch.nn" in site.name or last_name(site.node.func) == "DataLoader"
            )
            known = best.get(kind)
            if known is None or (is_certain and not known[1]):
                best[kind] = (site, is_certain)
    for kind, (site, is_certain) in sorted(best.items()):
        name = {"torch": "torch's", "python": "Python's", "numpy": "NumPy's"}[kind]
        text = f"{name} random state ({last_name(site.node.func)} on line {site.node.lineno} of {site.module.path})"
        yield Need(kind, text, re.compile(r"rng|random|generator|getstate|get_state", re.IGNORECASE), is_certain)


def _may_have_workers(loader: Site) -> bool:
    given = loader.argument("num_workers", 5)
    return loader.is_open or (given is not None and loader.constant(given) != 0)


@dataclass(frozen=True, slots=True)
class _Repeated:
    loops: frozenset[ast.AST]
    functions: frozenset[Scope]

    def holds(self, site: Site) -> bool:
        """Whether a call is made again and again while the training goes on."""
        if site.scope.function in self.functions or site.function in _BETWEEN_STEPS:
            return True
        return any(above in self.loops for above in site.module.ancestors(site.node))


def _draws(program: Program, module: Module, spots: _Repeated) -> Iterator[tuple[str, Site, bool]]:
    """Draws from a generator that everybody shares: which, where, and whether it surely draws."""
    for site in program.calls(module, PYTHON_DRAWS | NUMPY_DRAWS | TORCH_DRAWS):
        if not spots.holds(site) or without_gradient(module, site.node):
            continue
        package, _, last = site.name.rpartition(".")
        if package == "random" and last in PYTHON_DRAWS:
            yield "python", site, True
        elif package == "numpy.random" and last in NUMPY_DRAWS:
            yield "numpy", site, True
        elif package == "torch" and last in TORCH_DRAWS and site.argument("generator") is None and not site.is_open:
            yield "torch", site, True
    for site in program.calls(module, _DROPOUTS | {"dropout"}):
        share = site.constant(site.argument("p", 1 if last_name(site.node.func) == "dropout" else 0))
        if site.name.startswith("torch.nn.") and share != 0 and site.constant(site.argument("training")) is not False:
            yield "torch", site, isinstance(share, float) and site.name.startswith("torch.nn.Dropout")
    for site in program.calls(module, {"DataLoader"}):
        given = site.argument("shuffle", 2)
        shuffle = site.constant(given)
        has_own = site.argument("generator") is not None or site.is_open
        if site.name.startswith("torch.utils.data") and not has_own and (shuffle is True or (shuffle is ... and given)):
            yield "torch", site, shuffle is True
