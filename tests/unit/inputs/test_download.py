"""Downloads from a real HTTPS server on 127.0.0.1 whose certificate the test's own authority has issued."""

import os
import shutil

import pytest

from harness.errors import HostError, UsageError
from harness.inputs.download import RetryPolicy, download
from tests.made.https_server import closed_port

QUICK = RetryPolicy(connect_s=5, read_s=5, pause_s=0.01, attempts=4)
DATA = os.urandom(3_000_000)


@pytest.fixture
def fetch(tmp_path):
    told = []

    def run(url, patience=QUICK):
        file = tmp_path / "file"
        download(url, file, "data", told.append, patience)
        return file.read_bytes()

    run.told = told
    return run


def ranges(server):
    return [headers.get("Range") for _, headers in server.requests]


def test_a_file_is_fetched_as_it_was_sent(server, fetch):
    assert fetch(server.serve("/a", DATA)) == DATA


def test_a_body_that_says_it_is_compressed_is_not_decoded(server, fetch):
    url = server.serve("/a.gz", b"\x1f\x8b not really", headers={"Content-Encoding": "gzip"})
    assert fetch(url) == b"\x1f\x8b not really"
    assert server.requests[0][1]["Accept-Encoding"] == "identity"


def test_a_redirect_to_https_is_followed(server, fetch):
    server.serve("/a", DATA)
    assert fetch(server.serve("/moved", redirect="/a")) == DATA


@pytest.mark.parametrize("target", ["http://127.0.0.1:1/a?signature=s3cret", "file:///etc/passwd", "ftp://127.0.0.1/a"])
def test_a_redirect_to_anything_else_is_refused_without_showing_its_query(server, fetch, target):
    with pytest.raises(UsageError, match="only https") as caught:
        fetch(server.serve("/moved", redirect=target))
    assert "s3cret" not in str(caught.value)


def test_a_redirect_with_a_password_is_refused(server, fetch):
    with pytest.raises(UsageError, match="only https without a password") as caught:
        fetch(server.serve("/moved", redirect="https://user:s3cret@127.0.0.1/a"))
    assert "s3cret" not in str(caught.value)


def test_a_circle_of_redirects_ends(server, fetch):
    with pytest.raises(UsageError, match="redirects more than 10 times"):
        fetch(server.serve("/moved", redirect="/moved"))


def test_a_file_that_is_gone_is_not_asked_for_twice(server, fetch):
    with pytest.raises(HostError, match="answers 404"):
        fetch(server.url("/gone"))
    assert len(server.requests) == 1


@pytest.mark.parametrize("status", [401, 403])
def test_a_denied_file_says_that_no_credential_is_ever_sent(server, fetch, status):
    with pytest.raises(HostError, match="no credential is ever sent"):
        fetch(server.serve("/a", DATA, failures=[status]))


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_server_that_fails_twice_is_asked_again(server, fetch, status):
    assert fetch(server.serve("/a", DATA, failures=[status, status])) == DATA
    assert len(server.requests) == 3
    assert f"answers {status}; trying again" in fetch.told[0]


def test_a_server_that_always_fails_is_given_up(server, fetch):
    with pytest.raises(HostError, match="4 attempts in a row failed"):
        fetch(server.serve("/a", DATA, failures=[500] * 50))
    assert len(server.requests) == 4


def test_a_transfer_that_breaks_is_resumed_where_it_broke(server, fetch):
    assert fetch(server.serve("/a", DATA, cuts=[1_000_000, 500_000])) == DATA
    assert ranges(server) == [None, "bytes=1000000-", "bytes=1500000-"]


def test_a_server_without_ranges_is_asked_for_everything_again(server, fetch):
    assert fetch(server.serve("/a", DATA, cuts=[1_000_000], ranges=False)) == DATA
    assert len(server.requests) == 2


def test_nothing_is_resumed_where_the_server_names_no_version(server, fetch):
    assert fetch(server.serve("/a", DATA, cuts=[1_000_000], etag=None)) == DATA
    assert ranges(server) == [None, None]


def test_two_versions_of_a_file_are_never_mixed(server, tmp_path):
    url = server.serve("/a", DATA, cuts=[1_000_000])

    def change(_):
        server.serve("/a", DATA[::-1], etag='"v2"')

    download(url, tmp_path / "file", "data", change, QUICK)
    assert ranges(server) == [None, "bytes=1000000-"]
    assert (tmp_path / "file").read_bytes() == DATA[::-1]


def test_a_server_that_always_breaks_off_is_given_up(server, fetch):
    with pytest.raises(HostError, match="broke off"):
        fetch(server.serve("/a", DATA, cuts=[1000] * 50))
    assert len(server.requests) == 4


def test_a_transfer_that_gets_on_between_its_failures_may_fail_more_often(server, fetch):
    data = os.urandom(12 << 20)
    assert fetch(server.serve("/a", data, cuts=[(1 << 20) + 1] * 8)) == data


def test_nothing_beyond_the_announced_length_is_read(server, fetch):
    assert fetch(server.serve("/a", DATA, announced=1000)) == DATA[:1000]


def test_a_file_larger_than_the_disk_is_refused_before_it_is_fetched(server, fetch, tmp_path):
    with pytest.raises(HostError, match="GB of the disk are free"):
        fetch(server.serve("/a", DATA, announced=10**18))
    assert (tmp_path / "file").stat().st_size == 0


def test_a_file_of_unknown_length_is_fetched(server, fetch):
    assert fetch(server.serve("/a", DATA, announced=None)) == DATA


def test_a_file_of_unknown_length_leaves_some_of_the_disk(server, fetch, monkeypatch):
    usage = shutil.disk_usage("/")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=(64 << 20) + 1_000_000))
    with pytest.raises(HostError, match="more than the 1000000 bytes"):
        fetch(server.serve("/a", DATA, announced=None))


def test_a_server_that_falls_silent_is_given_up(server, fetch):
    patience = RetryPolicy(connect_s=5, read_s=0.2, pause_s=0.01, attempts=2)
    with pytest.raises(HostError, match="broke off"):
        fetch(server.serve("/a", DATA, stall_after=1000, ranges=False), patience)


def test_a_server_that_only_trickles_is_given_up(server, fetch):
    patience = RetryPolicy(connect_s=5, read_s=5, window_s=0.0, window_bytes=1 << 30, pause_s=0.01, attempts=2)
    with pytest.raises(HostError, match="sent only"):
        fetch(server.serve("/a", b"x" * 100, ranges=False), patience)


def test_a_server_that_nobody_runs_is_named(server, fetch):
    port = closed_port()
    with pytest.raises(HostError, match=f"127.0.0.1:{port} does not answer"):
        fetch(f"https://127.0.0.1:{port}/a")


def test_a_certificate_that_is_not_trusted_is_refused_at_once(server, fetch, monkeypatch):
    monkeypatch.delenv("REQUESTS_CA_BUNDLE")
    monkeypatch.delenv("CURL_CA_BUNDLE", raising=False)
    with pytest.raises(HostError, match="no certificate that is trusted"):
        fetch(server.serve("/a", DATA))
    assert server.requests == []


def test_no_credential_of_a_netrc_is_sent(server, fetch, tmp_path, monkeypatch):
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login me password s3cret\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    server.serve("/a", DATA)
    fetch(server.serve("/moved", redirect="/a"))
    assert len(server.requests) == 2
    assert not any("authorization" in {key.lower() for key in headers} for _, headers in server.requests)
