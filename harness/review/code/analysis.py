"""All rules that read Python source, on one file: what it says, and what the program says that starts there."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable

from harness.review.code.checkpoints import check_checkpoints
from harness.review.code.hub import check_downloads, check_loading
from harness.review.code.late_environment import check_environment
from harness.review.code.operators import check_operators
from harness.review.code.order import check_has_loader, check_hash, check_loaders, check_order
from harness.review.code.randomness import check_generators, check_streams
from harness.review.code.recorder_access import check_recorder_access
from harness.review.code.restoring import check_restoring
from harness.review.code.saving import check_saving
from harness.review.code.seeds import check_generators_without_seed, check_reseeding, check_seed_sources
from harness.review.code.switches import check_deterministic_mode, check_shown_switches, check_switches
from harness.review.code.system_random import check_system_random
from harness.review.code.validation import check_augmentation, check_validation
from harness.review.finding import Finding, Place, Said, Showing
from harness.review.source.allow import apply_allows, read_allows
from harness.review.source.module import Module
from harness.review.source.program import Entry, Program

ModuleCheck = Callable[[Program, Module], Iterable[Said]]
EntryCheck = Callable[[Entry], Iterable[Said]]

MODULE_CHECKS: tuple[ModuleCheck, ...] = (
    check_augmentation,
    check_seed_sources,
    check_recorder_access,
    check_generators_without_seed,
    check_hash,
    check_loaders,
    check_order,
    check_streams,
    check_system_random,
    check_downloads,
    check_environment,
    check_loading,
    check_restoring,
    check_switches,
)
"""Each looks at one file by itself, with the meanings of its names."""

ENTRY_CHECKS: tuple[EntryCheck, ...] = (
    check_generators,
    check_has_loader,
    check_reseeding,
    check_validation,
    check_checkpoints,
    check_deterministic_mode,
    check_operators,
    check_saving,
    check_shown_switches,
)
"""Each looks at the program that starts in a file; what it finds may stand in any file of the program."""


def settle(program: Program, said: Iterable[Said], paths: Iterable[str], known: Container[str]) -> tuple[Said, ...]:
    """Each thing once, findings with the allow comments of their files applied; sorted by place.

    Args:
        program: to read the files with.
        said: by the modules and the entries, possibly the same thing twice.
        paths: every reviewed file: its allow comments are judged even where nothing was found.
        known: ids of all rules.
    """
    unique = list(dict.fromkeys(said))
    showings = [one for one in unique if isinstance(one, Showing)]
    findings = [one for one in unique if isinstance(one, Finding)]
    settled: list[Finding] = []
    for path in sorted({*paths, *(one.place.path for one in findings if one.place is not None)}):
        own = [one for one in findings if one.place is not None and one.place.path == path]
        module = program.module(path) if path in program.paths else None
        settled += own if module is None else apply_allows(read_allows(module), own, known)
    settled += [one for one in findings if one.place is None]
    order = sorted(settled, key=lambda one: (one.place or Place(path="~"), one.rule, one.message))
    return (*order, *sorted(showings, key=lambda one: (one.item, str(one.place), one.text)))
