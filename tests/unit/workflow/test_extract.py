"""An archive's files, written under their names; nothing of a hostile one is, and nothing outside of the folder."""

import os
import shutil
import sys
from pathlib import PureWindowsPath
from types import SimpleNamespace

import pytest

from harness.archive.run_folder import list_evidence
from harness.documents.archive import LeftOut
from harness.errors import HostError, TamperedError, UsageError
from harness.system.safe_read import is_plain
from harness.workflow.extract import extract
from harness.workflow.verify import verify
from tests import ROOT
from tests.made.finished_run import recertify, write
from tests.reader import follow
from tests.tamper.made_archive import made, silent
from tests.tamper.made_run import Plan


@pytest.fixture
def config_home(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))


@pytest.fixture
def honest(tmp_path, config_home):
    (tmp_path / "made").mkdir()
    return made(tmp_path / "made", Plan())


def extracted(archive, folder):
    return extract(archive, folder, None, silent)


def left_in(folder):
    return sorted(path.name for path in folder.iterdir())


def test_the_folder_is_the_one_that_was_archived_and_is_verified_like_it(honest, tmp_path):
    found = extracted(honest.archive, tmp_path / "out")
    assert (found.folder, found.signer.name) == (tmp_path / "out", "signer")
    assert list_evidence(tmp_path / "out") == list_evidence(honest.folder)
    assert (tmp_path / "out/certificate.json").read_bytes() == (honest.folder / "certificate.json").read_bytes()
    assert verify(tmp_path / "out", None, None, silent).word == "CONSISTENT"


def test_it_is_called_as_the_archive_is_and_replaces_nothing(honest, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert extract(honest.archive, None, None, silent).folder.name == "honest"
    with pytest.raises(UsageError, match="honest is there already"):
        extract(honest.archive, None, None, silent)
    with pytest.raises(UsageError, match="is no archive"):
        extracted(tmp_path / "honest", tmp_path / "out")


def test_empty_folders_come_back_and_links_are_named(honest, tmp_path):
    run = shutil.copytree(honest.folder, tmp_path / "run", symlinks=True)
    (run / "straight/output/nothing/here").mkdir(parents=True)
    recertify(run)
    assert extracted(write(run, tmp_path / "a", honest.signer), tmp_path / "out").not_archived == ()
    assert (tmp_path / "out/straight/output/nothing/here").is_dir()
    (run / "straight/output/link").symlink_to("/etc")
    recertify(run)
    found = extracted(write(run, tmp_path / "a", honest.signer), tmp_path / "other")
    assert found.not_archived == ("straight/output/link",)
    assert not (tmp_path / "other/straight/output/link").is_symlink()


@pytest.mark.parametrize("what", ["code", "evidence", "unlisted", "byte"])
def test_nothing_of_a_hostile_archive_is_written(honest, tmp_path, what):
    titles = honest.titles()
    if what == "byte":
        data = bytearray(honest.archive.read_bytes())
        data[-2000] ^= 1
        archive = honest.raw(bytes(data))
    elif what == "unlisted":
        archive = honest.rewritten(titles | {"more": b"x"})
    elif what == "evidence":
        archive = honest.rewritten(titles | {"../../evil": b"x"})
    else:
        archive = honest.resigned(lambda run: (run / "code/link").symlink_to("../../../evil"))
    (tmp_path / "place").mkdir()
    with pytest.raises((TamperedError, UsageError)):
        extracted(archive, tmp_path / "place" / "out")
    assert left_in(tmp_path / "place") == []


def test_a_small_archive_of_many_large_files_does_not_fill_the_disk(honest, tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=1000))
    with pytest.raises(HostError, match=r"0\.0 GB of the disk are free"):
        extracted(honest.archive, tmp_path / "out")


def test_an_empty_folder_elsewhere_is_not_made(honest, tmp_path, monkeypatch):
    hostile = LeftOut(links=(), others=(), empty=("../evil",))
    monkeypatch.setattr("harness.workflow.extract._left_out", lambda _: hostile)
    with pytest.raises(TamperedError, match="is no name for a file"):
        extracted(honest.archive, tmp_path / "out")
    assert not (tmp_path / "evil").exists() and not (tmp_path / "out").exists()


def test_a_name_that_leads_elsewhere_on_windows_is_none_there():
    for name in ("..\\evil", "C:evil", "C:\\evil", "a/b\\..\\..\\..\\evil"):
        assert is_plain(name) and not is_plain(name, PureWindowsPath)
    assert is_plain("straight/output/a.b c", PureWindowsPath)


def test_a_reviewer_follows_the_page(honest, tmp_path, monkeypatch):
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "harness").write_text(f'#!/bin/sh\nPYTHONPATH={ROOT} exec {sys.executable} -m harness "$@"\n')
    (programs / "harness").chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    reader = tmp_path / "reader"
    reader.mkdir()
    shutil.copy(honest.archive, reader / "artifact.oci.tar")
    assert follow(reader, "docs/guide/for-reviewers.md") == 2
    assert (reader / "artifact" / "config.json").is_file()
