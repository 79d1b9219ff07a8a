"""`{latest:GLOB}`: which checkpoint a resume is given."""

import os

import pytest

from harness.errors import UsageError
from harness.runs.newest_checkpoint import check_globs, with_newest
from tests.made.synthetic import chain

OUTPUT = "/out/output"
COMMAND = ("python", "train.py", "--resume={latest:checkpoint-*}")


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "output").mkdir()
    (tmp_path / "runs" / "1").mkdir(parents=True)
    return tmp_path


def save(folder, name, written, *files):
    for file in files or ("model.pt", "state.pt"):
        path = folder / "output" / name / file
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"x")
        os.utime(path, ns=(written, written))


def events(folder, *rows):
    (folder / "runs" / "1" / "events.jsonl").write_bytes(chain([*rows]))


def newest(folder):
    found = with_newest(COMMAND, folder, OUTPUT)
    return None if found is None else found[-1].removeprefix("--resume={output}/")


def test_the_newest_is_the_last_that_was_written_and_of_two_at_once_the_higher_number(folder):
    assert newest(folder) is None
    save(folder, "checkpoint-8", 5)
    save(folder, "checkpoint-9", 7)
    save(folder, "checkpoint-10", 7)
    assert newest(folder) == "checkpoint-10"
    save(folder, "checkpoint-2", 9)
    assert newest(folder) == "checkpoint-2"


def test_what_a_kill_has_torn_and_what_lacks_a_file_is_not_taken(folder):
    save(folder, "checkpoint-4", 4)
    save(folder, "checkpoint-8", 8)
    events(
        folder,
        {"kind": "save_begin", "path": "checkpoint-4/model.pt", "step": 4},
        {"kind": "save_end", "path": "checkpoint-4/model.pt", "step": 4},
        {"kind": "save_begin", "path": "checkpoint-8/state.pt", "step": 8},
    )
    assert newest(folder) == "checkpoint-4"
    save(folder, "checkpoint-12", 12, "model.pt")
    assert newest(folder) == "checkpoint-4"


def test_a_command_without_the_word_stays_and_another_glob_is_looked_for_by_itself(folder):
    assert with_newest(("python", "a.py"), folder, OUTPUT) == ("python", "a.py")
    save(folder, "checkpoint-4", 4)
    (folder / "output" / "link.pt").symlink_to("/etc/passwd")
    assert with_newest(("{latest:checkpoint-*/model.pt}",), folder, OUTPUT) == ("{output}/checkpoint-4/model.pt",)
    assert with_newest(("{latest:checkpoint-*}", "{latest:*.pt}"), folder, OUTPUT) is None


@pytest.mark.parametrize("target", ["checkpoint-4", f"{OUTPUT}/checkpoint-4", "../../secret", "/etc", "lost", "other"])
def test_a_link_stands_for_what_it_leads_to_below_the_output(folder, target):
    save(folder, "checkpoint-4", 4)
    (folder / "secret").mkdir()
    (folder / "output" / "other").symlink_to("/etc")
    (folder / "output" / "latest").symlink_to(target)
    found = with_newest(("{latest:latest}",), folder, OUTPUT)
    assert found == (("{output}/checkpoint-4",) if "checkpoint" in target else None)


def test_a_glob_that_nothing_answers_to_is_refused_with_what_was_saved(folder):
    events(folder, {"kind": "save_end", "path": "checkpoint-4/model.pt", "step": 4})  # and deleted since
    check_globs(COMMAND, folder)
    check_globs(("python", "train.py"), folder)
    with pytest.raises(UsageError, match=r"chekpoint.* matches nothing .* it saved checkpoint-4/model.pt"):
        check_globs(("{latest:chekpoint-*}",), folder)
    save(folder, "chekpoint-1", 1)
    check_globs(("{latest:chekpoint-*}",), folder)
