"""Data that git does not have."""

from harness.review.source.module import read_module
from harness.scaffold.local_data import local_data, outside_data
from tests.project import Project
from tests.unit.scaffold.test_commands import write


def test_a_folder_of_which_git_has_only_the_place_is_an_input_once_it_has_data(tmp_path):
    project = Project(write(tmp_path, {"data/.gitkeep": "", ".gitignore": "data/*.npy\n"}))
    project.git("init", "-q")
    project.commit()
    words = ("train.py", "--data", "data")
    assert local_data(tmp_path, words, ()) == ()
    write(tmp_path, {"data/a.npy": "1"})
    assert local_data(tmp_path, words, ()) == ("data",)


def test_data_outside_of_the_repository_are_told(tmp_path):
    write(tmp_path, {"elsewhere/x.npy": "1", "own/y.npy": "1"})
    paths = (f"{tmp_path}/elsewhere/x.npy", f"{tmp_path}/own/y.npy", "/no/such.npy", "/usr/bin")
    module = read_module("train.py", "\n".join(f"load({path!r})" for path in paths).encode())
    assert outside_data(tmp_path / "own", (module,)) == paths[:1]
