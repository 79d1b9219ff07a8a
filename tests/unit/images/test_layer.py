import io
import tarfile

import pytest

from harness.errors import UsageError
from harness.images.layer import END_OF_ARCHIVE, Entry, canonical, clean_path, header, padding, squash


def file(path, archive="layer", offset=0, **fields):
    return Entry(path=path, kind="file", size=fields.pop("size", 1), archive=archive, offset=offset, **fields)


def folder(path, **fields):
    return Entry(path=path, kind="dir", mode=fields.pop("mode", 0o755), **fields)


def link(path, target):
    return Entry(path=path, kind="hardlink", link=target)


def seen_by_another_reader(*entries):
    """The headers as Python's own tar reader sees them."""
    archive = b"".join(header(entry) + b"x" * entry.size + padding(entry.size) for entry in entries) + END_OF_ARCHIVE
    with tarfile.open(fileobj=io.BytesIO(archive), errors="surrogateescape", encoding="utf-8") as members:
        return members.getmembers()


def paths(entries):
    return [entry.path for entry in entries]


def test_folders_come_before_what_is_in_them_and_names_are_sorted():
    given = [file("a/b", offset=1), file("a-b", offset=2), folder("a"), file("a/B", offset=3)]
    assert paths(canonical(given)) == ["a", "a/B", "a/b", "a-b"]


def test_order_does_not_depend_on_the_order_that_was_met():
    given = [folder("a"), file("a/b", offset=1), file("z", offset=2), link("c", "z"), file("a/.wh.x", offset=3)]
    assert canonical(given) == canonical(reversed(given))


def test_a_whiteout_comes_before_its_siblings():
    assert paths(canonical([file("-x", offset=1), file(".wh.-x", offset=2)])) == [".wh.-x", "-x"]


def test_the_first_name_of_a_file_becomes_the_file_and_the_others_links_to_it():
    for owner, others in (("b", "ac"), ("a", "bc"), ("c", "ab")):
        given = [file(owner, offset=512, size=9, xattrs=(("user.x", b"1"),)), *(link(name, owner) for name in others)]
        found = canonical(given)
        assert [(entry.path, entry.kind, entry.link, entry.size) for entry in found] == [
            ("a", "file", "", 9),
            ("b", "hardlink", "a", 0),
            ("c", "hardlink", "a", 0),
        ]
        assert found == canonical(
            [file("a", offset=512, size=9, xattrs=(("user.x", b"1"),)), link("b", "a"), link("c", "a")]
        )


def test_every_link_carries_the_owner_mode_and_attributes_of_its_file():
    # An engine applies them to each name in turn, and a chown of one name drops the capabilities of all.
    attributes = (("security.capability", b"1"),)
    found = canonical([file("a", mode=0o4755, uid=7, gid=8, xattrs=attributes), link("b", "a")])
    assert [(entry.mode, entry.uid, entry.gid, entry.xattrs) for entry in found] == [(0o4755, 7, 8, attributes)] * 2


def test_a_link_to_a_link_is_a_link_to_the_file():
    found = canonical([file("a"), link("b", "a"), link("c", "b")])
    assert [entry.link for entry in found] == ["", "a", "a"]


def test_a_link_to_a_file_of_another_layer_stays():
    assert canonical([link("b", "elsewhere")]) == (link("b", "elsewhere"),)


def test_links_in_a_circle_are_refused():
    with pytest.raises(UsageError, match="circle"):
        canonical([link("a", "b"), link("b", "a")])
    with pytest.raises(UsageError, match="circle"):
        canonical([link("a", "a")])


def test_the_last_of_several_members_with_one_path_counts():
    assert canonical([file("a", offset=1), file("a", offset=2)]) == (file("a", offset=2),)


@pytest.mark.parametrize("name", ["/etc/passwd", "../x", "a/../../x", "a/.."])
def test_a_path_that_leaves_the_archive_is_refused(name):
    with pytest.raises(UsageError, match="leaves it"):
        clean_path(name)


def test_paths_lose_dots_and_trailing_slashes():
    assert [clean_path(name) for name in ("./a//b/", "./", "a")] == ["a/b", "", "a"]


def test_another_reader_sees_what_was_written():
    long = "d/" + "n" * 200
    big = Entry(path="big", kind="file", size=0, uid=3_000_000, gid=4_000_000, mode=0o4755)
    given = (
        folder("d", mode=0o1777),
        Entry(path="d/link", kind="symlink", link="../" + "t" * 150, mode=0o777),
        Entry(path="d/null", kind="char", device=(1, 3), mode=0o666),
        Entry(path="d/sda", kind="block", device=(259, 70000)),
        Entry(path="d/pipe", kind="fifo"),
        Entry(path=long, kind="file", size=3),
        Entry(path="d/käse", kind="file", size=0),
        Entry(path="d/\udcff", kind="file", size=0),
        link("e", long),
        big,
    )
    members = seen_by_another_reader(*given)
    assert [member.name for member in members] == [entry.path for entry in given]
    assert [member.linkname for member in members] == [entry.link for entry in given]
    assert [member.mode for member in members] == [entry.mode for entry in given]
    assert [(member.devmajor, member.devminor) for member in members] == [entry.device for entry in given]
    assert (members[-1].uid, members[-1].gid, members[5].size) == (3_000_000, 4_000_000, 3)
    assert {(member.mtime, member.uname, member.gname) for member in members} == {(0, "", "")}


def test_a_size_above_eight_gibibytes_is_kept():
    block = header(Entry(path="big", kind="file", size=9 << 30, archive="x"))
    with tarfile.open(fileobj=io.BytesIO(block)) as archive:
        assert archive.firstmember.size == 9 << 30


def test_extended_attributes_may_hold_any_bytes():
    capability = bytes(range(256))
    member = seen_by_another_reader(Entry(path="ping", kind="file", xattrs=(("security.capability", capability),)))[0]
    found = member.pax_headers["SCHILY.xattr.security.capability"]
    assert found.encode("utf-8", "surrogateescape") == capability


def test_squashing_lays_a_later_layer_over_an_earlier_one():
    lower = [folder("d", mode=0o700), file("d/a", offset=1), file("d/b", offset=2)]
    upper = [folder("d", mode=0o755), file("d/b", offset=9, archive="upper")]
    assert squash([lower, upper]) == (folder("d"), file("d/a", offset=1), file("d/b", offset=9, archive="upper"))


def test_what_a_later_layer_removes_is_gone():
    lower = [folder("d"), folder("d/e"), file("d/e/a", offset=1), file("d/b", offset=2)]
    upper = [folder("d"), file("d/.wh.e", size=0, archive="upper")]
    assert paths(squash([lower, upper])) == ["d", "d/b"]


def test_what_lies_below_is_still_whited_out():
    base = [folder("d"), file("d/old", offset=1)]
    whiteout = file("d/.wh.old", size=0, archive="upper")
    assert paths(squash([[folder("d"), whiteout]], [base])) == ["d", "d/.wh.old"]


def test_a_file_in_place_of_one_that_was_removed_needs_no_whiteout():
    base = [file("old", offset=1)]
    removed, again = file(".wh.old", size=0, archive="one"), file("old", archive="two")
    assert squash([[removed], [again]], [base]) == (again,)


def test_a_folder_made_anew_does_not_show_what_lies_below():
    base = [folder("d"), file("d/old", offset=1)]
    removed = file(".wh.d", size=0, archive="one")
    found = squash([[removed], [folder("d"), file("d/new", archive="two")]], [base])
    assert paths(found) == ["d", "d/.wh..wh..opq", "d/new"]


def test_an_opaque_folder_hides_all_of_it():
    base = [folder("d"), file("d/old", offset=1)]
    lower = [folder("d"), file("d/middle", archive="one")]
    upper = [folder("d"), file("d/.wh..wh..opq", size=0, archive="two"), file("d/new", offset=512, archive="two")]
    assert paths(squash([lower, upper], [base])) == ["d", "d/.wh..wh..opq", "d/new"]
    assert paths(squash([lower, upper])) == ["d", "d/new"]


def test_a_file_in_place_of_a_folder_removes_what_was_in_it():
    lower = [folder("d"), file("d/a", offset=1)]
    assert paths(squash([lower, [file("d", archive="upper")]])) == ["d"]


def test_the_other_name_of_a_file_keeps_its_content_when_one_name_is_written_anew():
    lower = [file("a", offset=512, size=5), link("b", "a"), link("c", "a")]
    found = squash([lower, [file("a", offset=99, archive="upper", size=6)]])
    assert [(entry.path, entry.kind, entry.size, entry.link) for entry in found] == [
        ("a", "file", 6, ""),
        ("b", "file", 5, ""),
        ("c", "hardlink", 0, "b"),
    ]


def test_a_layer_does_not_depend_on_the_steps_it_was_made_in():
    members = [folder("d"), file("d/a", offset=1), file("d/b", offset=2), link("d/c", "d/a")]
    steps = [
        [folder("d")],
        [folder("d"), file("d/b", offset=2)],
        [folder("d"), file("d/a", offset=1), link("d/c", "d/a")],
    ]
    assert squash([members]) == squash(steps) == canonical(members)
