"""What is not as it was, by path."""

from harness.replay.environment_changes import MAX_ROWS, environment_rows


def rows(one, two):
    return [(row.path, row.archived, row.today) for row in environment_rows(one, two)]


def test_equal_documents_have_no_row():
    assert rows({"a": {"b": [1, "x"]}}, {"a": {"b": [1, "x"]}}) == []


def test_values_that_changed_came_or_went_are_rows_by_their_path():
    one = {"host": {"kernel": "6.1", "cores": 2, "gpus": ["a"]}, "gone": True}
    two = {"host": {"kernel": "6.2", "cores": 2, "gpus": ["a", "b"]}, "new": {"x": 1}}
    assert rows(one, two) == [
        ("gone", "true", None),
        ("host.gpus.1", None, "b"),
        ("host.kernel", "6.1", "6.2"),
        ("new.x", None, "1"),
    ]


def test_a_value_that_is_of_another_type_is_a_row():
    assert rows({"a": 1}, {"a": "1"}) == [("a", "1", "1")]
    assert rows({"a": 1}, {"a": None}) == [("a", "1", None)]


def test_what_came_whole_is_shown_value_by_value_and_not_as_json():
    docker = {"sandbox": {"mounts": {"/out": "rw"}, "groups": [7], "gpus": []}, "image": None}
    assert rows({"sandbox": None}, docker) == [("sandbox.groups.0", None, "7"), ("sandbox.mounts./out", None, "rw")]


def test_rows_are_bounded():
    one, two = ({str(number): side for number in range(1000)} for side in (1, 2))
    assert len(rows(one, two)) == MAX_ROWS
    (row,) = environment_rows({"a": "x" * 5000}, {"a": ""})
    assert len(row.archived) < 400
