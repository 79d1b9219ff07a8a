import hashlib
import io
import itertools
import json
import tarfile

import pytest

from harness.errors import HostError
from harness.images.layer import Entry, canonical
from harness.images.layer_tar import encode, encoded_size, layer_digest, read_layer
from harness.images.saved_image import CanonicalImage, CanonicalLayer, load_stream, reread, spool
from tests.made.archives import member, saved, tar

BASE = tar(member("etc", kind="dir"), member("etc/old", b"old"), mtime=0)
UPPER = tar(member("etc", kind="dir"), member("etc/.wh.old"), member("new", b"n" * 5000))


def chunks(data, size=777):
    return (data[start : start + size] for start in range(0, len(data), size))


def spooled(tmp_path, name, data):
    (tmp_path / name).mkdir()
    return spool(chunks(data), tmp_path / name)


def canonical_layer(tmp_path, data):
    """An archive as it is written canonically."""
    path = tmp_path / "layer.tar"
    path.write_bytes(data)
    return b"".join(encode(canonical(read_layer(path))))


@pytest.mark.parametrize("layout", ["docker", "oci"])
def test_an_engines_archive_is_spooled_whatever_its_layout(tmp_path, layout):
    image = spooled(tmp_path, "x", saved([BASE, UPPER, BASE], layout=layout))
    assert [path.read_bytes() for path in image.layers] == [BASE, UPPER, BASE]
    assert image.config["os"] == "linux"


def test_a_canonical_image_is_read_again_whatever_the_layout_of_its_archive(tmp_path):
    layers = [canonical_layer(tmp_path, BASE), canonical_layer(tmp_path, UPPER)]
    one = reread(spooled(tmp_path, "one", saved(layers, layout="docker")))
    other = reread(spooled(tmp_path, "other", saved(layers, layout="oci")))
    assert one.image_id == other.image_id
    assert [layer.digest for layer in one.layers] == [layer_digest(layer.entries) for layer in other.layers]


def test_when_and_by_what_an_image_was_made_does_not_change_its_id(tmp_path):
    late = {"created": "2030-01-01T00:00:00Z", "history": [{"created_by": "x"}], "docker_version": "99"}
    layers = [canonical_layer(tmp_path, BASE)]
    one = reread(spooled(tmp_path, "one", saved(layers)))
    assert reread(spooled(tmp_path, "other", saved(layers, late))).image_id == one.image_id


def test_an_image_with_a_layer_that_is_not_canonical_is_refused(tmp_path):
    with pytest.raises(HostError, match="other layers than it was given"):
        reread(spooled(tmp_path, "x", saved([tar(member("b", b""), member("a", b""), mtime=7)])))


def test_the_id_is_the_digest_of_the_configuration_and_the_layers_are_those_that_are_streamed(tmp_path):
    layers = [canonical_layer(tmp_path, BASE), canonical_layer(tmp_path, UPPER)]
    image = reread(spooled(tmp_path, "x", saved(layers)))
    with tarfile.open(fileobj=io.BytesIO(b"".join(load_stream(image, "repro-harness/x:1")))) as archive:
        contents = {info.name: archive.extractfile(info).read() for info in archive if info.isreg()}
    manifest = json.loads(contents["manifest.json"])[0]
    config = contents[manifest["Config"]]
    assert manifest["RepoTags"] == ["repro-harness/x:1"]
    assert image.image_id == "sha256:" + hashlib.sha256(config).hexdigest()
    assert [contents[name] for name in manifest["Layers"]] == layers
    streamed = ["sha256:" + hashlib.sha256(data).hexdigest() for data in layers]
    assert streamed == json.loads(config)["rootfs"]["diff_ids"]


@pytest.mark.parametrize("share", [0.1, 0.4, 0.7])
def test_a_torn_stream_is_an_error_of_the_environment(tmp_path, share):
    whole = saved([BASE, UPPER])
    with pytest.raises(HostError, match="torn"):
        spooled(tmp_path, "x", whole[: int(len(whole) * share)])


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"not an archive" * 100,
        tar(member("a", b"")),
        *(tar(member("manifest.json", text)) for text in (b"{}", b"[]", b"[7]", b'["x"]', b"null", b"{", b"\xff")),
        *(
            tar(member("manifest.json", b'[{"Config": "c", "Layers": []}]'), member("c", text))
            for text in (b"[]", b"7")
        ),
        tar(member("manifest.json", b'[{"Config": "c", "Layers": [7]}]'), member("c", b"{}")),
    ],
)
def test_a_stream_that_is_no_image_is_an_error_of_the_environment(tmp_path, data):
    with pytest.raises(HostError):
        spooled(tmp_path, "x", data)


def test_layers_and_digests_that_do_not_match_in_number_are_refused(tmp_path):
    with pytest.raises(HostError, match="other layers"):
        spooled(tmp_path, "x", saved([BASE], {"rootfs": {"type": "layers", "diff_ids": []}}))


def test_a_compressed_layer_that_is_torn_is_an_error_of_the_environment(tmp_path):
    whole = saved([BASE], layout="oci")
    start = whole.index(b"\x1f\x8b")
    for number, (position, byte) in enumerate(((3, 0xFF), (30, 0xFF), (60, 0))):
        torn = bytearray(whole)
        torn[start + position : start + position + 8] = bytes([byte]) * 8
        with pytest.raises(HostError, match="torn"):
            spooled(tmp_path, str(number), bytes(torn))


def test_a_layer_above_eight_gibibytes_is_streamed_with_its_size(tmp_path):
    size = 9 << 30
    with (tmp_path / "big").open("wb") as stream:
        stream.truncate(size)
    entry = Entry(path="big", kind="file", size=size, archive=str(tmp_path / "big"))
    image = CanonicalImage("sha256:" + "0" * 64, b"{}", (CanonicalLayer((entry,), "sha256:" + "1" * 64),))
    start = b"".join(itertools.islice(load_stream(image, "x:1"), 3))
    with tarfile.open(fileobj=io.BytesIO(start)) as archive:
        folder, layer = archive.next(), archive.next()
    assert (folder.name, layer.name, layer.size) == ("layers", f"layers/{'1' * 64}.tar", encoded_size((entry,)))
    assert len(start) < 4 << 20
