"""What several tests of harness/host start from: a cache, a checkout, a server with a certificate of its own."""

import pytest

from harness.system.store import Store
from tests.made.https_server import https_server
from tests.made.project import make_project


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "cache")


@pytest.fixture
def project(tmp_path):
    root = tmp_path / "project"
    make_project(root)
    return root


@pytest.fixture
def server(tmp_path, monkeypatch):
    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    with https_server(tmp_path) as server:
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(server.bundle))
        yield server
