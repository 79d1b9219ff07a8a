"""Index and manifests: a function of what they describe, and read only in the one way in which they are written."""

import hashlib
import json

import pytest
import rfc8785

from harness.errors import TamperedError
from harness.images import oci_documents

MEMBERS = {
    "b/é.txt": oci_documents.blob_of(b"two"),
    "a": oci_documents.blob_of(b"one"),
    "a b": oci_documents.blob_of(b""),
}
RUN = oci_documents.render_artifact(oci_documents.RUN, MEMBERS)
CONFIG, LAYERS = (
    oci_documents.blob_of(b"config"),
    (oci_documents.blob_of(b"low"), oci_documents.blob_of(b"high"), oci_documents.blob_of(b"low")),
)
IMAGE = oci_documents.parse_image(oci_documents.render_image(CONFIG, LAYERS))
PACKAGES = oci_documents.blob_of(b"packages")


def test_an_artifact_comes_back():
    assert oci_documents.parse_artifact(RUN, oci_documents.RUN) == MEMBERS


def test_documents_are_rfc_8785_whatever_the_order_of_what_they_describe():
    again = oci_documents.render_artifact(oci_documents.RUN, dict(reversed(MEMBERS.items())))
    index = oci_documents.render_index(oci_documents.blob_of(RUN), IMAGE, PACKAGES)
    assert again == RUN and all(rfc8785.dumps(json.loads(one)) == one for one in (RUN, index, oci_documents.LAYOUT))


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
    value = json.loads(oci_documents.render_index(oci_documents.blob_of(RUN), IMAGE, PACKAGES))
    names = [entry["annotations"]["org.opencontainers.image.ref.name"] for entry in value["manifests"]]
    assert names == ["run", IMAGE.reference, "packages"]
    assert oci_documents.parse_index(oci_documents.render_index(oci_documents.blob_of(RUN), IMAGE, PACKAGES)) == {
        "run": oci_documents.blob_of(RUN),
        "image": IMAGE.manifest,
        "packages": PACKAGES,
    }
    assert oci_documents.parse_index(oci_documents.render_index(oci_documents.blob_of(RUN), None, None)).keys() == {
        "run"
    }


def test_a_changed_byte_is_another_artifact_or_none():
    for place in range(len(RUN)):
        changed = RUN[:place] + bytes([RUN[place] ^ 1]) + RUN[place + 1 :]
        try:
            assert oci_documents.parse_artifact(changed, oci_documents.RUN) != MEMBERS
        except TamperedError:
            continue


def test_an_artifact_of_another_kind_is_refused():
    with pytest.raises(TamperedError):
        oci_documents.parse_artifact(RUN, oci_documents.PACKAGES)
    with pytest.raises(TamperedError):
        oci_documents.parse_image(RUN)
    with pytest.raises(TamperedError):
        oci_documents.parse_artifact(oci_documents.render_image(CONFIG, LAYERS), oci_documents.RUN)


@pytest.mark.parametrize(
    "data", [b"", b"{}", b"[]", b'{"layers":[]}', b'{"config":1,"layers":[]}', b"\xff", b"[" * 9999]
)
def test_what_is_no_manifest_is_refused(data):
    for parse in (
        lambda: oci_documents.parse_artifact(data, oci_documents.RUN),
        lambda: oci_documents.parse_image(data),
    ):
        with pytest.raises(TamperedError):
            parse()


@pytest.mark.parametrize(
    "entries",
    [
        [],
        [{"artifactType": oci_documents.PACKAGES, "digest": PACKAGES.digest, "size": 1}],
        [{"artifactType": oci_documents.RUN, "digest": PACKAGES.digest, "size": 1}] * 2,
        [{"artifactType": "other", "digest": PACKAGES.digest, "size": 1}],
        [{"artifactType": 5, "digest": PACKAGES.digest, "size": 1}],
        [{"artifactType": oci_documents.RUN, "digest": PACKAGES.digest, "size": -1}],
        [{"artifactType": oci_documents.RUN, "digest": "sha512:" + "0" * 128, "size": 1}],
        ["text"],
    ],
)
def test_an_index_that_names_something_else_is_refused(entries):
    with pytest.raises(TamperedError):
        oci_documents.parse_index(json.dumps({"manifests": entries}).encode())


@pytest.mark.parametrize(
    ("title", "is_one"),
    [
        ("a", True),
        ("a/b c/é:1.0~x", True),
        ("..a", True),
        ("", False),
        ("/a", False),
        ("a/", False),
        ("..", False),
        ("a/../b", False),
        ("a\n", False),
        ("\x7f", False),
        ("\udc80", False),
        ("x" * 4097, False),
    ],
)
def test_titles_are_relative_paths(title, is_one):
    assert oci_documents.is_title(title) is is_one
