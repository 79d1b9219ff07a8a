"""pip-compile for another interpreter than the one that runs it: `python -P compile_for.py TARGET ...`.

pip can choose wheels for another Python, but judges environment markers by its own, and pip-compile asks neither for
another. Here both are told, in a process of their own, before the first requirement is read. As with pip's own
`--python-version 3.11`, the last number of the version is 0. None of this is a public interface of pip: that the lock
fits the target is checked again when it is written, from what its wheels say.

It imports nothing of the harness: the folder that it is started in may have a package of that name.
"""

from __future__ import annotations

import json
import sys
from functools import partial

from pip._internal.cli.req_command import RequirementCommand
from pip._internal.index import package_finder
from pip._internal.models.target_python import TargetPython
from pip._vendor.packaging import markers
from piptools.scripts.compile import cli


def main(target: str, arguments: list[str]) -> None:
    """Run pip-compile for a target, which is JSON: its `abis`, `platforms` and marker `environment`; it exits."""
    told = json.loads(target)
    series = tuple(int(part) for part in told["environment"]["python_version"].split("."))
    make_resolver = partial(RequirementCommand.make_resolver, py_version_info=series)
    python = partial(TargetPython, told["platforms"], series, told["abis"], "cp")
    package_finder.TargetPython = python  # type: ignore[assignment,attr-defined]
    RequirementCommand.make_resolver = make_resolver  # type: ignore[method-assign]
    markers.default_environment = told["environment"].copy
    cli(arguments)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
