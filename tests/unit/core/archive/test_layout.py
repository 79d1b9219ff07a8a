"""Index and manifests: a function of what they describe, and read only in the one way in which they are written."""

import hashlib
import json

import pytest
import rfc8785

from harness.core.archive import layout
from harness.errors import TamperedError

MEMBERS = {"b/é.txt": layout.blob_of(b"two"), "a": layout.blob_of(b"one"), "a b": layout.blob_of(b"")}
RUN = layout.render_artifact(layout.RUN, MEMBERS)
CONFIG, LAYERS = layout.blob_of(b"config"), (layout.blob_of(b"low"), layout.blob_of(b"high"), layout.blob_of(b"low"))
IMAGE = layout.parse_image(layout.render_image(CONFIG, LAYERS))
PACKAGES = layout.blob_of(b"packages")


def test_an_artifact_comes_back():
    assert layout.parse_artifact(RUN, layout.RUN) == MEMBERS


def test_documents_are_rfc_8785_whatever_the_order_of_what_they_describe():
    again = layout.render_artifact(layout.RUN, dict(reversed(MEMBERS.items())))
    index = layout.render_index(layout.blob_of(RUN), IMAGE, PACKAGES)
    assert again == RUN and all(rfc8785.dumps(json.loads(one)) == one for one in (RUN, index, layout.LAYOUT))


def test_an_artifact_is_an_oci_manifest_with_the_empty_configuration():
    value = json.loads(RUN)
    assert value["mediaType"] == "application/vnd.oci.image.manifest.v1+json" and value["schemaVersion"] == 2
    assert value["config"] == {
        "mediaType": "application/vnd.oci.empty.v1+json",
        "digest": "sha256:" + hashlib.sha256(b"{}").hexdigest(),
        "size": 2,
    }
    titles = [layer["annotations"]["org.opencontainers.image.title"] for layer in value["layers"]]
    assert titles == ["a", "a b", "b/é.txt"]


def test_an_image_is_known_by_its_configuration():
    assert (IMAGE.image_id, IMAGE.layers) == (CONFIG.digest, LAYERS)
    assert IMAGE.reference == CONFIG.digest[7:19]


def test_an_index_names_run_image_and_packages():
    value = json.loads(layout.render_index(layout.blob_of(RUN), IMAGE, PACKAGES))
    names = [entry["annotations"]["org.opencontainers.image.ref.name"] for entry in value["manifests"]]
    assert names == ["run", IMAGE.reference, "packages"]
    assert layout.parse_index(layout.render_index(layout.blob_of(RUN), IMAGE, PACKAGES)) == {
        "run": layout.blob_of(RUN), "image": IMAGE.manifest, "packages": PACKAGES,
    }  # fmt: skip
    assert layout.parse_index(layout.render_index(layout.blob_of(RUN), None, None)).keys() == {"run"}


def test_a_changed_byte_is_another_artifact_or_none():
    for place in range(len(RUN)):
        changed = RUN[:place] + bytes([RUN[place] ^ 1]) + RUN[place + 1 :]
        try:
            assert layout.parse_artifact(changed, layout.RUN) != MEMBERS
        except TamperedError:
            continue


def test_an_artifact_of_another_kind_is_refused():
    with pytest.raises(TamperedError):
        layout.parse_artifact(RUN, layout.PACKAGES)
    with pytest.raises(TamperedError):
        layout.parse_image(RUN)
    with pytest.raises(TamperedError):
        layout.parse_artifact(layout.render_image(CONFIG, LAYERS), layout.RUN)


@pytest.mark.parametrize(
    "data", [b"", b"{}", b"[]", b'{"layers":[]}', b'{"config":1,"layers":[]}', b"\xff", b"[" * 9999]
)
def test_what_is_no_manifest_is_refused(data):
    for parse in (lambda: layout.parse_artifact(data, layout.RUN), lambda: layout.parse_image(data)):
        with pytest.raises(TamperedError):
            parse()


@pytest.mark.parametrize(
    "entries",
    [
        [],
        [{"artifactType": layout.PACKAGES, "digest": PACKAGES.digest, "size": 1}],
        [{"artifactType": layout.RUN, "digest": PACKAGES.digest, "size": 1}] * 2,
        [{"artifactType": "other", "digest": PACKAGES.digest, "size": 1}],
        [{"artifactType": 5, "digest": PACKAGES.digest, "size": 1}],
        [{"artifactType": layout.RUN, "digest": PACKAGES.digest, "size": -1}],
        [{"artifactType": layout.RUN, "digest": "sha512:" + "0" * 128, "size": 1}],
        ["text"],
    ],
)
def test_an_index_that_names_something_else_is_refused(entries):
    with pytest.raises(TamperedError):
        layout.parse_index(json.dumps({"manifests": entries}).encode())


@pytest.mark.parametrize(
    ("title", "is_one"),
    [
        ("a", True), ("a/b c/é:1.0~x", True), ("..a", True), ("", False), ("/a", False), ("a/", False), ("..", False),
        ("a/../b", False), ("a\n", False), ("\x7f", False), ("\udc80", False), ("x" * 4097, False),
    ],
)  # fmt: skip
def test_titles_are_relative_paths(title, is_one):
    assert layout.is_title(title) is is_one
