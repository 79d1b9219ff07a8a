"""The guide, followed to the letter in a fresh clone."""

import pytest

from tests.reader import follow, fresh_clone


@pytest.mark.engine
def test_the_guide_leads_to_a_certificate(client, project, tmp_path):
    assert follow(fresh_clone(project, tmp_path / "clone"), "docs/guide/your-own-pipeline.md") == 4


@pytest.mark.engine
def test_the_guide_fetches_what_a_machine_without_a_network_needs(project, tmp_path):
    assert follow(fresh_clone(project, tmp_path / "clone"), "docs/guide/offline.md") == 1
    assert sorted(path.name for path in (tmp_path / "disk").iterdir()) == ["parts", "project.bundle", "wheels"]
