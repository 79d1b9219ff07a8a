"""What a verdict says, in the words every presenter shares: console, markdown, HTML and JUnit tell the same story."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from harness.report.fields import count, integer, line, rows, short, size, table, text, texts
from harness.report.replay import tier_sentence

VERDICTS = ("CERTIFIED", "DIVERGED", "INCONCLUSIVE", "VETOED", "TAMPERED")
NOT_CHECKED = "NOT_CHECKED"
_ORACLES = {
    "rerun": ("Rerun", "Trained again, does it give the same bits?"),
    "resume": ("Resume", "Killed and resumed, does it give the same bits?"),
    "rebuild": ("Rebuild", "Built again from nothing, is the image the same?"),
    "replay": ("Replay", "Run again from the archived commit, does it give the same bits?"),
}
_PLACES = {
    "micro_batch": "after the backward of micro-batch {micro_batch} of step {step}",
    "before_step": "before the first forward of step {step}",
    "after_step": "right after step {step}",
    "before_write": "before a checkpoint was written, {step} steps complete",
    "in_write": "inside a checkpoint's write, after {byte} bytes, {step} steps complete",
    "after_write": "right after a checkpoint was written, {step} steps complete",
    "stop": "after step {step}: a planned stop of a shortened copy",
    "first_difference": "at the first difference, which is at step {step}",
}
_CONTROLS = {
    "tensor_bit": "One bit changed in a copy of a tensor",
    "ledger_digit": "One digit changed in a copy of the ledger",
    "weights_moved": "Weights before against weights after training",
    "flip_param": "One bit of a live parameter flipped while training",
    "flip_optim": "One bit of an optimizer moment flipped in a checkpoint",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckText:
    """One oracle in words; empty texts where the verdict says nothing.

    Attributes:
        key: `rerun`, `resume`, `rebuild` or another key of the verdict's `oracles`.
        verdict: CERTIFIED, DIVERGED, INCONCLUSIVE or NOT_CHECKED; INCONCLUSIVE for anything else.
        compared: how much was compared.
        details: one line each, such as where a resumed run started.
    """

    key: str
    title: str
    question: str
    verdict: str
    required: bool
    how: str
    reason: str
    compared: str
    bound: str
    details: tuple[str, ...]


def overall(verdict: dict[str, Any]) -> str:
    """The verdict's word; INCONCLUSIVE for a missing or unknown one, never CERTIFIED by default."""
    word = verdict.get("verdict")
    return word if isinstance(word, str) and word in VERDICTS else "INCONCLUSIVE"


def is_replay(verdict: dict[str, Any]) -> bool:
    """Whether this is a replay's verdict, not that of a certify."""
    return verdict.get("kind") == "replay"


def kind_of(verdict: dict[str, Any]) -> str:
    """`certify` or `replay`: which command the verdict is of."""
    return "replay" if is_replay(verdict) else "certify"


def words(verdict: str) -> str:
    """A verdict for a sentence: `NOT_CHECKED` becomes `not checked`."""
    return verdict.replace("_", " ").lower()


def oracle_texts(verdict: dict[str, Any]) -> tuple[CheckText, ...]:
    """The three oracles in their order, those of a replay first, then any other that the verdict has."""
    given = table(verdict.get("checks"))
    keys = ["replay", "rebuild", "rerun", "resume"] if is_replay(verdict) else ["rerun", "resume", "rebuild"]
    keys += [key for key in given if key not in keys]
    return tuple(_oracle_text(key, table(given.get(key))) for key in keys)


def _oracle_text(key: str, oracle: dict[str, Any]) -> CheckText:
    title, question = _ORACLES.get(key, (key, ""))
    word = oracle.get("verdict", NOT_CHECKED)
    known = isinstance(word, str) and word in (*VERDICTS, NOT_CHECKED)
    return CheckText(
        key=key,
        title=title,
        question=question,
        verdict=str(word) if known else "INCONCLUSIVE",
        required=oracle.get("required") is True,
        how=line(oracle.get("how")),
        reason=line(oracle.get("reason")),
        compared=_amount(oracle),
        bound=line(oracle.get("bound")),
        details=tuple(_resume_text(row) for row in rows(oracle.get("resumes")))
        + _image_texts(texts(oracle.get("image_ids"))),
    )


def _amount(oracle: dict[str, Any]) -> str:
    """How much one oracle compared; what is rebuilt is compared by its ids."""
    ids = texts(oracle.get("image_ids"))
    return count(len(ids), "image id") if ids else compared_text(oracle.get("compared"))


def _resume_text(row: dict[str, Any]) -> str:
    run, held = (line(row.get(key)) or "?" for key in ("run", "checkpoint_step"))
    started = integer(row.get("started_after_step"))
    source = line(row.get("step_source"))
    found = f" (known by {source})" if source not in ("", "content") else ""
    first = f"first step {started + 1}" if started is not None else "first step not known"
    return f"run {run}: checkpoint of step {held}, {first}{found}"


def _image_texts(ids: list[str]) -> tuple[str, ...]:
    """The images' ids, once where all are the same."""
    if len(ids) > 1 and len(set(ids)) == 1:
        return (f"{len(ids)} builds, each {short(ids[0])}",)
    return tuple(f"image {short(image)}" for image in ids)


def compared_text(compared: object) -> str:
    """`24 steps, 2,304 tensors, 1.2 GiB, 5 files`: what is zero or absent is left out."""
    amounts = table(compared)
    parts = [count(amounts.get(f"{noun}s"), noun) for noun in ("step", "tensor")]
    parts += [size(amounts.get("bytes")), count(amounts.get("files"), "file")]
    return ", ".join(part for part in parts if part and not part.startswith("0 ")) or "nothing"


def place(interruption: dict[str, Any]) -> str:
    """Where a run was interrupted, in words."""
    kind = line(interruption.get("kind"))
    pattern = _PLACES.get(kind)
    if pattern is None:
        step = line(interruption.get("step"))
        return f"{kind or 'unknown'} at step {step or '?'}"
    if kind == "micro_batch" and integer(interruption.get("micro_batch")) is None:
        pattern = "in the middle of step {step}"
    if kind == "in_write" and integer(interruption.get("byte")) is None:
        pattern = "inside a checkpoint's write, {step} steps complete"
    values = {key: line(interruption.get(key)) or "?" for key in ("micro_batch", "step", "byte")}
    return pattern.format(**values)


def came(interruption: dict[str, Any]) -> bool:
    """Whether a process ended that was to be killed here: what comes first may have ended the whole training."""
    ended = integer(interruption.get("exit_code")) is not None or bool(line(interruption.get("signal")))
    return ended or interruption.get("landed") is not False


def ending(interruption: dict[str, Any]) -> str:
    """How the process ended: `SIGKILL from outside, exit code 137`."""
    if not came(interruption):
        return "no such process"
    origin = {"outside": " from outside", "self": " to itself"}.get(line(interruption.get("by")), "")
    signal = line(interruption.get("signal"))
    parts = [f"{signal}{origin}" if signal else "no signal"]
    if integer(interruption.get("exit_code")) is not None:
        parts.append(f"exit code {interruption['exit_code']}")
    if interruption.get("oom_killed") is True:
        parts.append("out of memory")
    return ", ".join(parts)


def control_title(check: dict[str, Any]) -> str:
    """What a control did, in words; its name if it is none we know."""
    name = line(check.get("name"))
    return _CONTROLS.get(name, name or "unnamed")


def divergence_rows(verdict: dict[str, Any]) -> list[tuple[str, str]]:
    """The first divergence as (label, value), without what is absent."""
    found = table(verdict.get("first_divergence"))
    labels = ("check", "trajectory", "run", "step", "micro_batch", "stream", "tensor", "operator", "left", "right")
    return [(label.replace("_", "-"), shown) for label in labels if (shown := line(found.get(label)))]


def divergence_sentence(verdict: dict[str, Any]) -> str:
    """One sentence: where the bits first differ; empty if the verdict names no place."""
    found = table(verdict.get("first_divergence"))
    if not found:
        return ""
    parts = []
    if step := line(found.get("step")):
        micro_batch = line(found.get("micro_batch"))
        parts.append(f"at step {step}" + (f", micro-batch {micro_batch}" if micro_batch else ""))
    if stream := line(found.get("stream")):
        parts.append(f"in stream {stream}")
    if tensor := line(found.get("tensor")):
        parts.append(f"tensor {tensor}")
    if operator := line(found.get("operator")):
        parts.append(f"operator {operator}")
    if trajectory := line(found.get("trajectory")):
        run = line(found.get("run"))
        parts.append(f"of the {trajectory} trajectory" + (f", run {run}" if run else ""))
    return "First difference " + ", ".join(parts) if parts else ""


def environment_rows(verdict: dict[str, Any]) -> list[tuple[str, str, str, str]]:
    """What differs from the lock: (kind, name, locked, found); empty for the locked environment and for containers."""
    difference = table(verdict, "environment", "difference")
    found = []
    if python := table(difference.get("python")):
        found.append(("changed", "python", line(python.get("locked")), line(python.get("found"))))
    for kind in ("missing", "changed", "added"):
        for row in rows(difference.get(kind)):
            found.append((kind, line(row.get("name")) or "?", line(row.get("locked")), line(row.get("found"))))
    return found


def environment_sentence(verdict: dict[str, Any]) -> str:
    """That the runs had another environment than the locked one, with how many packages; empty if they had not."""
    if not environment_rows(verdict):
        return ""
    environment = table(verdict.get("environment"))
    counts = table(environment.get("counts"))  # of all packages, however many rows a presenter shows
    amounts = [f"{counts[kind]} {kind}" for kind in ("missing", "changed", "added") if integer(counts.get(kind))]
    python, lock = line(environment.get("python")) or "?", line(environment.get("lock")) or "the image's lock"
    return f"NOT the locked environment: Python {python} against {lock}: {', '.join(amounts) or 'another Python'}"


def claims(verdict: dict[str, Any]) -> list[str]:
    """What this verdict claims, one sentence per certified oracle; empty if none is certified."""
    certified = {oracle.key: oracle for oracle in oracle_texts(verdict) if oracle.verdict == "CERTIFIED"}
    found = []
    if "rerun" in certified:
        found.append(
            "Rerun: from the same commit, image, inputs and kind of hardware, training gave the same bits again"
            f" ({certified['rerun'].how or 'see the oracle'})."
        )
    if "resume" in certified:
        found.append(
            "Resume: killed at the points listed here and resumed from its own checkpoints, it gave the same bits as"
            " without a kill, and every resumed run went on right after its checkpoint's step."
        )
    if "rebuild" in certified:
        found.append("Rebuild: built again from nothing but its lockfiles, the image has the same id.")
    if scope := scope_of(verdict):
        found = [f"Only for {scope}: {claim}" if not claim.startswith("Rebuild") else claim for claim in found]
    if "replay" in certified:
        where = tier_sentence(verdict).removeprefix("Replayed ") or "today"
        found.append(f"Replay: trained again {where}, from an archived commit's code and locks, it gave the same bits.")
    others = [oracle for key, oracle in certified.items() if key not in ("rerun", "resume", "rebuild", "replay")]
    return found + [f"{oracle.title}: {oracle.question or 'held.'}" for oracle in others]


def non_claims(verdict: dict[str, Any]) -> list[str]:
    """What no certificate claims, whatever the verdict."""
    kills = "That a kill at any other point would be survived: points picked by hand carry no bound."
    if is_replay(verdict):
        kills = "That a kill would be survived: a replay trains straight through and kills nothing."
    return [
        "That another CPU or GPU model, driver or number of threads gives these bits: nothing was run there.",
        kills,
        "That the model is good, the data is right or the loss is low: bits were compared, not quality.",
        "That nobody forged the evidence: digests of tensors detect accidents. Files are pinned with sha256 for that.",
    ]


def title_of(verdict: dict[str, Any]) -> str:
    """The experiment's name, or that it is not known; and which prefix was run, where it was not the whole."""
    name, scope = line(verdict.get("experiment")) or "unnamed experiment", scope_of(verdict)
    return f"{name} ({scope})" if scope else name


def scope_of(verdict: dict[str, Any]) -> str:
    """`the first 20 of 60 steps`; empty for the whole training."""
    scope = verdict.get("scope")
    if not scope:
        return ""
    steps, whole = (line(table(scope).get(key)) or "?" for key in ("steps", "of"))
    return f"the first {steps} of {whole} steps"


def summary_of(verdict: dict[str, Any]) -> str:
    """The verdict's own sentence, or that there is none."""
    return text(verdict.get("summary")) or "The verdict carries no summary."


def commit_of(verdict: dict[str, Any]) -> str:
    """The commit, and whether the tree had changes that are not in it."""
    commit = line(verdict.get("commit"))
    return f"{commit} with uncommitted changes" if commit and verdict.get("dirty") is True else commit
