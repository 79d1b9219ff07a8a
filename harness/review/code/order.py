"""Orders (REP201-205): of DataLoaders, of sets of strings, of directories, of what hash() of a string decides."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from harness.review.code.draws import LOADERS, is_unset
from harness.review.code.kinds import common, kind_of, kind_of_items
from harness.review.code.seeding import is_aside
from harness.review.code.unordered import Follower
from harness.review.finding import Finding, Said, Showing, finding, holds
from harness.review.source.execution import Site
from harness.review.source.meaning import Resolver
from harness.review.source.module import Function, Module, Scope
from harness.review.source.nodes import called, last_name, text_of, words
from harness.review.source.program import Entry, Program

_LISTINGS = words("os.listdir os.scandir glob.glob glob.iglob")
_PATH_METHODS = words("glob iglob iterdir rglob")
_FILE = re.compile(r"\.(json|pt|bin|pkl|arrow|parquet|txt|npy|csv)\b|/")
_PATHS = re.compile(r"(^|[._])(pathlib\.)?Path\(\)|path|dir|folder|root|parent|out", re.I)


def check_order(program: Program, module: Module) -> Iterator[Finding]:
    """Sets of strings and listings of directories whose order is used."""
    if is_aside(module):
        return
    text = module.text
    if "set(" in text or "{" in text:
        yield from _check_sets(program, module, Follower(module, program.resolver, is_of_set=True))
    follower = Follower(module, program.resolver)
    if "listdir" in text or "glob" in text or "scandir" in text or "iterdir" in text or "os.walk" in text:
        yield from _check_listings(program, module, follower)


def check_hash(program: Program, module: Module) -> Iterator[Finding]:
    """The builtin hash() where its value decides a split, a seed, a bucket or a name."""
    if "hash(" not in module.text or is_aside(module):
        return
    for site in program.sites(module):
        if site.name != "builtins.hash" or len(site.node.args) != 1 or site.function in ("__hash__", "__eq__"):
            continue
        use, given = _use_of_hash(site), site.node.args[0]
        kind = kind_of(given, site.scope, program.resolver)
        if isinstance(given, ast.Tuple):  # of numbers, mostly: (seed, epoch, index) hashes the same in every process
            kinds = {kind_of(one, site.scope, program.resolver) for one in given.elts}
            kind = "string" if "string" in kinds else "number"
        if use and kind != "number":
            message = f"`{text_of(site.node, 60)}` {use}, and hashes of strings are salted at every start of Python"
            yield finding("REP205", site.place, message, proven=kind == "string")


def _check_sets(program: Program, module: Module, follower: Follower) -> Iterator[Finding]:
    for node in module.nodes:
        if not isinstance(node, ast.Call | ast.Set | ast.SetComp):
            continue
        scope = module.scope_of_call[node] if isinstance(node, ast.Call) else module.scope_at(node)
        if not _is_set(node, scope, program.resolver):
            continue
        if _kind_of_elements(node, scope, program.resolver, module) != "string":
            continue
        use = follower.use(node, is_set=True)
        if use is None:
            continue
        shown = _shown(node, module)
        message = f"the order of the set of strings `{shown}` differs in every process, and it {use.what}"
        yield finding("REP203", module.place(node), message, proven=use.is_sure)


def _shown(node: ast.Call | ast.Set | ast.SetComp, module: Module) -> str:
    """The set as it is written; of an empty one the name, `names` of `names = set()`."""
    parent = module.parents.get(node)
    if isinstance(node, ast.Call) and not node.args and isinstance(parent, ast.Assign):
        return text_of(parent.targets[0], 60)
    return text_of(node, 60)


def _check_listings(program: Program, module: Module, follower: Follower) -> Iterator[Finding]:
    for site in program.sites(module):
        if not _listing(site):
            continue
        use = follower.use(site.node)
        if use is not None:
            message = f"`{text_of(site.node, 60)}` lists files in no fixed order, and it {use.what}"
            yield finding("REP204", site.place, message, proven=use.is_sure and site.is_certain)


def _listing(site: Site) -> bool:
    """Whether a call lists a directory, of `os`, `glob` or a path."""
    if site.name in _LISTINGS:
        return True
    function = site.node.func
    if not isinstance(function, ast.Attribute) or function.attr not in _PATH_METHODS:
        return False
    if site.meaning is not None and "pathlib.Path()" not in site.name:
        return False
    if site.meaning is None and not _PATHS.search(ast.unparse(function.value)):
        return False
    return site.method == "iterdir" or bool(site.node.args)


def _is_set(node: ast.Call | ast.Set | ast.SetComp, scope: Scope, resolver: Resolver) -> bool:
    if not isinstance(node, ast.Call):
        return True
    if not isinstance(node.func, ast.Name) or node.func.id not in ("set", "frozenset"):
        return False
    meaning = resolver.resolve(node.func, scope)
    return meaning is not None and meaning.name in ("builtins.set", "builtins.frozenset")


def _kind_of_elements(node: ast.Call | ast.Set | ast.SetComp, scope: Scope, resolver: Resolver, module: Module) -> str:
    """`string` if what a set holds is known to be strings."""
    if isinstance(node, ast.Set):
        return common(kind_of(one, scope, resolver) for one in node.elts)
    if isinstance(node, ast.SetComp):
        return kind_of(node.elt, module.scopes[node], resolver)
    if not node.args:
        return _kind_of_added(node, scope, resolver, module)
    return kind_of_items(node.args[0], scope, resolver)


def _kind_of_added(node: ast.Call, scope: Scope, resolver: Resolver, module: Module) -> str:
    """Of `names = set()`: what `names.add(...)` and `names.update(...)` put in."""
    parent = module.parents.get(node)
    if not isinstance(parent, ast.Assign) or not isinstance(parent.targets[0], ast.Name):
        return ""
    name, kinds = parent.targets[0].id, set()
    for call, inner in module.calls:
        function = call.func
        if isinstance(function, ast.Attribute) and isinstance(function.value, ast.Name) and function.value.id == name:
            if inner.function is not scope.function or not call.args:
                continue
            if function.attr == "add":
                kinds.add(kind_of(call.args[0], inner, resolver))
            elif function.attr == "update":
                kinds.add(kind_of_items(call.args[0], inner, resolver))
    return common(kinds)


def _use_of_hash(site: Site) -> str:
    """What the value decides, in words; "" if that is nothing that outlives the process."""
    remainder = ""
    for above in site.module.ancestors(site.node):
        if isinstance(above, ast.BinOp) and isinstance(above.op, ast.Mod | ast.BitAnd):
            remainder = "decides by its remainder"
        if isinstance(above, ast.keyword) and above.arg is not None and "seed" in above.arg:
            return "is a seed"
        if isinstance(above, ast.Call) and above is not site.node:
            name = last_name(above.func)
            if "seed" in name.lower() or name in ("Random", "default_rng", "RandomState"):
                return "is a seed"
            if name not in ("abs", "int", "str"):
                return remainder
        if isinstance(above, ast.Assign) and "seed" in ast.unparse(above.targets[0]).lower():
            return "is a seed"
        if isinstance(above, ast.JoinedStr) and _FILE.search(ast.unparse(above)):
            return "names a file"
        if isinstance(above, ast.stmt | Function):
            return remainder
    return remainder


_RANDOM_SAMPLERS = ("RandomSampler", "SubsetRandomSampler", "WeightedRandomSampler")


def check_loaders(program: Program, module: Module) -> Iterator[Said]:
    """Every DataLoader that a file builds."""
    if "DataLoader" not in module.text or is_aside(module):
        return
    for site in program.sites(module):
        if site.name in LOADERS and not site.is_open:
            yield from _check_loader(site)


def check_has_loader(entry: Entry) -> Iterator[Showing]:
    """T3 does not apply to a program without any DataLoader that nobody builds for it."""
    if any("DataLoader" in module.text or "Trainer" in module.text for module in entry.closure):
        return
    if any(site.method == "backward" for site in entry.execution):
        text = "no DataLoader and no worker: the program builds its batches itself"
        yield Showing(item="T3", state="does not apply", text=text, place=entry.module.place(entry.module.tree))


def _check_loader(site: Site) -> Iterator[Said]:
    what = f"`{called(site.node)}`"
    shuffled, workers = _shuffled(site), _workers(site)
    has_generator = not is_unset(site, "generator")
    has_init = not is_unset(site, "worker_init_fn")
    # Lightning gives every loader a worker_init_fn after `seed_everything(seed, workers=True)`.
    is_seeded_by_library = "workers=True" in site.module.text
    if shuffled and not has_generator:
        message = f"{what} {shuffled} without generator=, so torch's global generator decides its order"
        yield finding("REP201", site.place, message, proven=site.is_certain)
    if workers and not has_init and not is_seeded_by_library:
        message = f"{what} has {workers} and no worker_init_fn"
        yield finding("REP202", site.place, message, proven=site.is_certain and workers[0].isdigit())
    if has_generator and (has_init or not workers):
        rest = "and a worker_init_fn" if has_init else "and no workers"
        yield holds("T3", f"{what} has a generator of its own {rest}", site.place)
    elif not shuffled and not workers:
        yield holds("T3", f"{what} neither shuffles nor has workers", site.place)


def _shuffled(site: Site) -> str:
    """How the loader shuffles, in words; "" if it does not, or that cannot be told."""
    if site.constant(site.argument("shuffle", 2)) is True:
        return "shuffles"
    sampler = site.resolve(site.argument("sampler", 3))
    if sampler is None or not sampler.is_certain or not sampler.name.startswith("torch.utils.data."):
        return ""
    name = sampler.name.removesuffix("()").rpartition(".")[2]
    if name not in _RANDOM_SAMPLERS or sampler.scope is None:
        return ""
    keywords = {keyword.arg for keyword in getattr(sampler.node, "keywords", [])}
    return "" if "generator" in keywords or None in keywords else f"draws from a {name}"


def _workers(site: Site) -> str:
    """How many workers, in words; "" for none."""
    given = site.argument("num_workers", 5)
    if given is None:
        return ""
    number = site.constant(given)
    if number is ...:
        return f"`{ast.unparse(given)}` workers"
    return f"{number} workers" if isinstance(number, int) and number > 0 else ""
