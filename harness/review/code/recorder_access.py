"""REP901: code that names the recorder, or the variables that it is told by: it could change what it records."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from harness.review.finding import Finding, finding
from harness.review.source.module import Module
from harness.review.source.program import Program

_PACKAGE = "_harness_recorder"
_VARIABLE = re.compile(r"HARNESS_\w*")
_OF_PIPELINES = frozenset(("HARNESS_COMMIT",))  # pipelines may write it into their outputs


def check_recorder_access(_program: Program, module: Module) -> Iterator[Finding]:
    """Imports, names and texts of the recorder's package; texts that are the name of one of its variables."""
    if _PACKAGE not in module.text and "HARNESS_" not in module.text:
        return
    told: set[str] = set()
    for node in module.nodes:
        if (name := _named(module, node)) and name not in told:
            told.add(name)
            message = f"this code names `{name}`, which belongs to the recorder"
            yield finding("REP901", module.place(node), message)


def _named(module: Module, node: ast.AST) -> str:
    """What of the recorder's a node names; texts that only stand there, as documentation does, name nothing."""
    if isinstance(node, ast.Import):
        names = [alias.name for alias in node.names]
    elif isinstance(node, ast.ImportFrom):
        names = [node.module or ""]
    elif isinstance(node, ast.Name | ast.Attribute):
        names = [node.id if isinstance(node, ast.Name) else node.attr]
    elif isinstance(node, ast.Constant) and isinstance(node.value, str):
        if isinstance(module.parents[node], ast.Expr):
            return ""
        if _VARIABLE.fullmatch(node.value) and node.value not in _OF_PIPELINES:
            return node.value
        names = [node.value]
    else:
        return ""
    return _PACKAGE if any(_PACKAGE in name for name in names) else ""
