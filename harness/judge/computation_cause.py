"""Why a step computed something else from equal inputs: schedules, settings, scalers, operators."""

from __future__ import annotations

from harness.documents.verdict import Cause
from harness.evidence.tensor_digest import ALGORITHMS
from harness.evidence.trajectory import RunEvidence
from harness.judge import observations
from harness.judge.locate import ledger_of
from harness.judge.ranks import num_ranks
from harness.judge.restored_cause import model_cause
from harness.judge.symptom import (
    Symptom,
    before,
    came_back,
    equal_inputs,
    floats,
    is_same,
    loss_change,
    names_of,
    step_of,
    tensor_evidence,
    tensors_of_step,
)

_SMALL = 1e-4
"""A relative difference of a loss below this is of the size that another order of summation makes in 32 bits."""


_METRIC = {"best", "num_bad_epochs", "cooldown_counter"}  # what ReduceLROnPlateau keeps of the metric


def schedule_cause(symptom: Symptom) -> Cause:
    """Learning rates, or other numbers of groups and schedules, that are not the straight run's in a resumed run."""
    names = observations.names_that_differ(symptom, "lr")
    groups = sorted({name.rpartition(".")[2] for name in names if name.startswith("optimizer")})
    of_schedules = [name for name in names if name.startswith("scheduler")]
    evidence = [f"at step {symptom.first.step} these numbers are not the straight run's: {', '.join(names[:6])}"]
    evidence += _rates(symptom)
    counts = {
        name: observations.step_with(symptom, "lr", name) for name in of_schedules if name.endswith(".last_epoch")
    }
    kind, title = "scheduler_not_restored", "The learning-rate schedule was not restored"
    fix = "Save scheduler.state_dict() in the checkpoint and load it after the optimizer's state."
    if groups and "lr" not in groups and not of_schedules:
        kind = "hyperparameters_differ"
        title = f"The optimizer has other hyperparameters after the resume: {names_of(groups)}"
        fix = "Take them from the configuration that the first process had; optimizer.load_state_dict() restores them."
    elif "lr" in groups and not of_schedules and _has_schedule(symptom):
        kind, title = (
            "learning_rate_overwritten",
            "The learning rate was set again by hand, over what the schedule says",
        )
        fix = "Set the optimizer's rates before its state is loaded, never after it."
        evidence.append("the schedule's own numbers are equal, the rates that it gave among them")
    elif any(counts.values()):
        step = next(step for step in counts.values() if step)
        evidence.append(f"it counts as in step {step} of the straight run: {_off_by(symptom.first.step, step)}")
        if any(e.kind == "load_state" and e.fields.get("what") == "scheduler" for e in symptom.right.events):
            title = "The learning-rate schedule was restored to another place"
            fix = "It is saved and loaded, so save it when that step is over: after scheduler.step(), not before it."
    elif of_schedules and not counts and not symptom.is_first_step and _METRIC & {n.split(".")[-1] for n in names}:
        kind, title = "schedule_follows_another_metric", "The schedule follows a metric, and was given another one"
        evidence.append("its count is right, and it came back right: it parted later, with the metric")
        fix = (
            "Save what the metric is computed from (a running mean, a history of losses, the best value so far), and "
            "load it on a resume."
        )
    elif of_schedules and not counts:
        kind, title = (
            "schedule_differs",
            "The resumed process follows another schedule: its count is right, its numbers are not",
        )
        fix = "Build the schedule with the numbers of the whole training (total steps, warm-up), not of what is left."
    elif not _has_schedule(symptom) and "lr" in groups:
        fix = "Compute the rate from the number of the step in the whole training, and save that number."
    return Cause(
        kind=kind,
        title=title,
        evidence=tuple(evidence),
        ruled_out=(
            "the place in the data and the generators: data and rng of that step are equal",
            *came_back(symptom),
        ),
        fix=fix,
    )


def _has_schedule(symptom: Symptom) -> bool:
    tensors = tensors_of_step(symptom, symptom.left, "lr")
    return any(name.startswith("scheduler") for name in tensors)


def _off_by(step: int, counted: int) -> str:
    away = abs(counted - step)
    return f"{away} step{'s' if away > 1 else ''} {'too far' if counted > step else 'behind'}"


def _rates(symptom: Symptom) -> list[str]:
    one, two = step_of(symptom.left, symptom.first.step), step_of(symptom.right, symptom.first.step)
    if one is None or two is None or one.lr == two.lr:
        return ["the learning rates that were applied are equal"]
    said = [f"the learning rate was {floats(two.lr)} instead of {floats(one.lr)}"]
    steps = [record.step for record in ledger_of(symptom.left).steps if record.lr == two.lr]
    return [*said, f"that is the learning rate of step {steps[0]} of the straight run"] if steps else said


def settings_cause(symptom: Symptom) -> Cause | None:
    """Something that a step is computed under is not as in the straight run: a mode, a switch, clipping."""
    step = symptom.first.step
    at = step - 1 if symptom.first.stream == "rng" else step
    if symptom.first.stream in ("rng", "optim", "param"):
        names = {"evaluating"} if symptom.first.stream == "rng" else {"clip", "evaluating"}
    else:
        names = set(observations.settings(symptom.left, at)) | set(observations.settings(symptom.right, at))
        names -= {"clip"}
    found = {n: pair for n, pair in observations.settings_that_differ(symptom, at).items() if n in names}
    if not found:
        return None
    evidence = [f"{symptom.first.stream} is the first stream to differ, at step {step}", *tensor_evidence(symptom)]
    evidence += [_said(name, *pair, at) for name, pair in found.items()]
    if "evaluating" in found:
        kind = "modules_in_another_mode"
        title = "Modules are in training mode in one training, and in evaluation mode in the other"
        fix = "Call model.train() before training goes on: after a load, after validation, after generation."
    elif "clip" in found:
        kind, title = "gradients_clipped_otherwise", "The gradients were clipped otherwise"
        fix = "Clip in every process, with the same limit, between backward() and optimizer.step(). Where the limit is "
        fix += "computed from earlier norms, save these in the checkpoint."
    else:
        kind, title = "computed_under_other_settings", f"torch's switches are not the same: {names_of(sorted(found))}"
        fix = "Set these switches from the configuration, at the start of every process, and in a resume too."
    return Cause(kind=kind, title=title, evidence=tuple(evidence), ruled_out=before(symptom.first, symptom), fix=fix)


def _said(name: str, left: object, right: object, step: int) -> str:
    def shown(value: object) -> str:
        match value:
            case None:
                return "not used" if name == "clip" else "none"
            case {"num": int(num), "of": int(of), "names": list(names)}:
                first = ", ".join(str(one) or "the whole model" for one in names[:3])
                return f"{num} of {of} modules ({first})"
            case {"function": function, "limit": limit}:
                return str(function) if limit is None else f"{function}, {_number(limit)}"
        return str(value)

    words = {"evaluating": "in evaluation mode", "clip": "clipping"}
    return f"{words.get(name, name)} at step {step}: {shown(left)} in the straight run, {shown(right)} in the other"


def computation_cause(symptom: Symptom) -> Cause:
    """Loss or gradients differ although everything recorded that goes into them is equal."""
    if (found := settings_cause(symptom) or _model_cause(symptom) or _attribute_cause(symptom)) is not None:
        return found
    first = symptom.first
    change = loss_change(symptom) if first.stream != "grad" else None
    said = f"{equal_inputs(symptom)} are equal, and {first.stream} is the first stream to differ"
    if first.stream == "data":
        more = observations.more_inputs(symptom)
        said = (
            f"{more}, and all that both were given is equal: what is recorded is what needs no gradient there"
            if more
            else "the first micro-batch is equal, and its loss is not"
        )
    evidence = [f"at step {first.step}, {said}", *tensor_evidence(symptom)]
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
        return _unseen_state(symptom, evidence)
    if symptom.resumed_at is not None and symptom.rerun_steps >= first.step:
        evidence.append("the same step was computed twice before with equal bits, so the operators repeat")
        return _unseen_state(symptom, evidence)
    where = "forward" if first.stream == "loss" else "backward"
    return Cause(
        kind="nondeterministic_operator",
        title=f"An operator of the {where} pass does not give the same bits twice",
        evidence=tuple(evidence),
        ruled_out=before(first, symptom),
        fix="Run once with torch.use_deterministic_algorithms(True): it raises an error at the operator. Set "
        "CUBLAS_WORKSPACE_CONFIG and the number of threads before Python starts.",
    )


def _model_cause(symptom: Symptom) -> Cause | None:
    """A resumed model that is not built like the first one, though all that both have is equal."""
    return None if symptom.resumed_at is None else model_cause(symptom)


def _attribute_cause(symptom: Symptom) -> Cause | None:
    """Modules came back without numbers or tensors that they hold beside parameters and buffers."""
    lost = {} if symptom.resumed_at is None else observations.lost_attributes(symptom)
    if not lost:
        return None
    start = symptom.resumed_at
    said = [
        f"{name}: {_number(left)} in the straight run, {_number(right)} in the other"
        for name, (left, right) in lost.items()
    ]
    return Cause(
        kind="module_attributes_not_restored",
        title=f"What modules hold beside parameters and buffers was not restored: {names_of(list(lost)[:4])}",
        evidence=(
            f"{symptom.first.stream} is the first stream to differ, at step {symptom.first.step}",
            *tensor_evidence(symptom),
            f"{len(lost)} of them had moved in the straight run by step {start}, and did not come back",
            *said[:6],
        ),
        ruled_out=before(symptom.first, symptom),
        fix="Make tensors buffers (register_buffer), and give numbers to the checkpoint with get_extra_state() and "
        "set_extra_state(), or save them beside it; or compute them from the number of the step.",
    )


def _number(value: object) -> str:
    """A number that an event holds, floats in hexadecimal, for people; or that it is a tensor."""
    if value is None or not isinstance(value, str):
        return "not there" if value is None else str(value)
    if value.startswith(ALGORITHMS):
        return "a tensor"
    try:
        return f"{float.fromhex(value):g}"
    except (ValueError, OverflowError):  # whoever wrote the event
        return value[:40]


def update_cause(symptom: Symptom) -> Cause | None:
    """Gradients are equal, and so is what the update starts from; what it leaves behind is not."""
    step = symptom.first.step
    if symptom.first.stream not in ("optim", "param") or not is_same(symptom, "grad", step):
        return None
    if (found := settings_cause(symptom) or _model_cause(symptom)) is not None:
        return found
    return Cause(
        kind="unknown",
        title="The cause is not known; the update is another, though gradients, rates and state before it are equal",
        evidence=(f"{symptom.first.stream} is the first stream to differ, at step {step}", *tensor_evidence(symptom)),
        ruled_out=before(symptom.first, symptom),
        fix="Look at what happens between backward() and optimizer.step(), and after it.",
        candidates=(
            "the optimizer keeps state that its state_dict() does not hold: attributes of its own, slow weights",
            "the gradients are changed before the update by the script itself: clipped, masked, noised, averaged",
            "the optimizer is of another class, or of another kind (foreach, fused): compare how it is built",
            "the weights are changed after the update: clamped, averaged, tied again",
        ),
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


def _unseen_state(symptom: Symptom, evidence: list[str]) -> Cause:
    if symptom.resumed_at is None:
        return Cause(
            kind="unseeded_randomness",
            title="Randomness that no recorded generator accounts for",
            evidence=(*evidence, "that is more than another order of summation makes"),
            ruled_out=before(symptom.first, symptom),
            fix="Look for the order of a set or of a folder's listing (`sorted()` mends it; that of a set of texts "
            "hangs on PYTHONHASHSEED, which differs here), for a generator of the script's own without a seed "
            "(torch.Generator, numpy.random.default_rng), and for the clock.",
        )
    return Cause(
        kind="unknown",
        title="The cause is not known; after the resume something differs that the recorder does not see",
        evidence=tuple(evidence),
        ruled_out=before(symptom.first, symptom),
        fix="Look for state that is neither parameter, buffer, optimizer, schedule nor global generator, and save it.",
        candidates=(
            "a number or tensor of the script's own that the loss is computed from: a weight, smoothing or temperature "
            "that anneals, a counter in a loss function, a running mean, a queue; print it in both at that step",
            "a second network that is called without gradients (a teacher, a target, an average): compare its weights",
            "a generator of the script's own, drawn from in the forward: compare its get_state()",
            "gradients that were left over from before: a checkpoint inside an accumulation window",
        ),
    )
