import hashlib
import json
import mimetypes
import shutil

import pytest

from harness.archive.crate import CRATE, described_files, render_crate, write_crate
from harness.system.files import FolderFiles
from tests.crate_run import make_run
from tests.made.documents import manifest_of


def entities(text):
    return {entity["@id"]: entity for entity in json.loads(text)["@graph"]}


@pytest.fixture
def run(tmp_path):
    """A run's folder, its verdict and manifest, and what its crate says."""
    verdict, manifest = make_run(tmp_path / "run")
    path = write_crate(tmp_path / "run", verdict, manifest)
    return tmp_path / "run", verdict, manifest, entities(path.read_text())


def test_it_declares_its_profile_and_version(run):
    *_, found = run
    assert found[CRATE]["conformsTo"] == {"@id": "https://w3id.org/ro/crate/1.1"}
    assert found["./"]["conformsTo"] == {"@id": "https://w3id.org/ro/wfrun/process/0.5"}


def test_the_root_says_what_was_found_and_when(run):
    _, verdict, _, found = run
    assert found["./"]["name"] == "tiny: CERTIFIED (run 20261123T160646Z-c0acdde-7938)"
    assert found["./"]["description"] == verdict.summary
    assert found["./"]["datePublished"] == "2026-11-23T16:07:25+00:00"


def test_files_have_their_digests_and_are_parts_of_the_root(run):
    folder, _, manifest, found = run
    parts = {part["@id"] for part in found["./"]["hasPart"]}
    files = {key: entity for key, entity in found.items() if entity["@type"] == "File"}
    assert parts == files.keys()
    assert {entity["name"] for entity in files.values()} == {
        name for name in described_files(manifest) if (folder / name).is_file()
    }
    for entity in files.values():
        assert entity["sha256"] == hashlib.sha256((folder / entity["name"]).read_bytes()).hexdigest()


def test_a_name_with_odd_characters_is_a_uri(run):
    *_, found = run
    assert found["straight/output/a%20file%20%231.safetensors"]["name"] == "straight/output/a file #1.safetensors"


def test_every_run_is_an_action_with_its_command_inputs_results_and_times(run):
    *_, found = run
    action = found["#run-resumed/2"]
    assert action["@type"] == "CreateAction"
    assert action["description"] == "python train.py"
    assert action["instrument"] == {"@id": "#code"}
    assert action["containerImage"] == {"@id": "#image"}
    assert {"@id": "#input-words"} in action["object"]
    assert {"@id": "resumed/runs/2/ledger.jsonl"} in action["result"]
    assert (action["startTime"], action["endTime"]) == ("2026-11-23T16:06:48+00:00", "2026-11-23T16:07:03+00:00")
    assert {one["@id"] for one in found["./"]["mentions"]} == {
        "#run-straight/1",
        "#run-resumed/1",
        "#run-resumed/2",
        "#judging",
    }


def test_only_the_last_run_of_a_trajectory_made_its_outputs(run):
    *_, found = run
    assert found["#run-resumed/1"]["result"] == {"@id": "resumed/runs/1/ledger.jsonl"}
    assert len(found["#run-resumed/2"]["result"]) == 2


def test_a_planned_kill_is_a_failed_action_that_says_so(run):
    *_, found = run
    assert found["#run-resumed/1"]["actionStatus"] == "http://schema.org/FailedActionStatus"
    assert found["#run-resumed/1"]["error"] == "ended as planned with exit code 137"
    assert found["#run-resumed/2"]["actionStatus"] == "http://schema.org/CompletedActionStatus"
    assert "error" not in found["#run-resumed/2"]


def test_judging_takes_the_evidence_and_gives_the_documents(run):
    *_, found = run
    judging = found["#judging"]
    assert judging["instrument"] == {"@id": "#harness"}
    assert {one["@id"] for one in judging["result"]} == {"manifest.json", "verdict.json", "report.html"}
    assert {"@id": "straight/runs/1/ledger.jsonl"} in judging["object"]


def test_whoever_ran_it_is_not_invented(run):
    *_, found = run
    assert not any({"agent", "author", "publisher"} & entity.keys() for entity in found.values())


def test_on_the_host_there_is_no_image_and_no_start(tmp_path):
    path = write_crate(tmp_path / "run", *make_run(tmp_path / "run", runner="host"))
    found = entities(path.read_text())
    assert "#image" not in found
    assert not {"containerImage", "startTime", "endTime"} & found["#run-straight/1"].keys()


def test_a_licence_that_is_certain_is_named(run):
    *_, found = run
    assert found["./"]["license"] == {"@id": "https://spdx.org/licenses/Apache-2.0"}
    assert found["https://spdx.org/licenses/Apache-2.0"]["name"] == "Apache-2.0"


@pytest.mark.parametrize(
    "make",
    [
        lambda path: path.write_text("Do as you like."),
        lambda path: path.symlink_to("x"),
        lambda path: path.write_bytes(bytes(2 << 20)),
    ],
)
def test_a_licence_that_is_not_certain_is_not_named(tmp_path, make):
    verdict, manifest = make_run(tmp_path / "run")
    licence = tmp_path / "run" / "code" / "LICENSE"
    licence.unlink()
    make(licence)
    found = entities(write_crate(tmp_path / "run", verdict, manifest).read_text())
    assert "ask whoever published it" in found["./"]["license"]


def test_the_same_run_gives_the_same_bytes(run, tmp_path):
    folder, verdict, manifest, _ = run
    before = (folder / CRATE).read_bytes()
    copy = tmp_path / "elsewhere" / "other-name"
    shutil.copytree(folder, copy)
    reordered = manifest.to_json()
    assert (
        write_crate(copy, verdict, manifest_of({key: reordered[key] for key in reversed(reordered)})).read_bytes()
        == before
    )


def test_the_machines_own_tables_change_nothing(run, monkeypatch):
    folder, verdict, manifest, _ = run
    before = (folder / CRATE).read_bytes()
    monkeypatch.setitem(mimetypes.types_map, ".json", "application/x-other")
    monkeypatch.setitem(mimetypes.types_map, ".safetensors", "application/x-other")
    assert write_crate(folder, verdict, manifest).read_bytes() == before


def test_it_can_be_written_again_from_the_digests_alone(run):
    folder, verdict, manifest, found = run
    digests = {e["name"]: f"sha256:{e['sha256']}" for e in found.values() if e["@type"] == "File"}
    more = {**digests, "straight/log-1.txt": "sha256:" + "0" * 64}
    assert render_crate(verdict, manifest, more, FolderFiles(folder / "code")).encode() == (folder / CRATE).read_bytes()


def test_no_link_that_a_run_left_is_followed(tmp_path):
    verdict, manifest = make_run(tmp_path / "run")
    (tmp_path / "secret").write_text("secret")
    for name in ("straight/runs/1/ledger.jsonl", "straight/output/a file #1.safetensors"):
        (tmp_path / "run" / name).unlink()
        (tmp_path / "run" / name).symlink_to(tmp_path / "secret")
    found = entities(write_crate(tmp_path / "run", verdict, manifest).read_text())
    assert not any(key.startswith("straight/") for key in found)
    assert "resumed/runs/1/ledger.jsonl" in found


def test_a_name_that_is_no_utf_8_is_left_out(run):
    folder, verdict, manifest, _ = run
    straight = manifest.trajectories["straight"]
    files = {**straight.files, "\udc80.bin": next(iter(straight.files.values()))}
    odd = straight.model_copy(update={"files": files})
    manifest = manifest.model_copy(update={"trajectories": {**manifest.trajectories, "straight": odd}})
    digests = dict.fromkeys(described_files(manifest), "sha256:" + "0" * 64)
    assert "\udc80" not in render_crate(verdict, manifest, digests, FolderFiles(folder / "code"))
