"""Strings or numbers: what an expression gives and what an iterable holds, as far as its form tells."""

from __future__ import annotations

import ast
import re

from harness.review.source.meaning import Resolver
from harness.review.source.module import Binding, Scope

_STRINGS = frozenset(
    (
        *("capitalize", "casefold", "decode", "format", "join", "lower", "lstrip", "replace", "rstrip", "split"),
        *("splitlines", "strip", "title", "upper", "tokenize", "partition", "removeprefix", "removesuffix"),
    )
)
_LISTS_OF_STRINGS = frozenset(("findall", "rsplit", "split", "splitlines", "tokenize", "word_tokenize"))


def kind_of(node: ast.expr, scope: Scope, resolver: Resolver, hops: int = 0) -> str:
    """`string`, `number` or "": what an expression gives, as far as its form tells."""
    if isinstance(node, ast.Constant):
        return "string" if isinstance(node.value, str | bytes) else "number"
    if isinstance(node, ast.JoinedStr):
        return "string"
    if hops > 4:
        return ""
    if isinstance(node, ast.BinOp):
        if isinstance(node.op, ast.Add | ast.Mod):
            return kind_of(node.left, scope, resolver, hops + 1)
        return kind_of(node.left, scope, resolver, hops + 1) if isinstance(node.op, ast.Div) else "number"
    if isinstance(node, ast.IfExp):
        kinds = {kind_of(one, scope, resolver, hops + 1) for one in (node.body, node.orelse)}
        return kinds.pop() if len(kinds) == 1 else ""
    if isinstance(node, ast.Call):
        return _kind_of_call(node)
    if isinstance(node, ast.Subscript):
        return kind_of_items(node.value, scope, resolver, hops + 1)
    if isinstance(node, ast.Name):
        return _kind_of_name(node, scope, resolver, hops)
    return ""


def _kind_of_call(node: ast.Call) -> str:
    name = node.func.id if isinstance(node.func, ast.Name) else ""
    if name in ("str", "repr", "chr", "input", "format"):
        return "string"
    if name in ("int", "len", "ord", "float", "abs", "round", "sum", "bool", "id", "hash"):
        return "number"
    if isinstance(node.func, ast.Attribute):
        if node.func.attr in _STRINGS and node.func.attr not in _LISTS_OF_STRINGS:
            return "string"
        if ast.unparse(node.func) in ("os.path.join", "os.path.basename", "os.path.dirname", "os.getenv"):
            return "string"
    return ""


def _kind_of_name(node: ast.Name, scope: Scope, resolver: Resolver, hops: int) -> str:
    bindings = resolver.bindings(node.id, scope)
    kinds = {_kind_of_binding(one, resolver, hops) for one in bindings}
    return kinds.pop() if len(kinds) == 1 else ""


def _kind_of_binding(binding: Binding, resolver: Resolver, hops: int) -> str:
    node = binding.node
    if isinstance(node, ast.arg):
        annotation = "" if node.annotation is None else ast.unparse(node.annotation)
        return {"str": "string", "bytes": "string", "int": "number", "float": "number"}.get(annotation, "")
    if binding.kind == "assign" and binding.value is not None:
        return kind_of(binding.value, binding.scope, resolver, hops + 1)
    if isinstance(node, ast.For | ast.comprehension) and isinstance(node.target, ast.Name):
        return kind_of_items(node.iter, binding.scope, resolver, hops + 1)
    return ""


def kind_of_items(node: ast.expr, scope: Scope, resolver: Resolver, hops: int = 0) -> str:
    """`string`, `number` or "": what an iterable holds."""
    if hops > 4:
        return ""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return "string"  # its characters
    if isinstance(node, ast.List | ast.Tuple | ast.Set):
        kinds = {kind_of(one, scope, resolver, hops + 1) for one in node.elts}
        return kinds.pop() if len(kinds) == 1 else ""
    if isinstance(node, ast.ListComp | ast.SetComp | ast.GeneratorExp):
        return kind_of(node.elt, scope.module.scopes[node], resolver, hops + 1)
    if isinstance(node, ast.Call):
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        if name in _LISTS_OF_STRINGS and isinstance(node.func, ast.Attribute):
            return "string"
        if name == "listdir":
            return "string"
        if name in ("range", "arange"):
            return "number"
        if name in ("list", "tuple", "set", "sorted", "frozenset") and node.args:
            return kind_of_items(node.args[0], scope, resolver, hops + 1)
        return _kind_of_call(node) if name in ("join", "read", "read_text") else ""
    if isinstance(node, ast.Name):
        return _kind_of_items_of_name(node, scope, resolver, hops)
    return ""


def _kind_of_items_of_name(node: ast.Name, scope: Scope, resolver: Resolver, hops: int) -> str:
    kinds = set()
    for binding in resolver.bindings(node.id, scope):
        if isinstance(binding.node, ast.arg) and binding.node.annotation is not None:
            text = ast.unparse(binding.node.annotation).replace(" ", "")
            matched = re.search(r"\b(?:list|List|Sequence|Iterable|set|Set|tuple|Tuple)\[str[\],]", text)
            kinds.add("string" if matched or text == "str" else "")
        elif binding.kind == "assign" and binding.value is not None:
            kinds.add(kind_of_items(binding.value, binding.scope, resolver, hops + 1))
        else:
            kinds.add("")
    return kinds.pop() if len(kinds) == 1 else ""
