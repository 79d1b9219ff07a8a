"""Bases: the root file system under every image, one layer unpacked from locked Debian packages.

Nothing is installed: the packages' files are laid into one folder tree, merged-`/usr` as in Debian itself,
and written as one canonical layer, like the distroless images are. The maintainer scripts that do not run
would have done this:

- `ldconfig`: no `ld.so.cache`. The loader then searches its built-in paths, which hold every library of the base.
- alternatives (`awk`, `pager`): not set up; `dash` ships `/bin/sh` itself and `python3` its own links.
- `base-passwd`: the users and groups come from here instead: root, nobody, and `trainer` (1000) who trains.
- byte-compiling Python's library: an image's Dockerfile does it, with the interpreter that will read it.
- triggers, diversions, `debconf`: nothing in the locked packages needs them to run.

Scanners find the packages in `var/lib/dpkg/status.d`. Documentation, manual pages and translations are left
out; copyright files stay.
"""

from __future__ import annotations

import dataclasses
import json
import posixpath
import re
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import JsonValue

from harness.documents.document import Model
from harness.documents.lockfile import BaseLock, BasePackage, digest_of
from harness.errors import UsageError
from harness.images.image import canonical_config, image_key, image_tag
from harness.images.layer import Entry, canonical
from harness.images.layer_tar import encode, read_layer
from harness.images.oci_documents import write_blob
from harness.images.saved_image import CanonicalImage, CanonicalLayer
from harness.packages.deb_file import read_control, unpack_data
from harness.system.store import Store, disk_errors, file_digest

BASE_VERSION = b"2"
TRAINER = 1000
BASE_LABEL = "repro-harness.base"
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_MAX_LINKS = 40
_PLATFORM: Mapping[str, JsonValue] = {"architecture": "amd64", "os": "linux"}
_MERGED = ("bin", "lib", "lib32", "lib64", "libx32", "sbin")
_DROPPED = re.compile(r"usr/share/(doc/(?!.*/copyright$).*/.*|man/.*|locale/.*|info/.*|lintian/.*|bug/.*)")
_PASSWD = f"""root:x:0:0:root:/root:/bin/sh
nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin
trainer:x:{TRAINER}:{TRAINER}:trainer:/home/trainer:/bin/sh
"""
_GROUP = f"root:x:0:\ntty:x:5:\nvideo:x:44:\nnogroup:x:65534:\ntrainer:x:{TRAINER}:\n"
_FILES = {
    "etc/passwd": _PASSWD,
    "etc/group": _GROUP,
    "etc/nsswitch.conf": "passwd: files\ngroup: files\nhosts: files dns\n",
}
_FOLDERS = {"tmp": 0o1777, "var/tmp": 0o1777, "root": 0o700, "proc": 0o555, "sys": 0o555, "dev": 0o755, "run": 0o755}


@dataclass(frozen=True, slots=True)
class Base:
    """A base that lies in the cache: the image of one layer, and the local tag it is loaded under."""

    image: CanonicalImage
    tag: str


def python_of(base: Base) -> str:
    """The series of the Python that a base calls `python3`, `3.12`, by the names of its files; "" where none tells.

    Only what PATH finds counts, so it is the one that a Dockerfile's `python3` is.
    """
    config = json.loads(base.image.config).get("config", {})
    variables = dict(one.partition("=")[::2] for one in config.get("Env", ()))
    entries = {entry.path: entry for layer in base.image.layers for entry in layer.entries}
    for folder in variables.get("PATH", _PATH).split(":"):
        path = _followed(f"{folder}/python3".lstrip("/"), entries)
        if path in entries:
            found = re.search(r"python(3\.[0-9]+)$", path)
            return found[1] if found else ""
    return ""


def _followed(path: str, entries: Mapping[str, Entry]) -> str:
    """Where a path leads through symbolic links, of folders above it too; after too many of them nowhere."""
    for _ in range(_MAX_LINKS):
        parts = path.split("/")
        above = ("/".join(parts[:number]) for number in range(1, len(parts) + 1))
        link = next((one for one in above if one in entries and entries[one].kind == "symlink"), None)
        if link is None:
            return path
        target = posixpath.join("/", posixpath.dirname(link), entries[link].link) + path[len(link) :]
        path = posixpath.normpath(target).lstrip("/")
    return ""


class BaseRecord(Model):
    """The layer of a base in the cache, and the image configuration that containers inherit."""

    diff_id: str
    config: dict[str, JsonValue]


def cached_base(name: str, key: str, store: Store) -> Base | None:
    """The base of a key, if its layer lies in the cache or in an archive and is what its record says."""
    for place in (store, *map(Store, store.archives)):
        layer, record = _layer_path(key, place), place.read("bases", key, BaseRecord)
        if record is not None and layer.is_file() and file_digest(layer) == record.diff_id:
            return _base(name, layer, record)
    return None


def copy_base(key: str, store: Store, target: Store) -> None:
    """Lay a base that is in the cache into another one: its layer, and last the record that says what it is."""
    layer = target.folder("bases") / _layer_path(key, target).name
    shutil.copyfile(_layer_path(key, store), layer)
    if record := store.read_record("bases", key):
        target.write_record("bases", key, record)


def keep_base(name: str, key: str, entries: tuple[Entry, ...], config: Mapping[str, JsonValue], store: Store) -> Base:
    """Write a base's layer, its entries in canonical order, into the cache; `name` is for its tag and its label."""
    layer = store.folder("bases") / _layer_path(key, store).name
    with store.scratch("base") as folder:
        blob = write_blob(folder / "layer", encode(entries))
        (folder / "layer").replace(layer)
    record = BaseRecord(diff_id=blob.digest, config=dict(config))
    store.write_record("bases", key, record.to_json())
    return _base(name, layer, record)


def _base(name: str, layer: Path, record: BaseRecord) -> Base:
    # Images and containers inherit the label, so that what a killed build left behind can be recognised.
    text = canonical_config(record.config, (record.diff_id,), {BASE_LABEL: name}, history=(name,))
    layers = (CanonicalLayer(canonical(read_layer(layer)), record.diff_id),)
    image = CanonicalImage(digest_of(text), text, layers)
    return Base(image, image_tag(name, image.image_id))


def _layer_path(key: str, store: Store) -> Path:
    return store.root / "bases" / f"{key.removeprefix('sha256:')}.tar"


def base_key(lock: BaseLock) -> str:
    """The digest of everything that a base is a function of."""
    return image_key({"lock": lock.digest.encode(), "version": BASE_VERSION})


def build_base(name: str, lock: BaseLock, packages: tuple[Path, ...], store: Store, *, afresh: bool) -> Base:
    """The base of a lock (`base-<suite>`), from the cache, or built from its packages' files in the lock's order.

    Raises:
        UsageError: a package is torn, or two packages hold one path.
    """
    key = base_key(lock)
    with store.locked("base"), disk_errors("unpacking the base"):
        if not afresh and (found := cached_base(name, key, store)):
            return found
        with store.scratch("packages") as folder:
            entries = canonical(base_entries(lock, packages, folder))
            return keep_base(name, key, entries, _PLATFORM, store)


def base_entries(lock: BaseLock, packages: tuple[Path, ...], folder: Path) -> list[Entry]:
    """Every member of the base, its contents in files below `folder`; in no particular order.

    Raises:
        UsageError: a package is torn, is not the one that is locked, or two packages hold one path.
    """
    found: dict[str, tuple[Entry, str]] = {}
    for entry in _skeleton(folder):
        found[entry.path] = (entry, "the base itself")
    for package, path in zip(lock.packages, packages, strict=True):
        for entry in _package_entries(package, path, folder):
            other = found.get(entry.path)
            if other and not (other[0].kind == entry.kind == "dir"):
                problem = f"two packages hold {entry.path}: {other[1]} and {package.name}"
                raise UsageError(problem, "leave one of the two out of the base's .in file")
            found.setdefault(entry.path, (entry, package.name))
    for member in list(found):
        _add_parents(member, found)
    return [entry for entry, _ in found.values()]


def _package_entries(package: BasePackage, path: Path, folder: Path) -> Iterator[Entry]:
    control = read_control(path)
    fields = dict(re.findall(r"^([A-Za-z-]+): (.*)$", control, re.MULTILINE))
    if (fields.get("Package"), fields.get("Version")) != (package.name, package.version):
        problem = f"{package.pool_path} holds {fields.get('Package')} {fields.get('Version')}"
        raise UsageError(f"{problem}, not {package.name} {package.version}", "lock the base again")
    data = folder / f"{package.name}.tar"
    unpack_data(path, data)
    for entry in read_layer(data):
        merged = _merge_usr(entry)
        if merged and not _DROPPED.fullmatch(merged.path):
            yield merged
    status = control.rstrip("\n") + "\nStatus: install ok installed\n"
    yield _text_entry(f"var/lib/dpkg/status.d/{package.name}", status, folder)


def _merge_usr(entry: Entry) -> Entry | None:
    """The member where it lies in a merged-/usr system; None for the folders that are links there."""
    if entry.path in _MERGED:
        return None
    link = _under_usr(entry.link) if entry.kind == "hardlink" else entry.link
    return dataclasses.replace(entry, path=_under_usr(entry.path), link=link)


def _under_usr(path: str) -> str:
    return f"usr/{path}" if path.split("/", 1)[0] in _MERGED else path


def _skeleton(folder: Path) -> Iterator[Entry]:
    for name in _MERGED:
        if name not in ("lib32", "libx32"):
            yield Entry(path=name, kind="symlink", mode=0o777, link=f"usr/{name}")
    for path, text in _FILES.items():
        yield _text_entry(path, text, folder)
    for path, mode in _FOLDERS.items():
        yield Entry(path=path, kind="dir", mode=mode)
    yield Entry(path="home/trainer", kind="dir", mode=0o700, uid=TRAINER, gid=TRAINER)


def _text_entry(path: str, text: str, folder: Path) -> Entry:
    content = text.encode()
    file = folder / path.replace("/", "%2f")
    file.write_bytes(content)
    return Entry(path=path, kind="file", size=len(content), archive=str(file))


def _add_parents(path: str, found: dict[str, tuple[Entry, str]]) -> None:
    """Folders that no package names."""
    while "/" in path:
        path = path.rpartition("/")[0]
        found.setdefault(path, (Entry(path=path, kind="dir", mode=0o755), "the base itself"))
