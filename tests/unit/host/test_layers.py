import io
import tarfile
import tracemalloc

import pytest
from made_archives import member, tar

from harness.core.layer import Entry, canonical
from harness.errors import UsageError
from harness.host.layers import differences, encode, encoded_size, layer_digest, read_contents, read_layer

CAPABILITY = b"\x01\x00\x00\x02\x00\xff\xfe\n="


def everything(**options):
    xattr = {"pax_headers": {"SCHILY.xattr.security.capability": CAPABILITY.decode("utf-8", "surrogateescape")}}
    return tar(
        member("z", b"last", uid=1000, gid=1001, mode=0o4755),
        member("./d/", kind="dir", mode=0o1777),
        member("d/one", b"1" * 700, **xattr),
        member("d/two", kind="hardlink", linkname="./d/one"),
        member("d/link", kind="symlink", linkname="../z"),
        member("d/null", kind="char", devmajor=1, devminor=3),
        member("d/pipe", kind="fifo"),
        member("d/.wh.gone"),
        member("d/" + "n" * 150, b"long"),
        **options,
    )


def rewritten(path):
    entries = canonical(read_layer(path))
    return entries, b"".join(encode(entries))


def write(tmp_path, name, data):
    (tmp_path / name).write_bytes(data)
    return tmp_path / name


def test_a_layer_keeps_everything_but_times_and_names(tmp_path):
    _, data = rewritten(write(tmp_path, "layer", everything()))
    with tarfile.open(fileobj=io.BytesIO(data), errors="surrogateescape") as archive:
        found = {info.name: info for info in archive}
        contents = {name: archive.extractfile(name).read() for name in ("z", "d/one", "d/two", "d/" + "n" * 150)}
    assert list(found) == ["d", "d/.wh.gone", "d/link", "d/" + "n" * 150, "d/null", "d/one", "d/pipe", "d/two", "z"]
    assert contents == {"z": b"last", "d/one": b"1" * 700, "d/two": b"1" * 700, "d/" + "n" * 150: b"long"}
    assert (found["z"].uid, found["z"].gid, found["z"].mode) == (1000, 1001, 0o4755)
    assert (found["d/null"].ischr(), found["d/null"].devmajor, found["d/null"].devminor) == (True, 1, 3)
    assert (found["d/two"].islnk(), found["d/two"].linkname) == (True, "d/one")
    assert (found["d/link"].issym(), found["d/link"].linkname, found["d"].mode) == (True, "../z", 0o1777)
    attribute = found["d/one"].pax_headers["SCHILY.xattr.security.capability"]
    assert attribute.encode("utf-8", "surrogateescape") == CAPABILITY
    assert {info.mtime for info in found.values()} == {0}
    assert {info.uname for info in found.values()} == {""}


def test_two_archives_of_the_same_files_become_the_same_bytes(tmp_path):
    one = rewritten(write(tmp_path, "one", everything(mtime=1)))[1]
    other = rewritten(write(tmp_path, "other", everything(mtime=2_000_000_000.5)))[1]
    assert one == other


def test_rewriting_what_is_canonical_changes_nothing(tmp_path):
    entries, data = rewritten(write(tmp_path, "layer", everything()))
    assert rewritten(write(tmp_path, "again", data))[1] == data
    assert encoded_size(entries) == len(data)


def test_an_empty_layer_is_an_empty_archive(tmp_path):
    entries, data = rewritten(write(tmp_path, "layer", tar(member("./", kind="dir"))))
    assert entries == ()
    assert data == b"\0" * 1024


def test_a_large_layer_is_not_held_in_memory(tmp_path):
    size = 64 << 20
    path = write(tmp_path, "big", b"")
    with path.open("wb") as stream:
        stream.truncate(size)
    entries = [Entry(path="big", kind="file", size=size, archive=str(path))]
    tracemalloc.start()
    layer_digest(entries)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 16 << 20


@pytest.mark.parametrize("cut", [100, 700, 1400, 2500])
def test_a_torn_archive_is_refused(tmp_path, cut):
    whole = tar(member("a", b"x" * 1000), member("b", b"y" * 1000))
    with pytest.raises(UsageError, match="cannot be read"):
        read_layer(write(tmp_path, "layer", whole[:cut]))


@pytest.mark.parametrize("name", ["../x", "/etc/passwd", "a/../../x"])
def test_a_member_that_climbs_is_refused(tmp_path, name):
    with pytest.raises(UsageError, match="leaves it"):
        read_layer(write(tmp_path, "layer", tar(member(name, b"x"))))


def test_a_hard_link_that_climbs_is_refused(tmp_path):
    with pytest.raises(UsageError, match="leaves it"):
        read_layer(write(tmp_path, "layer", tar(member("a", kind="hardlink", linkname="../../etc/passwd"))))


def test_contents_are_read_from_where_they_lie(tmp_path):
    entries = read_layer(write(tmp_path, "layer", tar(member("a", b"one"), member("b", b"two"))))
    assert [b"".join(read_contents(entry)) for entry in entries] == [b"one", b"two"]


def test_differences_name_the_path_and_how(tmp_path):
    one = read_layer(
        write(
            tmp_path, "one",
            tar(member("same", b"x"), member("gone", b"x"), member("mode", b"x"), member("byte", b"abcd"),
                member("longer", b"ab"), member("link", kind="symlink", linkname="a")),
        )
    )  # fmt: skip
    other = read_layer(
        write(
            tmp_path, "other",
            tar(member("same", b"x"), member("new", b"x"), member("mode", b"x", mode=0o755), member("byte", b"abXd"),
                member("longer", b"abc"), member("link", kind="symlink", linkname="b")),
        )
    )  # fmt: skip
    assert [(found.path, found.how) for found in differences(one, other)] == [
        ("byte", "content from byte 2 (sizes 4 and 4)"),
        ("gone", "only in the first build"),
        ("link", "link a and b"),
        ("longer", "content from byte 2 (sizes 2 and 3)"),
        ("mode", "mode 644 and 755"),
        ("new", "only in the second build"),
    ]


def test_equal_layers_have_no_differences(tmp_path):
    one = read_layer(write(tmp_path, "one", everything(mtime=1)))
    other = read_layer(write(tmp_path, "other", everything(mtime=2)))
    assert differences(one, other) == ()
