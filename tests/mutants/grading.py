"""What a verdict is worth: caught, located, explained; and what simpler checks of the same outputs would have seen."""

import difflib
import hashlib
import json
import math
import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import numpy
import yaml
from safetensors import deserialize

from harness.documents.verdict import Cause, Verdict
from tests.mutants.catalogue import HERE, Mutant, Right

CauseGrade = Literal["right", "partly", "unknown", "wrong"]
OTHERS = {
    "final_loss": "the last step's loss, equal",
    "losses": "every step's loss, allclose (1e-5)",
    "weights": "the final weights, torch.allclose",
    "weights_hash": "a hash of the final weights",
    "file_hash": "sha256 of every output",
}


@dataclass(frozen=True)
class Grade:
    """One mutant, or clean control, and what was said of it.

    Attributes:
        located: whether check, step and stream are right; None if the mutant has none to name, or was vetoed unseen.
        cause: None for a clean control.
        said: the verdict, the first divergence and the cause in the harness's words.
        others: check -> whether it saw a difference; empty if a process left no outputs to compare.
    """

    id: str
    is_clean: bool
    caught: bool
    located: bool | None
    cause: CauseGrade | None
    said: dict[str, object]
    others: dict[str, bool]

    def to_json(self) -> str:
        return json.dumps(asdict(self), indent=1)


def grade(mutant: Mutant, verdict: Verdict, folder: Path) -> Grade:
    """Hold a verdict against what is right; `folder` is the run's."""
    return Grade(
        id=mutant.id,
        is_clean=mutant.is_clean,
        caught=verdict.verdict in (*mutant.right.verdict, *(() if mutant.is_clean else ("VETOED",))),
        located=None if mutant.is_clean else _is_located(mutant, verdict),
        cause=None if mutant.is_clean else _cause_of(mutant, verdict),
        said=_said(verdict),
        others=seen_by_others(mutant, folder),
    )


def _is_located(mutant: Mutant, verdict: Verdict) -> bool | None:
    right, first = mutant.right, verdict.first_divergence
    if not right.step or (verdict.verdict == "VETOED" and first is None):
        return None
    if first is None:
        return False
    is_stream = not right.stream or first.stream in right.stream
    return is_stream and first.step in right.step and right.check in ("", first.check)


def _cause_of(mutant: Mutant, verdict: Verdict) -> CauseGrade:
    if verdict.verdict == "VETOED" and verdict.cause is None:
        return "right" if _names_the_place(mutant, verdict) else "wrong"
    return grade_cause(mutant.right, verdict.cause)


def grade_cause(right: Right, cause: Cause | None) -> CauseGrade:
    """Whether a cause says what is wrong, by its class and by its own words; the advice is not counted."""
    if cause is None or cause.kind == "unknown":
        return "unknown"
    words = " ".join((cause.title, *cause.evidence))
    is_class = cause.kind in right.cause or ("any" in right.cause and cause.kind not in right.partly)
    if is_class and re.search(right.words, words, re.IGNORECASE):
        return "right"
    return "partly" if cause.kind in (*right.cause, *right.partly) else "wrong"


def _names_the_place(mutant: Mutant, verdict: Verdict) -> bool:
    """Whether a veto stands at a line that the mutant changed, names what it took away, or says the right words."""
    base = (HERE / "bases" / f"{mutant.base}.py").read_text(encoding="utf-8").splitlines()
    blocks = difflib.SequenceMatcher(None, base, mutant.script.splitlines(), autojunk=False).get_opcodes()
    changed = {line + 1 for what, _, _, begin, end in blocks if what != "equal" for line in range(begin, end)}
    findings = verdict.review.findings if verdict.review is not None else ()
    messages = [finding.message for finding in findings if finding.severity == "veto"]
    named = [re.search(r'"(\w+)"', message) for message in messages]
    if mutant.right.words and re.search(mutant.right.words, " ".join(messages)):
        return True
    return any(finding.line in changed for finding in findings) or any(
        name is not None and name[0] in old for name in named for old, _ in mutant.replace
    )


def _said(verdict: Verdict) -> dict[str, object]:
    first, cause = verdict.first_divergence, verdict.cause
    return {
        "verdict": verdict.verdict,
        "first": None if first is None else [first.check, first.step, first.stream, first.tensor],
        "cause": None if cause is None else [cause.kind, cause.title, *cause.evidence],
        "problems": list(verdict.problems),
        "vetoes": list(verdict.review.vetoes) if verdict.review is not None else [],
    }


def seen_by_others(mutant: Mutant, folder: Path) -> dict[str, bool]:
    """Which checks in OTHERS see a difference between the straight training and the rerun, or the resumed one."""
    one, two = folder / "straight", folder / ("rerun" if mutant.right.check == "rerun" else "resumed")
    declared = yaml.safe_load(mutant.declared)["outputs"]
    left, right = (dict(_files(side, declared)) for side in (one, two))
    if not left:
        return {}
    if left.keys() != right.keys():
        return dict.fromkeys(OTHERS, True)
    losses, others = _losses(one), _losses(two)
    weights = [name for name in left if name.endswith(".safetensors") and "average" not in name and "best" not in name]
    tensors = [(_tensors(left[name]), _tensors(right[name])) for name in weights]
    is_close = all(a.keys() == b.keys() and all(_is_close(a[key], b[key]) for key in a) for a, b in tensors)
    last = max(losses, default=0)
    return {
        "final_loss": losses.get(last) != others.get(last),
        "losses": losses.keys() != others.keys()
        or not all(numpy.allclose(losses[n], others[n], rtol=1e-5, atol=1e-5) for n in losses),
        "weights": not is_close,
        "weights_hash": any(_bits(a) != _bits(b) for a, b in tensors),
        "file_hash": any(_sha256(left[name]) != _sha256(right[name]) for name in left),
    }


def _files(trajectory: Path, patterns: list[str]) -> list[tuple[str, Path]]:
    output = trajectory / "output"
    return [(path.relative_to(output).as_posix(), path) for glob in patterns for path in sorted(output.glob(glob))]


def _losses(trajectory: Path) -> dict[int, list[float]]:
    """Step -> losses, as the last process that reached the step computed them."""
    found = {}
    for ledger in sorted(trajectory.glob("runs/*/ledger.jsonl"), key=lambda path: int(path.parent.name)):
        for line in ledger.read_text(encoding="ascii").splitlines():
            record = json.loads(line) if line.endswith("}") else {}
            if record.get("kind") == "step":
                found[record["step"]] = [float.fromhex(value) for value in record.get("loss", ())]
    return found


_DTYPES = {"F32": "<f4", "F16": "<f2", "F64": "<f8", "I64": "<i8"}


def _tensors(path: Path) -> dict[str, numpy.ndarray]:
    """The tensors of a safetensors file; bfloat16, which numpy has not, as the float32 of the same value."""
    found = {}
    for name, entry in deserialize(path.read_bytes()):
        if entry["dtype"] == "BF16":
            array = (numpy.frombuffer(entry["data"], "<u2").astype("<u4") << 16).view("<f4")
        else:
            array = numpy.frombuffer(entry["data"], _DTYPES[entry["dtype"]])
        found[name] = array.reshape(entry["shape"])
    return found


def _is_close(one: numpy.ndarray, two: numpy.ndarray) -> bool:
    return one.shape == two.shape and numpy.allclose(one, two, rtol=1e-5, atol=1e-8)


def _bits(tensors: dict[str, numpy.ndarray]) -> list[tuple[str, str, tuple[int, ...], bytes]]:
    return [(name, str(array.dtype), array.shape, array.tobytes()) for name, array in sorted(tensors.items())]


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def exact_interval(hits: int, total: int, level: float = 0.95) -> tuple[float, float]:
    """The interval of Clopper and Pearson (1934) for `hits` of `total`, by bisection of the binomial's tails."""

    def at_most(count: int, share: float) -> float:
        return sum(math.comb(total, n) * share**n * (1 - share) ** (total - n) for n in range(count + 1))

    def where(is_below, low: float = 0.0, high: float = 1.0) -> float:
        for _ in range(60):
            middle = (low + high) / 2
            low, high = (middle, high) if is_below(middle) else (low, middle)
        return low

    tail = (1 - level) / 2
    lower = 0.0 if hits == 0 else where(lambda share: 1 - at_most(hits - 1, share) < tail)
    upper = 1.0 if hits == total else where(lambda share: at_most(hits, share) > tail)
    return lower, upper
