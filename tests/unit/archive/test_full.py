"""A full archive holds exactly what its own locks and inputs name, and gives it to a cache that has nothing."""

import contextlib
import dataclasses
import json

import pytest

from harness.archive.dependencies import read_dependencies, restore_packages
from harness.archive.full import Full, bytes_source, gather_full
from harness.archive.licences import stated_licences
from harness.archive.reading import open_archive
from harness.archive.run_folder import read_finished
from harness.documents.archive import LICENCES
from harness.documents.inputs import Input
from harness.documents.lockfile import BaseLock, BasePackage, Wheel, digest_of
from harness.errors import HostError, TamperedError, UsageError
from harness.images import oci_documents
from harness.inputs.fetch import fetch_input
from harness.packages.wheels import fetch_wheels
from harness.system.files import FolderFiles
from harness.system.store import Store
from tests.made.archives import deb, member, wheel
from tests.made.documents import read_documents
from tests.made.finished_run import made_image, make_run, silent, write
from tests.made.project import DATA, add_blob


@pytest.fixture
def made(tmp_path):
    """A run on the host, and a cache with its packages."""
    run, built, package = make_run(tmp_path / "checkout")
    store = Store(tmp_path / "cache")
    for data in (built, package, DATA):
        add_blob(store, data)
    return run, store, built, package


@pytest.fixture
def in_containers(tmp_path):
    """A run in containers: its folder, and the second half of its archive."""
    image_id, image, sources = made_image(tmp_path)
    run, built, package = make_run(tmp_path / "checkout", runner="docker", image=image_id)
    store = Store(tmp_path / "cache")
    for data in (built, package, DATA):
        add_blob(store, data)
    packages = {
        "wheels/" + wheel_name(run): bytes_source(built),
        "debs/xx_1.0_all.deb": bytes_source(package),
        "inputs/" + digest_of(package)[7:]: bytes_source(package),
        "inputs/" + digest_of(DATA)[7:]: bytes_source(DATA),
    }
    wanted = read_dependencies(FolderFiles(run / "code"), read_documents(run)[0])
    packages[LICENCES] = bytes_source(wanted.licences({}).write())
    return run, Full(image=image, image_sources=sources, packages=packages), store


def wheel_name(run):
    wanted = read_dependencies(FolderFiles(run / "code"), read_documents(run)[0])
    return wanted.lock.wheels[0].filename


def gathered(run, store):
    return gather_full(run, read_finished(run).manifest, store, silent)


def test_a_full_archive_of_a_run_on_the_host_has_wheels_inputs_and_licences(made, key, tmp_path):
    run, store, built, package = made
    with gathered(run, store) as full:
        target = write(run, tmp_path / "a", key, full)
    with open_archive(target, silent) as archive:
        assert archive.is_full and archive.image is None
        assert sorted(archive.packages.digests) == sorted(
            [LICENCES, f"inputs/{digest_of(DATA)[7:]}", f"inputs/{digest_of(package)[7:]}", f"wheels/{wheel_name(run)}"]
        )
        found = archive.packages.read(f"wheels/{wheel_name(run)}", max_bytes=1 << 20)
        assert bytes(found) == built


def test_a_cache_without_anything_gets_all_from_the_archive(made, key, tmp_path):
    run, store, *_ = made
    with gathered(run, store) as full:
        target = write(run, tmp_path / "a", key, full)
    empty = Store(tmp_path / "empty")
    wanted = read_dependencies(FolderFiles(run / "code"), read_finished(run).manifest)
    with open_archive(target, silent) as archive:
        assert restore_packages(archive, empty, silent) == 3
        assert restore_packages(archive, empty, silent) == 0
    fetch_wheels(wanted.lock, empty, lambda text: pytest.fail(f"nothing is fetched: {text}"))
    for value in wanted.inputs:
        assert fetch_input(value, empty, run / "code", silent).exists()


def test_an_archive_without_packages_gives_nothing(archive, tmp_path):
    with open_archive(archive, silent) as opened:
        assert restore_packages(opened, Store(tmp_path / "empty"), silent) == 0


def test_an_input_that_is_only_there_as_it_was_unpacked_is_packed_as_it_was_pinned(made, key, tmp_path, monkeypatch):
    run, store, _, package = made
    wanted = read_dependencies(FolderFiles(run / "code"), read_finished(run).manifest)
    deb_input = next(value for value in wanted.inputs if value.kind == "deb")
    fetch_input(deb_input, store, run / "code", silent)
    store.blob(deb_input.sha256).unlink()
    mirror = tmp_path / "mirror" / "pool" / "main" / "x" / "xx"
    mirror.mkdir(parents=True)
    (mirror / "xx_1.0_all.deb").write_bytes(package)
    monkeypatch.setenv("HARNESS_DEBIAN_MIRROR", (tmp_path / "mirror").as_uri())
    with gathered(run, store) as full:
        assert full.packages[f"inputs/{digest_of(package)[7:]}"].blob.digest == digest_of(package)


def test_an_image_goes_with_the_packages(in_containers, key, tmp_path):
    run, full, _ = in_containers
    with open_archive(write(run, tmp_path / "a", key, full), silent) as archive:
        assert archive.image == full.image
        assert json.loads(archive.image_config)["rootfs"]["diff_ids"] == [full.image.layers[0].digest]


def changed(full, **packages):
    kept = {**full.packages, **packages}
    return dataclasses.replace(full, packages={title: source for title, source in kept.items() if source is not None})


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda run, full: dataclasses.replace(full, image=None, image_sources=()), "image is none"),
        (lambda run, full: changed(full, **{"wheels/" + wheel_name(run): None}), "wheels/.* is missing"),
        (lambda run, full: changed(full, **{"debs/xx_1.0_all.deb": None}), "debs/xx_1.0_all.deb is missing"),
        (lambda run, full: changed(full, **{"debs/xx_1.0_all.deb": bytes_source(b"x")}), "not the one that is named"),
        (lambda run, full: changed(full, **{"wheels/more.whl": bytes_source(b"x")}), "named by no lock and no input"),
        (lambda run, full: changed(full, more=bytes_source(b"x")), "named by no lock and no input"),
        (lambda run, full: changed(full, **{LICENCES: bytes_source(b"{}")}), "LICENSES.json"),
        (lambda run, full: changed(full, **{LICENCES: None}), "LICENSES.json is missing"),
    ],
)
def test_packages_that_are_not_the_runs_are_refused(in_containers, key, tmp_path, change, problem):
    run, full, _ = in_containers
    target = write(run, tmp_path / "a", key, change(run, full))
    with pytest.raises(TamperedError, match=problem), open_archive(target, silent):
        pass


def test_another_image_is_refused(in_containers, key, tmp_path):
    run, full, _ = in_containers
    config = b'{"rootfs":{"diff_ids":[]}}'
    document = oci_documents.render_image(oci_documents.blob_of(config), [])
    other = dataclasses.replace(
        full, image=oci_documents.parse_image(document), image_sources=(bytes_source(document), bytes_source(config))
    )
    with (
        pytest.raises(TamperedError, match="the archive's image is"),
        open_archive(write(run, tmp_path / "a", key, other), silent),
    ):
        pass


@pytest.mark.parametrize("config", [b"{}", b"[]", b'{"rootfs":[]}', b"[" * 9000])
def test_a_configuration_that_is_none_is_refused(tmp_path, key, config):
    document = oci_documents.render_image(oci_documents.blob_of(config), [])
    image = oci_documents.parse_image(document)
    run, *_ = make_run(tmp_path / "checkout", runner="docker", image=image.image_id)
    full = Full(image=image, image_sources=(bytes_source(document), bytes_source(config)), packages={})
    target = write(run, tmp_path / "a", key, full)
    with pytest.raises(TamperedError, match="cannot be read"), open_archive(target, silent):
        pass


def test_layers_that_the_images_configuration_does_not_name_are_refused(in_containers, key, tmp_path):
    run, full, _ = in_containers
    document = oci_documents.render_image(full.image.config, [oci_documents.blob_of(b"other")])
    sources = (bytes_source(document), full.image_sources[1], bytes_source(b"other"))
    other = dataclasses.replace(full, image=oci_documents.parse_image(document), image_sources=sources)
    target = write(run, tmp_path / "a", key, other)
    with pytest.raises(TamperedError, match="other layers"), open_archive(target, silent):
        pass


def test_a_run_whose_image_was_never_built_has_no_full_archive(tmp_path):
    run, *_ = make_run(tmp_path / "checkout", runner="docker", image=None)
    with (
        pytest.raises(UsageError, match="before an image was built"),
        gather_full(run, read_finished(run).manifest, Store(tmp_path / "cache"), silent),
    ):
        pass


def test_licences_are_read_out_of_wheels_packages_and_model_cards(made):
    run, store, *_ = made
    wanted = read_dependencies(FolderFiles(run / "code"), read_finished(run).manifest)
    metadata = b"Metadata-Version: 2.4\nName: six\nVersion: 1.0\nLicense-Expression: MIT\n"
    built = wheel(("six-1.0.dist-info/METADATA", metadata))
    dep5 = b"Format: https://example.org/\n\nFiles: *\nLicense: GPL-2+\n\nFiles: x\nLicense: Expat\n text\n"
    prose = b"License: granted to anybody\nsee /usr/share/common-licenses/LGPL-2.1.\n"
    folder = "./usr/share/doc/"
    packages = {
        "aa": deb("aa", member(f"{folder}aa/copyright", dep5)),
        "bb": deb("bb", member(f"{folder}bb/copyright", prose)),
        "cc": deb("cc", member(f"{folder}cc", kind="symlink", linkname="aa")),
        "dd": deb("dd", member("./usr/bin/dd", b"x")),
    }
    card = b"---\ntags: [x]\nlicense: apache-2.0\n---\n# Model\nlicense: other\n"
    listing = f"{digest_of(card)[7:]}  README.md\n".encode()
    for data in (built, card, listing, *packages.values()):
        add_blob(store, data)
    said = stated_licences(with_packages(wanted, built, packages, listing), store)
    assert said == {
        "wheels/six-1.0-py3-none-any.whl": "MIT",
        "debs/aa_1.0_all.deb": "Expat, GPL-2+",
        "debs/bb_1.0_all.deb": "LGPL-2.1",
        "debs/cc_1.0_all.deb": "Expat, GPL-2+",
        f"inputs/{digest_of(listing)[7:]}": "apache-2.0",
    }


def with_packages(wanted, built, packages, listing):
    pin = wanted.lock.pins[0]
    one = Wheel(filename="six-1.0-py3-none-any.whl", size_bytes=len(built), sha256=digest_of(built))
    locked = tuple(
        BasePackage(name=name, version="1.0", architecture="all", size_bytes=1, sha256=digest_of(data), pool_path="x")
        for name, data in packages.items()
    )
    model = Input(name="model", kind="hf", reference="o/n", version="7" * 40, sha256=digest_of(listing))
    return dataclasses.replace(
        wanted,
        lock=dataclasses.replace(wanted.lock, pins=(dataclasses.replace(pin, wheel=one),)),
        base_lock=BaseLock(packages=locked, digest="x"),
        inputs=(model,),
        image_id="sha256:" + "7" * 64,
    )


def test_what_cannot_be_fetched_is_named(made, tmp_path, monkeypatch):
    run, store, built, _ = made
    store.blob(digest_of(built)).unlink()
    for name in ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    with pytest.raises((HostError, UsageError), match="six"), contextlib.ExitStack() as stack:
        stack.enter_context(gathered(run, store))
