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

from harness.review.source.execution import MAX_SITES, Execution, Site, handed
from harness.review.source.meaning import Resolver, absolute
from harness.review.source.module import Module
from harness.review.source.nodes import last_name

T = TypeVar("T")
Read = Callable[[str], Module | None]


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
        return self.remember(_sites, module)

    def site(self, module: Module, node: ast.Call) -> Site:
        """One call of a file, resolved by itself."""
        scope = module.scope_of_call[node]
        return Site(node, scope, self.resolver, self.resolver.resolve(node.func, scope))

    def calls(self, module: Module, names: AbstractSet[str]) -> Iterator[Site]:
        """A file's calls of functions and methods with these last names, in source order."""
        return (self.site(module, node) for node in calls_named(module, names))

    def import_sites(self, module: Module) -> tuple[Site, ...]:
        """The calls that importing a file makes."""
        return self.remember(_import_sites, module)

    def imports(self, module: Module) -> tuple[Module, ...]:
        """The modules of the tree that a file imports, anywhere in it; packages on the way included."""
        return self.remember(_imports, module)

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
        run = Execution(self.program.resolver, [], set(self._run.seen), is_entry=True)
        waiting, position = first, 0
        while position < len(waiting):
            for target in handed(waiting[position], self.program.resolver):
                if target not in run.seen and len(run.sites) < MAX_SITES:
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
    def _run(self) -> Execution:
        sites: list[Site] = []
        for module in self.closure[:0:-1]:
            sites += self.program.import_sites(module)
        run = Execution(self.program.resolver, sites, set(), is_entry=True)
        run.statements(self.module.scope, self.module.tree.body, conditional=False, stack=())
        return run


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


def _sites(program: Program, module: Module) -> tuple[Site, ...]:
    resolver = program.resolver
    return tuple(Site(node, scope, resolver, resolver.resolve(node.func, scope)) for node, scope in module.calls)


def _import_sites(program: Program, module: Module) -> tuple[Site, ...]:
    run = Execution(program.resolver, [], set(), is_entry=False)
    run.statements(module.scope, module.tree.body, conditional=False, stack=())
    return tuple(run.sites)


def absolute_imports(module: Module) -> Iterator[str]:
    """The names that a file imports without dots before them, those of modules and of what is taken from them."""
    for node in module.nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _imported_names(module: Module) -> Iterator[tuple[str, list[str]]]:
    """What each import statement of a file takes from where, as absolute names."""
    for node in module.nodes:
        if isinstance(node, ast.Import):
            yield from ((alias.name, []) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            source = absolute("." * node.level + (node.module or ""), module)
            yield source, [f"{source}.{alias.name}" for alias in node.names if alias.name != "*"]


def _imports(program: Program, module: Module) -> tuple[Module, ...]:
    names = [
        name for source, inside in _imported_names(module) for full in (source, *inside) for name in _prefixes(full)
    ]
    found = {one.path: one for name in names if (one := program.find(name, module)) is not None}
    return tuple(found.values())


def _libraries(program: Program, module: Module) -> frozenset[str]:
    names = [source for source, _ in _imported_names(module) if source and program.find(source, module) is None]
    return frozenset(name.partition(".")[0] for name in names)


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
