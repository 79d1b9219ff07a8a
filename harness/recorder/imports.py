"""Waiting for imports: nothing is imported early, and what matters is seen as soon as it is complete.

A finder at the head of `sys.meta_path` lets the real finders do their work and hooks only the execution of the few
modules that are awaited.
"""

import importlib.abc
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any


class Watcher(importlib.abc.MetaPathFinder):
    """Calls back when one of the awaited modules has been imported."""

    def __init__(self, awaited: dict[str, Callable[[ModuleType], None]]) -> None:
        self.awaited = awaited

    def find_spec(self, name: str, path: Any, target: Any = None) -> Any:
        """Find the module with the other finders, and hook its execution if it is awaited."""
        if name not in self.awaited:
            return None
        for finder in [finder for finder in sys.meta_path if finder is not self]:
            spec: Any = finder.find_spec(name, path, target) if hasattr(finder, "find_spec") else None
            if spec is not None:
                break
        else:
            return None
        execute: Any = getattr(spec.loader, "exec_module", None)

        def exec_module(module: ModuleType) -> None:
            execute(module)
            callback = self.awaited.pop(name, None)  # only now: a spec is also looked for without importing
            if callback is not None:
                callback(module)

        try:
            spec.loader.exec_module = exec_module
        except AttributeError:  # a loader with slots: this module is then not seen
            pass
        return spec
