import itertools

import pytest

KINDS = ("shuffled", "bucketed", "packed")


@pytest.fixture
def lengths(pieces):
    return pieces["batchings"]["lengths"]


def pairs_of(batches):
    """The indices of an epoch in their order, whether its rows are pairs or lists of pairs."""
    rows = itertools.chain(*batches)
    return [index for row in rows for index in (row if isinstance(row, list) else [row])]


def padded_tokens(batches, lengths):
    """Tokens that the model is given: each micro-batch is as long as its longest row."""

    def tokens(row):
        return sum(lengths[index] for index in row) if isinstance(row, list) else lengths[row]

    return sum(len(batch) * max(map(tokens, batch)) for batch in batches)


@pytest.mark.parametrize("kind", KINDS)
def test_every_pair_comes_exactly_once_an_epoch(pieces, kind):
    for batches in pieces["batchings"][kind]["epochs"]:
        indices = pairs_of(batches)
        assert len(indices) == len(set(indices)) == 400
        assert set(indices) < set(range(403))


@pytest.mark.parametrize("kind", KINDS)
def test_an_epoch_is_known_without_the_epochs_before_it(pieces, kind):
    seen = pieces["batchings"][kind]
    first, second, third, second_again = seen["epochs"]
    assert second == second_again == seen["fresh"]
    assert first != second != third


@pytest.mark.parametrize("kind", KINDS)
def test_a_resume_skips_micro_batches_of_the_same_list(pieces, kind):
    seen = pieces["batchings"][kind]
    assert seen["rest"] == seen["epochs"][1][5:]
    assert seen["length"] == len(seen["rest"])


@pytest.mark.parametrize("kind", KINDS)
def test_the_number_of_micro_batches_is_known_before_the_epoch(pieces, kind):
    seen = pieces["batchings"][kind]
    assert seen["counted"] == [len(batches) for batches in seen["epochs"][:3]]


def test_epochs_of_packed_rows_may_differ_in_length_and_are_counted_all_the_same(pieces):
    counted, listed = pieces["packed_counts"]
    assert counted == listed
    assert len(set(counted)) > 1


def test_all_shuffled_and_bucketed_micro_batches_are_full_but_one(pieces):
    for kind in ("shuffled", "bucketed"):
        for batches in pieces["batchings"][kind]["epochs"]:
            assert [len(batch) for batch in batches] == [4] * 100


def test_all_packed_micro_batches_are_full_but_the_last(pieces):
    for batches in pieces["batchings"]["packed"]["epochs"]:
        assert all(len(batch) == 4 for batch in batches[:-1])


def test_no_packed_row_is_longer_than_allowed(pieces, lengths):
    for batches in pieces["batchings"]["packed"]["epochs"]:
        assert all(sum(lengths[index] for index in row) <= 70 for batch in batches for row in batch)


def test_bucketing_removes_most_of_the_padding(pieces, lengths):
    for shuffled, bucketed in zip(
        pieces["batchings"]["shuffled"]["epochs"], pieces["batchings"]["bucketed"]["epochs"], strict=True
    ):
        real = sum(lengths[index] for index in pairs_of(shuffled))
        before, after = padded_tokens(shuffled, lengths) - real, padded_tokens(bucketed, lengths) - real
        assert after < before / 10


def test_packing_leaves_less_padding_than_bucketing_and_fewer_micro_batches(pieces, lengths):
    for bucketed, packed in zip(
        pieces["batchings"]["bucketed"]["epochs"], pieces["batchings"]["packed"]["epochs"], strict=True
    ):
        assert padded_tokens(packed, lengths) < padded_tokens(bucketed, lengths)
        assert len(packed) < len(bucketed) / 3


def test_bucketing_still_mixes_short_and_long_micro_batches_over_the_epoch(pieces, lengths):
    for batches in pieces["batchings"]["bucketed"]["epochs"]:
        longest = [max(lengths[index] for index in batch) for batch in batches]
        assert longest != sorted(longest) != longest[::-1]
        assert 0.5 < sum(longest[:50]) / sum(longest[50:]) < 2


def test_the_longest_pair_goes_first_each_into_the_fullest_row_that_has_room(pieces):
    rows = sorted(sorted(row) for batch in pieces["packing"] for row in batch)
    assert rows == [[0, 3], [1, 4], [2, 5]]
    assert [len(batch) for batch in pieces["packing"]] == [1, 2]


def test_a_pair_longer_than_a_row_is_refused(pieces):
    assert "9 tokens does not fit into a packed row of 8" in pieces["too_long_for_a_row"]


@pytest.mark.parametrize("kind", KINDS)
def test_loader_workers_hand_out_the_same_micro_batches_in_the_same_order(pieces, kind):
    alone, one, two = (pieces["loaded"][f"{kind} {num_workers}"] for num_workers in (0, 1, 2))
    assert alone == one == two
    assert alone[0] > 5
    assert alone[2] == ["torch.int64"]
