"""What docs/guide/signing.md says about verifying by other means is run as it stands there."""

import json
import shutil
import subprocess

import pytest
from securesystemslib.dsse import Envelope
from securesystemslib.signer import SSlibKey

from harness.signing.keys import create_key, load_signer
from tests import ROOT

GUIDE = ROOT / "docs" / "guide" / "signing.md"


def commands():
    blocks = GUIDE.read_text(encoding="utf-8").split("```bash\n")[1:]
    return next(block.partition("```")[0] for block in blocks if "openssl pkeyutl" in block)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.delenv("HARNESS_KEY", raising=False)
    key = create_key("lab")
    (tmp_path / "key.json").write_bytes(key.render())
    (tmp_path / "certificate.intoto.jsonl").write_bytes(load_signer("lab").sign([b'{"a":1}', b'{"b":2}']))
    return tmp_path


@pytest.mark.skipif(shutil.which("openssl") is None, reason="there is no openssl command")
def test_openssl_verifies_the_signature_and_sees_a_change(folder):
    def run():
        done = subprocess.run(["bash", "-c", commands()], cwd=folder, capture_output=True, text=True, check=False)
        return done.returncode, done.stdout + done.stderr

    code, output = run()
    assert code == 0, output
    bundle = folder / "certificate.intoto.jsonl"
    bundle.write_bytes(bundle.read_bytes().replace(b"eyJhIjoxfQ==", b"eyJhIjoyfQ=="))
    assert run()[0] != 0


@pytest.mark.skipif(shutil.which("openssl") is None, reason="there is no openssl command")
def test_a_key_that_openssl_made_signs(folder, monkeypatch):
    path = folder / "ci.pem"
    command = ["openssl", "genpkey", "-algorithm", "ed25519", "-out", path]
    subprocess.run(command, check=True, capture_output=True)
    path.chmod(0o600)
    monkeypatch.setenv("HARNESS_KEY", str(path))
    signing = load_signer(None)
    (folder / "key.json").write_bytes(signing.key.render())
    (folder / "certificate.intoto.jsonl").write_bytes(signing.sign([b"{}"]))
    assert subprocess.run(["bash", "-c", commands()], cwd=folder, capture_output=True, check=False).returncode == 0


def test_the_library_verifies_the_bundle_as_it_reads_any(folder):
    public = json.loads((folder / "key.json").read_text())
    key = SSlibKey.from_dict(public.pop("keyid"), public)
    for line in (folder / "certificate.intoto.jsonl").read_text().splitlines():
        assert Envelope.from_dict(json.loads(line)).verify([key], 1).keys() == {key.keyid}
