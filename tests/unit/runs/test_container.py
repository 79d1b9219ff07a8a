"""How a container is watched, without an engine."""

import pytest
from docker.errors import APIError

from harness.runs.container import _kill


class Container:
    """One that cannot be killed, and what it is when it is looked at again."""

    status = "running"

    def __init__(self, later):
        self.later = later

    def kill(self, signal):
        raise APIError("container state improper: stopped")

    def reload(self):
        self.status = self.later


@pytest.mark.parametrize("later", ["exited", "stopped"])
def test_a_container_that_ended_at_the_moment_of_its_kill_is_none_to_be_killed(later):
    _kill(Container(later))


def test_a_container_that_cannot_be_killed_is_an_error():
    with pytest.raises(APIError):
        _kill(Container("running"))
