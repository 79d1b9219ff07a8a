"""What the runs showed of seeds, checkpoints and resumes: T1, T5, C1 to C5, V1, V2, V5.

Only a straight run that ended by itself with a whole ledger is judged; nothing is proven by a run that died.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from harness.errors import EvidenceError
from harness.evidence.ledger import Ledger
from harness.evidence.trajectory import RunEvidence
from harness.judge.locate import state_tensors, untouched
from harness.review.evidence.basis import Evidence
from harness.review.evidence.checkpoint_contents import Checkpoint, checkpoint_contents
from harness.review.finding import Said, finding, measured, undecided

EPOCH_NAME = re.compile(r"(?:.*/)?([^/]+)_epoch([0-9]{1,6})_loss([0-9]+\.[0-9]{4})\.pt")
_SEEDS = {"torch": r"torch\.", "cuda": r"torch\.", "python": r"random\.seed", "numpy": r"numpy\.random"}


def judge_state(evidence: Evidence) -> Iterator[Said]:
    """Every finding and showing about seeds, checkpoints and resumes."""
    whole = evidence.measured.whole
    if whole is not None:
        yield from _seeds(*whole)
        yield from _accumulation(whole[1])
        yield from _names(evidence)
        yield from _best_and_latest(evidence)
    yield from _randomness(evidence)
    yield from _complete(evidence)
    yield from _resume(evidence)
    yield from _continued(evidence)


def _seeds(run: RunEvidence, ledger: Ledger) -> Iterator[Said]:
    """T1: each generator that is in use was seen to be seeded."""
    try:
        used = state_tensors(run, "start", ledger.start.step, "rng")
    except EvidenceError:
        used = None
    if not used:
        yield undecided("T1", "the recorder saw no generator")
        return
    seeds = [
        (str(event.fields.get("function")), event.fields.get("value"))
        for event in run.events
        if event.kind == "seed" and not event.fields.get("step")
    ]
    idle = untouched(run)
    kinds = {name: name.partition(":")[0] for name in used}
    bare = [
        name
        for name, kind in sorted(kinds.items())
        if name not in idle and not any(re.match(_SEEDS.get(kind, "$"), function) for function, _ in seeds)
    ]
    if bare:
        yield undecided("T1", f"no call was seen that seeds the generator {', '.join(bare)}")
    elif seeds:
        calls = dict.fromkeys(f"{function}({value})" for function, value in seeds)
        yield measured("T1", f"seeded before training: {', '.join(list(calls)[:6])}")


def _accumulation(ledger: Ledger) -> Iterator[Said]:
    largest = max((step.micro_batches for step in ledger.steps), default=0)
    if largest > 1:
        yield measured("T5", f"up to {largest} micro-batches in a step")


def _randomness(evidence: Evidence) -> Iterator[Said]:
    """V1: the same bits in two processes; a divergence of the rerun that has randomness for its cause breaks it."""
    check, cause = evidence.measured.rerun, evidence.measured.cause
    if check.verdict == "CERTIFIED":
        steps = check.compared.steps
        yield measured("V1", f"two processes gave the same bits in {steps} steps ({check.how})")
    elif check.verdict == "DIVERGED" and evidence.measured.diverged == "rerun" and cause is not None:
        if cause.kind == "unseeded_randomness":
            yield finding("REP707", None, f"{cause.title}: {check.reason}")
        else:
            yield undecided("V1", f"{check.reason}; the cause is {cause.kind}")
    else:
        yield undecided("V1", check.reason or "two processes were not compared")


def _complete(evidence: Evidence) -> Iterator[Said]:
    """C1 and V2: by what the files hold; else by what came back in fresh processes that had nothing but the files."""
    config = str(evidence.basis.config).lower()
    held: tuple[Checkpoint, ...] = ()
    straight = evidence.measured.inputs.straight
    if evidence.measured.whole is not None and straight is not None:
        held = checkpoint_contents(straight, is_scaled="fp16" in config and evidence.basis.num_gpus > 0)
    newest = [one for one in held if one.step == held[0].step]
    complete = [one for one in newest if one.is_complete]
    if complete:
        text = _held_text(complete[0], len(held))
        yield measured("V2", text)
        partial = [one for one in held if one.missing]
        if partial:
            yield finding("REP702", None, f"{partial[0].name}: {partial[0].missing[0].text}")
        yield from _records(complete[0], text)
        return
    came_back = _came_back(evidence)
    if came_back:
        yield measured("V2", came_back)
        if newest and newest[0].missing:
            yield finding("REP702", None, f"{newest[0].name}: {newest[0].missing[0].text}")
        else:
            yield undecided("C1", came_back)
    elif newest and newest[0].missing:
        yield finding("REP701", None, f"{newest[0].name}: {'; '.join(part.text for part in newest[0].missing)}")
    else:
        why = _why_unknown(evidence, newest)
        yield undecided("C1", why)
        yield undecided("V2", why)


def _held_text(held: Checkpoint, num: int) -> str:
    parts = [part.text for part in held.parts if part.state == "held"]
    more = f"; {num} checkpoints were read" if num > 1 else ""
    return f"{held.name} holds {', '.join(parts)}{more}"


def _records(held: Checkpoint, text: str) -> Iterator[Said]:
    absent = [name for name in ("epoch", "loss", "config", "seed") if name not in held.records]
    if absent:
        yield finding("REP702", None, f"{held.name} has no {', '.join(absent)}")
    else:
        yield measured("C1", f"{text}, with epoch, loss, config and seed")


def _came_back(evidence: Evidence) -> str:
    """That all live state came back with the same bits, if it did; "" if it did not or nobody looked."""
    if evidence.measured.resume.verdict != "CERTIFIED" or not evidence.measured.restored:
        return ""
    if any(one.num_tensors == 0 or one.num_equal != one.num_tensors for one in evidence.measured.restored):
        # What differed then and made no difference later is state that nothing drew from.
        return f"{evidence.measured.resume.how}: the restored state gave the straight run's bits to the end"
    num = sum(one.num_tensors for one in evidence.measured.restored)
    return f"{evidence.measured.resume.how}: {num} of {num} tensors of live state were restored with the same bits"


def _why_unknown(evidence: Evidence, newest: list[Checkpoint]) -> str:
    if evidence.measured.whole is None:
        return "the straight run did not end with whole evidence"
    if newest:
        return f"{newest[0].name}: could not be decided: {', '.join(part.text for part in newest[0].unknown)}"
    if not evidence.checkpoints:
        return "no file matches the declared checkpoints"
    unread = [file for file in evidence.checkpoints if file.content is None]
    if unread:
        return f"{unread[0].path} could not be read: {unread[0].problem}"
    return "no checkpoint holds all weights as the ledger saw them after a step"


def _names(evidence: Evidence) -> Iterator[Said]:
    """C2: the names of the straight run's checkpoints."""
    files = evidence.checkpoints
    if not files:
        yield undecided("C2", "no file matches the declared checkpoints")
        return
    named = [found for file in files if (found := EPOCH_NAME.fullmatch(file.path))]
    epochs = sorted({int(found[2]) for found in named})
    whole, steps = evidence.measured.whole, evidence.steps_per_epoch
    expected = whole[1].last_step // steps if whole is not None and steps else len(epochs)
    if not epochs:
        yield finding("REP703", None, f"{len(files)} checkpoints, and none is named so: {files[0].path}")
    elif epochs != list(range(1, max(len(epochs), expected) + 1)):
        yield finding(
            "REP703", None, f"of {expected} epochs, only {', '.join(map(str, epochs))} have a file of that name"
        )
    else:
        paths = ", ".join(found[0].rpartition("/")[2] for found in named[:4])
        yield measured("C2", f"{len(epochs)} epochs: {paths}")


def _best_and_latest(evidence: Evidence) -> Iterator[Said]:
    """C3: two files, and whether they hold the same."""
    files = evidence.checkpoints
    if not files:
        return
    names = {file.path: file.path.rpartition("/")[2].lower() for file in files}
    best = [file for file in files if "best" in names[file.path]]
    latest = [file for file in files if re.search(r"latest|last|newest", names[file.path])]
    if not best or not latest:
        absent = " and ".join(n for n, found in (("best", best), ("latest", latest)) if not found)
        yield finding("REP704", None, f"no checkpoint is called {absent}: {', '.join(sorted(names)[:4])}")
        return
    same = best[0].content_digest is not None and best[0].content_digest == latest[0].content_digest
    how = "the same content: the last was the best" if same else "different content"
    yield measured("C3", f"{best[0].path} and {latest[0].path}, {how}")


def _resume(evidence: Evidence) -> Iterator[Said]:
    """C4 and V5: the check's answer."""
    check = evidence.measured.resume
    if check.verdict == "CERTIFIED":
        yield measured("C4", f"{check.how}: {check.compared.steps} steps, bit for bit the straight run's")
        starts = ", ".join(str(one.started_after_step) for one in check.resumes)
        yield measured("V5", f"{check.how}: resumed after step {starts}")
    elif check.verdict == "DIVERGED":
        yield finding("REP706", None, check.reason or "the resumed training differs")
    else:
        why = check.reason or "no interrupted training took place"
        yield from (undecided("C4", why), undecided("V5", why))


def _continued(evidence: Evidence) -> Iterator[Said]:
    """C5: a resumed run went on for an epoch, and its losses are the straight run's."""
    moved = next((check for check in evidence.measured.controls if check.name == "weights_moved"), None)
    if moved is not None and not moved.detected:
        yield finding("REP708", None, moved.detail)
    whole, resumed = evidence.measured.whole, evidence.measured.inputs.resumed
    if whole is None or resumed is None:
        yield undecided("C5", "no run loaded a checkpoint and trained on")
        return
    straight = {step.step: step.loss for step in whole[1].steps}
    starts = {one.run: one.started_after_step for one in evidence.measured.resume.resumes}
    runs = [r for r in resumed.runs[1:] if r.ledger is not None and r.ledger.start.step > 0 and r.ledger.steps]
    best = max(runs, key=lambda run: len(run.ledger.steps) if run.ledger else 0, default=None)
    if best is None or best.ledger is None or best.record.number not in starts:
        yield undecided("C5", "no resumed run continued from a checkpoint")
        return
    steps = best.ledger.steps
    wrong = [step.step for step in steps if step.loss != straight.get(step.step)]
    went_on = f"{best.name} loaded the checkpoint of step {best.ledger.start.step} and went on for {len(steps)} steps"
    if wrong:
        said = f"{went_on}: from step {wrong[0]} on, {len(wrong)} losses differ"
        if evidence.measured.rerun.verdict == "CERTIFIED":
            yield finding("REP705", None, said)
        else:
            yield undecided("C5", f"{said}, as they do without a resume")
        return
    epoch = evidence.steps_per_epoch
    is_long = len(steps) >= epoch if epoch else best.ledger.last_step == evidence.measured.inputs.steps
    length = f"an epoch has {epoch}" if epoch else "to the training's end; the length of an epoch is not known"
    if is_long and any(step.loss for step in steps):
        yield measured("C5", f"{went_on} ({length}): every loss equals the straight run's")
    else:
        yield undecided("C5", f"{went_on} ({length})")
