from __future__ import annotations

import hostile
import report_data as data

from harness.report.equality import EqualityMap, Span, equality_maps, stream_note


def maps(verdict: dict) -> dict[str, EqualityMap]:
    return {found.oracle: found for found in equality_maps(verdict, data.MANIFEST, data.curves())}


def spans(found: EqualityMap, stream: str) -> tuple[Span, ...]:
    return next(row.spans for row in found.rows if row.stream == stream)


def test_a_certified_verdict_is_equal_everywhere() -> None:
    found = maps(data.CERTIFIED)
    assert set(found) == {"rerun", "resume"}
    assert all(row.spans == (Span(first=1, last=24, state="equal"),) for one in found.values() for row in one.rows)


def test_a_stream_differs_from_its_first_step_on() -> None:
    found = maps(data.DIVERGED)["resume"]
    assert spans(found, "rng") == (Span(first=1, last=6, state="equal"), Span(first=7, last=24, state="differs"))
    assert spans(found, "data") == (Span(first=1, last=24, state="equal"),)


def test_steps_of_which_only_some_differ_are_not_called_different() -> None:
    assert spans(maps(data.DIVERGED)["resume"], "grad")[-1] == Span(first=7, last=24, state="mixed")


def test_differences_belong_to_the_oracle_of_the_first_divergence() -> None:
    assert spans(maps(data.DIVERGED)["rerun"], "rng") == (Span(first=1, last=24, state="equal"),)


def test_steps_beyond_those_compared_are_unknown() -> None:
    verdict = hostile.replaced(data.CERTIFIED, ("oracles", "rerun", "compared", "steps"), 3)
    assert spans(maps(verdict)["rerun"], "loss") == (
        Span(first=1, last=3, state="equal"),
        Span(first=4, last=24, state="unknown"),
    )


def test_an_inconclusive_oracle_shows_nothing_as_equal() -> None:
    assert maps(data.INCONCLUSIVE) == {}
    verdict = hostile.replaced(data.CERTIFIED, ("oracles", "resume", "verdict"), "INCONCLUSIVE")
    assert "resume" not in maps(verdict)
    assert stream_note(verdict, "loss", "resume") == "not compared"


def test_a_stream_that_the_harness_does_not_know_gets_a_row() -> None:
    verdict = data.DIVERGED | {"streams_that_differ": [{"stream": "eval", "first_step": 24, "num_steps": 1}]}
    assert spans(maps(verdict)["resume"], "eval")[-1] == Span(first=24, last=24, state="differs")


def test_a_note_counts_the_steps() -> None:
    assert stream_note(data.DIVERGED, "loss", "resume") == "differs from step 7, at 18 of 24 steps"
    assert stream_note(data.DIVERGED, "loss", "rerun") == "same bits at 24 of 24 steps"
