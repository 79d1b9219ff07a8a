"""Repairs: the few lines that mend a cause, for the stack that was seen at work; nothing that was seen to be there."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Literal

from harness.documents.divergence import Divergence, Share, StateRow
from harness.documents.verdict import Cause, Review
from harness.evidence.trajectory import TrajectoryEvidence
from harness.judge import observations
from harness.judge.resume_step import SavedFiles
from harness.judge.symptom import Symptom, is_same
from harness.judge.testimony import digests_in

Stack = Literal["plain", "Trainer", "accelerate", "Lightning"]
Hunk = tuple[str, tuple[str, ...]]
SAVED, LOADED, LAST = "where the checkpoint is written", "where it is loaded", "last of all before the first batch"

_ON_SAVING = ("REP401", "REP402", "REP407")
ATOMIC: tuple[Hunk, ...] = (
    (SAVED, ("-torch.save(state, path)", '+torch.save(state, f"{path}.tmp")', '+os.replace(f"{path}.tmp", path)')),
)
_AVERAGE = "moving average"
# Of each piece of state: how it is saved, and how it is loaded.
_PIECES: Mapping[str, tuple[str, str]] = {
    "weights": ('"model": model.state_dict(),', 'model.load_state_dict(checkpoint["model"])'),
    "frozen weights": (
        '"model": model.state_dict(),  # with the frozen weights',
        'model.load_state_dict(checkpoint["model"])',
    ),
    "optimizer": ('"optimizer": optimizer.state_dict(),', 'optimizer.load_state_dict(checkpoint["optimizer"])'),
    "schedule": ('"scheduler": scheduler.state_dict(),', 'scheduler.load_state_dict(checkpoint["scheduler"])'),
    "gradient scaler": ('"scaler": scaler.state_dict(),', 'scaler.load_state_dict(checkpoint["scaler"])'),
    _AVERAGE: ('"average": average.state_dict(),', 'average.load_state_dict(checkpoint["average"])'),
    "buffers": ('"model": model.state_dict(),  # with its buffers', 'model.load_state_dict(checkpoint["model"])'),
    "torch's generator": ('"torch": torch.get_rng_state(),', 'torch.set_rng_state(checkpoint["torch"])'),
    "cuda's generators": (
        '"cuda": torch.cuda.get_rng_state_all(),',
        'torch.cuda.set_rng_state_all(checkpoint["cuda"])',
    ),
    "python's generator": ('"python": random.getstate(),', 'random.setstate(checkpoint["python"])'),
    "numpy's generator": ('"numpy": numpy.random.get_state(),', 'numpy.random.set_state(checkpoint["numpy"])'),
}
_OF_CAUSE: Mapping[str, tuple[str, ...]] = {
    "weights_not_restored": ("weights",),
    "frozen_weights_not_restored": ("frozen weights",),
    "frozen_weights_moved": ("frozen weights",),
    "optimizer_state_not_restored": ("optimizer",),
    "buffers_not_restored": ("buffers",),
    "scheduler_not_restored": ("schedule",),
    "scaler_not_restored": ("gradient scaler",),
    "average_not_restored": (_AVERAGE,),
}
_LEFT_OUT: Mapping[Stack, str] = {
    "Trainer": "transformers' Trainer saves and loads it by itself: look at save_only_model, and into the folder.",
    "Lightning": "Lightning saves and loads it by itself: look at save_weights_only, and at ckpt_path.",
}
_SEEDS = {"torch": "torch.manual_seed(seed)", "random": "random.seed(seed)", "numpy.random": "numpy.random.seed(seed)"}
_ALWAYS: Mapping[str, tuple[Hunk, ...]] = {
    "average_not_restored": ((LOADED, ('+average.updates = checkpoint["average_updates"]  # the count',)),),
    "modules_in_another_mode": (("before training goes on", ("+model.train()",)),),
    "evaluated_at_another_place": (
        ("around validation", (" with torch.random.fork_rng():", "-validate(model)", "+    validate(model)")),
    ),
    "optimizer_state_permuted": (
        (
            "where the optimizer is built",
            (
                "-optimizer = AdamW(parameters)",
                "+optimizer = AdamW([p for _, p in sorted(model.named_parameters()) if p.requires_grad])",
            ),
        ),
    ),
    "learning_rate_overwritten": (
        ("after the optimizer is loaded", ('-for group in optimizer.param_groups: group["lr"] = lr',)),
    ),
    "accumulated_gradients_lost": (
        (SAVED, ("-if batches % save_every == 0:", "+if not batches % accumulation and updates % save_every == 0:")),
    ),
}
_RESUMES: Mapping[Stack, tuple[Hunk, ...]] = {
    "Trainer": (("in the resume command", ("-trainer.train()", "+trainer.train(resume_from_checkpoint=True)")),),
    "Lightning": (("in the resume command", ("-trainer.fit(model)", '+trainer.fit(model, ckpt_path="last")')),),
    "accelerate": (("in the resume command", ("+accelerator.load_state(newest_checkpoint)",)),),
}


def with_patch(
    cause: Cause | None, symptom: Symptom | None, divergence: Divergence | None, review: Review | None
) -> Cause | None:
    """A cause with its repair, where one is known; the review may know where the checkpoint is written."""
    if cause is None or symptom is None or divergence is None:
        return cause
    stack = stack_of(symptom.straight)
    hunks, fix = _hunks(cause, symptom, divergence, stack), _fix(cause, divergence, stack)
    found = review.findings if review is not None else ()
    places = [f"{one.path}:{one.line}" for one in found if one.rule in _ON_SAVING and one.path and one.line]
    return cause.model_copy(update={"patch": patch(hunks, places[0] if places else ""), "fix": fix})


def patch(hunks: Iterable[Hunk], saved_at: str = "") -> str:
    """As a unified diff whose places are words; `saved_at` is the line that writes the checkpoint, if it is known."""
    shown = []
    for where, lines in hunks:
        shown += [f"@@ {where}{f' ({saved_at})' if saved_at and where == SAVED else ''} @@", *lines]
    return "\n".join(shown)


def with_resume_patch(cause: Cause, straight: TrajectoryEvidence) -> Cause:
    """A cause, with how the stack that was seen at work is told to go on from a checkpoint."""
    return cause.model_copy(update={"patch": patch(_RESUMES.get(stack_of(straight), ()))})


def _fix(cause: Cause, divergence: Divergence, stack: Stack) -> str:
    """What to do in a sentence, less what was seen to be done."""
    rows = [row for row in _wrong(divergence) if row.piece in _OF_CAUSE.get(cause.kind, ())]
    if cause.kind == "rng_not_restored":
        rows = _generators(divergence)
    if not rows or not all(row.in_file is not None and row.in_file.is_whole for row in rows):
        is_own = not rows or cause.kind == "rng_not_restored"  # Lightning leaves generators to the script
        return cause.fix if is_own else _LEFT_OUT.get(stack, cause.fix)
    if all(map(_is_loaded, rows)):
        return "The checkpoints hold it, and something loaded it: look at what was loaded, and what changed it later."
    if cause.kind == "rng_not_restored":
        return f"The checkpoints hold a state of that kind, and nothing set it: set it {LAST}."
    what = (
        "not all of it was loaded"
        if any(row.live is not None and row.live.num for row in rows)
        else "nothing loaded it"
    )
    return f"The checkpoints hold it, and {what}: load it once everything is built."


def _wrong(divergence: Divergence) -> list[StateRow]:
    rows = divergence.state.rows if divergence.state is not None else ()
    return [row for row in rows if row.live is not None and not row.live.is_whole]


def _generators(divergence: Divergence) -> list[StateRow]:
    """Those that came back another."""
    return [row for row in _wrong(divergence) if row.piece.endswith("'s generator")]


def _hunks(cause: Cause, symptom: Symptom, divergence: Divergence, stack: Stack) -> tuple[Hunk, ...]:
    rows = {row.piece: row for row in (divergence.state.rows if divergence.state is not None else ())}
    generators = _generators(divergence)
    match cause.kind:
        case "rng_not_restored" if stack == "plain":
            return _state_hunks(generators, LAST)
        case "rng_drawn_from_after_the_restore" if stack == "plain":
            loads = [_PIECES[_piece(row)][1] for row in generators if _piece(row) in _PIECES]
            return _moved(loads, LOADED, LAST)
        case "rng_seeded_after_the_restore":
            seeds = [f"{name}(seed)" for row in generators for name in row.calls if "seed" in name]
            return _moved(seeds, "after the checkpoint is loaded", "first of all in the process")
        case "unseeded_randomness":
            return _seed_hunks(symptom)
        case "module_attributes_not_restored":
            return _attribute_hunks(symptom)
        case "nondeterministic_operator":
            is_set = observations.settings(symptom.left, symptom.first.step).get("deterministic_algorithms")
            return () if is_set else (("first of all in the process", ("+torch.use_deterministic_algorithms(True)",)),)
    loaded = [e for e in symptom.right.events if e.kind == "load_state" and e.fields.get("what") == "module"]
    in_file = _in_checkpoints(symptom, divergence)
    # The model, and another module; an average that is saved is loaded somehow, and its count of updates forgotten.
    calls = ("load_state_dict",) if len(loaded) > 1 or in_file.is_whole else ()
    rows[_AVERAGE] = StateRow(piece=_AVERAGE, in_file=in_file, calls=calls)
    pieces = [rows.get(name, StateRow(piece=name)) for name in _OF_CAUSE.get(cause.kind, ())]
    if pieces and stack in ("Trainer", "Lightning"):
        return ()  # they save and load these themselves
    return _state_hunks(pieces, LOADED) or _ALWAYS.get(cause.kind, ())


def _in_checkpoints(symptom: Symptom, divergence: Divergence) -> Share:
    """Of a file's tensors that differ, how many the straight run's checkpoints hold, as they are or at another time.

    A weight and its average have one name and one shape, below two keys.
    """
    files = [file for file in symptom.straight.files if file.role == "checkpoint"]
    held = digests_in(files)
    tensors = [
        (re.split(r"[/:]", t.name)[-1], t.shape) for f in files if f.content is not None for t in f.content.tensors
    ]
    counts, wanted = Counter(tensors), divergence.tensors
    num_files = max(1, sum(file.content is not None for file in files))
    found = [
        one.straight in held or counts[one.name.rpartition(": ")[2], tuple(one.shape)] > num_files for one in wanted
    ]
    return Share(num=sum(found), of=len(found))


def _piece(row: StateRow) -> str:
    return "cuda's generators" if row.piece.startswith("cuda") else row.piece


def _state_hunks(rows: Iterable[StateRow], where: str) -> tuple[Hunk, ...]:
    """What is missing in the file is saved, and what nothing loaded is loaded."""
    saves, loads = dict[str, None](), dict[str, None]()
    for row in rows:
        if (known := _PIECES.get(_piece(row))) is None:
            continue
        if row.in_file is None or not row.in_file.is_whole:
            saves[f"+    {known[0]}"] = None
        if not _is_loaded(row):
            loads[f"+{known[1]}"] = None
    return tuple((place, tuple(lines)) for place, lines in ((SAVED, saves), (where, loads)) if lines)


def _is_loaded(row: StateRow) -> bool:
    """Whether something set or loaded it; a seed is neither, nor is a load that left what a process begins with."""
    if row.after_step == 0 and row.in_file is not None and row.in_file.is_whole:
        return False
    return any("set" in name.rpartition(".")[2] or "load" in name for name in row.calls)


def _moved(lines: Iterable[str], before: str, after: str) -> tuple[Hunk, ...]:
    """The same lines at another place."""
    kept = tuple(dict.fromkeys(lines))
    return ((before, tuple(f"-{line}" for line in kept)), (after, tuple(f"+{line}" for line in kept))) if kept else ()


def _seed_hunks(symptom: Symptom) -> tuple[Hunk, ...]:
    """The seeds that nobody set, unless the generators are equal all the same."""
    if symptom.first.phase == "step" and is_same(symptom, "rng", symptom.first.step):
        return ()
    seeded = {str(e.fields.get("function")).rpartition(".")[0] for e in symptom.left.events if e.kind == "seed"}
    lines = tuple(f"+{line}" for module, line in _SEEDS.items() if module not in seeded)
    return (("first of all in the process", lines),) if lines else ()


def _attribute_hunks(symptom: Symptom) -> tuple[Hunk, ...]:
    """The numbers of the first module that lost some."""
    names = [name.rpartition(".") for name in observations.lost_attributes(symptom)]
    keys = [key for module, _, key in names if module == names[0][0] and key.isidentifier()]
    if not keys:
        return ()
    held = ", ".join(f'"{key}": self.{key}' for key in keys[:4])
    lines = ["+def get_extra_state(self):", f"+    return {{{held}}}", "+def set_extra_state(self, state):"]
    lines.append("+    vars(self).update(state)")
    return ((f"in the class of {names[0][0] or 'the model'}", tuple(lines)),)


def stack_of(straight: TrajectoryEvidence) -> Stack:
    """Who saves and loads, told by what the checkpoints are called, and by what is in them."""
    paths = {file.path for file in straight.files} | SavedFiles(straight.runs).paths
    names = {path.rpartition("/")[2] for path in paths}
    if names & {"training_args.bin", "trainer_state.json"}:
        return "Trainer"
    if any(name.startswith("random_states_") for name in names):
        return "accelerate"
    contents = [file.content for file in straight.files if file.content is not None]
    keys = {path for content in contents if content.tensors for path, _ in content.values}
    return "Lightning" if "pytorch-lightning_version" in keys else "plain"
