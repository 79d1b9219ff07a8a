"""A lock in other tools' words: requirements for pip, an environment for conda. Both name exactly the lock's versions.

They are for people without the harness. An environment made from them holds the same distributions, but it is not the
image: the system below, and for conda Python itself and pip, come from elsewhere.
"""

from __future__ import annotations

import re

import yaml

from harness.documents.cuda import cuda_stack
from harness.documents.lockfile import LABEL_INDEX, BaseLock, Lockfile, render_pins
from harness.errors import UsageError

_UPSTREAM = re.compile(r"(?:[0-9]+:)?([0-9]+\.[0-9]+\.[0-9]+)")


def to_requirements(lock: Lockfile, name: str) -> str:
    """Requirements for pip: every pin with every hash of the lock, for any platform that has a wheel of each.

    Format: https://pip.pypa.io/en/stable/reference/requirements-file-format/
    """
    python = lock.runs_on.python
    header = [
        *_origin(lock, name, "requirements"),
        f"# Into an environment of Python {python}: python -m pip install --no-deps -r {name}.requirements.txt",
        *_driver(lock),
    ]
    options = ["--require-hashes", "--only-binary :all:", *_indexes(lock)]
    return "".join(f"{line}\n" for line in (*header, "", *options, "")) + render_pins(lock.pins)


def to_conda(lock: Lockfile, base_lock: BaseLock | None, name: str) -> str:
    """An environment for conda: Python and pip from conda-forge, everything else by pip at the lock's versions.

    conda gives pip no hashes, so this pins versions only; the requirements pin bytes.

    Format: https://docs.conda.io/projects/conda/en/stable/user-guide/tasks/manage-environments.html

    Raises:
        UsageError: the lock has no pip, which an environment needs to install the rest.
    """
    versions = {pin.name: pin.version for pin in lock.pins}
    if "pip" not in versions:
        raise UsageError(f"{name}.lock does not lock pip", f"add pip to lockfiles/{name}.in, and lock it again")
    by_pip = [
        f"{pin.name}=={pin.version}" + (f" ; {pin.marker}" if pin.marker else "")
        for pin in lock.pins
        if pin.name != "pip"
    ]
    document = {
        "name": f"repro-harness-{name}",
        "channels": ["conda-forge"],
        "dependencies": [
            f"python={python_version(base_lock) or lock.runs_on.python}",
            f"pip={versions['pip']}",
            {"pip": [*_indexes(lock), *by_pip]},
        ],
    }
    header = [
        *_origin(lock, name, "conda"),
        f"# conda env create --file {name}.environment.yml",
        *_driver(lock),
    ]
    body = yaml.safe_dump(document, sort_keys=False, default_flow_style=False, width=1000)
    return "".join(f"{line}\n" for line in header) + body


def python_version(base_lock: BaseLock | None) -> str:
    """The upstream version of the Python that a base calls `python3`, `3.11.2`; "" where it does not tell."""
    packages = base_lock.packages if base_lock else ()
    found = {package.name: match[1] for package in packages if (match := _UPSTREAM.match(package.version))}
    usual = found.get("python3", "")
    # Debian's python3 says which series; the package of that series may be a later release of it.
    return found.get(f"python{usual.rpartition('.')[0]}-minimal", usual)


def _origin(lock: Lockfile, name: str, what: str) -> list[str]:
    return [
        f"# Written by `harness lock {name} --export {what}` from lockfiles/{name}.lock; do not edit.",
        f"# {lock.digest}",
    ]


def _driver(lock: Lockfile) -> list[str]:
    stack = cuda_stack(lock)
    if not stack or not stack.min_driver:
        return []
    return [f"# CUDA {stack.cuda} comes with it; the machine needs NVIDIA's driver {stack.min_driver} or newer."]


def _indexes(lock: Lockfile) -> list[str]:
    """The options by which pip finds the indexes that builds with a local version come from."""
    labels = sorted({pin.local_label for pin in lock.pins if pin.local_label})
    return [f"--extra-index-url {LABEL_INDEX}{label}" for label in labels]
