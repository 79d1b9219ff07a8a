"""Seeds and generators of one's own: none given, another one in every run, set again (REP104, 105, 108, 113-115)."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from harness.review.code.draws import Stream, is_unset
from harness.review.code.seed_sources import first_source
from harness.review.code.seeders import RESTORES, seeds_of
from harness.review.code.seeding import is_aside
from harness.review.finding import Finding, finding
from harness.review.source.execution import Site
from harness.review.source.module import Function, Module
from harness.review.source.nodes import called, last_name, words
from harness.review.source.program import Entry, Program

_MAKERS = {
    **dict.fromkeys((f"numpy.random.{name}" for name in ("default_rng", "RandomState", "PCG64", "MT19937")), "seed"),
    **dict.fromkeys(("numpy.random.Philox", "numpy.random.SFC64"), "seed"),
    "numpy.random.SeedSequence": "entropy",
    "random.Random": "x",
}
_SEEDERS = words(
    "numpy.random.default_rng numpy.random.RandomState numpy.random.seed numpy.random.SeedSequence numpy.random.PCG64 "
    "random.Random random.seed torch.cuda.manual_seed torch.cuda.manual_seed_all torch.manual_seed "
    "torch.random.manual_seed torch.Generator().manual_seed"
)
_WITHOUT = {"random.seed": "a", "numpy.random.seed": "seed"}  # without an argument the system is asked
_ASKS = words("torch.seed torch.random.seed torch.cuda.seed torch.cuda.seed_all")
_LIBRARIES = words(
    "accelerate albumentations datasets lightning numpy peft pytorch_lightning sklearn torch transformers trl"
)
_TELLS = re.compile(r"(^|_)(load|read|get|find|parse|from|save|log|write|print|record)(_|$)")  # a seed, and sets none
_KEYWORDS = words("data_seed random_state seed")


def check_generators_without_seed(program: Program, module: Module) -> Iterator[Finding]:
    """REP104: generators that are built without a seed and get none later."""
    if not re.search(r"andom|default_rng|\.seed\(\)", module.text) or is_aside(module):
        return
    for site in program.sites(module):
        keyword = _MAKERS.get(site.name)
        if keyword is not None and not site.is_open and is_unset(site, keyword, 0):
            if not (_is_seeded_later(site) or _is_argument_of_maker(site)):
                message = f"`{called(site.node)}()` is built without a seed, so it takes one from the system"
                yield finding("REP104", site.place, message, proven=site.is_certain and not _is_fallback(site))
        elif site.name == "torch.Generator().seed" and not site.node.args:
            message = f"`{called(site.node)}()` gives this generator a seed from the system"
            yield finding("REP104", site.place, message)


def check_seed_sources(program: Program, module: Module) -> Iterator[Finding]:
    """REP105, REP113, REP114, REP115: seeds from the clock, a file's status, the machine or process, a path."""
    if not re.search(r"seed|default_rng|Random|random_state", module.text) or is_aside(module):
        return
    told: set[ast.expr] = set()  # one source is one cause, however many generators it seeds
    for site in program.sites(module):
        if site.name in _ASKS or (
            site.name in _WITHOUT and not site.is_open and is_unset(site, _WITHOUT[site.name], 0)
        ):
            message = f"`{ast.unparse(site.node)}` asks the system for a seed"
            yield finding("REP105", site.place, message, proven=site.is_certain)
            continue
        source = first_source(_given_seeds(site), site.scope, site, is_sure=site.is_certain)
        if source is not None and source.node not in told:
            told.add(source.node)
            origin = ast.unparse(source.node)
            message = f"the seed of `{called(site.node)}` comes from `{origin}`, {_DIFFERS[source.rule]}"
            yield finding(source.rule, site.place, message, proven=source.is_sure)


_DIFFERS = {
    "REP105": "so it differs in every run",
    "REP113": "which a new copy of the file changes",
    "REP114": "which another process or machine changes",
    "REP115": "which another folder changes",
}


def _given_seeds(site: Site) -> tuple[ast.expr, ...]:
    """What a call is given as a seed."""
    if _takes_seed(site):
        named = (one.value for one in site.node.keywords if one.arg in ("a", "seed"))
        return (*site.node.args[:1], *named) if not site.is_open else ()
    if site.name.partition(".")[0] not in _LIBRARIES:
        return ()
    return tuple(one.value for one in site.node.keywords if one.arg in _KEYWORDS)


def check_reseeding(entry: Entry) -> Iterator[Finding]:
    """REP108: seeds that follow a restore of the generators, in the order in which the program runs."""
    restored: dict[Stream, Site] = {}
    for site in entry.execution[entry.num_imported :]:
        streams = RESTORES.get(site.name, frozenset())
        if site.method == "load_state" and site.name.startswith("accelerate.Accelerator()"):
            streams = frozenset(("python", "numpy", "torch"))
        if streams and not _is_put_back(site):
            restored.update(dict.fromkeys(streams - restored.keys(), site))
        hit = sorted(seeds_of(site) & restored.keys()) if restored and not streams else []
        if not hit or "Trainer" in site.name or _is_in_loop(site) or _excludes(restored[hit[0]], site):
            continue
        first = restored[hit[0]]
        message = f"`{called(site.node)}` seeds again what `{called(first.node)}` restored ({first.place})"
        yield finding("REP108", site.place, message, proven=not site.is_conditional and site.is_certain)
        return


def _takes_seed(site: Site) -> bool:
    if site.name in _SEEDERS:
        return True
    if (not site.node.args and not site.node.keywords) or _TELLS.search(last_name(site.node.func)):
        return False
    target = site.definition  # a function of the tree that is named so: `set_seed(int(time.time()))`
    is_named_so = target is not None and target.kind == "function" and "seed" in target.name.lower()
    return is_named_so or (bool(seeds_of(site)) and "Trainer" not in site.name)


def _is_fallback(site: Site) -> bool:
    """`rng or default_rng()`, `if rng is None: rng = default_rng()`, a parameter's default."""
    for above in site.module.ancestors(site.node):
        if isinstance(above, ast.IfExp | ast.BoolOp | ast.If | ast.arguments | ast.ExceptHandler):
            return True
        if isinstance(above, Function | ast.Lambda):
            return any(site.node is one for one in ast.walk(above.args))
    return False


def _is_argument_of_maker(site: Site) -> bool:
    """`Generator(PCG64())`: told once, at the inner one; `default_rng(SeedSequence())` too."""
    parent = site.module.parents.get(site.node)
    return isinstance(parent, ast.Attribute) and parent.attr in ("spawn", "setstate", "set_state", "seed")


def _is_seeded_later(site: Site) -> bool:
    """The same name is given a seed or a state elsewhere in the file, or bound again to something with arguments."""
    parent = site.module.parents.get(site.node)
    if not isinstance(parent, ast.Assign | ast.AnnAssign):
        return False
    targets = parent.targets if isinstance(parent, ast.Assign) else [parent.target]
    given = r"(\s*=\s*[\w.]+\([^)\s]|\.(seed|setstate|set_state|bit_generator\.state\s*=|__setstate__))"
    names = (re.escape(ast.unparse(one)) for one in targets)
    return any(re.search(rf"(?<![\w.]){name}{given}", site.module.text) for name in names)


def _is_put_back(site: Site) -> bool:
    """The function that restores a state also took it: it only keeps what it does apart, no checkpoint is involved."""
    function = site.scope.function
    if function is None:
        return False
    taken = ("get_rng_state", "getstate", "get_state")
    return any(isinstance(one, ast.Attribute) and one.attr in taken for one in ast.walk(function.node))


def _is_in_loop(site: Site) -> bool:
    """Each round has a seed of its own; so it is the seed that carries the state, not the generator."""
    return any(isinstance(one, ast.For | ast.While) for one in site.module.ancestors(site.node))


def _excludes(restore: Site, seed: Site) -> bool:
    """They stand in the two branches of one `if`: either is done, never both."""
    inside = [{site.node, *site.module.ancestors(site.node)} for site in (restore, seed)]
    branches = (one for one in inside[0] & inside[1] if isinstance(one, ast.If))
    return any(len({any(one in nodes for one in branch.body) for nodes in inside}) == 2 for branch in branches)
