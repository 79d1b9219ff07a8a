from __future__ import annotations

from typing import Any

from harness.report.equality import EqualityMap, Span, equality_maps, stream_notes
from tests.made import report_data as data


def maps(document: dict, **changes: Any) -> dict[str, EqualityMap]:
    verdict = data.verdict(document, **changes)
    return {found.check: found for found in equality_maps(verdict, data.manifest(), data.curves())}


def note(document: dict, check: str, **changes: Any) -> str:
    """What is said of the loss."""
    verdict = data.verdict(document, **changes)
    return dict(stream_notes(verdict, data.manifest(), (), "loss"))[check]


def spans(found: EqualityMap, stream: str) -> tuple[Span, ...]:
    return next(row.spans for row in found.rows if row.stream == stream)


def test_a_certified_verdict_is_equal_wherever_it_was_compared() -> None:
    found = maps(data.CERTIFIED)
    assert set(found) == {"rerun", "resume"}
    assert all(row.spans == (Span(first=1, last=24, state="equal"),) for row in found["rerun"].rows)
    before, after = Span(first=1, last=6, state="unknown"), Span(first=7, last=24, state="equal")
    assert all(row.spans == (before, after) for row in found["resume"].rows)


def test_a_resume_compares_the_steps_after_it_however_often_some_were_run() -> None:
    rows = [{"run": run, "started_after_step": step, "checkpoint_step": step} for run, step in ((2, 20), (3, 21))]
    resumes = [{**row, "step_source": "content"} for row in rows]
    checks = data.checks(data.CERTIFIED, "resume", compared={"steps": 5}, resumes=resumes)
    verdict = data.CERTIFIED | {"checks": checks}
    assert spans(maps(verdict)["resume"], "loss") == (
        Span(first=1, last=20, state="unknown"),
        Span(first=21, last=24, state="equal"),
    )
    assert note(verdict, "resume") == "same bits at steps 21 to 24"


def test_a_resume_of_a_prefix_is_compared_up_to_its_last_step() -> None:
    verdict = data.CERTIFIED | {"scope": {"steps": 20, "of": 24}}
    assert spans(maps(verdict)["resume"], "loss")[1:] == (
        Span(first=7, last=20, state="equal"),
        Span(first=21, last=24, state="unknown"),
    )


def test_a_resume_that_was_stopped_at_a_difference_is_not_equal_beyond_it() -> None:
    verdict = data.DIVERGED | {
        "stopped_at": {"trajectory": "resumed", "run": 2, "step": 9},
        "streams_that_differ": [{"stream": "rng", "first_step": 9, "num_steps": 2}],
    }
    assert spans(maps(verdict)["resume"], "rng")[1:] == (
        Span(first=7, last=8, state="equal"),
        Span(first=9, last=10, state="differs"),
        Span(first=11, last=24, state="unknown"),
    )
    assert spans(maps(verdict)["resume"], "data")[-1] == Span(first=11, last=24, state="unknown")


def test_a_difference_between_two_fresh_runs_says_nothing_of_a_resume_that_it_stopped() -> None:
    verdict = data.DIVERGED | {
        "checks": data.checks(data.DIVERGED, "rerun", verdict="DIVERGED"),
        "stopped_at": {"trajectory": "rerun", "run": 1, "step": 9},
        "first_divergence": None,
    }
    assert note(verdict, "resume") == "same bits at steps 7 to 9"
    assert maps(verdict)["resume"]


def test_a_stream_differs_from_its_first_step_on() -> None:
    found = maps(data.DIVERGED)["resume"]
    assert spans(found, "rng") == (Span(first=1, last=6, state="unknown"), Span(first=7, last=24, state="differs"))
    assert spans(found, "data") == (Span(first=1, last=6, state="unknown"), Span(first=7, last=24, state="equal"))


def test_steps_of_which_only_some_differ_are_not_called_different() -> None:
    assert spans(maps(data.DIVERGED)["resume"], "grad")[-1] == Span(first=7, last=24, state="mixed")


def test_differences_belong_to_the_check_of_the_first_divergence() -> None:
    assert spans(maps(data.DIVERGED)["rerun"], "rng") == (Span(first=1, last=24, state="equal"),)


def test_steps_beyond_those_compared_are_unknown() -> None:
    verdict = data.CERTIFIED | {"checks": data.checks(data.CERTIFIED, "rerun", compared={"steps": 3})}
    assert spans(maps(verdict)["rerun"], "loss") == (
        Span(first=1, last=3, state="equal"),
        Span(first=4, last=24, state="unknown"),
    )


def test_an_inconclusive_check_shows_nothing_as_equal() -> None:
    assert maps(data.INCONCLUSIVE) == {}
    verdict = data.CERTIFIED | {"checks": data.checks(data.CERTIFIED, "resume", verdict="INCONCLUSIVE")}
    assert "resume" not in maps(verdict)
    assert note(verdict, "resume") == "not compared"


def test_a_stream_that_the_harness_does_not_know_gets_a_row() -> None:
    verdict = data.DIVERGED | {"streams_that_differ": [{"stream": "eval", "first_step": 24, "num_steps": 1}]}
    assert spans(maps(verdict)["resume"], "eval")[-1] == Span(first=24, last=24, state="differs")


def test_a_note_counts_the_steps() -> None:
    assert note(data.DIVERGED, "resume") == "differs from step 7, at 18 of 18 steps"
    assert note(data.DIVERGED, "rerun") == "same bits at 24 of 24 steps"
