"""Every rule on evidence, by evidence that breaks it and evidence that keeps it; the truth of both is known."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from harness.documents.digest import Digest, canonical_json, sha256
from harness.documents.run import Fault
from harness.documents.verdict import ControlResult, UnreadFile
from harness.evidence.content import Content, TensorRecord
from harness.evidence.ledger import Progress
from harness.evidence.tensor_digest import ALGORITHMS, tensor_digest
from harness.evidence.trajectory import FileEvidence
from harness.judge.verdict import judge
from harness.review.evidence.basis import Basis
from harness.review.evidence.checkpoint_contents import checkpoint_contents
from harness.review.evidence.run_files import RunFile, RunFiles
from harness.review.evidence.tracking_files import Series, Text, TrackedRun
from harness.review.finding import Finding, Place, StaticReview
from harness.review.reviewer import reviewer_of
from tests.made.synthetic import (
    KILL,
    STEPS,
    Files,
    Process,
    Quirks,
    State,
    case,
    entry,
    good_controls,
    resumed,
    straight,
)

RECORDS = {"epoch": "1", "loss": "0.5", "config/lr": "0.25", "seed": "17"}
COMPLETE = {**RECORDS, "scheduler/last_epoch": "8", "global_step": "8"}
PLAIN = Quirks()
CONFIG = {"seed": 17, "lr": 0.25, "layers": [1, 2]}


def state_after(step: int, quirks: Quirks = PLAIN) -> State:
    return Process(Files(), quirks).train(State(), steps=step)


def record(name: str, array: np.ndarray) -> TensorRecord:
    dtype, shape, digest = entry(array)
    data = array.tobytes()
    return TensorRecord(
        name=name,
        dtype=dtype,
        shape=tuple(shape),
        digest=Digest.parse(digest),
        sha256=sha256(data),
        size_bytes=len(data),
        precision=dtype,
    )


def tensors_of(state: State, *, without: str = "", only: tuple[str, ...] = ("model", "optimizer", "rng")) -> list:
    rng = np.frombuffer(state.rng.to_bytes(8, "little"), dtype="u1")
    groups = {
        "model": {f"model/{name}": value for name, value in state.params.items()},
        "optimizer": {f"optimizer/state/{i}/exp_avg": state.moments[n] for i, n in enumerate(sorted(state.moments))},
        "rng": {"rng/torch": rng},
    }
    found = {name: value for group in only for name, value in groups[group].items()}
    return [record(name, value) for name, value in sorted(found.items()) if not without or without not in name]


def checkpoint(path: str, tensors: list, values: dict[str, str] | None = None, **fields: object) -> FileEvidence:
    content = Content(format="torch", tensors=tuple(tensors), values=tuple(sorted((values or {}).items())), opaque=())
    whole = {"path": path, "role": "checkpoint", "size_bytes": 9, "sha256": sha256(path.encode()), "content": content}
    return FileEvidence(**{**whole, **fields})


def complete(path: str = "checkpoints/tiny_epoch1_loss0.5000.pt", step: int = STEPS) -> FileEvidence:
    return checkpoint(path, tensors_of(state_after(step)), COMPLETE)


def trained(*checkpoints: FileEvidence, quirks: Quirks = PLAIN, **changes: object):
    """A straight run that left these checkpoints beside its outputs."""
    whole = straight(quirks=quirks)
    outputs = tuple(file for file in whole.files if file.role == "output")
    return replace(whole, files=(*outputs, *checkpoints), **changes)


def reviewed(*, files: tuple[RunFile, ...] = (), basis: dict | None = None, **changes: object) -> dict:
    """The verdict of a case with a review; without a resume unless `resumed` is given."""
    given = Basis(static=StaticReview(), config=CONFIG, lock="cpu.lock pins 9", files=RunFiles(files=files))
    without = {"resumed": None, "interruptions": (), "required": ("rerun",)} if "resumed" not in changes else {}
    review = reviewer_of(replace(given, **(basis or {})))
    return judge(case(**{**without, "review": review, **changes})).to_json()


def item(document: dict, name: str) -> tuple[str, str]:
    """The state of an item, and what shows it."""
    row = next(row for row in document["review"]["checklist"] if row["id"] == name)
    return row["state"], " | ".join(shown["text"] for shown in row["shown"])


def rules(document: dict) -> set[str]:
    return {finding["rule"] for finding in document["review"]["findings"]}


# --- what a checkpoint holds ------------------------------------------------------------------------------------------


def test_a_checkpoint_with_the_whole_state_holds_by_its_bits() -> None:
    document = reviewed(straight=trained(complete()))
    state, text = item(document, "V2")
    assert state == "holds"
    for words in ("3 of 3 trainable tensors", "3 of 3 tensors of the optimizer", "with the recorded bits", "scheduler"):
        assert words in text
    assert item(document, "C1")[0] == "holds" and "REP701" not in rules(document)


@pytest.mark.parametrize(
    ("without", "values", "words"),
    [
        ("exp_avg", COMPLETE, "0 of 3 tensors of the optimizer: layers.0.weight.exp_avg and 2 more not in it"),
        ("1/exp_avg", COMPLETE, "2 of 3 tensors of the optimizer: layers.10.weight.exp_avg not in it"),
        ("rng", COMPLETE, "no state of the generator torch, which the training draws from"),
        ("", {**RECORDS, "global_step": "8"}, "no state of the scheduler"),
    ],
)
def test_a_checkpoint_that_lacks_state_vetoes_and_names_it(without: str, values: dict, words: str) -> None:
    file = checkpoint("checkpoints/step8.pt", tensors_of(state_after(STEPS), without=without), values)
    document = reviewed(straight=trained(file))
    assert "REP701" in rules(document)
    assert item(document, "V2")[0] == item(document, "C1")[0] == "vetoed"
    assert words in item(document, "V2")[1]
    assert (document["verdict"], document["exit_code"]) == ("VETOED", 4)


def test_a_generator_that_nothing_draws_from_need_not_be_saved() -> None:
    quirks = Quirks(draws=False)
    file = checkpoint("checkpoints/a.pt", tensors_of(state_after(STEPS, quirks), without="rng"), COMPLETE)
    (held,) = checkpoint_contents(trained(file, quirks=quirks))
    assert next(part for part in held.parts if part.name == "RNG torch").state == "unneeded"
    assert held.is_complete


def test_pythons_generator_is_known_by_its_bits_and_by_its_length() -> None:
    words = {f"rng/python/1/{i}": str(i * 7) for i in range(625)}
    values = {**COMPLETE, "rng/python/0": "3", "rng/python/2": "null", **words}
    data = canonical_json([3, b"".join((i * 7).to_bytes(4, "little") for i in range(625)).hex(), None])
    from harness.review.evidence.checkpoint_contents import _Unit

    unit = _Unit((checkpoint("a.pt", [], values),))
    assert {*unit.python_states()} == {str(tensor_digest(data, "uint8", (len(data),), one)) for one in ALGORITHMS}
    assert unit.has_row_of(625)
    assert not list(_Unit((checkpoint("a.pt", [], {**values, "rng/python/1/3": "-1"}),)).python_states())


def test_a_state_under_another_name_or_in_another_form_is_not_called_missing() -> None:
    tensors = tensors_of(state_after(STEPS), without="rng")
    file = checkpoint("checkpoints/a.pt", tensors, {**COMPLETE, "cuda_rng_state": '"base64"'})
    document = reviewed(straight=trained(file))
    assert item(document, "V2")[0] == "could not tell" and "REP701" not in rules(document)
    assert document["verdict"] == "INCONCLUSIVE"
    assert any("V2" in problem for problem in document["problems"])


def test_files_of_one_folder_are_one_checkpoint_together() -> None:
    state = state_after(STEPS)
    weights = checkpoint("checkpoint-8/model.pt", tensors_of(state, only=("model",)))
    others = checkpoint("checkpoint-8/optimizer.pt", tensors_of(state, only=("optimizer", "rng")), COMPLETE)
    elsewhere = replace(others, path="checkpoint-9/optimizer.pt")
    (held,) = checkpoint_contents(trained(weights, others))
    assert held.is_complete and held.companions == ("checkpoint-8/optimizer.pt",)
    (apart,) = checkpoint_contents(trained(weights, elsewhere))
    assert {part.name for part in apart.missing} >= {"optimizer", "RNG torch"}


def test_the_step_is_found_by_content_and_the_newest_decides() -> None:
    old = checkpoint("checkpoints/old.pt", tensors_of(state_after(4), only=("model",)))
    document = reviewed(straight=trained(old, complete("checkpoints/new.pt")))
    assert [held.step for held in checkpoint_contents(trained(old, complete("checkpoints/new.pt")))] == [8, 4]
    assert item(document, "V2")[0] == "holds"
    assert item(document, "C1")[0] == "warning" and "checkpoints/old.pt" in item(document, "C1")[1]


def test_of_steps_with_equal_weights_the_moments_tell_which_it_was() -> None:
    still = Quirks(learning=0.0)
    file = checkpoint("c.pt", tensors_of(state_after(4, still)), COMPLETE)
    (held,) = checkpoint_contents(trained(file, quirks=still))
    assert held.step == 4 and not [part for part in held.parts if part.name == "optimizer" and part.state != "held"]


def test_a_scaler_in_use_must_be_saved() -> None:
    (without,) = checkpoint_contents(trained(complete()), is_scaled=True)
    assert [part.name for part in without.missing] == ["scaler"]
    values = {**COMPLETE, "scaler/growth_factor": "2.0"}
    (with_it,) = checkpoint_contents(
        trained(checkpoint("c.pt", tensors_of(state_after(STEPS)), values)), is_scaled=True
    )
    assert with_it.is_complete


@pytest.mark.parametrize("absent", ["epoch", "loss", "config/lr", "seed"])
def test_a_checkpoint_that_does_not_say_what_it_is_of_is_a_warning(absent: str) -> None:
    values = {key: value for key, value in COMPLETE.items() if key != absent}
    document = reviewed(straight=trained(checkpoint("c.pt", tensors_of(state_after(STEPS)), values)))
    assert item(document, "C1") == ("warning", f"REP702 c.pt (step 8) has no {absent.partition('/')[0]}")
    assert item(document, "V2")[0] == "holds" and not document["review"]["vetoes"]


def test_a_resume_that_is_certified_outweighs_what_the_declared_files_lack() -> None:
    file = checkpoint("checkpoints/a.pt", tensors_of(state_after(STEPS), only=("model",)))
    document = reviewed(straight=trained(file), resumed=resumed())
    assert document["checks"]["resume"]["verdict"] == "CERTIFIED"
    state, text = item(document, "V2")
    assert state == "holds" and "restored with the same bits" in text
    assert item(document, "C1")[0] == "warning" and "REP701" not in rules(document)


def test_nothing_is_proven_by_a_run_that_died() -> None:
    failed = straight(quirks=Quirks(no_saves=True), exit_code=1)
    document = reviewed(straight=failed, resumed=resumed(), interruptions=(KILL,))
    assert document["verdict"] == "INCONCLUSIVE"
    assert not {finding for finding in rules(document) if finding != "REP708"}


# --- names, best and latest, resumes ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("names", "state"),
    [
        (("checkpoints/tiny_epoch1_loss0.5000.pt", "checkpoints/tiny_epoch2_loss0.2500.pt"), "holds"),
        (("checkpoints/tiny_epoch1_loss0.5.pt",), "warning"),
        (("checkpoints/tiny_epoch2_loss0.5000.pt",), "warning"),
        (("checkpoints/latest.pt",), "warning"),
    ],
)
def test_checkpoints_are_named_by_epoch_and_loss(names: tuple[str, ...], state: str) -> None:
    document = reviewed(straight=trained(*(complete(name) for name in names)))
    assert item(document, "C2")[0] == state
    assert ("REP703" in rules(document)) == (state == "warning")


def test_an_epoch_without_its_file_is_found_by_the_metrics() -> None:
    rows = tuple({"step": step, "epoch": (step + 3) // 4, "loss": 1.0} for step in range(1, 9))
    files = (RunFile(path="metrics.jsonl", kind="jsonl", size_bytes=9, rows=rows),)
    document = reviewed(straight=trained(complete()), files=files)
    assert item(document, "C2") == ("warning", "REP703 of 2 epochs, only 1 have a file of that name")


def test_best_and_latest_are_two_files_and_the_same_content_is_said() -> None:
    best, latest = complete("checkpoints/best.pt", 4), complete("checkpoints/latest.pt")
    assert item(reviewed(straight=trained(best, latest)), "C3") == (
        "holds",
        "checkpoints/best.pt and checkpoints/latest.pt, different content",
    )
    same = replace(latest, path="checkpoints/best.pt")
    assert "the last was the best" in item(reviewed(straight=trained(same, latest)), "C3")[1]
    alone = reviewed(straight=trained(latest))
    assert item(alone, "C3")[0] == "warning" and "REP704" in rules(alone)


def test_a_certified_resume_shows_c4_v5_and_c5() -> None:
    document = reviewed(straight=trained(complete()), resumed=resumed())
    assert [item(document, name)[0] for name in ("C4", "V5", "C5")] == ["holds"] * 3
    assert "went on for 4 steps" in item(document, "C5")[1]
    assert "resumed after step 4" in item(document, "V5")[1]


def test_less_than_an_epoch_after_a_resume_is_not_enough() -> None:
    rows = tuple({"step": step, "epoch": 1 + (step > 6), "loss": 1.0} for step in range(1, 9))
    files = (RunFile(path="metrics.jsonl", kind="jsonl", size_bytes=9, rows=rows),)
    document = reviewed(straight=trained(complete()), resumed=resumed(), files=files)
    assert item(document, "C5")[0] == "could not tell" and "an epoch has 6" in item(document, "C5")[1]


def test_a_resume_that_differs_is_diverged_and_the_checklist_says_vetoed() -> None:
    document = reviewed(straight=trained(complete()), resumed=resumed(quirks=Quirks(forget=("rng",))))
    assert (document["verdict"], document["exit_code"]) == ("DIVERGED", 1)
    assert {"REP706", "REP705"} <= rules(document)
    assert item(document, "V5")[0] == item(document, "C4")[0] == "vetoed"
    assert item(document, "C5")[0] == "warning"
    assert document["problems"] == []


def test_without_a_resume_v5_blocks_a_certificate() -> None:
    document = reviewed(straight=trained(complete()))
    assert item(document, "V5")[0] == "could not tell"
    assert document["verdict"] == "INCONCLUSIVE"
    assert document["problems"] == [
        "V5 (An interrupted run can be resumed) could not be told: no interrupted training took place"
    ]


# --- randomness -------------------------------------------------------------------------------------------------------


def test_a_rerun_that_gives_the_same_bits_shows_v1() -> None:
    state, text = item(reviewed(straight=trained(complete())), "V1")
    assert state == "holds" and text == "two processes gave the same bits in 8 steps (second straight run)"


def test_a_rerun_that_differs_for_want_of_a_seed_vetoes_v1_and_stays_diverged() -> None:
    document = reviewed(straight=trained(complete()), rerun=straight("rerun", Quirks(unseeded=("weights",))))
    assert document["verdict"] == "DIVERGED" and document["cause"]["class"] == "unseeded_randomness"
    assert item(document, "V1")[0] == "vetoed" and "REP707" in rules(document)


def test_a_rerun_that_differs_for_another_reason_leaves_v1_open() -> None:
    document = reviewed(straight=trained(complete()), rerun=straight("rerun", Quirks(noise=(3, "loss"))))
    assert document["verdict"] == "DIVERGED"
    assert item(document, "V1")[0] == "could not tell" and "REP707" not in rules(document)


def test_losses_that_differ_without_a_resume_are_not_held_against_it() -> None:
    forgetful = resumed(quirks=Quirks(forget=("rng",)))
    again = straight("rerun", Quirks(noise=(3, "loss")))
    document = reviewed(straight=trained(complete()), rerun=again, resumed=forgetful)
    assert item(document, "C5")[0] == "could not tell" and not {"REP705", "REP706"} & rules(document)


def test_seeds_are_seen_where_the_recorder_saw_them() -> None:
    whole = trained(complete())
    run = whole.runs[0]
    seeded = [*run.events]
    event = type(run.events[0])
    for function in ("random.seed", "torch.manual_seed"):
        seeded.append(event(kind="seed", fields={"function": function, "value": 17}))
    with_seeds = replace(whole, runs=(replace(run, events=tuple(seeded)),))
    assert item(reviewed(straight=with_seeds), "T1") == (
        "holds",
        "seeded before training: random.seed(17), torch.manual_seed(17)",
    )
    state, text = item(reviewed(straight=whole), "T1")
    assert state == "could not tell" and "torch" in text


def test_weights_that_do_not_move_are_a_warning() -> None:
    still = ControlResult(name="weights_moved", detected=False, detail="no weight moved")
    document = reviewed(straight=trained(complete()), controls=(*good_controls("weights_moved"), still))
    assert "REP708" in rules(document) and document["verdict"] == "INCONCLUSIVE"


# --- what was logged --------------------------------------------------------------------------------------------------


def tracked(**fields: object) -> TrackedRun:
    whole = {
        "kind": "tensorboard",
        "series": (),
        "texts": (),
        "config_keys": (),
        "has_config": False,
        "num_records": 1,
        "torn_bytes": 0,
    }
    return TrackedRun(**{**whole, **fields})


def series(**names: int) -> tuple[Series, ...]:
    return tuple(Series(name=name.replace("__", "/"), steps=tuple(range(1, num + 1))) for name, num in names.items())


def event_file(run: TrackedRun, path: str = "tb/events.out.tfevents.1") -> RunFile:
    return RunFile(path=path, kind="tensorboard", size_bytes=88, tracked=run)


FULL = tracked(
    series=series(train__loss=8, train__lr=8, validation__loss=2, system__rss_bytes=8, system__cpu_percent=2),
    texts=(Text(name="checkpoint", step=8, value="checkpoints/tiny_epoch1_loss0.5000.pt"),),
    has_config=True,
)
LOGGED = ("K1", "K2", "K3", "K4", "K5", "T6", "T7")


def test_a_tracker_with_everything_in_it_shows_every_item() -> None:
    document = reviewed(straight=trained(complete()), files=(event_file(FULL),))
    assert {name: item(document, name)[0] for name in LOGGED} == dict.fromkeys(LOGGED, "holds")
    assert not {rule for rule in rules(document) if rule.startswith("REP72")}


def test_json_lines_show_the_metrics_but_are_no_tracker() -> None:
    rows = tuple(
        {"kind": "step", "step": n, "epoch": 1, "loss": 1.0, "lr": 0.1, "rss_bytes": 5, "cpu_percent": 1.0}
        for n in range(1, 9)
    )
    rows += ({"kind": "epoch", "step": 8, "validation_loss": 1.0, "paths": ["checkpoints/tiny_epoch1_loss0.5000.pt"]},)
    files = (RunFile(path="metrics.jsonl", kind="jsonl", size_bytes=9, rows=rows),)
    document = reviewed(straight=trained(complete()), files=files)
    assert {name: item(document, name)[0] for name in ("K3", "K4", "K5", "T6", "T7")} == dict.fromkeys(
        ("K3", "K4", "K5", "T6", "T7"), "holds"
    )
    assert item(document, "K1")[0] == "warning" and "metrics.jsonl" in item(document, "K1")[1]


@pytest.mark.parametrize(
    ("run", "rule", "name"),
    [
        (tracked(), "REP720", "K1"),
        (replace(FULL, has_config=False), "REP721", "K2"),
        (replace(FULL, series=series(train__loss=8, train__lr=8)), "REP722", "K3"),
        (replace(FULL, series=series(validation__loss=8)), "REP722", "K3"),
        (replace(FULL, texts=()), "REP724", "K5"),
        (replace(FULL, series=series(train__loss=7, train__lr=8)), "REP726", "T7"),
        (replace(FULL, series=series(train__loss=8)), "REP726", "T7"),
    ],
)
def test_what_is_not_logged_is_a_warning(run: TrackedRun, rule: str, name: str) -> None:
    document = reviewed(straight=trained(complete()), files=(event_file(run),))
    assert rule in rules(document) and item(document, name)[0] == "warning"
    assert not document["review"]["vetoes"]


def test_an_empty_file_beside_a_full_one_is_still_found() -> None:
    files = (event_file(FULL), event_file(tracked(), "tb/events.out.tfevents.2"))
    document = reviewed(straight=trained(complete()), files=files)
    told = "REP720 tb/events.out.tfevents.2 (88 bytes) holds nothing but its header"
    assert item(document, "K1") == ("warning", told)


def test_a_tracking_file_that_cannot_be_read_is_no_finding() -> None:
    broken = RunFile(path="w.wandb", kind="wandb", size_bytes=3, problem="w.wandb: damaged")
    document = reviewed(straight=trained(complete()), files=(broken,))
    assert item(document, "K1") == ("could not tell", "w.wandb: w.wandb: damaged")


def test_on_a_gpu_memory_and_utilisation_of_the_gpu_are_wanted() -> None:
    gpu = {"num_gpus": 1}
    without = reviewed(straight=trained(complete()), files=(event_file(FULL),), basis=gpu)
    assert {"REP723", "REP725", "REP710"} <= rules(without)
    more = series(system__vram_bytes=8, system__gpu_utilisation=2)
    versions = {"cuda": "13.0", "cudnn": 91900, "driver": "580.65.06"}
    document = RunFile(path="environment.json", kind="json", size_bytes=9, document=versions)
    files = (event_file(replace(FULL, series=(*FULL.series, *more))), document)
    kept = reviewed(straight=trained(complete()), files=files, basis=gpu)
    assert [item(kept, name)[0] for name in ("T6", "K4", "E2")] == ["holds"] * 3
    null = replace(document, document={**versions, "driver": None})
    assert (
        "no file of the run has the version of driver"
        in item(reviewed(straight=trained(complete()), files=(null,), basis=gpu), "E2")[1]
    )


def test_the_saved_configuration_must_be_the_one_that_was_given() -> None:
    same = RunFile(path="config.json", kind="json", size_bytes=9, document={**CONFIG, "default": None})
    document = reviewed(straight=trained(complete()), files=(same,))
    assert item(document, "E4") == ("holds", "config.json has every value of the experiment's config")
    assert item(document, "K2")[0] == "holds"
    other = replace(same, document={**CONFIG, "layers": [1, 3]})
    document = reviewed(straight=trained(complete()), files=(other,))
    assert item(document, "E4")[0] == "warning" and {"REP712", "REP721"} <= rules(document)


def test_the_commit_in_the_runs_own_files_is_told() -> None:
    own = RunFile(path="environment.json", kind="json", size_bytes=9, document={"commit": "c" * 40})
    assert "environment.json names it too" in item(reviewed(straight=trained(complete()), files=(own,)), "E3")[1]
    assert "do not name it" in item(reviewed(straight=trained(complete())), "E3")[1]


# --- environment and memory -------------------------------------------------------------------------------------------


def test_the_lock_and_the_rebuild_show_e1_v3_and_e5() -> None:
    document = reviewed(straight=trained(complete()))
    assert [item(document, name)[0] for name in ("E1", "V3", "E5")] == ["holds"] * 3
    without = reviewed(straight=trained(complete()), basis={"lock": ""}, resumed=resumed())
    assert item(without, "V3")[0] == "could not tell"
    assert any(problem.startswith("V3") for problem in without["problems"])


def with_vram(*sizes: int | None):
    whole = trained(complete())
    rows = tuple(
        Progress(step=n, loss=1.0, lr=0.1, seconds=1.0, rss_bytes=1, vram_bytes=size, recorder_seconds=0.0)
        for n, size in enumerate(sizes, start=1)
    )
    return replace(whole, runs=(replace(whole.runs[0], progress=rows),))


GIB = 1 << 30


@pytest.mark.parametrize(
    ("peak", "config", "state", "verdict"),
    [
        (21 * GIB, {}, "holds", "CERTIFIED"),
        (22 * GIB, {}, "vetoed", "VETOED"),
        (22 * GIB, {"training": {"gradient_checkpointing": True}}, "warning", "CERTIFIED"),
        (22 * GIB, {"training": {"gradient_checkpointing": False, "precision": "fp32"}}, "vetoed", "VETOED"),
        (22 * GIB, {"training": {"precision": "bf16"}}, "warning", "CERTIFIED"),
        (None, {}, "could not tell", "INCONCLUSIVE"),
    ],
)
def test_the_recorders_peak_is_held_against_the_budget(peak, config, state, verdict) -> None:
    document = reviewed(
        straight=with_vram(GIB, peak, 2 * GIB if peak else None) if peak else with_vram(None, None),
        basis={"num_gpus": 1, "config": config},
        resumed=resumed(),
        interruptions=(KILL,),
    )
    assert item(document, "V4")[0] == state
    assert document["verdict"] == verdict, document["problems"]


def test_without_a_gpu_there_is_no_vram_to_watch() -> None:
    assert item(reviewed(straight=trained(complete())), "V4")[0] == "does not apply"


# --- the verdict ------------------------------------------------------------------------------------------------------


def test_a_case_that_keeps_everything_is_certified_with_v1_to_v5() -> None:
    document = reviewed(straight=trained(complete()), resumed=resumed(), files=(event_file(FULL),))
    assert document["verdict"] == "CERTIFIED", document["problems"]
    states = [item(document, f"V{n}")[0] for n in range(1, 6)]
    assert states == ["holds", "holds", "holds", "does not apply", "holds"]
    assert json.loads(json.dumps(document)) == document


def test_a_veto_of_the_code_comes_first_and_what_it_kept_from_running_is_no_second_problem() -> None:
    finding = Finding(rule="REP707", certainty="proven", place=Place(path="train.py", line=3), message="no seed")
    static = StaticReview(findings=(finding,), num_files=1)
    nothing = {"straight": None, "rerun": None, "resumed": None, "controls": (), "rebuild": None}
    document = reviewed(basis={"static": static}, **nothing)
    assert (document["verdict"], document["exit_code"]) == ("VETOED", 4)
    assert document["problems"] == ["V1: REP707 no seed (train.py:3)"]
    assert document["summary"] == "The review forbids tiny: V1: REP707 no seed (train.py:3)."
    allowed = StaticReview(findings=(replace(finding, allowed="a demonstration"),), num_files=1)
    document = reviewed(basis={"static": allowed}, **nothing)
    assert document["verdict"] == "INCONCLUSIVE"
    assert [one["allowed"] for one in document["review"]["allowed"]] == ["a demonstration"]


def test_a_failed_run_is_no_second_problem_of_the_review() -> None:
    document = reviewed(straight=None, rerun=None, problems=("the engine died",))
    assert document["verdict"] == "INCONCLUSIVE" and document["problems"][0] == "the engine died"
    assert not any(problem.startswith(("V1", "V2", "V5")) for problem in document["problems"])


def test_files_that_were_not_read_are_among_what_was_not_checked() -> None:
    static = StaticReview(unread=(UnreadFile(path="big.py", reason="one line of 50 MB"),))
    document = reviewed(straight=trained(complete()), basis={"static": static})
    assert "the review of big.py: one line of 50 MB" in document["not_checked"]
    without = judge(case()).to_json()
    assert without["review"] is None and "the review of the pipeline: it did not take place" in without["not_checked"]


def test_of_a_prefix_only_what_is_there_and_wrong_is_proven() -> None:
    stop = Fault(kind="stop", step=4)
    prefix = straight(kill=stop)
    file = checkpoint("c.pt", tensors_of(state_after(4), only=("model",)), {"step": "4"})
    document = reviewed(straight=replace(prefix, files=(file,)))
    certainty = {finding["rule"]: finding["certainty"] for finding in document["review"]["findings"]}
    assert certainty["REP701"] == "proven"
    assert certainty["REP703"] == certainty["REP704"] == certainty["REP726"] == "possible"
    assert item(document, "C2")[0] == "could not tell"


def test_a_severity_that_a_project_gives_is_followed_in_a_certify() -> None:
    file = checkpoint("c.pt", tensors_of(state_after(STEPS), only=("model",)), COMPLETE)
    document = reviewed(straight=trained(file), basis={"severities": {"checkpoint-without-state": "warning"}})
    assert item(document, "V2")[0] == "warning" and document["review"]["vetoes"] == []
