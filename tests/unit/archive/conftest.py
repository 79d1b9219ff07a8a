"""Makes `finished_run` importable, and offers a run, its archive and a key."""

import pytest

from tests.made.finished_run import make_run, signer, write


@pytest.fixture
def key(monkeypatch, tmp_path):
    return signer(monkeypatch, tmp_path)


@pytest.fixture
def run(tmp_path):
    return make_run(tmp_path / "checkout")[0]


@pytest.fixture
def archive(run, key, tmp_path):
    return write(run, tmp_path / "run.oci.tar", key)
