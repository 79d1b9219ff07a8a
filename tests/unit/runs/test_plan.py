"""The plan: what would run, with the time and disk it expects."""

from pathlib import Path

import pytest

from harness.documents.experiment import parse_experiment
from harness.documents.plan import Plan, PlanFinding, render_plan
from harness.documents.scope import scope_of, shortened
from harness.runs.plan import stages_of

TINY = Path(__file__).resolve().parents[3] / "pipelines" / "experiments" / "tiny.yaml"


def planned(**changes):
    fields = {
        "trajectories": ("straight", "resumed", "rerun"),
        "num_parallel": 2,
        "is_image_cached": False,
        "fetch_bytes": 275_000_000,
        "disk_bytes": 6_000_000_000,
        "measured": {},
    }
    experiment = changes.pop("experiment", None) or parse_experiment(TINY.read_text(), "tiny.yaml")
    return Plan(experiment="tiny", runner="docker", stages=stages_of(experiment, **{**fields, **changes}))


def test_an_image_that_is_not_built_is_planned_with_its_download_and_its_disk():
    text = render_plan(planned())
    assert "fetch 275 MB, build twice" in text and "6.0 GB of disk" in text
    assert "time is known once it ran here" in text


def test_a_cached_image_costs_no_disk_and_measured_stages_add_up():
    plan = planned(is_image_cached=True, measured={"inputs": 2.0, "prepare": 10.0, "runs": 38.0, "judge": 1.0})
    assert plan.seconds == pytest.approx(52.0)
    assert "GB of disk" not in render_plan(plan)


def test_every_run_and_every_kill_is_counted():
    text = render_plan(planned())
    assert "6 runs of straight, resumed, rerun" in text
    assert "micro_batch at step 4 (self)" in text and "before_step at step 9 (outside)" in text


def test_a_sweep_is_planned_with_its_trainings_and_without_the_time_of_a_certify_that_had_none():
    plan = planned(num_swept=50, measured={"inputs": 2.0, "prepare": 10.0, "runs": 38.0, "judge": 1.0})
    assert "sweep: 50 trainings more, each killed once at a drawn point" in render_plan(plan)
    assert plan.seconds is None


def test_a_prefix_is_planned_as_one_and_its_time_is_not_that_of_the_whole():
    declared = parse_experiment(TINY.read_text(), "tiny.yaml")
    scope = scope_of(declared, 5)
    measured = {"inputs": 2.0, "prepare": 10.0, "runs": 38.0, "judge": 1.0}
    plan = planned(experiment=shortened(declared, scope), scope=scope, measured=measured, is_image_cached=True)
    text = render_plan(plan)
    assert "PREFIX: the first 5 of 24 steps" in text and "5 steps each; kills: micro_batch at step 4 (self);" in text
    assert "with all 24 it took 38 s" in text
    assert plan.seconds is None


def test_findings_are_told_with_what_stops_it_first_and_the_code_is_that_of_the_first_that_does():
    findings = (
        PlanFinding(about="memory", problem="6 GiB", remedy="try it", exit_code=0),
        PlanFinding(about="git", problem="uncommitted changes", remedy="commit them", exit_code=2),
        PlanFinding(about="engine", problem="not running", remedy="start one", exit_code=6),
    )
    plan = Plan(experiment="tiny", runner="docker", findings=findings)
    text = render_plan(plan)
    assert plan.exit_code == 2 and plan.to_json()["exit_code"] == 2
    assert text.index("stops it: git") < text.index("stops it: engine") < text.index("note: memory")
    assert "2 things stop this certify (it would end with 2)." in text
    assert render_plan(planned()).endswith("Nothing stops this certify.")


def test_without_containers_there_is_no_image_to_build():
    text = render_plan(planned(is_on_host=True, python="/env/bin/python"))
    assert "/env/bin/python, compared with lockfiles/cpu.lock" in text and "fetch" not in text
