import ast

import pytest

from harness.review.source.module import MAX_BYTES, UnreadableError, decode, module_name, read_module


def read(text, path="main.py"):
    return read_module(path, text.encode())


def call_named(module, name):
    return next((call, scope) for call, scope in module.calls if ast.unparse(call.func) == name)


def test_scopes_are_called_by_their_qualified_names():
    module = read("class A:\n    def f(self):\n        return [lambda: g(x) for x in h()]\n")
    assert sorted({scope.name for scope in module.scopes.values()}) == ["", "A", "A.f", "A.f.<lambda>"]


def test_a_call_stands_behind_the_calls_of_its_arguments():
    module = read("outer(first(), second(third()))\n")
    assert [ast.unparse(call.func) for call, _ in module.calls] == ["first", "third", "second", "outer"]


def test_a_comprehension_belongs_to_the_function_around_it():
    module = read("def f(rows):\n    return [g(row) for row in rows]\n")
    _, scope = call_named(module, "g")
    assert scope.kind == "inner"
    assert scope.function is not None
    assert scope.function.name == "f"


def test_a_method_knows_its_class():
    module = read("class A:\n    def f(self):\n        g()\n")
    _, scope = call_named(module, "g")
    assert scope.enclosing_class is not None
    assert scope.enclosing_class.name == "A"


def test_a_global_statement_binds_in_the_module():
    module = read("def f():\n    global seed\n    seed = 3\n")
    assert "seed" in module.scope.bindings


def test_a_nonlocal_statement_binds_in_the_function_around():
    module = read("def f():\n    count = 0\n    def g():\n        nonlocal count\n        count = 1\n")
    outer = next(scope for scope in module.scopes.values() if scope.name == "f")
    assert len(outer.bindings["count"]) == 2


def test_a_walrus_in_a_comprehension_binds_outside_of_it():
    module = read("kept = [y for x in rows if (y := x)]\n")
    assert "y" in module.scope.bindings


def test_loop_variables_are_bound_but_not_followed():
    module = read("for i, (a, *b) in rows:\n    pass\n")
    assert {name: found[0].kind for name, found in module.scope.bindings.items()} == dict.fromkeys("iab", "other")


def test_unpacking_one_tuple_into_another_is_followed():
    module = read("a, b = 1, f()\n")
    assert isinstance(module.scope.bindings["b"][0].value, ast.Call)


def test_attributes_of_self_are_bound_in_the_class():
    module = read("class A:\n    def __init__(self):\n        self.rng = make()\n")
    owner = next(scope for scope in module.scopes.values() if scope.kind == "class")
    assert isinstance(owner.bindings["self.rng"][0].value, ast.Call)


def test_relative_imports_keep_their_dots_and_stars_are_kept_apart():
    module = read("from . import a\nfrom ..b import c as d\nfrom e import *\nimport f.g\nimport h.i as j\n")
    bound = {name: found[0].imported for name, found in module.scope.bindings.items()}
    assert bound == {"a": ".a", "d": "..b.c", "f": "f", "j": "h.i"}
    assert module.stars == ["e"]


def test_defaults_belong_to_the_scope_around_the_function():
    module = read("def f(x=g()):\n    pass\n")
    _, scope = call_named(module, "g")
    assert scope.kind == "module"


@pytest.mark.parametrize(
    ("path", "expected"),
    [("a/b.py", ("a.b", False)), ("a/__init__.py", ("a", True)), ("__init__.py", ("", True)), ("c.py", ("c", False))],
)
def test_a_path_tells_the_name_of_the_module(path, expected):
    assert module_name(path) == expected


def test_a_place_counts_lines_and_columns_from_one():
    module = read("x = 1\nf()\n")
    call, _ = call_named(module, "f")
    assert str(module.place(call)) == "main.py:2"
    assert module.place(call).column == 1


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"def f(:\n", "no valid Python"),
        (b"x = 1\0", "null bytes"),
        (b"# -*- coding: latin-9000 -*-\n", "encoding"),
        (b"x = '\xff'\n", "encoding"),
        (b"x = " + b"(" * 300 + b"1" + b")" * 300, "no valid Python|nested too deeply"),
        (b"x = " + b"-" * 5000 + b"1\n", "nested too deeply"),
        (b"x" * (MAX_BYTES + 1), "MiB"),
    ],
)
def test_what_cannot_be_read_is_refused_with_a_reason(data, reason):
    with pytest.raises(UnreadableError, match=reason):
        read_module("bad.py", data)


def test_a_declared_encoding_and_a_byte_order_mark_are_honoured():
    assert decode("# coding: latin-1\nx = 'é'\n".encode("latin-1")).endswith("x = 'é'\n")
    assert decode("\ufeffx = 1\n".encode()).strip("\ufeff") == "x = 1\n"


def test_other_line_endings_give_the_same_lines():
    assert [read_module("a.py", data).lines for data in (b"x = 1\r\ny = 2\r\n", b"x = 1\ry = 2\r")] == [
        ["x = 1", "y = 2", ""]
    ] * 2


def test_a_form_feed_does_not_shift_the_lines():
    module = read("x = 1\n\x0cf()\n")
    call, _ = call_named(module, "f")
    assert "f()" in module.lines[module.place(call).line - 1]
