import itertools


def test_every_epoch_has_its_own_order_of_the_same_pairs(pieces):
    first, second, first_again = pieces["epochs"]["whole"]
    assert first == first_again != second
    assert sorted(itertools.chain(*first)) == sorted(itertools.chain(*second)) == list(range(10))


def test_a_resume_skips_indices_of_the_same_permutation(pieces):
    assert pieces["epochs"]["rest"] == pieces["epochs"]["whole"][1][2:]
    assert pieces["epochs"]["length"] == 2


def test_an_epoch_can_be_a_part_of_the_pairs(pieces):
    batches, num_batches = pieces["part_of_the_pairs"]
    assert [len(batch) for batch in batches] == [3, 3, 1]
    assert num_batches == 3
    assert len(set(itertools.chain(*batches))) == 7


def test_the_state_of_another_order_is_refused(pieces):
    assert "differs in seed" in pieces["foreign_state"]


def test_prompt_and_padding_have_no_label(pieces):
    assert pieces["batch"]["input_ids"] == [[5, 6, 7, 8], [9, 10, 0, 0]]
    assert pieces["batch"]["attention_mask"] == [[1, 1, 1, 1], [1, 1, 0, 0]]
    assert pieces["batch"]["labels"] == [[-100, -100, 7, 8], [-100, 10, -100, -100]]
    assert pieces["batch"]["targets"] == 3


def test_packed_pairs_stand_end_to_end_with_positions_and_segments_of_their_own(pieces):
    batch = pieces["packed_batch"]
    assert batch["input_ids"] == [[5, 6, 7, 8, 9], [4, 3, 0, 0, 0]]
    assert batch["position_ids"] == [[0, 1, 2, 0, 1], [0, 1, 0, 0, 0]]
    assert batch["segments"] == [[0, 0, 0, 1, 1], [0, 0, -1, -1, -1]]


def test_in_a_packed_row_no_pairs_first_token_has_a_label(pieces):
    assert pieces["packed_batch"]["labels"] == [[-100, 6, 7, -100, 9], [-100, 3, -100, -100, -100]]
    assert pieces["packed_batch"]["targets"] == 4


def test_prepared_pairs_are_named_by_their_content(pieces):
    one, again, other, moved = pieces["data_digests"]
    assert one == again
    assert len({one, other, moved}) == 3


def test_a_label_on_the_first_token_does_not_count(pieces):
    assert pieces["a_label_on_the_first_token_does_not_count"] == 2


def test_the_last_window_holds_what_is_left(pieces):
    assert pieces["windows"] == [["a", "b", "c"], ["d", "e", "f"], ["g", "h"]]


def test_loading_data_draws_nothing_from_the_global_generator(pieces):
    assert pieces["loading_data_draws_nothing"]


def test_workers_are_seeded_and_do_not_share_their_numbers(pieces):
    first, second = pieces["worker_seeds"]
    assert first == second
    assert len({draw for item in first for draw in item}) == 4 * 3
