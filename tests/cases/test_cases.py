"""Each folder beside this module is certified on the host, and gets the verdict that is right for it."""

import shutil
from pathlib import Path

import pytest

from harness import api

FOLDERS = Path(__file__).parent
RIGHT = {
    # verdict, cause, stream of the first difference, and what one line of problems or of *not checked* says
    "bf16_weights_sgd": ("DIVERGED", "checkpoint_lost_precision", "param", ""),
    "by_bash": ("CERTIFIED", None, None, ""),
    "changes_its_code": ("INCONCLUSIVE", None, None, "code/tests/cache.json was added"),
    "critic_thrice": ("CERTIFIED", None, None, ""),
    "derived_outputs": ("CERTIFIED", None, None, "12 are declared as derived"),
    "duplicate_json_keys": ("DIVERGED", "output_differs", "output", ""),
    "ends_early": ("DIVERGED", "ends_at_another_step", "step", ""),
    "files_by_first_bytes": ("CERTIFIED", None, None, ""),
    "forked": ("CERTIFIED", None, None, ""),
    "frozen_moves": ("DIVERGED", "frozen_weights_moved", "frozen", ""),
    "half_weights_no_optimizer": ("DIVERGED", "checkpoint_lost_precision", "optim", ""),
    "hash_of_text": ("DIVERGED", "unseeded_randomness", "loss", ""),
    "lbfgs": ("CERTIFIED", None, None, ""),
    "leaves_a_process": ("INCONCLUSIVE", None, None, "it left processes that outlived it, which were ended"),
    "nan_loss": ("INCONCLUSIVE", None, None, "the loss is NaN from step 1 on"),
    "not_recordable": ("INCONCLUSIVE", None, None, "no torch optimizer; declare each update in two lines"),
    "old_module_two_kills": ("DIVERGED", "optimizer_of_other_parameters", "param", ""),
    "one_tensor_moves": ("CERTIFIED", None, None, "4 of 5 trainable tensors are meant to be trained"),
    "per_sample_gradients": ("CERTIFIED", None, None, ""),
    "post_update_sgd": ("CERTIFIED", None, None, ""),
    "scaler_skips": ("CERTIFIED", None, None, ""),
    "seed_from_ctime": ("DIVERGED", "unseeded_randomness", "rng", ""),
    # What differs first is a matter of the threads: the sum, or a gradient through a second one.
    "sums_by_threads": ("DIVERGED", "nondeterministic_operator", ("loss", "grad"), ""),
    "steps_left_out": ("CERTIFIED", None, None, ""),
    "torn_checkpoint": ("DIVERGED", "resume_crashed", None, ""),
    "two_ranks": ("DIVERGED", "rng_not_restored", "rng", ""),
    "updates_by_hand": ("CERTIFIED", None, None, ""),
    "volatile_weights": ("DIVERGED", "output_differs", "output", ""),
}


@pytest.mark.parametrize("name", sorted(RIGHT))
def test_the_verdict_is_right(name, shared_project, torch_python):
    shutil.copy(FOLDERS / name / f"{name}.yaml", shared_project.root / "pipelines" / "experiments")
    shared_project.commit(name)
    verdict = api.certify(name, root=shared_project.root, python=torch_python).verdict
    word, cause, stream, words = RIGHT[name]
    found = verdict.cause.kind if verdict.cause is not None else None
    first = verdict.first_divergence.stream if verdict.first_divergence is not None else None
    assert (verdict.verdict, found) == (word, cause), verdict.problems
    assert first in (stream if isinstance(stream, tuple) else (stream,)), verdict.problems
    assert any(words in text for text in (*verdict.problems, *verdict.not_checked)), verdict.not_checked


@pytest.mark.parametrize(
    ("name", "last_line", "options"),
    [
        ("sums_by_threads", "FOUND: operator own.sum_by_threads.default", ()),
        ("two_ranks", "FOUND: rng torch", ()),
        ("bf16_weights_sgd", "FOUND: param 0.bias", ("--confirm",)),
    ],
)
def test_the_first_operator_that_differs_is_named_or_what_goes_in(
    name, last_line, options, shared_project, torch_python
):
    if not (shared_project.root / "runs" / name).exists():
        test_the_verdict_is_right(name, shared_project, torch_python)
    answer = shared_project.harness("diagnose", name, "--times", "2", *options)
    assert (answer.code, answer.last_line) == (0, last_line), answer.out + answer.err
    assert ("\nconfirmed " in answer.out) == bool(options), answer.out
    assert not list((shared_project.root / "runs" / name).glob(".diagnose-*"))


def test_every_folder_has_its_verdict():
    assert {path.parent.name for path in FOLDERS.glob("*/*.yaml")} == set(RIGHT)
