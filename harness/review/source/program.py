"""The reviewed tree as programs: which file imports which, what runs from an entry on, and in which order.

A script's first entry of `sys.path` is its own folder, then come the roots: that is how absolute imports are found
here (https://docs.python.org/3/library/sys_path_init.html). What is not in the tree is a library, known by its name.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterable, Iterator
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any, TypeVar

from harness.review.finding import Place
from harness.review.source.meaning import Meaning, Resolver, absolute
from harness.review.source.module import Function, Module, Scope, child_nodes
from harness.review.source.nodes import arguments_of, last_name

_MAX_SITES = 20_000
_MAX_STACK = 40
_MAX_BASES = 8
T = TypeVar("T")
Read = Callable[[str], Module | None]
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


class Program:
    """The reviewed tree: modules by path, read when they are needed.

    Args:
        paths: every Python file of the tree, below its root, with `/`.
        read: gives the module of a path, or None where the file cannot be read.
    """

    def __init__(self, paths: Iterable[str], read: Read) -> None:
        self.paths = frozenset(paths)
        self._folders = frozenset(folder for path in self.paths for folder in _folders(path))
        self._read = read
        self._modules: dict[str, Module | None] = {}
        self._sites: dict[str, tuple[Site, ...]] = {}
        self._import_sites: dict[str, tuple[Site, ...]] = {}
        self._imports: dict[str, tuple[Module, ...]] = {}
        self._remembered: dict[tuple[object, str], Any] = {}
        self.resolver = Resolver(self)

    def module(self, path: str) -> Module | None:
        """The module of a path, or None if it cannot be read."""
        if path not in self._modules:
            self._modules[path] = self._read(path)
        return self._modules[path]

    def find(self, name: str, importer: Module) -> Module | None:
        """The module that an absolute dotted name means in a file, or None if it is not in the tree."""
        if not name:
            return None
        below = name.replace(".", "/")
        for root in self._roots(importer.path):
            for path in (f"{root}{below}/__init__.py", f"{root}{below}.py"):
                if path in self.paths and path != importer.path:
                    return self.module(path)
        return None

    def remember(self, find: Callable[[Program, Module], T], module: Module) -> T:
        """What a function finds in a file; it is asked once, however many programs the file belongs to."""
        key = (find, module.path)
        if key not in self._remembered:
            self._remembered[key] = find(self, module)
        found: T = self._remembered[key]
        return found

    def sites(self, module: Module) -> tuple[Site, ...]:
        """Every call of a file, in source order; all count as conditional."""
        if module.path not in self._sites:
            self._sites[module.path] = tuple(
                Site(node, scope, self.resolver, self.resolver.resolve(node.func, scope))
                for node, scope in module.calls
            )
        return self._sites[module.path]

    def site(self, module: Module, node: ast.Call) -> Site:
        """One call of a file, resolved by itself."""
        scope = module.scope_of_call[node]
        return Site(node, scope, self.resolver, self.resolver.resolve(node.func, scope))

    def calls(self, module: Module, names: AbstractSet[str]) -> Iterator[Site]:
        """A file's calls of functions and methods with these last names, in source order."""
        return (self.site(module, node) for node in calls_named(module, names))

    def import_sites(self, module: Module) -> tuple[Site, ...]:
        """The calls that importing a file makes."""
        if module.path not in self._import_sites:
            sites: list[Site] = []
            run = _Execution(self.resolver, sites, set(), is_entry=False)
            run.statements(module.scope, module.tree.body, conditional=False, stack=())
            self._import_sites[module.path] = tuple(sites)
        return self._import_sites[module.path]

    def imports(self, module: Module) -> tuple[Module, ...]:
        """The modules of the tree that a file imports, anywhere in it; packages on the way included."""
        if module.path not in self._imports:
            self._imports[module.path] = tuple(self._find_imports(module))
        return self._imports[module.path]

    def _find_imports(self, module: Module) -> Iterable[Module]:
        found: dict[str, Module] = {}
        for node in module.nodes:
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                source = absolute("." * node.level + (node.module or ""), module)
                names = [source, *(f"{source}.{alias.name}" for alias in node.names if alias.name != "*")]
            else:
                continue
            for name in (part for full in names for part in _prefixes(full)):
                one = self.find(name, module)
                if one is not None:
                    found.setdefault(one.path, one)
        return found.values()

    def libraries(self, modules: Iterable[Module]) -> frozenset[str]:
        """The first names of what these files import from outside of the tree."""
        return frozenset(name for module in modules for name in self.remember(_libraries, module))

    def entry(self, module: Module) -> Entry:
        """A file as the start of a program."""
        return Entry(program=self, module=module)

    def _roots(self, path: str) -> Iterator[str]:
        """Folders that imports of a file may start from: its own and those above it that are no packages, and `src`."""
        for folder in _folders(path):
            if f"{folder}__init__.py" not in self.paths:
                yield folder
                if f"{folder}src/" in self._folders:
                    yield f"{folder}src/"


@dataclass(eq=False)
class Entry:
    """A file as the start of a program: what it can reach, and its calls in the order in which they happen."""

    program: Program
    module: Module

    @cached_property
    def closure(self) -> tuple[Module, ...]:
        """The file and every module of the tree that it imports, directly or not; the file first."""
        found: dict[str, Module] = {self.module.path: self.module}
        waiting = [self.module]
        while waiting:
            for one in self.program.imports(waiting.pop()):
                if one.path not in found:
                    found[one.path] = one
                    waiting.append(one)
        return tuple(found.values())

    @cached_property
    def sites(self) -> tuple[Site, ...]:
        """Every call in the closure, whether or not it is reached; file by file."""
        return tuple(site for module in self.closure for site in self.program.sites(module))

    @cached_property
    def execution(self) -> tuple[Site, ...]:
        """The calls from the file's first line on, in order, through functions of the tree that are called by name.

        Each function is entered once, where it is first called. Imported modules' own statements come first, for
        an import runs them; callbacks, and calls of what cannot be resolved, are not followed.
        """
        return tuple(self._run.sites)

    @cached_property
    def later(self) -> tuple[Site, ...]:
        """The calls that may follow: of callbacks, and of the methods of the classes that the program builds.

        All are conditional, and in no order that can be told: `__getitem__` of a data set, `forward` of a model.
        """
        first = self._run.sites[self.num_imported :]  # what imports only register would be everything
        run = _Execution(self.program.resolver, [], set(self._run.seen), is_entry=True)
        waiting, position = first, 0
        while position < len(waiting):
            for target in _handed(waiting[position], self.program.resolver):
                if target not in run.seen and len(run.sites) < _MAX_SITES:
                    run.seen.add(target)
                    run.statements(target, getattr(target.node, "body", []), conditional=True, stack=(target.name,))
            position += 1
            if position == len(waiting) and waiting is first:
                waiting, position = run.sites, 0
        return tuple(run.sites)

    @cached_property
    def num_imported(self) -> int:
        """How many calls at the head of `execution` are those of imported files."""
        return sum(len(self.program.import_sites(module)) for module in self.closure[1:])

    @cached_property
    def _run(self) -> _Execution:
        sites: list[Site] = []
        for module in self.closure[:0:-1]:
            sites += self.program.import_sites(module)
        run = _Execution(self.program.resolver, sites, set(), is_entry=True)
        run.statements(self.module.scope, self.module.tree.body, conditional=False, stack=())
        return run


@dataclass(slots=True)
class _Execution:
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
            if len(self.sites) >= _MAX_SITES:
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


def calls_named(module: Module, names: AbstractSet[str]) -> list[ast.Call]:
    """The same, unresolved."""
    by_name = calls_by_name(module)
    found = [node for name in by_name.keys() & names for node in by_name[name]]
    return sorted(found, key=lambda node: (node.lineno, node.col_offset))


@lru_cache(maxsize=4096)
def calls_by_name(module: Module) -> dict[str, list[ast.Call]]:
    """A file's calls by the last name of what is called."""
    found: dict[str, list[ast.Call]] = {}
    for node in module.scope_of_call:
        found.setdefault(last_name(node.func), []).append(node)
    return found


def _libraries(program: Program, module: Module) -> frozenset[str]:
    found = set()
    for node in module.nodes:
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            names = [node.module]
        else:
            continue
        found |= {name.partition(".")[0] for name in names if program.find(name, module) is None}
    return frozenset(found)


def _handed(site: Site, resolver: Resolver) -> Iterator[Scope]:
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


def _folders(path: str) -> Iterator[str]:
    """The folders that a path is in, nearest first, each with `/` at its end; the root is ""."""
    parts = path.split("/")[:-1]
    for length in range(len(parts), -1, -1):
        yield "/".join(parts[:length]) + "/" if length else ""


def _prefixes(name: str) -> Iterator[str]:
    """`a`, `a.b`, `a.b.c`."""
    parts = name.split(".")
    for length in range(1, len(parts) + 1):
        yield ".".join(parts[:length])
