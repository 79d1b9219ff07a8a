"""What a name means: imports inside the tree, aliases, attributes of self, results of calls. Simple data flow only.

A meaning's name is how the thing would be written with full names, `torch.utils.data.DataLoader`; what a call gives
has `()` behind it: after `rng = np.random.default_rng()`, `rng.shuffle` is `numpy.random.default_rng().shuffle`.
What is defined in the reviewed tree is `path/of/file.py::qualified.name`, so it is never mistaken for a library's.
"""

from __future__ import annotations

import ast
import builtins
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Protocol

from harness.review.source.module import Binding, Function, Module, Scope

_MAX_HOPS = 24
_BUILTINS = frozenset(dir(builtins))


class Modules(Protocol):
    """Finds modules of the reviewed tree (program.py)."""

    def find(self, name: str, importer: Module) -> Module | None:
        """The module that an absolute dotted name means in a file, or None if it is not in the tree."""


@dataclass(frozen=True, slots=True)
class Meaning:
    """What an expression stands for.

    Attributes:
        name: with full names; see above.
        node: the definition, or the expression that it comes from.
        scope: in which `node` stands.
        module: the module of the tree that it is, if it is one.
        is_certain: no other assignment, branch or import could have given it another meaning.
    """

    name: str
    node: ast.AST | None = None
    scope: Scope | None = None
    module: Module | None = None
    is_certain: bool = True

    @property
    def definition(self) -> Scope | None:
        """The scope of the function or class of the tree that it is."""
        if self.scope is not None and isinstance(self.node, Function | ast.ClassDef):
            return self.scope.module.scopes.get(self.node)
        return None


class Resolver:
    """Resolves expressions; it remembers what it found."""

    def __init__(self, modules: Modules) -> None:
        self._modules = modules
        self._known: dict[ast.expr, Meaning | None] = {}

    def resolve(self, node: ast.expr, scope: Scope, hops: int = 0) -> Meaning | None:
        """What an expression means where it stands, or None if that cannot be told."""
        if hops > _MAX_HOPS:
            return None
        if node in self._known:
            return self._known[node]
        self._known[node] = None  # what refers to itself means nothing
        found: Meaning | None = None
        if isinstance(node, ast.Name):
            found = self._name(node, scope, hops)
        elif isinstance(node, ast.Attribute):
            found = self._attribute(node, scope, hops)
        elif isinstance(node, ast.Call):
            function = self.resolve(node.func, scope, hops + 1)
            found = None if function is None else Meaning(f"{function.name}()", node, scope, None, function.is_certain)
        elif isinstance(node, ast.Subscript):
            base = self.resolve(node.value, scope, hops + 1)
            found = None if base is None else Meaning(f"{base.name}[]", node, scope, None, base.is_certain)
        elif isinstance(node, ast.Await | ast.NamedExpr):
            found = self.resolve(node.value, scope, hops + 1)
        self._known[node] = found
        return found

    def definition(self, node: ast.expr, scope: Scope) -> Scope | None:
        """The function or class of the tree that an expression means."""
        found = self.resolve(node, scope)
        return None if found is None else found.definition

    def constant(self, node: ast.expr | None, scope: Scope, hops: int = 0) -> object:
        """The value of a literal, or of a name that is bound once, to one; `...` where it cannot be told.

        Only None, bool, int, float, str and bytes are constants here; `-1` is one.
        """
        if isinstance(node, ast.Constant):
            return node.value
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
            value = self.constant(node.operand, scope, hops + 1)
            return -value if isinstance(value, int | float) else ...
        if isinstance(node, ast.Name) and hops < _MAX_HOPS:
            bindings = self.bindings(node.id, scope)
            if len(bindings) == 1 and bindings[0].kind == "assign":
                return self.constant(bindings[0].value, bindings[0].scope, hops + 1)
            if len(bindings) == 1 and bindings[0].kind == "import":
                found = self._import(bindings[0], hops + 1)
                if found is not None and found.scope is not None and isinstance(found.node, ast.expr):
                    return self.constant(found.node, found.scope, hops + 1)
        return ...

    def bindings(self, name: str, scope: Scope) -> list[Binding]:
        """Every binding of a name in the scope where it is looked up; [] if it is a builtin or unknown."""
        at: Scope | None = scope
        while at is not None:
            if name in at.bindings and (at.kind != "class" or at is scope):
                return at.bindings[name]
            at = at.parent
        return []

    def member(self, module: Module, name: str, hops: int = 0) -> Meaning | None:
        """What a module of the tree calls `name`: its own, imported into it, or a module inside the package."""
        bindings = module.scope.bindings.get(name)
        if bindings:
            return self._best([self._binding(name, one, hops + 1) for one in bindings])
        inside = self._modules.find(f"{module.name}.{name}", module) if module.is_package else None
        if inside is not None:
            return Meaning(inside.name, module=inside)
        for star in module.stars:
            source = self._modules.find(absolute(star, module), module)
            if source is None:
                return Meaning(f"{absolute(star, module)}.{name}", is_certain=False)
            found = self.member(source, name, hops + 1) if hops < _MAX_HOPS else None
            if found is not None:
                return found
        return None

    def _name(self, node: ast.Name, scope: Scope, hops: int) -> Meaning | None:
        bindings = self.bindings(node.id, scope)
        if not bindings:
            return self._unbound(node.id, scope, hops)
        if len(bindings) > 1 and bindings[0].scope is scope:  # the last assignment above is the likely one
            above = [one for one in bindings if getattr(one.node, "lineno", 0) < node.lineno]
            found = [self._binding(node.id, one, hops + 1) for one in bindings]
            if len({None if one is None else one.name for one in found}) > 1:
                last = self._binding(node.id, above[-1], hops + 1) if above else None
                return None if last is None else replace(last, is_certain=False)
        return self._best([self._binding(node.id, one, hops + 1) for one in bindings])

    def _unbound(self, name: str, scope: Scope, hops: int) -> Meaning | None:
        if scope.module.stars:
            found = self.member(scope.module, name, hops + 1)
            if found is not None and not (name in _BUILTINS and not found.is_certain):
                return found
        return Meaning(f"builtins.{name}") if name in _BUILTINS else None

    def _best(self, found: list[Meaning | None]) -> Meaning | None:
        """The one meaning; of several that differ the first known one, uncertain."""
        known = [one for one in found if one is not None]
        if not known:
            return None
        is_certain = len(known) == len(found) and len({one.name for one in known}) == 1
        return known[0] if is_certain else replace(known[0], is_certain=False)

    def _binding(self, name: str, binding: Binding, hops: int) -> Meaning | None:
        if binding.kind == "import":
            return self._import(binding, hops)
        if binding.kind in ("def", "class"):
            owner = binding.scope
            qualified = f"{owner.name}.{name}" if owner.name else name
            return Meaning(f"{owner.module.path}::{qualified}", binding.node, owner)
        if binding.kind == "assign" and binding.value is not None:
            found = self.resolve(binding.value, binding.scope, hops)
            if found is None and isinstance(binding.value, ast.Constant):
                return Meaning(f"const:{type(binding.value.value).__name__}", binding.value, binding.scope)
            return found
        return None

    def _import(self, binding: Binding, hops: int) -> Meaning | None:
        importer = binding.scope.module
        name = absolute(binding.imported, importer)
        module = self._modules.find(name, importer)
        if module is not None:
            return Meaning(module.name, module=module)
        if binding.is_from:
            package, _, last = name.rpartition(".")
            source = self._modules.find(package, importer)
            if source is not None:
                return self.member(source, last, hops + 1) if hops < _MAX_HOPS else None
        return Meaning(name, binding.node, binding.scope)

    def _attribute(self, node: ast.Attribute, scope: Scope, hops: int) -> Meaning | None:
        own = self._of_self(node, scope, hops)
        if own is not None:
            return own
        base = self.resolve(node.value, scope, hops + 1)
        if base is None:
            return None
        if base.module is not None:
            return self.member(base.module, node.attr, hops + 1)
        method = self.method(base, node.attr)
        if method is not None:
            return method
        return Meaning(f"{base.name}.{node.attr}", node, scope, None, base.is_certain)

    def _of_self(self, node: ast.Attribute, scope: Scope, hops: int) -> Meaning | None:
        """`self.x`: what the class's methods assign to it, or its method; else None."""
        if not (isinstance(node.value, ast.Name) and node.value.id in ("self", "cls")):
            dotted = f"{node.value.id}.{node.attr}" if isinstance(node.value, ast.Name) else ""
            found = scope.bindings.get(dotted, [])
            return self._best([self._binding(dotted, one, hops + 1) for one in found]) if found else None
        owner = scope.enclosing_class
        if owner is None:
            return None
        assigned = owner.bindings.get(f"{node.value.id}.{node.attr}", [])
        if assigned:
            return self._best([self._binding(node.attr, one, hops + 1) for one in assigned])
        return next((found for found in self._inherited(owner, node.attr)), None)

    def method(self, base: Meaning, name: str) -> Meaning | None:
        """`Class.method`, or the method of what calling a class of the tree gives."""
        definition = base.definition
        if definition is None and isinstance(base.node, ast.Call) and base.scope is not None:
            definition = self.definition(base.node.func, base.scope)
        if definition is None or definition.kind != "class":
            return None
        return next((found for found in self._inherited(definition, name)), None)

    def _inherited(self, owner: Scope, name: str, depth: int = 0) -> Iterator[Meaning]:
        """A class's attribute, its own or of its bases in the tree, nearest first."""
        for binding in owner.bindings.get(name, []):
            found = self._binding(name, binding, depth)
            if found is not None:
                yield found
        if isinstance(owner.node, ast.ClassDef) and owner.parent is not None and depth < 8:
            for base in owner.node.bases:
                definition = self.definition(base, owner.parent)
                if definition is not None and definition is not owner:
                    yield from self._inherited(definition, name, depth + 1)


def absolute(imported: str, importer: Module) -> str:
    """An imported name without leading dots: relative ones are taken from the importing file's package."""
    dots = len(imported) - len(imported.lstrip("."))
    if not dots:
        return imported
    parts = importer.name.split(".") if importer.name else []
    keep = len(parts) - dots + (1 if importer.is_package else 0)
    return ".".join([*parts[: max(0, keep)], *([imported[dots:]] if imported[dots:] else [])])
