"""`harness key`, as it is called."""

import json

import pytest
from click.testing import CliRunner

from harness.cli import cli
from harness.errors import UsageError
from harness.signing.public_key import PublicKey


@pytest.fixture(autouse=True)
def machine(tmp_path, monkeypatch):
    def switch(name):
        monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / name))

    monkeypatch.delenv("HARNESS_KEY", raising=False)
    monkeypatch.chdir(tmp_path)  # no checkout, which may name keys of its own
    switch("mine")
    return switch


def call(*arguments):
    """Standard output, which is all that a pipe gets."""
    result = CliRunner().invoke(cli, ["key", *map(str, arguments)], catch_exceptions=False, standalone_mode=False)
    return result.stdout


def test_a_key_goes_from_the_machine_that_signs_to_the_one_that_reads(machine, tmp_path):
    made = call("create", "lab").split()[-1]
    (tmp_path / "lab.json").write_text(call("show"))
    machine("theirs")
    assert call("trust", tmp_path / "lab.json", "--name", "the-lab").split()[-1] == made
    assert json.loads(call("list", "--json")) == [
        {
            "name": "the-lab",
            "source": "trusted",
            "key_id": made,
            "public": PublicKey.parse((tmp_path / "lab.json").read_bytes()).hex,
        },
    ]


def test_show_prints_key_json_and_nothing_else():
    call("create", "lab")
    assert PublicKey.parse(call("show").encode()) == PublicKey.parse(call("show", "lab").encode())


def test_the_checkouts_keys_are_listed_as_such(tmp_path):
    call("create", "lab")
    folder = tmp_path / "checkout" / "manifests" / "keys"
    folder.mkdir(parents=True)
    (folder / "paper.json").write_text(call("show"))
    found = CliRunner().invoke(cli, ["--root", str(tmp_path / "checkout"), "key", "list"]).stdout
    assert [line.split()[:2] for line in found.splitlines()] == [["own", "lab"], ["checkout", "paper"]]


def test_nothing_is_listed_where_nothing_is_known():
    assert call("list") == ""


@pytest.mark.parametrize(
    "arguments", [["show"], ["show", "nobody"], ["create", "../x"], ["trust", "gone", "--name", "x"]]
)
def test_what_cannot_be_done_is_an_error_with_a_remedy(arguments):
    with pytest.raises(UsageError) as caught:
        call(*arguments)
    assert caught.value.remedy


def test_a_file_that_is_no_key_is_a_usage_error(tmp_path):
    (tmp_path / "README.md").write_text('a bundle names a "keyid" for each signature\n')
    with pytest.raises(UsageError, match="is no public key"):
        call("trust", tmp_path / "README.md", "--name", "lab")
