"""What commands name and is not there."""

import pytest
import yaml

from harness.documents.experiment import parse_experiment
from harness.review.command_files import command_findings

DOCUMENT = {"schema": 1, "image": "cpu", "outputs": ["x"], "policy": {"required": ["rerun"]}}


def found(tmp_path, *command, **more):
    (tmp_path / "nested").mkdir()
    for name in ("train.py", "nested/train.py", "nested/settings.yaml"):
        (tmp_path / name).write_text("")
    text = yaml.safe_dump({**DOCUMENT, "run": list(command), **more})
    return [(one.about, one.problem, one.exit_code) for one in command_findings(parse_experiment(text, "x"), tmp_path)]


@pytest.mark.parametrize(
    "command",
    [
        ["python", "train.py", "{output}", "--config={config}", "{inputs}/rows.txt", "{inputs/rows.txt}"],
        ["env", "-C", "nested", "python", "train.py", "settings.yaml"],
        ["python", "nested/train.py", "--settings", "settings.yaml"],
        ["python", "train.py", "/data/absolute.json", "--name", "a sentence.txt", "logs/*.txt", "{output}/new.json"],
        ["bash", "-c", "python train.py --out={output}/x.json"],
        ["python", "train.py", '{"lr": 1}', "v1.2"],
    ],
)
def test_what_is_there_or_is_no_file_of_the_code_is_not_told(tmp_path, command):
    inputs = {"rows.txt": {"file": "rows.txt"}}
    assert found(tmp_path, *command, inputs=inputs) == []


@pytest.mark.parametrize(
    ("command", "problem", "exit_code"),
    [
        (["python", "train.py", "{ouput}"], "{ouput} is no placeholder: the program gets it as it is", 3),
        (["python", "train.py", "{epoch}"], "{epoch} is no placeholder: the program gets it as it is", 0),
        (["python", "train.py", "{prepared}"], "{prepared} is used, and there is no `prepare`", 3),
        (["python", "other.py"], "the code has no other.py", 3),
        (["python", "train.py", "--config=a/b.yaml"], "the code has no a/b.yaml", 0),
        (["python", "train.py", "rows.txt"], "the code has no rows.txt", 0),
    ],
)
def test_what_is_not_there_is_told_once_with_what_it_would_end_with(tmp_path, command, problem, exit_code):
    inputs = {"rows.txt": {"file": "rows.txt"}}
    assert found(tmp_path, *command, resume=command, inputs=inputs) == [("`run`", problem, exit_code)]


def test_an_input_of_the_project_lies_at_its_path_in_a_working_folder_of_the_code(tmp_path):
    more = {"inputs": {"rows": {"folder": "data"}}, "working_folder": "output"}
    assert found(tmp_path, "python", "train.py", "data/rows.txt", **more) == []
