"""One honest archive for all attacks; keys lie in a folder of the tests' own."""

import pytest

from tests.tamper.made_archive import made
from tests.tamper.made_run import Plan


@pytest.fixture(scope="session")
def config_home(tmp_path_factory):
    patch = pytest.MonkeyPatch()
    home = tmp_path_factory.mktemp("config")
    patch.setenv("XDG_CONFIG_HOME", str(home))
    yield home
    patch.undo()


@pytest.fixture(scope="session")
def honest(tmp_path_factory, config_home):
    return made(tmp_path_factory.mktemp("tamper"), Plan())
