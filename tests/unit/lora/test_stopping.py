"""The losses watched are 1.0, 0.9, 0.85, 0.82, 0.83, 0.81, 0.70, 0.71, 0.72, 0.73."""


def test_without_patience_a_training_never_ends_early(pieces):
    assert pieces["stopping"]["never"] is None


def test_a_training_ends_after_so_many_validations_in_a_row_that_were_no_better(pieces):
    stopping = pieces["stopping"]
    assert [stopping["patience 1"], stopping["patience 2"], stopping["patience 3"]] == [5, 9, 10]


def test_a_gain_of_no_more_than_the_delta_is_none_but_small_gains_add_up(pieces):
    # 0.9 is no gain of more than 0.1 over 1.0; 0.85 is one. 0.82 and 0.83 are none over 0.85.
    assert pieces["stopping"]["delta"] == 5
    assert pieces["stopping"]["large delta"] == 3


def test_a_count_that_was_saved_and_restored_ends_at_the_same_validation(pieces):
    assert pieces["stopping"]["restored"] == [10] * 9


def test_a_count_that_was_lost_does_not(pieces):
    assert pieces["stopping"]["lost"] is None
