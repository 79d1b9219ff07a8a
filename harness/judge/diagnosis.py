"""Diagnosis: from the first stream that differs, and what was measured there, to the cause by name.

A cause is named only where the measurements show it; otherwise the class is `unknown`, with what is known. Streams are
looked at in causal order (data, rng, lr, loss, grad, optim, param, buffer), so everything before the first that differs
is ruled out. The classes follow root causes that others have reported; see the guide.
"""

from __future__ import annotations

from harness.documents.verdict import Cause
from harness.evidence.trajectory import RunEvidence
from harness.judge.diff import LENGTH, FileComparison
from harness.judge.locate import ledger_of
from harness.judge.ranks import num_ranks
from harness.judge.restored_cause import restored_cause
from harness.judge.symptom import (
    Symptom,
    batch_that_is_right,
    before,
    came_back,
    equal_inputs,
    find_batch,
    floats,
    is_same,
    loss_change,
    names_of,
    restore_sentence,
    rng_sentences,
    rng_step,
    setters_called,
    step_of,
    tensor_evidence,
)

_SMALL = 1e-4
"""A relative difference of a loss below this is of the size that another order of summation makes in 32 bits."""


def diagnose(symptom: Symptom) -> Cause:
    """The cause of a divergence, or class `unknown` with what is known."""
    first = symptom.first
    if first.phase == "file":
        return _file(symptom)
    if first.stream == LENGTH:
        return _length(symptom)
    if symptom.check == "rerun" or first.run == 1:
        return _rerun(symptom)
    if first.phase == "restore":
        return restored_cause(symptom)
    is_first_step = first.step == ledger_of(symptom.right).start.step + 1
    by_stream = {"data": _data, "rng": _rng, "lr": _scheduler}
    if first.phase == "step" and first.stream in by_stream and is_first_step:
        return by_stream[first.stream](symptom)
    if first.phase == "step" and first.stream in ("loss", "grad"):
        return _computation(symptom)
    return _unknown(symptom)


def checkpoint_ignored(run: RunEvidence, saved_step: int, *, num_saves: int, is_equal: bool) -> Cause:
    """A resumed run that started over although there was a checkpoint."""
    ledger = ledger_of(run)
    evidence = [
        f"{run.name} starts after step 0: its first step is step {ledger.start.step + 1}",
        f"{num_saves} checkpoint writes were complete before it, the last one after step {saved_step}",
        restore_sentence(run),
    ]
    same_result = "a difference in the result: the final bits agree, because everything was computed again"
    ruled_out = (same_result,) if is_equal else ()
    return Cause(
        kind="checkpoint_ignored",
        title="The checkpoint was ignored: training started over",
        evidence=tuple(evidence),
        ruled_out=ruled_out,
        fix="Make the resume command find and load the newest complete checkpoint below its output folder, and fail "
        "when it cannot.",
    )


def image_differs(image_ids: tuple[str, ...]) -> Cause:
    """An image that was built twice and came out differently."""
    return Cause(
        kind="image_not_reproducible",
        title="The image built again has another id",
        evidence=tuple(f"build {n}: {image_id}" for n, image_id in enumerate(image_ids, start=1)),
        ruled_out=(),
        fix="Run `harness build --check`: it names the files of the image that differ.",
    )


def _rerun(symptom: Symptom) -> Cause:
    first = symptom.first
    if first.phase == "start":
        return _unseeded_start(symptom)
    if first.phase == "step" and first.stream in ("data", "rng"):
        return _unseeded_stream(symptom)
    if first.phase == "step" and first.stream in ("loss", "grad"):
        return _computation(symptom)
    return _unknown(symptom)


def _unseeded_start(symptom: Symptom) -> Cause:
    first = symptom.first
    streams = {d.stream for d in symptom.comparison.differences if d.phase == "start"}
    if not streams & {"param", "frozen", "buffer", "rng"}:
        return _unknown(symptom)
    weights = sorted(streams & {"param", "frozen", "buffer"})
    evidence = [f"before the first step, {names_of(sorted(streams))} already differ between two fresh processes"]
    evidence += tensor_evidence(symptom)
    if weights and "rng" not in streams:
        evidence.append("the recorded generators are equal then, so the weights come from one that was seeded later")
    return Cause(
        kind="unseeded_randomness",
        title="Randomness without a seed: " + ("the initial weights" if weights else "the generators"),
        evidence=tuple(evidence),
        ruled_out=before(first, symptom),
        fix="Seed random, numpy.random, torch and CUDA with a number from the configuration at the very start, before "
        "the model and the data are made.",
    )


def _unseeded_stream(symptom: Symptom) -> Cause:
    first = symptom.first
    evidence = [f"two fresh processes first differ at step {first.step}, in {first.stream}", *tensor_evidence(symptom)]
    if first.stream == "data":
        same = is_same(symptom, "rng", first.step)
        evidence.append(
            "the recorded generators are equal at that step: the order comes from somewhere else"
            if same
            else "a recorded generator differs at that step too"
        )
    fix = (
        "Give the DataLoader a seeded torch.Generator and a worker_init_fn; sort what is listed from folders or sets."
        if first.stream == "data"
        else "Seed every generator with a number from the configuration before anything draws from it."
    )
    if first.stream == "rng" and first.step > ledger_of(symptom.right).start.step + 1:
        return _unknown(symptom, f"a generator was drawn from differently in step {first.step - 1}")
    return Cause(
        kind="unseeded_randomness",
        title="Randomness without a seed: " + ("the order of the data" if first.stream == "data" else "a generator"),
        evidence=tuple(evidence),
        ruled_out=before(first, symptom),
        fix=fix,
    )


def _data(symptom: Symptom) -> Cause:
    first = symptom.first
    evidence = [f"the first batch after the resume (step {first.step}) is not the straight run's"]
    evidence += tensor_evidence(symptom)
    rng_equal = is_same(symptom, "rng", first.step)
    if rng_equal and (same := batch_that_is_right(symptom)):
        return Cause(
            kind="carried_state_not_restored",
            title="The batch is the right one; what the model is given with it was not restored",
            evidence=(*evidence, f"{names_of(same)} of that batch: equal to the straight run's"),
            ruled_out=("the place in the data, and the generators", *came_back(symptom)),
            fix="Save what is carried from batch to batch (the hidden state of a recurrent model, a memory, the "
            "generator of an augmentation) in the checkpoint, and load it on a resume.",
        )
    found = find_batch(symptom)
    if found is not None:
        step, is_whole = found
        what = "is" if is_whole else "begins with"
        where = "the first batch of all" if step == 1 else f"the batch of step {step}"
        evidence.append(f"it {what} {where} of the straight run")
        if step == rng_step(symptom):
            evidence.append("so are the generators")
            return _generators(symptom, evidence, came_back(symptom), ", and the data's order is drawn from them")
    elif not rng_equal:
        evidence.append("no step of the straight run was given this batch, and a generator differs as well")
        return _generators(symptom, evidence, came_back(symptom), ", and the data's order is drawn from them")
    else:
        evidence.append("no step of the straight run was given this batch: the order is not the same")
    return Cause(
        kind="data_position_not_restored",
        title="The place in the data was not restored",
        evidence=tuple(evidence),
        ruled_out=came_back(symptom),
        fix="Save the epoch and the number of batches consumed (or the sampler's state) and skip to that place on a "
        "resume, with the epoch's own seeded order.",
    )


def _rng(symptom: Symptom) -> Cause:
    evidence = [
        f"the state before step {symptom.first.step}, the first after the resume, differs in rng",
        *tensor_evidence(symptom),
    ]
    return _generators(
        symptom, evidence, ("the place in the data: the batches of that step are equal", *came_back(symptom)), ""
    )


def _generators(symptom: Symptom, evidence: list[str], ruled_out: tuple[str, ...], more: str) -> Cause:
    """Generators that differ at the first batch: never set, or set and drawn from otherwise before it."""
    setters = setters_called(symptom)
    if not setters:
        title, fix = f"The random number generators were not restored{more}", _RNG_FIX
    else:
        title = "The random number generators were set, and others were drawn from them before the first batch"
        evidence.append(f"the resume called {names_of(setters)}")
        fix = (
            "Set the generators last, just before the first batch. If they are, save what decides how much is drawn "
            "before a batch: a replay buffer, a queue, an iterator that has already fetched ahead."
        )
    return Cause(
        kind="rng_not_restored",
        title=title,
        evidence=(*evidence, *rng_sentences(symptom)),
        ruled_out=ruled_out,
        fix=fix,
    )


_RNG_FIX = (
    "Save torch.get_rng_state(), the CUDA generators', numpy.random.get_state() and random.getstate() in the "
    "checkpoint and set them again after everything else is built, just before the first batch."
)


def _scheduler(symptom: Symptom) -> Cause:
    first = symptom.first
    one, two = step_of(symptom.left, first.step), step_of(symptom.right, first.step)
    evidence = [f"at step {first.step}, the first after the resume, the schedule is not the straight run's"]
    evidence += tensor_evidence(symptom)
    if one is not None and two is not None and one.lr != two.lr:
        evidence.append(f"the learning rate was {floats(two.lr)} instead of {floats(one.lr)}")
        steps = [record.step for record in ledger_of(symptom.left).steps if record.lr == two.lr]
        if steps:
            evidence.append(f"that is the learning rate of step {steps[0]} of the straight run")
    else:
        evidence.append("the learning rates applied are equal; the schedulers' or groups' other numbers are not")
    return Cause(
        kind="scheduler_not_restored",
        title="The learning-rate schedule was not restored",
        evidence=tuple(evidence),
        ruled_out=(
            "the place in the data and the generators: data and rng of that step are equal",
            *came_back(symptom),
        ),
        fix="Save scheduler.state_dict() in the checkpoint and load it after the optimizer's state.",
    )


def _computation(symptom: Symptom) -> Cause:
    """Loss or gradients differ although everything recorded that goes into them is equal."""
    first = symptom.first
    change = loss_change(symptom) if first.stream == "loss" else None
    evidence = [
        f"at step {first.step}, {equal_inputs(symptom)} are equal, and {first.stream} is the first stream to differ",
        *tensor_evidence(symptom),
    ]
    if change is not None:
        evidence.append(f"loss {change[0]!r} against {change[1]!r}: a relative difference of {change[2]:.1e}")
        if change[3]:
            evidence.append(f"they differ by a factor of exactly {change[3]}, as a gradient scaler's factor does")
            return Cause(
                kind="scaler_not_restored",
                title="The gradient scaler was not restored",
                evidence=tuple(evidence),
                ruled_out=before(first, symptom),
                fix="Save scaler.state_dict() in the checkpoint and load it on a resume.",
            )
    if first.stream == "grad" and first.step - 1 == symptom.resumed_at and _is_averaged_by_many(symptom.right):
        return _bucket_order(symptom, evidence)
    if change is not None and change[2] > _SMALL:
        return _hidden_state(symptom, evidence)
    deterministic = symptom.resumed_at is not None and symptom.rerun_steps >= first.step
    if deterministic:
        evidence.append("the same step was computed twice before with equal bits, so the operators repeat")
        return _hidden_state(symptom, evidence)
    where = "forward" if first.stream == "loss" else "backward"
    return Cause(
        kind="nondeterministic_operator",
        title=f"An operator of the {where} pass does not give the same bits twice",
        evidence=tuple(evidence),
        ruled_out=before(first, symptom),
        fix="Run once with torch.use_deterministic_algorithms(True): it raises an error at the operator. Set "
        "CUBLAS_WORKSPACE_CONFIG and the number of threads before Python starts.",
    )


def _is_averaged_by_many(run: RunEvidence) -> bool:
    """Whether DistributedDataParallel averages over so many ranks that the order of summation shows: two commute."""
    is_replicated = any(e.fields.get("is_replicated") is True for e in run.events if e.kind == "ranks")
    return is_replicated and num_ranks(run) > 2


def _bucket_order(symptom: Symptom, evidence: list[str]) -> Cause:
    """Buckets are made anew after the first backward of a process, in the order of its gradients (torch's Reducer)."""
    return Cause(
        kind="gradients_averaged_in_another_order",
        title="After a start, DistributedDataParallel averages the first gradients in another order",
        evidence=(
            *evidence,
            f"DistributedDataParallel averages over {num_ranks(symptom.right)} ranks, and this is the first step after "
            "the resume: its buckets are arranged anew after the first backward of a process, so the sums are taken in "
            "another order than in the middle of the straight run",
        ),
        ruled_out=before(symptom.first, symptom),
        fix="Build it with DistributedDataParallel(..., find_unused_parameters=True): its buckets stay as they were "
        "made. Or average the gradients yourself.",
    )


def _hidden_state(symptom: Symptom, evidence: list[str]) -> Cause:
    if symptom.resumed_at is None:
        return Cause(
            kind="unseeded_randomness",
            title="Randomness that no recorded generator accounts for",
            evidence=(*evidence, "that is more than another order of summation makes"),
            ruled_out=before(symptom.first, symptom),
            fix="Look for a generator of the pipeline's own (torch.Generator, numpy.random.default_rng, os.urandom) "
            "without a seed.",
        )
    return Cause(
        kind="unknown",
        title="Not known; after the resume something differs that the recorder does not see",
        evidence=tuple(evidence),
        ruled_out=before(symptom.first, symptom),
        fix="Look for state beyond parameters, buffers, optimizer, schedulers and global generators: a generator of "
        "the pipeline's own, a moving average, a module left in evaluation mode, gradients of a half-done step.",
    )


def _length(symptom: Symptom) -> Cause:
    """Both ended by themselves, after different steps."""
    first, is_resume = symptom.first, symptom.resumed_at is not None
    evidence = [f"{symptom.right.name} ended by itself after {first.right}, the straight training after {first.left}"]
    if is_resume:
        evidence.append(f"it went on after step {symptom.resumed_at}")
    return Cause(
        kind="ends_at_another_step",
        title="The resumed training ends at another step" if is_resume else "A second run ends at another step",
        evidence=tuple(evidence),
        ruled_out=before(first, symptom),
        fix="Save how many steps (or epochs and batches) were done, and count on from there: a loop that counts from "
        "zero again, or that ends by the clock, trains another number of steps."
        if is_resume
        else "End the training after a number of steps, not by the clock or by what a random draw gives.",
    )


def _file(symptom: Symptom) -> Cause:
    role = symptom.first.stream
    file = next((file for file in symptom.files if file.is_equal is False and file.role == role), None)
    names = ", ".join(file.different[:6]) if file is not None else ""
    is_missing = file is not None and "not there" in (file.left, file.right)
    evidence = [f"every recorded step and the final state are equal; {file.path if file else 'a file'} is not"]
    evidence.append("only one side has it" if is_missing else f"what differs in it: {names or 'its bytes'}")
    if file is not None and file.doubt:
        evidence.append(f"its bytes were compared, not its values: {file.doubt}")
    if file is not None and not is_missing and _are_tensors(symptom, file):
        return Cause(
            kind="output_differs",
            title="The training is the same; tensors that were written with it are not",
            evidence=tuple(evidence),
            ruled_out=("the training itself: ledgers and final state are equal",),
            fix="Save what these tensors are made from (a moving average, the best weights so far and their score) in "
            "the checkpoint, and load it on a resume.",
        )
    return Cause(
        kind="output_differs",
        title="The training is the same; what was written about it is not",
        evidence=tuple(evidence),
        ruled_out=("the training itself: ledgers and final state are equal",),
        fix="Keep times, host names and ids out of outputs, or write them as JSON and name their keys under "
        "policy.volatile; write rows of a step once, also when a resume repeats it.",
    )


def _are_tensors(symptom: Symptom, file: FileComparison) -> bool:
    """Whether a tensor is among what differs in a file."""
    names = {
        tensor.name
        for one in symptom.straight.files
        if one.path == file.path and one.content is not None
        for tensor in one.content.tensors
    }
    return not names.isdisjoint(file.different)


def _unknown(symptom: Symptom, more: str = "") -> Cause:
    first = symptom.first
    after = f", {first.step - symptom.resumed_at} steps after the resume" if symptom.resumed_at is not None else ""
    evidence = [f"{first.stream} is the first stream to differ, at step {first.step}{after}"]
    evidence += tensor_evidence(symptom)
    if more:
        evidence.append(more)
    return Cause(
        kind="unknown",
        title=f"Not known; the first difference is in {first.stream}",
        evidence=tuple(evidence),
        ruled_out=before(first, symptom),
        fix="Look at what sets this quantity at that step; `harness diff` shows both sides' tensors and files.",
    )
