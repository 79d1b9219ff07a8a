"""Which calls seed a global generator, and which restore one: the counterpart of draws.py."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from harness.review.code.draws import STREAMS, Stream
from harness.review.source.execution import Site
from harness.review.source.meaning import Meaning, Resolver
from harness.review.source.module import Module
from harness.review.source.nodes import last_name, receiver

_ALL: frozenset[Stream] = frozenset(STREAMS)
_NONE: frozenset[Stream] = frozenset()
_PYTHON: frozenset[Stream] = frozenset(("python",))
_NUMPY: frozenset[Stream] = frozenset(("numpy",))
_TORCH: frozenset[Stream] = frozenset(("torch",))
_SEEDS = {
    "random.seed": _PYTHON,
    "numpy.random.seed": _NUMPY,
    "torch.manual_seed": _TORCH,
    "torch.random.manual_seed": _TORCH,
    "torch.default_generator.manual_seed": _TORCH,
    "torch.seed": _TORCH,
    "torch.random.seed": _TORCH,
}
RESTORES = {
    "random.setstate": _PYTHON,
    "numpy.random.set_state": _NUMPY,
    "torch.set_rng_state": _TORCH,
    "torch.random.set_rng_state": _TORCH,
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
        is_of_generator = not root and _GENERATOR_NAME.search(receiver(site.node))  # `generator.manual_seed`
        return _NONE if is_of_generator else _ALL
    return _ALL if is_trainer_name(name) else _NONE


def mentioned_seeds(module: Module, resolver: Resolver) -> Iterator[tuple[ast.expr, frozenset[Stream]]]:
    """Functions that seed, named without being called: `for f in (random.seed, np.random.seed)`."""
    if "seed" not in module.text:
        return
    called = {call.func for call, _ in module.calls}
    for node in module.nodes:
        if not (isinstance(node, ast.Attribute | ast.Name) and isinstance(node.ctx, ast.Load)):
            continue
        if node in called or "seed" not in last_name(node):
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
    owner = None if meaning is None else meaning.definition
    if owner is None or not isinstance(owner.node, ast.ClassDef) or owner.parent is None or depth > 8:
        return False
    bases = (resolver.resolve(base, owner.parent) for base in owner.node.bases)
    return any(
        ("::" not in base.name and is_trainer_name(base.name)) or is_trainer(base, resolver, depth + 1)
        for base in bases
        if base is not None
    )


def is_trainer_name(name: str) -> bool:
    """`transformers.Trainer`, `trl.SFTTrainer`: of a library, and not of one whose trainers do not seed."""
    root, _, rest = name.partition(".")
    return rest.rpartition(".")[2].endswith("Trainer") and root not in _TRAINERS_WITHOUT and "()" not in name
