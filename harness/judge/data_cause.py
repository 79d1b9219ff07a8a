"""Why a step was given another batch, or began with other generators."""

from __future__ import annotations

from harness.documents.verdict import Cause
from harness.judge import observations
from harness.judge.observations import Batch, Generator
from harness.judge.symptom import Symptom, before, came_back, names_of, step_of, tensor_evidence

_ORDER_FIX = (
    "Give the sampler or loader a generator of its own, seed it from the configuration and the epoch, and save what "
    "the order hangs on (the epoch, the generator's state at its start, a shuffle buffer, the number of workers). Read "
    "the same files: a list that each process shuffles and writes back is another one the second time."
)
_POSITION_FIX = (
    "Save the epoch and the number of batches that were trained (or the sampler's state), and skip to that place on a "
    "resume, with the epoch's own order."
)


def data_cause(symptom: Symptom) -> Cause:
    """A batch that is not the straight run's, in a resumed run."""
    batch, generators = observations.batch(symptom), observations.generators(symptom)
    evidence = [*_when(symptom), *tensor_evidence(symptom), *_found(symptom, batch)]
    if batch.num_skipped and symptom.is_first_step:
        return _half_window(symptom, batch.num_skipped, evidence)
    if batch.step is not None and batch.step != symptom.first.step:
        again = observations.given_again(symptom, batch.step)
        if again is not None:
            evidence.append(f"the straight run was given it again in step {again}, with other generators")
            if generators:
                evidence.append(f"not restored either: {_in_words(generators)[0].lower()}")
        elif any(one.equals_step == batch.step for one in generators):
            evidence.append("so are the generators")
            return generators_cause(symptom, generators, evidence, ", and the order of the data is drawn from them")
        return _position(symptom, evidence)
    if generators and symptom.is_first_step:
        return generators_cause(symptom, generators, evidence, ", and what the model is given is drawn from them")
    if batch.right and not generators:
        return _right_batch(symptom, evidence)
    if generators:
        return _drawn_before(symptom, generators, evidence)
    return _order(symptom, evidence)


def _when(symptom: Symptom) -> tuple[str, ...]:
    step, at = symptom.first.step, symptom.resumed_at or 0
    if step == at + 1:
        return (f"the first batch after the resume (step {step}) is not the straight run's",)
    return (f"the batch of step {step} is not the straight run's; those of steps {at + 1} to {step - 1} are",)


def _found(symptom: Symptom, batch: Batch) -> list[str]:
    """Where the content of the batch is in the straight run, in sentences."""
    said, first = [], symptom.first
    theirs, mine = batch.num_micro_batches
    if theirs != mine:
        said.append(f"the step had {mine} micro-batches, and {theirs} in the straight run")
    step = batch.step
    if step is not None and step != first.step:
        is_whole = all(place == step for place in batch.steps)
        what = (
            "it is"
            if is_whole
            else "it begins with"
            if batch.steps[0]
            else f"its {names_of(batch.parts[step])} is that of"
        )
        where = "the first batch of all" if step == 1 else f"the batch of step {step}"
        said.append(f"{what} {where} of the straight run{_direction(first.step, step)}")
    elif batch.num_skipped:
        pass  # said below
    elif batch.right:
        said.append(f"{names_of(batch.right)} of that batch: equal to the straight run's; the rest of it is not")
    else:
        said.append("no step of the straight run was given this batch")
    if batch.is_other_shape:
        said.append("its tensors have another shape or dtype")
    return said


def _direction(step: int, found: int) -> str:
    away = abs(step - found)
    steps = f"{away} step{'s' if away > 1 else ''}"
    return f", {steps} too far" if found > step else "" if found == 1 else f", {steps} back"


def window_cause(symptom: Symptom) -> Cause | None:
    """A resume that began where the straight run had saved too: all that it did of the window is equal, but the sum."""
    whole, part = step_of(symptom.left, symptom.first.step), step_of(symptom.right, symptom.first.step)
    if symptom.first.stream != "grad" or whole is None or part is None or part.micro_batches >= whole.micro_batches:
        return None
    said = f"the step had {part.micro_batches} micro-batches, and {whole.micro_batches} in the straight run"
    return _half_window(symptom, whole.micro_batches - part.micro_batches, [said])


def _half_window(symptom: Symptom, num_skipped: int, evidence: list[str]) -> Cause:
    return Cause(
        kind="accumulated_gradients_lost",
        title="The gradients of a half-done accumulation window were lost",
        evidence=(
            *evidence,
            f"its first micro-batch is number {num_skipped + 1} of that step in the straight run: the checkpoint "
            "was written inside the window, and what had been accumulated until then is missing",
        ),
        ruled_out=came_back(symptom),
        fix="Write checkpoints after optimizer.step() only, or save the accumulated gradients too, or begin the window "
        "again on a resume.",
    )


def _position(symptom: Symptom, evidence: list[str]) -> Cause:
    return Cause(
        kind="data_position_not_restored",
        title="The place in the data was not restored",
        evidence=(*evidence, "so the batches were counted otherwise, or the epoch has the order of another one"),
        ruled_out=came_back(symptom),
        fix=_POSITION_FIX,
    )


def _order(symptom: Symptom, evidence: list[str]) -> Cause:
    if symptom.first.step != (symptom.resumed_at or 0) + 1:
        evidence.append("what comes before is right, so the place was restored; an order that is drawn later is not")
    return Cause(
        kind="data_order_not_restored",
        title="The order of the data, or the place in it, was not restored",
        evidence=(
            *evidence,
            "the recorded generators are equal at that step, so the order does not hang on them alone",
        ),
        ruled_out=came_back(symptom),
        fix=_ORDER_FIX,
    )


def _right_batch(symptom: Symptom, evidence: list[str]) -> Cause:
    return Cause(
        kind="carried_state_not_restored",
        title="The batch is right; what the model is given with it was not restored",
        evidence=(
            *evidence,
            "the recorded generators are equal, so the rest is carried from batch to batch, or drawn from a generator "
            "of its own (a torch.Generator, numpy's default_rng, that of a loader's worker)",
        ),
        ruled_out=("the place in the data, and the generators", *came_back(symptom)),
        fix="Save what is carried from batch to batch (the hidden state of a recurrent model, a memory, the state of "
        "an own generator) in the checkpoint, and load it on a resume.",
    )


def _drawn_before(symptom: Symptom, found: tuple[Generator, ...], evidence: list[str]) -> Cause:
    """Generators and batch differ at the same later step: something drew otherwise in the step before."""
    step = symptom.first.step
    evidence += [f"{names_of([one.name for one in found])} differs before that step as well"]
    return _drew_otherwise(symptom, evidence, step)


def rng_cause(symptom: Symptom) -> Cause:
    """Generators that are not the straight run's before a step whose batch is."""
    step = symptom.first.step
    found = observations.generators(symptom)
    evidence = [
        f"the state before step {step} differs in rng: {names_of([g.name for g in found])}",
        *tensor_evidence(symptom),
    ]
    if not symptom.is_first_step:
        return _drew_otherwise(symptom, evidence, step)
    ruled_out = ("the place in the data: the batches of that step are equal",)
    return generators_cause(symptom, found, evidence, "", ruled_out)


def evaluation_cause(symptom: Symptom) -> Cause | None:
    """One training evaluated after a step, and the other did not, or not as often."""
    evaluated = evaluation_sentences(symptom, symptom.first.step)
    if not evaluated:
        return None
    return Cause(
        kind="evaluated_at_another_place",
        title="The trainings do not evaluate after the same steps",
        evidence=evaluated,
        ruled_out=before(symptom.first, symptom),
        fix="Evaluate after a number of steps that is counted over the whole training, never by the clock.",
    )


def _drew_otherwise(symptom: Symptom, evidence: list[str], step: int) -> Cause:
    """The step before was equal and moved the generators otherwise, or something drew between the two."""
    changed = evaluation_sentences(symptom, step - 1)
    if changed:
        return Cause(
            kind="evaluated_at_another_place",
            title="Validation draws from the generators, and did not run at the same place",
            evidence=(*evidence, *changed),
            ruled_out=came_back(symptom),
            fix=_EVALUATION_FIX,
        )
    return Cause(
        kind="unknown",
        title="The cause is not known; something draws from the generators otherwise than in the straight run",
        evidence=(*evidence, f"all that was recorded of step {step - 1} is equal"),
        ruled_out=came_back(symptom),
        fix="Look at what draws between these two steps, and at what decides how much is drawn.",
        candidates=(
            "something that is done every so many steps, and counts from the resume: log its steps",
            "a module in another mode, so that dropout draws or does not: compare module.training",
            "a loader that begins its epoch at another place: compare the epochs",
        ),
    )


_EVALUATION_FIX = (
    "Let validation draw from a generator of its own, or put the generators back after it; and write the checkpoint "
    "after validation, so that a resume begins where the straight run goes on."
)


def evaluation_sentences(symptom: Symptom, step: int) -> tuple[str, ...]:
    """That one of the two evaluated after a step and the other did not, or not as often."""
    one, two = observations.evaluations(symptom.left, step), observations.evaluations(symptom.right, step)
    if one == two:
        return ()
    return (f"after step {step} the straight run ran {one} evaluation forwards, {symptom.right.name} {two}",)


def generators_cause(
    symptom: Symptom, found: tuple[Generator, ...], evidence: list[str], more: str, ruled_out: tuple[str, ...] = ()
) -> Cause:
    """Generators that differ before the first step after a resume: never restored, or restored and then moved."""
    step = symptom.first.step
    names, them, were = _in_words(found)
    more = more.replace("them", them)
    kind, title, fix = "rng_not_restored", f"{names} {were} not restored{more}", _RNG_FIX
    evaluated = evaluation_sentences(symptom, step - 1)
    evaluates_first = observations.evaluations(symptom.right, step - 1) > 0
    is_known = bool(found) and all(one.was_set and one.is_as_set is not None for one in found)
    is_as_set = all(one.is_as_set for one in found)
    is_older = is_known and all(one.set_to_step != step and (one.equals_step or step) < step for one in found)
    if found and all(one.was_seeded_last for one in found):
        kind, title = "rng_seeded_after_the_restore", f"{names} {were} restored, and then seeded again"
        fix = "Seed at the start of the process only, before the checkpoint is loaded."
    elif is_known and evaluated and evaluates_first != is_as_set and all(g.set_to_step in (None, step) for g in found):
        kind, title = (
            "evaluated_at_another_place",
            f"Validation draws from the generators, and ran at another place{more}",
        )
        fix = _EVALUATION_FIX
        evidence = [*evidence, *evaluated]
    elif (is_known and is_as_set) or is_older:
        kind, title = "rng_of_another_time", f"{names} {were} set to the state of another time"
        fix = (
            "Take the generators' states when the checkpoint is written, after everything that draws in that step; "
            "batches that are fetched ahead, and what is drawn for them, belong to a later one."
        )
    elif is_known:
        kind, title = (
            "rng_drawn_from_after_the_restore",
            f"{names} {were} set, and then drawn from otherwise than in the straight run",
        )
        fix = _LAST_FIX
        evidence = [*evidence, *evaluated]
    return Cause(
        kind=kind,
        title=title,
        evidence=(*evidence, *(sentence for one in found for sentence in _history(one))),
        ruled_out=(*ruled_out, *came_back(symptom)),
        fix=fix,
    )


def _in_words(found: tuple[Generator, ...]) -> tuple[str, str, str]:
    """Generators as the subject of a sentence: their names, the pronoun, the verb."""
    names = names_of([one.name for one in found])
    if len(found) == 1:
        return f"The generator of {names}", "it", "was"
    return f"The generators of {names}" if found else "The random number generators", "them", "were"


def _history(one: Generator) -> tuple[str, ...]:
    """What became of a generator, in sentences."""
    said = []
    calls = (
        f"the resume called {names_of(one.calls)}" if one.calls else "nothing that the recorder saw set or seeded it"
    )
    if one.set_to_step is not None:
        calls += f", which gave it the state before step {one.set_to_step} of the straight run"
    said.append(f"{one.name}: {calls}")
    if one.equals_step is not None:
        anew = ": the generators were seeded anew" if one.equals_step == 1 else ""
        said.append(f"{one.name}: it equals the straight run's state before step {one.equals_step}{anew}")
    elif one.is_as_set is False:
        said.append(f"{one.name}: it moved between the last of these calls and the first batch")
    return tuple(said)


_RNG_FIX = (
    "Save torch.get_rng_state(), the CUDA generators', numpy.random.get_state() and random.getstate() in the "
    "checkpoint and set them again after everything else is built, just before the first batch."
)
_LAST_FIX = (
    "Set the generators last, just before the first batch: after skipping batches, building loaders and validating. "
    "Where they are, save what decides how much is drawn: a replay buffer, a queue, an iterator that has fetched ahead."
    " A loader's workers have generators of their own, new in each process: seed these by the number of the example. A "
    "loader that shuffles wants a generator of its own, seeded by the epoch: its order is drawn at the epoch's start."
)
