"""A certify that was cut off goes on: what is finished and as it was is taken over, all else begins again."""

import dataclasses
import shutil

import pytest

from harness.runs.campaign import CONTROL_OPTIM, RESUMED, STRAIGHT, TRAJECTORIES, plan_campaign, run_campaign
from harness.runs.continuation import FOLDER, Continuation, cut_off, remove_remains
from harness.system.held import LOCK, held
from tests.unit.runs.test_trajectory import DIES, context_of

PLAN = {"image": "sha256:1", "machine": "sha256:2"}


@pytest.fixture(autouse=True)
def no_evidence(monkeypatch):
    """What these jobs write is no whole evidence, which would end the others after the straight run."""
    monkeypatch.setattr("harness.runs.campaign.early_problems", lambda *_: ())


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A campaign that was run to its end, but whose certify was not."""
    context = context_of(tmp_path_factory.mktemp("whole"), DIES)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("harness.runs.campaign.early_problems", lambda *_: ())
        go(context)
    return context


@pytest.fixture
def context(whole, tmp_path):
    """The same, to be changed at will."""
    shutil.copytree(whole.folder, tmp_path / "run")
    return dataclasses.replace(whole, folder=tmp_path / "run")


def go(context, plan=PLAN):
    """Run a campaign as a certify does that goes on; its records, what was taken over, and what was told."""
    told = []
    kept = Continuation(context.folder, plan, told.append)
    planned = plan_campaign(context.experiment, with_controls=True, cores=2)
    kept.clear(TRAJECTORIES, planned.trajectories)
    records = run_campaign(dataclasses.replace(context, continuation=kept), planned)
    return records, set(kept.taken), told


def test_nothing_that_is_finished_is_repeated(context):
    logs = {path: path.stat().st_mtime_ns for path in context.folder.rglob("log-*.txt")}
    assert len(logs) > len(TRAJECTORIES)
    records, taken, _ = go(context)
    assert taken == set(records) == set(TRAJECTORIES)
    assert {name: {run.trajectory for run in runs} for name, runs in records.items()} == {n: {n} for n in TRAJECTORIES}
    assert {path: path.stat().st_mtime_ns for path in context.folder.rglob("log-*.txt")} == logs


def test_what_is_half_done_begins_again_and_a_control_without_what_it_was_copied_from(context):
    for name in (STRAIGHT, CONTROL_OPTIM):
        (context.folder / FOLDER / f"{name}.json").unlink()
        (context.folder / name / "output" / "half").touch()
    before = [run.faults for run in go(context)[0][CONTROL_OPTIM]]
    (context.folder / FOLDER / f"{CONTROL_OPTIM}.json").unlink()
    records, taken, _ = go(context)
    assert taken == set(TRAJECTORIES) - {CONTROL_OPTIM}
    assert not (context.folder / STRAIGHT / "output" / "half").exists()
    assert [run.faults for run in records[CONTROL_OPTIM]] == before
    assert [(run.trajectory, run.mode) for run in records[CONTROL_OPTIM]][-1] == (CONTROL_OPTIM, "resume")


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda folder: (folder / "output" / "1.txt").write_text("x"), "resumed/output/1.txt is not as it was"),
        (lambda folder: (folder / "runs" / "new").mkdir(), "resumed/runs/new is not as it was"),
        (lambda folder: (folder / "run-2.json").unlink(), "resumed/run-2.json is not as it was"),
        (lambda folder: (folder.parent / FOLDER / "resumed.json").write_text("{"), "it cannot be read"),
        (shutil.rmtree, "is not as it was"),
    ],
)
def test_what_was_touched_begins_again_and_it_is_said_why(context, change, why):
    change(context.folder / RESUMED)
    _, taken, told = go(context)
    assert taken == set(TRAJECTORIES) - {RESUMED}
    assert any(line.startswith("resumed begins again: ") and why in line for line in told)
    assert go(context)[1] == set(TRAJECTORIES)


def test_trainings_of_another_image_machine_or_experiment_are_not_taken_over(context):
    told = []
    elsewhere = Continuation(context.folder, {**PLAN, "image": "sha256:3"}, told.append)
    assert elsewhere.take(STRAIGHT, context.experiment) is None
    other = context.experiment.model_copy(update={"timeout_s": 77})
    assert Continuation(context.folder, PLAN, told.append).take(RESUMED, other) is None
    assert told == [
        "straight begins again: it was trained with another image",
        "resumed begins again: it was trained with another experiment",
    ]
    assert not (context.folder / STRAIGHT).exists() and not (context.folder / RESUMED).exists()


def test_a_run_that_says_nothing_is_not_kept(tmp_path):
    context = context_of(tmp_path, DIES)
    context = dataclasses.replace(context, experiment=context.experiment.model_copy(update={"timeout_s": 0}))
    assert all(run.error for runs in go(context)[0].values() for run in runs)
    assert not (tmp_path / FOLDER).exists()


def test_the_newest_that_was_cut_off_with_something_finished_is_gone_on_with(tmp_path):
    first, second, third = (tmp_path / f"2026010{day}T000000Z-0000000-abcd" for day in (1, 2, 3))
    for folder in (first, second, third):
        (folder / FOLDER).mkdir(parents=True)
        (folder / FOLDER / "straight.json").touch()
    assert cut_off(tmp_path, "0" * 40) == third and cut_off(tmp_path, "1" * 40) is None
    (third / "manifest.json").touch()
    (second / LOCK).touch()
    assert cut_off(tmp_path, "0" * 40) == second
    with held(second / LOCK):
        assert cut_off(tmp_path, "0" * 40) == first
    (first / FOLDER / "straight.json").unlink()
    assert cut_off(tmp_path, "0" * 40) == second
    assert cut_off(tmp_path / "never", "0" * 40) is None


def test_of_a_run_that_was_cut_off_only_its_finished_trainings_stay(tmp_path):
    for name in ("straight", "resumed", "code", ".work"):
        (tmp_path / name).mkdir()
    (tmp_path / FOLDER).mkdir()
    (tmp_path / FOLDER / "straight.json").touch()
    (tmp_path / "verdict.json").touch()
    remove_remains(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {FOLDER, "straight"}
