"""Tests of the engine kill processes and engines; the pipes that these leave are closed with the garbage."""

import pytest


def pytest_collection_modifyitems(items):
    for item in items:
        if "tests/engine/" in item.nodeid:
            item.add_marker(pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"))
