"""Rewriting loses nothing: the image that the harness loads holds the same tree, but for times, as the one that the
engine makes of the same Dockerfile by itself."""

import json
import os
import shutil

import pytest

from harness.documents.lockfile import digest_of, parse_base_lock
from harness.images.base import build_base
from harness.images.builder import build
from harness.images.engine_images import load_image, save_image
from harness.images.image import canonical_config
from harness.images.layer import END_OF_ARCHIVE, Entry, canonical, header, padding
from harness.images.layer_tar import layer_digest, read_layer
from harness.images.saved_image import CanonicalImage, CanonicalLayer, reread, spool
from harness.packages.debian import fetch_packages
from harness.system.project import STOCK
from harness.system.store import Store, open_store

pytestmark = pytest.mark.engine

BASE = "base-bookworm"
FROM = f"ARG BASE={BASE}\nFROM ${{BASE}}\n"
CAPABILITY = bytes.fromhex("0100000200040000000000000000000000000000")  # cap_net_raw, effective

# Two steps, so that the second one changes, links and removes what the first one and the base have made.
FIRST = """
import os, py_compile, shutil, stat
def write(path, data=b"x", mode=0o644, owner=(0, 0)):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as file:
        file.write(data)
    os.chown(path, *owner)
    os.chmod(path, mode)
capability = bytes.fromhex("CAPABILITY")
write("/t/links/one", b"linked" * 1000, 0o750, (7, 8))
os.makedirs("/t/links/far/away")
os.link("/t/links/one", "/t/links/far/away/two")
os.link("/t/links/one", "/t/a-third")
write("/t/empty/one", b"")
os.link("/t/empty/one", "/t/empty/two")
write("/t/setuid", b"x", 0o4755, (1000, 5))
write("/t/setgid", b"x", 0o2711)
write("/t/none", b"x", 0)
write("/t/ping", b"x", 0o755)
os.setxattr("/t/ping", "security.capability", capability)
write("/t/capable/one", b"y", 0o755, (0, 12))
os.link("/t/capable/one", "/t/capable/a-link")
os.setxattr("/t/capable/one", "security.capability", capability)
write("/t/attributes", b"x")
for name, value in (("user.text", b"value"), ("user.bytes", bytes(range(256)))):
    try:
        os.setxattr("/t/attributes", name, value)
    except OSError:
        pass
os.mknod("/t/char", stat.S_IFCHR | 0o620, os.makedev(1, 3))
os.mknod("/t/block", stat.S_IFBLK | 0o660, os.makedev(259, 70000))
os.chown("/t/block", 0, 6)
os.mkfifo("/t/fifo", 0o604)
with open("/t/sparse", "wb") as file:
    file.truncate(64 << 20)
    file.seek(33 << 20)
    file.write(b"in the middle")
NAMES = (b"line\\nfeed", "kaese \\u2603".encode(), b"not \\xff utf-8 \\xc3", b"quote'\\"\\\\", b" ", b"-rf", b"#")
for name in NAMES:
    write(b"/t/names/" + name, name)
    os.symlink(name, b"/t/names/to " + name)
deep = "/t/long/" + "/".join(["d" * 60] * 5)
write(deep + "/" + "f" * 255, b"deep")
os.symlink("../" * 40 + "t" * 150, deep + "/link")
os.link(deep + "/" + "f" * 255, "/t/long/" + "l" * 120)
write("/t/long/" + "h" * 100, b"a hundred")
os.mkdir("/t/odd")
os.chmod("/t/odd", 0o1731)
os.chown("/t/odd", 3000000, 4294967294)
write("/t/far-owner", b"x", 0o600, (2097152, 3000000))
os.symlink("loop-b", "/t/loop-a")
os.symlink("loop-a", "/t/loop-b")
os.symlink("/nowhere", "/t/dangling")
os.lchown("/t/dangling", 5, 6)
write("/t/code/module.py", b"value = 7\\n")
os.utime("/t/code/module.py", (1, 1))
for mode in py_compile.PycInvalidationMode:
    py_compile.compile("/t/code/module.py", f"/t/code/{mode.name}.pyc", invalidation_mode=mode)
shutil.rmtree("/var/lib/dpkg")
for name in ("file-to-dir", "dir-to-file/in/it", "dir-to-link/in", "changed", "chmodded", "gone", "again/old"):
    write("/t/steps/" + name, name.encode())
write("/t/steps/linked/one", b"one")
os.link("/t/steps/linked/one", "/t/steps/linked/two")
os.link("/t/steps/linked/one", "/t/steps/linked/three")
"""
SECOND = """
import os, shutil
os.chdir("/t/steps")
os.remove("file-to-dir"); os.mkdir("file-to-dir"); open("file-to-dir/new", "w").close()
shutil.rmtree("dir-to-file"); open("dir-to-file", "w").write("now a file")
shutil.rmtree("dir-to-link"); os.symlink("changed", "dir-to-link")
open("changed", "a").write(", and more")
os.chmod("chmodded", 0o4711)
os.remove("gone")
shutil.rmtree("again"); os.mkdir("again"); open("again/new", "w").close()
open("linked/one", "a").write(" of two")
os.link("linked/two", "linked/four")
os.remove("linked/three")
os.remove("/etc/debian_version"); os.mkdir("/etc/debian_version"); open("/etc/debian_version/in", "w").close()
shutil.rmtree("/usr/share/doc"); open("/usr/share/doc", "w").write("a file")
os.mkdir("/var/lib/dpkg"); open("/var/lib/dpkg/new", "w").close()
shutil.rmtree("/usr/share/gdb"); os.mkdir("/usr/share/gdb"); open("/usr/share/gdb/new", "w").close()
os.remove("/etc/nsswitch.conf")
os.chmod("/usr/bin/tar", 0o700)
os.link("/etc/passwd", "/t/passwd")
"""
# Everything but times, inode numbers (which names are one file counts) and how many blocks a file takes.
WALK = """
import hashlib, json, os, stat
first, tree = {}, {}
for folder, names, files in os.walk(b"/"):
    names[:] = [n for n in names if os.path.join(folder, n) not in (b"/proc", b"/sys", b"/dev")]
    for path in [os.path.join(folder, name) for name in names + files]:
        s = os.lstat(path)
        facts = [stat.filemode(s.st_mode), s.st_uid, s.st_gid]
        facts.append(0 if stat.S_ISDIR(s.st_mode) else [s.st_size, s.st_nlink])
        facts.append([os.major(s.st_rdev), os.minor(s.st_rdev)])
        facts.append(os.readlink(path).hex() if stat.S_ISLNK(s.st_mode) else "")
        names_of = os.listxattr(path, follow_symlinks=False)
        facts.append({n: os.getxattr(path, n, follow_symlinks=False).hex() for n in sorted(names_of)})
        if stat.S_ISREG(s.st_mode):
            facts.append(hashlib.sha256(open(path, "rb").read()).hexdigest())
            facts.append(first.setdefault(s.st_ino, []))
            first[s.st_ino].append(os.fsdecode(path).encode("utf-8", "backslashreplace").decode())
            first[s.st_ino].sort()
        tree[os.fsdecode(path).encode("utf-8", "backslashreplace").decode()] = facts
        if path.startswith((b"/t/", b"/usr")) and int(os.environ["ZERO_TIMES"]):
            assert s.st_mtime == 0, path
print(json.dumps(tree))
"""
OF_THE_CONTAINER = {"/etc/hosts", "/etc/hostname", "/etc/resolv.conf", "/.dockerenv", "/etc/mtab"}


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    root = tmp_path_factory.mktemp("cache")
    (root / "sha256").symlink_to(open_store(None, os.environ).folder("sha256"))
    return Store(root)


@pytest.fixture(scope="module")
def base(client, store):
    lock = parse_base_lock((STOCK / f"{BASE}.lock").read_text(), BASE)
    made = build_base(BASE, lock, fetch_packages(lock.packages, store, os.environ, print), store, afresh=True)
    load_image(client, made.image, made.tag)
    return made


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A project with an image of every kind of file that a layer can hold."""
    root = tmp_path_factory.mktemp("project")
    folder = root / "images" / "every-kind"
    folder.mkdir(parents=True)
    (root / "lockfiles").mkdir()
    shutil.copy(STOCK / f"{BASE}.lock", root / "lockfiles")
    (root / "lockfiles" / "every-kind.lock").write_text("# no wheels\n")
    (folder / "Dockerfile").write_text(
        FROM + "COPY first.py second.py /s/\nRUN python3 -B /s/first.py\nRUN python3 -B /s/second.py && rm -r /s\n"
    )
    (folder / "first.py").write_text(FIRST.replace("CAPABILITY", CAPABILITY.hex()))
    (folder / "second.py").write_text(SECOND)
    return folder


def tree(client, tag, *, zero_times):
    out = client.containers.run(
        tag,
        ["python3", "-B", "-c", WALK],
        user="0",
        network_mode="none",
        remove=True,
        read_only=True,
        environment={"ZERO_TIMES": str(int(zero_times))},
    )
    return {path: facts for path, facts in json.loads(out).items() if path not in OF_THE_CONTAINER}


@pytest.fixture(scope="module")
def trees(client, base, folder, store):
    """The tree of the image as the engine makes it alone, and as the harness rewrites and loads it."""
    plain = "repro-harness-test/every-kind:plain"
    context = folder.parent.parent / "context"
    shutil.copytree(folder, context)
    client.images.build(path=str(context), tag=plain, buildargs={"BASE": base.tag}, network_mode="none", forcerm=True)
    result = build(client, "every-kind", folder.parent.parent, store, lambda _: None)
    try:
        yield tree(client, plain, zero_times=False), tree(client, result.tag, zero_times=True)
    finally:
        for tag in (plain, result.tag):
            client.images.remove(tag)


def test_every_kind_of_file_is_as_the_engine_alone_makes_it(trees):
    alone, rewritten = trees
    assert rewritten.keys() == alone.keys()
    different = {path: (facts, rewritten[path]) for path, facts in alone.items() if rewritten[path] != facts}
    assert different == {}


def test_the_tree_that_is_compared_holds_every_kind(trees):
    """Else the comparison would hold for a tree in which nothing is difficult."""
    _, found = trees
    modes = {facts[0][0] for path, facts in found.items() if path.startswith("/t/")}
    assert modes == set("-dlcbp")
    assert found["/t/links/one"][-1] == ["/t/a-third", "/t/links/far/away/two", "/t/links/one"]
    assert found["/t/empty/one"][-1] == ["/t/empty/one", "/t/empty/two"]
    assert found["/t/setuid"][:3] == ["-rwsr-xr-x", 1000, 5]
    capable = [found[f"/t/{name}"][6]["security.capability"] for name in ("ping", "capable/one", "capable/a-link")]
    assert capable == [CAPABILITY.hex()] * 3
    assert (found["/t/block"][4], found["/t/char"][4]) == ([259, 70000], [1, 3])
    assert found["/t/sparse"][3] == [64 << 20, 1]
    assert found["/t/odd"][:3] == ["drwx-wx--t", 3000000, 4294967294]
    assert found["/t/far-owner"][1:3] == [2097152, 3000000]
    assert {"/t/names/line\nfeed", "/t/names/kaese ☃", "/t/names/not \\udcff utf-8 \\udcc3"} <= found.keys()
    assert max(len(path) for path in found) > 500
    assert {path for path in found if path.startswith("/t/steps/again/")} == {"/t/steps/again/new"}
    for made_anew in ("/var/lib/dpkg/", "/usr/share/gdb/"):
        assert [path for path in found if path.startswith(made_anew)] == [f"{made_anew}new"]
    assert found["/usr/share/doc"][0][0] == "-" and not any(path.startswith("/usr/share/doc/") for path in found)
    assert found["/t/steps/linked/two"][-1] == ["/t/steps/linked/four", "/t/steps/linked/two"]
    assert not {"/etc/nsswitch.conf", "/t/steps/gone", "/t/steps/linked/three"} & found.keys()
    assert sum(path.endswith(".pyc") and path.startswith("/t/code") for path in found) == 3


def test_other_attributes_are_kept_where_an_engine_has_them_in_a_layer(client, base, tmp_path):
    """Engine 20.10 commits no attributes but capabilities; it loads and saves any, and newer ones commit more.

    One without a value no engine loads: in a pax header that means no attribute.
    """
    values = (("user.bytes", bytes(range(256))), ("user.text", b"value"))
    archive = tmp_path / "layer.tar"
    made = Entry(path="attributes", kind="file", size=5, xattrs=values)
    archive.write_bytes(header(made) + b"hello" + padding(5) + END_OF_ARCHIVE)
    entries = canonical(read_layer(archive))
    layers = (*base.image.layers, CanonicalLayer(entries, layer_digest(entries)))
    config = canonical_config(json.loads(base.image.config), tuple(layer.digest for layer in layers))
    image = CanonicalImage(digest_of(config), config, layers)
    tag = "repro-harness-test/attributes:1"
    load_image(client, image, tag)
    try:
        found = tree(client, tag, zero_times=True)["/attributes"]
        saved = spool(save_image(client, tag), tmp_path)
    finally:
        client.images.remove(tag)
    assert found[6] == {name: value.hex() for name, value in values}
    assert reread(saved).image_id == image.image_id
