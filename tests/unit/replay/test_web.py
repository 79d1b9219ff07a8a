"""Asking servers: certificates, answers that are none, and what a message may say."""

import pytest
import trustme

from harness.replay.web import NoAnswerError, Web, certificates_of, host_of
from tests.made.page_server import refusing_head
from tests.made.page_server import server as pages


def test_certificates_are_checked_against_those_that_are_configured(server, tmp_path):
    url = server.serve("/x", b"12345")
    assert Web(certificates=str(server.bundle)).size(url) == 5
    other = tmp_path / "other.pem"
    trustme.CA().cert_pem.write_to_path(str(other))
    with pytest.raises(NoAnswerError, match="does not answer"):
        Web(certificates=str(other)).size(url)
    assert Web(certificates=str(other), trusted_hosts=("127.0.0.1",)).size(url) == 5


def test_what_is_not_there_is_no_error_and_what_fails_is_no_answer():
    with pages({"/a": ("text/plain", "abc")}) as (url, _):
        web = Web()
        assert (web.size(f"{url}/a"), web.size(f"{url}/b")) == (3, None)
        assert web.page(f"{url}/b", "*/*") is None
    with pages({}, status=500) as (url, _), pytest.raises(NoAnswerError, match="answers 500"):
        web.size(f"{url}/a")


def test_a_server_that_answers_no_head_is_asked_for_one_byte():
    with refusing_head(b"12345") as url:
        assert Web().size(f"{url}/x") == 5


def test_files_of_this_machine_are_looked_at(tmp_path):
    (tmp_path / "a b").write_text("xyz")
    assert Web().size((tmp_path / "a b").as_uri()) == 3
    assert Web().size((tmp_path / "c").as_uri()) is None
    assert Web().size(tmp_path.as_uri()) is None


def test_messages_name_a_host_without_its_password_or_query():
    assert host_of("https://me:secret@example.org:8080/x?token=1") == "example.org:8080"
    assert host_of("file:///srv/index") == "/srv/index"


def test_certificates_that_do_not_exist_are_not_taken(tmp_path):
    real = tmp_path / "ca.pem"
    real.touch()
    assert certificates_of({"REQUESTS_CA_BUNDLE": "/nowhere", "SSL_CERT_FILE": str(real)}, None) == str(real)
    assert certificates_of({"SSL_CERT_FILE": "/nowhere"}, str(real)) == str(real)


@pytest.mark.parametrize("path", ["/here", "/gone"])
def test_many_questions_need_one_connection_and_so_one_look_at_the_hosts_name(path):
    connections = []
    with pages({"/here": ("text/html", "<a>")}, connections=connections) as (address, asked):
        for _ in range(5):
            Web().size(address + path)
    assert (len(asked), len(connections)) == (5, 1)


def test_a_page_leaves_its_connection_for_the_next():
    connections = []
    with pages({"/here": ("text/html", "<a>")}, connections=connections) as (address, asked):
        for _ in range(5):
            Web().page(address + "/here", "text/html")
    assert (len(asked), len(connections)) == (5, 1)
