def test_a_save_that_is_killed_leaves_the_old_state_or_the_new_one(pieces):
    outcomes = {tuple(key): tuple(found) for key, found in pieces["every_crash_of_a_save"]}
    # Nothing was there: checksum, file. Something was: both checksums, file, one checksum.
    assert [outcomes[False, n] for n in range(3)] == [(False, None), (False, None), (True, 2)]
    assert [outcomes[True, n] for n in range(4)] == [(False, 1), (False, 1), (False, 2), (True, 2)]


def test_the_newest_sound_checkpoint_is_found_and_the_others_are_rejected_with_a_reason(pieces):
    assert pieces["rejections"]["step"] == 0
    assert pieces["rejections"]["report"] == [
        "rejected best.pt.tmp: an unfinished write",
        "rejected latest.pt: it is no checkpoint of format 2",
        "rejected x_epoch10_loss0.3000.pt: no checksum beside it",
        "rejected x_epoch2_loss0.4000.pt: its bytes do not have the recorded SHA-256",
        "resuming from x_epoch1_loss0.5000.pt: step 0",
    ]


def test_an_unfinished_write_is_cleared_away(pieces):
    assert pieces["rejections"]["left"] == []


def test_a_checksum_is_written_as_sha256sum_writes_it(pieces):
    assert pieces["sums"]
