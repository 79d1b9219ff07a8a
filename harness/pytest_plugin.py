"""The pytest plugin: `pytest --harness EXPERIMENT` certifies an experiment as a test, which fails with where and why.

Every pytest run of an environment with this package imports this module: it imports nothing that is heavy.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from harness.errors import HarnessError

if TYPE_CHECKING:
    from harness.workflow.results import Result


def pytest_addoption(parser: pytest.Parser) -> None:
    """The options; everything else is the experiment's."""
    group = parser.getgroup("harness", "certify trainings")
    group.addoption(
        "--harness",
        action="append",
        default=[],
        metavar="EXPERIMENT",
        help="certify an experiment as one more test; may be given several times",
    )
    group.addoption("--harness-runner", default="auto", choices=["auto", "docker", "host"], help="where it trains")
    group.addoption("--harness-python", metavar="PATH", help="train on this host with this interpreter")
    group.addoption("--harness-steps", type=int, metavar="N", help="only the first N steps of each training")
    group.addoption("--harness-allow-dirty", action="store_true", help="certify uncommitted code")


def pytest_configure(config: pytest.Config) -> None:
    """The markers of the tests that `--harness` adds."""
    config.addinivalue_line("markers", "harness: certifies a training (`-m harness` runs these alone)")
    config.addinivalue_line("markers", "slow: takes minutes (`-m 'not slow'` leaves it out)")


@pytest.hookimpl(tryfirst=True)  # before -m and -k choose among the tests
def pytest_collection_modifyitems(session: pytest.Session, config: pytest.Config, items: list[pytest.Item]) -> None:
    """One test for each experiment that is named, after all others."""
    for name in dict.fromkeys(config.getoption("harness")):
        items.append(Certified.from_parent(session, name=name, nodeid=f"harness::{name}"))


class NotCertified(Exception):
    """A training that has another verdict than CERTIFIED."""

    def __init__(self, result: Result) -> None:
        super().__init__(result.verdict.verdict)
        self.result = result


class Certified(pytest.Item):
    """The test that an experiment, whose name is the test's, is CERTIFIED."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.add_marker("harness")
        self.add_marker("slow")

    def runtest(self) -> None:
        """Certify it; what the command tells on stderr is the test's output."""
        from harness import api

        option = self.config.getoption
        result = api.certify(
            self.name,
            root=self.config.rootpath,
            runner=option("harness_runner"),
            python=option("harness_python"),
            steps=option("harness_steps"),
            allow_dirty=option("harness_allow_dirty"),
            progress=print,
        )
        if result.verdict.verdict != "CERTIFIED":
            raise NotCertified(result)

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        """What the command prints, instead of a traceback."""
        if isinstance(excinfo.value, HarnessError):
            return f"error: {excinfo.value}"
        if not isinstance(excinfo.value, NotCertified):
            return super().repr_failure(excinfo, style)
        from harness.report.console import print_summary

        text, result = io.StringIO(), excinfo.value.result
        print_summary(result.verdict, result.manifest, result.documents, stream=text)
        return text.getvalue()

    def reportinfo(self) -> tuple[Path, int | None, str]:
        """Where it is declared."""
        return self.config.rootpath / "pipelines" / "experiments" / f"{self.name}.yaml", None, f"certify {self.name}"
