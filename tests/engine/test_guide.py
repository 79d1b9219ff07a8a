"""The guide, followed to the letter in a fresh clone."""

import pytest

from tests.reader import follow, fresh_clone


@pytest.mark.engine
def test_the_guide_leads_to_a_certificate(client, project, tmp_path):
    assert follow(fresh_clone(project, tmp_path / "clone"), "docs/guide/your-own-pipeline.md") == 4
