"""Names on a hub: what an argument names, whether it is a folder here, and whether a revision pins it."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable
from dataclasses import dataclass

from harness.review.code.loops import calls_named
from harness.review.source.module import Module
from harness.review.source.program import Program, Site

HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
KNOWN = re.compile(
    r"(gpt2|bert|distilbert|roberta|distilroberta|albert|xlnet|xlm-roberta|t5|facebook-|openai-gpt|ctrl)"
    r"(-(medium|large|xl|xxl|base|small|v\d|cased|uncased|multilingual|chinese|\d+b|distilled))*"
)
_FOLDERS = frozenset(
    [
        "artifacts",
        "cache",
        "checkpoint",
        "checkpoints",
        "ckpt",
        "ckpts",
        "data",
        "dataset",
        "datasets",
        "exp",
        "experiments",
        "files",
        "logs",
        "model",
        "models",
        "my_model",
        "out",
        "output",
        "outputs",
        "path",
        "pretrained",
        "result",
        "results",
        "run",
        "runs",
        "saved",
        "saved_models",
        "tests",
        "tmp",
        "weights",
        "work",
        "your",
        "path_to",
    ]
)
LIBRARIES = frozenset(
    [
        "transformers",
        "peft",
        "diffusers",
        "tokenizers",
        "sentence_transformers",
        "timm",
        "open_clip",
        "trl",
        "unsloth",
        "optimum",
        "adapters",
        "huggingface_hub",
        "auto_gptq",
        "awq",
        "gptqmodel",
        "setfit",
        "span_marker",
        "gliner",
        "speechbrain",
        "nemo",
        "flair",
    ]
)
MODEL_ARGUMENTS = ("pretrained_model_name_or_path", "model_id", "model_name", "model_name_or_path", "repo_id")


@dataclass(frozen=True, slots=True)
class Source:
    """What is loaded: its name on the hub, and whether it is surely this one."""

    name: str
    is_certain: bool


def is_pinned(site: Site) -> bool:
    """Whether a revision is given; a branch's name is none, an unknown value may be one."""
    return pins(site, "revision") or pins(site, "commit_hash")


def pins(site: Site, argument: str) -> bool:
    """Whether an argument names something that does not move; an unknown value is taken for it."""
    given = site.argument(argument)
    value = site.constant(given)
    return given is not None and value is not None and value not in ("main", "master")


def source_of(program: Program, site: Site, given: ast.expr | None, is_hub: Callable[[str], bool]) -> Source | None:
    """What an argument names: a literal, or what it is unless something else is given."""
    value = site.constant(given)
    default = _default(site, given) if value is ... else ""
    name = value if isinstance(value, str) else default
    if not name or not is_hub(name) or is_local(program, site, name):
        return None
    return Source(name, is_certain=isinstance(value, str))


def is_local(program: Program, site: Site, name: str) -> bool:
    """A folder: of the tree, by its first name, or one that the file itself writes."""
    first = name.partition("/")[0].lower()
    if first in _FOLDERS or name.endswith((".json", ".bin", ".pt", ".safetensors", ".py", ".gguf")):
        return True
    if any(path.startswith(f"{name}/") for path in program.paths):
        return True
    written = rf"(save_pretrained|save_to_disk|output_dir\s*=|save_model)\(?\s*f?[\"']{re.escape(name)}"
    return re.search(written, site.module.text) is not None


def _default(site: Site, given: ast.expr | None) -> str:
    """The default of a parameter, or of the option or field that an attribute is read from; "" if none is seen."""
    if isinstance(given, ast.Name):
        bindings = site.resolver.bindings(given.id, site.scope)
        if len(bindings) == 1 and bindings[0].kind == "parameter":
            return _text(bindings[0].value)
    if isinstance(given, ast.Attribute):
        return _field(site.module, given.attr)
    return ""


def _field(module: Module, name: str) -> str:
    """The default of `name: str = field(default="...")`, `name: str = "..."` or `add_argument("--name", ...)`."""
    found = set()
    for scope in module.scopes.values():
        if scope.kind == "class":
            for binding in scope.bindings.get(name, []):
                given = binding.value
                if isinstance(given, ast.Call):
                    given = next((one.value for one in given.keywords if one.arg == "default"), None)
                found.add(_text(given))
    for node in calls_named(module, {"add_argument"}):
        flags = [_text(one).lstrip("-").replace("-", "_") for one in node.args]
        if name in flags:
            found.add(next((_text(one.value) for one in node.keywords if one.arg == "default"), ""))
    return found.pop() if len(found) == 1 else ""


def _text(node: ast.expr | None) -> str:
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""
