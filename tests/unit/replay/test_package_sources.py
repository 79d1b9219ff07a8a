"""Where wheels come from: real pages of indexes, on disk and from servers of this machine."""

import json
import os
import subprocess
import sys

import pytest

from harness.errors import HostError
from harness.replay.package_sources import PackageSources, files_of, pip_sources, sources_of
from harness.replay.web import Web
from tests.made.page_server import DATA, DIGEST, LINK, WHEEL, server

OTHER = "sha256:" + "0" * 64


def sources(*indexes, links=()):
    return PackageSources(indexes=indexes, find_links=tuple(map(str, links)), web=Web())


def ask(found, filename=WHEEL, digest=DIGEST):
    answer = found.wheel("Toy.Thing", filename, digest)
    return answer.has


def simple(kind, text):
    return {"/simple/toy-thing/": (kind, text)}


def test_an_index_is_asked_for_the_normalised_name_and_has_the_file():
    with server(simple("text/html", LINK)) as (url, asked):
        assert ask(sources(f"{url}/simple")) == "yes"
    ((path, accept, _),) = asked
    assert path == "/simple/toy-thing/" and accept.startswith("application/vnd.pypi.simple.v1+json")


def test_an_index_that_answers_in_json_is_understood():
    files = [{"filename": WHEEL, "url": "../../x.whl", "hashes": {"sha256": DIGEST[7:]}}]
    with server(simple("application/vnd.pypi.simple.v1+json", json.dumps({"files": files}))) as (url, _):
        assert ask(sources(f"{url}/simple")) == "yes"
        assert ask(sources(f"{url}/simple"), digest=OTHER) == "another"
        assert ask(sources(f"{url}/simple"), filename="") == "yes"


@pytest.mark.parametrize("text", ["{", "[]", '{"files": 3}', '{"files": [{"url": 1}]}'])
def test_a_page_that_is_none_is_no_answer(text):
    with server(simple("application/vnd.pypi.simple.v1+json", text)) as (url, _):
        assert ask(sources(f"{url}/simple")) == "unknown"


def test_a_wheel_that_no_source_has_any_more_is_gone_and_all_sources_are_named(tmp_path):
    with server(simple("text/html", LINK.replace("1.0", "2.0"))) as (url, _):
        answer = sources(f"{url}/simple", links=[tmp_path]).wheel("toy-thing", WHEEL, DIGEST)
    assert answer.has == "no" and str(tmp_path) in answer.said and "127.0.0.1" in answer.said


def test_another_file_of_the_same_name_is_not_the_one_that_is_locked():
    with server(simple("text/html", LINK)) as (url, _):
        assert ask(sources(f"{url}/simple"), digest=OTHER) == "another"


def test_a_source_that_fails_or_is_not_there_leaves_it_unknown():
    with server({}, status=500) as (url, _):
        assert ask(sources(f"{url}/simple")) == "unknown"
    assert ask(sources("http://127.0.0.1:9/simple")) == "unknown"
    assert ask(sources("nonsense://x")) == "unknown"


def test_folders_of_this_machine_are_asked_first_and_spare_the_network(tmp_path):
    (tmp_path / WHEEL).write_bytes(DATA)
    with server(simple("text/html", LINK)) as (url, asked):
        assert ask(sources(f"{url}/simple", links=[tmp_path])) == "yes"
    assert asked == []


def test_an_index_on_disk_is_read_and_a_file_that_it_names_must_be_there(tmp_path):
    folder = tmp_path / "simple" / "toy-thing"
    folder.mkdir(parents=True)
    (folder / "index.html").write_text(LINK)
    index = (tmp_path / "simple").as_uri()
    assert ask(sources(index)) == "no"
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / WHEEL).write_bytes(DATA)
    assert ask(sources(index)) == "yes"


def test_a_password_of_an_index_is_used_and_never_told():
    with server({}) as (url, asked):
        secret = url.replace("http://", "http://me:hunter2@")
        answer = sources(f"{secret}/simple").wheel("toy", WHEEL, DIGEST)
    assert asked[0][2] is not None and "hunter2" not in answer.said


def test_links_are_resolved_against_the_base_of_a_page():
    rows = files_of('<base href="http://h/b/"><a href="c%2B1.whl#sha256=00">x</a>', "text/html", "http://other/")
    assert rows == [("c+1.whl", "sha256:00", "http://h/b/c%2B1.whl")]


def test_pips_settings_count_in_pips_order():
    settings = {
        "global.index-url": "http://a/simple",
        "download.index-url": "http://b/simple",
        "global.extra-index-url": "http://c/simple\nhttp://d/simple",
        ":env:.find-links": "/x /y",
        "global.find-links": "/z",
        "global.trusted-host": "c d:80",
        "global.proxy": "http://proxy:1",
    }
    found = sources_of(settings, "http://default/simple", {})
    assert found.indexes == ("http://b/simple", "http://c/simple", "http://d/simple")
    assert found.find_links == ("/x", "/y") and found.web.trusted_hosts == ("c", "d:80")
    assert found.web.proxies == {"http": "http://proxy:1", "https": "http://proxy:1"}
    assert sources_of({}, "http://default/simple", {}).indexes == ("http://default/simple",)
    assert sources_of({"global.no-index": "true"}, "http://default/simple", {}).indexes == ()


def test_pips_certificates_come_before_those_of_the_environment(tmp_path):
    one, two = tmp_path / "one.pem", tmp_path / "two.pem"
    one.touch()
    two.touch()
    environment = {"SSL_CERT_FILE": str(two)}
    assert sources_of({"global.cert": str(one)}, "x", environment).web.certificates == str(one)
    assert sources_of({}, "x", environment).web.certificates == str(two)
    assert sources_of({"global.cert": "/nowhere"}, "x", environment).web.certificates == str(two)


def test_pip_itself_is_asked_for_its_configuration():
    code = "import os; from harness.replay.package_sources import pip_sources; print(pip_sources(os.environ).indexes)"
    environment = {
        **os.environ,
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_INDEX_URL": "http://127.0.0.1:9/simple",
        "PIP_EXTRA_INDEX_URL": "http://127.0.0.1:8/simple",
    }
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "('http://127.0.0.1:9/simple', 'http://127.0.0.1:8/simple')"
    assert pip_sources(os.environ).indexes


def test_a_setting_of_several_files_is_the_one_that_pip_takes(tmp_path, monkeypatch):
    (tmp_path / "pip.conf").write_text("[global]\nindex-url = http://127.0.0.1:7/system\n")
    (tmp_path / ".pip").mkdir()
    (tmp_path / ".pip" / "pip.conf").write_text("[global]\nindex-url = http://127.0.0.1:7/home\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("PIP_CONFIG_FILE", str(tmp_path / "pip.conf"))
    assert pip_sources(os.environ).indexes[0] == "http://127.0.0.1:7/system"  # the later file, first in the list


def test_without_configuration_pips_own_default_index_is_asked(monkeypatch):
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    assert [index.partition("://")[0] for index in pip_sources(os.environ).indexes] == ["https"]


def test_pip_that_cannot_be_asked_is_an_error_in_words(tmp_path, monkeypatch):
    (tmp_path / "pip.conf").write_text("this is no configuration\n")
    monkeypatch.setenv("PIP_CONFIG_FILE", str(tmp_path / "pip.conf"))
    with pytest.raises(HostError, match="pip's configuration cannot be read"):
        pip_sources(os.environ)
