"""REP109 and REP110: validation that draws from the training's generators, augmentation with a generator of its own."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from harness.review.code.draws import GENERATORS, Draw, draw_of, is_unset
from harness.review.code.seeding import Seeding, is_aside
from harness.review.finding import Finding, finding
from harness.review.source.execution import Site
from harness.review.source.module import Function, Module, Scope
from harness.review.source.nodes import called, words
from harness.review.source.program import Entry, Program

_NAMES = re.compile(r"(^|_)(eval|evaluate|evaluation|valid|validate|validation|val|estimate_loss|dev)(_|$)")
_QUIET = ("no_grad", "inference_mode", ".eval()")
_KEEPS = re.compile(r"fork_rng|get_rng_state|getstate|random\.get_state|isolate_rng|preserve_rng|rng_guard|keep_rng")
_FIXED = words(
    "CenterCrop Crop Equalize FromFloat Lambda LongestMaxSize Normalize PadIfNeeded Pad Resize SmallestMaxSize ToFloat "
    "ToTensorV2 ToGray ToRGB NoOp Transpose"
)
_MAX_HOPS = 3
_AROUND = 8  # lines around a call in which states are saved and restored


def check_validation(entry: Entry) -> Iterator[Finding]:
    """Functions that evaluate, that a training loop calls, and that draw from a global generator."""
    if not any("eval" in module.text or "val" in module.text for module in entry.closure):
        return
    seeding = Seeding(entry)
    if not seeding.is_training:
        return
    sites = (*entry.execution[entry.num_imported :], *entry.later)
    for function, is_sure in _evaluations(sites).items():
        found = _first_draw(entry.program, function, 0)
        if found is None:
            continue
        call, draw = found
        others = (one.site for one in seeding.drawn(draw.stream) if one.site.node is not draw.site.node)
        if draw.stream != "torch" and all(one.scope.function is function for one in others):
            continue  # nothing else draws from it, so nothing else changes
        how = f"`{called(call.node)}`"
        if call.node is not draw.site.node:
            how += f", that is with `{draw.what}` ({draw.site.place}),"
        name = function.name.rpartition(".")[2]
        message = f"`{name}` draws with {how} from {GENERATORS[draw.stream]}, while the training goes on"
        yield finding("REP109", call.place, message, proven=is_sure and draw.is_certain)


def check_augmentation(program: Program, module: Module) -> Iterator[Finding]:
    """albumentations.Compose of something random without seed=."""
    if "albumentations" not in module.text or is_aside(module) or "set_random_seed" in module.text:
        return
    for site in program.sites(module):
        if site.name != "albumentations.Compose" or site.is_open or not is_unset(site, "seed"):
            continue
        if drawn := _random_transform(site):
            message = f"`{called(site.node)}` draws for `{drawn}` from a generator of its own, and has no seed="
            yield finding("REP110", site.place, message, proven=False)


def _evaluations(sites: tuple[Site, ...]) -> dict[Scope, bool]:
    """Functions that evaluate and are called inside of a loop, and whether the call is certain."""
    found: dict[Scope, bool] = {}
    for site in sites:
        target = site.definition
        if target is None or not isinstance(target.node, Function) or not _is_evaluation(target):
            continue
        line = site.node.lineno
        around = "\n".join(site.module.lines[max(0, line - _AROUND) : line + _AROUND])
        if _KEEPS.search(around) or _KEEPS.search(_text(target)):
            continue
        if any(isinstance(one, ast.For | ast.While) for one in site.module.ancestors(site.node)):
            found[target] = found.get(target, False) or site.is_certain
    return found


def _is_evaluation(scope: Scope) -> bool:
    """Its name says so, and it turns gradients or training mode off, itself or by a decorator."""
    name = scope.name.rpartition(".")[2].lower()
    return _NAMES.search(name) is not None and any(word in _text(scope) for word in _QUIET)


def _text(scope: Scope) -> str:
    """A function as it is written, with its decorators."""
    assert isinstance(scope.node, Function)
    first = min([scope.node.lineno, *(one.lineno for one in scope.node.decorator_list)])
    return "\n".join(scope.module.lines[first - 1 : scope.node.end_lineno])


def _first_draw(program: Program, function: Scope, hops: int) -> tuple[Site, Draw] | None:
    """The first call in a function that draws, itself or in the functions of the tree that it calls."""
    for site in program.sites(function.module):
        if site.scope.function is not function:
            continue
        draw = draw_of(site)
        if draw is not None and draw.kind in ("explicit", "order") and not draw.via:
            return site, draw
        target = site.definition
        if target is not None and target.kind == "function" and target is not function and hops < _MAX_HOPS:
            below = _first_draw(program, target, hops + 1)
            if below is not None:
                return site, below[1]
    return None


def _random_transform(site: Site) -> str:
    """The first of the listed transforms that draws something."""
    listed = site.argument("transforms", 0)
    for one in listed.elts if isinstance(listed, ast.List | ast.Tuple) else ():
        meaning = site.resolve(one)
        if isinstance(one, ast.Call) and meaning is not None and meaning.name.startswith("albumentations."):
            last = meaning.name.removesuffix("()").rpartition(".")[2]
            if last not in _FIXED and "pytorch" not in meaning.name:
                return last
    return ""
