import io
import itertools
import subprocess
import sys
import tarfile
import tracemalloc
from pathlib import Path

import pytest

from harness.errors import UsageError
from harness.images.layer import END_OF_ARCHIVE, Entry, canonical, header
from harness.images.layer_tar import differences, encode, encoded_size, layer_digest, read_contents, read_layer
from tests import ROOT
from tests.made.archives import member, tar

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
            tmp_path,
            "one",
            tar(
                member("same", b"x"),
                member("gone", b"x"),
                member("mode", b"x"),
                member("byte", b"abcd"),
                member("longer", b"ab"),
                member("link", kind="symlink", linkname="a"),
            ),
        )
    )
    other = read_layer(
        write(
            tmp_path,
            "other",
            tar(
                member("same", b"x"),
                member("new", b"x"),
                member("mode", b"x", mode=0o755),
                member("byte", b"abXd"),
                member("longer", b"abc"),
                member("link", kind="symlink", linkname="b"),
            ),
        )
    )
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


SPARSE = [
    ["--format=gnu"],
    ["--format=posix", "--sparse-version=1.0"],
    ["--format=posix", "--sparse-version=0.1"],
    ["--format=posix", "--sparse-version=0.0"],
]


def holes(path, size, *parts):
    """A file with holes: of `size` bytes, with data at (position, bytes)."""
    with path.open("wb") as stream:
        stream.truncate(size)
        for position, data in parts:
            stream.seek(position)
            stream.write(data)
    return path


def packed(folder, *options):
    """The files of a folder in an archive of GNU tar, sparse ones with their holes."""
    archive = folder.with_suffix(".tar")
    subprocess.run(["tar", "--sparse", *options, "-C", folder, "-cf", archive, "."], check=True)
    return archive


@pytest.fixture
def sparse_files(tmp_path):
    (tmp_path / "files").mkdir()
    holes(tmp_path / "files" / "middle", 5 << 20, (3 << 20, b"m" * 300_000), ((4 << 20) + 8192, b"end"))
    holes(tmp_path / "files" / "begins", 2 << 20, (0, b"b" * 4096), ((1 << 20) - 4096, b"over the edge" * 1000))
    holes(tmp_path / "files" / "hole", 3 << 20)
    holes(tmp_path / "files" / "many", 64 << 16, *((part << 16, b"x" * 4096) for part in range(64)))
    (tmp_path / "files" / "dense").write_bytes(b"d" * 1000)
    return tmp_path / "files"


@pytest.mark.parametrize("options", SPARSE, ids=lambda options: options[-1])
def test_a_sparse_file_of_gnu_tar_is_read_with_its_holes_filled(sparse_files, options):
    archive = packed(sparse_files, *options)
    wanted = {path.name: path.read_bytes() for path in sparse_files.iterdir()}
    assert archive.stat().st_size < sum(map(len, wanted.values())) / 4, "tar found no holes"
    entries = canonical(read_layer(archive))
    assert {entry.path: b"".join(read_contents(entry)) for entry in entries} == wanted
    with tarfile.open(fileobj=io.BytesIO(b"".join(encode(entries)))) as again:
        assert {info.name: again.extractfile(info).read() for info in again} == wanted
        assert not any(info.issparse() for info in again)


def test_a_sparse_file_is_the_same_file_as_one_that_lies_there_whole(sparse_files):
    sparse = read_layer(packed(sparse_files, "--format=posix"))
    whole = tar(*(member(path.name, path.read_bytes()) for path in sparse_files.iterdir()))
    (sparse_files.parent / "whole.tar").write_bytes(whole)
    plain = read_layer(sparse_files.parent / "whole.tar")
    for one, other in zip(canonical(sparse), canonical(plain), strict=True):
        assert list(read_contents(one)) == list(read_contents(other))
    assert {found.how for found in differences(sparse, plain) if not found.how.startswith(("mode", "uid"))} == set()


def test_hard_links_to_a_sparse_file_stay_links(tmp_path):
    (tmp_path / "files").mkdir()
    holes(tmp_path / "files" / "b", 2 << 20, (1 << 20, b"data"))
    (tmp_path / "files" / "a").hardlink_to(tmp_path / "files" / "b")
    first, second = canonical(read_layer(packed(tmp_path / "files", "--format=posix")))
    assert (first.path, second.path, second.kind, second.link, second.extents) == ("a", "b", "hardlink", "a", ())
    assert b"".join(read_contents(first)) == (tmp_path / "files" / "a").read_bytes()


@pytest.mark.parametrize("parts", [((0, 10), (5, 10)), ((90, 11),), ((0, -1), (10, 5)), ((50, 10), (0, 10))], ids=str)
def test_parts_of_a_sparse_file_that_overlap_or_lie_outside_of_it_are_refused(tmp_path, parts):
    text = ",".join(f"{start},{length}" for start, length in parts)
    fields = {"GNU.sparse.major": "0", "GNU.sparse.minor": "1", "GNU.sparse.size": "100", "GNU.sparse.map": text}
    archive = write(tmp_path, "layer", tar(member("x", b"d" * 100, pax_headers=fields)))
    with pytest.raises(UsageError, match="the sparse file x overlap or lie outside"):
        read_layer(archive)


def test_a_torn_list_of_a_sparse_files_parts_is_refused(sparse_files, tmp_path):
    whole = packed(sparse_files, "--format=posix").read_bytes()
    start = whole.index(b"65\n0\n4096\n")
    for end in (start + 20, start + 512):
        with pytest.raises(UsageError, match="cannot be read"):
            read_layer(write(tmp_path, "layer", whole[:end]))
    with pytest.raises(UsageError, match="cannot be read"):
        read_layer(write(tmp_path, "layer", whole[:start] + b"x" + whole[start + 1 :]))


def test_a_number_that_is_negative_is_refused(tmp_path):
    block = bytearray(header(Entry(path="x", kind="file")))
    block[108:116] = b"\xff" * 7 + b"\xfe"  # the owner, -2 in base 256
    block[148:156] = b"%06o\0 " % (sum(block[:148]) + 8 * 32 + sum(block[156:]))
    with pytest.raises(UsageError, match="a number of 'x' is negative"):
        read_layer(write(tmp_path, "layer", bytes(block) + END_OF_ARCHIVE))


def test_a_header_that_asks_for_more_than_there_is_is_refused_without_reading_it(tmp_path):
    block = bytearray(header(Entry(path="x", kind="file")))
    block[156:157] = b"x"  # a pax header
    block[124:136] = b"\x80" + (1 << 50).to_bytes(11, "big")
    block[148:156] = b"%06o\0 " % (sum(block[:148]) + 8 * 32 + sum(block[156:]))
    with pytest.raises(UsageError, match="cannot be read"):
        read_layer(write(tmp_path, "layer", bytes(block) + END_OF_ARCHIVE))


def test_a_file_above_eight_gibibytes_is_written_and_read_again(tmp_path):
    size = (9 << 30) + 5
    source = holes(tmp_path / "source", size, (0, b"first"), (size - 4, b"last"))
    entry = Entry(path="big", kind="file", size=size, archive=str(source))
    head = header(entry)
    start = b"".join(itertools.islice(encode([entry]), 2))
    assert start.startswith(head + b"first" + bytes(1000)) and 1 << 20 < len(start) < 4 << 20
    archive = tmp_path / "layer.tar"
    with archive.open("wb") as stream:  # what `encode` gives, its zeros as a hole
        stream.write(head + b"first")
        stream.seek(len(head) + size - 4)
        stream.write(b"last" + bytes(-size % 512) + header(Entry(path="next", kind="dir")) + END_OF_ARCHIVE)
    big, following = read_layer(archive)
    assert (big.path, big.size, big.offset, following.path) == ("big", size, len(head), "next")
    assert next(iter(read_contents(big)))[:6] == b"first\0"
    assert archive.stat().st_size == encoded_size([entry, following])


def test_a_name_of_an_attribute_may_be_any_bytes(tmp_path):
    name = b"user.\xff".decode("utf-8", "surrogateescape")
    layer = header(Entry(path="x", kind="file", xattrs=((name, b"1"),))) + END_OF_ARCHIVE
    entries, data = rewritten(write(tmp_path, "layer", layer))
    assert (entries[0].xattrs, data) == (((name, b"1"),), layer)


MEASURED = """
import sys
from pathlib import Path
from harness.images.image import canonical_config
from harness.images.layer import Entry
from harness.images.tree_changes import changes
from harness.images.layer_tar import encode, encoded_size, layer_digest, read_contents, read_layer
from harness.images.saved_image import CanonicalImage, CanonicalLayer, load_stream
folder = Path(sys.argv[1])
with (folder / "large").open("wb") as stream:
    stream.truncate(200 << 20)
files = [Entry(path=f"d/{number:06}", kind="file", mode=0o600) for number in range(20_000)]
large = Entry(path="large", kind="file", size=200 << 20, archive=str(folder / "large"))
with (folder / "tree").open("wb") as tree:
    for chunk in encode([*files, large]):
        tree.write(chunk)
def are_equal(first, second):
    return all(one == other for one, other in zip(read_contents(first), read_contents(second), strict=True))
entries = changes(files[:10_000], read_layer(folder / "tree"), are_equal)
assert len(entries) == 10_001
layer = CanonicalLayer(entries, layer_digest(entries))
config = canonical_config({"architecture": "amd64", "os": "linux"}, (layer.digest,))
image = CanonicalImage("sha256:" + "0" * 64, config, (layer,))
assert sum(map(len, load_stream(image, "x:1"))) > encoded_size(entries)
# Not ru_maxrss, which begins with what the process had before it became this one.
print(next(line.split()[1] for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")))
"""


def test_a_tree_is_read_rewritten_and_streamed_in_little_memory(tmp_path):
    """Measured in a process of its own: 200 MiB in one file and 20 000 small ones."""
    paths = [str(ROOT), str(Path(__file__).parents[1])]
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path[:0] = {paths!r}\n{MEASURED}", str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 120 << 10  # KiB, of which the interpreter and its modules take 40 MiB
