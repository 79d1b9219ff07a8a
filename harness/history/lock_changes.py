"""What differs between two wheel locks, pin by pin, and the locks that lie between them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from harness.documents.history import PinChange
from harness.documents.lockfile import Lockfile, Pin, render_pins, render_wheels
from harness.review.lock_rules import unmet


def pin_changes(before: Lockfile, after: Lockfile) -> tuple[PinChange, ...]:
    """The pins that differ, sorted by name.

    What an image takes of a pin counts: version, marker and the target's wheel. Where one lock names no wheel, its
    hashes decide.
    """
    one, two = _by_name(before), _by_name(after)
    return tuple(
        PinChange(
            name=name,
            before=one[name].version if name in one else None,
            after=two[name].version if name in two else None,
        )
        for name in sorted(one.keys() | two.keys())
        if not _is_same(one.get(name), two.get(name))
    )


def mixed_pins(before: Lockfile, after: Lockfile, names: Iterable[str]) -> tuple[Pin, ...]:
    """The pins of the lock `before` with those of `after` for some names: changed, added or left out."""
    wanted = frozenset(names)
    one, two = _by_name(before), _by_name(after)
    chosen = {name: (two if name in wanted else one).get(name) for name in one.keys() | two.keys()}
    return tuple(pin for _, pin in sorted(chosen.items()) if pin is not None)


def mixed_lock(before: Lockfile, after: Lockfile, names: Iterable[str]) -> str:
    """The text of the lock with these pins, as an image can be built from it."""
    pins = mixed_pins(before, after, names)
    installed = max(before.installed_bytes, after.installed_bytes)
    target = after.target or before.target
    lines = [f"# target: {target}"] if target else []
    lines += [f"# installed: {installed} bytes"] if installed else []
    wheels = {pin.name: pin.wheel for pin in pins if pin.wheel}
    return "".join(f"{line}\n" for line in lines) + render_pins(pins) + render_wheels(wheels)


class Fit:
    """Which mixes of two locks are consistent: what every wheel says that it needs is in the mix."""

    def __init__(
        self,
        before: Lockfile,
        after: Lockfile,
        needs_before: Mapping[str, tuple[str, ...]],
        needs_after: Mapping[str, tuple[str, ...]],
        python: str,
    ) -> None:
        """Take two locks with what their wheels need.

        `needs_*` are the `Requires-Dist` lines of each lock's wheels by distribution, `python` is a full version or "".
        """
        self._before, self._after, self._python = before, after, python
        self._needs = needs_before, needs_after
        self._changed = frozenset(change.name for change in pin_changes(before, after))
        self._seen: dict[frozenset[str], frozenset[str]] = {}
        # What one of the two locks lacks as well is nothing that mixing them did.
        self._known = self._found(frozenset()) | self._found(self._changed)

    def problems(self, names: Iterable[str]) -> tuple[str, ...]:
        """What the mix with these names' new pins lacks; what one of the two locks lacks as well does not count."""
        return tuple(sorted(self._found(frozenset(names) & self._changed) - self._known))

    def closure(self, name: str) -> frozenset[str]:
        """A consistent set of changes with this one, by adding the changes that the complaints about it name.

        Where that does not lead to a consistent mix, the set is returned as far as it got: `problems` says so.
        """
        chosen: frozenset[str] = frozenset((name,))
        while True:
            named = {one for text in self.problems(chosen) for one in _names_in(text)} & self._changed
            if named <= chosen:
                return chosen
            chosen |= named

    def _found(self, names: frozenset[str]) -> frozenset[str]:
        if names not in self._seen:
            pins = mixed_pins(self._before, self._after, names)
            needs = {pin.name: self._needs[pin.name in names].get(pin.name, ()) for pin in pins}
            found = unmet(needs, dataclasses.replace(self._after, pins=pins), "mix", self._python)
            self._seen[names] = frozenset(f"{one.where.partition(': ')[2]}: {one.problem}" for one in found)
        return self._seen[names]


def _names_in(complaint: str) -> tuple[str, ...]:
    """The distributions that a complaint is about: who needs something, and what."""
    who, _, problem = complaint.partition(": ")
    what = problem.removeprefix("it needs ").rpartition(", ")[0]
    try:
        return who, canonicalize_name(Requirement(what).name)
    except InvalidRequirement:
        return (who,)


def _by_name(lock: Lockfile) -> dict[str, Pin]:
    return {pin.name: pin for pin in lock.pins}


def _is_same(one: Pin | None, two: Pin | None) -> bool:
    if one is None or two is None:
        return one is two
    if (one.version, one.marker) != (two.version, two.marker):
        return False
    if one.wheel and two.wheel:
        return one.wheel.sha256 == two.wheel.sha256
    if wheel := one.wheel or two.wheel:
        return wheel.sha256 in one.hashes and wheel.sha256 in two.hashes
    return one.hashes == two.hashes
