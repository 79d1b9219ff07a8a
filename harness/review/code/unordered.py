"""Whether the order of a value that has none (a set, a directory's listing) reaches anything.

The value is followed through what keeps its order (`list`, comprehensions, concatenation, names) to what uses it:
`sorted`, `len`, membership and sets forget an order; indices, joins, label maps, writes and lists that are used do not.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from harness.review.source.meaning import Resolver
from harness.review.source.module import Function, Module, Scope
from harness.review.source.nodes import is_name, last_name, text_of, words

_MAX_DEPTH = 7
_FORGETS = words(
    "all any bool Counter frozenset len max min set sorted natsorted union print repr type assertEqual "
    "assertCountEqual fsum unique nlargest nsmallest isinstance update difference_update issubset issuperset "
    "intersection difference isdisjoint add discard rmtree remove unlink debug info warning error warn exception str "
    "get_logger log getLogger write_stdout echo symmetric_difference sum defaultdict"
)
_KEEPS = words(
    "chain cycle deepcopy copy dropwhile filter iter islice list map reversed takewhile tqdm trange track tuple "
    "from_iterable extend cast fromkeys deque"
)
_USES = words(
    "array asarray cat choice choices concat concatenate concatenate_datasets stack ConcatDataset enumerate from_dict "
    "join load_dataset sample shuffle tensor vstack zip train_test_split dump dumps writelines next pop popitem index "
    "Index interleave_datasets hstack split_dataset random_split to_csv add_tokens accumulate"
)
_KEPT = words("list reversed sorted natsorted tuple")
_TOLD = re.compile(r"^(print|debug|info|warn|error|exception|critical|log|echo|rank_print|rank0_print)")
_MESSAGES = (ast.Raise, ast.Assert, ast.JoinedStr, ast.FormattedValue)
_SORTS = re.compile(r"\.sort\(|sorted\(|sort_values\(|natsorted\(")


@dataclass(frozen=True, slots=True)
class Use:
    """What an order reaches: in words for a message, and whether it does so for sure."""

    what: str
    is_sure: bool = True
    node: ast.AST | None = None


@dataclass(slots=True)
class Follower:
    """Follows one value through a file."""

    module: Module
    resolver: Resolver
    is_of_set: bool = False

    def use(self, node: ast.AST, depth: int = 0, *, is_set: bool = False) -> Use | None:
        """Where the order of an expression's value is used, or None where it is forgotten, or cannot be told.

        Args:
            node: the expression.
            depth: how many steps were followed to it.
            is_set: it is a set still: handing it on does not fix an order.
        """
        if depth > _MAX_DEPTH:
            return None
        parent = self.module.parents.get(node)
        if parent is None or isinstance(parent, _MESSAGES):
            return None
        if isinstance(parent, ast.Call):
            return self._in_call(node, parent, depth)
        if isinstance(parent, ast.keyword):
            call = self.module.parents[parent]
            return self._in_call(node, call, depth) if isinstance(call, ast.Call) else None
        if isinstance(parent, ast.comprehension) and parent.iter is node:
            return self._in_comprehension(parent, depth)
        if isinstance(parent, ast.For | ast.AsyncFor) and parent.iter is node:
            return self._in_loop(parent, depth)
        if isinstance(parent, ast.Subscript) and parent.value is node:
            return self._in_index(parent)
        if isinstance(parent, ast.Attribute) and parent.value is node:
            return self._in_method(parent, depth)
        return self._in_statement(node, parent, depth, is_set=is_set)

    def _in_statement(self, node: ast.AST, parent: ast.AST, depth: int, *, is_set: bool) -> Use | None:
        if isinstance(parent, ast.Assign | ast.AnnAssign | ast.AugAssign | ast.NamedExpr) and parent.value is node:
            targets = parent.targets if isinstance(parent, ast.Assign) else [parent.target]
            is_built = self.is_of_set and isinstance(node, ast.ListComp)
            uses = (self.of_name(one, parent, depth + 1, is_set=is_set, is_built=is_built) for one in targets)
            return next((use for use in uses if use is not None), None)
        if isinstance(parent, ast.BinOp) and isinstance(parent.op, ast.Add):
            return self.use(parent, depth + 1)
        if isinstance(parent, ast.BoolOp) or (isinstance(parent, ast.IfExp) and node is not parent.test):
            return self.use(parent, depth + 1, is_set=is_set)
        if isinstance(parent, ast.Starred):
            holder = self.module.parents[parent]
            if isinstance(holder, ast.List | ast.Tuple):
                return self.use(holder, depth + 1)
        if isinstance(parent, ast.Return) and not is_set:
            return self._returned(parent)
        if isinstance(parent, ast.YieldFrom):
            return Use("is yielded one by one", is_sure=False, node=parent)
        return None

    def of_name(
        self, target: ast.expr, assigned: ast.AST, depth: int, *, is_set: bool = False, is_built: bool = False
    ) -> Use | None:
        """Where a name that holds the value is used with its order; None too if it is sorted anywhere.

        Args:
            target: the name, or an attribute of self.
            assigned: the statement that gives it the value.
            depth: how many steps were followed to it.
            is_set: see `use`.
            is_built: a list that a loop filled: another loop of the same order may index it alike.
        """
        if depth > _MAX_DEPTH or not isinstance(target, ast.Name | ast.Attribute):
            return None
        written = ast.unparse(target)
        scope = self.module.scope_at(target)
        if isinstance(target, ast.Attribute):
            if not (isinstance(target.value, ast.Name) and target.value.id == "self" and scope.enclosing_class):
                return None
            scope = scope.enclosing_class or scope
        body = scope.node
        found: Use | None = None
        for one in self._uses_of(written, body, target, assigned):
            if self._is_sorted(one):
                return None
            if found is None and not (self._is_indexed_alike(one, is_built=is_built) or self._is_only(one, written)):
                found = self.use(one, depth + 1, is_set=is_set)
        return found

    def _is_indexed_alike(self, node: ast.expr, *, is_built: bool) -> bool:
        parent = self.module.parents.get(node)
        if not (is_built and isinstance(node, ast.Name) and isinstance(parent, ast.Subscript)):
            return False
        return not isinstance(parent.slice, ast.Constant | ast.Slice | ast.UnaryOp)

    def _is_only(self, node: ast.expr, written: str) -> bool:
        """Where `len(files) == 1` was asked for there is but one, and no order."""
        function = self.module.scope_at(node).function
        around = self.module.tree if function is None else function.node
        return any(
            isinstance(one, ast.Compare)
            and ast.unparse(one.left) == f"len({written})"
            and any(isinstance(other, ast.Constant) and other.value == 1 for other in one.comparators)
            for one in ast.walk(around)
        )

    def _uses_of(self, written: str, body: ast.AST, target: ast.expr, assigned: ast.AST) -> Iterator[ast.expr]:
        """Every reading of a name or of an attribute of self in a scope, below its assignment where that is told."""
        line = getattr(assigned, "lineno", 0)
        for one in ast.walk(body):
            if isinstance(one, ast.Name) and isinstance(target, ast.Name):
                is_read = one.id == written and isinstance(one.ctx, ast.Load) and one.lineno >= line
                if is_read and not self._is_inside(one, assigned):
                    yield one
            elif isinstance(one, ast.Attribute) and isinstance(target, ast.Attribute):
                is_read = one.attr == target.attr and isinstance(one.ctx, ast.Load)
                if is_read and ast.unparse(one) == written:
                    yield one

    def _is_inside(self, node: ast.AST, outer: ast.AST) -> bool:
        return any(one is outer for one in self.module.ancestors(node)) and not isinstance(outer, ast.For)

    def _is_sorted(self, node: ast.expr) -> bool:
        """`x.sort()`, `x = sorted(x)`, `random.shuffle(x)` does not count."""
        parent = self.module.parents.get(node)
        if isinstance(parent, ast.Attribute) and parent.attr in ("sort", "sort_values"):
            return True
        if isinstance(parent, ast.Call) and node in parent.args and last_name(parent.func) in ("sorted", "natsorted"):
            holder = self.module.parents.get(parent)
            while (
                isinstance(holder, ast.Call | ast.Subscript)
                and last_name(getattr(holder, "func", parent.func)) in _KEPT
            ):
                holder = self.module.parents.get(holder)
            return isinstance(holder, ast.Assign) and any(ast.unparse(t) == ast.unparse(node) for t in holder.targets)
        return False

    def _in_call(self, node: ast.AST, call: ast.Call, depth: int) -> Use | None:
        name = last_name(call.func)
        if call.func is node or name in _FORGETS:
            return None
        if name == "extend" and isinstance(call.func, ast.Attribute):
            return self.of_name(call.func.value, call, depth + 1)
        if name in _USES:
            return None if self._is_told(call) else self._used_by(name, node, call, depth)
        if name in _KEEPS:
            return self.use(call, depth + 1)
        return None

    def _used_by(self, name: str, node: ast.AST, call: ast.Call, depth: int) -> Use | None:
        if name == "enumerate":
            return self._enumerated(call, depth)
        if name == "zip":
            holder = self.module.parents.get(call)
            if isinstance(holder, ast.Call) and last_name(holder.func) in ("dict", "sorted", "set"):
                others = [one for one in call.args if one is not node]
                ordered = any(isinstance(one, ast.Call) and last_name(one.func) in ("range", "count") for one in others)
                return Use("numbers what `zip` pairs", node=call) if ordered else None
            return None
        if name in ("pop", "index") or (name == "join" and not self._is_kept(call)):
            return None
        return Use(f"goes into `{text_of(call.func, 50)}`", is_sure=name not in ("dump", "dumps", "next"), node=call)

    def _enumerated(self, call: ast.Call, depth: int) -> Use | None:
        """`{word: i for i, word in enumerate(words)}`; a counter that only reports is nothing."""
        holder = self.module.parents.get(call)
        if isinstance(holder, ast.Call) and last_name(holder.func) in ("tqdm", "list", "dict"):
            holder = self.module.parents.get(holder)
        if isinstance(holder, ast.comprehension):
            whole = self.module.parents[holder]
            if isinstance(whole, ast.DictComp | ast.ListComp | ast.SetComp | ast.GeneratorExp):
                return Use("is numbered by `enumerate`", node=call)
        if isinstance(holder, ast.For):
            return self._in_loop(holder, depth, counter=True)
        return None

    def _in_comprehension(self, part: ast.comprehension, depth: int) -> Use | None:
        whole = self.module.parents[part]
        return self.use(whole, depth + 1) if isinstance(whole, ast.ListComp | ast.GeneratorExp) else None

    def _in_loop(self, loop: ast.For | ast.AsyncFor, depth: int, *, counter: bool = False) -> Use | None:
        """A loop uses the order if it fills a list that is used so, yields one by one, or numbers."""
        if counter and isinstance(loop.target, ast.Tuple) and isinstance(loop.target.elts[0], ast.Name):
            number = loop.target.elts[0].id
            if any(_is_numbering(one, number) for part in loop.body for one in ast.walk(part)):
                return Use("is numbered by `enumerate`", node=loop)
        for one in _own_statements(loop.body):
            if isinstance(one, ast.Yield | ast.YieldFrom):
                return Use("is yielded one by one", is_sure=False, node=one)
            filled: ast.expr | None = None
            if isinstance(one, ast.Call) and isinstance(one.func, ast.Attribute):
                is_filling = one.func.attr in ("append", "extend", "insert", "appendleft")
                filled = one.func.value if is_filling and self._is_of_loop(one, loop) else None
            elif isinstance(one, ast.AugAssign) and isinstance(one.op, ast.Add) and isinstance(one.value, ast.List):
                filled = one.target
            found = None if filled is None else self.of_name(filled, loop, depth + 1, is_built=True)
            if found is not None:
                return found
        return None

    def _is_of_loop(self, call: ast.Call, loop: ast.For | ast.AsyncFor) -> bool:
        """The list is made outside of the loop: one made inside holds one round's things only."""
        assert isinstance(call.func, ast.Attribute)
        owner = call.func.value
        if not isinstance(owner, ast.Name):
            return isinstance(owner, ast.Attribute)
        nodes = (one for part in (loop.target, *loop.body) for one in ast.walk(part))
        return not any(is_name(one, owner.id) and isinstance(getattr(one, "ctx", None), ast.Store) for one in nodes)

    def _in_index(self, node: ast.Subscript) -> Use | None:
        if not isinstance(node.ctx, ast.Load) or self._is_told(node):
            return None
        if isinstance(node.slice, ast.Constant) and isinstance(node.slice.value, str):
            return None
        text = ast.unparse(node.slice)
        return Use(f"is taken by its place, `[{text}]`", is_sure=True, node=node)

    def _in_method(self, node: ast.Attribute, depth: int) -> Use | None:
        call = self.module.parents.get(node)
        is_copied = isinstance(call, ast.Call) and call.func is node and node.attr == "copy"
        return self.use(call, depth + 1) if is_copied and call is not None else None

    def _is_kept(self, call: ast.Call) -> bool:
        """Whether a joined text is more than a message: written, returned, hashed."""
        parent = self.module.parents.get(call)
        if isinstance(parent, ast.Assign) and isinstance(parent.targets[0], ast.Name):
            name, scope = parent.targets[0].id, self.module.scope_at(parent.targets[0])
            uses = (one for one in ast.walk(scope.node) if isinstance(one, ast.Name) and one.id == name)
            read = [one for one in uses if isinstance(one.ctx, ast.Load)]
            told = (*_MESSAGES, ast.BinOp)
            return any(not isinstance(self.module.parents[one], told) and not self._is_told(one) for one in read)
        return not isinstance(parent, (*_MESSAGES, ast.BinOp))

    def _is_told(self, node: ast.AST) -> bool:
        """It stands in a message: a print, a log line, an exception."""
        for above in self.module.ancestors(node):
            if isinstance(above, ast.Raise | ast.Assert):
                return True
            if isinstance(above, ast.Call) and _TOLD.match(last_name(above.func)):
                return True
            if isinstance(above, ast.stmt):
                return False
        return False

    def _returned(self, node: ast.Return) -> Use | None:
        """A function hands it on; where everybody in this file who calls it sorts, nothing is said."""
        scope: Scope | None = self.module.scope_at(node).function
        if scope is None or not isinstance(scope.node, Function):
            return None
        name = scope.node.name
        if isinstance(node.value, ast.Call) and _is_handed_on(node.value, scope.node.args):
            return None
        calls = [call for call, _scope in self.module.calls if last_name(call.func) == name]
        for call in calls:
            holder = self.module.parents.get(call)
            if isinstance(holder, ast.Call) and last_name(holder.func) in _FORGETS:
                return None
            if isinstance(holder, ast.Assign) and _SORTS.search(self.module.text):
                return None
        return Use(f"is returned by `{name}`", is_sure=False, node=node)


def _own_statements(body: Iterable[ast.AST]) -> Iterator[ast.AST]:
    """Statements and what is in them, in order; definitions are left out."""
    for one in body:
        if not isinstance(one, Function | ast.Lambda | ast.ClassDef):
            yield one
            yield from _own_statements(ast.iter_child_nodes(one))


def _is_handed_on(call: ast.Call, parameters: ast.arguments) -> bool:
    """`def ls(path): return os.listdir(path)`: another name for the listing, whose callers may sort."""
    names = {one.arg for one in (*parameters.posonlyargs, *parameters.args, *parameters.kwonlyargs)}
    return bool(call.args) and all(isinstance(one, ast.Name) and one.id in names for one in call.args)


def _is_numbering(node: ast.AST, number: str) -> bool:
    """`ids[word] = i`, `words[i] = word`: the number itself, not what stands at it in another list."""
    if not isinstance(node, ast.Assign) or not isinstance(node.targets[0], ast.Subscript):
        return False
    value, key = node.value, node.targets[0].slice
    if isinstance(value, ast.BinOp):
        value = value.left if isinstance(value.left, ast.Name) else value.right
    return any(isinstance(one, ast.Name) and one.id == number for one in (value, key))
