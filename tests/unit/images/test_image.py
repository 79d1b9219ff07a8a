import json

import pytest

from harness.documents.lockfile import digest_of
from harness.documents.names import check_image_name
from harness.errors import UsageError
from harness.images.image import RebuildRecord, canonical_config, image_key, image_tag

LAYERS = ("sha256:" + "1" * 64, "sha256:" + "2" * 64)
MADE_BY_AN_ENGINE = {
    "architecture": "amd64",
    "os": "linux",
    "created": "2026-01-01T00:00:00Z",
    "docker_version": "20.10.24",
    "container": "f00",
    "container_config": {"Cmd": ["x"]},
    "history": [{"created_by": "RUN x"}],
    "rootfs": {"type": "layers", "diff_ids": ["sha256:" + "9" * 64]},
    "config": {
        "Hostname": "deadbeef",
        "Env": ["B=1", "A=2"],
        "Cmd": ["python3"],
        "Image": "sha256:x",
        "Labels": None,
        "User": "1000:1000",
        "WorkingDir": "/code",
        "OnBuild": None,
    },
}


def test_the_canonical_configuration_holds_what_a_container_inherits_and_nothing_else():
    found = json.loads(canonical_config(MADE_BY_AN_ENGINE, LAYERS))
    assert found == {
        "architecture": "amd64",
        "os": "linux",
        "config": {"Env": ["B=1", "A=2"], "Cmd": ["python3"], "User": "1000:1000", "WorkingDir": "/code"},
        "rootfs": {"type": "layers", "diff_ids": list(LAYERS)},
    }


def test_times_hosts_and_history_do_not_change_the_canonical_configuration():
    other = {**MADE_BY_AN_ENGINE, "created": "2027-01-01T00:00:00Z", "history": [], "docker_version": "29"}
    other["config"] = {**MADE_BY_AN_ENGINE["config"], "Hostname": "cafe", "Labels": {}}
    assert canonical_config(other, LAYERS) == canonical_config(MADE_BY_AN_ENGINE, LAYERS)


@pytest.mark.parametrize("key", ["Env", "Cmd", "User", "WorkingDir", "Labels", "Entrypoint"])
def test_what_a_container_inherits_changes_it(key):
    value = {"other": "1"} if key == "Labels" else ["other"]
    other = {**MADE_BY_AN_ENGINE, "config": {**MADE_BY_AN_ENGINE["config"], key: value}}
    assert canonical_config(other, LAYERS) != canonical_config(MADE_BY_AN_ENGINE, LAYERS)


def test_it_has_sorted_keys_and_no_spaces():
    text = canonical_config({"os": "linux", "architecture": "amd64"}, LAYERS[:1])
    assert text == (
        b'{"architecture":"amd64","config":{},"os":"linux","rootfs":{"diff_ids":["sha256:'
        + b"1" * 64
        + b'"],"type":"layers"}}'
    )


def test_a_configuration_without_a_platform_is_refused():
    with pytest.raises(UsageError, match="no platform"):
        canonical_config({"config": {}}, LAYERS)


def test_the_key_depends_on_every_name_and_every_byte_and_not_on_the_order():
    one = {"a": b"1", "b": b"2"}
    assert image_key(one) == image_key(dict(reversed(one.items())))
    others = [{"a": b"1"}, {"a": b"2", "b": b"1"}, {"a": b"1", "c": b"2"}, {"a": b"1", "b": b"2 "}]
    assert len({image_key(value) for value in [one, *others]}) == 5


@pytest.mark.parametrize("name", ["", "..", "a/b", "CPU", "-x", "a" * 64, "a\n"])
def test_a_name_that_is_no_image_is_refused(name):
    with pytest.raises(UsageError, match="not a name for an image"):
        check_image_name(name)


def test_a_tag_shows_the_first_digits_of_the_id():
    assert image_tag("cpu", digest_of(b"")) == "repro-harness/cpu:e3b0c44298fc"


def test_only_two_equal_ids_are_an_identical_rebuild():
    def record(*ids):
        return RebuildRecord(
            image="cpu",
            key="k",
            image_ids=ids,
            built_at=("t",) * len(ids),
            seconds=(1.0,) * len(ids),
            engines=("e",) * len(ids),
        )

    assert record("a", "a").is_identical
    assert not record("a", "b").is_identical
    assert not record("a").is_identical
    assert not record().is_identical


@pytest.mark.parametrize(("engines", "words"), [(("a", "b"), "on two engines"), (("a", "a"), "on one engine")])
def test_a_rebuild_tells_whether_two_engines_did_it(engines, words):
    record = RebuildRecord(
        image="cpu", key="k", image_ids=("i", "i"), built_at=("t1", "t2"), seconds=(1, 1), engines=engines
    )
    assert words in record.summary and "t1 and t2" in record.summary


def test_labels_are_added_to_those_that_the_configuration_has():
    config = {"architecture": "amd64", "os": "linux", "config": {"Labels": {"a": "1", "b": "2"}}}
    found = json.loads(canonical_config(config, LAYERS, {"b": "3", "c": "4"}))
    assert found["config"]["Labels"] == {"a": "1", "b": "3", "c": "4"}
    assert config["config"]["Labels"] == {"a": "1", "b": "2"}


def test_the_label_that_podmans_builder_writes_is_not_the_images():
    plain = {"architecture": "amd64", "os": "linux", "config": {"User": "1000"}}
    built = {**plain, "config": {"User": "1000", "Labels": {"io.buildah.version": "1.28.2"}}}
    assert canonical_config(built, LAYERS) == canonical_config(plain, LAYERS)
