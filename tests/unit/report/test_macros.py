from __future__ import annotations

import math
import re

import pytest

from harness.report.curves import Curve
from harness.report.macros import ABSENT, PREFIX, escaped, macros, render_macros
from tests import ROOT
from tests.made import hostile, replay_data
from tests.made import report_data as data

GUIDE = ROOT / "docs" / "guide" / "report.md"
LINE = re.compile(r"\\providecommand\{\\(Repro[A-Za-z]+)\}\{\}\\renewcommand\{\\\1\}\{(.*)\}")
# What LaTeX may be given: its plain characters, and the commands that stand for the others.
HARMLESS = re.compile(
    r"(?:[A-Za-z0-9 .,:;!?()*+/=@'\[\]-]|\{\}|\\[{}$&#%_]|\\char34\{\}|\\`\{\}"
    r"|\\text(?:backslash|asciicircum|asciitilde|less|greater|bar)\{\})*"
)


def values(text: str) -> dict[str, str]:
    lines = [line for line in text.splitlines() if not line.startswith("%")]
    found = [LINE.fullmatch(line) for line in lines]
    assert all(found), [line for line, match in zip(lines, found, strict=True) if not match]
    return {match[1]: match[2] for match in found if match}


@pytest.mark.parametrize(
    ("char", "shown"),
    [
        ("\\", r"\textbackslash{}"),
        ("{", r"\{"),
        ("}", r"\}"),
        ("$", r"\$"),
        ("&", r"\&"),
        ("#", r"\#"),
        ("%", r"\%"),
        ("_", r"\_"),
        ("^", r"\textasciicircum{}"),
        ("~", r"\textasciitilde{}"),
        ("<", r"\textless{}"),
        (">", r"\textgreater{}"),
        ("|", r"\textbar{}"),
        ('"', r"\char34{}"),
        ("`", r"\`{}"),
        ("é", "[U+00E9]"),
        ("--", "-{}-"),
        ("''", "'{}'"),
        (",,", ",{},"),
        ("a\n\tb", "a b"),
        ("\x00", "[U+0000]"),
    ],
)
def test_every_special_character_is_spelled_out(char: str, shown: str) -> None:
    assert escaped(char) == shown
    assert escaped(f"x{char}y") == f"x{shown}y"


def test_every_printable_character_is_plain_or_spelled_out() -> None:
    for number in range(0x20, 0x17F):
        assert HARMLESS.fullmatch(escaped(chr(number))), chr(number)
        assert HARMLESS.fullmatch(escaped(chr(number) * 3)), chr(number)


@pytest.mark.parametrize("attack", [*hostile.ATTACKS, r"\input{/etc/passwd}", "}\\write18{ls}{", "%", "^^5cinput"])
def test_hostile_texts_cannot_leave_their_macro(attack: str) -> None:
    verdict, manifest = (
        hostile.with_texts(data.verdict(data.DIVERGED), attack),
        hostile.with_texts(data.manifest(), attack),
    )
    for name, value in values(render_macros(verdict, manifest)).items():
        assert HARMLESS.fullmatch(value), (name, value)


def test_the_figures_are_those_of_the_verdict() -> None:
    found = values(render_macros(data.verdict(), data.manifest(), data.curves()))
    expected = {
        "Verdict": "CERTIFIED",
        "Commit": data.CERTIFIED["commit"],
        "CommitShort": "1a2b3c4",
        "Steps": "24",
        "ComparedSteps": "72",
        "Tensors": "13,824",
        "Bytes": "906,166,272",
        "Size": "864.2 MiB",
        "Kills": "3",
        "KillSteps": "9, 18, 20",
        "Image": data.DIGEST,
        "Resume": "CERTIFIED",
        "Replay": ABSENT,
        "LossFinal": f"{data.loss_at(24):.4f}",
        "Seed": "1234",
        "Took": "2 min 00 s",
        "Dirty": "clean",
    }
    assert {name: found[PREFIX + name] for name in expected} == expected


def test_a_prefix_is_never_quoted_as_the_whole() -> None:
    found = values(render_macros(data.verdict(scope={"steps": 20, "of": 60}), data.manifest()))
    assert (found["ReproScope"], found["ReproSteps"]) == ("the first 20 of 60 steps", "20")


def test_a_replay_has_the_word_of_its_check() -> None:
    found = values(render_macros(data.verdict(replay_data.DIVERGED), data.manifest()))
    assert (found["ReproReplay"], found["ReproResume"]) == ("DIVERGED", "NOT CHECKED")


def test_the_gpu_is_the_one_the_runs_were_given() -> None:
    gpu = {"memory_bytes": 24 << 30, "driver": "580.65.06", "cuda": "13.0"}
    gpus = [{"uuid": "GPU-1", "name": "NVIDIA One", **gpu}, {"uuid": "GPU-2", "name": "NVIDIA Two", **gpu}]
    environment = {"host": {"gpus": gpus}, "process": {}, "gpu": {"uuids": ["GPU-2"], "route": "x"}}
    curve = Curve("straight", 1, (1, 2), (2.0, 1.5), (0.1, 0.1), (0.5, 0.7), (1 << 30, 2 << 30), (3 << 30, 1 << 30))
    found = values(render_macros(data.verdict(), data.manifest(environment=environment), [curve]))
    assert (found["ReproGpu"], found["ReproPeakGpuMemory"]) == ("NVIDIA Two", "3.0 GiB")
    assert (found["ReproStepTime"], found["ReproPeakMemory"]) == ("0.6 s", "2.0 GiB")


def test_the_macros_are_the_same_whatever_the_verdict_and_absent_ones_say_so() -> None:
    full, empty = (
        values(render_macros(*given))
        for given in ((data.verdict(), data.manifest()), (data.verdict(data.INCONCLUSIVE), None))
    )
    assert list(full) == list(empty)
    assert empty["ReproVerdict"] == "INCONCLUSIVE" and empty["ReproImage"] == empty["ReproItemsHeld"] == ABSENT
    assert all(re.fullmatch("[A-Za-z]+", name) for name in full), "TeX takes letters only"


def test_the_guide_names_every_macro() -> None:
    named = set(re.findall(r"\\Repro([A-Za-z]+)", GUIDE.read_text()))
    assert named == set(macros(data.verdict(), None))


@pytest.mark.parametrize(
    ("losses", "first", "final"),
    [
        ([3.0, 1.0, math.nan], "3.0000", ABSENT),
        ([math.nan, 2.0], ABSENT, "2.0000"),
        ([0.0, 3e-7], "0.0000", "3e-07"),
        ([1e29, 123456.5], "1e+29", "123456.5000"),
    ],
)
def test_a_loss_is_that_of_its_step_or_not_known(losses: list[float], first: str, final: str) -> None:
    found = values(render_macros(data.verdict(), None, [data.curve_of_losses("straight", losses)]))
    assert (found["ReproLossFirst"], found["ReproLossFinal"]) == (first, final)
