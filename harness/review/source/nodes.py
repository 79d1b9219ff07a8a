"""Nodes of a syntax tree by themselves: their names and texts, and what stands in them. Nothing is resolved here."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from harness.review.source.module import Function


def words(text: str) -> frozenset[str]:
    """A set of names, written as one text."""
    return frozenset(text.split())


def last_name(node: ast.AST) -> str:
    """The last part of what is called or meant: `step` of `self.optimizer.step`."""
    if isinstance(node, ast.Attribute):
        return node.attr
    if isinstance(node, ast.Call):
        return last_name(node.func)
    if isinstance(node, ast.Subscript):
        return text_constant(node.slice) or last_name(node.value)
    return node.id if isinstance(node, ast.Name) else ""


def receiver(node: ast.Call) -> str:
    """What a method is called on, by its last name: `optimizer` of `self.optimizer.step()`."""
    return last_name(node.func.value) if isinstance(node.func, ast.Attribute) else ""


def text_of(node: ast.AST, length: int = 200) -> str:
    """The source of a node, written anew on one line and cut to a length; what is nested too deeply is `...`."""
    try:
        text = ast.unparse(node).replace("\n", " ")
    except RecursionError:
        return "..."
    return text if len(text) <= length else f"{text[: length - 3]}..."


def called(node: ast.AST) -> str:
    """What is called, as the source has it, in one short line."""
    return text_of(node.func if isinstance(node, ast.Call) else node, 60)


def text_constant(node: ast.AST | None) -> str:
    """The value of a literal text; "" for anything else."""
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""


def arguments_of(node: ast.Call) -> tuple[ast.expr, ...]:
    """All that a call is given, by position and by name."""
    return (*node.args, *(keyword.value for keyword in node.keywords))


def is_name(node: ast.AST, name: str) -> bool:
    """Whether a node is this plain name."""
    return isinstance(node, ast.Name) and node.id == name


def nodes_within(node: ast.AST) -> Iterator[ast.AST]:
    """A node's descendants, those of functions and classes defined in it left out."""
    waiting = list(ast.iter_child_nodes(node))
    while waiting:
        one = waiting.pop()
        if not isinstance(one, Function | ast.ClassDef | ast.Lambda):
            yield one
            waiting += ast.iter_child_nodes(one)


def and_more(number: int, what: str = "more in this file") -> str:
    """` (and 2 more in this file)` for three of a kind; "" for one."""
    return f" (and {number - 1} {what})" if number > 1 else ""


def listed(texts: list[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    return texts[0] if len(texts) == 1 else f"{', '.join(texts[:-1])} and {texts[-1]}"
