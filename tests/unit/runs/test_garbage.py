import dataclasses

import pytest

from harness.runs.garbage import (
    GRACE_S,
    PATIENCE_S,
    CacheEntry,
    KeptRun,
    References,
    TaggedImage,
    garbage_of_cache,
    garbage_of_images,
    garbage_of_runs,
    is_forgotten,
)

NOW = 2_000_000_000.0
D = "d" * 64
E = "e" * 64


def thing(kind, key, used_at=NOW):
    return CacheEntry(kind=kind, key=key, paths=("x",), used_at=used_at)


@pytest.mark.parametrize(
    ("one", "known"),
    [
        (thing("blob", D), References(blobs=set({D}))),
        (thing("base", D), References(bases=set({D}))),
        (thing("image record", D), References(recipes=set({D}))),
        (thing("rebuild record", D), References(recipes=set({D}))),
        (thing("input", f"pypi-1-{D}"), References(inputs=set({D}))),
        (thing("input", f"hf-{D}"), References(inputs=set({D}))),
        (thing("unpacked", f"deb-1-{D}"), References(inputs=set({D}))),
        (thing("environment", f"{D[:24]}-3.11.7-cp311-linux-x86_64"), References(environments=set({D}))),
        (thing("timings", "tiny"), References(experiments=set({"tiny"}))),
        (thing("checkout", D), References(checkouts=set({D}))),
    ],
)
def test_a_thing_is_kept_while_it_is_referred_to_and_goes_when_not(one, known):
    assert garbage_of_cache([one], known, NOW) == ()
    assert garbage_of_cache([one], References(), NOW) == (one,)


def test_a_reference_of_one_kind_keeps_nothing_of_another():
    everything = References(
        blobs=set({D}),
        inputs=set({D}),
        recipes=set({D}),
        environments=set({D}),
    )
    assert garbage_of_cache([thing("base", D)], everything, NOW) == (thing("base", D),)


@pytest.mark.parametrize("kind", ["prepared", "controls"])
def test_what_cannot_be_attributed_stays_for_30_days_after_its_last_use(kind):
    fresh, old = thing(kind, D, NOW - PATIENCE_S + 1), thing(kind, E, NOW - PATIENCE_S - 1)
    assert garbage_of_cache([fresh, old], References(), NOW) == (old,)
    assert PATIENCE_S == 30 * 86_400


@pytest.mark.parametrize("kind", ["old wheels", "left over"])
def test_what_nobody_reads_any_more_goes(kind):
    assert garbage_of_cache([thing(kind, D)], References(blobs=set({D})), NOW) == (thing(kind, D),)


def run(day, verdict="DIVERGED", **fields):
    known = KeptRun(
        checkout="/a",
        experiment="tiny",
        run_id=f"202611{day:02}T000000Z-abcdef0-0000",
        verdict=verdict,
        is_finished=True,
        is_latest=False,
        written_at=0.0,
    )
    return dataclasses.replace(known, **fields)


def days(runs, cited=()):
    return [int(one.run_id[6:8]) for one in garbage_of_runs(runs, References(cited=set(cited)), NOW)]


def test_an_experiment_keeps_its_newest_run_and_the_newest_certified_one():
    runs = [run(4), run(1, "CERTIFIED"), run(3), run(2, "CERTIFIED")]
    assert days(runs) == [1, 3]


def test_a_single_certified_run_is_both():
    assert days([run(1), run(2, "CERTIFIED")]) == [1]


def test_a_run_that_latest_points_at_or_that_the_archive_names_stays():
    cited = run(1)
    assert days([cited, run(2, is_latest=True), run(3), run(4)], [cited.run_id]) == [3]


def test_every_experiment_of_every_checkout_keeps_its_own():
    runs = [run(1), run(2), run(1, experiment="other"), run(1, checkout="/b")]
    assert [(one.checkout, one.experiment) for one in garbage_of_runs(runs, References(), NOW)] == [("/a", "tiny")]


def test_a_run_whose_verdict_cannot_be_read_stays():
    assert days([run(1, ""), run(2)]) == []


def test_an_unfinished_run_stays_while_it_may_still_be_written():
    going_on = run(1, "INCONCLUSIVE", is_finished=False, written_at=NOW - GRACE_S + 1)
    given_up = run(2, "INCONCLUSIVE", is_finished=False, written_at=NOW - GRACE_S - 1)
    assert days([going_on, given_up, run(3)]) == [2]


def test_a_bisection_is_forgotten_after_30_days_and_not_before():
    assert not is_forgotten(NOW - PATIENCE_S, NOW)
    assert is_forgotten(NOW - PATIENCE_S - 1, NOW)


def image(tag, **fields):
    known = TaggedImage(
        tag=f"repro-harness/{tag}",
        engine_id=D,
        layers=(f"sha256:{D}", f"sha256:{E}"),
        size_bytes=1,
        tagged_at=0.0,
        is_used=False,
    )
    return dataclasses.replace(known, **fields)


def test_an_image_goes_when_no_kept_record_names_its_tag():
    known = References(tags=set({"repro-harness/cpu:1"}))
    gone = garbage_of_images([image("cpu:2"), image("cpu:1"), image("building:x")], known, NOW)
    assert [one.tag for one in gone] == ["repro-harness/building:x", "repro-harness/cpu:2"]


def test_the_image_of_a_kept_base_is_known_by_its_one_layer():
    known = References(layers=set({f"sha256:{D}"}))
    base, other = image("base:1", layers=(f"sha256:{D}",)), image("base:2", layers=(f"sha256:{E}",))
    assert garbage_of_images([base, other, image("on-it:1")], known, NOW) == (other, image("on-it:1"))


def test_an_image_in_use_or_tagged_a_moment_ago_stays():
    images = [image("a:1", is_used=True), image("b:1", tagged_at=NOW - GRACE_S + 1)]
    assert garbage_of_images(images, References(), NOW) == ()
