import hashlib
import io
import itertools
import json
import tarfile

import pytest
from made_archives import member, saved, tar

from harness.core.layer import Entry, canonical
from harness.errors import EnvironmentError_
from harness.host.layers import encode, encoded_size, layer_digest, read_layer
from harness.host.saved_image import CanonicalImage, CanonicalLayer, load_stream, rewrite, spool

BASE = tar(member("etc", kind="dir"), member("etc/old", b"old"), mtime=0)
UPPER = tar(member("etc", kind="dir"), member("etc/.wh.old"), member("new", b"n" * 5000))


def chunks(data, size=777):
    return (data[start : start + size] for start in range(0, len(data), size))


def spooled(tmp_path, name, data):
    (tmp_path / name).mkdir()
    return spool(chunks(data), tmp_path / name)


def known_base(tmp_path):
    """The base as a layer that is canonical already, and its archive."""
    path = tmp_path / "base.tar"
    path.write_bytes(BASE)
    entries = canonical(read_layer(path))
    data = b"".join(encode(entries))
    path.write_bytes(data)
    entries = canonical(read_layer(path))
    return CanonicalLayer(entries, layer_digest(entries)), data


@pytest.mark.parametrize("layout", ["docker", "oci"])
def test_an_engines_archive_is_spooled_whatever_its_layout(tmp_path, layout):
    image = spooled(tmp_path, "x", saved([BASE, UPPER, BASE], layout=layout))
    assert [path.read_bytes() for path in image.layers] == [BASE, UPPER, BASE]
    assert image.config["os"] == "linux"


def test_both_layouts_of_one_image_become_the_same_image(tmp_path):
    one = rewrite(spooled(tmp_path, "one", saved([BASE, UPPER], layout="docker")), {})
    other = rewrite(spooled(tmp_path, "other", saved([BASE, UPPER], layout="oci")), {})
    assert one.image_id == other.image_id


def test_when_and_by_what_an_image_was_made_does_not_change_its_id(tmp_path):
    late = {"created": "2030-01-01T00:00:00Z", "history": [{"created_by": "x"}], "docker_version": "99"}
    later = tar(member("new", b"n" * 5000), member("etc/.wh.old"), member("etc", kind="dir"), mtime=9)
    one = rewrite(spooled(tmp_path, "one", saved([BASE, UPPER])), {})
    other = rewrite(spooled(tmp_path, "other", saved([BASE, later], late)), {})
    assert one.image_id == other.image_id


def test_a_known_base_stays_and_everything_above_is_one_layer(tmp_path):
    base, data = known_base(tmp_path)
    third = tar(member("new", b"newer"))
    image = rewrite(spooled(tmp_path, "x", saved([data, UPPER, third])), {base.digest: base})
    assert next(layer.digest for layer in image.layers) == base.digest
    assert [entry.path for entry in image.layers[1].entries] == ["etc", "etc/.wh.old", "new"]
    assert json.loads(image.config)["rootfs"]["diff_ids"] == [layer.digest for layer in image.layers]


def test_steps_that_change_no_file_leave_no_layer(tmp_path):
    base, data = known_base(tmp_path)
    image = rewrite(spooled(tmp_path, "x", saved([data, b"\0" * 1024])), {base.digest: base})
    assert image.layers == (base,)


def test_the_id_is_the_digest_of_the_configuration_and_the_layers_are_those_that_are_streamed(tmp_path):
    base, data = known_base(tmp_path)
    image = rewrite(spooled(tmp_path, "x", saved([data, UPPER])), {base.digest: base})
    with tarfile.open(fileobj=io.BytesIO(b"".join(load_stream(image, "repro-harness/x:1")))) as archive:
        contents = {info.name: archive.extractfile(info).read() for info in archive if info.isreg()}
    manifest = json.loads(contents["manifest.json"])[0]
    config = contents[manifest["Config"]]
    assert manifest["RepoTags"] == ["repro-harness/x:1"]
    assert image.image_id == "sha256:" + hashlib.sha256(config).hexdigest()
    streamed = ["sha256:" + hashlib.sha256(contents[name]).hexdigest() for name in manifest["Layers"]]
    assert streamed == json.loads(config)["rootfs"]["diff_ids"]


@pytest.mark.parametrize("share", [0.1, 0.4, 0.7])
def test_a_torn_stream_is_an_error_of_the_environment(tmp_path, share):
    whole = saved([BASE, UPPER])
    with pytest.raises(EnvironmentError_, match="torn"):
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
    with pytest.raises(EnvironmentError_):
        spooled(tmp_path, "x", data)


def test_layers_and_digests_that_do_not_match_in_number_are_refused(tmp_path):
    with pytest.raises(EnvironmentError_, match="other layers"):
        rewrite(spooled(tmp_path, "x", saved([BASE], {"rootfs": {"type": "layers", "diff_ids": []}})), {})


def test_a_compressed_layer_that_is_torn_is_an_error_of_the_environment(tmp_path):
    whole = saved([BASE], layout="oci")
    start = whole.index(b"\x1f\x8b")
    for number, (position, byte) in enumerate(((3, 0xFF), (30, 0xFF), (60, 0))):
        torn = bytearray(whole)
        torn[start + position : start + position + 8] = bytes([byte]) * 8
        with pytest.raises(EnvironmentError_, match="torn"):
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
