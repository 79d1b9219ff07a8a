import os

import pytest

from harness.errors import TamperedError, UsageError
from harness.signing.keys import create_key
from harness.signing.known_keys import (
    checkout_keys,
    config_folder,
    find_key,
    find_known,
    key_id_of,
    own_keys,
    read_public,
    trust_key,
    trusted_keys,
)


def name_of(key, root):
    known = find_key(key.key_id, root)
    return None if known is None else str(known)


@pytest.fixture(autouse=True)
def config(tmp_path, monkeypatch):
    monkeypatch.delenv("HARNESS_KEY", raising=False)

    def switch(name):
        monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / name))

    switch("mine")
    return switch


@pytest.fixture
def theirs(tmp_path, config):
    """The public key of somebody else, as a file, and nothing else of theirs on this machine."""
    config("theirs")
    path = tmp_path / "key.json"
    path.write_bytes(create_key("them").render())
    config("mine")
    return path


def test_a_key_that_nobody_named_has_no_name(theirs, tmp_path):
    assert name_of(read_public(theirs), None) is None
    assert name_of(read_public(theirs), tmp_path) is None


def test_an_own_key_has_its_name():
    key = create_key("lab")
    assert name_of(key, None) == "lab"
    assert find_key(key.key_id, None).source == "own"


def test_a_trusted_key_has_the_name_that_was_given_here(theirs):
    key = trust_key(theirs, "lab")
    assert (name_of(key, None), find_key(key.key_id, None).source) == ("lab", "trusted")
    assert [known.name for known in trusted_keys()] == ["lab"]
    assert trust_key(theirs, "lab") == key


def test_what_only_the_checkout_says_is_said_so(theirs, tmp_path):
    folder = tmp_path / "checkout" / "manifests" / "keys"
    folder.mkdir(parents=True)
    (folder / "famous-lab.json").write_bytes(theirs.read_bytes())
    root = tmp_path / "checkout"
    assert name_of(read_public(theirs), root) == "famous-lab (so says manifests/keys of this checkout)"
    trust_key(theirs, "lab")
    assert name_of(read_public(theirs), root) == "lab"
    assert [known.name for known in checkout_keys(root)] == ["famous-lab"]


def test_a_file_that_is_no_key_gives_no_name(tmp_path):
    folder = tmp_path / "manifests" / "keys"
    folder.mkdir(parents=True)
    key = create_key("lab").render()
    (folder / "broken.json").write_bytes(key.replace(b"ed25519", b"ed448", 1))
    (folder / "Bad Name.json").write_bytes(key)
    (folder / "folder.json").mkdir()
    (folder / "dangling.json").symlink_to("nowhere")
    assert checkout_keys(tmp_path) == ()


def test_no_two_keys_have_one_name_and_no_key_has_two(theirs):
    create_key("lab")
    with pytest.raises(UsageError, match="lab is another key"):
        trust_key(theirs, "lab")
    trust_key(theirs, "them")
    with pytest.raises(UsageError, match="it is them"):
        trust_key(theirs, "somebody")


@pytest.mark.parametrize("name", ["", "../x", "A B", "x/y"])
def test_a_name_is_part_of_a_files(theirs, name):
    with pytest.raises(UsageError, match="cannot be the name"):
        trust_key(theirs, name)


def test_a_changed_file_is_not_kept(theirs):
    data = bytearray(theirs.read_bytes())
    data[100] ^= 1
    theirs.write_bytes(data)
    with pytest.raises(TamperedError, match=r"key\.json"):
        trust_key(theirs, "lab")
    assert trusted_keys() == ()


def test_a_missing_file_is_an_error(tmp_path):
    with pytest.raises(UsageError, match="No such file"):
        trust_key(tmp_path / "gone.json", "lab")


def test_a_key_is_found_by_its_name(theirs):
    own, trusted = create_key("mine"), trust_key(theirs, "them")
    assert (find_known("mine", None).key, find_known("them", None).key) == (own, trusted)
    with pytest.raises(UsageError, match="no key is called 'nobody'"):
        find_known("nobody", None)


def test_a_key_is_meant_by_its_id_its_file_or_a_name_that_this_machine_gave_it(theirs, tmp_path):
    own, trusted = create_key("mine"), trust_key(theirs, "them")
    for which, key in (("mine", own), ("them", trusted), (str(theirs), trusted), (own.key_id, own)):
        assert key_id_of(which) == key.key_id
    for which in ("nobody", own.key_id[:12], str(tmp_path / "gone.json")):
        with pytest.raises(UsageError):
            key_id_of(which)


def test_own_keys_are_sorted():
    for name in ("b", "a", "c"):
        create_key(name)
    assert [known.name for known in own_keys()] == ["a", "b", "c"]


def test_a_relative_config_home_is_ignored(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CONFIG_HOME", "relative")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert config_folder() == tmp_path / ".config" / "repro-harness"
    monkeypatch.delenv("XDG_CONFIG_HOME")
    assert config_folder() == tmp_path / ".config" / "repro-harness"


def test_a_pipe_among_the_keys_is_no_key_and_is_not_waited_for(theirs, tmp_path):
    folder = tmp_path / "checkout" / "manifests" / "keys"
    folder.mkdir(parents=True)
    os.mkfifo(folder / "pipe.json")
    with pytest.raises(UsageError, match="is no file"):
        trust_key(folder / "pipe.json", "pipe")
    assert find_key(read_public(theirs).key_id, tmp_path / "checkout") is None
