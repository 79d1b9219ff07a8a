"""The exported code as one canonical archive: written, read in place, unpacked, and refused where it is hostile."""

import hashlib
import io
import os
import tarfile

import pytest

from harness.archive.code_tar import code_entries, code_tar, code_tar_digest, code_tar_size, read_code, unpack_code
from harness.errors import EvidenceError, TamperedError, UsageError
from harness.images.layer import END_OF_ARCHIVE, Entry, header, padding
from harness.system.store import tree_digest

LONG = "/".join(["a-rather-long-name-for-a-folder"] * 6) + "/file"


@pytest.fixture
def code(tmp_path):
    folder = tmp_path / "code"
    for name, text in {"a.py": "a", "b/c.py": "c", "b.txt": "", LONG: "long", "b/é.txt": "é"}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    (folder / "a.py").chmod(0o700)
    (folder / "b" / "link").symlink_to("../a.py")
    (folder / "folder").symlink_to("b")
    return folder


def packed(folder):
    data = b"".join(code_tar(folder))
    assert code_tar_digest(folder).hex == hashlib.sha256(data).hexdigest()
    assert len(data) == code_tar_size(folder)
    return data


def made(*members):
    """An archive of (path, fields); what `data` says is the contents."""
    parts = []
    for path, fields in members:
        data = fields.pop("data", b"")
        parts.append(header(Entry(**{"path": path, "kind": "file", "size": len(data)} | fields)) + data)
        parts.append(padding(len(data)))
    return b"".join(parts) + END_OF_ARCHIVE


def test_packing_does_not_depend_on_times_owners_and_order(code, tmp_path):
    first = packed(code)
    other = tmp_path / "other"
    for path in sorted(code.rglob("*"), reverse=True):
        target = other / path.relative_to(code)
        target.parent.mkdir(parents=True, exist_ok=True)
        if path.is_symlink():
            target.symlink_to(path.readlink())
        elif path.is_file():
            target.write_bytes(path.read_bytes())
            target.chmod(0o755 if path.stat().st_mode & 0o100 else 0o600)
            os.utime(target, (5, 5))
    assert packed(other) == first


def test_unpacking_gives_the_same_code(code, tmp_path):
    unpack_code(packed(code), tmp_path / "again")
    assert packed(tmp_path / "again") == packed(code)
    assert (tmp_path / "again" / "a.py").stat().st_mode & 0o777 == 0o755
    assert (tmp_path / "again" / "b" / "link").readlink().as_posix() == "../a.py"
    assert tree_digest(tmp_path / "again") == tree_digest(code)


def test_bytecode_is_left_out_as_in_the_codes_digest(code):
    before = packed(code)
    (code / "b" / "__pycache__").mkdir()
    (code / "b" / "__pycache__" / "c.pyc").write_text("x")
    assert packed(code) == before


def test_code_is_read_in_place(code):
    files = read_code(packed(code))
    assert bytes(files.read("b/c.py", max_bytes=10)) == b"c"
    assert bytes(files.below("b").read("é.txt", max_bytes=10)) == "é".encode()
    assert [*files.walk("b")] == [("c.py", True), ("link", False), ("é.txt", True)]
    names = ["a.py", "b.txt", "b/c.py", "b/link", "b/é.txt", "folder", LONG]
    assert [path for path, _ in files.walk("")] == sorted(names)
    assert files.exists("b") and files.exists("b/c.py") and not files.exists("b/none")
    assert files.tree_digest() == tree_digest(code)
    for path in ("none", "b/link", "b", "../a.py"):
        with pytest.raises(EvidenceError):
            files.read(path, max_bytes=10)
    with pytest.raises(EvidenceError, match="at most 1"):
        files.read(LONG, max_bytes=1)
    with pytest.raises(EvidenceError, match="no folder"):
        [*files.walk("none")]


def test_any_tar_reads_it(code):
    with tarfile.open(fileobj=io.BytesIO(packed(code))) as tar:
        assert tar.extractfile(LONG).read() == b"long"


def test_every_byte_of_a_header_matters(tmp_path):
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "a").write_text("a")
    (tmp_path / "code" / "l").symlink_to("a")
    data = packed(tmp_path / "code")
    for place in range(len(data)):
        if place == 512:  # the contents of `a`: their digest is the archive's
            continue
        changed = bytearray(data)
        changed[place] ^= (1, 0x20, 0x80)[place % 3]
        try:
            files = read_code(bytes(changed))
        except TamperedError:
            continue
        # A whole other name, with its checksum in two places, cannot come from one byte.
        raise AssertionError(f"byte {place} of {len(data)} does not matter: {[*files.walk('')]}")
    for size in range(0, len(data), 512):
        with pytest.raises(TamperedError):
            read_code(data[:size])


@pytest.mark.parametrize(
    "members",
    [
        [("../out", {"data": b"x"})],
        [("/etc/out", {"data": b"x"})],
        [("a/../../out", {"data": b"x"})],
        [("./a", {"data": b"x"})],
        [("a//b", {"data": b"x"})],
        [("", {"data": b"x"})],
        [("a", {"kind": "symlink", "mode": 0o777, "link": "/tmp"}), ("a/b", {"data": b"x"})],
        [("a", {"data": b"x"}), ("a/b", {"data": b"x"})],
        [("b", {"data": b"x"}), ("a", {"data": b"x"})],
        [("a", {"data": b"x"}), ("a", {"data": b"y"})],
        [("a", {"data": b"x", "mode": 0o4755})],
        [("a", {"data": b"x", "uid": 5})],
        [("a", {"kind": "dir", "mode": 0o755})],
        [("a", {"kind": "char", "device": (1, 3)})],
        [("a", {"data": b"x"}), ("b", {"kind": "hardlink", "link": "a"})],
        [("a", {"kind": "fifo"})],
        [("a", {"data": b"x", "xattrs": (("user.x", b"y"),)})],
        [("__pycache__/a.pyc", {"data": b"x"})],
    ],
)
def test_members_that_code_does_not_have_are_refused(tmp_path, members):
    data = made(*members)
    with pytest.raises(TamperedError):
        read_code(data)
    with pytest.raises(TamperedError):
        unpack_code(data, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "links",
    [
        {"a": "/etc/passwd"},
        {"a": "../out"},
        {"a": ".."},
        {"b/a": "../../out"},
        {"b/up": "..", "c": "b/up/../out"},
        {"a": "b/../.."},
    ],
)
def test_links_that_lead_out_are_not_made(tmp_path, links):
    members = [(path, {"kind": "symlink", "mode": 0o777, "link": link}) for path, link in sorted(links.items())]
    with pytest.raises(UsageError, match="leads to"):
        unpack_code(made(*members), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_link_may_go_through_a_folder_and_back(tmp_path):
    members = [("a/x", {"data": b"x"}), ("b/l", {"kind": "symlink", "mode": 0o777, "link": "../a/./x"})]
    unpack_code(made(*members), tmp_path / "out")
    assert (tmp_path / "out" / "b" / "l").read_bytes() == b"x"


def test_a_claimed_size_is_not_believed():
    data = header(Entry(path="a", kind="file", size=1 << 40)) + END_OF_ARCHIVE
    with pytest.raises(TamperedError, match="beyond the end"):
        read_code(data)


def test_an_extended_header_is_bounded():
    block = bytearray(header(Entry(path="a", kind="file", size=1 << 30)))
    block[156:157] = b"x"
    with pytest.raises(TamperedError, match="extended header"):
        read_code(bytes(block) + END_OF_ARCHIVE)


def test_what_is_no_file_stops_the_packing(code):
    os.mkfifo(code / "pipe")
    with pytest.raises(UsageError, match="pipe in the exported code is no file"):
        code_entries(code)
