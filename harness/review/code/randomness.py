"""Global generators that a program draws from without having seeded them (REP101-103, 107, 111, 112)."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import replace

from harness.review.code.draws import GENERATORS, STREAMS, Stream, is_streamed, is_unset
from harness.review.code.seeding import LATER, Placed, Seeding
from harness.review.finding import Finding, Item, Showing, finding, holds
from harness.review.source.execution import Site
from harness.review.source.module import Function, Module
from harness.review.source.nodes import and_more, called
from harness.review.source.program import Entry, Program

_RULE_OF: dict[Stream, str] = {"python": "REP101", "numpy": "REP102", "torch": "REP103"}
_NAME_OF: dict[Stream, str] = {"python": "random", "numpy": "numpy", "torch": "torch"}
_ITEMS: tuple[Item, Item] = ("T1", "V1")
_DRAWN = {
    "explicit": "draws from {0}",
    "order": "draws an order from {0}",
    "model": "draws weights from {0}",
    "head": "draws the weights of a head that its checkpoint lacks from {0}",
    "adapter": "draws the adapter's weights from {0}",
    "augmentation": "draws its augmentation from {0}",
}


def check_generators(entry: Entry) -> Iterator[Finding | Showing]:
    """Whether every global generator that the program draws from is seeded, and before the first draw."""
    seeding = Seeding(entry)
    if not seeding.is_training:
        if seeding.is_writing_data:
            yield from _check_data(seeding)
        return
    states = {stream: list(_check_stream(seeding, stream)) for stream in STREAMS}
    for findings in states.values():
        yield from findings
    if not any(states.values()):
        yield from _showings(seeding)


def check_streams(program: Program, module: Module) -> Iterator[Finding]:
    """Shuffles of streamed data sets without a seed: they ask the system for one, whatever else was seeded."""
    if "buffer_size" not in module.text and "streaming" not in module.text:
        return
    for site in program.sites(module):
        is_stream = site.method == "shuffle" and site.name.startswith("datasets.load_dataset()") and is_streamed(site)
        if is_stream and not site.is_open and is_unset(site, "seed", 0) and is_unset(site, "generator"):
            message = f"`{called(site.node)}` shuffles a stream without seed=, so its generator is seeded by the system"
            yield finding("REP111", site.place, message)


def _check_stream(seeding: Seeding, stream: Stream) -> Iterator[Finding]:
    drawn, seeded = seeding.drawn(stream), seeding.seeded(stream)
    if not drawn or seeding.may_be_seeded_unseen(stream):
        return
    if not seeded:
        yield _unseeded(seeding, stream, drawn)
        return
    first = next((one for one in drawn if one.is_sure and not one.is_later), None)
    executed = [one for one in seeded if one.position < LATER]
    if first is None or not executed:
        return
    before = [one for one in executed if one.position < first.position]
    if not before:
        yield _too_late(seeding, stream, first, executed[0])
    elif all(one.site.is_conditional for one in before):
        option = _left_out(seeding.entry, before[0].site)
        if option:
            message = f"`{called(before[0].site.node)}` seeds only if {option}"
            yield finding("REP112", before[0].site.place, message, proven=False)


def _unseeded(seeding: Seeding, stream: Stream, drawn: list[Placed]) -> Finding:
    sure = [one for one in drawn if one.is_sure and one.draw is not None and seeding.is_certain(one.draw)]
    first = sure[0] if sure else drawn[0]
    draw, generator = first.draw, GENERATORS[stream]
    assert draw is not None
    others = {one.site.node for one in drawn if one.site.module is first.site.module}
    does = _DRAWN[draw.kind].format(generator)
    if draw.via:
        does = f"has no seed of its own, so {draw.via} draws from {generator}"
    more = and_more(len(others), "more such calls in this file")
    message = f"`{draw.what}` {does}, and nothing in this program seeds it{more}"
    rule = "REP111" if draw.via else _RULE_OF[stream]
    return finding(rule, first.site.place, message, proven=bool(sure) and not seeding.has_unread_code())


def _too_late(seeding: Seeding, stream: Stream, first: Placed, seed: Placed) -> Finding:
    assert first.draw is not None
    does = _DRAWN[first.draw.kind].format(GENERATORS[stream])
    message = f"`{first.draw.what}` {does} before `{called(seed.site.node)}` seeds it ({seed.site.place})"
    is_proven = seeding.is_certain(first.draw) and not seeding.has_unread_code()
    return finding("REP107", first.site.place, message, proven=is_proven)


def _check_data(seeding: Seeding) -> Iterator[Finding]:
    """A program that writes data without training: only orders and samples are looked at, and never proven."""
    for stream in STREAMS:
        drawn = [one for one in seeding.drawn(stream) if one.draw is not None and one.draw.kind == "order"]
        drawn = [one for one in drawn if one.is_sure or one.site.module is seeding.entry.module]
        if drawn and not seeding.seeded(stream) and not seeding.may_be_seeded_unseen(stream):
            yield replace(_unseeded(seeding, stream, drawn), certainty="possible")


def _showings(seeding: Seeding) -> Iterator[Showing]:
    parts: list[str] = []
    unknown: list[str] = []
    for stream in STREAMS:
        name, drawn, seeded = _NAME_OF[stream], seeding.drawn(stream), seeding.seeded(stream)
        sure = next((one for one in seeded if not one.site.is_conditional), None)
        first = min((LATER if one.is_later else one.position for one in drawn), default=LATER + 1)
        if sure is not None and (sure.position < first or not drawn):
            parts.append(f"{name} at {sure.site.place}")
        elif drawn:
            unknown.append(f"{name}, drawn from at {drawn[0].site.place}")
    place = next((one.site.place for one in seeding.seeds if not one.site.is_conditional), None)
    if unknown:
        text = f"could not follow whether every generator is seeded first: {'; '.join(unknown)}"
        for item in _ITEMS:
            yield Showing(item=item, state="unknown", text=text, place=place)
    elif parts:
        others = [_NAME_OF[one] for one in STREAMS if not seeding.drawn(one) and not seeding.seeded(one)]
        rest = f"; {' and '.join(others)} not drawn from" if others else ""
        yield holds("T1", f"seeded: {', '.join(parts)}{rest}", place)
        text = f"every global generator that is drawn from is seeded first: {', '.join(parts)}{rest}"
        yield holds("V1", text, place)


def _left_out(entry: Entry, site: Site) -> str:
    """In which case a conditional seed is left out by default, in words; "" if that cannot be told."""
    for above in site.module.ancestors(site.node):
        if isinstance(above, Function):
            return ""
        if isinstance(above, ast.If) and "seed" in ast.unparse(above.test).lower():
            break
    else:
        return ""
    for node in ast.walk(above.test):
        if isinstance(node, ast.Attribute) and "seed" in node.attr.lower() and _is_none_by_default(entry, node.attr):
            return f"`{ast.unparse(above.test)}`, and the default of --{node.attr} is None"
    return ""


def _is_none_by_default(entry: Entry, option: str) -> bool:
    """Whether `add_argument("--<option>")` gives it no default, or None."""
    for site in entry.sites:
        if site.method != "add_argument" or site.is_open:
            continue
        names = [site.constant(one) for one in site.node.args]
        if any(isinstance(name, str) and name.lstrip("-").replace("-", "_") == option for name in names):
            return is_unset(site, "default") and site.argument("required") is None
    return False
