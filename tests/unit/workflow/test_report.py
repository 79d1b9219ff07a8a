import json
import os
import shutil
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent / "archive"))

from click.testing import CliRunner

from harness.archive.writing import publish
from harness.cli import cli
from harness.documents.digest import sha256
from harness.documents.manifest import Manifest
from harness.documents.verdict import Verdict
from harness.errors import EvidenceError, TamperedError, UsageError
from harness.report.curves import curves_of
from harness.report.documents import NAMES, write_reports
from harness.runs.run_folders import find_run
from harness.workflow.report import read_recorded, report
from tests.made.finished_run import RUN_ID, load, make_run, recertify, signer, silent, write


@pytest.fixture
def run(tmp_path):
    """A finished run with its documents, as a certify leaves it."""
    folder = make_run(tmp_path / "checkout")[0]
    verdict = Verdict.load((folder / "verdict.json").read_bytes(), "verdict.json")
    manifest = Manifest.load((folder / "manifest.json").read_bytes(), "manifest.json")
    write_reports(folder, verdict, manifest, curves_of((load(folder / "straight"),)))
    recertify(folder)
    (folder.parent / "latest").symlink_to(folder.name)
    return folder


@pytest.fixture
def root(run):
    return run.parents[2]


def test_the_documents_of_a_run_are_rendered_again_to_the_same_bytes(run, root, tmp_path):
    result = report(root, str(run), tmp_path / "out", silent)
    assert result.is_same == dict.fromkeys(NAMES, True)
    for name in NAMES:
        assert (tmp_path / "out" / name).read_bytes() == (run / name).read_bytes()
        assert result.digests[name] == str(sha256((run / name).read_bytes()))


def test_an_archive_gives_the_same_bytes_as_the_folder(run, root, tmp_path, monkeypatch):
    archive = write(run, tmp_path / "run.oci.tar", signer(monkeypatch, tmp_path))
    assert report(root, str(archive), tmp_path / "out", silent).is_same == dict.fromkeys(NAMES, True)


def test_an_archive_with_one_byte_changed_is_refused(run, root, tmp_path, monkeypatch):
    archive = write(run, tmp_path / "run.oci.tar", signer(monkeypatch, tmp_path))
    data = bytearray(archive.read_bytes())
    data[len(data) // 2] ^= 1
    archive.write_bytes(data)
    with pytest.raises(TamperedError):
        report(root, str(archive), tmp_path / "out", silent)
    assert not (tmp_path / "out").exists()


def test_a_published_manifest_is_rendered_with_the_losses_of_its_ledger(run, root, tmp_path, monkeypatch):
    folder = publish(run, root / "manifests", signer(monkeypatch, tmp_path))
    recorded = read_recorded(folder, NAMES, silent)
    assert recorded.digests == {} and len(recorded.curves[0].steps) > 1
    result = report(root, str(folder), tmp_path / "out", silent)
    assert result.is_same == dict.fromkeys(NAMES)
    page = (tmp_path / "out" / "report.html").read_text()
    assert "Training loss by optimizer step" in page and "Median step" not in page


def test_a_run_is_found_by_its_path_its_id_and_its_experiments_name(run, root, monkeypatch, tmp_path):
    (tmp_path / "here" / "exp").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "here")
    for name in (str(run), RUN_ID, "exp"):
        assert find_run(root, name) == run.resolve()
    assert find_run(root, "./exp") == tmp_path / "here" / "exp"
    shutil.rmtree(root / "runs" / "exp")
    (root / "runs" / "exp").mkdir()
    monkeypatch.chdir(root)
    for number in (1, 2):
        (root / "runs" / "exp" / f"exp-2026112{number}T000000Z.oci.tar").touch()
    assert find_run(root, "exp").name == "exp-20261122T000000Z.oci.tar"


def test_what_is_only_published_is_found_as_well(run, root, tmp_path, monkeypatch):
    published = publish(run, root / "manifests", signer(monkeypatch, tmp_path))
    shutil.rmtree(root / "runs")
    for name in (RUN_ID, "exp"):
        assert find_run(root, name) == published


@pytest.mark.parametrize("name", ["nothing", "../..", "*", "a/b", "", "x" * 500])
def test_what_is_no_run_is_refused_with_a_remedy(run, root, name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError) as caught:
        report(root, name, tmp_path / "out", silent)
    assert caught.value.remedy and not (tmp_path / "out").exists()


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff", b"[" * 100_000, b'{"a": ' + b"9" * 5000 + b"}"])
@pytest.mark.parametrize("name", ["verdict.json", "manifest.json"])
def test_a_document_that_is_no_table_is_an_error_in_words(run, root, tmp_path, name, content):
    (run / name).write_bytes(content)
    with pytest.raises(TamperedError, match=name):
        report(root, str(run), tmp_path / "out", silent)


def test_a_document_that_is_a_link_is_not_followed(run, root, tmp_path):
    (tmp_path / "verdict.json").write_bytes((run / "verdict.json").read_bytes())
    (run / "verdict.json").unlink()
    (run / "verdict.json").symlink_to(tmp_path / "verdict.json")
    with pytest.raises(EvidenceError, match="link"):
        report(root, str(run), tmp_path / "out", silent)


@pytest.mark.parametrize("name", ["../../straight", "", "a/b"])
def test_a_manifest_cannot_name_files_that_are_no_runs(run, root, name):
    manifest = json.loads((run / "manifest.json").read_text())
    rows = [{**manifest["runs"][0], "trajectory": name}]
    (run / "manifest.json").write_text(json.dumps(manifest | {"runs": rows}))
    assert read_recorded(run, NAMES, silent).curves == ()


@pytest.mark.parametrize(
    "change", [{"number": "1"}, {"number": True}, {"trajectory": 3}, {"trajectory": None}, {"number": None}]
)
def test_a_manifest_whose_runs_are_malformed_is_an_error_in_words(run, root, change):
    manifest = json.loads((run / "manifest.json").read_text())
    for rows in ([{**manifest["runs"][0], **change}], [None], [[]]):
        (run / "manifest.json").write_text(json.dumps(manifest | {"runs": rows}))
        with pytest.raises(TamperedError, match="runs"):
            read_recorded(run, NAMES, silent)


def test_a_run_whose_ledger_is_broken_is_drawn_from_what_is_left(run, root, tmp_path):
    (run / "straight" / "runs" / "1" / "ledger.jsonl").write_bytes(b"{broken")
    recorded = read_recorded(run, NAMES, silent)
    assert len(recorded.curves[0].steps) == 1


def test_a_run_that_never_ended_has_a_verdict_and_no_more(run, root, tmp_path):
    for path in run.iterdir():
        if path.name != "verdict.json":
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
    report(root, RUN_ID, tmp_path / "out", silent)
    assert sorted(os.listdir(tmp_path / "out")) == sorted(NAMES)


def test_a_runs_folder_is_never_written_to(run, root):
    before = {name: (run / name).read_bytes() for name in NAMES}
    with pytest.raises(UsageError, match="certificate"):
        report(root, RUN_ID, run, silent)
    assert before == {name: (run / name).read_bytes() for name in NAMES}


def test_the_command_tells_what_it_wrote(run, root, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(cli, ["--root", str(root), "report", "exp"])
    assert done.exit_code == 0 and done.output.count("(same bytes as before)") == len(NAMES)
    assert (tmp_path / f"report-{RUN_ID}" / "report.html").is_file()
    done = CliRunner().invoke(cli, ["--root", str(root), "report", "exp", "--output", "there", "--json"])
    rows = json.loads(done.stdout)["documents"]
    assert rows["badge.svg"]["same_as_before"] is True and Path(rows["badge.svg"]["path"]).is_file()
