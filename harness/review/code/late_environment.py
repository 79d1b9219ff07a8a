"""REP303: environment variables that a program sets for itself, when those who would read them have read already."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from harness.review.code.training import is_test
from harness.review.finding import Finding, finding
from harness.review.source.module import Function, Module
from harness.review.source.nodes import text_constant, text_of, words
from harness.review.source.program import Program, calls_named

# What is read once, as a library is loaded (tried with torch 2.13: set afterwards, the number of threads and the
# precision of products stay as they were). CUBLAS_WORKSPACE_CONFIG is read later, with the first product on a GPU.
_AT_IMPORT = {
    "OMP_NUM_THREADS": ("torch", "numpy"),
    "MKL_NUM_THREADS": ("torch",),
    "OPENBLAS_NUM_THREADS": ("numpy",),
    "KMP_DETERMINISTIC_REDUCTION": ("torch",),
    "ATEN_CPU_CAPABILITY": ("torch",),
    "TORCH_ALLOW_TF32_CUBLAS_OVERRIDE": ("torch",),
}
_BRINGS_TORCH = words("accelerate lightning peft pytorch_lightning torch torchaudio torchvision")
_FOR_OTHERS = re.compile(r"subprocess|os\.(exec|spawn|system)|\bPopen\b|mp\.spawn|multiprocessing|start_processes")


def check_environment(program: Program, module: Module) -> Iterator[Finding]:
    """REP303 on one file; where it starts other processes, the variables may be meant for those."""
    if "environ" not in module.text and "putenv" not in module.text:
        return
    if is_test(module) or _FOR_OTHERS.search(module.text):
        return
    seen: set[str] = set()
    for node, name in _settings(program, module):
        if name in seen:
            continue
        message = _too_late(module, node, name)
        if message:
            seen.add(name)
            yield finding("REP303", module.place(node), message)


def _too_late(module: Module, node: ast.AST, name: str) -> str:
    if name == "PYTHONHASHSEED":
        return "PYTHONHASHSEED is set inside the process: this Python has chosen its hash seed when it started"
    for library in _AT_IMPORT.get(name, ()):
        line = _imported_before(module, node, library)
        if line:
            return f"{name} is set after {library} was imported on line {line}, which reads it as it is loaded"
    return ""


def _imported_before(module: Module, node: ast.AST, library: str) -> int:
    """The line of an unconditional import of a library that is done before a node is reached; 0 if there is none."""
    around = [one for one in module.ancestors(node) if isinstance(one, Function | ast.Lambda)]
    for statement in module.tree.body:
        if _imports(statement, library) and (around or statement.lineno < getattr(node, "lineno", 0)):
            return 0 if around and _called_above(module, around[-1], statement.lineno) else statement.lineno
    return 0


def _imports(statement: ast.stmt, library: str) -> bool:
    if isinstance(statement, ast.Import):
        names = [alias.name for alias in statement.names]
    elif isinstance(statement, ast.ImportFrom) and statement.level == 0:
        names = [statement.module or ""]
    else:
        return False
    firsts = {name.partition(".")[0] for name in names}
    return library in firsts or (library == "torch" and bool(firsts & _BRINGS_TORCH))


def _called_above(module: Module, function: ast.AST, line: int) -> bool:
    """Whether a function is called, by its name, above a line: before the imports below."""
    name = getattr(function, "name", "")
    return any(call.lineno < line for call in calls_named(module, {name})) if name else True


def _settings(program: Program, module: Module) -> Iterator[tuple[ast.AST, str]]:
    """What is set, in source order: `os.environ[...] = `, setdefault, update, putenv; each with its name."""
    found: list[tuple[ast.AST, str]] = []
    for node in module.nodes:
        if isinstance(node, ast.Assign):
            found += [
                (node, text_constant(target.slice))
                for target in node.targets
                if isinstance(target, ast.Subscript) and _is_environ(program, module, target.value)
            ]
    for call in calls_named(module, {"setdefault", "update", "putenv"}):
        function = call.func
        if not isinstance(function, ast.Attribute):
            continue
        is_environ = _is_environ(program, module, function.value)
        if function.attr == "update" and is_environ and call.args and isinstance(call.args[0], ast.Dict):
            found += [(call, text_constant(key)) for key in call.args[0].keys]
        elif function.attr == "update" and is_environ:
            found += [(call, keyword.arg or "") for keyword in call.keywords]
        elif call.args and (is_environ or (function.attr == "putenv" and text_of(function.value) == "os")):
            found.append((call, text_constant(call.args[0])))
    yield from sorted(found, key=lambda one: getattr(one[0], "lineno", 0))


def _is_environ(program: Program, module: Module, node: ast.expr) -> bool:
    if not isinstance(node, ast.Attribute | ast.Name):
        return False
    meaning = program.resolver.resolve(node, module.scope_at(node))
    return meaning is not None and meaning.name == "os.environ"
