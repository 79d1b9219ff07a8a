"""Every rule of the verdict, by a case that breaks only that rule."""

import json
from dataclasses import replace

import pytest

from harness.documents.digest import sha256
from harness.documents.run import Fault
from harness.documents.verdict import ControlResult
from harness.evidence.content import read_content
from harness.evidence.ledger import Event
from harness.judge.sweep import points_by_name, sweep_inputs
from harness.judge.verdict import judge
from harness.judge.verdict_inputs import Rebuild, VerdictInputs
from harness.review.reviewer import reviewer_of
from tests.made.synthetic import NAMES, STEPS, UNSEEDED, UNSEEDED_BASIS, Quirks, case, good_controls, resumed, straight

WRITE = Fault(kind="in_write", step=6, byte=40)


def judged(**changes):
    document = judge(case(**changes)).to_json()
    assert json.loads(json.dumps(document)) == document
    return document


def oracle(document, name):
    return document["checks"][name]["verdict"]


def assert_inconclusive(document, words):
    assert (document["verdict"], document["exit_code"]) == ("INCONCLUSIVE", 3), document["summary"]
    assert any(words in problem for problem in document["problems"]), document["problems"]


def with_run(trajectory, number, **changes):
    """The same trajectory with one run's evidence changed; `record_*` keys go into its record."""
    runs = list(trajectory.runs)
    record = {key.removeprefix("record_"): value for key, value in changes.items() if key.startswith("record_")}
    other = {key: value for key, value in changes.items() if not key.startswith("record_")}
    runs[number - 1] = replace(runs[number - 1], record=runs[number - 1].record.model_copy(update=record), **other)
    return replace(trajectory, runs=tuple(runs))


# --- certified --------------------------------------------------------------------------------------------------------


def test_a_training_that_repeats_and_survives_its_kill_is_certified():
    document = judged()
    assert (document["verdict"], document["exit_code"], document["problems"]) == ("CERTIFIED", 0, [])
    assert {name: oracle(document, name) for name in document["checks"]} == dict.fromkeys(
        ("rerun", "resume", "rebuild"), "CERTIFIED"
    )
    assert document["checks"]["resume"]["resumes"] == [
        {"run": 2, "started_after_step": 4, "checkpoint_step": 4, "step_source": "content"}
    ]
    assert document["interruptions"][0] == {
        "kind": "micro_batch",
        "step": 6,
        "micro_batch": 1,
        "byte": None,
        "by": "self",
        "run": 1,
        "signal": "SIGKILL",
        "exit_code": 137,
        "oom_killed": False,
        "landed": True,
        "resumed_after_step": 4,
    }
    assert document["compared"]["steps"] == STEPS + 4
    assert (document["first_divergence"], document["cause"], document["final_state_equal"]) == (None, None, True)
    assert document["testimony"] == {
        "tensors_on_disk": 9,
        "found_in_ledger": 9,
        "missing": [],
        "in_checkpoints": 0,
        "derived": 0,
    }
    assert document["control"]["failed_as_it_must"] is True


def test_the_verdict_says_what_was_not_checked():
    lines = " ".join(judged(dirty=True, runner="host")["not_checked"])
    for words in ("hardware", "not drawn at random", "operator", "no container", "cannot be replayed", "replay"):
        assert words in lines


def test_equal_cases_give_equal_verdicts():
    assert judged() == judged()


def test_several_kills_of_every_kind_are_certified():
    kills = (
        Fault(kind="before_step", step=3, by="outside"),
        Fault(kind="after_step", step=4),
        WRITE,
        Fault(kind="after_write", step=6),
    )
    document = judged(resumed=resumed(kills), interruptions=kills)
    assert document["verdict"] == "CERTIFIED", document["problems"]
    assert [one["resumed_after_step"] for one in document["interruptions"]] == [2, 2, 4, 6]
    assert all(one["landed"] for one in document["interruptions"])


def test_a_write_torn_by_the_kernel_counts_with_the_exit_status_of_its_signal():
    trajectory = with_run(resumed((WRITE,)), 1, record_exit_code=153, record_killed_by=None)
    document = judged(resumed=trajectory, interruptions=(WRITE,))
    assert document["verdict"] == "CERTIFIED", document["problems"]
    assert document["interruptions"][0]["signal"] == "SIGXFSZ"
    not_a_write = judged(resumed=with_run(resumed(), 1, record_exit_code=153, record_killed_by=None))
    assert_inconclusive(not_a_write, "exit code 153")


SIGNAL = Fault(kind="signal", step=5, signal="SIGTERM", grace_s=20)
ANSWER = {"grace_s": 20, "saved": "checkpoints/step5.safetensors", "saved_after_step": 5}


def answered(path="checkpoints/step5.safetensors", killed_by="itself", **record):
    """A training that saves when it is told to end, after step 5, and is resumed from a file."""
    trajectory = with_run(resumed((SIGNAL,)), 1, record_exit_code=0, record_killed_by=killed_by, **record)
    read = Event(kind="restore", fields={"path": path, "ok": True})
    return with_run(trajectory, 2, events=(read, *trajectory.runs[1].events))


@pytest.mark.parametrize(
    ("killed_by", "words"),
    [
        ("itself", "by itself"),
        ("self", "by the signal"),
        ("outside", "by SIGKILL after the time of grace"),
    ],
)
def test_a_signal_that_was_answered_is_a_kill_and_the_verdict_says_what_was_resumed_from(killed_by, words):
    document = judged(resumed=answered(killed_by=killed_by), interruptions=(SIGNAL,))
    assert document["verdict"] == "CERTIFIED", document["problems"]
    (kill,) = document["interruptions"]
    assert (kill["signal"], kill["landed"], kill["resumed_after_step"]) == ("SIGTERM", True, 5)
    assert kill["under_signal"] == {**ANSWER, "ended": words, "was_resumed_from": True}
    assert any("passes a signal on" in line for line in document["not_checked"])


def test_another_checkpoint_than_that_of_the_signal_is_told_and_one_that_nobody_saw_read_is_not_known():
    for path, was_resumed_from in (("checkpoints/step4.safetensors", None), ("elsewhere", None)):
        document = judged(resumed=answered(path), interruptions=(SIGNAL,))
        assert document["interruptions"][0]["under_signal"] == {
            **ANSWER,
            "ended": "by itself",
            "was_resumed_from": was_resumed_from,
        }
    earlier = with_run(resumed((SIGNAL,), Quirks(claims_step=4)), 1, record_exit_code=0, record_killed_by="itself")
    document = judged(resumed=earlier, interruptions=(SIGNAL,))
    assert document["interruptions"][0]["under_signal"]["was_resumed_from"] is False


def test_a_training_that_trains_on_to_its_end_was_not_interrupted():
    sent = Event(kind="fault", fields={"fault": SIGNAL.to_json(), "waiting": False, "handled": True})
    whole = with_run(resumed(()), 1, record_killed_by="itself")
    trajectory = with_run(whole, 1, events=(*whole.runs[0].events, sent))
    document = judged(resumed=trajectory, interruptions=(SIGNAL,))
    assert_inconclusive(document, "was not interrupted: it was sent SIGTERM at step 5 and trained to its last step")
    assert "under_signal" not in document["interruptions"][0]


def swept(num=8, **quirks):
    """A case with a sweep; `quirks` are those of the resumes of the second point."""
    points, _ = points_by_name(straight(), "c" * 40, num)
    others = {name: Quirks() for name in points} | {"swept-002": Quirks(**quirks)}
    trajectories = {
        name: replace(resumed((point,), others[name], name=name), files=(), has_files=False)
        for name, point in points.items()
    }
    return trajectories, sweep_inputs(straight(), "c" * 40, num, trajectories)


def test_hand_picked_kills_get_no_bound_and_a_sweep_of_random_ones_does():
    assert judged()["checks"]["resume"]["bound"] is None
    trajectories, sweep = swept()
    document = judged(sweep=sweep)
    assert document["verdict"] == "CERTIFIED", document["problems"]
    bound = "8 of 8 held: with 95 % confidence, after fewer than 31.2 % of kills it differs"
    assert document["checks"]["resume"]["bound"] == document["sweep"]["bound"] == bound
    began_again = sum(one.runs[1].ledger.start.step == 0 for one in trajectories.values())
    assert 0 < began_again < 8
    assert document["sweep"] == {
        "num_asked": 8,
        "num_points": 8,
        "num_possible": STEPS * 2 + 3,
        "num_held": 8,
        "num_began_again": began_again,
        "bound": bound,
        "not_held": [],
    }


def test_one_point_that_differs_makes_it_diverged_and_is_told_with_its_cause():
    _, sweep = swept(forget=("moments",))
    document = judged(sweep=sweep)
    assert (document["verdict"], document["first_divergence"]["trajectory"]) == ("DIVERGED", "swept-002")
    assert (document["sweep"]["num_held"], document["sweep"]["bound"]) == (7, None)
    (row,) = document["sweep"]["not_held"]
    assert (row["trajectory"], row["stream"], row["cause"]) == ("swept-002", "optim", document["cause"]["class"])


def test_a_point_that_never_came_does_not_hold_and_there_is_no_bound():
    trajectories, sweep = swept()
    later = with_run(trajectories["swept-003"], 1, record_killed_by=None, record_exit_code=0)
    assert_inconclusive(judged(sweep=replace(sweep, trajectories={**trajectories, "swept-003": later})), "never landed")
    without = {name: one for name, one in trajectories.items() if name != "swept-003"}
    document = judged(sweep=replace(sweep, trajectories=without))
    assert_inconclusive(document, "swept-003, killed at step")
    assert (document["sweep"]["num_held"], document["sweep"]["bound"]) == (7, None)


def test_trainings_that_were_not_drawn_are_no_sweep():
    trajectories, _ = swept()
    fewer = sweep_inputs(straight(), "c" * 40, 2, trajectories)
    assert_inconclusive(judged(sweep=fewer), "its trainings are not those of the drawn points")


# --- rerun ------------------------------------------------------------------------------------------------------------


def test_one_rerun_makes_no_statistical_claim():
    document = judged()
    assert (document["checks"]["rerun"]["how"], document["checks"]["rerun"]["bound"]) == ("second straight run", None)
    assert "more reruns: there was one, so there is no statistical claim" in document["not_checked"]


def test_a_second_run_that_differs_is_the_reruns_fault_and_leaves_resume_open():
    document = judged(rerun=straight("rerun", Quirks(noise=(3, "loss"))))
    assert (document["verdict"], document["exit_code"]) == ("DIVERGED", 1)
    assert oracle(document, "rerun") == "DIVERGED" and oracle(document, "resume") == "CERTIFIED"
    first = document["first_divergence"]
    assert (first["check"], first["trajectory"], first["run"], first["step"]) == ("rerun", "rerun", 1, 3)
    assert (first["stream"], first["tensor"], first["micro_batch"]) == ("loss", "1.1", 1)
    assert document["final_state_equal"] is False


def test_a_difference_after_a_resume_is_the_resumes_only_if_rerun_holds():
    broken = resumed(quirks=Quirks(forget=("rng",)))
    held = judged(resumed=broken)
    assert (oracle(held, "rerun"), oracle(held, "resume"), held["verdict"]) == ("CERTIFIED", "DIVERGED", "DIVERGED")
    not_held = judged(resumed=broken, rerun=straight("rerun", Quirks(noise=(3, "loss"))))
    assert (oracle(not_held, "rerun"), oracle(not_held, "resume")) == ("DIVERGED", "INCONCLUSIVE")
    assert "does not repeat itself" in not_held["checks"]["resume"]["reason"]
    unknown = judged(resumed=broken, rerun=None)
    assert (oracle(unknown, "rerun"), oracle(unknown, "resume")) == ("NOT_CHECKED", "INCONCLUSIVE")
    assert unknown["verdict"] == "INCONCLUSIVE"


def test_the_steps_before_the_first_kill_can_stand_for_a_second_run_and_say_so():
    document = judged(rerun=None, rerun_mode="prefix")
    rerun = document["checks"]["rerun"]
    assert (rerun["verdict"], rerun["how"]) == ("CERTIFIED", "steps 1-5 before the first kill")
    assert document["verdict"] == "CERTIFIED"
    assert any("a second straight run" in line for line in document["not_checked"])


def test_a_prefix_that_differs_is_the_reruns_fault_even_beside_an_equal_second_run():
    noisy = resumed(first=Quirks(noise=(2, "grad")))
    for changes in ({}, {"rerun": None, "rerun_mode": "prefix"}):
        document = judged(resumed=noisy, **changes)
        assert (oracle(document, "rerun"), oracle(document, "resume")) == ("DIVERGED", "INCONCLUSIVE")
        assert document["first_divergence"]["trajectory"] == "resumed"
        assert (document["first_divergence"]["run"], document["first_divergence"]["step"]) == (1, 2)


def test_a_kill_before_the_first_step_leaves_no_prefix_to_compare():
    kill = Fault(kind="micro_batch", step=1, micro_batch=1)
    document = judged(rerun=None, rerun_mode="prefix", resumed=resumed((kill,)), interruptions=(kill,))
    assert oracle(document, "rerun") == "NOT_CHECKED"
    assert_inconclusive(document, "rerun is required and was not checked")


def test_different_outputs_of_a_second_run_diverge():
    other = straight("rerun")
    document = judged(rerun=replace(other, files=straight(quirks=Quirks(learning=0.5)).files))
    assert document["verdict"] == "DIVERGED"
    assert document["first_divergence"]["stream"] in ("output", "checkpoint")
    assert document["cause"]["class"] == "output_differs"


# --- resume -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("forgotten", "stream", "cause"),
    [
        ("rng", "rng", "rng_not_restored"),
        ("moments", "optim", "optimizer_state_not_restored"),
        ("params", "param", "weights_not_restored"),
        ("batch", "data", "data_position_not_restored"),
        ("schedule", "lr", "scheduler_not_restored"),
        ("buffers", "buffer", "buffers_not_restored"),
    ],
)
def test_state_that_is_not_restored_diverges_with_its_cause(forgotten, stream, cause):
    document = judged(resumed=resumed(quirks=Quirks(forget=(forgotten,))))
    first = document["first_divergence"]
    assert (document["verdict"], oracle(document, "resume")) == ("DIVERGED", "DIVERGED")
    assert (first["trajectory"], first["run"], first["step"], first["stream"]) == ("resumed", 2, 5, stream)
    assert document["cause"]["class"] == cause
    assert document["cause"]["evidence"] and document["cause"]["fix"]


def test_state_that_came_back_different_diverges_even_if_the_final_bits_agree():
    """The buffer is read by nothing and overwritten in the end: here the ledger is told so."""
    broken = resumed(quirks=Quirks(forget=("moments",)))
    good = resumed()
    start = broken.runs[1].ledger.start
    healed = replace(good.runs[1].ledger, start=start)
    mixed = with_run(good, 2, ledger=healed, sidecar=broken.runs[1].sidecar)
    document = judged(resumed=mixed)
    assert document["final_state_equal"] is True
    assert (oracle(document, "resume"), document["first_divergence"]["stream"]) == ("DIVERGED", "optim")


def test_a_resume_that_starts_over_diverges_although_every_bit_agrees():
    document = judged(resumed=resumed(quirks=Quirks(forget=("everything",))))
    assert (document["verdict"], oracle(document, "resume")) == ("DIVERGED", "DIVERGED")
    assert document["cause"]["class"] == "checkpoint_ignored"
    assert (document["final_state_equal"], document["first_divergence"]) == (True, None)
    assert document["interruptions"][0]["resumed_after_step"] == 0
    assert "2 checkpoint writes" in document["cause"]["evidence"][1]


def test_what_is_saved_beside_the_declared_checkpoints_is_none():
    """Losses, or the best weights: a training that was killed after them, and before a checkpoint, starts over."""
    over = replace(resumed(quirks=Quirks(forget=("everything",))), checkpoints=frozenset({"later.pt"}))
    document = judged(resumed=over)
    assert oracle(document, "resume") == "INCONCLUSIVE"
    assert_inconclusive(document, "no checkpoint was complete before the kill")


def test_starting_over_before_any_checkpoint_is_no_resume_and_no_divergence():
    kill = Fault(kind="micro_batch", step=2, micro_batch=1)
    document = judged(resumed=resumed((kill,)), interruptions=(kill,))
    assert oracle(document, "resume") == "INCONCLUSIVE"
    assert_inconclusive(document, "no checkpoint was complete before the kill")


def test_starting_over_before_any_checkpoint_is_a_note_beside_a_real_resume():
    kills = (Fault(kind="after_step", step=1), Fault(kind="after_step", step=5))
    document = judged(resumed=resumed(kills), interruptions=kills)
    assert document["verdict"] == "CERTIFIED", document["problems"]
    assert document["checks"]["resume"]["how"] == "one kill, followed by a resume"


@pytest.mark.parametrize("kind", ["before_write", "in_write", "after_write"])
def test_a_first_checkpoint_that_the_kill_prevented_is_not_ignored(kind):
    kill = Fault(kind=kind, step=2, byte=40 if kind == "in_write" else None)
    broken = resumed((kill,), quirks=Quirks(forget=("everything",)))
    assert_inconclusive(judged(resumed=broken, interruptions=(kill,)), "no checkpoint was complete before the kill")


def test_a_claim_that_the_host_cannot_confirm_is_a_problem_and_no_divergence():
    lied = resumed(quirks=Quirks(forget=("moments",), source="content"))
    document = judged(resumed=lied)
    assert oracle(document, "resume") == "INCONCLUSIVE"
    assert_inconclusive(document, "the same parameters and optimizer state are found nowhere")


def test_a_run_that_skips_steps_is_a_problem():
    kill = Fault(kind="after_step", step=3)
    document = judged(resumed=resumed((kill,), quirks=Quirks(claims_step=5)), interruptions=(kill,))
    assert_inconclusive(document, "starts after step 5, but only 3 steps are recorded before it")


def test_a_resume_after_the_last_step_compares_nothing():
    kill = Fault(kind="after_write", step=STEPS)
    document = judged(resumed=resumed((kill,)), interruptions=(kill,))
    assert document["interruptions"][0]["resumed_after_step"] == STEPS
    assert document["checks"]["resume"]["reason"] == "nothing was compared: no step follows a resume"
    assert_inconclusive(document, "no step follows a resume")


def finding_all_done(kills):
    """A trajectory whose last resume finds that nothing is left to train."""
    read = Event(kind="restore", fields={"path": "checkpoints/step8.safetensors", "ok": True})
    nothing = {"ledger": None, "ledger_bytes": b"", "sidecar": None, "events": (read,), "problem": "it has no ledger"}
    return with_run(resumed(kills), len(kills) + 1, **nothing)


def test_a_resume_that_finds_all_steps_done_is_a_note():
    kills = (Fault(kind="after_step", step=3), Fault(kind="after_write", step=STEPS))
    document = judged(resumed=finding_all_done(kills), interruptions=kills)
    assert document["verdict"] == "CERTIFIED", document["problems"]
    assert document["checks"]["resume"]["how"] == "one kill, followed by a resume"
    words = "resumed/3 had no step left to train: all 8 were done and saved before the kill"
    assert any(words in line for line in document["not_checked"])
    alone = judged(resumed=finding_all_done(kills[1:]), interruptions=kills[1:])
    assert_inconclusive(alone, "resumed/2 had no step left to train")
    too_early = (Fault(kind="after_step", step=3), Fault(kind="after_step", step=5))
    assert_inconclusive(judged(resumed=finding_all_done(too_early), interruptions=too_early), "it has no ledger")


@pytest.mark.parametrize(
    ("kill", "step"),
    [
        (Fault(kind="micro_batch", step=7, micro_batch=1), 5),
        (Fault(kind="before_step", step=7), 5),
        (Fault(kind="after_step", step=6), 5),
        (Fault(kind="after_write", step=6), 5),
    ],
)
def test_a_kill_that_came_at_another_step_than_it_says_has_not_landed(kill, step):
    trajectory = resumed()
    events = tuple(
        replace(e, fields={"fault": kill.to_json()}) if e.kind == "fault" else e for e in trajectory.runs[0].events
    )
    document = judged(resumed=with_run(trajectory, 1, events=events), interruptions=(kill,))
    assert document["interruptions"][0]["landed"] is False
    assert_inconclusive(document, f"({kill.kind} at step {kill.step}) came after step {step}")


def test_a_repeated_step_must_equal_the_earlier_copy():
    document = judged(resumed=resumed(quirks=Quirks(noise=(5, "grad"))))
    assert (oracle(document, "rerun"), oracle(document, "resume")) == ("CERTIFIED", "DIVERGED")
    assert document["first_divergence"]["step"] == 5


def test_a_second_resume_that_fails_is_found_in_its_run():
    kills = (Fault(kind="after_step", step=3), Fault(kind="after_step", step=7))
    good, bad = resumed(kills), resumed(kills, quirks=Quirks(forget=("rng",)))
    document = judged(resumed=bad, interruptions=kills)
    assert document["first_divergence"]["run"] == 2
    assert judged(resumed=good, interruptions=kills)["verdict"] == "CERTIFIED"
    assert document["streams_that_differ"][0] == {"stream": "rng", "first_step": 3, "num_steps": 6}


def test_a_checkpoint_that_only_a_kill_left_behind_is_named_and_not_compared():
    trajectory = resumed()
    extra = replace(trajectory.files[1], path="checkpoints/step5.safetensors")
    document = judged(resumed=replace(trajectory, files=(*trajectory.files, extra)))
    assert document["verdict"] == "CERTIFIED"
    assert "checkpoint checkpoints/step5.safetensors: only one side has it" in document["not_checked"]


def saving(trajectory, *paths):
    """The trajectory with writes of some files in its last run, as torch.save makes them."""
    run = trajectory.runs[-1]
    saves = tuple(Event(kind="save_end", fields={"path": path, "step": STEPS}) for path in paths)
    return with_run(trajectory, len(trajectory.runs), events=(*run.events, *saves))


def test_a_checkpoint_that_only_a_resume_lacks_or_saved_diverges():
    trajectory, best = resumed(), "checkpoints/best_step5.safetensors"
    kept, extra = trajectory.files[2:], replace(trajectory.files[1], path=best)
    lacks = judged(resumed=replace(trajectory, files=(trajectory.files[0], *kept)))
    saved = judged(resumed=saving(replace(trajectory, files=(*trajectory.files, extra)), best))
    assert trajectory.files[1].role == "checkpoint"
    for document, path in ((lacks, trajectory.files[1].path), (saved, best)):
        assert (oracle(document, "rerun"), oracle(document, "resume")) == ("CERTIFIED", "DIVERGED")
        first = document["first_divergence"]
        assert (first["stream"], first["tensor"]) == ("checkpoint", path)


def test_names_of_checkpoints_that_vary_without_a_kill_are_not_compared():
    at = [f"checkpoints/at_{time}.safetensors" for time in ("9h", "10h", "11h")]
    one, two, three = (
        saving(replace(each, files=(*each.files, replace(each.files[1], path=path))), path)
        for each, path in zip((straight(), straight("rerun"), resumed()), at, strict=True)
    )
    document = judged(straight=one, rerun=two, resumed=three)
    assert document["verdict"] == "CERTIFIED"
    assert f"checkpoint {at[0]}: only one side has it" in document["not_checked"]


def test_what_was_saved_and_not_declared_is_not_checked():
    document = judged(straight=saving(straight(), "best.pt", "/scratch/other.pt"))
    assert "best.pt: saved, and not compared: not declared, or removed before the end" in document["not_checked"]


def test_a_training_that_reads_what_another_one_saved_outside_its_output_is_not_certified():
    file = {"path": "/scratch/last.pt", "file": "0f"}
    save, read = Event(kind="save_end", fields={**file, "step": 4}), Event(kind="restore", fields={**file, "ok": True})
    one, two = straight(), resumed()
    wrote = with_run(one, 1, events=(*one.runs[0].events, save))
    document = judged(straight=wrote, resumed=with_run(two, 2, events=(read, *two.runs[1].events)))
    assert_inconclusive(document, "resumed read /scratch/last.pt, which straight saved")
    own = with_run(with_run(two, 1, events=(save, *two.runs[0].events)), 2, events=(read, *two.runs[1].events))
    assert judged(straight=wrote, resumed=own)["verdict"] == "CERTIFIED"


def test_a_checkpoint_that_differs_diverges():
    trajectory = resumed()
    file = trajectory.files[1]
    content = replace(file.content, values=(*file.content.values, ("epoch", "9")))
    files = tuple(replace(f, content=content, sha256=None) if f.path == file.path else f for f in trajectory.files)
    document = judged(resumed=replace(trajectory, files=files))
    assert (oracle(document, "resume"), document["first_divergence"]["stream"]) == ("DIVERGED", "checkpoint")
    assert document["first_divergence"]["tensor"] == f"{file.path}: epoch"


# --- an infrastructure fault is never a divergence, missing evidence never a certificate ------------------------------

BROKEN = Quirks(forget=("rng",))


FAULTS = [
    (lambda t: with_run(t, 2, record_exit_code=137, record_oom_killed=True), "ran out of memory"),
    (lambda t: with_run(t, 2, record_error="the engine stopped answering"), "the engine stopped answering"),
    (lambda t: with_run(t, 2, record_exit_code=1), "ended with exit code 1"),
    (lambda t: with_run(t, 2, record_exit_code=139), "ended with exit code 139"),
    (lambda t: with_run(t, 1, record_oom_killed=True), "ran out of memory"),
    (lambda t: with_run(t, 1, record_exit_code=0, record_killed_by=None), "never landed: the run finished"),
    (lambda t: with_run(t, 1, record_exit_code=86, record_killed_by=None), "nobody killed the waiting process"),
    (lambda t: with_run(t, 1, record_exit_code=1, record_killed_by=None), "instead of the kill"),
    (lambda t: with_run(t, 1, record_killed_by="outside"), "was to come from self and came from outside"),
    (lambda t: with_run(t, 1, events=()), "no event of it was recorded"),
    (lambda t: with_run(t, 2, problem="resumed/2/ledger.jsonl, line 3: found"), "line 3: found"),
    (lambda t: with_run(t, 2, ledger=replace(t.runs[1].ledger, end=None)), "the ledger has no end"),
    (lambda t: replace(t, problems=("output cannot be listed",)), "output cannot be listed"),
]
LOST = [
    (lambda t: with_run(t, 2, ledger=None), "left no ledger"),
    (lambda t: with_run(t, 1, ledger=None), "left no ledger"),
    (lambda t: with_run(t, 2, extra_ledgers=("ledger-2.jsonl",)), "more than one process trained"),
    (lambda t: replace(t, runs=t.runs[:1]), "1 of 2 runs took place"),
]


@pytest.mark.parametrize(("change", "words"), [*FAULTS, *LOST])
def test_a_fault_in_the_interrupted_training_makes_resume_inconclusive(change, words):
    document = judged(resumed=change(resumed()))
    assert oracle(document, "resume") == "INCONCLUSIVE"
    assert oracle(document, "rerun") == "CERTIFIED"
    assert_inconclusive(document, words)


@pytest.mark.parametrize(("change", "words"), LOST)
def test_evidence_that_is_lost_proves_nothing(change, words):
    assert_inconclusive(judged(resumed=change(resumed(quirks=BROKEN))), words)


@pytest.mark.parametrize(("change", "words"), FAULTS)
def test_a_difference_that_is_proven_outranks_whatever_goes_wrong_beside_it(change, words):
    document = judged(resumed=change(resumed(quirks=BROKEN)))
    assert (document["verdict"], oracle(document, "resume")) == ("DIVERGED", "DIVERGED")
    assert document["first_divergence"]["stream"] == "rng"
    assert document["cause"]["class"] == "rng_not_restored"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda t: with_run(t, 1, record_exit_code=1, record_killed_by=None), "exit code 1"),
        (lambda t: with_run(t, 1, record_exit_code=137, record_oom_killed=True), "ran out of memory"),
        (lambda t: with_run(t, 1, ledger=None), "no ledger"),
        (lambda t: replace(t, files=()), "no file matches the declared outputs"),
        (lambda t: replace(t, runs=(*t.runs, *t.runs)), "2 of 1 runs"),
    ],
)
def test_a_fault_in_the_straight_training_leaves_everything_open(change, words):
    document = judged(straight=change(straight()))
    assert {oracle(document, "rerun"), oracle(document, "resume")} == {"INCONCLUSIVE"}
    assert_inconclusive(document, words)


def test_a_fault_in_the_second_run_leaves_rerun_open():
    document = judged(rerun=with_run(straight("rerun"), 1, record_exit_code=1))
    assert oracle(document, "rerun") == "INCONCLUSIVE"
    assert_inconclusive(document, "rerun/1 ended with exit code 1")


def test_a_second_run_that_differs_before_it_fails_has_diverged():
    document = judged(rerun=with_run(straight("rerun", Quirks(noise=(2, "loss"))), 1, record_exit_code=1))
    assert (document["verdict"], document["first_divergence"]["step"]) == ("DIVERGED", 2)


def test_steps_that_a_second_run_gave_again_before_it_failed_are_enough_for_the_resumes_difference():
    document = judged(
        rerun=with_run(straight("rerun"), 1, record_exit_code=1), resumed=resumed(quirks=Quirks(forget=("rng",)))
    )
    assert (oracle(document, "rerun"), oracle(document, "resume")) == ("INCONCLUSIVE", "DIVERGED")


def test_two_trainings_that_end_by_themselves_at_different_steps_have_diverged():
    shorter = resumed(quirks=Quirks(stops_at=7))
    document = judged(resumed=shorter)
    assert (oracle(document, "rerun"), oracle(document, "resume")) == ("CERTIFIED", "DIVERGED")
    first = document["first_divergence"]
    assert (first["stream"], first["step"], first["left"], first["right"]) == ("step", 8, "8 steps", "7 steps")
    assert document["cause"]["class"] == "ends_at_another_step"


# --- a resume that crashes --------------------------------------------------------------------------------------------

CRASH = "resumed/2 ended with exit code 1\n  | Traceback (most recent call last):\n  | {}"


def crashed(text, code=1, **changes):
    trajectory = resumed()
    ledger = trajectory.runs[1].ledger
    changes = {"ledger": replace(ledger, end=None, steps=ledger.steps[:1]), **changes}
    return judged(
        resumed=with_run(trajectory, 2, record_exit_code=code, **changes), log_ends={"resumed/2": CRASH.format(text)}
    )


@pytest.mark.parametrize(
    "text",
    [
        "KeyError: 'scheduler'",
        "FileNotFoundError: [Errno 2] No such file or directory: 'last.pt'",
        "safetensors_rust.SafetensorError: Error while deserializing header",
        "ValueError: Can't find a valid checkpoint at checkpoint-8",
        "RuntimeError: PytorchStreamReader failed reading zip archive",
        "RuntimeError: CUDA error: device-side assert triggered",
        "no checkpoint: giving up",
    ],
)
@pytest.mark.parametrize("is_before_its_first_step", [True, False])
def test_a_resume_that_ends_with_an_exception_after_a_landed_kill_has_diverged(text, is_before_its_first_step):
    lost = {"ledger": None, "sidecar": None, "problem": "resumed/2 left no ledger"} if is_before_its_first_step else {}
    document = crashed(text, **lost)
    assert (document["verdict"], oracle(document, "resume")) == ("DIVERGED", "DIVERGED"), document["problems"]
    assert document["cause"]["class"] == "resume_crashed"
    assert any(text in line for line in document["cause"]["evidence"])


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB", 1),
        ("MemoryError", 1),
        ("OSError: [Errno 28] No space left on device", 1),
        ("RuntimeError: CUDA error: unspecified launch failure", 1),
        ("RuntimeError: [enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory", 1),
        ("", 137),
        ("", 139),
        ("sh: python: not found", 127),
    ],
)
def test_a_resume_that_the_machine_ended_has_not_diverged(text, code):
    assert crashed(text, code)["verdict"] == "INCONCLUSIVE"


def test_a_resume_that_crashes_where_the_kill_before_it_did_not_land_says_nothing():
    trajectory = with_run(resumed(), 1, record_exit_code=3, record_killed_by=None)
    trajectory = with_run(trajectory, 2, record_exit_code=1, ledger=None, sidecar=None)
    assert judged(resumed=trajectory)["verdict"] == "INCONCLUSIVE"


def test_a_resume_that_crashes_because_nothing_was_saved_yet_is_no_divergence():
    kill = Fault(kind="after_step", step=1)
    trajectory = with_run(resumed((kill,)), 2, record_exit_code=1, ledger=None, sidecar=None)
    text = CRASH.format("FileNotFoundError: 'last.pt'")
    document = judged(resumed=trajectory, interruptions=(kill,), log_ends={"resumed/2": text})
    assert (document["verdict"], oracle(document, "resume")) == ("INCONCLUSIVE", "INCONCLUSIVE")
    assert any("had nothing to resume from" in problem for problem in document["problems"])


@pytest.mark.parametrize("has_read", [True, False])
def test_a_resume_that_reads_a_checkpoint_and_trains_nothing_has_diverged(has_read):
    trajectory = resumed()
    kept = [event for event in trajectory.runs[1].events if event.kind in {"process", "exit"}]
    read = Event(kind="restore", fields={"ok": has_read, "path": "checkpoints/step4.safetensors"})
    changes = {"ledger": None, "ledger_bytes": b"", "sidecar": None, "problem": "resumed/2 left no ledger"}
    trajectory = with_run(trajectory, 2, **changes, events=(*kept, read))
    document = judged(resumed=trajectory)
    assert document["verdict"] == ("DIVERGED" if has_read else "INCONCLUSIVE"), document["problems"]
    if has_read:
        assert document["cause"]["class"] == "ends_at_another_step"
        assert document["cause"]["evidence"][0].endswith("ended without training: it came to no step after step 5")


def test_the_file_that_a_kill_tore_is_named():
    kill = Fault(kind="in_write", step=6, byte=40)
    trajectory = with_run(resumed((kill,)), 2, record_exit_code=1, ledger=None, sidecar=None)
    document = judged(resumed=trajectory, interruptions=(kill,), log_ends={"resumed/2": CRASH.format("KeyError: 1")})
    assert document["cause"]["class"] == "resume_crashed"
    assert any("checkpoints/step6.safetensors was being written" in text for text in document["cause"]["evidence"])


# --- files ------------------------------------------------------------------------------------------------------------


def with_value(trajectory, path, text):
    """The trajectory with one more value in a file."""
    files = [
        replace(f, content=replace(f.content, values=(*f.content.values, ("more", text))), sha256=None)
        if f.path == path
        else f
        for f in trajectory.files
    ]
    return replace(trajectory, files=tuple(files))


def test_a_file_that_differs_without_a_kill_does_not_silence_the_resume():
    other = with_value(straight("rerun"), "metrics.jsonl", "1")
    document = judged(rerun=other, resumed=resumed(quirks=BROKEN))
    assert (oracle(document, "rerun"), oracle(document, "resume")) == ("DIVERGED", "DIVERGED")
    assert (document["first_divergence"]["check"], document["first_divergence"]["stream"]) == ("resume", "rng")


def test_a_file_that_differs_without_a_kill_is_not_held_against_the_resume():
    other = with_value(straight("rerun"), "metrics.jsonl", "1")
    document = judged(rerun=other, resumed=with_value(resumed(), "metrics.jsonl", "2"))
    assert (oracle(document, "rerun"), oracle(document, "resume")) == ("DIVERGED", "INCONCLUSIVE")
    assert "metrics.jsonl differs without a kill as well" in document["checks"]["resume"]["reason"]


def test_another_number_of_steps_than_declared_is_inconclusive():
    assert_inconclusive(judged(steps=STEPS + 1), f"ended after step {STEPS}; the experiment declares {STEPS + 1}")


def test_a_recorder_that_stopped_says_why():
    trajectory = straight()
    event = replace(trajectory.runs[0].events[0], kind="recorder_error", fields={"type": "OSError", "message": "full"})
    document = judged(straight=with_run(trajectory, 1, events=(event,)))
    assert_inconclusive(document, "the recorder stopped: OSError: full")


def test_a_recorder_that_saw_no_parameters_is_inconclusive():
    trajectory = straight()
    ledger = trajectory.runs[0].ledger
    blind = replace(ledger, steps=tuple(replace(s, streams={"loss": s.streams["loss"]}) for s in ledger.steps))
    assert_inconclusive(judged(straight=with_run(trajectory, 1, ledger=blind)), "saw no trainable parameters")


def test_a_stream_that_one_side_did_not_see_is_missing_evidence():
    trajectory = straight("rerun")
    ledger = trajectory.runs[0].ledger
    steps = tuple(replace(s, streams={k: v for k, v in s.streams.items() if k != "grad"}) for s in ledger.steps)
    document = judged(rerun=with_run(trajectory, 1, ledger=replace(ledger, steps=steps)))
    assert oracle(document, "rerun") == "INCONCLUSIVE"
    assert_inconclusive(document, "stream grad of step 1 was seen on one side only")


def test_an_output_that_cannot_be_read_is_missing_evidence():
    trajectory = straight("rerun")
    files = tuple(replace(f, content=None, sha256=None, problem="m is torn") for f in trajectory.files)
    document = judged(rerun=replace(trajectory, files=files))
    assert oracle(document, "rerun") == "INCONCLUSIVE"
    assert_inconclusive(document, "m is torn")


def test_a_difference_in_the_ledger_stands_although_a_file_cannot_be_read():
    trajectory = resumed(quirks=BROKEN)
    files = tuple(replace(f, content=None, sha256=None, problem="torn") for f in trajectory.files)
    assert oracle(judged(resumed=replace(trajectory, files=files)), "resume") == "DIVERGED"


def test_nothing_compared_is_inconclusive():
    document = judge(
        VerdictInputs(experiment="t", run_id="r", commit="c", dirty=False, runner="docker", steps=3)
    ).to_json()
    assert (document["verdict"], document["compared"]["steps"]) == ("INCONCLUSIVE", 0)
    assert document["problems"] and {oracle(document, name) for name in document["checks"]} == {"NOT_CHECKED"}


def test_a_problem_before_any_run_is_a_verdict_too():
    early = VerdictInputs(
        experiment="t", run_id="r", commit="c", dirty=False, runner="docker", steps=3, problems=("no engine",)
    )
    document = judge(early).to_json()
    assert_inconclusive(document, "no engine")
    assert document["summary"].startswith("t can be neither certified nor refused: no engine")


def test_a_problem_outside_of_the_evidence_wins_over_any_bits():
    assert_inconclusive(judged(problems=("the GPU was lost",)), "the GPU was lost")
    assert_inconclusive(judged(problems=("the GPU was lost",), resumed=resumed(quirks=BROKEN)), "the GPU was lost")


def test_trainable_tensors_that_never_changed_are_a_warning():
    still = NAMES[:2]
    whole = {name: straight(name, Quirks(still=still)) for name in ("straight", "rerun")}
    document = judged(**whole, resumed=resumed(quirks=Quirks(still=still), first=Quirks(still=still)))
    assert document["verdict"] == "CERTIFIED"
    warning = "whether 2 of 3 trainable tensors are meant to be trained: they never changed "
    assert any(line.startswith(warning) and still[0] in line for line in document["not_checked"])
    assert not any("never changed" in line for line in judged()["not_checked"])


def test_a_veto_is_a_veto():
    document = judged(review=UNSEEDED)
    assert (document["verdict"], document["exit_code"]) == ("VETOED", 4)
    assert "V1" in document["summary"]


def test_a_rule_that_is_switched_off_stands_under_what_was_not_checked():
    document = judged(review=reviewer_of(replace(UNSEEDED_BASIS, severities={"REP101": "off"})))
    assert document["verdict"] != "VETOED"
    assert any("REP101" in line and "off in pyproject.toml" in line for line in document["not_checked"])


# --- required oracles -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["rerun", "resume", "rebuild"])
def test_a_required_oracle_that_was_not_checked_makes_the_whole_inconclusive(name):
    document = judged(**{"resumed" if name == "resume" else name: None})
    assert oracle(document, name) == "NOT_CHECKED"
    assert_inconclusive(document, f"{name} is required and was not checked")


@pytest.mark.parametrize("name", ["rerun", "resume", "rebuild"])
def test_an_oracle_that_is_not_required_may_be_left_out_and_is_named(name):
    required = tuple({"rerun", "resume", "rebuild"} - {name})
    document = judged(**{"resumed" if name == "resume" else name: None}, required=required)
    assert document["verdict"] == "CERTIFIED", document["problems"]
    assert any(line.startswith(name) for line in document["not_checked"])


def test_an_oracle_that_is_not_required_can_still_say_no():
    assert judged(required=("rerun",), resumed=resumed(quirks=BROKEN))["verdict"] == "DIVERGED"


def test_an_image_with_another_id_diverges():
    document = judged(rebuild=Rebuild(image_ids=("sha256:a", "sha256:b"), source="two builds"))
    assert (document["verdict"], oracle(document, "rebuild")) == ("DIVERGED", "DIVERGED")
    assert document["cause"]["class"] == "image_not_reproducible"


def test_one_image_id_proves_nothing():
    document = judged(rebuild=Rebuild(image_ids=("sha256:a",), source="one build"))
    assert_inconclusive(document, "fewer than two images")


# --- controls and testimony -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["tensor_bit", "ledger_digit", "flip_param", "flip_optim"])
def test_a_control_that_is_missing_makes_the_whole_inconclusive(name):
    document = judged(controls=good_controls(name))
    assert_inconclusive(document, f"control {name} was not made")
    assert document["control"]["failed_as_it_must"] is False


@pytest.mark.parametrize("name", ["tensor_bit", "ledger_digit", "weights_moved", "flip_param", "flip_optim"])
def test_a_control_that_was_not_detected_makes_the_whole_inconclusive(name):
    blind = ControlResult(name=name, detected=False, detail="not found")
    assert_inconclusive(judged(controls=(*good_controls(name), blind)), f"negative control {name} was not detected")


def test_without_interruptions_no_resume_control_is_needed():
    document = judged(resumed=None, interruptions=(), required=("rerun",), controls=good_controls("flip_optim"))
    assert document["verdict"] == "CERTIFIED", document["problems"]


def test_weights_that_never_moved_are_inconclusive_without_anybody_asking():
    still = Quirks(learning=0.0)
    changes = {"straight": straight(quirks=still), "rerun": straight("rerun", still)}
    document = judged(**changes, resumed=resumed(quirks=still, first=still), controls=good_controls("weights_moved"))
    assert_inconclusive(document, "training changed nothing")


def test_a_judge_that_cannot_see_a_planted_bit_may_not_refuse_either():
    blind = ControlResult(name="tensor_bit", detected=False, detail="not found")
    document = judged(controls=(*good_controls("tensor_bit"), blind), resumed=resumed(quirks=BROKEN))
    assert document["verdict"] == "INCONCLUSIVE"


def test_a_live_control_that_nondeterminism_spoils_does_not_hide_the_divergence():
    spoilt = ControlResult(name="flip_param", detected=False, detail="found at step 1")
    noisy = straight("rerun", Quirks(noise=(1, "loss")))
    assert judged(controls=(*good_controls("flip_param"), spoilt), rerun=noisy)["verdict"] == "DIVERGED"


def with_foreign_weights(*, keeps_own=False, **changes):
    """Every training with an adapter.safetensors that no state of its ledger holds, equal in all of them."""
    file = next(f for f in straight(quirks=Quirks(learning=0.5)).files if f.path == "adapter.safetensors")
    file = replace(file, path="average.safetensors" if keeps_own else file.path, **changes)
    trainings = {"straight": straight(), "rerun": straight("rerun"), "resumed": resumed()}
    return {
        name: replace(one, files=(*(f for f in one.files if f.path != file.path), file))
        for name, one in trainings.items()
    }


def test_a_tensor_that_no_state_holds_is_compared_and_told():
    document = judged(**with_foreign_weights(keeps_own=True))
    assert document["verdict"] == "CERTIFIED", document["problems"]
    assert any("where 9 of 18 tensors of the outputs come from" in text for text in document["not_checked"])


def test_outputs_that_are_declared_as_derived_need_no_state():
    document = judged(**with_foreign_weights(is_derived=True))
    assert document["verdict"] == "CERTIFIED", document["problems"]
    assert any("9 are declared as derived" in text for text in document["not_checked"])


def test_outputs_that_are_in_a_checkpoint_need_no_state():
    changed = with_foreign_weights()
    for name, one in changed.items():
        output = next(f for f in one.files if f.path == "adapter.safetensors")
        copy = replace(output, path="checkpoints/average.safetensors", role="checkpoint")
        changed[name] = replace(one, files=(*one.files, copy))
    document = judged(**changed)
    assert document["verdict"] == "CERTIFIED", document["problems"]
    assert document["testimony"]["in_checkpoints"] == 9


def test_a_derived_file_that_differs_has_diverged():
    changed = with_foreign_weights(is_derived=True)
    changed["rerun"] = with_value(changed["rerun"], "adapter.safetensors", "other")
    assert judged(**changed)["verdict"] == "DIVERGED"


def test_weights_on_disk_that_no_ledger_knows_are_inconclusive():
    document = judged(**with_foreign_weights())
    assert_inconclusive(document, "none of the 9 tensors of the outputs is in a recorded state")
    assert "`derived`" in document["summary"]
    assert document["testimony"]["missing"][0] == "rerun: adapter.safetensors: layers.0.weight"
    assert {oracle(document, name) for name in document["checks"]} == {"CERTIFIED"}


def test_weights_that_were_written_earlier_are_found_where_they_were_made():
    trajectory = straight()
    best = next(f for f in trajectory.files if f.path.endswith("step4.safetensors"))
    tensors = tuple(t for t in best.content.tensors if t.name.startswith("model."))
    output = replace(best, role="output", path="best.safetensors", content=replace(best.content, tensors=tensors))
    files = [replace(t, files=(*t.files, output)) for t in (trajectory, straight("rerun"), resumed())]
    document = judged(straight=files[0], rerun=files[1], resumed=files[2])
    assert document["testimony"] == {
        "tensors_on_disk": 18,
        "found_in_ledger": 18,
        "missing": [],
        "in_checkpoints": 0,
        "derived": 0,
    }
    assert document["verdict"] == "CERTIFIED"


def test_a_sidecar_that_its_ledger_does_not_vouch_for_proves_nothing():
    other = straight(quirks=Quirks(learning=0.5))
    forged = with_run(straight(), 1, sidecar=other.runs[0].sidecar)
    assert_inconclusive(judged(straight=forged), "hash to")


# --- what repeats itself and says nothing -----------------------------------------------------------------------------


@pytest.mark.parametrize("required", [(), ("rebuild",)])
def test_nothing_is_certified_without_a_step_that_was_compared(required):
    for changes in ({"rerun": None, "resumed": None, "interruptions": ()}, {}):
        if not changes:
            steps = replace(straight().runs[0].ledger, steps=())
            changes = {"rerun": with_run(straight("rerun"), 1, ledger=steps), "resumed": None, "interruptions": ()}
        document = judged(required=required, controls=good_controls(), **changes)
        assert document["verdict"] == "INCONCLUSIVE"


def nan_losses(trajectory, first, last):
    runs = []
    for run in trajectory.runs:
        steps = tuple(
            replace(s, loss=("nan",) * len(s.loss)) if first <= s.step <= last else s for s in run.ledger.steps
        )
        runs.append(replace(run, ledger=replace(run.ledger, steps=steps)))
    return replace(trajectory, runs=tuple(runs))


def test_a_loss_that_is_nan_from_a_step_on_is_the_first_thing_said():
    trainings = {"straight": straight(), "rerun": straight("rerun"), "resumed": resumed()}
    document = judged(**{name: nan_losses(one, 1, 99) for name, one in trainings.items()})
    assert_inconclusive(document, "the loss is NaN from step 1 on")
    assert "NaN from step 1" in document["summary"]
    once = judged(**{name: nan_losses(one, 3, 3) for name, one in trainings.items()})
    assert once["verdict"] == "CERTIFIED"


def test_what_volatile_keys_took_out_is_counted():
    document = judged()
    assert document["left_out"] == [{"path": "metrics.jsonl", "key": "seconds", "num_values": STEPS + 1}]
    assert f"metrics.jsonl: {STEPS + 1} values of the volatile key seconds" in document["not_checked"]


def test_an_output_of_which_nothing_is_left_is_no_output():
    content = read_content("metrics.json", b'{"acc": 1}', ["acc"])
    file = replace(straight().files[0], path="metrics.json", role="output", content=content, sha256=None)
    trainings = {"straight": straight(), "rerun": straight("rerun"), "resumed": resumed()}
    document = judged(**{name: replace(one, files=(*one.files, file)) for name, one in trainings.items()})
    assert_inconclusive(document, "metrics.json: nothing is left to compare")


def test_equal_content_in_other_bytes_is_told():
    trajectory = straight("rerun")
    files = tuple(replace(f, sha256=sha256(b"other")) if f.role == "output" else f for f in trajectory.files)
    document = judged(rerun=replace(trajectory, files=files), resumed=None, interruptions=(), required=("rerun",))
    assert document["verdict"] == "CERTIFIED", document["problems"]
    assert [f["path"] for f in document["files"] if f["same_bytes"] is False] == [
        "adapter.safetensors",
        "metrics.jsonl",
    ]
    assert any("equal content, other bytes: 2 of" in text for text in document["not_checked"])


# --- what was restored ------------------------------------------------------------------------------------------------


def test_the_checkpoint_that_was_read_is_compared_with_the_live_state():
    trajectory = resumed()
    event = replace(
        trajectory.runs[1].events[0], kind="restore", fields={"path": "checkpoints/step4.safetensors", "ok": True}
    )
    seen = with_run(trajectory, 2, events=(event, *trajectory.runs[1].events))
    assert judged(resumed=seen)["restored"] == [
        {
            "run": 2,
            "after_step": 4,
            "num_tensors": 10,
            "num_equal": 10,
            "different": [],
            "file": "checkpoints/step4.safetensors",
            "num_in_file": 6,
        }
    ]


def test_a_checkpoint_that_was_written_again_later_is_not_compared():
    trajectory = resumed()
    first = trajectory.runs[1].events[0]
    read = replace(first, kind="restore", fields={"path": "checkpoints/step6.safetensors", "ok": True})
    document = judged(resumed=with_run(trajectory, 2, events=(read, *trajectory.runs[1].events)))
    assert document["restored"][0]["num_in_file"] is None
    assert document["restored"][0]["file"] == "checkpoints/step6.safetensors"
