import pytest

from harness.review.finding import Finding, Place
from harness.review.source.allow import apply_allows, read_allows
from harness.review.source.module import read_module

KNOWN = ("REP101", "REP102")


def settled(text, line, rule="REP101"):
    module = read_module("main.py", text.encode())
    finding = Finding(rule=rule, certainty="proven", place=Place(path="main.py", line=line), message="m")
    return tuple(apply_allows(read_allows(module), [finding], KNOWN))


def test_a_reason_on_the_line_allows_it():
    (finding,) = settled("f()  # harness: allow REP101 only the demo draws here\n", 1)
    assert finding.allowed == "only the demo draws here"


def test_a_comment_that_stands_alone_speaks_about_the_statement_below():
    (finding,) = settled("# harness: allow REP101 only the demo draws here\n\nf(\n    1,\n)\n", 4)
    assert finding.allowed


def test_a_comment_at_the_end_of_a_statement_speaks_about_all_its_lines():
    (finding,) = settled("f(\n    1,\n)  # harness: allow REP101 only the demo draws here\n", 2)
    assert finding.allowed


def test_a_comment_at_the_head_of_a_block_does_not_speak_about_its_body():
    found = settled("for x in y:  # harness: allow REP101 only the demo draws here\n    f()\n", 2)
    assert [one.rule for one in found if not one.allowed] == ["REP101", "REP002"]


def test_one_comment_may_allow_several_rules():
    (finding,) = settled("f()  # harness: allow REP102, REP101 only the demo draws here\n", 1)
    assert finding.allowed


def test_another_rule_is_not_allowed_by_it():
    found = settled("f()  # harness: allow REP102 only the demo draws here\n", 1)
    assert [(one.rule, one.allowed) for one in found] == [("REP101", ""), ("REP002", "")]


@pytest.mark.parametrize(
    ("comment", "message"),
    [
        ("# harness: allow REP101", "without a reason"),
        ("# harness: allow REP101 ok", "without a reason"),
        ("# harness: allow REP999 because it is so", "no rule"),
        ("# harness: allow because it is so", "names no rule"),
    ],
)
def test_a_comment_that_is_wrong_allows_nothing_and_is_told(comment, message):
    found = settled(f"f()  {comment}\n", 1)
    assert not any(one.allowed for one in found)
    assert [one.rule for one in found] == ["REP101", "REP001"]
    assert message in found[1].message


def test_a_comment_inside_a_string_is_none():
    module = read_module("main.py", b"x = '# harness: allow REP101 only the demo draws here'\n")
    assert read_allows(module) == ()


def test_a_comment_that_nothing_needs_is_told():
    module = read_module("main.py", b"f()  # harness: allow REP101 only the demo draws here\n")
    (finding,) = apply_allows(read_allows(module), [], KNOWN)
    assert finding.rule == "REP002"
    assert finding.place.line == 1
