"""One Python file as the review sees it: its syntax tree, its scopes with what they bind, its calls. Nothing is run.

Scopes are those of the language (execution model, https://docs.python.org/3/reference/executionmodel.html): modules,
classes, functions, lambdas, comprehensions. Names are resolved in `meaning.py`.
"""

from __future__ import annotations

import ast
import io
import re
import tokenize
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

from harness.review.finding import Place

MAX_BYTES = 4 << 20
MAX_DEPTH = 400  # of nested nodes: deeper code is refused, for every walk here recurses

BindingKind = Literal["import", "assign", "def", "class", "parameter", "other"]
Function = ast.FunctionDef | ast.AsyncFunctionDef
_OWN_SCOPE = (
    ast.FunctionDef,
    ast.AsyncFunctionDef,
    ast.ClassDef,
    ast.Lambda,
    ast.ListComp,
    ast.SetComp,
    ast.DictComp,
    ast.GeneratorExp,
)


_BINDING = (  # what gives names a meaning, besides definitions
    ast.Import,
    ast.ImportFrom,
    ast.Assign,
    ast.AnnAssign,
    ast.NamedExpr,
    ast.AugAssign,
    ast.For,
    ast.AsyncFor,
    ast.comprehension,
    ast.withitem,
    ast.ExceptHandler,
    ast.Global,
    ast.Nonlocal,
)
_PLAIN = frozenset(  # fields with operators and contexts, one object in all places, and with texts and numbers
    ("ctx", "op", "ops", "id", "attr", "arg", "module", "level", "asname", "type_comment", "is_async", "conversion")
)
_FIELDS: dict[type[ast.AST], tuple[str, ...]] = {}
_LEAVES = frozenset((ast.Name, ast.Constant, ast.alias, ast.Pass, ast.Break, ast.Continue))


class UnreadableError(ValueError):
    """The file is no Python that can be read; the message says why, in a few words."""


@dataclass(frozen=True, slots=True)
class Binding:
    """One place that gives a name a meaning.

    Attributes:
        kind: `other` is what is not followed: loop variables, unpacked tuples, `except as`, augmented assignments.
        node: the statement, definition or argument.
        value: what is assigned (`assign`), or a parameter's default.
        imported: `package.module` or `package.module.name` (`import`); relative ones begin with their dots.
        is_from: `from package import name`, which may name a module or what stands in one.
    """

    kind: BindingKind
    node: ast.AST
    scope: Scope
    value: ast.expr | None = None
    imported: str = ""
    is_from: bool = False


@dataclass(slots=True, eq=False)
class Scope:
    """A scope; `name` is its qualified name in the module, "" for the module's own."""

    node: ast.AST
    kind: Literal["module", "class", "function", "inner"]
    name: str
    parent: Scope | None
    module: Module
    bindings: dict[str, list[Binding]] = field(default_factory=dict)
    outer: set[str] = field(default_factory=set)  # declared global or nonlocal
    calls: list[ast.Call] = field(default_factory=list)  # in order of evaluation, as far as source order gives it

    @property
    def function(self) -> Scope | None:
        """The function it stands in, or is."""
        scope: Scope | None = self
        while scope is not None and scope.kind != "function":
            scope = scope.parent if scope.kind == "inner" else None
        return scope

    @property
    def enclosing_class(self) -> Scope | None:
        """The class whose method this is, or stands in."""
        scope: Scope | None = self
        while scope is not None and scope.kind != "class":
            scope = scope.parent
        return scope


@dataclass(eq=False)
class Module:
    """One file.

    Attributes:
        path: below the reviewed folder, with `/`.
        name: how it is imported, as far as the path tells: `package.module`.
        is_package: it is an `__init__.py`.
        scopes: by the node that opens them; the module's own is under its tree.
        parents: of every node but the tree.
        stars: modules of `from x import *`.
        calling: nodes with a call in them, definitions in them included.
    """

    path: str
    text: str
    tree: ast.Module
    name: str
    is_package: bool
    scopes: dict[ast.AST, Scope] = field(default_factory=dict, repr=False)
    parents: dict[ast.AST, ast.AST] = field(default_factory=dict, repr=False)
    scope_of_call: dict[ast.Call, Scope] = field(default_factory=dict, repr=False)
    stars: list[str] = field(default_factory=list)
    calling: set[ast.AST] = field(default_factory=set, repr=False)

    @property
    def scope(self) -> Scope:
        """The module's own scope."""
        return self.scopes[self.tree]

    @cached_property
    def lines(self) -> list[str]:
        """The text's lines, as Python counts them: a form feed ends none."""
        return self.text.split("\n")

    @cached_property
    def nodes(self) -> tuple[ast.AST, ...]:
        """Every node but the tree, in source order."""
        return tuple(self.parents)

    @property
    def calls(self) -> Iterator[tuple[ast.Call, Scope]]:
        """Every call with its scope, in source order."""
        return iter(self.scope_of_call.items())

    def place(self, node: ast.AST) -> Place:
        """Where a node stands."""
        return Place(path=self.path, line=getattr(node, "lineno", 0), column=getattr(node, "col_offset", 0) + 1)

    def scope_at(self, node: ast.AST) -> Scope:
        """The scope in which a node's own names are looked up."""
        at: ast.AST = self.parents.get(node, self.tree)
        while at not in self.scopes:
            at = self.parents[at]
        return self.scopes[at]

    def ancestors(self, node: ast.AST) -> Iterator[ast.AST]:
        """What a node stands in, from the inside out, the tree last."""
        while node is not self.tree:
            node = self.parents[node]
            yield node


def read_module(path: str, data: bytes) -> Module:
    """Parse a file.

    Raises:
        UnreadableError: it is too large, not text, no Python, or nested too deeply.
    """
    if len(data) > MAX_BYTES:
        raise UnreadableError(f"{len(data) / 1e6:.1f} MB of source: more than {MAX_BYTES >> 20} MiB are not read")
    text = decode(data)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the code that is read: invalid escapes and their like
            tree = ast.parse(text)
        name, is_package = module_name(path)
        module = Module(path=path, text=text, tree=tree, name=name, is_package=is_package)
        _Builder(module).build()
    except SyntaxError as error:
        raise UnreadableError(f"no valid Python: {error.msg}, line {error.lineno or 0}") from error
    except (RecursionError, MemoryError) as error:
        raise UnreadableError("nested too deeply to be read") from error
    except ValueError as error:
        raise UnreadableError(f"no valid Python: {error}") from error
    return module


def decode(data: bytes) -> str:
    """Python source as text (PEP 263: a coding line or a byte order mark, else UTF-8).

    Raises:
        UnreadableError: it is not in the encoding that it declares.
    """
    if b"\0" in data:
        raise UnreadableError("it holds null bytes: no text")
    try:
        encoding, _ = tokenize.detect_encoding(io.BytesIO(data).readline)
        return re.sub(r"\r\n?", "\n", data.decode(encoding))
    except (SyntaxError, UnicodeDecodeError, LookupError) as error:
        raise UnreadableError(f"not in the encoding that it declares: {error}") from error


def module_name(path: str) -> tuple[str, bool]:
    """How a file is imported, from the reviewed folder, and whether it is a package."""
    parts = path.removesuffix(".py").split("/")
    is_package = parts[-1] == "__init__"
    return ".".join(parts[:-1] if is_package else parts), is_package


def child_nodes(node: ast.AST) -> Iterator[ast.AST]:
    """What `ast.iter_child_nodes` gives but operators and contexts, which are shared by all nodes; faster."""
    kind = type(node)
    if kind not in _FIELDS:
        _FIELDS[kind] = tuple(name for name in node._fields if name not in _PLAIN)
    for name in _FIELDS[kind]:
        value = getattr(node, name, None)
        if isinstance(value, list):
            for one in value:
                if isinstance(one, ast.AST):
                    yield one
        elif isinstance(value, ast.AST):
            yield value


class _Builder:
    """Fills a module's scopes in one walk."""

    def __init__(self, module: Module) -> None:
        self.module = module
        self.depth = 0

    def build(self) -> None:
        tree = self.module.tree
        scope = Scope(node=tree, kind="module", name="", parent=None, module=self.module)
        self.module.scopes[tree] = scope
        for child in tree.body:
            self.visit(child, tree, scope)

    def visit(self, node: ast.AST, parent: ast.AST, scope: Scope) -> None:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise RecursionError
        self.module.parents[node] = parent
        if isinstance(node, _OWN_SCOPE):
            self.open_scope(node, scope)
        else:
            if isinstance(node, _BINDING):
                self.bind(node, scope)
            for child in child_nodes(node):
                if type(child) in _LEAVES:
                    self.module.parents[child] = node
                else:
                    self.visit(child, node, scope)
            if isinstance(node, ast.Call):  # after its arguments, which are evaluated first
                scope.calls.append(node)
                self.module.scope_of_call[node] = scope
                self.mark(node)
        self.depth -= 1

    def mark(self, node: ast.AST | None) -> None:
        while node is not None and node not in self.module.calling:
            self.module.calling.add(node)
            node = self.module.parents.get(node)

    def open_scope(self, node: ast.AST, scope: Scope) -> None:
        if isinstance(node, ast.ClassDef):
            self.definition(node, scope, "class")
        elif isinstance(node, Function):
            self.definition(node, scope, "def")
        elif isinstance(node, ast.Lambda):
            inner = self.inner(node, scope, "function", f"{scope.name}.<lambda>")
            self.parameters(node.args, node, scope, inner)
            self.visit(node.body, node, inner)
        else:
            assert isinstance(node, ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp)
            inner = self.inner(node, scope, "inner", scope.name)
            for generator in node.generators:
                self.visit(generator, node, inner)
            for part in (node.key, node.value) if isinstance(node, ast.DictComp) else (node.elt,):
                self.visit(part, node, inner)

    def definition(self, node: ast.ClassDef | Function, scope: Scope, kind: Literal["class", "def"]) -> None:
        self.add(node.name, Binding(kind, node, scope))
        for decorator in node.decorator_list:
            self.visit(decorator, node, scope)
        name = f"{scope.name}.{node.name}" if scope.name else node.name
        if isinstance(node, ast.ClassDef):
            for base in (*node.bases, *(keyword.value for keyword in node.keywords)):
                self.visit(base, node, scope)
            inner = self.inner(node, scope, "class", name)
        else:
            inner = self.inner(node, scope, "function", name)
            self.parameters(node.args, node, scope, inner)
            if node.returns is not None:
                self.visit(node.returns, node, scope)
        for child in node.body:
            self.visit(child, node, inner)

    def inner(self, node: ast.AST, scope: Scope, kind: Literal["class", "function", "inner"], name: str) -> Scope:
        inner = Scope(node=node, kind=kind, name=name, parent=scope, module=self.module)
        self.module.scopes[node] = inner
        return inner

    def parameters(self, arguments: ast.arguments, node: ast.AST, outer: Scope, inner: Scope) -> None:
        positional = [*arguments.posonlyargs, *arguments.args]
        defaults: list[ast.expr | None] = [None] * (len(positional) - len(arguments.defaults))
        pairs = [
            *zip(positional, [*defaults, *arguments.defaults], strict=True),
            *zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True),
        ]
        stars = [(argument, None) for argument in (arguments.vararg, arguments.kwarg) if argument is not None]
        for argument, default in (*pairs, *stars):
            self.module.parents[argument] = node
            inner.bindings.setdefault(argument.arg, []).append(Binding("parameter", argument, inner, default))
            for part in (argument.annotation, default):
                if part is not None:
                    self.visit(part, node, outer)

    def add(self, name: str, binding: Binding) -> None:
        scope: Scope | None = binding.scope
        if name in binding.scope.outer:
            scope = binding.scope.parent
            while scope is not None and scope.kind not in ("module", "function"):
                scope = scope.parent
        (scope or binding.scope).bindings.setdefault(name, []).append(binding)

    def bind(self, node: ast.AST, scope: Scope) -> None:
        if isinstance(node, ast.Import | ast.ImportFrom):
            self.bind_import(node, scope)
        elif isinstance(node, ast.Assign):
            for target in node.targets:
                self.bind_target(target, node, scope, node.value)
        elif isinstance(node, ast.AnnAssign | ast.NamedExpr):
            self.bind_target(node.target, node, scope, node.value)
        elif isinstance(node, ast.AugAssign | ast.For | ast.AsyncFor | ast.comprehension):
            self.bind_target(node.target, node, scope, None)
        elif isinstance(node, ast.withitem) and node.optional_vars is not None:
            self.bind_target(node.optional_vars, node, scope, node.context_expr)
        elif isinstance(node, ast.ExceptHandler) and node.name:
            self.add(node.name, Binding("other", node, scope))
        elif isinstance(node, ast.Global | ast.Nonlocal):
            scope.outer.update(node.names)

    def bind_target(self, target: ast.expr, node: ast.AST, scope: Scope, value: ast.expr | None) -> None:
        while scope.kind == "inner" and isinstance(node, ast.NamedExpr) and scope.parent is not None:
            scope = scope.parent  # PEP 572: a walrus binds outside of the comprehension
        if isinstance(target, ast.Name):
            self.add(target.id, Binding("assign" if value is not None else "other", node, scope, value))
        elif isinstance(target, ast.Tuple | ast.List):
            values: list[ast.expr | None] = [None] * len(target.elts)
            if isinstance(value, ast.Tuple | ast.List) and len(value.elts) == len(target.elts):
                values = list(value.elts)
            for one, part in zip(target.elts, values, strict=True):
                self.bind_target(one, node, scope, part)
        elif isinstance(target, ast.Starred):
            self.bind_target(target.value, node, scope, None)
        elif isinstance(target, ast.Attribute) and isinstance(target.value, ast.Name):
            # `self.x = ...`: kept under its dotted name in the scope of the class (meaning.py looks there).
            owner = scope.enclosing_class if target.value.id in ("self", "cls") else scope
            kind: BindingKind = "assign" if value is not None else "other"
            (owner or scope).bindings.setdefault(f"{target.value.id}.{target.attr}", []).append(
                Binding(kind, node, scope, value)
            )

    def bind_import(self, node: ast.Import | ast.ImportFrom, scope: Scope) -> None:
        if isinstance(node, ast.Import):
            for alias in node.names:
                bound = alias.asname or alias.name.partition(".")[0]
                self.add(bound, Binding("import", node, scope, imported=alias.name if alias.asname else bound))
            return
        source = "." * node.level + (node.module or "")
        for alias in node.names:
            if alias.name == "*":
                self.module.stars.append(source)
                continue
            imported = source + alias.name if source.endswith(".") else f"{source}.{alias.name}"
            self.add(alias.asname or alias.name, Binding("import", node, scope, imported=imported, is_from=True))
