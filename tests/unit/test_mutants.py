"""The benchmark of bugs without training: every mutant can be made, and the arithmetic of the table is right."""

import re

import pytest
import yaml

from harness.documents.experiment import parse_experiment
from harness.documents.verdict import Cause
from tests import ROOT
from tests.mutants.__main__ import BEGIN, END, PAGE, table, write_table
from tests.mutants.catalogue import HERE, Mutant, Right, read_catalogue
from tests.mutants.grading import Grade, exact_interval, grade_cause

CATALOGUE = read_catalogue()
BASES = sorted(path.stem for path in (HERE / "bases").glob("*.py"))


def test_there_are_fifty_mutants_of_every_class_and_thirty_clean_controls():
    groups = [mutant.group for mutant in CATALOGUE.values()]
    assert set(groups) == {*"ABCDEF", "clean"}
    assert groups.count("clean") >= 30 and len(groups) - groups.count("clean") >= 50
    assert {mutant.base for mutant in CATALOGUE.values()} == set(BASES)


@pytest.mark.parametrize("mutant", CATALOGUE.values(), ids=list(CATALOGUE))
def test_a_mutant_can_be_made_and_says_what_is_right(mutant):
    compile(mutant.script, mutant.id, "exec")
    parse_experiment(mutant.declared, mutant.id)
    re.compile(mutant.right.words)
    base = (HERE / "bases" / f"{mutant.base}.py").read_text(encoding="utf-8")
    assert (mutant.script == base) == mutant.is_clean
    assert mutant.is_clean == (mutant.right == Right(verdict=("CERTIFIED",)))
    assert mutant.is_clean or mutant.right.cause
    assert bool(mutant.right.step) <= bool(mutant.right.check)


@pytest.mark.parametrize("base", BASES)
def test_a_base_declares_files_that_its_script_writes(base):
    declared = yaml.safe_load((HERE / "bases" / f"{base}.yaml").read_text(encoding="utf-8"))
    assert declared["config"]["steps"] == declared["steps"]
    assert {"outputs", "checkpoints", "interruptions"} <= declared.keys()


def test_a_text_that_is_not_there_once_is_refused():
    with pytest.raises(ValueError, match=r"'no such line' is 0 times in gan\.py"):
        _ = Mutant("X", "A", "", "gan", replace=(("no such line", ""),)).script


def test_new_lines_are_indented_as_the_line_they_replace():
    text = Mutant("X", "A", "", "gan", replace=(("step += 1", "if step:\n    pass\nstep += 1"),)).script
    assert "            if step:\n                pass\n            step += 1\n" in text


def test_the_harness_knows_no_mutant():
    text = "".join(path.read_text(encoding="utf-8") for path in sorted((ROOT / "harness").rglob("*.py")))
    assert "tests.mutants" not in text and "tests/mutants" not in text
    bugs = [mutant for mutant in CATALOGUE.values() if not mutant.is_clean]
    assert [mutant.id for mutant in bugs if mutant.id in text or mutant.title in text] == []


@pytest.mark.parametrize(
    ("hits", "total", "low", "high"),
    [
        (0, 10, 0.0, 0.308497),
        (10, 10, 0.691503, 1.0),
        (8, 30, 0.122795, 0.458893),
        (26, 30, 0.692782, 0.962447),
    ],
)
def test_intervals_are_those_of_clopper_and_pearson(hits, total, low, high):
    """The numbers are scipy's: `binomtest(k, n).proportion_ci(method="exact")`."""
    assert exact_interval(hits, total) == pytest.approx((low, high), abs=1e-6)


def graded(name, **more):
    fields = {"caught": True, "located": True, "cause": "right", "said": {"verdict": "DIVERGED"}, "others": {}}
    return Grade(id=name, is_clean=False, **{**fields, **more})


def test_the_table_counts_what_was_run_and_stands_between_its_marks(tmp_path):
    others = {"final_loss": False, "losses": True, "weights": True, "weights_hash": True, "file_hash": True}
    names = [name for name, mutant in CATALOGUE.items() if not mutant.is_clean]
    grades = [graded(names[0], others=others), graded(names[1], cause="wrong", located=None)]
    text = table(CATALOGUE, grades)
    assert "| mutants caught | 2 of 2 | 16 to 100 % |" in text
    assert "| step and stream right, where there is one | 1 of 1 |" in text
    assert "| cause wrong | 1 of 2 |" in text
    assert "| the last step's loss, equal | 0 of 1 |" in text
    page = tmp_path / "page.md"
    page.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    write_table(text, page)
    assert page.read_text() == f"before\n{BEGIN}\n{text}\n{END}\nafter\n"
    assert BEGIN in PAGE.read_text(encoding="utf-8")


def cause(kind, *evidence):
    return Cause(kind=kind, title="a title", evidence=evidence, ruled_out=(), fix="draw nothing")


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (cause("rng_not_restored", "torch was drawn from"), "right"),
        (cause("rng_not_restored", "torch"), "partly"),
        (cause("scheduler_not_restored", "torch was drawn from"), "right"),
        (cause("scheduler_not_restored", "torch"), "wrong"),
        (cause("data_position_not_restored", "drawn"), "partly"),
        (cause("unknown", "torch was drawn from"), "unknown"),
        (None, "unknown"),
    ],
)
def test_a_cause_is_graded_by_its_class_and_its_words(given, expected):
    right = Right(cause=("rng_not_restored", "any"), words="drawn", partly=("data_position_not_restored",))
    assert grade_cause(right, given) == expected
