"""File trees: the layer that makes one tree of another.

A layer is computed from the two trees that it lies between, not from what an engine wrote on the way: which folders it
copied up, in how many steps, and under which storage driver, leaves no trace.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

from harness.images.layer import Entry, canonical, is_engines_own, named_files, ordered, whiteout

_COMPARED = ("kind", "mode", "uid", "gid", "link", "device", "xattrs", "size")


@dataclass(frozen=True, slots=True)
class _Tree:
    """Entries by path, hard links as files of their own, and for each path all names of its file."""

    entries: dict[str, Entry]
    names: dict[str, frozenset[str]]


def changes(
    base: Iterable[Entry], tree: Iterable[Entry], has_same_contents: Callable[[Entry, Entry], bool]
) -> tuple[Entry, ...]:
    """The canonical layer that makes `tree` when it is laid over `base`.

    What a file's names are is part of it: when one name of a file is new, all of them are in the layer. The points
    where an engine mounts something in every container (`/etc/hosts`, `/proc` and the like) are left out where the base
    has none, and the base's own files there stay: no container shows them.
    """
    below = _read(base)
    above = _read(_as_built(tree, below.entries))
    layer: dict[str, Entry] = {}
    for path, entry in above.entries.items():
        if not _is_unchanged(path, entry, below, above, has_same_contents):
            layer |= {name: above.entries[name] for name in above.names[path]}
    for path in _removed(below.entries, above.entries):
        mark = whiteout(path)
        layer[mark.path] = mark
    # An engine makes a folder that a layer does not name with a mode of its own, over that of the base.
    for path in list(layer):
        while path := path.rpartition("/")[0]:
            if path in above.entries:
                layer.setdefault(path, above.entries[path])
    return ordered(layer)


def _as_built(tree: Iterable[Entry], base: Mapping[str, Entry]) -> Iterator[Entry]:
    """The tree without what an engine lays over it in every container."""
    for entry in tree:
        if not is_engines_own(entry):
            yield entry
        elif entry.path in base:
            yield entry if entry.kind == "dir" else base[entry.path]


def _read(entries: Iterable[Entry]) -> _Tree:
    files = named_files(canonical(entries))
    together: dict[tuple[str, int], set[str]] = {}
    for path, entry in files.items():
        if entry.archive:
            together.setdefault((entry.archive, entry.offset), set()).add(path)
    shared = {path: frozenset(paths) for paths in together.values() for path in paths}
    return _Tree(files, {path: shared.get(path, frozenset((path,))) for path in files})


def _is_unchanged(
    path: str, entry: Entry, below: _Tree, above: _Tree, has_same_contents: Callable[[Entry, Entry], bool]
) -> bool:
    other = below.entries.get(path)
    if other is None or below.names[path] != above.names[path]:
        return False
    if any(getattr(entry, name) != getattr(other, name) for name in _COMPARED):
        return False
    return entry.kind != "file" or has_same_contents(other, entry)


def _removed(below: dict[str, Entry], above: dict[str, Entry]) -> Iterator[str]:
    """The topmost paths of the base that are gone; below one that is no folder any more nothing has to be marked."""
    for path in below:
        parent = path.rpartition("/")[0]
        if path not in above and (not parent or (parent in above and above[parent].kind == "dir")):
            yield path
