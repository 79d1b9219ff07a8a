"""Archives made for the tests, in pure Python: tar members, Debian packages, wheels, engines' image archives."""

import gzip
import io
import json
import lzma
import tarfile
import zipfile

from harness.documents.lockfile import BaseLock, BasePackage, digest_of

KINDS = {
    "file": tarfile.REGTYPE,
    "dir": tarfile.DIRTYPE,
    "symlink": tarfile.SYMTYPE,
    "hardlink": tarfile.LNKTYPE,
    "char": tarfile.CHRTYPE,
    "block": tarfile.BLKTYPE,
    "fifo": tarfile.FIFOTYPE,
}


def member(name, content=b"", kind="file", **fields):
    """A member's header and its content; any field of `tarfile.TarInfo` may be set."""
    info = tarfile.TarInfo(name)
    info.type = KINDS[kind]
    info.size = len(content)
    info.mode = 0o755 if kind == "dir" else 0o644
    for key, value in fields.items():
        setattr(info, key, value)
    return info, content


def tar(*members, mtime=1_700_000_000):
    """A tar archive of members, as an engine or dpkg would write it: with times and user names."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for info, content in members:
            info.mtime, info.uname = mtime, "root"
            archive.addfile(info, io.BytesIO(content))
    return stream.getvalue()


def ar(*files):
    """An `ar` archive of (name, bytes)."""
    parts = [b"!<arch>\n"]
    for name, data in files:
        parts.append(f"{name:<16}{0:<12}{0:<6}{0:<6}{'100644':<8}{len(data):<10}`\n".encode())
        parts.append(data + b"\n" * (len(data) % 2))
    return b"".join(parts)


def deb(name, *members, version="1.0", compression="xz", **tar_options):
    """A Debian package with these members in its data."""
    control = f"Package: {name}\nVersion: {version}\nArchitecture: all\nDescription: made\n for a test\n"
    pack = {"xz": lzma.compress, "gz": lambda data: gzip.compress(data, mtime=0), "": lambda data: data}[compression]
    suffix = f".{compression}" if compression else ""
    return ar(
        ("debian-binary", b"2.0\n"),
        (f"control.tar{suffix}", pack(tar(member("./", kind="dir"), member("./control", control.encode())))),
        (f"data.tar{suffix}", pack(tar(*members, **tar_options))),
    )


def base_of(tmp_path, **packages):
    """A base lock of packages (name=bytes), and their files."""
    locked, files = [], []
    for name in sorted(packages):
        path = tmp_path / f"{name}.deb"
        path.write_bytes(packages[name])
        files.append(path)
        locked.append(
            BasePackage(
                name=name,
                version="1.0",
                architecture="all",
                size_bytes=len(packages[name]),
                sha256=digest_of(packages[name]),
                pool_path=f"pool/main/x/{name}_1.0_all.deb",
            )
        )
    return BaseLock(packages=tuple(locked), digest=digest_of(repr(locked).encode())), tuple(files)


def wheel(*files, links=()):
    """A zip archive of (name, bytes); `links` are names that claim to be symbolic links."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files:
            info = zipfile.ZipInfo(name)
            info.external_attr = (0o120777 if name in links else 0o100644) << 16
            archive.writestr(info, data, zipfile.ZIP_DEFLATED)
    return stream.getvalue()


def saved(layers, config=None, layout="docker"):
    """What an engine's `save` streams for an image of these layers, in the older layout or the OCI one."""
    value = {"architecture": "amd64", "os": "linux", "config": {"Cmd": ["x"]}, "created": "2026-01-01T00:00:00Z"}
    value |= {"rootfs": {"type": "layers", "diff_ids": [digest_of(layer) for layer in layers]}} | (config or {})
    text = json.dumps(value).encode()
    digits = digest_of(text).removeprefix("sha256:")
    names, members = [], []
    for index, layer in enumerate(layers):
        earlier = layers.index(layer)
        if layout == "docker":
            names.append(f"{index:064x}/layer.tar")
            if earlier < index:
                members.append(member(names[-1], kind="symlink", linkname=f"../{names[earlier]}"))
            else:
                members.append(member(names[-1], layer))
        else:
            names.append(f"blobs/sha256/{digest_of(layer).removeprefix('sha256:')}")
            if earlier == index:
                members.append(member(names[-1], gzip.compress(layer)))
    config_name = f"{digits}.json" if layout == "docker" else f"blobs/sha256/{digits}"
    manifest = [{"Config": config_name, "Layers": names, "RepoTags": ["x:latest"]}]
    return tar(*members, member(config_name, text), member("manifest.json", json.dumps(manifest).encode()))
