"""What belongs to a run: every file but what can be fetched or made again, and a note of what is no file."""

import hashlib
import json
import os

from harness.archive.code_tar import code_tar_digest
from harness.archive.run_folder import list_evidence, list_files, note_left_out


def test_every_file_is_listed_with_its_digest_and_the_code_as_one(run):
    found = list_evidence(run)
    assert list(found) == sorted(found)
    assert (
        found["straight/output/metrics.jsonl"].hex
        == hashlib.sha256((run / "straight" / "output" / "metrics.jsonl").read_bytes()).hexdigest()
    )
    assert found["code.tar"] == code_tar_digest(run / "code")
    assert {"manifest.json", "verdict.json", "config.json", "straight/run-1.json"} <= found.keys()
    assert not any(name.startswith(("code/", "inputs", "prepare", "certificate", "key")) for name in found)


def test_what_can_be_made_again_and_the_certificate_are_no_evidence(run):
    before = list_evidence(run)
    for name in ("inputs/x", "prepare/first/x", "certificate.intoto.jsonl", "key.json"):
        (run / name).parent.mkdir(parents=True, exist_ok=True)
        (run / name).write_text("x")
    assert list_evidence(run) == before
    (run / "straight" / "inputs").mkdir()
    (run / "straight" / "inputs" / "key.json").write_text("x")
    assert "straight/inputs/key.json" in list_evidence(run)


def test_links_and_empty_folders_are_named_in_a_file_of_their_own(run):
    note_left_out(run)
    assert not (run / "not-archived.json").exists()
    (run / "straight" / "output" / "link").symlink_to("metrics.jsonl")
    (run / "straight" / "empty").mkdir()
    os.mkfifo(run / "straight" / "pipe")
    note_left_out(run)
    told = json.loads((run / "not-archived.json").read_bytes())
    assert told == {"links": ["straight/output/link"], "others": ["straight/pipe"], "empty": ["straight/empty"]}
    assert list_files(run)[1].to_json() == told and "not-archived.json" in list_evidence(run)


def test_names_that_are_no_text_are_escaped(run):
    (run / "straight" / os.fsdecode(b"a\xff")).write_text("x")
    assert "straight/a\\udcff" in list_evidence(run)
