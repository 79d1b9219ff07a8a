"""What was varied between trainings, which steps they have where nobody declares them, and kills that come too late."""

from dataclasses import replace

from harness.documents.run import Fault
from harness.judge.checks import late_kills
from harness.judge.incidental import incidental
from harness.judge.soundness import num_steps
from harness.judge.verdict import judge
from tests.made.synthetic import case, straight


def told(trajectory, **facts):
    runs = []
    for run in trajectory.runs:
        settings = {**run.record.settings, "incidental": facts}
        runs.append(replace(run, record=run.record.model_copy(update={"settings": settings})))
    return replace(trajectory, runs=tuple(runs))


def test_what_was_the_same_everywhere_is_not_checked():
    one = told(straight(), **{"host name": "trainer", "hash seed": "0"})
    two = told(straight("rerun"), **{"host name": "trainer", "hash seed": "7"})
    verdict = judge(replace(case(), straight=one, rerun=two, resumed=None, interruptions=()))
    assert [(fact.name, fact.varied, fact.straight) for fact in verdict.varied] == [
        ("hash seed", True, "0"),
        ("host name", False, "trainer"),
    ]
    assert any("the same in all trainings: host name (trainer), the kernel" in line for line in verdict.not_checked)


def test_runs_of_an_older_harness_say_nothing():
    verdict = judge(case())
    assert verdict.varied == incidental(case()) == ()
    assert "varied" not in verdict.to_json()
    assert not any("the same in all trainings" in line for line in verdict.not_checked)


def test_the_straight_run_says_how_many_steps_there_are():
    trained = straight()
    last = trained.runs[0].ledger.last_step
    assert (num_steps(4, trained), num_steps(None, trained), num_steps(None, None)) == (4, last, 0)


def test_a_kill_beyond_the_last_step_is_told():
    trained = straight()
    last = trained.runs[0].ledger.last_step
    kill = Fault(kind="after_step", step=last + 1)
    assert late_kills((kill,), trained) == (f"interruptions: step {last + 1} is beyond the last step ({last})",)
    assert late_kills((Fault(kind="after_step", step=last),), trained) == ()
