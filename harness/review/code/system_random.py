"""REP106: data, splits and orders that are drawn from the system's entropy; names and tokens may be."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from harness.review.code.seeding import is_aside
from harness.review.finding import Finding, finding
from harness.review.source.execution import Site
from harness.review.source.module import Module
from harness.review.source.nodes import called, words
from harness.review.source.program import Program

_MENTIONED = re.compile(r"secrets|SystemRandom|urandom|uuid4")
_SYSTEM_METHODS = words("choice choices sample shuffle randint randrange random uniform")
_NO_DATA = re.compile(
    r"name|_id\b|\bid\b|token|passw|secret_|salt|nonce|port|key|suffix|prefix|path|file|dir|url|host|hex|seed", re.I
)


def check_system_random(program: Program, module: Module) -> Iterator[Finding]:
    """Draws of the system's entropy that decide something about data."""
    if not _MENTIONED.search(module.text) or is_aside(module):
        return
    for site in program.sites(module):
        name = site.name
        is_drawn = name in ("secrets.choice", "secrets.randbelow") or (
            name.startswith(("random.SystemRandom().", "secrets.SystemRandom().")) and site.method in _SYSTEM_METHODS
        )
        is_compared = name in ("uuid.uuid4", "os.urandom") and _is_number(site)
        if (is_drawn or is_compared) and not _serves_no_data(site):
            message = f"`{called(site.node)}` draws from the system's entropy, which cannot be seeded"
            yield finding("REP106", site.place, message, proven=_decides(site) and site.is_certain)


def _is_number(site: Site) -> bool:
    """`os.urandom(1)[0] < 128`, `uuid4().int % 10`: used as a number that decides something."""
    for above in site.module.ancestors(site.node):
        if isinstance(above, ast.Compare) or (isinstance(above, ast.BinOp) and isinstance(above.op, ast.Mod)):
            return not isinstance(above, ast.BinOp) or not isinstance(above.left, ast.Constant)
        if isinstance(above, ast.stmt | ast.JoinedStr):
            return False
    return False


def _serves_no_data(site: Site) -> bool:
    """It makes a name, an id, a token, a password: `"".join(secrets.choice(letters) ...)`."""
    statement = site.statement
    if statement is None:
        return True
    for above in site.module.ancestors(site.node):
        if isinstance(above, ast.JoinedStr):
            return True
        if isinstance(above, ast.Call) and getattr(above.func, "attr", "") in ("join", "sleep"):
            return True
    function = site.scope.function
    head = statement if not hasattr(statement, "body") else getattr(statement, "test", getattr(statement, "iter", None))
    text = ast.unparse(head) if head is not None else ""
    return _NO_DATA.search(f"{text} {function.name if function is not None else ''}") is not None


def _decides(site: Site) -> bool:
    """An order, a sample, an index, a branch."""
    return (
        site.method in ("shuffle", "sample", "choices")
        or _is_number(site)
        or any(isinstance(one, ast.Subscript | ast.Compare) for one in site.module.ancestors(site.node))
    )
