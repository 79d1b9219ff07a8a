def test_a_restored_state_draws_the_same_numbers(pieces):
    assert pieces["rng"]["first"] == pieces["rng"]["second"]


def test_what_draws_inside_leaves_the_generators_untouched(pieces):
    assert pieces["rng"]["third"] == pieces["rng"]["expected third"]


def test_every_switch_follows_the_configuration(pieces):
    on, off = pieces["switches"]
    assert on == [True] * 8 + ["high", "tf32"] + [True] * 4
    # With the algorithms left to chance, an error instead of a warning is still what is set.
    assert off == [False, True] + [False] * 6 + ["highest", "ieee"] + [False] * 4


def test_a_python_that_hashes_by_chance_is_refused(pieces):
    zero, another, unset, random = pieces["hash_seed"]
    assert zero is None and another is None
    assert "PYTHONHASHSEED=0" in unset and "PYTHONHASHSEED=0" in random


def test_cuda_without_a_cublas_workspace_is_refused(pieces):
    assert "CUBLAS_WORKSPACE_CONFIG" in pieces["cublas"]
