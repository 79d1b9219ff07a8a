"""`harness init` as it is typed."""

import pytest

from tests.project import Project


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["train.py", "--yes"], "write it before: harness init --yes train.py"),
        (["train.py"], "use --yes"),
        (["--check"], "there is no experiment in"),
    ],
)
def test_what_is_typed_wrongly_is_told_with_the_right_way(tmp_path, arguments, words):
    answer = Project(tmp_path).harness("init", *arguments)
    assert answer.code == 2 and words in answer.err
