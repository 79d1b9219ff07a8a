"""The planted set: in planted/ every marked line is found and nothing else, in near/ nothing is found at all.

A case is a file, or a folder with whatever belongs together; each is reviewed as a tree of its own. Marks are comments:

    torch.rand(3)  # expect: REP101                       proven, on this line
    # expect: REP101 possible; REP102                     alone on a line: about the next line that is no mark
    # expect in file: REP101                              about the whole file (line 0)
"""

import re
import shutil
from pathlib import Path

import pytest

from harness.review.review_tree import review_tree
from harness.review.rules import RULES

HERE = Path(__file__).resolve().parent
PLANTED = sorted(path for path in (HERE / "planted").iterdir() if path.name != "__pycache__")
NEAR = sorted(path for path in (HERE / "near").iterdir() if path.name != "__pycache__")
PAGES = HERE.parents[1] / "docs" / "rules"
MARK = re.compile(r"#\s*expect(?P<file> in file)?:\s*(?P<marks>.+?)\s*$")
ONE = re.compile(r"(REP\d{3})(?: (possible|proven))?")
RULE = re.compile(r"REP\d{3}")


def marks_of(path, name):
    """(path, line, rule, certainty) of each mark of a file."""
    pending = []
    for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1):
        found = MARK.search(line)
        marks = [one.strip() for one in found["marks"].split(";")] if found else []
        parsed = [ONE.fullmatch(one) for one in marks]
        assert all(parsed), f"{path}:{number}: no mark: {marks}"
        marks = [(one[1], one[2] or "proven") for one in parsed]
        if found and found["file"]:
            yield from ((name, 0, *mark) for mark in marks)
        elif found and not line[: found.start()].strip():
            pending += marks
        else:
            yield from ((name, number, *mark) for mark in [*pending, *marks])
            pending = []
    assert not pending, f"{path}: a mark with no line below it"


def marks_of_case(case):
    files = [case] if case.is_file() else [path for path in sorted(case.rglob("*")) if path.is_file()]
    below = case.parent if case.is_file() else case
    return {mark for file in files for mark in marks_of(file, file.relative_to(below).as_posix())}


def review_case(case, tmp_path):
    root = tmp_path / "tree"
    if case.is_file():
        root.mkdir()
        shutil.copy(case, root)
    else:
        shutil.copytree(case, root, ignore=shutil.ignore_patterns("__pycache__"))
    review = review_tree(root, num_workers=0)
    for one in review.unread:  # a mistake in a rule, or a case that is no Python
        assert "failed on it" not in one.reason and "no valid Python" not in one.reason, f"{one.path}: {one.reason}"
    return review


def said(review):
    for one in review.findings:
        place = one.place
        yield (place.path if place else "", place.line if place else 0, one.rule, one.certainty), one


@pytest.mark.parametrize("case", PLANTED, ids=lambda path: path.name)
def test_everything_planted_is_found_and_nothing_else(case, tmp_path):
    review = review_case(case, tmp_path)
    found = {key: one.message for key, one in said(review) if not one.allowed}
    expected = marks_of_case(case)
    assert expected, "a planted case has a mark"
    missing = sorted(expected - found.keys())
    surplus = sorted((*key, found[key]) for key in found.keys() - expected)
    assert not missing and not surplus, f"not found: {missing}\nnot marked: {surplus}"


@pytest.mark.parametrize("case", NEAR, ids=lambda path: path.name)
def test_nothing_is_found_in_a_near_miss(case, tmp_path):
    assert not marks_of_case(case), "a near miss has no mark"
    review = review_case(case, tmp_path)
    assert [(*key, one.message) for key, one in said(review) if not one.allowed] == []


def rules_of(cases):
    return {match[0] for case in cases if (match := RULE.match(case.name))}


STATIC = sorted(rule for rule in RULES if rule < "REP700")


@pytest.mark.parametrize("rule", STATIC)
def test_every_rule_has_a_planted_case_and_a_near_miss(rule):
    marked = {mark[2] for case in PLANTED for mark in marks_of_case(case)}
    assert rule in marked, f"no planted case marks {rule}"
    assert rule in rules_of(NEAR), f"no near miss is called {rule}_..."


@pytest.mark.parametrize("rule", sorted(RULES))
def test_every_rule_has_its_page(rule):
    page, known = (PAGES / f"{rule}.md").read_text(), RULES[rule]
    assert page.startswith(f"# {rule} {known.name}\n"), "the page begins with the id and the name"
    for heading in ("## Why", "## Example", "## Fix", "## Source"):
        assert f"\n{heading}\n" in page, f"no {heading}"
    assert "\n```" in page
    assert known.source in page
    assert known.thread, "no public thread where it bit somebody"
    assert known.thread in page
    if "Severity:" in page:
        assert f"Severity: {known.severity}." in page


def test_every_page_belongs_to_a_rule():
    assert {path.stem for path in PAGES.glob("REP*.md")} <= RULES.keys()


def test_the_set_is_as_large_as_promised():
    assert len(PLANTED) >= 60
    assert len(NEAR) >= 60
