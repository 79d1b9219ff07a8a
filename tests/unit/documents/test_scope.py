"""A prefix: which numbers are one, which kills it keeps, and what is refused before anything is run."""

import pytest

from harness.documents.experiment import parse_experiment
from harness.documents.scope import Prefix, scope_of, shortened
from harness.errors import UsageError

TEXT = """
schema: 1
image: cpu
run: [python, train.py]
resume: [python, train.py]
config: {{steps: 20}}
steps: 20
outputs: [x]
interruptions: [{kills}]
policy: {{required: [{required}]}}
"""
MICRO = "{kind: micro_batch, step: 8, micro_batch: 1}"
WRITE = "{kind: in_write, step: 12, byte: 9}"


def experiment(kills=f"{MICRO}, {WRITE}", required="rerun, resume"):
    return parse_experiment(TEXT.format(kills=kills, required=required), "x.yaml")


def test_a_prefix_keeps_the_kills_that_a_step_follows_and_names_the_others():
    declared = experiment()
    scope = scope_of(declared, 12)
    assert (scope.steps, scope.of, scope.text) == (12, 20, "the first 12 of 20 steps")
    assert [kill.step for kill in scope.left_out] == [12]
    assert [kill.step for kill in scope_of(declared, 13).left_out] == []
    short = shortened(declared, scope)
    assert (short.steps, [kill.step for kill in short.interruptions]) == (12, [8])


def test_what_the_commands_are_given_is_that_of_the_whole_training():
    declared = experiment()
    short = shortened(declared, scope_of(declared, 12))
    assert (short.config, short.run, short.environment) == (declared.config, declared.run, declared.environment)
    assert shortened(declared, None) is declared


@pytest.mark.parametrize("steps", [0, -1, 20, 21])
def test_a_prefix_has_at_least_one_step_and_fewer_than_all(steps):
    with pytest.raises(UsageError, match=rf"--steps {steps}: .* fewer than all 20") as caught:
        scope_of(experiment(), steps)
    assert "from 1 to 19" in caught.value.remedy


@pytest.mark.parametrize(
    ("kill", "smallest"),
    [
        (MICRO, 8),
        ("{kind: before_step, step: 8}", 8),
        ("{kind: after_step, step: 8}", 9),
        ("{kind: before_write, step: 8}", 9),
        ("{kind: after_write, step: 8}", 9),
    ],
)
def test_a_prefix_without_a_kill_and_a_step_after_it_is_refused_with_the_smallest_that_has_both(kill, smallest):
    declared = experiment(f"{kill}, {WRITE}")
    with pytest.raises(UsageError, match="every interruption comes later") as caught:
        scope_of(declared, smallest - 1)
    assert f"--steps {smallest}," in caught.value.remedy
    assert [one.step for one in shortened(declared, scope_of(declared, smallest)).interruptions] == [8]


def test_where_the_only_kill_needs_the_whole_training_that_is_said():
    with pytest.raises(UsageError, match="every interruption comes later") as caught:
        scope_of(experiment("{kind: after_step, step: 19}"), 19)
    assert "leave --steps out" in caught.value.remedy


def test_without_a_required_resume_a_prefix_needs_no_kill():
    assert [kill.step for kill in scope_of(experiment(required="rerun"), 3).left_out] == [8, 12]


def test_a_scope_is_written_as_two_numbers():
    assert Prefix(steps=20, of=60).to_json() == {"steps": 20, "of": 60}
