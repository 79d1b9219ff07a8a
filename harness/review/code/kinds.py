"""Strings or numbers: what an expression gives and what an iterable holds, as far as its form tells."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable

from harness.review.source.meaning import Resolver
from harness.review.source.module import Binding, Scope
from harness.review.source.nodes import last_name, words

_STRINGS = words(
    "capitalize casefold decode format join lower lstrip replace rstrip strip title upper partition removeprefix "
    "removesuffix"
)
_LISTS_OF_STRINGS = words("findall rsplit split splitlines tokenize word_tokenize")
_MAX_HOPS = 4
_ANNOTATED = {"str": "string", "bytes": "string", "int": "number", "float": "number"}
_LIST_OF_STR = re.compile(r"\b(?:list|List|Sequence|Iterable|set|Set|tuple|Tuple)\[str[\],]")


def kind_of(node: ast.expr, scope: Scope, resolver: Resolver, hops: int = 0) -> str:
    """`string`, `number` or "": what an expression gives, as far as its form tells."""
    if isinstance(node, ast.Constant):
        return "string" if isinstance(node.value, str | bytes) else "number"
    if isinstance(node, ast.JoinedStr):
        return "string"
    if hops > _MAX_HOPS:
        return ""
    if isinstance(node, ast.BinOp):
        is_left = isinstance(node.op, ast.Add | ast.Mod | ast.Div)
        return kind_of(node.left, scope, resolver, hops + 1) if is_left else "number"
    if isinstance(node, ast.IfExp):
        return common(kind_of(one, scope, resolver, hops + 1) for one in (node.body, node.orelse))
    if isinstance(node, ast.Call):
        return _kind_of_call(node)
    if isinstance(node, ast.Subscript):
        return kind_of_items(node.value, scope, resolver, hops + 1)
    if isinstance(node, ast.Name):
        return common(_kind_of_binding(one, resolver, hops) for one in resolver.bindings(node.id, scope))
    return ""


def common(kinds: Iterable[str]) -> str:
    """The one kind of several things, "" if they differ."""
    found = set(kinds)
    return found.pop() if len(found) == 1 else ""


def _kind_of_call(node: ast.Call) -> str:
    name = node.func.id if isinstance(node.func, ast.Name) else ""
    if name in ("str", "repr", "chr", "input", "format"):
        return "string"
    if name in ("int", "len", "ord", "float", "abs", "round", "sum", "bool", "id", "hash"):
        return "number"
    if isinstance(node.func, ast.Attribute):
        paths = ("os.path.join", "os.path.basename", "os.path.dirname", "os.getenv")
        return "string" if node.func.attr in _STRINGS or ast.unparse(node.func) in paths else ""
    return ""


def _kind_of_binding(binding: Binding, resolver: Resolver, hops: int) -> str:
    node = binding.node
    if isinstance(node, ast.arg):
        return _ANNOTATED.get("" if node.annotation is None else ast.unparse(node.annotation), "")
    if binding.kind == "assign" and binding.value is not None:
        return kind_of(binding.value, binding.scope, resolver, hops + 1)
    if isinstance(node, ast.For | ast.comprehension) and isinstance(node.target, ast.Name):
        return kind_of_items(node.iter, binding.scope, resolver, hops + 1)
    return ""


def kind_of_items(node: ast.expr, scope: Scope, resolver: Resolver, hops: int = 0) -> str:
    """`string`, `number` or "": what an iterable holds."""
    if hops > _MAX_HOPS:
        return ""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return "string"  # its characters
    if isinstance(node, ast.List | ast.Tuple | ast.Set):
        return common(kind_of(one, scope, resolver, hops + 1) for one in node.elts)
    if isinstance(node, ast.ListComp | ast.SetComp | ast.GeneratorExp):
        return kind_of(node.elt, scope.module.scopes[node], resolver, hops + 1)
    if isinstance(node, ast.Call):
        name = last_name(node.func) if isinstance(node.func, ast.Name | ast.Attribute) else ""
        if name == "listdir" or (name in _LISTS_OF_STRINGS and isinstance(node.func, ast.Attribute)):
            return "string"
        if name in ("range", "arange"):
            return "number"
        if name in ("list", "tuple", "set", "sorted", "frozenset") and node.args:
            return kind_of_items(node.args[0], scope, resolver, hops + 1)
        return _kind_of_call(node) if name in ("join", "read", "read_text") else ""
    if isinstance(node, ast.Name):
        return common(_kind_of_bound_items(one, resolver, hops) for one in resolver.bindings(node.id, scope))
    return ""


def _kind_of_bound_items(binding: Binding, resolver: Resolver, hops: int) -> str:
    if isinstance(binding.node, ast.arg) and binding.node.annotation is not None:
        text = ast.unparse(binding.node.annotation).replace(" ", "")
        return "string" if _LIST_OF_STR.search(text) or text == "str" else ""
    if binding.kind == "assign" and binding.value is not None:
        return kind_of_items(binding.value, binding.scope, resolver, hops + 1)
    return ""
