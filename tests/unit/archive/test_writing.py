"""A finished run becomes one file, the same every time; one that is unfinished or was touched does not."""

import hashlib
import json
import os
import stat
import subprocess
import tarfile

import pytest

from harness.archive import writing
from harness.archive.reading import open_archive
from harness.archive.run_folder import read_finished
from harness.archive.writing import archive_name, check_target, publish, write_archive
from harness.errors import HostError, TamperedError, UsageError
from harness.images.layer import END_OF_ARCHIVE, Entry, header, padding
from harness.signing.bundle import parse_bundle
from harness.signing.public_key import PublicKey
from tests.made.finished_run import make_run, recertify, silent, write


def test_writing_twice_gives_the_same_bytes(run, key, tmp_path):
    first, second = (write(run, tmp_path / name, key) for name in ("a", "b"))
    assert first.read_bytes() == second.read_bytes()


def test_times_modes_and_the_place_of_the_run_leave_no_trace(run, key, tmp_path):
    first = write(run, tmp_path / "a", key).read_bytes()
    moved = run.rename(tmp_path / "elsewhere")
    for path in moved.rglob("*"):
        os.utime(path, (1, 1), follow_symlinks=False)
        if path.is_file() and not path.is_symlink():
            path.chmod(0o755 if path.stat().st_mode & 0o100 else 0o600)
    assert write(moved, tmp_path / "b", key).read_bytes() == first


def test_the_result_says_what_was_written(run, key, tmp_path):
    result = write_archive(run, tmp_path / "a", key, full=None, progress=silent)
    data = result.path.read_bytes()
    assert result.digest == "sha256:" + hashlib.sha256(data).hexdigest()
    assert (result.size_bytes, result.key_id) == (len(data), key.key.key_id)
    assert result.num_files == len(read_finished(run).evidence)


def test_the_name_tells_experiment_and_run(run):
    assert archive_name(read_finished(run)) == "exp-20261123T160646Z-abcdef0-7938.oci.tar"


def test_any_tar_reads_it_and_finds_no_trace_of_this_machine(archive):
    with tarfile.open(archive) as tar:
        members = tar.getmembers()
    assert [member.name for member in members[:2]] == ["oci-layout", "index.json"]
    blobs = [member.name for member in members[2:]]
    assert blobs == sorted(set(blobs)) and all(name.startswith("blobs/sha256/") for name in blobs)
    assert {(m.mtime, m.uid, m.gid, m.mode, m.uname, m.gname, m.type) for m in members} == {
        (0, 0, 0, 0o644, "", "", tarfile.REGTYPE)
    }


def test_what_people_read_comes_first_where_the_run_has_it(run, key, tmp_path):
    for name in ("README.txt", "report.html"):
        (run / name).write_text(name)
    recertify(run)
    with tarfile.open(write(run, tmp_path / "a", key)) as tar:
        assert [tar.next().name for _ in range(4)] == ["README.txt", "report.html", "verdict.json", "oci-layout"]
        assert tar.extractfile("README.txt").read() == b"README.txt"
    with open_archive(tmp_path / "a", silent) as opened:
        assert opened.files.exists("README.txt")


def test_files_with_equal_contents_are_stored_once(run, key, tmp_path):
    size = write(run, tmp_path / "a", key).stat().st_size
    for number in range(3):
        (run / "straight" / "output" / f"copy-{number}.bin").write_bytes(b"x" * 100_000)
    recertify(run)
    assert write(run, tmp_path / "b", key).stat().st_size < size + 110_000


def test_the_statements_are_signed_by_the_key_that_lies_beside_them(archive, key, run):
    with open_archive(archive, silent) as opened:
        public = PublicKey.parse(bytes(opened.files.read("key.json", max_bytes=10_000)))
        bundle = bytes(opened.files.read("certificate.intoto.jsonl", max_bytes=1 << 20))
    assert public == key.key
    payloads = [envelope.payload for envelope in parse_bundle(bundle)]
    assert payloads[0] == (run / "certificate.json").read_bytes() and len(payloads) == 3


@pytest.mark.parametrize("missing", ["certificate.json", "manifest.json"])
def test_an_unfinished_run_is_refused(run, key, tmp_path, missing):
    (run / missing).unlink()
    with pytest.raises(UsageError, match="did not finish") as caught:
        write(run, tmp_path / "a", key)
    assert "certify again" in caught.value.remedy
    assert not (tmp_path / "a").exists()


def test_what_is_no_run_is_refused(tmp_path, key):
    with pytest.raises(UsageError, match=r"no verdict\.json"):
        write(tmp_path, tmp_path / "a", key)


@pytest.mark.parametrize(
    ("touch", "problem"),
    [
        (lambda run: (run / "straight/output/metrics.jsonl").write_text("x"), "straight/output/metrics.jsonl was"),
        (lambda run: (run / "verdict.json").write_text((run / "verdict.json").read_text() + " "), "verdict.json was"),
        (lambda run: (run / "straight" / "new").write_text("x"), "straight/new is not listed"),
        (lambda run: (run / "straight" / "runs" / "1" / "events.jsonl").unlink(), "events.jsonl is gone"),
        (lambda run: (run / "code" / "data.txt").write_text("other"), "the exported code .code/. was changed"),
        (lambda run: (run / "code" / "run.sh").chmod(0o644), "the exported code .code/. was changed"),
        (lambda run: (run / "straight" / "link").symlink_to("nowhere"), "links or folders"),
        (lambda run: (run / "straight" / "empty").mkdir(), "links or folders"),
        (lambda run: (run / "certificate.json").write_text("{}"), "in-toto statement"),
        (lambda run: os.truncate(run / "certificate.json", 100), "no JSON"),
    ],
)
def test_a_run_that_was_touched_is_refused_and_the_file_named(run, key, tmp_path, touch, problem):
    touch(run)
    with pytest.raises(TamperedError, match=problem):
        write(run, tmp_path / "a", key)
    assert not (tmp_path / "a").exists()


def test_a_certificate_of_an_older_harness_is_refused_with_the_remedy(run, key, tmp_path):
    value = json.loads((run / "certificate.json").read_bytes())
    rows = value["predicate"]["evidence"]
    value["predicate"]["evidence"] = [row for row in rows if row["name"] in ("manifest.json", "verdict.json")]
    (run / "certificate.json").write_text(json.dumps(value, sort_keys=True, separators=(",", ":")))
    with pytest.raises(UsageError, match="older harness") as caught:
        write(run, tmp_path / "a", key)
    assert caught.value.remedy == "certify again"


def test_a_name_that_no_archive_can_hold_is_refused(run, key, tmp_path):
    (run / "straight" / "output" / "a\nb").write_text("x")
    recertify(run)
    with pytest.raises(UsageError, match="no name for a file"):
        write(run, tmp_path / "a", key)


def test_names_that_are_no_text_are_refused(run, key, tmp_path):
    (run / "straight" / "output" / os.fsdecode(b"\xff\xfe")).write_text("x")
    recertify(run)
    with pytest.raises(UsageError, match="no name for a file"):
        write(run, tmp_path / "a", key)


def test_a_file_that_changes_meanwhile_leaves_no_archive(run, key, tmp_path, monkeypatch):
    honest = writing.read_finished

    def then_change(folder):
        finished = honest(folder)
        (run / "straight" / "output" / "metrics.jsonl").write_text("changed")
        return finished

    monkeypatch.setattr(writing, "read_finished", then_change)
    with pytest.raises(TamperedError, match="changed while the archive was written"):
        write(run, tmp_path / "a", key)
    assert list(tmp_path.glob("*a*")) == []


def test_a_folder_that_cannot_be_written_is_an_error_with_the_path(run, key, tmp_path):
    with pytest.raises(HostError, match="writing the archive"):
        write(run, tmp_path / "nowhere" / "a", key)


def test_an_archive_that_was_there_is_replaced_in_one_step(run, key, tmp_path):
    (tmp_path / "a").write_text("old")
    write(run, tmp_path / "a", key)
    with open_archive(tmp_path / "a", silent) as opened:
        assert opened.files.exists("verdict.json")


def test_publishing_writes_what_a_repository_keeps(run, key, tmp_path):
    target = publish(run, tmp_path / "manifests", key)
    assert target == tmp_path / "manifests" / "exp" / run.name
    names = sorted(path.relative_to(target).as_posix() for path in target.rglob("*") if path.is_file())
    assert names == [
        "certificate.intoto.jsonl",
        "key.json",
        "manifest.json",
        "straight/run-1.json",
        "straight/runs/1/ledger.jsonl",
        "verdict.json",
    ]
    assert (target / "manifest.json").read_bytes() == (run / "manifest.json").read_bytes()
    before = {name: (target / name).read_bytes() for name in names}
    publish(run, tmp_path / "manifests", key)
    assert {name: (target / name).read_bytes() for name in names} == before


def test_what_the_command_writes_is_readable_by_others(run, key, tmp_path):
    mode = write(run, tmp_path / "a", key).stat().st_mode
    umask = int(subprocess.run(["sh", "-c", "umask"], capture_output=True, text=True, check=True).stdout, 8)
    assert stat.S_IMODE(mode) == 0o666 & ~umask


def test_two_runs_give_two_archives(run, key, tmp_path):
    other, *_ = make_run(tmp_path / "other")
    (other / "config.json").write_text('{"a": 1}\n')
    recertify(other)
    assert write(run, tmp_path / "a", key).read_bytes() != write(other, tmp_path / "b", key).read_bytes()


def test_an_archive_takes_the_place_of_no_device_and_no_pipe(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("pipe")
    for name in ("pipe", "link"):
        with pytest.raises(UsageError, match="is no file, and an archive would take its place"):
            check_target(tmp_path / name, tmp_path / "run")


def test_only_an_archive_is_replaced_by_an_archive(tmp_path, archive):
    check_target(archive, tmp_path / "run")
    readme = header(Entry(path="README.txt", kind="file", size=3)) + b"my\n" + padding(3)
    (tmp_path / "cut").write_bytes(readme)
    check_target(tmp_path / "cut", tmp_path / "run")
    for content in (b"", b"my thesis", b"oci-layout", readme + END_OF_ARCHIVE):
        (tmp_path / "thesis.tex").write_bytes(content)
        with pytest.raises(UsageError, match="is there already, and is no archive"):
            check_target(tmp_path / "thesis.tex", tmp_path / "run")


def test_a_folder_that_is_not_there_is_named_before_anything_is_gathered(tmp_path):
    with pytest.raises(UsageError, match=r"there is no folder .*absent"):
        check_target(tmp_path / "absent" / "run.oci.tar", tmp_path / "run")


def test_an_archive_is_not_written_into_the_run_whose_certificate_does_not_list_it(run):
    with pytest.raises(UsageError, match="lies inside the run"):
        check_target(run / "straight" / "run.oci.tar", run)
    check_target(run.parent / "run.oci.tar", run)


def test_publishing_that_fails_leaves_nothing_unfinished_behind(run, key, tmp_path):
    folder = tmp_path / "manifests" / "exp" / run.name
    (folder / "verdict.json").mkdir(parents=True)
    with pytest.raises(HostError):
        publish(run, tmp_path / "manifests", key)
    assert not [path for path in folder.rglob("*") if path.name.startswith(".")]
