import os
import stat
import subprocess
import sys

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa, x25519
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from harness.errors import HostError, UsageError
from harness.signing.keys import create_key, load_signer
from harness.signing.public_key import verify_bundle
from tests import ROOT

PAYLOADS = (b'{"a":1}', b'{"b":2}')


@pytest.fixture(autouse=True)
def config(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.delenv("HARNESS_KEY", raising=False)
    return tmp_path / "config" / "repro-harness"


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


def write_pem(path, private=None, encryption=None, mode=0o600):
    private = private or ed25519.Ed25519PrivateKey.generate()
    path.write_bytes(private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption or NoEncryption()))
    path.chmod(mode)
    return path


def secret_of(path):
    """The lines of a PEM file that nobody may see."""
    return [line for line in path.read_text().splitlines() if not line.startswith("-----")]


def test_a_new_key_signs_what_its_public_half_verifies():
    made = create_key("lab")
    signing = load_signer("lab")
    assert signing.key == made
    assert verify_bundle(signing.sign(PAYLOADS), made) == PAYLOADS


def test_signing_twice_gives_the_same_bytes():
    create_key("lab")
    assert load_signer("lab").sign(PAYLOADS) == load_signer("lab").sign(PAYLOADS)


def test_only_its_owner_can_read_a_private_key(config):
    before = os.umask(0)
    try:
        create_key("lab")
    finally:
        os.umask(before)
    assert mode(config / "keys" / "lab.pem") == 0o600
    assert mode(config / "keys") == 0o700


def test_a_pem_is_pkcs8_as_other_tools_read_it(config):
    create_key("lab")
    text = (config / "keys" / "lab.pem").read_text()
    assert text.startswith("-----BEGIN PRIVATE KEY-----\n")


def test_no_key_is_overwritten(config):
    create_key("lab")
    before = (config / "keys" / "lab.pem").read_bytes()
    with pytest.raises(UsageError, match="there is a key lab already"):
        create_key("lab")
    (config / "keys" / "lab.pem").unlink()
    with pytest.raises(UsageError, match="there is a key lab already"):
        create_key("lab")
    assert before


def test_a_dangling_link_is_not_written_through(config, tmp_path):
    create_key("first")
    (config / "keys" / "lab.pem").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(HostError, match="File exists"):
        create_key("lab")
    assert not (tmp_path / "elsewhere").exists()


def test_half_a_pair_does_not_stay(config):
    create_key("first")
    (config / "keys" / "lab.json").symlink_to("nowhere")
    with pytest.raises(HostError):
        create_key("lab")
    assert not (config / "keys" / "lab.pem").exists()


@pytest.mark.parametrize("name", ["", ".", "..", "../x", "a/b", "A", "a b", "-a", "a" * 65, "ä", "a\n"])
def test_a_name_is_part_of_a_files(name):
    with pytest.raises(UsageError, match="cannot be the name of a key"):
        create_key(name)


def test_no_key_is_made_where_others_can_look(config):
    (config / "keys").mkdir(parents=True, mode=0o755)
    (config / "keys").chmod(0o755)
    with pytest.raises(HostError, match="chmod 700"):
        create_key("lab")


def test_the_only_key_signs_where_none_is_named():
    made = create_key("lab")
    assert load_signer(None).key == made


def test_of_several_keys_the_default_signs():
    create_key("a")
    create_key("b")
    with pytest.raises(UsageError, match="which key") as caught:
        load_signer(None)
    assert "a, b" in caught.value.problem
    made = create_key("default")
    assert load_signer(None).key == made


def test_the_environment_names_a_pem(tmp_path, monkeypatch):
    create_key("lab")
    path = write_pem(tmp_path / "ci.pem")
    monkeypatch.setenv("HARNESS_KEY", str(path))
    assert load_signer(None).key == load_signer(str(path)).key != load_signer("lab").key


def test_without_a_key_the_remedy_is_a_command():
    with pytest.raises(UsageError, match="harness key create"):
        load_signer(None)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(UsageError, match=r"no private key .*gone\.pem"):
        load_signer(str(tmp_path / "gone.pem"))
    with pytest.raises(UsageError, match=r"no private key .*nobody\.pem"):
        load_signer("nobody")


@pytest.mark.parametrize("bits", [0o640, 0o604, 0o644, 0o660, 0o666, 0o610])
def test_a_key_that_others_can_read_is_refused_with_the_remedy(tmp_path, bits):
    path = write_pem(tmp_path / "key.pem", mode=bits)
    with pytest.raises(UsageError) as caught:
        load_signer(str(path))
    assert f"chmod 600 {path}" in caught.value.remedy
    assert f"{bits:04o}" in caught.value.problem


@pytest.mark.parametrize(
    ("private", "kind"),
    [
        (rsa.generate_private_key(65537, 2048), "RSA"),
        (ec.generate_private_key(ec.SECP256R1()), "EC"),
        (x25519.X25519PrivateKey.generate(), "X25519"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_key_of_another_kind_is_refused(tmp_path, private, kind):
    path = write_pem(tmp_path / "key.pem", private)
    with pytest.raises(UsageError, match="only ed25519") as caught:
        load_signer(str(path))
    assert kind in caught.value.problem
    assert not any(line in str(caught.value) for line in secret_of(path))


def test_an_encrypted_key_is_refused(tmp_path):
    path = write_pem(tmp_path / "key.pem", encryption=BestAvailableEncryption(b"secret"))
    with pytest.raises(UsageError, match="is encrypted"):
        load_signer(str(path))


def bad_files():
    public = ed25519.Ed25519PrivateKey.generate().public_key()
    whole = ed25519.Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    yield "empty", b""
    yield "random", bytes(range(256))
    yield "public", public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    yield "cut", whole[:60]
    yield "torn", whole.replace(b"M", b"!", 1)
    yield "large", whole + b"\n" * 20_000


@pytest.mark.parametrize(("name", "data"), [*bad_files()], ids=lambda value: value if isinstance(value, str) else "")
def test_what_is_no_private_key_is_refused_and_not_quoted(tmp_path, name, data):
    path = tmp_path / f"{name}.pem"
    path.write_bytes(data)
    path.chmod(0o600)
    with pytest.raises(UsageError, match="no PEM file with a private key") as caught:
        load_signer(str(path))
    assert not any(line and line in str(caught.value) for line in data.decode("latin-1").splitlines()[1:-1])
    assert caught.value.__context__ is None or not str(caught.value.__context__).count("MC4C")


def test_a_folder_and_a_pipe_are_no_keys(tmp_path):
    os.mkfifo(tmp_path / "pipe.pem", 0o600)
    for path in (tmp_path, tmp_path / "pipe.pem"):
        with pytest.raises(UsageError):
            load_signer(str(path))


def test_the_private_key_shows_in_no_representation(config):
    create_key("lab")
    signing = load_signer("lab")
    assert "signer" not in repr(signing)
    assert not any(line in repr(signing) + str(signing) for line in secret_of(config / "keys" / "lab.pem"))


def test_no_command_prints_private_material(config):
    create_key("lab")
    secret = secret_of(config / "keys" / "lab.pem")
    (config / "keys" / "lab.pem").chmod(0o644)
    root = ROOT
    output = ""
    for arguments in (["create", "lab"], ["create", "other"], ["list", "--json"], ["show", "lab"], ["show"]):
        command = [sys.executable, "-m", "harness", "key", *arguments]
        environment = {**os.environ, "HARNESS_TRACEBACK": "1"}
        done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, check=False)
        output += done.stdout + done.stderr
    assert "key id" in output
    assert not any(line in output for line in secret)
