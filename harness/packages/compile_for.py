"""pip-compile for another interpreter than the one that runs it: `python -m harness.packages.compile_for 3.11 ...`.

pip can choose wheels for another Python, but judges environment markers by its own, and pip-compile asks neither for
another. Here both are told, in a process of their own, before the first requirement is read. As with pip's own
`--python-version 3.11`, the last number of the version is 0. None of this is a public interface of pip: that the lock
fits the target is checked again when it is written, from what its wheels say.
"""

from __future__ import annotations

import sys
from functools import partial

from pip._internal.cli.req_command import RequirementCommand
from pip._internal.index import package_finder
from pip._internal.models.target_python import TargetPython
from pip._vendor.packaging import markers
from piptools.scripts.compile import cli

from harness.documents.platform import abis, marker_environment, platforms


def main(python: str, arguments: list[str]) -> None:
    """Run pip-compile as on the images' platform with a series of Python, `3.11`; it exits."""
    series = tuple(int(part) for part in python.split("."))
    target = partial(TargetPython, list(platforms()), series, list(abis(python)), "cp")
    make_resolver = partial(RequirementCommand.make_resolver, py_version_info=series)
    package_finder.TargetPython = target  # type: ignore[assignment,attr-defined]
    RequirementCommand.make_resolver = make_resolver  # type: ignore[method-assign]
    markers.default_environment = partial(marker_environment, f"{python}.0")  # type: ignore[assignment]
    cli(arguments)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
