"""The README, followed to the letter in a fresh clone."""

import pytest

from tests.reader import follow, fresh_clone


@pytest.mark.engine
def test_every_command_of_the_readme_runs(client, project, tmp_path):
    assert follow(fresh_clone(project, tmp_path / "clone"), "README.md") == 6
