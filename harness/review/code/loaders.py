"""REP201 and REP202: where the order of a DataLoader comes from, and what seeds its workers."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from harness.review.code.draws import LOADERS, is_unset
from harness.review.code.seeding import is_aside
from harness.review.finding import Said, Showing, finding, holds
from harness.review.source.execution import Site
from harness.review.source.module import Module
from harness.review.source.nodes import called
from harness.review.source.program import Entry, Program

_RANDOM_SAMPLERS = ("RandomSampler", "SubsetRandomSampler", "WeightedRandomSampler")


def check_loaders(program: Program, module: Module) -> Iterator[Said]:
    """Every DataLoader that a file builds."""
    if "DataLoader" not in module.text or is_aside(module):
        return
    for site in program.sites(module):
        if site.name in LOADERS and not site.is_open:
            yield from _check_loader(site)


def check_has_loader(entry: Entry) -> Iterator[Showing]:
    """T3 does not apply to a program without any DataLoader that nobody builds for it."""
    if any("DataLoader" in module.text or "Trainer" in module.text for module in entry.closure):
        return
    if any(site.method == "backward" for site in entry.execution):
        text = "no DataLoader and no worker: the program builds its batches itself"
        yield Showing(item="T3", state="does not apply", text=text, place=entry.module.place(entry.module.tree))


def _check_loader(site: Site) -> Iterator[Said]:
    what = f"`{called(site.node)}`"
    shuffled, workers = _shuffled(site), _workers(site)
    has_generator = not is_unset(site, "generator")
    has_init = not is_unset(site, "worker_init_fn")
    # Lightning gives every loader a worker_init_fn after `seed_everything(seed, workers=True)`.
    is_seeded_by_library = "workers=True" in site.module.text
    if shuffled and not has_generator:
        message = f"{what} {shuffled} without generator=, so torch's global generator decides its order"
        yield finding("REP201", site.place, message, proven=site.is_certain)
    if workers and not has_init and not is_seeded_by_library:
        message = f"{what} has {workers} and no worker_init_fn"
        yield finding("REP202", site.place, message, proven=site.is_certain and workers[0].isdigit())
    if has_generator and (has_init or not workers):
        rest = "and a worker_init_fn" if has_init else "and no workers"
        yield holds("T3", f"{what} has a generator of its own {rest}", site.place)
    elif not shuffled and not workers:
        yield holds("T3", f"{what} neither shuffles nor has workers", site.place)


def _shuffled(site: Site) -> str:
    """How the loader shuffles, in words; "" if it does not, or that cannot be told."""
    if site.constant(site.argument("shuffle", 2)) is True:
        return "shuffles"
    sampler = site.resolve(site.argument("sampler", 3))
    if sampler is None or not sampler.is_certain or not sampler.name.startswith("torch.utils.data."):
        return ""
    name = sampler.name.removesuffix("()").rpartition(".")[2]
    if name not in _RANDOM_SAMPLERS or sampler.scope is None:
        return ""
    keywords = {keyword.arg for keyword in getattr(sampler.node, "keywords", [])}
    return "" if "generator" in keywords or None in keywords else f"draws from a {name}"


def _workers(site: Site) -> str:
    """How many workers, in words; "" for none."""
    given = site.argument("num_workers", 5)
    if given is None:
        return ""
    number = site.constant(given)
    if number is ...:
        return f"`{ast.unparse(given)}` workers"
    return f"{number} workers" if isinstance(number, int) and number > 0 else ""
