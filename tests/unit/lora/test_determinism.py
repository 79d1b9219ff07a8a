def test_a_restored_state_draws_the_same_numbers(pieces):
    assert pieces["rng"]["first"] == pieces["rng"]["second"]


def test_what_draws_inside_leaves_the_generators_untouched(pieces):
    assert pieces["rng"]["third"] == pieces["rng"]["expected third"]


def test_every_switch_follows_the_configuration(pieces):
    on, off = pieces["switches"]
    assert on == [True, True, True, True, True, "high"]
    assert off == [False, False, False, False, False, "highest"]


def test_cuda_without_a_cublas_workspace_is_refused(pieces):
    assert "CUBLAS_WORKSPACE_CONFIG" in pieces["cublas"]
