"""Packed rows, windows of them, and mixed precision, computed with a small model."""

import pytest


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_a_packed_micro_batch_has_the_loss_of_its_pairs_one_by_one(numerics, attention):
    packed, one_by_one = numerics["packed_loss"][attention]
    assert packed == pytest.approx(one_by_one, rel=1e-6)
    assert packed > 100


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_a_token_changed_in_one_pair_changes_no_bit_of_another_pairs_logits(numerics, attention):
    assert numerics["isolation"][f"{attention}, own"] == [False, True, False]


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_without_segments_it_would_change_the_pair_behind_it(numerics, attention):
    assert numerics["isolation"][f"{attention}, all"] == [False, True, True]


def test_padding_behind_packed_pairs_leaves_every_logit_finite(numerics):
    assert numerics["padding_is_finite"]


def test_a_window_of_packed_rows_is_weighted_by_its_target_tokens(numerics):
    window = numerics["window"]
    by_tokens = sum(window["sums"]) / sum(window["counts"])
    mean_of_means = sum(s / n for s, n in zip(window["sums"], window["counts"], strict=True)) / 2
    assert window["loss"] == pytest.approx(by_tokens, rel=1e-6)
    assert abs(mean_of_means - by_tokens) > 1e-3, "else the test could not tell one from the other"


def test_frozen_weights_held_in_16_bits_give_the_bits_that_autocast_gives(numerics):
    bf16, bf16_kept, fp16, fp16_kept = numerics["rounded_once_or_at_each_use"]
    assert [bf16[1], bf16_kept[1]] == [["torch.bfloat16"], ["torch.float32"]]
    assert [fp16[1], fp16_kept[1]] == [["torch.float16"], ["torch.float32"]]
    assert bf16[2:] == bf16_kept[2:]
    assert fp16[2:] == fp16_kept[2:]
    assert bf16[2] != fp16[2]
    assert not any(record["skipped"] for record in fp16[2])
