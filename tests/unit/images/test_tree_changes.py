import dataclasses

import pytest

from harness.images.layer import Entry, canonical, squash
from harness.images.tree_changes import changes

CONTENTS = {}


def file(path, contents=b"x", archive="a", **fields):
    """A file; one with the same contents and archive under another path is another file unless it is a link."""
    offset = len(CONTENTS) * 1024
    CONTENTS[archive, offset] = contents
    return Entry(path=path, kind="file", size=len(contents), archive=archive, offset=offset, **fields)


def folder(path, **fields):
    return Entry(path=path, kind="dir", mode=0o755, **fields)


def link(path, target):
    return Entry(path=path, kind="hardlink", link=target)


def same(one, other):
    return CONTENTS[one.archive, one.offset] == CONTENTS[other.archive, other.offset]


def layer(base, tree):
    return {entry.path: entry for entry in changes(base, tree, same)}


def described(entries):
    """What a tree is: kinds, modes, contents, and which names are one file."""
    found = {}
    by_path = {entry.path: entry for entry in entries}
    for path, entry in by_path.items():
        owner = by_path[entry.link] if entry.kind == "hardlink" else entry
        links = [other.path for other in entries if (other.kind, other.link) == ("hardlink", owner.path)]
        names = sorted([owner.path, *links])
        contents = CONTENTS.get((owner.archive, owner.offset)) if owner.kind == "file" else None
        found[path] = (owner.kind, owner.mode, owner.link, contents, tuple(names) if owner.kind == "file" else ())
    return found


def test_what_is_equal_is_left_out_and_what_is_new_or_changed_is_in():
    base = [folder("d"), file("d/same"), file("d/other", b"1"), file("mode", mode=0o644)]
    tree = [
        folder("d"),
        file("d/same", archive="t"),
        file("d/other", b"2", archive="t"),
        file("mode", archive="t", mode=0o755),
        file("new", archive="t"),
    ]
    assert sorted(layer(base, tree)) == ["d", "d/other", "mode", "new"]


def test_two_equal_trees_give_no_layer():
    base = [folder("d"), file("d/a"), link("d/b", "d/a"), Entry(path="s", kind="symlink", link="d/a")]
    again = [folder("d"), file("d/b", archive="t"), link("d/a", "d/b"), Entry(path="s", kind="symlink", link="d/a")]
    assert changes(base, again, same) == ()


@pytest.mark.parametrize(
    "field", [{"uid": 1}, {"gid": 1}, {"mode": 0o4644}, {"xattrs": (("user.x", b"1"),)}, {"size": 2}]
)
def test_everything_that_a_layer_holds_counts(field):
    contents = b"xx" if "size" in field else b"x"
    new = file("f", contents, "t", **{key: value for key, value in field.items() if key != "size"})
    assert list(layer([file("f")], [new])) == ["f"]


def test_a_new_name_of_a_file_of_the_base_brings_all_its_names():
    base = [file("usr"), file("other")]
    tree = [file("new", archive="t"), link("usr", "new"), file("other", archive="t")]
    found = layer(base, tree)
    assert (found["new"].kind, found["usr"].kind, found["usr"].link, len(found)) == ("file", "hardlink", "new", 2)


def test_a_name_that_was_unlinked_and_written_again_is_no_link_any_more():
    base = [file("a"), link("b", "a")]
    tree = [file("a", archive="t"), file("b", archive="t")]
    found = layer(base, tree)
    assert {path: entry.kind for path, entry in found.items()} == {"a": "file", "b": "file"}


def test_of_what_is_gone_only_the_topmost_is_marked():
    base = [folder("d"), folder("d/e"), file("d/e/f"), file("g"), folder("h"), file("h/i")]
    assert sorted(layer(base, [folder("d")])) == [".wh.g", ".wh.h", "d", "d/.wh.e"]


def test_a_folder_that_became_a_file_needs_no_marks():
    base = [folder("d"), file("d/f")]
    assert list(layer(base, [file("d", archive="t")])) == ["d"]


def test_a_file_that_became_a_folder_is_that_folder():
    assert sorted(layer([file("d")], [folder("d"), file("d/f", archive="t")])) == ["d", "d/f"]


def test_what_an_engine_mounts_in_every_container_is_left_out_unless_it_is_the_images_own():
    made = [
        folder("dev"),
        folder("dev/pts"),
        file("dev/console", b""),
        file(".dockerenv", b""),
        folder("etc"),
        file("etc/hosts", b""),
        Entry(path="etc/mtab", kind="symlink", link="/proc/mounts"),
        folder("proc"),
    ]
    assert changes([], made, same) == ()
    own = [folder("etc"), file("etc/hosts", b"127.0.0.1 me", "t")]
    assert sorted(layer([folder("etc")], own)) == ["etc", "etc/hosts"]


def test_the_folders_above_what_changed_are_in_it_as_they_are():
    base = [folder("d", uid=7), folder("d/e"), folder("other")]
    found = layer(base, [*base, file("d/e/f", archive="t")])
    assert (sorted(found), found["d"].uid) == (["d", "d/e", "d/e/f"], 7)


def test_the_layer_laid_over_the_base_is_the_tree():
    base = [folder("d"), file("d/a"), link("d/b", "d/a"), file("gone"), folder("e"), file("e/f"), file("was")]
    tree = [
        folder("d", uid=7),
        file("d/a", archive="t"),
        link("d/c", "d/a"),
        folder("e"),
        file("e/new", b"", "t"),
        Entry(path="was", kind="symlink", link="d"),
    ]
    base = canonical(base)
    result = squash([base, changes(base, tree, same)])
    assert described(result) == described(canonical(tree))


def test_the_layer_does_not_depend_on_the_order_of_either_tree():
    base = [folder("d"), file("d/a"), link("d/b", "d/a"), file("g")]
    tree = [folder("d"), file("d/a", b"2", "t"), link("d/b", "d/a"), file("n", archive="t")]
    shuffled = [dataclasses.replace(entry) for entry in reversed(tree)]
    assert changes(base, tree, same) == changes(list(reversed(base)), shuffled, same)


def test_a_file_of_the_base_that_an_engine_hides_in_every_container_stays():
    base = [
        folder("etc"),
        file("etc/hosts", b"127.0.0.1 me"),
        Entry(path="etc/mtab", kind="symlink", link="../proc/mounts"),
    ]
    hidden = [file("etc/hosts", b"", "t", mode=0o755), Entry(path="etc/mtab", kind="symlink", link="/proc/mounts")]
    assert layer(base, [folder("etc"), *hidden]) == {}
