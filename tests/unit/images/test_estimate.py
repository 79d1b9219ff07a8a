"""What a build needs is known from its locks, and said before anything is fetched."""

from types import SimpleNamespace

import pytest

from harness.errors import HostError
from harness.images.build_once import Job
from harness.images.builder import build
from harness.images.estimate import announce
from harness.images.recipe import read_recipe


class EngineElsewhere:
    """An engine without containers whose disk is not on this machine; it can be asked for nothing else."""

    api = SimpleNamespace(containers=lambda **_: [])

    def info(self):
        return {"DockerRootDir": "/nonexistent"}


@pytest.fixture
def told():
    return []


def enlarge(project):
    """Let the image's files take more than any disk has."""
    lock = project / "lockfiles" / "tiny.lock"
    lock.write_text(lock.read_text() + "# installed: 900000000000000 bytes\n")


def test_a_build_that_has_no_room_is_refused_before_anything_is_fetched(project, store, told):
    enlarge(project)
    with pytest.raises(HostError, match=r"GB free, 900,?000\.\d GB are needed") as caught:
        build(EngineElsewhere(), "tiny", project, store, told.append)
    assert "HARNESS_CACHE" in caught.value.remedy
    assert len(told) == 1 and "an image of about 900000.0 GB" in told[0]
    assert not list(store.root.glob("sha256/*"))


@pytest.mark.parametrize("check", [True, False])
def test_where_there_is_room_two_builds_go_side_by_side_if_two_are_made(project, store, told, check):
    store.root.mkdir()
    assert announce(Job(EngineElsewhere(), read_recipe(project, "tiny"), store, told.append), check=check) is check
    assert told[0].startswith("tiny: 1 wheels (0 MB), 1 Debian packages; to be fetched: 0 MB")
