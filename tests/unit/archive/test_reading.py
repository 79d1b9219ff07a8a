"""An archive is read in place, and nothing in it may be another byte than it is."""

import gzip
import hashlib
import json
import os
import shutil
import tarfile
import tracemalloc

import pytest

from harness.archive.reading import open_archive
from harness.archive.run_folder import list_evidence
from harness.errors import EvidenceError, HarnessError, TamperedError, UsageError
from harness.images import oci_documents
from harness.images.layer import END_OF_ARCHIVE, Entry, header, padding
from harness.system.files import FolderFiles
from tests.made.finished_run import load, make_run, recertify, silent, write


def opens(path):
    with open_archive(path, silent) as archive:
        return archive


def member(path, data, **fields):
    return header(Entry(**{"path": path, "kind": "file", "size": len(data)} | fields)) + data + padding(len(data))


def compose(files, *, extra=(), index=None, run=None, drop=(), order=sorted):
    """A small archive of these files; every part of it can be another."""
    blobs = {name: oci_documents.blob_of(data) for name, data in files.items()}
    document = oci_documents.render_artifact(oci_documents.RUN, blobs) if run is None else run
    index = oci_documents.render_index(oci_documents.blob_of(document), None, None) if index is None else index
    contents = {
        oci_documents.blob_of(data).path: data for data in (*files.values(), document, oci_documents.EMPTY, *extra)
    }
    blobs = [member(path, contents[path]) for path in order(contents) if path not in drop]
    return member("oci-layout", oci_documents.LAYOUT) + member("index.json", index) + b"".join(blobs) + END_OF_ARCHIVE


def save(tmp_path, data):
    path = tmp_path / "composed.oci.tar"
    path.write_bytes(data)
    return path


FILES = {"verdict.json": b"{}\n", "straight/a": b"a" * 60, "straight/b": b"a" * 60}


def refused(tmp_path, data, match=None):
    with pytest.raises(TamperedError, match=match):
        opens(save(tmp_path, data))


def test_everything_that_was_written_is_read(run, archive):
    signed = ("certificate.intoto.jsonl", "key.json")
    with open_archive(archive, silent) as opened:
        assert {name: one for name, one in opened.files.digests.items() if name not in signed} == list_evidence(run)
        assert opened.size_bytes == archive.stat().st_size and not opened.is_full and opened.image is None
        for name, digest in opened.files.digests.items():
            data = opened.files.read(name, max_bytes=1 << 30)
            assert hashlib.sha256(bytes(data)).hexdigest() == digest.hex


def test_a_trajectory_is_the_same_inside_an_archive(run, archive):
    from_folder = load(run / "straight")
    with open_archive(archive, silent) as opened:
        inside = load(opened.files.below("straight"))
    assert inside.files == from_folder.files and inside.files
    assert inside.runs[0].ledger == from_folder.runs[0].ledger and inside.runs[0].problem is None
    assert inside.runs[0].events == from_folder.runs[0].events
    assert inside.problems == from_folder.problems == ()


def test_links_empty_folders_and_missing_files_are_the_same_inside_an_archive(run, key, tmp_path):
    output = run / "straight" / "output"
    (output / "checkpoints" / "link.safetensors").symlink_to("nowhere")
    (output / "nothing" / "here").mkdir(parents=True)
    os.mkfifo(output / "pipe")
    (output / "metrics.jsonl").unlink()
    (run / "straight" / "runs" / "1" / "tensors.jsonl").unlink()
    (run / "straight" / "runs" / "1" / "ledger.jsonl").unlink()
    (run / "straight" / "runs" / "1" / "ledger.jsonl").symlink_to("/etc/passwd")
    (run / "empty" / "output").mkdir(parents=True)
    recertify(run)
    target = write(run, tmp_path / "a", key)
    folder = FolderFiles(run)
    with open_archive(target, silent) as opened:
        both = (folder, opened.files)
        assert load(opened.files.below("straight")) == load(run / "straight")
        assert load(run / "straight").problems and "is a link" in load(run / "straight").runs[0].problem
        for name in ("straight/output", "empty/output", "straight/output/nothing/here"):
            assert [*both[0].walk(name)] == [*both[1].walk(name)]
        for name in ("straight", "straight/output/pipe", "nothing", "straight/output/nothing/here", "straight/outp"):
            assert both[0].exists(name) == both[1].exists(name)
        for name in ("output", "output/pipe", "output/none", "output/checkpoints/link.safetensors"):
            said = [said_by(files.below("straight"), name) for files in both]
            assert said[0] == said[1]


def said_by(files, name):
    with pytest.raises(EvidenceError) as caught:
        files.read(name, max_bytes=1 << 20)
    return caught.value.problem


def test_sizes_are_bounded_and_names_confined_inside_an_archive(archive):
    with open_archive(archive, silent) as opened:
        with pytest.raises(EvidenceError, match="at most 1 are read"):
            opened.files.read("verdict.json", max_bytes=1)
        for name in ("../x", "/etc/passwd", "", "straight/../verdict.json"):
            with pytest.raises(EvidenceError):
                opened.files.read(name, max_bytes=1 << 20)
        with pytest.raises(EvidenceError, match="there is no folder"):
            [*opened.files.walk("nowhere")]


def test_large_files_are_read_in_place(run, key, tmp_path):
    data = os.urandom(3 << 20)
    (run / "straight" / "output" / "large.bin").write_bytes(data)
    recertify(run)
    with open_archive(write(run, tmp_path / "a", key), silent) as opened:
        found = opened.files.read("straight/output/large.bin", max_bytes=1 << 30)
        assert len(found) == len(data) and bytes(found) == data and found[5:9] == data[5:9]


def test_every_single_byte_matters(tmp_path):
    data = compose(FILES)
    path = save(tmp_path, data)
    assert opens(path).files.digests.keys() == FILES.keys()
    with path.open("r+b", buffering=0) as stream:
        for place in range(len(data)):
            os.pwrite(stream.fileno(), bytes([data[place] ^ (1, 0x20, 0x80)[place % 3]]), place)
            with pytest.raises((TamperedError, UsageError)):
                opens(path)
            os.pwrite(stream.fileno(), data[place : place + 1], place)
    opens(path)


def test_every_length_matters(tmp_path):
    data = compose(FILES)
    path = save(tmp_path, data)
    for size in range(0, len(data), 64):
        os.truncate(path, size) if size == 0 else path.write_bytes(data[:size])
        with pytest.raises((TamperedError, UsageError)):
            opens(path)
    for more in (b"\0", b"\0" * 512, b"\0" * 10240, b"x", data):
        refused(tmp_path, data + more)


def test_members_cannot_be_swapped_removed_added_renamed_or_doubled(tmp_path):
    refused(tmp_path, compose(FILES, order=lambda paths: sorted(paths, reverse=True)), "no member")
    refused(tmp_path, compose(FILES, order=lambda paths: [*sorted(paths), sorted(paths)[-1]]), "no member")
    refused(tmp_path, compose(FILES, extra=[b"more"]), "belongs to nothing")
    gone = oci_documents.blob_of(FILES["straight/a"]).path
    refused(tmp_path, compose(FILES, drop=[gone]), "is missing")
    refused(tmp_path, compose(FILES, drop=[oci_documents.blob_of(oci_documents.EMPTY).path]), "is missing")
    data = compose(FILES)
    size = len(member("oci-layout", oci_documents.LAYOUT))
    refused(tmp_path, data[:size] + data[size:].replace(b"index.json", b"Index.json"))
    with pytest.raises(UsageError, match="no archive of a run"):
        opens(save(tmp_path, data[size:]))


def test_a_file_under_another_files_digest_is_found(tmp_path):
    data = compose(FILES)
    refused(tmp_path, data.replace(b"a" * 60, b"b" * 60), "not what they were")


@pytest.mark.parametrize(
    "title",
    ["../out", "/etc/passwd", "a//b", "a/./b", "", "a/..", "a\n", "a\0b", "\x7f", "x" * 5000],
)
def test_titles_that_climb_or_are_no_paths_are_refused(tmp_path, title):
    refused(tmp_path, compose({**FILES, title: b"x"}), "a file whose name is not a path inside it")


@pytest.mark.parametrize(
    "change",
    [
        lambda value: value["layers"].append(value["layers"][0]),
        lambda value: value["layers"].reverse(),
        lambda value: value["layers"][0].update(size=1),
        lambda value: value["layers"][0].update(size=2**70),
        lambda value: value["layers"][0].update(size=60.0),
        lambda value: value["layers"][0].update(size=True),
        lambda value: value["layers"][0].update(digest="sha256:" + "A" * 64),
        lambda value: value["layers"][0].update(digest=None),
        lambda value: value["layers"][0].update(more=1),
        lambda value: value["layers"][0]["annotations"].update(more="1"),
        lambda value: value["layers"][0].update(annotations=None),
        lambda value: value["layers"].append([]),
        lambda value: value.update(layers={}),
        lambda value: value.update(annotations={}),
        lambda value: value.update(artifactType="application/other"),
        lambda value: value.update(schemaVersion=1),
        lambda value: value.pop("config"),
        lambda value: value["config"].update(size=3),
    ],
)
def test_a_manifest_that_is_not_the_canonical_one_is_refused(tmp_path, change):
    value = json.loads(
        oci_documents.render_artifact(oci_documents.RUN, {n: oci_documents.blob_of(d) for n, d in FILES.items()})
    )
    change(value)
    refused(tmp_path, compose(FILES, run=json.dumps(value, sort_keys=True, separators=(",", ":")).encode()))


@pytest.mark.parametrize(
    "document",
    [b"", b"null", b"[]", b"{}", b"\xff", b"[" * 200_000, b'{"manifests":[{}]}', b'{"manifests":' + b"9" * 5000 + b"}"],
)
def test_documents_that_are_none_are_refused(tmp_path, document):
    refused(tmp_path, compose(FILES, run=document))
    refused(tmp_path, compose(FILES, index=document))


def test_json_written_in_another_way_is_refused(tmp_path):
    run = oci_documents.render_artifact(oci_documents.RUN, {n: oci_documents.blob_of(d) for n, d in FILES.items()})
    for other in (run + b"\n", b" " + run, run.replace(b'":', b'": ', 1), run.replace(b"title", b"titl\\u0065", 1)):
        refused(tmp_path, compose(FILES, run=other))
    index = oci_documents.render_index(oci_documents.blob_of(run), None, None)
    for other in (index + b"\n", index.replace(b'"run"', b'"Run"'), index.replace(b"{", b'{"annotations":{},', 1)):
        refused(tmp_path, compose(FILES, index=other))


@pytest.mark.parametrize("kind", ["symlink", "hardlink", "dir", "char", "block", "fifo"])
def test_members_that_are_no_files_are_refused(tmp_path, kind):
    data = compose(FILES)
    link = "index.json" if kind in ("symlink", "hardlink") else ""
    hostile = header(Entry(path="blobs/sha256/" + "f" * 64, kind=kind, link=link, device=(1, 3)))
    refused(tmp_path, data[: -len(END_OF_ARCHIVE)] + hostile + END_OF_ARCHIVE)


@pytest.mark.parametrize("fields", [{"mode": 0o755}, {"uid": 1}, {"gid": 1}, {"xattrs": (("user.a", b"b"),)}])
def test_headers_that_say_more_are_refused(tmp_path, fields):
    data = compose(FILES)
    start = member("oci-layout", oci_documents.LAYOUT)
    with pytest.raises((TamperedError, UsageError)):
        opens(save(tmp_path, member("oci-layout", oci_documents.LAYOUT, **fields) + data[len(start) :]))


@pytest.mark.parametrize("form", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT, tarfile.USTAR_FORMAT])
def test_the_same_members_written_by_another_program_are_refused(archive, tmp_path, form):
    with tarfile.open(archive) as source, tarfile.open(tmp_path / "other", "w", format=form) as target:
        for info in source:
            target.addfile(info, source.extractfile(info))
    with pytest.raises(TamperedError):
        opens(tmp_path / "other")


def test_a_sparse_member_is_refused(tmp_path):
    info = tarfile.TarInfo("blobs/sha256/" + "f" * 64)
    info.type, info.size = tarfile.GNUTYPE_SPARSE, 0
    data = compose(FILES)
    refused(tmp_path, data[: -len(END_OF_ARCHIVE)] + info.tobuf(tarfile.GNU_FORMAT) + END_OF_ARCHIVE)


def test_a_member_that_claims_to_be_huge_is_refused_at_once(tmp_path):
    huge = header(Entry(path="blobs/sha256/" + "f" * 64, kind="file", size=1 << 50))
    refused(tmp_path, compose(FILES)[: -len(END_OF_ARCHIVE)] + huge + END_OF_ARCHIVE, "beyond the end")
    refused(tmp_path, header(Entry(path="oci-layout", kind="file", size=8**11 - 1)), "beyond the end")


def test_a_million_titles_for_one_blob_are_refused_within_bounds(tmp_path):
    run = b'{"layers":[' + b",".join([b'{"size":1}'] * 1_000_000) + b"]}"
    path = save(tmp_path, compose({"x": b"x"}, run=run))
    tracemalloc.start()
    with pytest.raises(TamperedError, match="too large"):
        opens(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 32 << 20


def test_as_many_titles_as_fit_are_refused_within_bounds(tmp_path):
    blob = oci_documents.blob_of(b"x")
    run = oci_documents.render_artifact(
        oci_documents.RUN, {str(number): blob for number in range(oci_documents.MAX_TITLES + 1)}
    )
    path = save(tmp_path, compose({"x": b"x"}, run=run))
    tracemalloc.start()
    with pytest.raises(TamperedError, match="at most 30000 are read"):
        opens(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 200 << 20


def test_too_many_members_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("harness.archive.reading._MAX_MEMBERS", 3)
    refused(tmp_path, compose(FILES), "more than 3 members")


def test_what_is_no_archive_is_said_to_be_none(tmp_path, archive):
    packed = tmp_path / "packed.tar.gz"
    packed.write_bytes(gzip.compress(archive.read_bytes()))
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "empty").touch()
    for path in (packed, tmp_path, tmp_path / "pipe", tmp_path / "empty", tmp_path / "nowhere", "/dev/null"):
        with pytest.raises(UsageError):
            opens(tmp_path / path)


def test_a_link_to_an_archive_is_followed(archive, tmp_path):
    (tmp_path / "link").symlink_to(archive)
    assert opens(tmp_path / "link").files.digests


def test_nothing_is_written_while_an_archive_is_read(archive, tmp_path):
    alone = tmp_path / "alone"
    alone.mkdir()
    shutil.copyfile(archive, alone / "a")
    (alone / "a").chmod(0o444)
    before = (alone / "a").stat()
    opens(alone / "a")
    assert [path.name for path in alone.iterdir()] == ["a"] and (alone / "a").stat().st_mtime == before.st_mtime


def test_another_runs_file_in_its_place_has_another_digest(run, key, tmp_path):
    other, *_ = make_run(tmp_path / "other")
    (other / "config.json").write_text('{"a":1}\n')
    recertify(other)
    first, second = (write(folder, tmp_path / name, key) for folder, name in ((run, "a"), (other, "b")))
    with open_archive(first, silent) as one, open_archive(second, silent) as two:
        assert one.files.digests["config.json"] != two.files.digests["config.json"]


@pytest.mark.parametrize(
    "text",
    [
        b"{}",
        b"[]",
        b'{"empty":[],"links":[],"others":[1]}',
        b'{"empty":[],"links":["verdict.json"],"others":[]}',
        b'{"empty":[],"links":{"a":1},"others":[]}',
        b'{"empty":[],"links":[],"others":[]} ',
    ],
)
def test_a_list_of_what_was_left_out_that_makes_no_sense_is_refused(tmp_path, text):
    refused(tmp_path, compose({**FILES, oci_documents.NOT_ARCHIVED: text}), "not-archived.json")


def test_errors_of_every_kind_carry_a_remedy(tmp_path):
    for data in (compose(FILES)[:-1], compose(FILES, extra=[b"z"]), b"nothing"):
        with pytest.raises(HarnessError) as caught:
            opens(save(tmp_path, data))
        assert caught.value.remedy
