"""The exceptions this program raises on purpose; each carries a problem, a remedy and an exit code.

    HarnessError
    +-- UsageError         2   the request or a configuration file is wrong
    +-- EvidenceError      3   what a run left behind is missing, torn or malformed
    +-- VetoError          4   the review forbids the run
    +-- TamperedError      5   something signed or hashed is not what it was
    +-- HostError          6   this machine lacks something: an engine, a GPU, disk, a package source
    +-- Interrupted      130   somebody pressed Ctrl-C, or sent SIGTERM or SIGHUP

A run that is not reproducible is a verdict, never an exception.
"""

from __future__ import annotations

from typing import ClassVar

EXIT_CERTIFIED = 0
EXIT_DIVERGED = 1
EXIT_INTERNAL = 70
INSTALL = "pip install 'repro-harness[certify]', or in a clone: make setup"


class HarnessError(Exception):
    """Something could not be decided or done; `str()` is what a person reads."""

    exit_code: ClassVar[int] = EXIT_INTERNAL

    def __init__(self, problem: str, remedy: str = "") -> None:
        super().__init__(problem)
        self.problem = problem
        self.remedy = remedy

    def __str__(self) -> str:
        """The problem, then the remedy on a line of its own."""
        return f"{self.problem}\n  remedy: {self.remedy}" if self.remedy else self.problem


class UsageError(HarnessError):
    """The command line, an experiment, a lock or a path is wrong."""

    exit_code = 2


class EvidenceError(HarnessError):
    """Evidence is missing or cannot be read: the verdict is INCONCLUSIVE."""

    exit_code = 3


class VetoError(HarnessError):
    """A rule of the review forbids the run."""

    exit_code = 4


class TamperedError(HarnessError):
    """Bytes do not match the digest that was recorded for them."""

    exit_code = 5


class HostError(HarnessError):
    """This machine cannot do what was asked."""

    exit_code = 6


def not_installed(error: ModuleNotFoundError) -> HarnessError | ModuleNotFoundError:
    """What a package that is not there means: the extra is not installed; a module of the harness's own is a bug."""
    if not error.name or error.name.startswith("harness"):
        return error
    return HostError(f"this needs {error.name}, which is not installed", INSTALL)


class Interrupted(HarnessError):
    """Ctrl-C: containers are removed, finished runs are kept."""

    exit_code = 130
