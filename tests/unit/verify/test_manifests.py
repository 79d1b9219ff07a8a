"""What this project published stays verifiable: every version is held to everything that lies in manifests/."""

import pytest

from harness.signing.known_keys import checkout_keys
from harness.workflow.verify import verify
from tests import ROOT

PUBLISHED = sorted(path.parent for path in (ROOT / "manifests").glob("*/*/certificate.intoto.jsonl"))
EXPERIMENTS = ("tiny", "smollm2")  # of these there must be one at least, of whole trainings that were certified


def silent(_):
    """Tell nobody."""


def verified(folder):
    return verify(folder, ROOT, None, silent)


@pytest.fixture(autouse=True)
def config_home(tmp_path, monkeypatch):
    """Only the checkout's own keys count, whatever this machine trusts."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))


@pytest.mark.parametrize("folder", PUBLISHED, ids=lambda folder: f"{folder.parent.name}-{folder.name}")
def test_a_published_manifest_is_consistent_and_signed_by_a_key_of_this_project(folder):
    found = verified(folder)
    assert (found.word, found.problem) == ("CONSISTENT", "")
    assert found.signer.key_id in {known.key.key_id for known in checkout_keys(ROOT)}
    assert found.signer.name, "its key is not in manifests/keys"
    assert (found.record.manifest.name, found.record.verdict.run_id) == (folder.parent.name, folder.name)


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_the_experiments_of_this_project_have_a_published_certificate(name):
    folders = [folder for folder in PUBLISHED if folder.parent.name == name]
    claimed = [found.claimed for found in map(verified, folders) if found.record.scope is None]
    assert "CERTIFIED" in claimed, f"harness archive {name} --manifest"


def test_every_folder_below_manifests_is_one_that_is_verified():
    folders = {path for path in (ROOT / "manifests").glob("*/*") if path.is_dir() and path.parent.name != "keys"}
    assert folders == set(PUBLISHED)


def test_a_byte_changed_in_a_published_manifest_is_noticed(tmp_path):
    import shutil

    assert PUBLISHED, "nothing is published"
    copy = shutil.copytree(PUBLISHED[0], tmp_path / "copy")
    for path in sorted(path for path in copy.rglob("*") if path.is_file()):
        data = path.read_bytes()
        for place in (0, len(data) // 3, len(data) - 1):
            path.write_bytes(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
            assert verified(copy).word == "TAMPERED", f"{path.name} at {place}"
        path.write_bytes(data)
    assert verified(copy).word == "CONSISTENT"
