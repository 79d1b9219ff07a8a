"""The preflight as a value: what stops a replay, and how it is told."""

from harness.documents.preflight import PreflightRow, preflight_lines, preflight_of, preflight_sentence


def wheel(name, state, detail="asked: localhost", size_bytes=0):
    remedy = "use an archive" if state == "gone" else ""
    return PreflightRow(kind="wheel", name=name, state=state, detail=detail, remedy=remedy, size_bytes=size_bytes)


def test_what_is_gone_comes_first_and_stops_it():
    found = preflight_of([wheel("b", "present"), wheel("c", "unknown"), wheel("a", "gone")], 1.234)
    assert [need.state for need in found.needs] == ["gone", "unknown", "present"]
    assert [need.name for need in found.gone] == ["a"] and not found.can_be_had and found.seconds == 1.23


def test_who_does_not_know_cannot_promise():
    found = preflight_of([wheel("a", "unknown")], 0)
    assert not found.can_be_had and not found.gone
    assert preflight_of([wheel("a", "present"), wheel("b", "fetchable")], 0).can_be_had


def test_only_what_is_fetched_counts_for_the_network():
    needs = [wheel("a", "fetchable", size_bytes=5), wheel("b", "present", size_bytes=7)]
    assert preflight_of(needs, 0).fetch_bytes == 5


def test_many_things_of_one_kind_are_one_line_and_each_that_is_gone_has_its_remedy():
    needs = [wheel(f"w{number}", "present", "in the cache") for number in range(60)]
    lines = preflight_lines(preflight_of([*needs, wheel("torch", "gone")], 0))
    assert len(lines) == 3 and lines[0].startswith("gone") and "torch: asked: localhost" in lines[0]
    assert lines[1].strip() == "remedy: use an archive" and "60 wheels: in the cache" in lines[2]


def test_the_sentence_names_the_first_few():
    one = preflight_of([wheel("a", "gone")], 0)
    assert preflight_sentence(one).endswith("wheel a is gone (asked: localhost)")
    many = preflight_of([wheel(name, "gone") for name in "abcde"], 0)
    assert "wheel a, wheel b, wheel c and 2 more are gone" in preflight_sentence(many)
