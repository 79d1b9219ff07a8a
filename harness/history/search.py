"""Bisect: which of many changes altered the bits, in as few trials as can be.

Two questions are asked of trials that say `same`, `different` or, where something cannot be built or run, `unresolved`.

*Of an ordered line of changes*: between which two neighbours does the answer turn? Binary search with the convention of
`git bisect`: a state that cannot be tested is stepped around, and if none but such states are left the answer is a
range (https://git-scm.com/docs/git-bisect, "Avoiding testing a commit").

*Of a set of changes*: which smallest part of it is enough? The algorithm ddmin of Zeller and Hildebrandt, "Simplifying
and Isolating Failure-Inducing Input", IEEE Transactions on Software Engineering 28(2), 2002, section 3: its result is
1-minimal, that is, with any single change left out the difference is gone (or cannot be tested).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from harness.documents.bisection import Answer

Test = Callable[[frozenset[str]], Answer]


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """Where the answer turns: after `same`, at one of the states up to `different`; those between are unresolved.

    States are numbered from 0, the good end; state n has the first n changes of the line.
    """

    same: int
    different: int

    @property
    def is_exact(self) -> bool:
        return self.different - self.same == 1


def interval(num: int, answers: Mapping[int, Answer]) -> Interval:
    """What is known so far of a line of `num` changes.

    Where the answer turns more than once, this is the first turn that the trials show.

    Args:
        num: of changes; the state `num` is the bad end.
        answers: of the trials by state; the ends need none.
    """
    different = min((state for state, answer in answers.items() if answer == "different"), default=num)
    same = max((s for s, answer in answers.items() if answer == "same" and s < different), default=0)
    return Interval(same=same, different=different)


def next_state(num: int, answers: Mapping[int, Answer], landmarks: Iterable[int] | None = None) -> int | None:
    """Which state to test next; None when the trials tell all that they can.

    Landmarks are a guess and only order the search: states that are likely to differ from the one before. As long as
    there are landmarks between, the search is among them; then the state before the bad one is tested, which shows that
    it was the landmark's own change. No answer rests on the guess: neighbours are always both tested, or unresolved.

    Args:
        num: of changes.
        answers: of the trials so far, by state.
        landmarks: states whose own change is likely to be the one; None for all.
    """
    known = interval(num, answers)
    between = [state for state in range(known.same + 1, known.different) if state not in answers]
    if not between:
        return None
    if landmarks is not None:
        likely = frozenset(landmarks)
        marked = [state for state in between if state in likely]
        if marked:
            # Where the bad end is a landmark itself, its own change may be the answer as well.
            return marked[(len(marked) - (known.different not in likely)) // 2]
        if known.different in likely:
            return between[-1]
    return _middle(between, known)


def _middle(states: Sequence[int], known: Interval) -> int:
    """The state nearest to the middle, of two the earlier one."""
    middle = (known.same + known.different) / 2
    return min(states, key=lambda state: (abs(state - middle), state))


def most_trials(num: int) -> int:
    """How many trials a line of changes takes at most where everything can be tested and nothing is guessed."""
    return math.ceil(math.log2(num)) if num > 1 else 0


def ddmin(changes: Iterable[str], test: Test) -> frozenset[str]:
    """A smallest part of some changes that is different by itself: 1-minimal.

    Trials are asked for once each. In the worst case n^2 + 3n of them are needed, and where one change alone is
    responsible about 2 log2 n.

    Args:
        changes: all together they must be different, and none of them the same.
        test: the answer for a set of changes.
    """
    known: dict[frozenset[str], Answer] = {}

    def is_different(part: frozenset[str]) -> bool:
        if part not in known:
            known[part] = test(part)
        return known[part] == "different"

    current, num_parts = tuple(sorted(set(changes))), 2
    while len(current) > 1:
        parts = _split(current, num_parts)
        rests = [tuple(one for one in current if one not in part) for part in parts]
        found = next((part for part in parts if is_different(frozenset(part))), None)
        if found is not None:
            current, num_parts = found, 2
            continue
        rest = next((rest for rest in rests if num_parts > 2 and is_different(frozenset(rest))), None)
        if rest is not None:
            current, num_parts = rest, max(num_parts - 1, 2)
        elif num_parts < len(current):
            num_parts = min(len(current), 2 * num_parts)
        else:
            break
    return frozenset(current)


def _split(items: tuple[str, ...], num: int) -> list[tuple[str, ...]]:
    """Parts of nearly equal size, in order."""
    bounds = [len(items) * place // num for place in range(num + 1)]
    return [items[a:b] for a, b in itertools.pairwise(bounds) if a < b]


def in_order(closures: Mapping[str, frozenset[str]]) -> tuple[frozenset[str], ...]:
    """Changes in an order in which every state holds what its changes cannot go without.

    Args:
        closures: for every change those that it cannot go without, and itself.

    Returns:
        The states but the first, which has no change; each has the one before and more.
    """
    states: list[frozenset[str]] = []
    done: frozenset[str] = frozenset()
    for name in sorted(closures, key=lambda name: (len(closures[name]), name)):
        if name not in done:
            done |= closures[name]
            states.append(done)
    return tuple(states)
