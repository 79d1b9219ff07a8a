"""Replay: what is trained again is what the record had."""

from types import SimpleNamespace

from harness.runs.request import Request
from harness.workflow.replay import ReplayRequest, _question
from tests.tamper.made_run import NAME, Plan, write_project


def test_what_was_set_for_the_recorded_run_is_set_again(tmp_path, store):
    code = write_project(tmp_path, Plan())
    manifest = SimpleNamespace(overrides=("config.seed=18",))
    recorded = SimpleNamespace(record=SimpleNamespace(experiment=NAME), manifest=manifest)
    request = ReplayRequest(running=Request(root=code, name=""), record="1234567")
    question = _question(request, SimpleNamespace(recorded=recorded, archive=None), code, store)
    assert question.experiment.config == {"seed": 18}
    assert question.request.overrides == ("config.seed=18",)
