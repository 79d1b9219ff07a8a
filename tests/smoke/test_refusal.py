"""It must be able to say no: a training that forgets its random state when it is resumed, in real containers."""

import json

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

    answer = project.harness("diagnose", "forgetful", "--times", "2", "--confirm", "--json", RUNNER="docker")
    found = json.loads(answer.out)
    assert (answer.code, found["found"], found["confirmations"][0]["outcome"]) == (0, "input", "confirmed"), answer.out
    assert any(state.startswith("rng ") for state in found["states"])
