"""Variants of an experiment: what one takes over from another (`extends`), and what is set for one run (`--set`).

Everything here is done on the mapping that the YAML gives, before it is an experiment: mappings are merged, anything
else is replaced.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import yaml

from harness.documents.names import NAME
from harness.errors import UsageError

MAX_CHAIN = 8
_EXAMPLE = "write KEY=VALUE, for example --set config.lr=0.001"


class StrictLoader(yaml.SafeLoader):
    """YAML without aliases (they can explode) and without duplicate keys (the last one would win silently)."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            event = self.peek_event()  # type: ignore[no-untyped-call]
            raise yaml.constructor.ConstructorError(None, None, "aliases are not used here", event.start_mark)
        return super().compose_node(parent, index)

    def construct_object(self, node: Any, deep: bool = False) -> Any:
        try:
            return super().construct_object(node, deep)
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
            problem = (
                f"{str(node.value)[:40]!a} is no value of the kind that is meant: {str(node.tag).rpartition(':')[2]}"
            )
            raise yaml.constructor.ConstructorError(None, None, problem, node.start_mark) from error

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        seen = set()
        for key_node, _ in node.value:
            key = key_node.value
            if isinstance(key, str) and key in seen:
                raise yaml.constructor.ConstructorError(None, None, f"the key {key!r} comes twice", key_node.start_mark)
            seen.add(key if isinstance(key, str) else str(key))
        return super().construct_mapping(node, deep)


class _ValueLoader(StrictLoader):
    """The value of a `--set`: `1e-4` is a number, as in YAML 1.2; in a file it is text, as PyYAML reads it."""


_ValueLoader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+"), list("-+0123456789")
)


def extended(document: dict[str, Any], name: str, read: Callable[[str], dict[str, Any]]) -> dict[str, Any]:
    """The experiment `name` with what it takes over from others; `read` gives another one by its name.

    Raises:
        UsageError: another one does not exist, they go in a circle, or there are too many.
    """
    chain = [name]
    while (other := document.pop("extends", None)) is not None:
        chain.append(other if isinstance(other, str) and other.isascii() else ascii(other))
        shown = " -> ".join(chain)
        if not isinstance(other, str) or not NAME.fullmatch(other):
            raise UsageError(f"extends: {shown[:200]}: that is no name of an experiment", "name one of the same folder")
        if other in chain[:-1]:
            raise UsageError(f"extends goes in a circle: {shown}", "leave `extends` out of one of them")
        if len(chain) > MAX_CHAIN + 1:
            raise UsageError(f"extends goes through more than {MAX_CHAIN} experiments: {shown}", "extend a nearer one")
        document = _merged(read(other), document)
    return document


def overridden(document: dict[str, Any], overrides: Iterable[str]) -> dict[str, Any]:
    """The document with some keys set: `config.lr=0.001`, the value in YAML.

    Raises:
        UsageError: one is malformed, or sets what `config` does not have.
    """
    for text in overrides:
        path, equals, value = text.partition("=")
        if not path or not equals or path == "extends":
            raise UsageError(f"--set {text[:200]}: that sets no key", _EXAMPLE)
        try:
            document = _with(document, path, yaml.load(value, Loader=_ValueLoader), text, is_closed=False)
        except (yaml.YAMLError, RecursionError, TypeError, ValueError) as error:
            raise UsageError(f"--set {text[:200]}: the value is not valid YAML", _EXAMPLE) from error
    return document


def _merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    both = {key: _merged(base[key], over[key]) for key in base.keys() & over.keys() if _are_mappings(base, over, key)}
    return {**base, **over, **both}


def _are_mappings(base: Mapping[str, Any], over: Mapping[str, Any], key: str) -> bool:
    return isinstance(base[key], dict) and isinstance(over[key], dict)


def _with(inside: Any, path: str, value: Any, text: str, *, is_closed: bool) -> dict[str, Any]:
    """A mapping with one value set, which lies below a path of keys; names of inputs have dots of their own."""
    if not isinstance(inside, dict):
        raise UsageError(f"--set {text[:200]}: what it is in is no mapping", "set the key above it as a whole")
    known = [key for key in inside if isinstance(key, str) and (path == key or path.startswith(f"{key}."))]
    key = max(known, key=len, default=path.partition(".")[0])
    if is_closed and key not in inside:
        near = difflib.get_close_matches(key, [str(one) for one in inside], n=1, cutoff=0.5)
        remedy = f"did you mean `{near[0]}`?" if near else f"it has: {', '.join(map(str, inside)) or 'nothing'}"
        raise UsageError(f"--set {text[:200]}: the experiment's config has no `{key}`", remedy)
    rest = path[len(key) + 1 :]
    if rest:
        value = _with(inside.get(key, {}), rest, value, text, is_closed=is_closed or key == "config")
    return {**inside, key: value}
