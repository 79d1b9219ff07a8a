"""It must be able to say no: pipelines with one planted bug each, on the host runner, and the clean one.

tests/smoke has one of them in containers.
"""

import pytest

from tests.mutants import mutant


@pytest.fixture(scope="module")
def judged(shared_project):
    """Certify a mutant once, whichever tests ask for it."""
    answers = {}

    def certify(bug):
        if bug not in answers:
            name = f"mutant-{bug}".replace("_", "-")
            shared_project.experiment(name, mutant(bug))
            answer = shared_project.harness("certify", name, RUNNER="host")
            answers[bug] = answer, shared_project.verdict(name)
        return answers[bug]

    return certify


def test_the_clean_pipeline_is_certified(judged):
    answer, verdict = judged("null")
    assert (answer.code, verdict["verdict"], answer.last_line) == (0, "CERTIFIED", "VERDICT: CERTIFIED"), answer.out
    assert [kill["resumed_after_step"] for kill in verdict["interruptions"]] == [6, 9]
    assert {check["name"] for check in verdict["control"]["controls"]} == {
        "tensor_bit",
        "ledger_digit",
        "weights_moved",
        "flip_param",
        "flip_optim",
    }
    assert verdict["control"]["failed_as_it_must"]


@pytest.mark.parametrize(
    ("bug", "stream", "cause"),
    [
        ("forgets_moments", "optim", "optimizer_state_not_restored"),
        ("replays_first_batches", "data", "data_position_not_restored"),
    ],
)
def test_a_resume_that_forgets_is_named_with_step_and_stream(judged, bug, stream, cause):
    answer, verdict = judged(bug)
    assert (answer.code, verdict["verdict"]) == (1, "DIVERGED"), answer.out
    assert verdict["checks"]["resume"]["verdict"] == "DIVERGED"
    assert verdict["checks"]["rerun"]["verdict"] == "CERTIFIED"
    first = verdict["first_divergence"]
    assert (first["trajectory"], first["run"], first["step"], first["stream"]) == ("resumed", 2, 7, stream)
    assert verdict["cause"]["class"] == cause
    assert stream in answer.out


def test_a_pipeline_that_ignores_its_checkpoint_is_refused_although_its_bits_agree(judged):
    answer, verdict = judged("starts_over")
    assert (answer.code, verdict["verdict"]) == (1, "DIVERGED"), answer.out
    assert verdict["cause"]["class"] == "checkpoint_ignored"
    assert verdict["final_state_equal"] is True


def test_an_unseeded_call_is_the_reruns_fault_not_the_resumes(judged):
    answer, verdict = judged("unseeded")
    assert (answer.code, verdict["verdict"]) == (1, "DIVERGED"), answer.out
    assert verdict["checks"]["rerun"]["verdict"] == "DIVERGED"
    assert verdict["checks"]["resume"]["verdict"] == "INCONCLUSIVE"
    assert verdict["first_divergence"]["step"] == 1


def test_a_training_that_moves_nothing_is_inconclusive(judged):
    answer, verdict = judged("zero_lr")
    assert (answer.code, verdict["verdict"], answer.last_line) == (3, "INCONCLUSIVE", "VERDICT: INCONCLUSIVE")
    moved = next(check for check in verdict["control"]["controls"] if check["name"] == "weights_moved")
    assert not moved["detected"]
