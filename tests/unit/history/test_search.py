"""The search, exhaustively on small lines and sets, with states that cannot be tested."""

import itertools

import pytest

from harness.history.search import Interval, ddmin, in_order, interval, most_trials, next_state


def search(num, truth, landmarks=None):
    """Ask until nothing is left to ask; the interval and the states that were asked for."""
    answers, asked = {num: "different"}, []
    while (state := next_state(num, answers, landmarks)) is not None:
        assert 0 < state < num and state not in answers, "a state is asked for once, and never an end"
        asked.append(state)
        answers[state] = truth(state)
    return interval(num, answers), asked


@pytest.mark.parametrize("num", range(1, 34))
def test_every_first_bad_change_is_found_in_as_few_trials_as_can_be(num):
    for first in range(1, num + 1):
        found, asked = search(num, lambda state, first=first: "different" if state >= first else "same")
        assert found == Interval(same=first - 1, different=first) and found.is_exact
        assert len(asked) <= most_trials(num)


@pytest.mark.parametrize("num", range(2, 8))
def test_whatever_cannot_be_tested_the_range_holds_the_first_bad_change_and_no_more_than_it_must(num):
    for first in range(1, num + 1):
        for broken in itertools.product((False, True), repeat=num - 1):
            unresolved = {state for state, is_broken in enumerate(broken, start=1) if is_broken}

            def truth(state, first=first, unresolved=unresolved):
                return "unresolved" if state in unresolved else "different" if state >= first else "same"

            found, _ = search(num, truth)
            assert found.same < first <= found.different
            assert set(range(found.same + 1, found.different)) <= unresolved


@pytest.mark.parametrize("num", range(1, 10))
def test_a_guess_never_changes_the_answer(num):
    for first in range(1, num + 1):
        for marks in itertools.product((False, True), repeat=num):
            landmarks = [state for state, is_one in enumerate(marks, start=1) if is_one]
            found, asked = search(num, lambda state, first=first: "different" if state >= first else "same", landmarks)
            assert found == Interval(same=first - 1, different=first)
            assert len(asked) <= num - 1


def test_a_right_guess_saves_trials():
    num, landmarks = 1000, [100, 300, 500, 700]
    for first in landmarks:
        found, asked = search(num, lambda state, first=first: "different" if state >= first else "same", landmarks)
        assert found.different == first and len(asked) <= 4, "2 among four, and the one before"
    _, blind = search(num, lambda state: "different" if state >= 300 else "same")
    assert len(blind) >= 9


@pytest.mark.parametrize("num", range(2, 9))
def test_where_the_answer_turns_more_than_once_one_of_the_turns_is_found(num):
    for values in itertools.product(("same", "different"), repeat=num - 1):
        truth = dict(enumerate(("same", *values, "different")))
        found, _ = search(num, truth.__getitem__)
        assert found.is_exact
        assert (truth[found.same], truth[found.different]) == ("same", "different")


def test_a_line_of_one_change_needs_no_trial():
    assert next_state(1, {}) is None and interval(1, {}) == Interval(same=0, different=1)
    assert [most_trials(num) for num in (1, 2, 3, 4, 5, 8, 9)] == [0, 1, 2, 2, 3, 3, 4]


NAMES = tuple("abcdefg")


def powerset(items):
    return itertools.chain.from_iterable(itertools.combinations(items, num) for num in range(len(items) + 1))


def test_any_set_of_changes_that_act_together_is_found_whole():
    for guilty in filter(None, map(frozenset, powerset(NAMES))):
        asked = []

        def test(part, guilty=guilty, asked=asked):
            asked.append(part)
            return "different" if guilty <= part else "same"

        assert ddmin(NAMES, test) == guilty
        assert len(asked) == len(set(asked)), "no trial is made twice"


def test_one_guilty_change_of_many_takes_few_trials():
    names = [f"p{number:02}" for number in range(64)]
    for guilty in names:
        asked = []

        def test(part, guilty=guilty, asked=asked):
            asked.append(part)
            return "different" if guilty in part else "same"

        assert ddmin(names, test) == {guilty}
        assert len(asked) <= 2 * most_trials(len(names))


def test_of_two_changes_that_are_each_enough_one_is_found():
    found = ddmin(NAMES, lambda part: "different" if part & {"b", "f"} else "same")
    assert found in ({"b"}, {"f"})


def test_changes_that_need_each_other_stay_together_and_others_go():
    """`b` alters the numbers; `b` and `e` cannot be installed one without the other."""

    def test(part):
        if ("b" in part) != ("e" in part):
            return "unresolved"
        return "different" if "b" in part else "same"

    assert ddmin(NAMES, test) == {"b", "e"}


def test_the_answer_is_minimal_whatever_is_unresolved():
    """1-minimal: without any one of its changes the set is not different any more, or cannot be tested."""
    names = NAMES[:4]
    parts = [frozenset(part) for part in powerset(names)]
    inner = [part for part in parts if 0 < len(part) < len(names)]
    for number in range(0, 3 ** len(inner), 9973):
        values = {part: ("same", "different", "unresolved")[number // 3**place % 3] for place, part in enumerate(inner)}
        truth = {**values, frozenset(): "same", frozenset(names): "different"}
        found = ddmin(names, truth.__getitem__)
        assert truth[found] == "different"
        assert all(truth[found - {name}] != "different" for name in found)


def test_states_hold_what_their_changes_cannot_go_without():
    needs = {"a": frozenset("ab"), "b": frozenset("b"), "c": frozenset("cd"), "d": frozenset("cd"), "e": frozenset("e")}
    states = in_order(needs)
    assert states[-1] == frozenset("abcde")
    assert all(one < two for one, two in itertools.pairwise(states))
    for state in states:
        assert all(needs[name] <= state for name in state)
    assert frozenset("c") not in {two - one for one, two in itertools.pairwise((frozenset(), *states))}
