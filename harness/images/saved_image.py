"""Images as archives: what an engine's `save` streams is spooled to disk, made canonical, and streamed to
`load`.

Both of the engines' layouts are read: the older one (`<id>/layer.tar`) and the OCI one (`blobs/sha256/...`,
there perhaps compressed); `manifest.json` says which file is which layer.
"""

from __future__ import annotations

import gzip
import io
import json
import tarfile
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from pydantic import JsonValue

from harness.documents.lockfile import digest_of
from harness.errors import HostError
from harness.images.image import canonical_config
from harness.images.layer import END_OF_ARCHIVE, Entry, canonical, clean_path, header, padding
from harness.images.layer_tar import CHUNK, encode, encoded_size, layer_digest, read_layer

_GZIP = b"\x1f\x8b"
_ZSTD = b"\x28\xb5\x2f\xfd"
_TORN = (
    tarfile.TarError,
    zlib.error,
    gzip.BadGzipFile,
    EOFError,
    FileNotFoundError,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
)


@dataclass(frozen=True, slots=True)
class SavedImage:
    """An image that an engine wrote: its configuration, and its layers on disk with their digests, lowest first."""

    config: dict[str, JsonValue]
    layers: tuple[Path, ...]
    diff_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class CanonicalLayer:
    """A layer in canonical order, and the digest of its encoding."""

    entries: tuple[Entry, ...]
    digest: str


@dataclass(frozen=True, slots=True)
class CanonicalImage:
    """An image that is a function of its files: `config` is canonical JSON, its digest is `image_id`."""

    image_id: str
    config: bytes
    layers: tuple[CanonicalLayer, ...]


def spool(stream: Iterable[bytes], folder: Path) -> SavedImage:
    """Write an engine's `save` stream to a folder, member by member.

    Raises:
        HostError: the stream is torn or is no image.
    """
    links: dict[str, str] = {}
    try:
        with tarfile.open(fileobj=_Reader(stream), mode="r|", bufsize=CHUNK) as members:
            for member in members:
                members.members.clear()  # type: ignore[attr-defined]
                path = clean_path(member.name)
                if member.issym() or member.islnk():
                    links[path] = _resolve(path, member.linkname, is_symbolic=member.issym())
                content = members.extractfile(member) if member.isreg() else None
                if content:
                    _write(content, _file(folder, path))
        manifest = json.loads(_file(folder, "manifest.json").read_bytes())[0]
        config = json.loads(_file(folder, manifest["Config"]).read_bytes())
        layers = tuple(_plain(_file(folder, links.get(name, name))) for name in manifest["Layers"])
        diff_ids = tuple(config["rootfs"]["diff_ids"])
    except _TORN as error:
        raise HostError(f"the engine's archive of the image is torn: {error!r}", "build again") from error
    if len(diff_ids) != len(layers):
        raise HostError("the engine's archive of the image names other layers than it holds", "build again")
    return SavedImage(config, layers, diff_ids)


def reread(saved: SavedImage) -> CanonicalImage:
    """A canonical image that an engine had and saved: its layers as they are.

    Raises:
        HostError: it is not canonical.
    """
    layers = tuple(CanonicalLayer(entries, layer_digest(entries)) for entries in map(_canonical_entries, saved.layers))
    digests = tuple(layer.digest for layer in layers)
    if digests != saved.diff_ids:
        raise HostError("the engine saved other layers than it was given", "remove the image, build it again")
    config = canonical_config(saved.config, digests)
    return CanonicalImage(digest_of(config), config, layers)


def _canonical_entries(layer: Path) -> tuple[Entry, ...]:
    return canonical(read_layer(layer))


def load_stream(image: CanonicalImage, tag: str) -> Iterator[bytes]:
    """The archive that an engine's `load` takes, under one tag, in chunks."""
    name = image.image_id.removeprefix("sha256:")
    files = [f"layers/{layer.digest.removeprefix('sha256:')}.tar" for layer in image.layers]
    yield from _member("layers", None)
    for layer, path in {path: (layer, path) for layer, path in zip(image.layers, files, strict=True)}.values():
        size = encoded_size(layer.entries)
        yield header(Entry(path=path, kind="file", size=size))
        yield from encode(layer.entries)
        yield padding(size)
    yield from _member(f"{name}.json", image.config)
    manifest = [{"Config": f"{name}.json", "Layers": files, "RepoTags": [tag]}]
    yield from _member("manifest.json", json.dumps(manifest, sort_keys=True).encode())
    yield END_OF_ARCHIVE


def _member(path: str, content: bytes | None) -> Iterator[bytes]:
    if content is None:
        yield header(Entry(path=path, kind="dir", mode=0o755))
        return
    yield header(Entry(path=path, kind="file", size=len(content)))
    yield content
    yield padding(len(content))


def _file(folder: Path, name: str) -> Path:
    """Where a member is spooled: flat, so that no name of an archive becomes a path of the host."""
    return folder / clean_path(name).replace("%", "%25").replace("/", "%2f")


def _resolve(path: str, target: str, *, is_symbolic: bool) -> str:
    """The member that a link names; an engine links a layer that an image has twice."""
    if not is_symbolic:
        return clean_path(target)
    parts = path.split("/")[:-1]
    for part in target.split("/"):
        if part == "..":
            parts = parts[:-1]
        elif part not in ("", "."):
            parts.append(part)
    return "/".join(parts)


def _write(content: IO[bytes] | gzip.GzipFile, path: Path) -> None:
    with path.open("wb") as output:
        while chunk := content.read(CHUNK):
            output.write(chunk)


def _plain(layer: Path) -> Path:
    """The layer uncompressed: some engines save layers as they were pulled."""
    with layer.open("rb") as stream:
        magic = stream.read(4)
    if magic == _ZSTD:
        raise HostError("the engine saved a layer compressed with zstd", "use the engine's classic image store")
    if magic[:2] != _GZIP:
        return layer
    plain = layer.with_name(layer.name + ".plain")
    with gzip.open(layer) as content:
        _write(content, plain)
    return plain


class _Reader(io.RawIOBase):
    """Chunks as a file that can be read from front to back."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks = iter(chunks)
        self._rest = memoryview(b"")

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        """Up to `size` bytes; b"" at the end only."""
        pieces = []
        wanted = size if size >= 0 else 1 << 62
        while wanted:
            if not self._rest:
                self._rest = memoryview(next(self._chunks, b""))
                if not self._rest:
                    break
            piece = self._rest[:wanted]
            self._rest = self._rest[len(piece) :]
            wanted -= len(piece)
            pieces.append(piece)
        return b"".join(pieces)
