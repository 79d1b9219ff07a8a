"""The plan: what would run, with the time and disk it expects."""

from pathlib import Path

import pytest

from harness.documents.experiment import parse_experiment
from harness.documents.scope import scope_of, shortened
from harness.runs.plan import make_plan, render_plan

TINY = Path(__file__).resolve().parents[3] / "pipelines" / "experiments" / "tiny.yaml"


def planned(**changes):
    fields = {
        "name": "tiny",
        "experiment": parse_experiment(TINY.read_text(), "tiny.yaml"),
        "runner": "docker",
        "trajectories": ("straight", "resumed", "rerun"),
        "num_parallel": 2,
        "is_image_cached": False,
        "fetch_bytes": 275_000_000,
        "disk_bytes": 6_000_000_000,
        "measured": {},
    }
    return make_plan(**{**fields, **changes})


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


def test_a_prefix_is_planned_as_one_and_its_time_is_not_that_of_the_whole():
    declared = parse_experiment(TINY.read_text(), "tiny.yaml")
    scope = scope_of(declared, 5)
    measured = {"inputs": 2.0, "prepare": 10.0, "runs": 38.0, "judge": 1.0}
    plan = planned(experiment=shortened(declared, scope), scope=scope, measured=measured, is_image_cached=True)
    text = render_plan(plan)
    assert "PREFIX: the first 5 of 24 steps" in text and "5 steps each; kills: micro_batch at step 4 (self);" in text
    assert "with all 24 it took 38 s" in text
    assert plan.seconds is None
