"""What a dictionary that is saved holds: followed through names, updates, unions, parameters, functions of the tree."""

from __future__ import annotations

import ast
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

from harness.review.finding import Place
from harness.review.source.execution import Site
from harness.review.source.module import Function, Module, Scope
from harness.review.source.nodes import arguments_of, is_name, last_name, nodes_within, text_constant, words
from harness.review.source.program import Entry

_MAX_HOPS = 8
_HARMLESS = words("copy deepcopy dump info isinstance len list load load_raw log print save set sorted str type write")


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """One key with what stands under it, and where that is looked up."""

    key: str
    value: ast.expr
    module: Module

    @property
    def words(self) -> frozenset[str]:
        """The key and every name and attribute in the value."""
        names = {str(getattr(node, "id", "") or getattr(node, "attr", "")) for node in ast.walk(self.value)}
        return frozenset({self.key, *names} - {""})


@dataclass(frozen=True, slots=True, eq=False)
class Dictionary:
    """A dictionary that a program builds.

    Attributes:
        node: the literal, or the call of `dict`, that it begins with.
        parts: in the order in which they were found; those that a branch may leave out count as well.
        is_whole: nothing was seen that could put more into it.
    """

    node: ast.AST
    module: Module
    parts: tuple[Part, ...]
    is_whole: bool

    @property
    def place(self) -> Place:
        """Where it begins."""
        return self.module.place(self.node)

    def with_more(self, parts: Iterable[Part], *, is_whole: bool) -> Dictionary:
        """The same with more in it."""
        return Dictionary(self.node, self.module, (*self.parts, *parts), self.is_whole and is_whole)


def dictionaries_of(entry: Entry, node: ast.expr, module: Module, hops: int = 0) -> tuple[Dictionary, ...]:
    """What an expression may be; () if that is not seen. Several where a parameter is given by several callers."""
    if hops > _MAX_HOPS:
        return ()
    if isinstance(node, ast.Dict):
        return _literal(entry, node, module, hops)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
        right = dictionaries_of(entry, node.right, module, hops + 1)
        return tuple(
            one.with_more(right[0].parts if right else (), is_whole=len(right) == 1 and right[0].is_whole)
            for one in dictionaries_of(entry, node.left, module, hops + 1)
        )
    if isinstance(node, ast.Name):
        return _of_name(entry, node, module, hops)
    if isinstance(node, ast.Call):
        return _of_call(entry, node, module, hops)
    return ()


def _literal(entry: Entry, node: ast.Dict, module: Module, hops: int) -> tuple[Dictionary, ...]:
    parts, is_whole = [], True
    for key, value in zip(node.keys, node.values, strict=True):
        if text := text_constant(key):
            parts.append(Part(text, value, module))
            continue
        inner = dictionaries_of(entry, value, module, hops + 1) if key is None else ()
        is_whole = is_whole and len(inner) == 1 and inner[0].is_whole
        parts += inner[0].parts if inner else ()
    return (Dictionary(node, module, tuple(parts), is_whole),)


def _of_call(entry: Entry, node: ast.Call, module: Module, hops: int) -> tuple[Dictionary, ...]:
    site = entry.program.site(module, node)
    if site.name == "builtins.dict":
        parts = tuple(Part(one.arg, one.value, module) for one in node.keywords if one.arg)
        is_whole = not node.args and all(one.arg for one in node.keywords)
        return (Dictionary(node, module, parts, is_whole),)
    if site.name in ("copy.copy", "copy.deepcopy") and node.args:
        return dictionaries_of(entry, node.args[0], module, hops + 1)
    target = site.definition
    if target is None or target.kind != "function":
        return ()
    values = [one.value for one in nodes_within(target.node) if isinstance(one, ast.Return) and one.value is not None]
    found = dictionaries_of(entry, values[0], target.module, hops + 1) if len(values) == 1 else ()
    return found if site.is_certain else tuple(one.with_more((), is_whole=False) for one in found)


def _of_name(entry: Entry, node: ast.Name, module: Module, hops: int) -> tuple[Dictionary, ...]:
    scope = module.scope_at(node)
    value = reaching(node, module)
    if value is None:
        bindings = entry.program.resolver.bindings(node.id, scope)
        if len(bindings) != 1:
            return ()
        if bindings[0].kind == "parameter" and scope.function is not None and bindings[0].value is None:
            parts, is_whole = _additions(entry, node, 0, scope, hops)
            given = _of_parameter(entry, node.id, scope.function, hops)
            return tuple(one.with_more(parts, is_whole=is_whole) for one in given)
        value = bindings[0].value if bindings[0].kind == "assign" else None
        if value is None or bindings[0].scope.module is not module:
            return ()
    parts, is_whole = _additions(entry, node, value.lineno, scope, hops)
    return tuple(one.with_more(parts, is_whole=is_whole) for one in dictionaries_of(entry, value, module, hops + 1))


def reaching(node: ast.Name, module: Module) -> ast.expr | None:
    """The value of the assignment that surely came last before a name is used, in its own function; else None."""
    below: ast.AST = node
    for above in module.ancestors(node):
        for part in ("body", "orelse", "finalbody"):
            block = getattr(above, part, None)
            if isinstance(block, list) and below in block:
                for statement in reversed(block[: block.index(below)]):
                    if _is_assignment(statement, node.id):
                        return statement.value  # type: ignore[no-any-return]
                    if _binds(statement, node.id):
                        return None
        if isinstance(above, Function | ast.Lambda):
            return None
        below = above
    return None


def _is_assignment(statement: ast.stmt, name: str) -> bool:
    if isinstance(statement, ast.Assign):
        return any(is_name(target, name) for target in statement.targets)
    return isinstance(statement, ast.AnnAssign) and is_name(statement.target, name) and statement.value is not None


def _binds(statement: ast.stmt, name: str) -> bool:
    if isinstance(statement, ast.AugAssign):
        return False
    return any(
        isinstance(one, ast.Name) and one.id == name and isinstance(one.ctx, ast.Store | ast.Del)
        for one in nodes_within(statement)
    )


def _additions(entry: Entry, name: ast.Name, bound: int, scope: Scope, hops: int) -> tuple[list[Part], bool]:
    """What is put under a name in its function, and whether all that comes after its binding's line was seen."""
    module, function = scope.module, scope.function
    parts: list[Part] = []
    is_whole = True
    for node in nodes_within(module.tree if function is None else function.node):
        if isinstance(node, ast.Assign):
            for target in node.targets:
                if isinstance(target, ast.Subscript) and is_name(target.value, name.id):
                    key = text_constant(target.slice)
                    parts += [Part(key, node.value, module)] if key else []
                    is_whole = is_whole and bool(key)
        elif isinstance(node, ast.AugAssign) and is_name(node.target, name.id):
            more = dictionaries_of(entry, node.value, module, hops + 1)
            parts, is_whole = [*parts, *(more[0].parts if more else ())], is_whole and bool(more) and more[0].is_whole
        elif isinstance(node, ast.Call):
            more_parts, is_seen = _by_call(entry, node, name, module, hops)
            between = bound <= node.lineno <= name.lineno
            parts, is_whole = [*parts, *more_parts], is_whole and (is_seen or not between)
    return parts, is_whole


def _by_call(entry: Entry, node: ast.Call, name: ast.Name, module: Module, hops: int) -> tuple[list[Part], bool]:
    """What a call puts into a dictionary: `name.update(...)`, or a function that is given it."""
    function = node.func
    if isinstance(function, ast.Attribute) and is_name(function.value, name.id):
        if function.attr not in ("update", "setdefault"):
            return [], True
        parts = [Part(one.arg, one.value, module) for one in node.keywords if one.arg]
        if function.attr == "setdefault":
            key = text_constant(node.args[0]) if len(node.args) == 2 else ""
            return ([Part(key, node.args[1], module)], True) if key else ([], False)
        is_seen = all(one.arg for one in node.keywords)
        for given in node.args:
            more = dictionaries_of(entry, given, module, hops + 1)
            parts += more[0].parts if more else ()
            is_seen = is_seen and len(more) == 1 and more[0].is_whole
        return parts, is_seen
    own = [one for one in arguments_of(node) if is_name(one, name.id)]
    if not own or last_name(function) in _HARMLESS or last_name(function).startswith(("save", "dump")):
        return [], True
    return _by_function(entry, entry.program.site(module, node), own[0], hops)


def _by_function(entry: Entry, site: Site, given: ast.expr, hops: int) -> tuple[list[Part], bool]:
    """What a function of the tree puts into a dictionary that it is given; of any other one nothing is known."""
    target = site.definition
    arguments = target.node.args if target is not None and isinstance(target.node, Function) else None
    if target is None or arguments is None or hops >= _MAX_HOPS:
        return [], False
    for one in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs):
        if given_for(site, one.arg, target) is given:
            last = ast.Name(id=one.arg, ctx=ast.Load(), lineno=1 << 30, col_offset=0)
            return _additions(entry, last, 0, target, hops + 1)
    return [], False


def _of_parameter(entry: Entry, name: str, function: Scope, hops: int) -> tuple[Dictionary, ...]:
    """What the callers of a function give it, as far as that is seen."""
    found: list[Dictionary] = []
    for site in callers(entry, function):
        given = given_for(site, name, function)
        found += () if given is None else dictionaries_of(entry, given, site.module, hops + 1)
    return tuple({one.node: one for one in found}.values())


@lru_cache(maxsize=512)
def callers(entry: Entry, function: Scope) -> tuple[Site, ...]:
    """The calls of a function of the tree by its name, in the whole program."""
    name = function.name.rpartition(".")[2]
    sites = (site for module in entry.closure for site in entry.program.calls(module, {name}))
    return tuple(site for site in sites if site.definition is function)


def given_for(site: Site, name: str, function: Scope) -> ast.expr | None:
    """What a call gives for a parameter; `self` is not counted where it is a method of an object."""
    arguments = function.node.args if isinstance(function.node, Function) else None
    if arguments is None:
        return None
    names = [one.arg for one in (*arguments.posonlyargs, *arguments.args)]
    if function.parent is not None and function.parent.kind == "class" and names[:1] in (["self"], ["cls"]):
        names = names[1:]
    return site.argument(name, names.index(name) if name in names else None)
