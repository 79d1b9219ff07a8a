"""It must be able to say no: a training that forgets its random state when it is resumed, in real containers."""

import pytest

from tests.mutants import mutant

pytestmark = pytest.mark.engine


def test_a_resume_that_forgets_its_random_state_is_refused_with_the_cause(client, project):
    project.experiment("forgetful", mutant("forgets_rng"))
    answer = project.harness("certify", "forgetful", RUNNER="docker")
    verdict = project.verdict("forgetful")
    assert (answer.code, verdict["verdict"], answer.last_line) == (1, "DIVERGED", "VERDICT: DIVERGED"), answer.out
    assert {name: verdict["checks"][name]["verdict"] for name in ("rerun", "resume")} == {
        "rerun": "CERTIFIED",
        "resume": "DIVERGED",
    }
    first = verdict["first_divergence"]
    assert (first["trajectory"], first["run"], first["step"], first["stream"]) == ("resumed", 2, 7, "rng")
    assert verdict["cause"]["class"] == "rng_not_restored" and "rng" in answer.out
