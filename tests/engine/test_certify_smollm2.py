"""A real pre-trained model on real text: minutes, so `make test-slow` runs it and `make test` does not."""

import json

import pytest

pytestmark = [pytest.mark.engine, pytest.mark.slow]


def test_smollm2_is_certified_and_learns(client, shared_project):
    answer = shared_project.harness("certify", "smollm2", RUNNER="docker", timeout=3000)
    assert (answer.code, answer.last_line) == (0, "VERDICT: CERTIFIED"), answer.out + answer.err
    rows = (shared_project.latest("smollm2") / "straight" / "output" / "metrics.jsonl").read_text().splitlines()
    losses = [row["validation_loss"] for row in map(json.loads, rows) if "validation_loss" in row]
    assert losses[-1] < losses[0] - 0.5
    assert shared_project.verdict("smollm2")["checks"]["resume"]["compared"]["steps"] >= 30
