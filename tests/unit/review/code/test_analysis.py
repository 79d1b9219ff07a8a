import ast

import pytest

from harness.review.code.analysis import ENTRY_CHECKS, MODULE_CHECKS, settle
from harness.review.finding import Finding, Place, Showing
from harness.review.rules import RULES
from harness.review.source.allow import read_allows, read_line_allows
from harness.review.source.module import child_nodes, read_module
from harness.review.source.program import Program

KNOWN = ("REP001", "REP002", "REP901", "REP902")


def finding(line, rule="REP901", path="a.py", message="wrong"):
    return Finding(rule=rule, certainty="proven", place=Place(path=path, line=line), message=message)


def program_of(**files):
    modules = {f"{name}.py": read_module(f"{name}.py", text.encode()) for name, text in files.items()}
    return Program(modules, modules.get)


def settled(text, *findings):
    said = settle(program_of(a=text), findings, ["a.py"], KNOWN)
    return [(one.rule, one.place.line, one.allowed) for one in said]


REASON = "the draw names a log file"


@pytest.mark.parametrize(
    ("text", "line", "is_allowed"),
    [
        (f"x = f()  # harness: allow REP901 {REASON}\n", 1, True),
        (f"# harness: allow REP901 {REASON}\nx = f()\n", 2, True),
        (f"# harness: allow REP901 {REASON}\n\n# more\nx = f()\n", 4, True),
        (f"x = f(\n    1,  # harness: allow REP901 {REASON}\n)\n", 1, True),
        (f"x = f(\n    1,\n)  # harness: allow REP901 {REASON}\n", 2, True),
        (f"if f():  # harness: allow REP901 {REASON}\n    g()\n", 1, True),
        (f"if f():  # harness: allow REP901 {REASON}\n    g()\n", 2, False),
        (f"# harness: allow REP901 {REASON}\nwith f():\n    g()\n", 3, False),
        (f"x = f()  # harness: allow REP902, REP901: {REASON}\n", 1, True),
        (f"x = f()  # noqa  # harness: allow REP901 {REASON}\n", 1, False),
        (f"x = f()\n# harness: allow REP901 {REASON}\ny = g()\n", 1, False),
        (f"x = 'harness: allow REP901 {REASON}'\n", 1, False),
        (f'x = """\n# harness: allow REP901 {REASON}\n"""\n', 2, False),
    ],
)
def test_a_comment_allows_what_is_found_on_its_statement(text, line, is_allowed):
    (found,) = [one for one in settled(text, finding(line)) if one[0] == "REP901"]
    assert found == ("REP901", line, REASON if is_allowed else "")


@pytest.mark.parametrize(
    ("comment", "rule"),
    [
        ("harness: allow REP901", "REP001"),
        ("harness: allow REP901 ok", "REP001"),
        (f"harness: allow REP999 {REASON}", "REP001"),
        (f"harness: allow {REASON}", "REP001"),
        (f"harness: allow REP902 {REASON}", "REP002"),
        (f"harness: allow REP901, REP999 {REASON}", "REP001"),
    ],
)
def test_a_comment_that_is_wrong_or_not_needed_is_a_finding(comment, rule):
    found = settled(f"x = f()  # {comment}\n", finding(1))
    assert (rule, 1, "") in found


def test_a_comment_without_a_reason_allows_nothing():
    assert settled("x = f()  # harness: allow REP901\n", finding(1)) == [("REP901", 1, ""), ("REP001", 1, "")]


def test_a_comment_for_two_rules_is_needed_while_one_of_them_finds_something():
    assert settled(f"x = f()  # harness: allow REP901, REP902 {REASON}\n", finding(1)) == [("REP901", 1, REASON)]


def test_lines_of_other_files_are_allowed_alike():
    text = f"torch  # harness: allow REP901 {REASON}\n\n  # harness: allow REP902 {REASON}\nnumpy\n"
    assert [(one.rules, list(one.lines)) for one in read_line_allows("r.txt", text)] == [
        (("REP901",), [1]),
        (("REP902",), [3, 4]),
    ]
    assert {one.reason for one in read_line_allows("r.txt", text)} == {REASON}


def test_comments_after_code_that_has_none_are_no_allow_comments():
    assert read_allows(read_module("a.py", b"# harness: denies nothing\nx = 1  # harness\n")) == ()


def test_each_thing_is_said_once_and_in_order():
    program = program_of(a="x = 1\n", b="y = 1\n")
    shown = Showing(item="E1", state="holds", text="pinned")
    unplaced = Finding(rule="REP902", certainty="possible", place=None, message="measured")
    said = [finding(2), unplaced, shown, finding(1, path="b.py"), finding(1), finding(2), shown, finding(1, "REP902")]
    assert settle(program, said, ["a.py"], KNOWN) == (
        finding(1),
        finding(1, "REP902"),
        finding(2),
        finding(1, path="b.py"),
        unplaced,
        shown,
    )


def test_a_finding_in_a_file_that_is_no_python_is_kept():
    elsewhere = finding(3, path="requirements.txt")
    assert settle(program_of(a=""), [elsewhere], [], KNOWN) == (elsewhere,)


def test_the_children_of_a_node_are_those_that_the_library_gives_but_shared_ones():
    shared = (ast.expr_context, ast.operator, ast.unaryop, ast.cmpop, ast.boolop)
    text = "@d\nasync def f(a, *b: int, c=1, **e) -> x:\n    async for i in g(h=-1): await (a + b < c and not d)\n"
    text += "match x:\n    case {'k': [1, *_], **r} if y: pass\n    case A(b=1) | None: del z[1:2]; print({**q})\n"
    text += "try: raise A from b\nexcept* (C, D) as e: print(f'{x!r:>{w}}', lambda: (yield))\n"
    for node in ast.walk(ast.parse(text)):
        expected = [one for one in ast.iter_child_nodes(node) if not isinstance(one, shared)]
        assert list(child_nodes(node)) == expected


def test_nodes_with_a_call_in_them_are_known():
    text = b"x = 1\ndef f():\n    if a:\n        return [g(y) for y in z]\n    return b\nc = d.e\n"
    module = read_module("a.py", text)
    calling = {type(node).__name__ for node in module.calling}
    assert calling == {"Module", "FunctionDef", "If", "Return", "ListComp", "Call"}
    assert [node.lineno for node in module.calling if isinstance(node, ast.Return)] == [4]


def test_every_finding_of_a_check_is_of_a_rule_that_is_registered():
    text = (
        "import random, time, torch, numpy as np\nfrom torch.utils.data import DataLoader\n"
        "from datasets import load_dataset\nrandom.seed(time.time())\nrng = np.random.default_rng()\n"
        "data = load_dataset('a/b')\nloader = DataLoader(data, shuffle=True, num_workers=2)\n"
        "torch.backends.cudnn.benchmark = True\nstate = torch.load('a.pt')\nx = torch.rand(3) + random.random()\n"
    )
    program = program_of(train=text)
    module = program.module("train.py")
    said = [one for check in MODULE_CHECKS for one in check(program, module)]
    said += [one for check in ENTRY_CHECKS for one in check(program.entry(module))]
    found = {one.rule for one in said if isinstance(one, Finding)}
    assert MODULE_CHECKS and ENTRY_CHECKS
    assert len(found) > 3
    assert found <= RULES.keys()
