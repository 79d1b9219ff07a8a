"""Calls: one as a rule looks at it, and those that a program makes, in the order in which they happen."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from harness.review.finding import Place
from harness.review.source.meaning import Meaning, Resolver
from harness.review.source.module import Function, Module, Scope, child_nodes
from harness.review.source.nodes import arguments_of

MAX_SITES = 20_000
_MAX_STACK = 40
_MAX_BASES = 8
_RUNNERS = frozenset(  # call the function that they are given first, at once
    ("fire.Fire", "typer.run", "jsonargparse.CLI", "absl.app.run", "torch.multiprocessing.spawn", "asyncio.run")
)


@dataclass(frozen=True, slots=True, eq=False)
class Site:
    """One call, as a rule looks at it.

    Attributes:
        node: the call.
        scope: where it stands.
        resolver: to look at its arguments with.
        meaning: what is called; None if that cannot be told.
        is_conditional: something on the way from the entry, a branch, a loop, a handler, may leave it out.
        stack: from the entry, the functions of the tree that it is called through, outermost first.
    """

    node: ast.Call
    scope: Scope
    resolver: Resolver
    meaning: Meaning | None
    is_conditional: bool = True
    stack: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The full name of what is called; for an unknown one the attribute with a dot before it, `.backward`."""
        if self.meaning is not None:
            return self.meaning.name
        return f".{self.node.func.attr}" if isinstance(self.node.func, ast.Attribute) else ""

    @property
    def method(self) -> str:
        """The last part of the name as it is written: `step` of `self.optimizer.step()`."""
        return self.node.func.attr if isinstance(self.node.func, ast.Attribute) else ""

    @property
    def definition(self) -> Scope | None:
        """The function or class of the tree that is called, if it is one."""
        return None if self.meaning is None else self.meaning.definition

    @property
    def statement(self) -> ast.stmt | None:
        """The innermost statement that it stands in."""
        return next((one for one in self.module.ancestors(self.node) if isinstance(one, ast.stmt)), None)

    @property
    def function(self) -> str:
        """The last name of the function of the tree that it stands in; "" for none."""
        around = self.scope.function
        return "" if around is None else around.name.rpartition(".")[2]

    @property
    def is_certain(self) -> bool:
        """Whether what is called is known for sure."""
        return self.meaning is not None and self.meaning.is_certain

    @property
    def module(self) -> Module:
        """The file."""
        return self.scope.module

    @property
    def place(self) -> Place:
        """Where it stands."""
        return self.module.place(self.node)

    @property
    def is_open(self) -> bool:
        """`f(*args)` or `f(**options)`: an argument that is not seen may still be given."""
        return any(isinstance(one, ast.Starred) for one in self.node.args) or any(
            one.arg is None for one in self.node.keywords
        )

    def argument(self, name: str, position: int | None = None) -> ast.expr | None:
        """The argument given as `name=`, or at a position from 0; None if it is not seen."""
        for keyword in self.node.keywords:
            if keyword.arg == name:
                return keyword.value
        if position is None or position >= len(self.node.args):
            return None
        before = self.node.args[: position + 1]
        return None if any(isinstance(one, ast.Starred) for one in before) else before[-1]

    def constant(self, node: ast.expr | None) -> object:
        """The value of an argument that is a literal, or a name bound once to one; `...` if that cannot be told."""
        return self.resolver.constant(node, self.scope)

    def resolve(self, node: ast.expr | None) -> Meaning | None:
        """What an argument means."""
        return None if node is None else self.resolver.resolve(node, self.scope)


@dataclass(slots=True)
class Execution:
    """Walks statements as Python would run them, into the functions of the tree that they call."""

    resolver: Resolver
    sites: list[Site]
    seen: set[Scope]
    is_entry: bool

    def statements(self, scope: Scope, body: Iterable[ast.AST], *, conditional: bool, stack: tuple[str, ...]) -> None:
        """What these nodes call, in order."""
        for node in body:
            if node not in scope.module.calling:
                continue
            if len(self.sites) >= MAX_SITES:
                return
            if isinstance(node, ast.If) and scope.kind == "module" and is_main_guard(node):
                if self.is_entry:
                    self.statements(scope, node.body, conditional=conditional, stack=stack)
            elif isinstance(node, Function | ast.ClassDef | ast.Lambda):
                parts: list[ast.AST] = list(getattr(node, "decorator_list", ()))
                parts += node.body if isinstance(node, ast.ClassDef) else []
                inner = scope.module.scopes[node] if isinstance(node, ast.ClassDef) else scope
                self.statements(inner, parts, conditional=conditional, stack=stack)
            else:
                inner = scope.module.scopes.get(node, scope)
                for child, is_optional in _children(node):
                    self.statements(inner, (child,), conditional=conditional or is_optional, stack=stack)
                if isinstance(node, ast.Call):
                    self.call(node, scope, conditional=conditional, stack=stack)

    def call(self, node: ast.Call, scope: Scope, *, conditional: bool, stack: tuple[str, ...]) -> None:
        """A call, and what the function of the tree that it enters calls, the first time."""
        meaning = self.resolver.resolve(node.func, scope)
        self.sites.append(Site(node, scope, self.resolver, meaning, conditional, stack))
        if meaning is None or len(stack) >= _MAX_STACK:
            return
        target = meaning.definition
        if target is None and meaning.name in _RUNNERS and node.args:
            target = self.resolver.definition(node.args[0], scope)
        if target is not None and target.kind == "class":
            made = self.resolver.method(meaning, "__init__")
            target = None if made is None else made.definition
        if target is not None and target.kind == "function" and target not in self.seen:
            self.seen.add(target)
            body = getattr(target.node, "body", [])
            is_open = conditional or not meaning.is_certain
            self.statements(target, body, conditional=is_open, stack=(*stack, target.name))


def handed(site: Site, resolver: Resolver) -> Iterator[Scope]:
    """Functions of the tree that a call is given, and the methods of a class of the tree that it builds."""
    built = site.definition
    if built is not None and built.kind == "class":
        yield from _methods(built, resolver)
    for one in arguments_of(site.node):
        if isinstance(one, ast.Name | ast.Attribute):
            target = resolver.definition(one, site.scope)
            if target is not None and target.kind == "function":
                yield target


def _methods(owner: Scope, resolver: Resolver, depth: int = 0) -> Iterator[Scope]:
    """Every method of a class, and of its bases in the tree."""
    for bindings in owner.bindings.values():
        for binding in bindings:
            if binding.kind == "def":
                yield owner.module.scopes[binding.node]
    if isinstance(owner.node, ast.ClassDef) and owner.parent is not None and depth < _MAX_BASES:
        for base in owner.node.bases:
            above = resolver.definition(base, owner.parent)
            if above is not None and above is not owner:
                yield from _methods(above, resolver, depth + 1)


def is_script(module: Module) -> bool:
    """Whether a file is made to be run: it has a main guard, or loops and calls at its top level."""
    for node in module.tree.body:
        if isinstance(node, ast.If) and is_main_guard(node):
            return True
        if isinstance(node, ast.For | ast.While | ast.With):
            return True
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
            return True
    return False


def is_main_guard(node: ast.If) -> bool:
    """`if __name__ == "__main__":`."""
    test = node.test
    if not (isinstance(test, ast.Compare) and len(test.comparators) == 1 and isinstance(test.ops[0], ast.Eq)):
        return False
    sides = (test.left, test.comparators[0])
    return any(isinstance(side, ast.Name) and side.id == "__name__" for side in sides) and any(
        isinstance(side, ast.Constant) and side.value == "__main__" for side in sides
    )


def _children(node: ast.AST) -> Iterator[tuple[ast.AST, bool]]:
    """What a node evaluates, in order, and whether it may be left out or happen later."""
    if isinstance(node, ast.If | ast.IfExp):
        yield node.test, False
        rest = node.body if isinstance(node.body, list) else [node.body]
        other = node.orelse if isinstance(node.orelse, list) else [node.orelse]
        yield from ((child, True) for child in (*rest, *other))
    elif isinstance(node, ast.For | ast.AsyncFor | ast.While):
        yield (node.test if isinstance(node, ast.While) else node.iter), False
        yield from ((child, True) for child in (*node.body, *node.orelse))
    elif isinstance(node, ast.Try):
        yield from ((child, False) for child in node.body)
        yield from ((child, True) for child in (*node.handlers, *node.orelse))
        yield from ((child, False) for child in node.finalbody)
    elif isinstance(node, ast.BoolOp):
        yield node.values[0], False
        yield from ((child, True) for child in node.values[1:])
    elif isinstance(node, ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp):
        yield node.generators[0].iter, False
        yield from ((child, True) for child in child_nodes(node) if not isinstance(child, ast.comprehension))
    elif isinstance(node, ast.Match):
        yield node.subject, False
        yield from ((child, True) for child in node.cases)
    else:
        yield from ((child, False) for child in child_nodes(node))
