"""Ranks of a distributed training: compared rank by rank, all of them needed, replicas that part are told."""

from dataclasses import replace

import pytest

from harness.documents.run import Fault
from harness.evidence.ledger import Event
from harness.judge.verdict import judge
from tests.made.synthetic import KILL, Quirks, case, resumed, straight

TWO = {"rank": 0, "num_ranks": 2}


def with_rank(trajectory, other=None, *, num_ranks=2, is_replicated=False):
    """The trajectory with a rank 1 that recorded what `other` (or it itself) did."""
    told = (Event(kind="process", fields={**TWO, "num_ranks": num_ranks}),)
    how = (Event(kind="ranks", fields={"is_replicated": is_replicated, "is_sharded": False}),)
    runs = tuple(
        replace(run, events=(*told, *run.events), ranks=(replace(one, rank=1, events=(*how, *one.events)),))
        for run, one in zip(trajectory.runs, (other or trajectory).runs, strict=True)
    )
    return replace(trajectory, runs=runs)


def judged(one=None, two=None, rerun=None, **changes):
    return judge(
        case(
            straight=one or with_rank(straight()),
            rerun=rerun or with_rank(straight("rerun")),
            resumed=two or with_rank(resumed()),
            **changes,
        )
    )


def test_equal_ranks_are_certified_and_steps_are_counted_once():
    alone, both = judge(case()), judged()
    assert both.verdict == "CERTIFIED", both.problems
    assert both.checks.rerun.compared.steps == alone.checks.rerun.compared.steps
    assert both.checks.rerun.compared.tensors > alone.checks.rerun.compared.tensors
    assert "rank" not in judge(case(resumed=resumed(quirks=Quirks(forget=("rng",))))).to_json()["first_divergence"]


def test_a_difference_in_one_rank_diverges_and_the_rank_is_named():
    other = with_rank(straight("rerun"), straight("rerun", Quirks(noise=(2, "loss"))))
    verdict = judged(rerun=other)
    assert (verdict.verdict, verdict.checks.rerun.verdict) == ("DIVERGED", "DIVERGED")
    first = verdict.first_divergence
    assert (first.step, first.stream, first.rank) == (2, "loss", 1)


def test_state_that_one_rank_did_not_get_back_diverges():
    verdict = judged(two=with_rank(resumed(), resumed(quirks=Quirks(forget=("rng",)))))
    assert (verdict.verdict, verdict.first_divergence.rank) == ("DIVERGED", 1)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda t: with_rank(t, num_ranks=4), "rank 2, 3 of 4 left no ledger"),
        (lambda t: t, "had 1 ranks, the straight training had 2"),
        (
            lambda t: with_rank(t, replace(t, runs=tuple(replace(run, ledger=None) for run in t.runs))),
            "resumed/1, rank 1 left no ledger",
        ),
        (
            lambda t: with_rank(t, replace(t, runs=tuple(replace(run, problem="line 3: found x") for run in t.runs))),
            "line 3: found x",
        ),
    ],
)
def test_a_rank_without_evidence_is_never_certified(change, words):
    verdict = judged(two=change(resumed()))
    assert verdict.verdict == "INCONCLUSIVE"
    assert any(words in problem for problem in verdict.problems), verdict.problems


def test_replicas_that_are_not_equal_are_told():
    apart = straight(quirks=Quirks(noise=(3, "param")))
    verdict = judged(
        with_rank(straight(), apart, is_replicated=True),
        with_rank(resumed(), resumed(quirks=Quirks(noise=(3, "param"))), is_replicated=True),
        with_rank(straight("rerun"), straight("rerun", Quirks(noise=(3, "param"))), is_replicated=True),
    )
    assert any("replicated parameters of rank 1" in line and "step 3" in line for line in verdict.not_checked)
    assert not any("replicated" in line for line in judged().not_checked)


@pytest.mark.parametrize(("num", "kind"), [(4, "gradients_averaged_in_another_order"), (2, "unknown")])
def test_the_first_gradients_after_a_resume_are_summed_in_another_order_by_more_than_two_ranks(num, kind):
    """A sum of two does not hang on the order; torch arranges its buckets anew after the first backward."""

    def replicated(trajectory):
        one = with_rank(trajectory, num_ranks=num)
        how = Event(kind="ranks", fields={"is_replicated": True, "is_sharded": False})
        runs = tuple(
            replace(
                run,
                events=(how, *run.events),
                ranks=tuple(replace(run.ranks[0], rank=rank, events=run.events[:1]) for rank in range(1, num)),
            )
            for run in one.runs
        )
        return replace(one, runs=runs)

    verdict = judged(
        replicated(straight()), replicated(resumed(quirks=Quirks(noise=(5, "grad")))), replicated(straight("rerun"))
    )
    assert (verdict.verdict, verdict.first_divergence.stream, verdict.first_divergence.step) == ("DIVERGED", "grad", 5)
    assert verdict.cause.kind == kind


def test_a_kill_of_one_rank_is_looked_for_in_that_rank():
    kill = Fault(**{**KILL.model_dump(), "rank": 1})
    verdict = judged(interruptions=(kill,))
    assert verdict.verdict == "CERTIFIED", verdict.problems
    assert verdict.interruptions[0].rank == 1
