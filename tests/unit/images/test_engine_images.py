import docker.errors
import pytest
import requests

from harness.errors import HarnessError, HostError
from harness.images.engine_images import engine_faults
from harness.system.store import disk_errors


def answer(status, text):
    response = requests.Response()
    response.status_code = status
    response._content = text.encode()
    response.url = "http://engine/build"
    return response


def raised_by_the_client(status, text):
    response = answer(status, text)
    return docker.errors.APIError("refused", response=response, explanation=text)


def test_a_full_disk_of_the_engine_has_a_remedy_of_its_own():
    with pytest.raises(HostError, match="the engine's disk is full") as caught, engine_faults():
        raise raised_by_the_client(500, "write /var/lib/x: no space left on device")
    assert "prune" in caught.value.remedy


def test_what_the_engine_refuses_is_told_in_its_words():
    with pytest.raises(HostError, match="invalid reference format"), engine_faults():
        raise raised_by_the_client(400, "invalid reference format")


@pytest.mark.parametrize("fault", [requests.ConnectionError("reset"), requests.ReadTimeout("slow")])
def test_an_engine_that_stops_answering_is_an_error_of_the_environment(fault):
    with pytest.raises(HostError, match="stopped answering"), engine_faults(), disk_errors("building"):
        raise fault


def test_the_harness_own_errors_pass_unchanged():
    with pytest.raises(HarnessError, match="mine"), engine_faults():
        raise HarnessError("mine")
