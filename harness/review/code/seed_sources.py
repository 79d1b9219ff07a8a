"""What a seed is made of, followed to a fact that is another one in the next run, and the rule that speaks of it."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable
from dataclasses import dataclass

from harness.review.source.execution import Site
from harness.review.source.module import Function, Scope
from harness.review.source.nodes import arguments_of, last_name, nodes_within, words

_MAX_HOPS = 6
_FACTS = {  # by rule, as full names
    "REP105": words(
        "datetime.date.today datetime.datetime.now datetime.datetime.today datetime.datetime.utcnow os.getrandom "
        "os.urandom random.SystemRandom secrets.randbelow secrets.randbits secrets.token_bytes secrets.token_hex "
        "time.asctime time.ctime time.gmtime time.localtime time.monotonic time.monotonic_ns time.perf_counter "
        "time.perf_counter_ns time.process_time time.strftime time.time time.time_ns uuid.uuid1 uuid.uuid4"
    ),
    "REP113": words(
        "os.fstat os.lstat os.path.getatime os.path.getctime os.path.getmtime os.stat pathlib.Path().lstat "
        "pathlib.Path().stat"
    ),
    "REP114": words(
        "builtins.id getpass.getuser multiprocessing.cpu_count os.cpu_count os.getloadavg os.getlogin os.getpid "
        "os.getppid os.getuid os.uname platform.node platform.platform platform.release platform.uname "
        "shutil.disk_usage socket.getfqdn socket.gethostname threading.get_ident threading.get_native_id uuid.getnode"
    ),
    "REP115": words(
        "os.getcwd os.path.abspath os.path.realpath pathlib.Path.cwd pathlib.Path().absolute pathlib.Path().resolve "
        "tempfile.gettempdir tempfile.mkdtemp"
    ),
}
_RULE_OF = {name: rule for rule, names in _FACTS.items() for name in names}
_STATUS = re.compile(r"st_([acm]time|birthtime)(_ns)?|st_ino|st_dev")
# What gives the same in every run, whatever it is asked of: sizes and contents of files, their last names.
_STEADY = words("st_size getsize open read_text read_bytes basename name stem suffix load loads safe_load len")
_COMPOSED = (
    ast.Attribute,
    ast.BinOp,
    ast.FormattedValue,
    ast.JoinedStr,
    ast.List,
    ast.Subscript,
    ast.Tuple,
    ast.UnaryOp,
)
_THROUGH = tuple(words("builtins. binascii. hashlib. math. numpy. os.fspath os.path. pathlib. struct. zlib."))


@dataclass(frozen=True, slots=True)
class Source:
    """The fact that a seed is made of: the expression, the rule, and whether it is surely this one."""

    node: ast.expr
    rule: str
    is_sure: bool


def first_source(nodes: Iterable[ast.expr], scope: Scope, site: Site, *, is_sure: bool, hops: int = 0) -> Source | None:
    """The first fact in some expressions of a call."""
    found = (_source(one, scope, site, is_sure=is_sure, hops=hops) for one in nodes)
    return next((one for one in found if one is not None), None)


def _source(node: ast.expr, scope: Scope, site: Site, *, is_sure: bool, hops: int) -> Source | None:
    if hops > _MAX_HOPS or (isinstance(node, ast.Attribute | ast.Call) and last_name(node) in _STEADY):
        return None
    if isinstance(node, ast.IfExp | ast.BoolOp):
        parts = (node.body, node.orelse) if isinstance(node, ast.IfExp) else tuple(node.values)
        return first_source(parts, scope, site, is_sure=False, hops=hops + 1)
    if isinstance(node, ast.Call):
        return _of_call(node, scope, site, is_sure=is_sure, hops=hops)
    if isinstance(node, ast.Name):
        if node.id == "__file__":
            return Source(node, "REP115", is_sure)
        return _of_name(node, scope, site, is_sure=is_sure, hops=hops)
    if isinstance(node, ast.Attribute) and _STATUS.fullmatch(node.attr):
        return Source(node, "REP113", is_sure)
    if isinstance(node, _COMPOSED):
        children = [one for one in ast.iter_child_nodes(node) if isinstance(one, ast.expr)]
        return first_source(children, scope, site, is_sure=is_sure, hops=hops + 1)
    return None


def _of_call(node: ast.Call, scope: Scope, site: Site, *, is_sure: bool, hops: int) -> Source | None:
    meaning = site.resolver.resolve(node.func, scope)
    name = "" if meaning is None else meaning.name
    rule = _RULE_OF.get(name) or _RULE_OF.get(name.split("()")[0])
    if meaning is not None and rule:
        return Source(node, rule, is_sure and meaning.is_certain)
    if name in ("torch.initial_seed", "torch.utils.data.get_worker_info"):
        return None
    target = None if meaning is None else meaning.definition
    if meaning is not None and target is not None and target.kind == "function":
        returned = [one.value for one in nodes_within(target.node) if isinstance(one, ast.Return) and one.value]
        sure = is_sure and meaning.is_certain and len(returned) == 1
        return first_source(returned, target, site, is_sure=sure, hops=hops + 1)
    # What any other call makes of its arguments is not known: `load(os.path.abspath(path)).seed` is no path.
    inner = arguments_of(node) if name.startswith(_THROUGH) else ()
    owner = (node.func.value,) if isinstance(node.func, ast.Attribute) else ()
    return first_source((*inner, *owner), scope, site, is_sure=is_sure, hops=hops + 1)


def _of_name(node: ast.Name, scope: Scope, site: Site, *, is_sure: bool, hops: int) -> Source | None:
    bindings = site.resolver.bindings(node.id, scope)
    for binding in bindings:
        if binding.kind == "assign" and binding.value is not None:
            sure = is_sure and len(bindings) == 1 and not _is_conditional(binding.node, binding.scope)
            found = _source(binding.value, binding.scope, site, is_sure=sure, hops=hops + 1)
            if found is not None:
                return found
    return None


def _is_conditional(node: ast.AST, scope: Scope) -> bool:
    for above in scope.module.ancestors(node):
        if isinstance(above, ast.If | ast.For | ast.While | ast.ExceptHandler | ast.IfExp):
            return True
        if isinstance(above, Function):
            return False
    return False
