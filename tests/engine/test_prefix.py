"""`--steps N`: the first N steps with the schedule of the whole, for people who pay by the hour."""

import json

import pytest

from harness.runs.container import LABEL

MUTANT = """
schema: 1
image: cpu
run: [python, tests/mutants/train.py, --config, "{{config}}", --output, "{{output}}"]
resume: [python, tests/mutants/train.py, --config, "{{config}}", --output, "{{output}}", --resume]
config: {{seed: 7, steps: 3000, lr: 0.01, batch_size: 6, save_every: 6, accumulation: 2, bug: {bug}}}
steps: 3000
outputs: [model.safetensors]
checkpoints: ["checkpoints/*.pt"]
environment: {{OMP_NUM_THREADS: "1", ATEN_CPU_CAPABILITY: avx2}}
interruptions:
  - {{kind: micro_batch, step: 8, micro_batch: 1}}
  - {{kind: after_step, step: 500, by: outside}}
policy: {{required: [rerun, resume], rerun: second_run}}
"""
STEPS = 600


def steps_left_by(project, name, trajectory, run):
    """The numbers of the steps in a run's ledger; a killed process may leave half of a last line."""
    text = (project.latest(name) / trajectory / "runs" / str(run) / "ledger.jsonl").read_text()
    records = [json.loads(line) for line in text.split("\n")[:-1]]
    return [record["step"] for record in records if record["kind"] == "step"]


@pytest.mark.engine
def test_a_clean_prefix_is_certified_as_what_it_is(certified_prefix):
    project, answer, (timings_before, timings_after) = certified_prefix
    assert answer.code == 0, answer.out + answer.err
    assert answer.last_line == "VERDICT: CERTIFIED (the first 10 of 20 steps)"
    verdict, folder = project.verdict("plain"), project.latest("plain")
    assert verdict["scope"] == {"steps": 10, "of": 20} and verdict["problems"] == []
    assert [(kill["step"], kill["resumed_after_step"]) for kill in verdict["interruptions"]] == [(8, 6)]
    assert {file["path"] for file in verdict["files"]} == {f"checkpoints/step000{n}.pt" for n in (3, 6, 9)}
    assert verdict["testimony"]["found_in_ledger"] == verdict["testimony"]["tensors_on_disk"] > 0
    assert any("the kill in_write at step 12" in line for line in verdict["not_checked"])
    certificate = json.loads((folder / "certificate.json").read_text())
    assert certificate["predicate"]["scope"] == {"steps": 10, "of": 20}
    assert [subject["name"] for subject in certificate["subject"]] == ["commit of plain"]
    for document in ("summary.md", "report.html", "junit.xml"):
        assert "the first 10 of 20 steps" in (folder / document).read_text()
    assert project.manifest("plain")["experiment"]["steps"] == 20
    for trajectory, run in (("straight", 1), ("rerun", 1), ("resumed", 2)):
        assert not (folder / trajectory / "output" / "model.safetensors").exists()
        assert steps_left_by(project, "plain", trajectory, run) == list(range(7 if run == 2 else 1, 11))
    assert timings_after == timings_before


@pytest.mark.engine
@pytest.mark.parametrize(
    ("bug", "trajectory", "run", "place", "cause"),
    [
        ("forgets_rng", "resumed", 2, (7, "rng"), "rng_not_restored"),
        ("unseeded", "rerun", 1, (1, "rng"), "unseeded_randomness"),
    ],
)
def test_everything_is_stopped_at_the_first_difference_which_is_named_as_always(
    client, shared_project, bug, trajectory, run, place, cause
):
    name = f"long-{bug}".replace("_", "-")
    shared_project.experiment(name, MUTANT.format(bug=bug))
    answer = shared_project.harness("certify", name, RUNNER="docker", STEPS=str(STEPS))
    verdict = shared_project.verdict(name)
    assert (answer.code, verdict["verdict"]) == (1, "DIVERGED"), answer.out + answer.err
    assert answer.last_line == f"VERDICT: DIVERGED (the first {STEPS} of 3000 steps)"
    first = verdict["first_divergence"]
    assert (first["trajectory"], first["run"], first["step"], first["stream"]) == (trajectory, run, *place)
    assert first["tensor"] is not None and verdict["cause"]["class"] == cause
    stopped = verdict["stopped_at"]
    assert (stopped["trajectory"], stopped["run"], stopped["step"]) == (trajectory, run, place[0])
    assert any("behind the first difference" in line for line in verdict["not_checked"])
    # The process of a step in which it differed is killed within a second or so: a step takes some milliseconds.
    assert place[0] <= steps_left_by(shared_project, name, trajectory, run)[-1] < STEPS
    folder = shared_project.latest(name)
    assert (folder / "resumed").exists() == (trajectory == "resumed")
    record = json.loads((folder / trajectory / f"run-{run}.json").read_text())
    assert (record["exit_code"], record["killed_by"]) == (137, "at the first difference")
    # Not `containers.list`: it asks for each one again, and fails when one of somebody else's has just gone.
    left = client.api.containers(all=True, filters={"label": LABEL})
    assert not [one for one in left if one["Labels"][LABEL].startswith(folder.name)]


def test_a_prefix_is_planned_without_being_run(shared_project):
    answer = shared_project.harness("certify", "tiny", "--steps", "5", "--plan")
    assert answer.code == 0 and "PREFIX: the first 5 of 24 steps" in answer.out, answer.err
    assert not (shared_project.root / "runs" / "tiny").exists()


def test_a_prefix_that_would_answer_nothing_is_refused_before_anything_is_made(shared_project):
    answer = shared_project.harness("certify", "tiny", "--steps", "3")
    assert answer.code == 2 and "at least --steps 4," in answer.err
    assert shared_project.harness("certify", "tiny", STEPS="24").code == 2
    assert not (shared_project.root / "runs" / "tiny").exists()
