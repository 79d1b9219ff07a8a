"""What verdict.json says of where the runs ran: GPUs, a writable root, an interpreter that is not the locked one."""

from dataclasses import replace

from harness.documents.environment import ChangedPackage, EnvironmentDifference, MissingPackage
from harness.judge.verdict import judge
from tests.made.environments import environment_facts
from tests.made.synthetic import case, resumed, straight

UUID = "GPU-8f2c0b4e-1111-4e6f-9d7a-000000000001"


def judged(**changes):
    return judge(case(**changes)).to_json()


def with_runs(trajectory, **changes):
    return replace(trajectory, runs=tuple(replace(run, **changes) for run in trajectory.runs))


def with_records(trajectory, **changes):
    runs = tuple(replace(run, record=run.record.model_copy(update=changes)) for run in trajectory.runs)
    return replace(trajectory, runs=runs)


def with_vram(trajectory, vram):
    rows = [replace(row, vram_bytes=vram) for row in trajectory.runs[0].progress] or _progress(vram)
    return with_runs(trajectory, progress=tuple(rows))


def _progress(vram):
    from harness.evidence.ledger import Progress

    return [Progress(step=1, loss=1.0, lr=None, seconds=None, rss_bytes=None, vram_bytes=vram, recorder_seconds=None)]


def environment(**difference):
    return environment_facts(EnvironmentDifference(**difference))


# --- GPUs -------------------------------------------------------------------------------------------------------------


def test_the_gpus_that_were_given_stand_in_the_verdict():
    assert judged()["gpus"] == []
    document = judged(gpus=(UUID,), straight=with_vram(straight(), 1 << 20))
    assert (document["verdict"], document["gpus"]) == ("CERTIFIED", [UUID])


def test_a_training_that_was_given_gpus_and_used_none_is_inconclusive():
    document = judged(gpus=(UUID,), straight=with_vram(straight(), None))
    assert (document["verdict"], document["exit_code"]) == ("INCONCLUSIVE", 3)
    assert any("ran on the CPU" in problem for problem in document["problems"])


def test_a_training_without_gpus_need_not_use_any():
    assert judged(straight=with_vram(straight(), None))["verdict"] == "CERTIFIED"


def test_a_gpu_that_was_lost_is_inconclusive_and_never_a_difference():
    lost = "the GPU was lost: Failed to initialize NVML: Unknown Error"
    document = judged(resumed=with_records(resumed(), error=lost, exit_code=1))
    assert (document["verdict"], document["exit_code"]) == ("INCONCLUSIVE", 3)
    assert any(lost in problem for problem in document["problems"])
    assert document["first_divergence"] is None


def test_a_container_that_did_not_start_for_want_of_a_driver_is_inconclusive():
    why = 'the engine has no driver for GPUs (could not select device driver): "nvidia" with capabilities: [[gpu]]'
    broken = with_records(straight(), error=why, exit_code=-1)
    document = judged(straight=with_runs(broken, ledger=None, events=(), sidecar=None))
    assert (document["verdict"], document["exit_code"]) == ("INCONCLUSIVE", 3)
    assert any("could not select device driver" in problem for problem in document["problems"])


# --- the root file system ---------------------------------------------------------------------------------------------


def test_a_root_that_had_to_be_writable_is_said_once_with_the_number_of_runs():
    fallback = "a writable root file system: the hook needs it"
    document = judged(straight=with_records(straight(), settings={"read_only_root": False, "fallback": fallback}))
    said = [text for text in document["not_checked"] if "the isolation in full" in text]
    assert document["verdict"] == "CERTIFIED"
    assert len(said) == 1 and fallback in said[0] and "1 of " in said[0]
    assert not any("the isolation in full" in text for text in judged()["not_checked"])


# --- the interpreter --------------------------------------------------------------------------------------------------


def test_runs_in_containers_have_no_environment_of_their_own():
    assert judged()["environment"] is None


def test_the_locked_environment_changes_nothing_in_the_verdict():
    document = judged(environment=environment())
    assert document["environment"]["is_locked"] is True
    assert document["summary"] == judged()["summary"]
    assert document["not_checked"] == judged()["not_checked"]


def test_another_environment_is_certified_and_the_sentence_says_so():
    changed = ChangedPackage(name="torch", locked="2.9.0", found="2.8.0")
    missing = MissingPackage(name="numpy", locked="2.1.0")
    document = judged(environment=environment(changed=(changed,), missing=(missing,)))
    assert document["verdict"] == "CERTIFIED"
    assert document["summary"].endswith(", in an environment that is NOT the locked one.")
    assert document["environment"]["difference"]["changed"] == [{"name": "torch", "locked": "2.9.0", "found": "2.8.0"}]
    assert any("1 missing (numpy), 1 changed (torch 2.8.0 instead of 2.9.0)" in t for t in document["not_checked"])
