"""Which calls seed a global generator, and which restore one: the counterpart of draws.py."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from harness.review.code.draws import STREAMS, Stream
from harness.review.source.meaning import Meaning, Resolver
from harness.review.source.module import Module, Scope
from harness.review.source.program import Site

_ALL: frozenset[Stream] = frozenset(STREAMS)
_NONE: frozenset[Stream] = frozenset()
_SEEDS: dict[str, frozenset[Stream]] = {
    "random.seed": frozenset(("python",)),
    "numpy.random.seed": frozenset(("numpy",)),
    "torch.manual_seed": frozenset(("torch",)),
    "torch.random.manual_seed": frozenset(("torch",)),
    "torch.default_generator.manual_seed": frozenset(("torch",)),
    "torch.seed": frozenset(("torch",)),
    "torch.random.seed": frozenset(("torch",)),
}
RESTORES: dict[str, frozenset[Stream]] = {
    "random.setstate": frozenset(("python",)),
    "numpy.random.set_state": frozenset(("numpy",)),
    "torch.set_rng_state": frozenset(("torch",)),
    "torch.random.set_rng_state": frozenset(("torch",)),
}
_OWN_RULES = frozenset(("random", "numpy", "torch", "jax", "tensorflow", "builtins"))
_TRAINERS_WITHOUT = frozenset(("lightning", "pytorch_lightning", "composer", "allennlp", "ultralytics"))
_SEED_NAME = re.compile(r"seed|determinis|reproducib", re.I)
_GENERATOR_NAME = re.compile(r"gen|rng|^g$", re.I)


def seeds_of(site: Site) -> frozenset[Stream]:
    """The generators that a call seeds; a library's own seeding function counts for all of them.

    So does a method that nothing is known of but that its name speaks of seeds.
    """
    name = site.name
    if name in _SEEDS:
        return _SEEDS[name]
    if "::" in name:
        return _ALL if is_trainer(site.meaning, site.resolver) else _NONE
    root = name.partition(".")[0]
    if root in _OWN_RULES:
        return _ALL if name == "tensorflow.keras.utils.set_random_seed" else _NONE
    last = name.removesuffix("()").rpartition(".")[2]
    if not name and isinstance(site.node.func, ast.Name):
        last = site.node.func.id
    if _SEED_NAME.search(last):
        return _NONE if not root and _is_generator(site.node.func) else _ALL
    return _ALL if is_trainer_name(name) else _NONE


def mentioned_seeds(module: Module, resolver: Resolver) -> Iterator[tuple[ast.expr, frozenset[Stream]]]:
    """Functions that seed, named without being called: `for f in (random.seed, np.random.seed)`."""
    if "seed" not in module.text:
        return
    called = {site.func for site, _scope in module.calls}
    for node in module.nodes:
        name = node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""
        if "seed" in name and isinstance(node, ast.Attribute | ast.Name) and isinstance(node.ctx, ast.Load):
            if node in called:
                continue
            meaning = resolver.resolve(node, module.scope_at(node))
            if meaning is None or "::" in meaning.name or "()" in meaning.name:
                continue
            root = meaning.name.partition(".")[0]
            if meaning.name in _SEEDS:
                yield node, _SEEDS[meaning.name]
            elif root not in _OWN_RULES and meaning.name.rpartition(".")[2] in ("set_seed", "seed_everything"):
                yield node, _ALL


def is_trainer(meaning: Meaning | None, resolver: Resolver, depth: int = 0) -> bool:
    """A class of the tree that derives from a trainer of transformers, which seeds everything when it is built."""
    owner: Scope | None = None if meaning is None else meaning.definition
    if owner is None or not isinstance(owner.node, ast.ClassDef) or owner.parent is None or depth > 8:
        return False
    for base in owner.node.bases:
        found = resolver.resolve(base, owner.parent)
        if found is None:
            continue
        if ("::" not in found.name and is_trainer_name(found.name)) or is_trainer(found, resolver, depth + 1):
            return True
    return False


def is_trainer_name(name: str) -> bool:
    """`transformers.Trainer`, `trl.SFTTrainer`: of a library, and not of one whose trainers do not seed."""
    root, _, rest = name.partition(".")
    return rest.rpartition(".")[2].endswith("Trainer") and root not in _TRAINERS_WITHOUT and "()" not in name


def _is_generator(function: ast.expr) -> bool:
    """`generator.manual_seed`: of a generator of one's own, as far as its name tells."""
    owner = function.value if isinstance(function, ast.Attribute) else None
    last = owner.id if isinstance(owner, ast.Name) else owner.attr if isinstance(owner, ast.Attribute) else ""
    return _GENERATOR_NAME.search(last) is not None
